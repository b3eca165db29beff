"""What each entry of the zoo predicts at new data is what a closed form or its reference says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
import xarray as xr

import pyrovi as vi
from pyrovi.models import ZOO
from pyrovi.models.bayesian_neural_network import network
from pyrovi.models.gravity_inversion import Exact as ExactGround
from pyrovi.models.quadratic_observation import Exact as ExactSquare

SHELF = Path(__file__).parents[2] / "models"
DRAWS = 8000
FAR = 4.3  # standard errors: two-sided 2e-5
RNG = np.random.default_rng(5)


def agree(drawn: xr.DataArray, mean: Any, sd: Any) -> None:
    """Whether draws have these moments, to their Monte Carlo error."""
    found = drawn.mean(("chain", "draw")).to_numpy(), drawn.std(("chain", "draw")).to_numpy()
    assert (np.abs(found[0] - mean) < FAR * sd / DRAWS**0.5).all(), (found[0], mean)
    assert (np.abs(found[1] / sd - 1) < FAR / (2 * DRAWS) ** 0.5).all(), (found[1], sd)


def predicted(fit: vi.Fit, data: Any, **options: Any) -> Any:
    return vi.predict(fit, data, DRAWS, **options)["predictions"].to_dataset()


def given_gaussian(
    prior: np.ndarray, noise: float, seen: np.ndarray, new: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of new values of a linear function whose weights have a Gaussian prior."""
    cov = np.linalg.inv(np.linalg.inv(prior) + seen.T @ seen / noise**2)
    mean = cov @ seen.T @ y / noise**2
    return new @ mean, np.sqrt(noise**2 + np.einsum("ni,ij,nj->n", new, cov, new))


def test_one_component_of_unit_scale_predicts_points_as_a_normal_mean_does() -> None:
    y, spread = RNG.normal(2.0, 1.0, (12, 2)), 3.0
    fit = vi.fit(
        ZOO["gaussian_mixture"].variant("unit").model,
        {"y": y, "components": 1, "spread": spread},
        vi.Laplace(),
        seed=0,
    )
    precision = len(y) + spread**-2
    ahead = predicted(fit, {"y": np.zeros((5, 2))})["y"]
    agree(ahead, np.tile(y.sum(0) / precision, (5, 1)), (1 + 1 / precision) ** 0.5)


def test_new_stations_are_predicted_as_by_the_exact_ground() -> None:
    entry = ZOO["gravity_inversion"]
    survey = entry.simulate(5, cells=(2, 1, 5), stations=12, sigma=0.5)
    names = ("sensitivity", "sigma", "weight", "reach", "strength")
    given = survey["constant_data"].to_dataset()[list(names)]
    seen, new = given.isel(station=slice(0, 8)), given.isel(station=slice(8, 12))
    gravity = survey["observed_data"]["gravity"][:8]
    data = vi.data_tree({"gravity": gravity}, {str(n): v for n, v in seen.data_vars.items()})
    fit = vi.fit(entry.model, data, vi.Laplace(), seed=0)
    exact = ExactGround.of(data)
    kernel = new["sensitivity"].to_numpy().reshape(4, -1)
    drawn = exact.draws(200_000, seed=1).reshape(200_000, -1) @ kernel.T
    ahead = predicted(fit, {"sensitivity": new["sensitivity"], "sigma": new["sigma"]})["gravity"]
    agree(ahead, kernel @ exact.mean.ravel(), np.sqrt(drawn.var(0) + 0.25))


def test_marks_with_the_population_known_are_predicted_as_by_the_normal_equations() -> None:
    entry, spread, noise = ZOO["multitask_regression"].variant("centered"), 0.4, 0.7
    known: dict[str, Any] = {
        "population_mean": torch.zeros(2).double(),
        "population_scale": torch.full((2,), spread).double(),
        "population_corr_chol": torch.eye(2).double(),
        "noise": torch.full((3,), noise).double(),
    }
    marks = entry.simulate(seed=2, sizes=(10, 8, 6), covariates=("hours",), population=known)
    fit = vi.fit(pyro.poutine.do(entry.model, data=known), marks, vi.Laplace(), seed=0)
    given = marks["constant_data"].to_dataset()
    x, own = given["x"].to_numpy(), given["task_index"].to_numpy() == 1
    y = marks["observed_data"]["outcome"].to_numpy()
    new = np.array([[1.0, 2.0], [1.0, -1.0]])
    mean, sd = given_gaussian(np.eye(2) * spread**2, noise, x[own], new, y[own])
    ahead = predicted(fit, {"x": new, "task_index": np.array([1, 1])})["outcome"]
    agree(ahead, mean, sd)


def test_a_network_that_is_linear_in_its_first_layer_predicts_as_its_gaussian_does() -> None:
    width, noise = 3, 0.5
    x, new = RNG.normal(size=(20, 2)), np.array([[0.0, 0.0], [2.0, -3.0]])
    y = x @ [1.0, -0.5] + noise * RNG.normal(size=20)
    top = torch.tensor([[0.6, -0.8, 0.3]]).double()
    known: dict[str, Any] = {
        "weight_2": top,
        "bias_2": torch.zeros(1).double(),
        "noise": torch.tensor(noise).double(),
    }
    model = pyro.poutine.do(network(activation="none"), data=known)
    fit = vi.fit(model, {"outcome": y, "x": x, "width": width}, vi.Laplace(), seed=0)
    size = float((top**2).sum())  # the prior of the sum over hidden units; weights over sqrt(2)
    prior = np.diag([size, size / 2, size / 2])
    columns = [np.column_stack([np.ones(len(each)), each]) for each in (x, new)]
    mean, sd = given_gaussian(prior, noise, *columns, y)
    agree(predicted(fit, {"x": new})["outcome"], mean, sd)


def test_a_square_is_predicted_as_by_quadrature() -> None:
    entry = ZOO["quadratic_observation"].variant("positive")
    data = entry.load("two_modes")
    exact = ExactSquare(data["observed_data"]["y"].to_numpy())
    second, fourth = exact.expect(exact.x**2), exact.expect(exact.x**4)
    ahead = predicted(vi.fit(entry.model, data, seed=0), {"y": np.zeros(3)})["y"]
    assert np.abs(ahead.mean(("chain", "draw")) - second).max() < 0.1 * fourth**0.5
    sd = (fourth - second**2 + 1) ** 0.5
    assert np.abs(ahead.std(("chain", "draw")) / sd - 1).max() < 0.05


@pytest.mark.parametrize("variant", ["noncentered", "centered"])
def test_a_fitted_school_and_a_new_one_are_as_the_reference_draws_say(variant: str) -> None:
    entry = ZOO["eight_schools"].variant(variant)
    kept = json.loads((SHELF / "eight_schools" / "reference.json").read_text())
    known = kept["variants"]["noncentered"]["quantities"]
    fit = vi.fit(entry.model, entry.load(), seed=0)
    sigma = xr.DataArray([3.0, 3.0], dims="school", coords={"school": ["B", "a ninth"]})
    ahead = predicted(fit, {"sigma": sigma}, new_levels="draw")["y"]
    mu, tau, theta = known["mu"], known["tau"], known["theta[B]"]
    mean = np.array([theta["mean"], mu["mean"]])
    ninth = mu["sd"] ** 2 + tau["sd"] ** 2 + tau["mean"] ** 2
    sd = np.sqrt(9 + np.array([theta["sd"] ** 2, ninth]))
    assert np.abs((ahead.mean(("chain", "draw")).to_numpy() - mean) / sd).max() < 0.1
    assert np.abs(ahead.std(("chain", "draw")).to_numpy() / sd - 1).max() < 0.1
