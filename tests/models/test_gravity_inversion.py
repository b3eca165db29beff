"""Gravity over prisms: the kernel against choclo and limits, the posterior against algebra."""

import functools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from choclo.constants import GRAVITATIONAL_CONST
from choclo.prism import gravity_u
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal
from scipy import stats

import pyrovi as vi
from pyrovi.bound.arguments import bind
from pyrovi.cli import main
from pyrovi.errors import DataError, PyroviWarning
from pyrovi.models import get
from pyrovi.models.gravity_inversion import Exact, survey_checks
from pyrovi.models.gravity_inversion.data import STRENGTH, buried_block
from pyrovi.models.gravity_inversion.model import SPREAD, centered, learned, positive, whitened
from pyrovi.models.gravity_inversion.prisms import (
    GRAVITATIONAL_CONSTANT,
    MGAL,
    Mesh,
    prism_gravity,
    sensitivity,
)
from pyrovi.models.gravity_inversion.smooth_field import (
    SmoothField,
    depth_weight,
    mode_scale,
)
from pyrovi.seeds import isolated
from pyrovi.tree import grow

ENTRY = get("gravity_inversion")
REFERENCE = Path(__file__).parents[2] / "models" / "gravity_inversion" / "reference.json"
SECTION = {"cells": (20, 1, 20), "stations": 40}
BLOCK = np.array([[-50.0, 50.0, -40.0, 60.0, 0.0, 100.0]])


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.clear_param_store()
    with isolated(7):
        yield
    pyro.clear_param_store()
    torch.set_default_dtype(torch.float32)


