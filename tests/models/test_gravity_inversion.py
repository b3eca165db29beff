"""Gravity over prisms: the kernel against choclo and limits, the posterior against algebra."""

from collections.abc import Callable, Iterator
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

import pyrovi as vi
from pyrovi.errors import DataError
from pyrovi.models import gravity_inversion as gravity
from pyrovi.models._gravity_checks import survey_checks
from pyrovi.models._prisms import GRAVITATIONAL_CONSTANT, MGAL, Mesh, prism_gravity, sensitivity
from pyrovi.models._smooth_field import SmoothField, depth_weight, mode_scale, precision
from pyrovi.models.gravity_inversion import Exact
from pyrovi.seeds import isolated
from pyrovi.tensors import bind
from pyrovi.tree import grow

ENTRY = gravity.GRAVITY_INVERSION
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


def field(shape: tuple[int, int, int]) -> tuple[SmoothField, np.ndarray]:
    reach, weight = np.array([1.5, 0.7, 2.0]), np.linspace(2.0, 0.5, shape[0])
    scale = mode_scale(shape, torch.tensor(reach), torch.tensor(200.0))
    found = SmoothField(scale, torch.tensor(weight))
    return found, precision(shape, reach, weight, 200.0).toarray()


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
    assert np.diff(q.indptr).max() <= 25  # neighbours, and theirs
    weights = np.repeat(weight, 64)
    spread = np.diag(np.linalg.inv(q.toarray())) * weights**2
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
    q = precision(shape, reach, weight, float(given["strength"])).toarray()
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
        gravity.whitened, {"field": values.reshape(small["truth"]["field"].shape)}
    )
    arguments = bind(gravity.whitened, small).kwargs
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
    tree = with_plane(gravity.buried_block())
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
    """KL at most 1e-3 nats: the full-rank Gaussian, and the linear response of mean field."""
    exact = Exact.of(section)
    for engine in (vi.DADVI(whiten=True), vi.DADVI(linear_response=True)):
        assert abs(exact.kl_from(*gaussian(section, engine))) < 1e-3


def test_the_bound_of_the_affine_family_is_the_log_evidence(section: xr.DataTree) -> None:
    fit = vi.fit(ENTRY.model, section, vi.DADVI(whiten=True), seed=0, progress=False)
    assert -fit.restarts[0].loss[-1] == pytest.approx(Exact.of(section).log_evidence, abs=1e-3)


def test_mean_field_has_the_mean_and_is_overconfident_about_every_cell(
    section: xr.DataTree,
) -> None:
    exact = Exact.of(section)
    loc, factor = gaussian(section, vi.DADVI())
    mean, covariance = exact.whitened()
    assert ((loc - mean).abs() / covariance.diagonal().sqrt()).max() < 0.02
    # The best mean-field Gaussian has the precision's diagonal (Turner and Sahani 2011).
    expected = torch.linalg.inv(covariance).diagonal().rsqrt()
    np.testing.assert_allclose(factor.diagonal(), expected, rtol=1e-3)
    understated = exact.sd / density_sd(exact, factor)
    assert understated.min() > 1.3
    assert 1.8 < np.median(understated) < 2.0
    assert exact.kl_from(loc, factor) > 20


def test_centred_and_whitened_are_one_distribution_and_one_posterior(small: xr.DataTree) -> None:
    exact = Exact.of(small)
    fit = vi.fit(gravity.centered, small, vi.DADVI(whiten=True), seed=0, progress=False)
    found = fit.approximations()[0]
    np.testing.assert_allclose((found.loc - exact.mean.ravel()) / exact.sd.ravel(), 0, atol=1e-3)
    covariance = found.scale_tril @ found.scale_tril.T
    np.testing.assert_allclose(covariance.diagonal().sqrt() / exact.sd.ravel(), 1, atol=1e-3)
    assert -fit.restarts[0].loss[-1] == pytest.approx(exact.log_evidence, abs=1e-3)


def test_the_density_of_a_drawn_tree_has_the_exact_mean_and_spread(small: xr.DataTree) -> None:
    fit = vi.fit(ENTRY.model, small, vi.DADVI(whiten=True), seed=0, progress=False)
    density = vi.draw(fit, draws=4000)["posterior"]["density"].to_numpy()[0]
    exact = Exact.of(small)
    assert np.abs((density.mean(0) - exact.mean) / exact.sd).max() < 6 / np.sqrt(4000)
    assert np.abs(density.std(0) / exact.sd - 1).max() < 5.5 / np.sqrt(8000)


def test_it_fits_under_plain_svi_with_an_autoguide() -> None:
    """Nothing of pyrovi but the model: a full-rank guide finds mean and spread of the density."""
    data = ENTRY.simulate(5, cells=(3, 1, 5), stations=8, sigma=0.5)
    arguments = bind(gravity.whitened, data).kwargs
    guide = AutoMultivariateNormal(gravity.whitened, init_scale=0.5)
    loc, factor = trained(gravity.whitened, guide, arguments)
    assert Exact.of(data).kl_from(loc, factor) < 0.05


def test_an_affine_flow_fits_under_plain_svi() -> None:
    """As the last test, for one learned affine transform of a standard normal."""
    data = ENTRY.simulate(5, cells=(3, 1, 5), stations=8, sigma=0.5)
    arguments = bind(gravity.whitened, data).kwargs
    affine, guide = affine_flow((3, 1, 5))
    trained(gravity.whitened, guide, arguments)
    loc, factor = (each.detach() for each in affine())
    assert Exact.of(data).kl_from(loc, factor) < 0.05


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
    model: Callable[..., Any], guide: Any, arguments: Any, steps: int = 3000
) -> tuple[torch.Tensor, torch.Tensor]:
    schedule = pyro.optim.ExponentialLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.05}, "gamma": 0.998}
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
    arguments = bind(gravity.positive, data).kwargs
    guide = vi.guides.nsf(gravity.positive, transforms=1, hidden=(16,))
    loss = Trace_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=1)
    svi = SVI(gravity.positive, guide, pyro.optim.Adam({"lr": 0.01}), loss)
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
    scaled = sparse * weight / gravity.STRENGTH
    assert scaled.std() == pytest.approx(1.0, abs=0.15)  # a Laplace's, 400 cells
    assert (np.abs(scaled) < 0.5).mean() > 0.45  # a normal has 0.38


def test_learning_finds_the_noise_and_the_strength_that_made_the_data() -> None:
    tree = ENTRY.simulate(8, cells=(8, 1, 16), stations=60, sigma=0.15)
    told = altered(tree, sigma=tree["constant_data"]["sigma"] / 3)
    fit = vi.fit(gravity.learned, told, vi.DADVI(whiten=True), seed=0, progress=False)
    posterior = vi.draw(fit, draws=2000)["posterior"]
    low, high = posterior["noise_factor"].quantile([0.01, 0.99])
    assert low < 3.0 < high
    assert low > 1.5
    low, high = posterior["amplitude"].quantile([0.01, 0.99])
    assert low < gravity.STRENGTH < high
