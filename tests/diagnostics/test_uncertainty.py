"""Aleatoric and epistemic uncertainty, against closed forms."""

import numpy as np
import pytest
import xarray as xr

from pyrovi.diagnostics.scores import class_uncertainty, uncertainty, variance_parts
from pyrovi.errors import DiagnosticError

NOISE, PRIOR = 0.4, 2.0


def lines(new: np.ndarray, draws: int = 40_000) -> tuple[xr.DataArray, np.ndarray]:
    """Bayesian linear regression on data at -1 to 1: means by draw, and x' Sigma x, exact."""
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, 12)
    features = np.column_stack([np.ones_like(x), x])
    precision = features.T @ features / NOISE**2 + np.eye(2) / PRIOR**2
    covariance = np.linalg.inv(precision)
    weight = rng.multivariate_normal([0.3, -0.7], covariance, size=draws)
    at = np.column_stack([np.ones_like(new), new])
    mean = xr.DataArray((weight @ at.T)[None], dims=("chain", "draw", "row"))
    return mean, np.einsum("ni,ij,nj->n", at, covariance, at)


def test_of_a_bayesian_line_the_epistemic_part_is_the_posterior_s_quadratic_form() -> None:
    mean, exact = lines(np.array([-3.0, 0.0, 0.5, 4.0]))
    parts = variance_parts(mean, NOISE)
    error = exact * np.sqrt(2 / mean.sizes["draw"])  # of a variance of normal draws
    assert (np.abs(parts["epistemic"] - exact) < 4.5 * error).all()
    np.testing.assert_allclose(parts["aleatoric"], NOISE**2)


def test_the_two_parts_are_the_variance_of_what_is_predicted() -> None:
    """The law of total variance, against replications drawn with their noise."""
    rng = np.random.default_rng(1)
    mean, _ = lines(np.array([0.0, 4.0]))
    sd = xr.DataArray(rng.uniform(0.1, 1.0, mean.shape), dims=mean.dims)
    replicated = mean + sd * rng.standard_normal(mean.shape)
    parts = variance_parts(mean, sd)
    np.testing.assert_allclose(parts["total"], parts["aleatoric"] + parts["epistemic"], rtol=1e-12)
    np.testing.assert_allclose(replicated.var(("chain", "draw")), parts["total"], rtol=0.05)


def test_off_the_data_it_is_the_epistemic_part_that_grows() -> None:
    mean, _ = lines(np.array([0.0, 1.0, 3.0, 10.0]))
    parts = variance_parts(mean, NOISE)
    assert (np.diff(parts["epistemic"]) > 0).all()
    assert parts["share"][0] < 0.15
    assert parts["share"][-1] > 0.9
    assert np.ptp(parts["aleatoric"].to_numpy()) < 1e-12


def test_of_classes_the_parts_add_up_to_the_entropy_of_the_mean() -> None:
    rng = np.random.default_rng(2)
    values = rng.dirichlet([0.5, 1.0, 2.0], size=(2, 300, 4))
    given = xr.DataArray(values, dims=("chain", "draw", "row", "class"))
    parts = class_uncertainty(given)
    average = values.mean((0, 1))
    entropy = -(average * np.log(average)).sum(-1)
    np.testing.assert_allclose(parts["total"], entropy, rtol=1e-12)
    np.testing.assert_allclose(parts["aleatoric"] + parts["epistemic"], entropy, rtol=1e-12)
    assert (parts["epistemic"] > 0).all()


def test_the_mutual_information_is_the_mean_divergence_of_the_draws_from_their_mean() -> None:
    rng = np.random.default_rng(3)
    values = rng.dirichlet([1.0, 1.0], size=(1, 50, 3))
    given = xr.DataArray(values, dims=("chain", "draw", "row", "class"))
    divergence = (values * np.log(values / values.mean((0, 1)))).sum(-1).mean((0, 1))
    np.testing.assert_allclose(class_uncertainty(given)["epistemic"], divergence, rtol=1e-10)


@pytest.mark.parametrize(
    ("kind", "aleatoric", "epistemic"),
    [("agree", np.log(2), 0.0), ("certain and opposed", 0.0, np.log(2))],
)
def test_a_coin_is_noise_and_a_quarrel_is_ignorance(
    kind: str, aleatoric: float, epistemic: float
) -> None:
    rows = [[0.5, 0.5]] * 2 if kind == "agree" else [[1.0, 0.0], [0.0, 1.0]]
    parts = class_uncertainty(xr.DataArray([rows], dims=("chain", "draw", "class")))
    np.testing.assert_allclose(parts["aleatoric"], aleatoric, atol=1e-12)
    np.testing.assert_allclose(parts["epistemic"], epistemic, atol=1e-12)


def tree_of(**posterior: xr.DataArray) -> xr.DataTree:
    return xr.DataTree.from_dict({"posterior": xr.Dataset(posterior)})


def test_a_tree_is_read_by_what_its_posterior_holds() -> None:
    mean, _ = lines(np.array([0.0, 4.0]), draws=50)
    noise = xr.full_like(mean[..., 0], NOISE).drop_vars("row", errors="ignore")
    parts = uncertainty(tree_of(mean=mean, noise=noise))
    xr.testing.assert_allclose(parts, variance_parts(mean, noise))
    probability = xr.DataArray(np.full((1, 3, 2), 0.5), dims=("chain", "draw", "kind"))
    parts = uncertainty(tree_of(probability=probability))
    np.testing.assert_allclose(parts["total"], np.log(2))


def test_what_cannot_be_taken_apart_is_named() -> None:
    mean, _ = lines(np.array([0.0]), draws=5)
    with pytest.raises(DiagnosticError, match=r"neither 'probability' nor 'mean'.*holds 'mean'"):
        uncertainty(tree_of(mean=mean))
    with pytest.raises(DiagnosticError, match="negative"):
        variance_parts(mean, -1.0)
    with pytest.raises(DiagnosticError, match="no dim 'draw'"):
        variance_parts(mean[:, 0], 1.0)
    with pytest.raises(DiagnosticError, match="sum to 1"):
        class_uncertainty(mean.rename(row="class"))
    with pytest.raises(DiagnosticError, match="no dim 'class'"):
        class_uncertainty(mean)