def at(*points: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Easting, northing and height of each point, as arrays."""
    easting, northing, height = np.array(points, dtype=float).T
    return easting, northing, height


def by_choclo(
    easting: np.ndarray, northing: np.ndarray, height: np.ndarray, prisms: np.ndarray
) -> np.ndarray:
    """Downward gravity in mGal; choclo's is upward in m/s2, and its axis points up."""
    up = [
        [gravity_u(*place, *sides[:4], -sides[5], -sides[4], 1.0) for sides in prisms]
        for place in zip(easting, northing, height, strict=True)
    ]
    return -np.array(up) * MGAL


def small_mesh() -> Mesh:
    """Cells of different widths, so that no axis can stand for another."""
    return Mesh(
        easting=np.linspace(-300.0, 500.0, 9),
        depth=np.array([20.0, 60.0, 150.0, 330.0]),
        northing=np.linspace(-250.0, 250.0, 6),
    )


# ------------------------------------------------------------------------------ kernel


def test_the_kernel_is_choclos_to_eight_digits() -> None:
    assert GRAVITATIONAL_CONSTANT == GRAVITATIONAL_CONST
    chance = np.random.default_rng(0)
    places = *chance.uniform(-600, 800, (2, 40)), chance.uniform(0, 80, 40)
    mesh = small_mesh()
    expected = by_choclo(*places, mesh.prisms)
    np.testing.assert_allclose(prism_gravity(*places, mesh.prisms), expected, rtol=1e-8)
    on_mesh = sensitivity(*places, mesh).reshape(40, -1)
    np.testing.assert_allclose(on_mesh, expected, rtol=1e-8)


@pytest.mark.parametrize(
    "place",
    [
        (50, 60, 0), (-50, -40, -100),  # corners
        (50, 0, 0), (0, 60, -100), (50, 60, -30),  # edges
        (0, 0, 0), (50, 0, -50), (0, 60, -10),  # faces
        (50, 80, 0), (90, 60, -100),  # beyond an edge, on its line
    ],
)  # fmt: skip
def test_the_kernel_is_finite_on_corners_edges_and_faces_and_its_limit_there(place: Any) -> None:
    here = prism_gravity(*at(place), BLOCK)
    assert np.isfinite(here).all()
    np.testing.assert_allclose(here, by_choclo(*at(place), BLOCK), rtol=1e-8)
    near = prism_gravity(*at(tuple(np.add(place, 1e-7))), BLOCK)
    np.testing.assert_allclose(here, near, rtol=1e-6, atol=1e-10)
    mesh = Mesh(easting=BLOCK[0, :2], northing=BLOCK[0, 2:4], depth=BLOCK[0, 4:])
    np.testing.assert_allclose(sensitivity(*at(place), mesh).ravel(), here[0], rtol=1e-12)


def test_a_big_flat_slab_is_bouguers_and_mass_below_pulls_down() -> None:
    thickness, reach = 150.0, 1e7
    slab = np.array([[-reach, reach, -reach, reach, 30.0, 30.0 + thickness]])
    bouguer = 2 * np.pi * GRAVITATIONAL_CONSTANT * MGAL * thickness
    assert prism_gravity(*at((0, 0, 5)), slab)[0, 0] == pytest.approx(bouguer, rel=2e-5)
    assert prism_gravity(*at((0, 0, -400)), slab)[0, 0] == pytest.approx(-bouguer, rel=1e-4)
    sheet = Mesh(easting=np.array([-reach, reach]), depth=np.array([30.0, 180.0]))
    assert sensitivity(*at((0, 0, 5)), sheet).item() == pytest.approx(bouguer, rel=2e-5)


def test_a_prism_far_away_is_a_point_of_its_mass() -> None:
    centre, volume = np.array([0.0, 10.0, -50.0]), 1e6
    for distance in (2e3, 4e3):
        place = centre + distance * np.array([0.48, 0.6, 0.64])
        point = GRAVITATIONAL_CONSTANT * MGAL * volume / distance**2 * 0.64
        # A cube has no quadrupole: what is left falls with the fourth power of size over distance.
        assert prism_gravity(*at(tuple(place)), BLOCK)[0, 0] == pytest.approx(point, rel=1e-5)


def test_a_section_is_what_prisms_tend_to_as_their_strike_grows() -> None:
    places = at((0, 0, 1), (130, 0, 20), (-400, 0, 0))
    sides = {"easting": np.array([-60.0, 0.0, 90.0]), "depth": np.array([10.0, 40.0, 100.0])}
    section = sensitivity(*places, Mesh(**sides))
    for strike, error in ((1e5, 1e-4), (1e6, 1e-6)):
        long = Mesh(**sides, northing=np.array([-strike, strike]))
        np.testing.assert_allclose(sensitivity(*places, long), section, rtol=error)
    on_corner = sensitivity(*at((-60, 0, -10), (0, 0, -40)), Mesh(**sides))
    assert np.isfinite(on_corner).all()


def test_the_mesh_is_the_sum_of_its_parts_and_its_cells_are_in_order() -> None:
    mesh, place = small_mesh(), at((10, -30, 2))
    whole = np.array([[-300.0, 500.0, -250.0, 250.0, 20.0, 330.0]])
    cells = sensitivity(*place, mesh)
    assert cells.sum() == pytest.approx(prism_gravity(*place, whole)[0, 0], rel=1e-12)
    assert cells.shape == (1, *mesh.shape)
    deepest = prism_gravity(*place, np.array([[-300.0, -200.0, 150.0, 250.0, 150.0, 330.0]]))
    assert cells[0, -1, -1, 0] == pytest.approx(deepest[0, 0], rel=1e-10)


# ------------------------------------------------------------------------------ prior


def precision(
    shape: tuple[int, int, int], reach: np.ndarray, weight: np.ndarray, strength: float
) -> np.ndarray:
    """That of the field over the cells, by the definition: v W A^2 W over the squared strength."""
    a = np.eye(math.prod(shape))
    for axis, (size, length) in enumerate(zip(shape, reach, strict=True)):
        parts = [np.eye(n) for n in shape]
        difference = np.diff(np.eye(size), axis=0)
        parts[axis] = length**2 * difference.T @ difference
        a += functools.reduce(np.kron, parts)
    unit = np.mean(np.diag(np.linalg.inv(a @ a)))
    weights = np.repeat(weight, shape[1] * shape[2])
    return unit / strength**2 * weights[:, None] * (a @ a) * weights


def field(shape: tuple[int, int, int]) -> tuple[SmoothField, np.ndarray]:
    reach, weight = np.array([1.5, 0.7, 2.0]), np.linspace(2.0, 0.5, shape[0])
    scale = mode_scale(shape, torch.tensor(reach), torch.tensor(200.0))
    smooth = SmoothField(scale, torch.tensor(weight))
    return smooth, precision(shape, reach, weight, 200.0)


@pytest.mark.parametrize("shape", [(4, 3, 5), (6, 1, 4), (1, 1, 7)])
def test_the_cosines_are_a_square_root_of_the_inverse_of_the_sparse_precision(
    shape: tuple[int, int, int],
) -> None:
    smooth, q = field(shape)
    size = len(q)
    identity = torch.eye(size).unflatten(1, shape)
    covariance = smooth.colour(smooth.colour_back(identity)).flatten(1).numpy()
    np.testing.assert_allclose(covariance @ q, np.eye(size), atol=1e-10)
    np.testing.assert_allclose(smooth.variance.flatten(), np.diag(covariance), rtol=1e-10)


def test_the_precision_is_sparse_and_its_strength_is_the_spread_of_the_weighted_field() -> None:
    shape, reach, weight = (8, 8, 8), np.array([2.0, 2.0, 2.0]), np.linspace(1.5, 0.6, 8)
    q = precision(shape, reach, weight, 150.0)
    assert np.count_nonzero(q, axis=1).max() <= 25  # neighbours, and theirs
    scale = mode_scale(shape, torch.tensor(reach), torch.tensor(150.0))
    variance = SmoothField(scale, torch.tensor(weight)).variance.numpy()
    spread = variance * weight[:, None, None] ** 2
    assert np.sqrt(spread.mean()) == pytest.approx(150.0)


def test_depth_weights_fall_as_the_gravity_of_a_cell_does() -> None:
    edges = np.linspace(0, 4000, 41)
    mesh = Mesh(easting=np.array([-50.0, 50.0]), northing=np.array([-50.0, 50.0]), depth=edges)
    pull = sensitivity(*at((0, 0, 0)), mesh).ravel()
    weight = depth_weight(mesh, 0.0, 2.0)
    deep = mesh.centres["depth"] > 500
    ratio = (weight**2 / pull)[deep]
    assert ratio.max() / ratio.min() < 1.02
    assert np.mean(weight**-2.0) == pytest.approx(1.0)


# ------------------------------------------------------------------------------ exact posterior


@pytest.fixture(scope="module")
def small() -> xr.DataTree:
    return ENTRY.simulate(5, cells=(4, 3, 5), stations=15)


@pytest.fixture(scope="module")
def section() -> xr.DataTree:
    return ENTRY.simulate(3, **SECTION)


def dense(data: xr.DataTree) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and covariance by the normal equations with the sparse precision."""
    given = data["constant_data"]
    kernel = given["sensitivity"].to_numpy()
    shape = kernel.shape[1], kernel.shape[2], kernel.shape[3]
    weight, reach = given["weight"].to_numpy(), given["reach"].to_numpy()
    q = precision(shape, reach, weight, float(given["strength"]))
    rows = kernel.reshape(len(kernel), -1) / given["sigma"].to_numpy()[:, None]
    covariance = np.linalg.inv(q + rows.T @ rows)
    whitened = data["observed_data"]["gravity"].to_numpy() / given["sigma"].to_numpy()
    return covariance @ rows.T @ whitened, covariance


def test_the_posterior_in_data_space_is_that_of_the_normal_equations(small: xr.DataTree) -> None:
    exact, (mean, covariance) = Exact.of(small), dense(small)
    scale = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((exact.mean.ravel() - mean) / scale, 0, atol=1e-7)
    np.testing.assert_allclose(exact.sd.ravel() / scale, 1, atol=1e-9)
    np.testing.assert_allclose(exact.covariance(), covariance, atol=1e-7 * scale.max() ** 2)


def test_the_log_evidence_is_joint_over_posterior_anywhere(small: xr.DataTree) -> None:
    exact = Exact.of(small)
    mean, covariance = exact.whitened()
    values = mean + torch.linalg.cholesky(covariance) @ torch.randn(len(mean))
    model = pyro.poutine.condition(
        whitened, {"field": values.reshape(small["truth"]["field"].shape)}
    )
    arguments = bind(whitened, small).kwargs
    joint = pyro.poutine.trace(model).get_trace(**arguments).log_prob_sum()
    posterior = dist.MultivariateNormal(mean, covariance).log_prob(values)
    assert exact.log_evidence == pytest.approx(float(joint - posterior), abs=1e-6)


def test_draws_have_the_exact_mean_and_covariance(small: xr.DataTree) -> None:
    exact, count = Exact.of(small), 20_000
    drawn = exact.draws(count, seed=0).reshape(count, -1)
    factor = np.linalg.cholesky(exact.covariance())
    white = np.linalg.solve(factor, (drawn - exact.mean.ravel()).T)
    assert np.abs(white.mean(1)).max() < 5.5 / np.sqrt(count)  # 60 means: 2e-6
    moment = white @ white.T / count
    assert np.abs(moment - np.eye(len(moment))).max() < 6 * np.sqrt(2 / count)


def test_resolution_is_what_the_mean_moves_by_when_the_ground_does(small: xr.DataTree) -> None:
    exact = Exact.of(small)
    kernel = exact.sensitivity.flatten(1)
    for cell in (0, 31, 59):
        pushed = Exact(
            exact.gravity + kernel[:, cell], exact.sensitivity, exact.sigma, exact.field,
            exact.basis,
        )  # fmt: skip
        moved = pushed.mean.ravel()[cell] - exact.mean.ravel()[cell]
        assert exact.resolution.ravel()[cell] == pytest.approx(moved, rel=1e-6)


def test_a_trend_that_is_modelled_is_part_of_the_exact_posterior() -> None:
    tree = with_plane(buried_block())
    exact = Exact.of(tree)
    fit = vi.fit(ENTRY.model, tree, vi.DADVI(whiten=True), seed=0, progress=False)
    found = fit.approximations()[0]
    assert exact.kl_from(found.loc, found.scale_tril) < 1e-3
    np.testing.assert_allclose(exact.trend, found.loc[-3:], atol=1e-3)


def with_plane(tree: xr.DataTree) -> xr.DataTree:
    """The same data with a regional plane in the model."""
    easting = tree["constant_data"]["position"].sel(coordinate="easting").to_numpy()
    unit = (easting - easting.mean()) / 1500.0
    basis = np.column_stack([np.ones(len(unit)), unit, 0 * unit])
    return altered(tree, basis=(("station", "term"), basis))


def altered(tree: xr.DataTree, **values: Any) -> xr.DataTree:
    """The data with other values; what is known of the truth is dropped."""
    observed, constant = (tree[g].to_dataset() for g in ("observed_data", "constant_data"))
    data = {name: value for name, value in values.items() if name in observed}
    rest = {name: value for name, value in values.items() if name not in observed}
    return grow(
        xr.DataTree(), observed_data=observed.assign(data), constant_data=constant.assign(rest)
    )


# ------------------------------------------------------------------------------ families


def gaussian(tree: xr.DataTree, engine: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and a factor of the covariance of a Gaussian fit."""
    fit = vi.fit(ENTRY.model, tree, engine, seed=0, progress=False)
    assert fit.status is vi.Status.CONVERGED
    found = fit.approximations()[0]
    return found.loc, found.scale_tril if found.scale_tril.ndim > 1 else found.scale_tril.diag()


def density_sd(exact: Exact, factor: torch.Tensor) -> np.ndarray:
    """Standard deviation of each cell's density, from a factor for the sites."""
    shaped = factor.T.unflatten(1, exact.sensitivity.shape[1:])
    return exact.field.colour(shaped).square().sum(0).sqrt().numpy()


def test_an_affine_map_holds_the_posterior_of_a_section_of_400_cells(section: xr.DataTree) -> None:
    """KL at most 1e-3 nats, and the bound is the log evidence."""
    exact = Exact.of(section)
    fit = vi.fit(ENTRY.model, section, vi.DADVI(whiten=True), seed=0, progress=False)
    found = fit.approximations()[0]
    assert abs(exact.kl_from(found.loc, found.scale_tril)) < 1e-3
    assert -fit.restarts[0].loss[-1] == pytest.approx(exact.log_evidence, abs=1e-3)


def check_mean_field(tree: xr.DataTree, least: float, median: tuple[float, float]) -> None:
    exact = Exact.of(tree)
    loc, factor = gaussian(tree, vi.DADVI())
    mean, covariance = exact.whitened()
    assert ((loc - mean).abs() / covariance.diagonal().sqrt()).max() < 0.02
    # The best mean-field Gaussian has the precision's diagonal; the rest is the fixed draws'.
    expected = torch.linalg.inv(covariance).diagonal().rsqrt()
    assert (factor.diagonal() / expected - 1).abs().max() < 0.1
    understated = exact.sd / density_sd(exact, factor)
    assert understated.min() > least
    assert median[0] < np.median(understated) < median[1]
    response = gaussian(tree, vi.DADVI(linear_response=True))
    assert abs(exact.kl_from(*response)) < 1e-3
    np.testing.assert_allclose(density_sd(exact, response[1]), exact.sd, rtol=1e-3)


def test_mean_field_is_overconfident_about_every_cell_and_linear_response_exact() -> None:
    check_mean_field(ENTRY.simulate(3, cells=(5, 1, 8), stations=16), 1.4, (1.8, 2.4))


@pytest.mark.slow
def test_the_same_on_a_section_of_400_cells(section: xr.DataTree) -> None:
    check_mean_field(section, 1.3, (1.8, 2.0))


def test_centred_and_whitened_are_one_distribution_and_one_posterior(small: xr.DataTree) -> None:
    exact = Exact.of(small)
    fit = vi.fit(centered, small, vi.DADVI(whiten=True), seed=0, progress=False)
    found = fit.approximations()[0]
    apart = (found.loc.numpy() - exact.mean.ravel()) / exact.sd.ravel()
    assert np.abs(apart).max() < 1e-3
    sd = found.scale_tril.square().sum(1).sqrt().numpy()
    np.testing.assert_allclose(sd, exact.sd.ravel(), rtol=1e-3)
    assert -fit.restarts[0].loss[-1] == pytest.approx(exact.log_evidence, abs=1e-3)


def test_the_density_of_a_drawn_tree_has_the_exact_mean_and_spread(small: xr.DataTree) -> None:
    fit = vi.fit(ENTRY.model, small, vi.DADVI(whiten=True), seed=0, progress=False)
    density = vi.draw(fit, draws=4000)["posterior"]["density"].to_numpy()[0]
    exact = Exact.of(small)
    assert np.abs((density.mean(0) - exact.mean) / exact.sd).max() < 6 / np.sqrt(4000)
    assert np.abs(density.std(0) / exact.sd - 1).max() < 5.5 / np.sqrt(8000)


def test_it_fits_under_plain_svi_with_an_autoguide() -> None:
    """Nothing of pyrovi but the model: a full-rank guide finds mean and spread of the density."""
    data = ENTRY.simulate(5, cells=(2, 1, 5), stations=8, sigma=0.5)
    arguments = bind(whitened, data).kwargs
    guide = AutoMultivariateNormal(whitened, init_scale=0.5)
    loc, factor = trained(whitened, guide, arguments)
    assert Exact.of(data).kl_from(loc, factor) < 0.1


def test_an_affine_flow_fits_under_plain_svi() -> None:
    """As the last test, for one learned affine transform of a standard normal."""
    data = ENTRY.simulate(5, cells=(2, 1, 5), stations=8, sigma=0.5)
    arguments = bind(whitened, data).kwargs
    affine, guide = affine_flow((2, 1, 5))
    trained(whitened, guide, arguments)
    loc, factor = (each.detach() for each in affine())
    assert Exact.of(data).kl_from(loc, factor) < 0.1


def affine_flow(
    shape: tuple[int, int, int],
) -> tuple[Callable[[], tuple[torch.Tensor, torch.Tensor]], Callable[..., None]]:
    """A guide that pushes a standard normal through z -> loc + tril z, and its parameters."""
    size = int(np.prod(shape))
    positive = dist.constraints.softplus_lower_cholesky

    def parameters() -> tuple[torch.Tensor, torch.Tensor]:
        loc = pyro.param("loc", torch.zeros(size))
        return loc, pyro.param("tril", 0.5 * torch.eye(size), constraint=positive)

    def guide(*args: Any, **kwargs: Any) -> None:
        del args, kwargs
        base = dist.Normal(torch.zeros(size), 1.0).to_event(1)
        affine = dist.transforms.LowerCholeskyAffine(*parameters())
        reshape = dist.transforms.ReshapeTransform((size,), shape)
        pyro.sample("field", dist.TransformedDistribution(base, [affine, reshape]))

    return parameters, guide


def trained(
    model: Callable[..., Any], guide: Any, arguments: Any, steps: int = 600
) -> tuple[torch.Tensor, torch.Tensor]:
    schedule = pyro.optim.ExponentialLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.05}, "gamma": 0.993}
    )
    loss = Trace_ELBO(num_particles=16, vectorize_particles=True, max_plate_nesting=1)
    svi = SVI(model, guide, schedule, loss)
    for _ in range(steps):
        svi.step(**arguments)
        schedule.step()
    if not isinstance(guide, AutoMultivariateNormal):
        return torch.zeros(0), torch.zeros(0, 0)
    return guide.loc.detach(), (guide.scale[:, None] * guide.scale_tril).detach()


def test_a_zuko_flow_trains_under_plain_svi_on_positive_ground() -> None:
    data = ENTRY.simulate(5, cells=(3, 1, 5), stations=8)
    arguments = bind(positive, data).kwargs
    guide = vi.guides.nsf(positive, transforms=1, hidden=(16,))
    loss = Trace_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=1)
    svi = SVI(positive, guide, pyro.optim.Adam({"lr": 0.01}), loss)
    losses = np.array([svi.step(**arguments) for _ in range(150)])
    assert np.isfinite(losses).all()
    assert losses[-20:].mean() < losses[:20].mean()


# ------------------------------------------------------------------------------ variants


def test_positive_ground_has_no_negative_density_and_sparse_ground_is_mostly_near_nothing() -> (
    None
):
    kept = {n: ENTRY.variant(n).simulate(2, cells=(20, 1, 20)) for n in ("positive", "sparse")}
    assert (kept["positive"]["truth"]["density"] >= 0).all()
    sparse = kept["sparse"]["truth"]["density"].to_numpy()
    weight = kept["sparse"]["constant_data"]["weight"].to_numpy()[:, None, None]
    scaled = sparse * weight / STRENGTH
    assert scaled.std() == pytest.approx(1.0, abs=0.15)  # a Laplace's, 400 cells
    assert (np.abs(scaled) < 0.5).mean() > 0.45  # a normal has 0.38


def log_hyperposterior(tree: xr.DataTree, at: np.ndarray) -> float:
    """Of the logarithms of amplitude, stretch and noise factor, by the exact evidence."""
    given = bind(learned, tree).kwargs
    amplitude, stretch, factor = np.exp(at)
    changed = {
        "strength": amplitude,
        "reach": given["reach"] * stretch,
        "sigma": given["sigma"] * factor,
    }
    evidence = Exact.of({**given, **changed}).log_evidence
    centre = np.log([float(given["strength"]), 1.0, 1.0])
    return evidence + stats.norm(centre, list(SPREAD.values())).logpdf(at).sum()


def by_grid(tree: xr.DataTree, centre: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Mean and sd (2, 3) of the logarithms, by summing over a grid."""
    lines = [np.linspace(c - r, c + r, 8) for c, r in zip(centre, reach, strict=True)]
    points = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 3)
    height = np.array([log_hyperposterior(tree, point) for point in points])
    weight = np.exp(height - height.max())
    weight /= weight.sum()
    mean = weight @ points
    return np.stack([mean, np.sqrt(weight @ (points - mean) ** 2)])


def test_learned_strength_length_and_noise_are_those_of_the_exact_evidence() -> None:
    tree = ENTRY.simulate(1, cells=(3, 1, 6), stations=10)
    fit = vi.fit(learned, tree, vi.DADVI(whiten=True), seed=0, progress=False)
    posterior = vi.draw(fit, draws=4000)["posterior"]
    logs = np.stack([np.log(posterior[name].to_numpy()[0]) for name in SPREAD])
    found = np.stack([logs.mean(1), logs.std(1)])
    mean, sd = by_grid(tree, found[0], 3.6 * found[1])
    assert np.abs((found[0] - mean) / sd).max() < 0.1
    assert np.abs(found[1] / sd - 1).max() < 0.15


def test_the_density_of_learned_ground_is_the_exact_one_given_what_was_learned(
    small: xr.DataTree,
) -> None:
    """With the hyperparameters held, the draws are those of the exact posterior, trend and all."""
    tree = with_plane(small)
    held = {"amplitude": tree["constant_data"]["strength"].to_numpy(), "stretch": 1.0}
    held |= {"noise_factor": 1.0}
    values = {name: torch.as_tensor(value) for name, value in held.items()}
    model = pyro.poutine.do(learned, data=values)
    arguments, count = bind(learned, tree).kwargs, 20_000
    with torch.no_grad(), pyro.plate("draws", count, dim=-2):
        trace = pyro.poutine.trace(model).get_trace(**arguments)
    exact, nodes = Exact.of(tree), trace.nodes
    drawn = nodes["density"]["value"].reshape(count, *exact.mean.shape).numpy()
    assert np.abs((drawn.mean(0) - exact.mean) / exact.sd).max() < 5.5 / np.sqrt(count)
    assert np.abs(drawn.std(0) / exact.sd - 1).max() < 5.5 / np.sqrt(2 * count)
    trend = nodes["trend"]["value"].reshape(count, 3).numpy()
    assert np.abs((trend.mean(0) - exact.trend) / trend.std(0)).max() < 5.5 / np.sqrt(count)
    evidence = nodes["gravity"]["fn"].log_prob(arguments["gravity"]).flatten()[0]
    assert float(evidence) == pytest.approx(exact.log_evidence, abs=1e-8)


# ------------------------------------------------------------------------------ checks


def exactly(tree: xr.DataTree, draws: int = 1000) -> xr.DataTree:
    """The data with draws of the exact posterior, as `pyrovi.draw` would leave them."""
    exact = Exact.of(tree)
    dims = ("chain", "draw", "depth", "northing", "easting")
    posterior = xr.Dataset({"density": (dims, exact.draws(draws, seed=0)[None])})
    if exact.basis.shape[1]:
        trend = exact.trend_draws(draws, seed=0)[None]
        posterior["trend"] = (("chain", "draw", "term"), trend)
    return grow(tree, posterior=posterior)


def flagged(trees: list[xr.DataTree]) -> dict[str, int]:
    """How often each statistic is not quiet."""
    tables = [survey_checks(exactly(tree), ENTRY.model, seed=i) for i, tree in enumerate(trees)]
    return {str(n): sum(not t.loc[n, "quiet"] for t in tables) for n in tables[0].index}


def surveys(count: int = 10, **options: Any) -> list[xr.DataTree]:
    return [ENTRY.simulate(s, cells=(12, 1, 24), stations=40, **options) for s in range(count)]


def test_the_checks_are_quiet_where_the_model_is_right() -> None:
    """30 surveys, 1% each way or less: three of one kind or six in all happen once in 5,000."""
    counts = flagged(surveys(30))
    assert max(counts.values()) < 4
    assert sum(counts.values()) < 7


def test_the_checks_see_a_wrong_noise_level() -> None:
    for factor, times in ((1 / 3, 9), (4.0, 8)):
        wrong = [altered(t, sigma=t["constant_data"]["sigma"] * factor) for t in surveys()]
        assert flagged(wrong)["misfit"] >= times


def test_the_checks_see_a_regional_trend_until_it_is_modelled() -> None:
    trended = []
    for tree in surveys():
        easting = tree["constant_data"]["position"].sel(coordinate="easting") / 1000.0 - 1.0
        trend = 6 * float(tree["observed_data"]["gravity"].std()) * easting
        trended.append(altered(tree, gravity=tree["observed_data"]["gravity"] + trend.to_numpy()))
    assert flagged(trended)["tilt"] >= 8
    modelled = []
    for tree in trended:
        basis = with_plane(tree)["constant_data"]["basis"].to_numpy() * 20.0  # mGal
        modelled.append(altered(tree, basis=(("station", "term"), basis)))
    assert max(flagged(modelled).values()) <= 1


def test_the_checks_see_a_wrong_depth_weighting() -> None:
    """Deep ground inverted without weighting, and shallow ground with far too much."""
    deep = [altered(t, weight=("depth", np.ones(12))) for t in surveys(exponent=4.0)]
    found = flagged(deep)
    assert found["size"] + found["roughness"] >= 9
    steep = []
    for tree in surveys(exponent=0.0):
        inverse = (tree["constant_data"]["depth"].to_numpy() + 1.0) ** 2
        weight = np.sqrt(np.mean(inverse**2)) / inverse
        steep.append(altered(tree, weight=("depth", weight)))
    found = flagged(steep)
    assert found["misfit"] + found["roughness"] + found["size"] >= 9


# ------------------------------------------------------------------------------ real surveys


def table(**changed: Any) -> pd.DataFrame:
    """A survey on a grid of hills, as a table."""
    side = np.linspace(0.0, 3000.0, 5)
    easting, northing = (each.ravel() for each in np.meshgrid(side, side))
    columns = {
        "easting": easting + 400_000.0,
        "northing": northing + 6_700_000.0,
        "height": 100.0 + easting / 100.0,
        "gravity": np.sin(easting / 900.0),
        "sigma": np.full(25, 0.05),
    }
    return pd.DataFrame({**columns, **changed})


def test_a_survey_of_ones_own_gets_a_mesh_under_it() -> None:
    tree = ENTRY.read(table(), cells="5,6,7")
    given = tree["constant_data"]
    assert given["sensitivity"].shape == (25, 5, 6, 7)
    assert given["easting"].min() < 400_000
    assert given["easting"].max() > 403_000
    assert given["depth"].min() > -100.0
    assert given["term"].to_numpy().tolist() == ["level", "to the east", "to the north"]
    fit = vi.fit(ENTRY.model, tree, vi.DADVI(whiten=True), seed=0, progress=False)
    found = fit.approximations()[0]
    assert Exact.of(tree).kl_from(found.loc, found.scale_tril) < 1e-3


def test_units_change_the_numbers_in_the_table_and_nothing_else() -> None:
    metres = table()
    other = metres.assign(
        **{name: metres[name] / 1000 for name in ("easting", "northing", "height")},
        **{name: metres[name] * 1000 for name in ("gravity", "sigma")},
    )
    one, same = ENTRY.read(metres), ENTRY.read(other, units="km, uGal")
    for group in ("observed_data", "constant_data"):
        for name in one[group].data_vars:
            np.testing.assert_allclose(one[group][name], same[group][name], rtol=1e-7, atol=1e-12)
    si = ENTRY.read(metres.assign(gravity=metres["gravity"] * 1e-5, sigma=5e-7), units="m/s2")
    np.testing.assert_allclose(si["observed_data"]["gravity"], one["observed_data"]["gravity"])


def test_a_line_to_the_east_makes_a_section() -> None:
    tree = ENTRY.read(table().query("northing == 6700000"), cells="4,10")
    assert tree["constant_data"]["sensitivity"].shape == (5, 4, 1, 10)


def first(values: Any, value: Any) -> list[Any]:
    return [value, *list(values)[1:]]


BAD: dict[str, tuple[pd.DataFrame, dict[str, Any], str]] = {
    "column": (table().drop(columns="height"), {}, "one column 'height', and none came"),
    "typo": (table().rename(columns={"sigma": "sigmas"}), {}, "did you mean 'sigmas'"),
    "nan": (
        table(gravity=first(range(25), np.nan)),
        {},
        "row 0, column 'gravity': expected a number, and none came. Fill it in, or drop the row.",
    ),
    "text": (table(height=first(range(25), "high")), {}, "'high' came"),
    "sigma": (table(sigma=first(range(1, 26), 0.0)), {}, "expected a number above zero, and 0.0"),
    "few": (table().head(4), {}, "at least 5 stations, and 4 came"),
    "twice": (pd.concat([table(), table().head(1)]), {}, "a station is already there"),
    "place": (table(easting=1.0, northing=1.0, height=range(25)), {}, "one easting and northing"),
    "inside": (
        table(),
        {"top": "-115"},
        (
            "row 0, column 'height': the station lies inside the mesh. It is at 100 m, and the "
            "mesh begins at 115 m (top=-115). Give a top of -100 or more"
        ),
    ),
    "units": (table(), {"units": "m,mgall"}, "Unknown unit 'mgall'"),
    "lengths": (table(), {"units": "km,km"}, "'km' and 'km' are both of length. Give one of"),
    "gravities": (table(), {"units": "uGal,mGal"}, "'uGal' and 'mGal' are both of gravity"),
    "kilometres": (
        table(easting=table()["easting"] - 400_000, northing=table()["northing"] - 6_700_000),
        {"units": "km"},
        (
            "row 0, column 'height': expected at most 20 km in size, and 100.0 came. Correct it, "
            "or the units (now km,mGal)."
        ),
    ),
    "far": (
        table(easting=first(400_000.0 + table()["easting"], 8e6)),
        {},
        "row 0, column 'easting': the station is",
    ),
    "wide": (
        table(height=0.0, northing=table()["northing"] - 6_700_000, easting=np.arange(25.0)),
        {"units": "km"},
        (
            "row 0, column 'northing': the station is 1500 km from the middle of the survey, and "
            "the Earth is flat here: at most 1000 km wide. Correct it, or the units (now km)."
        ),
    ),
    "huge": (
        table(gravity=first(range(25), 1e300)),
        {},
        "row 0, column 'gravity': expected at most 10000 mGal in size, and 1e+300 came.",
    ),
    "absolute": (
        table(gravity=9.8 + table()["gravity"] * 1e-5),
        {"units": "m/s2"},
        (
            "at most 0.1 m/s2 in size, and 9.8 came. Correct it, or the units (now m,m/s2). Of "
            "measured gravity the normal field is to be taken off first."
        ),
    ),
    "beyond": (
        table(easting=first(table()["easting"], -1e300)),
        {},
        "row 0, column 'easting': expected at most 1e+08 m in size, and -1e+300 came.",
    ),
    "fine": (
        table(sigma=first([0.05] * 25, 1e-200)),
        {"units": "uGal"},
        "row 0, column 'sigma': expected at least 0.001 uGal, and 1e-200 came.",
    ),
    "across": (
        table(),
        {"section": "yes"},
        "stations lie 3000 m apart along northing, more than a cell's 94.74 m. Read one line",
    ),
    "memory": (
        table(),
        {"cells": "80,80,80000"},
        "80 x 80 x 80000 of them under 25 stations make a kernel of 102 GB, and at most 4 GB",
    ),
    "deep": (table(), {"depth": "1e300"}, "depth: expected a number from 0.01 to 1e+06 m, and"),
    "steep": (
        table(),
        {"exponent": "1000"},
        "exponent: expected a number from 0 to 20, and",
    ),
    "long": (table(), {"length": "1e300"}, "length: expected a number from 0.01 to 1e+07 m, and"),
    "top": (table(), {"top": "nan"}, "top: expected a number from -1e+06 to 1e+06 m, and 'nan'"),
    "cells": (table(), {"cells": "8,12"}, "3 whole numbers of at least 1"),
    "depth": (
        table(),
        {"depth": "-5"},
        "depth: expected a number from 0.01 to 1e+06 m, and '-5' came",
    ),
    "regional": (
        table(),
        {"regional": "planar"},
        "regional: expected one of none, cons",
    ),
    "strength": (table(), {"strength": "much"}, "strength: expected a number from 0.001"),
    "option": (table(), {"cell": "5,6,7"}, "no option 'cell' for a table (did you mean 'cells'?)"),
}


@pytest.mark.parametrize("wrong", BAD)
def test_a_bad_survey_gets_one_clear_line(wrong: str) -> None:
    frame, options, message = BAD[wrong]
    with pytest.raises(DataError) as found:
        ENTRY.read(frame, **options)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_a_height_far_off_the_others_is_named() -> None:
    """A sign or a digit too many at one station would put the whole mesh deep."""
    heights = table()["height"] % 7
    heights[11] = -500.0
    said = r"row 11, column 'height': -500 m is far off .*the mesh begins at the lowest.*right\?$"
    with pytest.warns(PyroviWarning, match=said):
        tree = ENTRY.read(table(height=heights))
    assert tree["constant_data"]["depth"].min() > 500
    heights[11] = 500.0
    with pytest.warns(PyroviWarning, match=r"500 m is far off the others \(their median is"):
        ENTRY.read(table(height=heights))
    ENTRY.read(table(height=np.linspace(0.0, 1500.0, 25)))  # a mountain's side is no mistake


def test_a_survey_of_unlikely_size_is_doubted() -> None:
    near = table(easting=table()["easting"] / 1000, northing=0.0)
    with pytest.warns(PyroviWarning, match=r"3 m wide\. Are lengths in m\?"):
        ENTRY.read(near.iloc[:5])
    far = table(easting=table()["easting"] * 200, northing=0.0)
    with pytest.warns(PyroviWarning, match=r"600 km wide\. The Earth is flat here\. Are lengths"):
        ENTRY.read(far.iloc[:5])


def test_a_section_takes_stations_that_are_nearly_in_line() -> None:
    line = table().iloc[:5].assign(northing=np.array([0.0, 3.0, -2.0, 1.0, 4.0]))
    assert ENTRY.read(line, section="yes")["constant_data"]["sensitivity"].shape[2] == 1


def test_what_simulate_and_meshes_of_ones_own_ask_of_memory_is_bounded_too() -> None:
    with pytest.raises(DataError, match="1000 x 1000 x 1000 of them under 24 stations"):
        ENTRY.simulate(1, cells=(1000, 1000, 1000))


def test_bad_meshes_and_trees_get_one_clear_line() -> None:
    with pytest.raises(DataError, match="must ascend"):
        Mesh(easting=np.array([0.0, 2.0, 1.0]), depth=np.array([0.0, 1.0]))
    with pytest.raises(DataError, match="at least 2 finite"):
        Mesh(easting=np.array([0.0]), depth=np.array([0.0, 1.0]))
    with pytest.raises(DataError, match="The model needs sensitivity"):
        Exact.of({"gravity": np.zeros(3)})
    with pytest.raises(DataError, match=r"Pass what pyrovi\.draw returns"):
        survey_checks(ENTRY.load(), ENTRY.model)
    with pytest.raises(DataError, match="sizes above zero, and sigma=0"):
        ENTRY.simulate(1, sigma=0.0)


def test_the_worked_example_says_that_it_is_made_up_and_its_blocks_are_found() -> None:
    tree = ENTRY.load("buried_block")
    assert tree["observed_data"]["gravity"].attrs["comment"] == "made up, not measured"
    exact = Exact.of(tree)
    middle = exact.mean[:, 0, :].mean(0)
    easting = tree["constant_data"]["easting"].to_numpy()
    assert 700 < easting[middle.argmax()] < 1100
    assert 1900 < easting[middle.argmin()] < 2400
    density = 300.0 * (np.abs(easting - 900) < 200) - 200.0 * (np.abs(easting - 2150) < 250)
    assert np.corrcoef(middle, density)[0, 1] > 0.8


def test_the_reference_on_the_shelf_is_the_closed_form() -> None:
    found = json.loads(REFERENCE.read_text())["variants"]["whitened"]
    exact = Exact.of(ENTRY.load("buried_block"))
    assert found["how"]["log_evidence"] == pytest.approx(exact.log_evidence, abs=1e-5)
    for key, values in (("mean", exact.mean), ("sd", exact.sd)):
        kept = [row[key] for row in found["quantities"].values()]
        np.testing.assert_allclose(kept, values.ravel(), rtol=1e-4, atol=1e-3)


def test_the_units_of_a_survey_are_still_there_when_it_is_fitted(small: xr.DataTree) -> None:
    fit = vi.fit(ENTRY.model, small, vi.DADVI(whiten=True), seed=0, progress=False)
    drawn = vi.draw(fit, draws=5)
    for tree in (small, ENTRY.load(), ENTRY.read(table()), drawn):
        given = tree["constant_data"]
        for name in ("easting", "northing", "depth", "position"):
            assert given[name].attrs["units"] == "m"
        assert given["strength"].attrs["units"] == "kg/m3"
        assert tree["observed_data"]["gravity"].attrs["units"] == "mGal"
    assert drawn["posterior"]["density"].attrs["units"] == "kg/m3"
    assert drawn["posterior_predictive"]["gravity"].attrs["units"] == "mGal"
    assert "units" not in drawn["log_likelihood"]["gravity"].attrs


def test_a_survey_runs_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table().assign(note="x").to_csv(tmp_path / "survey.csv", index=False)
    options = ["--units", "m,mGal", "--cells", "3,4,4", "--regional", "plane"]
    command = ["fit", "gravity_inversion", "--data", str(tmp_path / "survey.csv"), *options]
    with pytest.raises(SystemExit) as left:
        main([*command, "--out", str(tmp_path / "out"), "--seed", "0"])
    assert left.value.code == 0
    table(sigma=-1.0).to_csv(tmp_path / "bad.csv", index=False)
    command[3] = str(tmp_path / "bad.csv")
    with pytest.raises(SystemExit) as left:
        main([*command, "--out", str(tmp_path / "bad")])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "bad.csv, line 2, column 'sigma': expected a number above zero, and -1.0 came." in said


def test_scale_needs_no_dense_matrix_and_refuses_to_make_one() -> None:
    tree = ENTRY.simulate(1, cells=(16, 20, 20), stations=60, width=4000.0)
    exact = Exact.of(tree)
    assert exact.mean.shape == exact.sd.shape == (16, 20, 20)
    assert exact.resolution.sum() < 60
    drawn = exact.draws(400, seed=0)
    assert np.mean(drawn.std(0) / exact.sd) == pytest.approx(1.0, abs=0.02)
    white = (tree["truth"]["density"].to_numpy() - exact.mean) / exact.sd
    assert np.mean(np.abs(white) < 2) == pytest.approx(0.954, abs=0.05)
    with pytest.raises(DataError, match="up to 5000 cells, and there are 6400"):
        exact.covariance()
