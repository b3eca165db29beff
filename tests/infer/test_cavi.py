"""CAVI: its bound never falls, and its optimum is that of the same family found otherwise."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import pyrovi as vi
from infer import declared
from pyrovi.approximations import Factors
from pyrovi.approximations.coordinates import Sweeper
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.errors import EngineError, ModelError
from pyrovi.infer.engines.cavi import elbo
from pyrovi.models import gaussian_mixture as mixture
from pyrovi.structure import CoordinateUpdates, declare

RANDOM_PROBLEMS = 200
SAME_NATS = 1e-3  # what the same family's optimum may differ by, found another way


def density_of(model: Any, data: Any) -> LogDensity:
    return LogDensity(bind_model(model, bind(model, data)))


def factors_of(fit: vi.Fit) -> Mapping[str, Any]:
    approximation = fit.approximations()[0]
    assert isinstance(approximation, Factors)
    return approximation.factors


# ------------------------------------------------------------------------- it never falls


def random_problem(rng: np.random.Generator) -> tuple[str, dict[str, Any]]:
    """Sizes, spreads, offsets and a fit of the wrong K: nothing that is kind to the updates."""
    D, K, n = int(rng.integers(1, 6)), int(rng.integers(1, 7)), int(rng.integers(1, 120))
    variant = ("unit", "conjugate")[int(rng.integers(2))]
    spread = float(10 ** rng.uniform(-1, 1.5))
    centres = rng.normal(0, spread, (int(rng.integers(1, 7)), D))
    y = centres[rng.integers(len(centres), size=n)] + rng.normal(size=(n, D)) @ rng.normal(
        size=(D, D)
    )
    return variant, {"y": y + rng.normal(0, 3), "components": K, "spread": spread}


@pytest.mark.parametrize("part", range(4))
def test_the_elbo_never_falls_on_200_random_problems(part: int) -> None:
    rng = np.random.default_rng(part)
    engine = vi.CAVI(max_steps=60)
    for index in range(RANDOM_PROBLEMS // 4):
        variant, given = random_problem(rng)
        data = {**given, "y": torch.as_tensor(given["y"])}
        updates = mixture.UNIT_UPDATES if variant == "unit" else mixture.CONJUGATE_UPDATES
        problem = updates.prepare(**data)
        sweeper = Sweeper(DENSITY, updates, problem, dict(updates.start(problem, index)), {})
        state = engine.begin(sweeper)
        losses, sizes = [], []
        for _ in range(engine.max_steps):
            losses.append(engine.step(state))
            sizes.append(state.size)
            if engine.converged(state):
                break
        assert np.isfinite(losses).all()
        assert (np.diff(losses) <= 1e-12 * max(sizes)).all(), (variant, given)


DENSITY = density_of(declared.line, declared.line_data())  # its clock is all that is read


def test_an_update_that_is_not_the_conditional_is_found_out_and_named() -> None:
    def off(problem: Any, given: Mapping[str, Any]) -> Any:
        right = declared.LINE.coordinates["slope"].update(problem, given)
        return declared.normal("slope", right.of.loc + 0.3 * len(broken), right.of.scale)

    broken = [0]  # the error grows, so that the bound goes down and not just to the wrong place

    def ever_worse(problem: Any, given: Mapping[str, Any]) -> Any:
        broken.append(0)
        return off(problem, given)

    coordinates = dict(declared.LINE.coordinates)
    coordinates["slope"] = dataclasses.replace(coordinates["slope"], update=ever_worse)
    model = redeclared(dataclasses.replace(declared.LINE, coordinates=coordinates))
    with pytest.raises(ModelError, match=r"fell by .* The update of 'slope' is the likeliest"):
        vi.fit(model, declared.line_data(), vi.CAVI(), seed=0)


def redeclared(updates: CoordinateUpdates) -> Any:
    """The line, with other updates."""

    @declare(coordinate_updates=updates, name="line")
    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        declared.line(x, y)

    return model


# ------------------------------------------------------------------------- the same optimum


def exact_line() -> tuple[float, torch.Tensor, torch.Tensor]:
    """The evidence of the line, and its posterior's mean and precision."""
    x, y = declared.line_data().values()
    design = torch.stack([torch.ones_like(x), x], dim=1)
    precision = design.T @ design + torch.eye(2, dtype=torch.float64) / declared.WIDE**2
    mean = torch.linalg.solve(precision, design.T @ y)
    cov = np.eye(len(y)) + declared.WIDE**2 * (design @ design.T).numpy()
    return float(stats.multivariate_normal(np.zeros(len(y)), cov).logpdf(y)), mean, precision


def exact_line_elbo() -> float:
    """The evidence less KL(q, p): half the log of the precisions' product over the determinant."""
    evidence, _, precision = exact_line()
    return evidence - 0.5 * float(precision.diagonal().log().sum() - precision.logdet())


def test_on_a_gaussian_posterior_it_reaches_the_mean_field_optimum_in_closed_form() -> None:
    fit = vi.fit(declared.line, declared.line_data(), vi.CAVI(tolerance=1e-13), seed=1)
    assert fit.status is vi.Status.CONVERGED
    _, mean, precision = exact_line()
    found = factors_of(fit)
    for i, name in enumerate(("intercept", "slope")):
        assert float(found[name].of.loc) == pytest.approx(float(mean[i]), abs=1e-6)
        assert float(found[name].of.scale) == pytest.approx(float(precision[i, i]) ** -0.5)
    assert -fit.loss[-1] == pytest.approx(exact_line_elbo(), abs=1e-9)


def test_dadvi_reaches_the_same_bound_on_the_same_family() -> None:
    cavi, dadvi = (
        vi.fit(declared.line, declared.line_data(), engine, seed=1)
        for engine in (vi.CAVI(), vi.DADVI())
    )
    assert abs(dadvi.loss[-1] - cavi.loss[-1]) < SAME_NATS / 10


def test_svi_reaches_the_same_bound_on_the_same_family() -> None:
    """The bound of the guide that SVI found is worked out exactly: its noise does not count."""
    cavi, svi = (
        vi.fit(declared.line, declared.line_data(), engine, seed=1)
        for engine in (vi.CAVI(), vi.SVI(guide="mean_field"))
    )
    guide: Any = svi.approximations()[0].guide  # pyright: ignore[reportAttributeAccessIssue]
    factors = {
        name: declared.normal(
            name, getattr(guide.locs, name).detach(), getattr(guide.scales, name).detach()
        )
        for name in ("intercept", "slope")
    }
    statistics = {name: factor.expected() for name, factor in factors.items()}
    problem = declared.LINE.prepare(**declared.line_data())
    reached = elbo(Sweeper(svi.density, declared.LINE, problem, statistics, factors))[0]
    assert -SAME_NATS < reached + cavi.loss[-1] < 1e-9


def test_on_a_posterior_that_is_not_gaussian_it_solves_the_fixed_point() -> None:
    """Bishop 10.1.3: the mean's factor depends on the precision's mean, and that on a square."""
    y = declared.sample()["y"].numpy()
    fit = vi.fit(declared.unknown, declared.sample(), vi.CAVI(tolerance=1e-13), seed=0)
    n, weight = len(y), declared.MEAN_PRECISION + len(y)
    shape = declared.SHAPE + (n + 1) / 2
    loc = y.sum() / weight
    square = (y**2).sum() - weight * loc**2
    # E = shape / (RATE + square / 2 + 1 / (2 E)) is linear in E.
    expected = (shape - 0.5) / (declared.RATE + square / 2)
    found = factors_of(fit)
    assert float(found["precision"].of.mean) == pytest.approx(expected, rel=1e-6)
    assert float(found["mean"].of.loc) == pytest.approx(loc, rel=1e-12)
    assert float(found["mean"].of.scale) == pytest.approx((weight * expected) ** -0.5, rel=1e-6)


def test_its_bound_is_below_the_evidence_and_its_draws_bound_is_the_exact_one() -> None:
    """Without discrete sites the ELBO of the draws estimates the one CAVI works out."""
    y = declared.sample()["y"].numpy()
    fit = vi.fit(declared.unknown, declared.sample(), vi.CAVI(), seed=0)
    n, weight = len(y), declared.MEAN_PRECISION + len(y)
    shape, rate = declared.SHAPE + n / 2, declared.RATE
    rate += 0.5 * ((y**2).sum() - y.sum() ** 2 / weight)
    evidence = (
        math.lgamma(shape)
        - math.lgamma(declared.SHAPE)
        + declared.SHAPE * math.log(declared.RATE)
        - shape * math.log(rate)
        + 0.5 * (math.log(declared.MEAN_PRECISION / weight) - n * math.log(2 * math.pi))
    )
    assert -fit.loss[-1] < evidence < -fit.loss[-1] + 0.1
    assert fit.elbo is not None
    assert (fit.elbo.value, fit.elbo.error) == (-fit.loss[-1], 0.0)
    drawn = fit.draw(4000)[0]
    assert drawn.log_guide is not None
    terms = fit.density.log_prob(drawn.flat) - drawn.log_guide
    assert abs(float(terms.mean()) + fit.loss[-1]) < 4.3 * float(terms.std()) / 4000**0.5


# ------------------------------------------------------------------------- the mixture's optimum


def two_clusters() -> dict[str, Any]:
    """Overlapping clusters, so that the responsibilities are far from zero and one."""
    rng = np.random.default_rng(2)
    y = np.concatenate([rng.normal(-1.1, 1, (14, 1)), rng.normal(1.3, 1, (10, 1))])
    return {"y": torch.as_tensor(y), "components": 2, "spread": 3.0}


def negative_elbo(flat: torch.Tensor, y: torch.Tensor, spread: float) -> torch.Tensor:
    """Minus equation 2.31, written out for locations, log scales and logits, K = 2, D = 1."""
    m, log_s, logits = flat[:2], flat[2:4], flat[4:].reshape(-1, 2)
    log_phi = logits.log_softmax(-1)
    phi, variance = log_phi.exp(), (2 * log_s).exp()
    two_pi = math.log(2 * math.pi)
    prior = (-0.5 * (two_pi + 2 * math.log(spread)) - (m**2 + variance) / (2 * spread**2)).sum()
    of_c = -math.log(2) * len(y)
    of_x = (phi * -0.5 * (two_pi + (y - m) ** 2 + variance)).sum()
    entropy_c = -(phi * log_phi).sum()
    entropy_mu = (0.5 * (1 + two_pi) + log_s).sum()
    return -(prior + of_c + of_x + entropy_c + entropy_mu)


def test_gradient_ascent_on_equation_2_31_reaches_the_same_optimum() -> None:
    data = two_clusters()
    fit = vi.fit(mixture.unit, data, vi.CAVI(tolerance=1e-12), seed=0)
    generator = torch.Generator().manual_seed(1)
    flat = torch.randn(4 + 2 * len(data["y"]), generator=generator, dtype=torch.float64)
    flat[:2] = torch.tensor([-1.0, 1.0])
    flat.requires_grad_()
    search = torch.optim.LBFGS(
        [flat], max_iter=3000, max_eval=6000, tolerance_grad=1e-10, tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> torch.Tensor:
        search.zero_grad()
        loss = negative_elbo(flat, data["y"], data["spread"])
        loss.backward()
        return loss

    search.step(closure)  # pyright: ignore[reportArgumentType]
    assert abs(closure().item() - fit.loss[-1]) < 1e-7
    found = factors_of(fit)["loc"]
    order = found.loc[:, 0].argsort()
    assert torch.allclose(found.loc[order, 0], flat[:2].detach().sort().values, atol=1e-4)


def test_pyros_own_elbo_of_the_factors_is_the_one_that_cavi_reports() -> None:
    """TraceEnum_ELBO sums the assignments' factor exactly; the locations' is sampled."""
    data = two_clusters()
    fit = vi.fit(mixture.unit, data, vi.CAVI(), seed=0)
    locations = factors_of(fit)["loc"]
    phi = mixture.responsibilities(factors_of(fit), data["y"])

    def guide(y: torch.Tensor, components: int, spread: float) -> None:
        with pyro.plate("component", components):
            scale = locations.scale[:, None]
            pyro.sample("loc", dist.Normal(locations.loc, scale).to_event(1))
        with pyro.plate("observation", len(y)):
            pyro.sample("assignment", dist.Categorical(phi), infer={"enumerate": "parallel"})

    pyro.set_rng_seed(3)
    bound = pyro.infer.TraceEnum_ELBO(
        num_particles=50, vectorize_particles=True, max_plate_nesting=1
    )
    losses = [bound.loss(mixture.unit, guide, **data) for _ in range(200)]
    error = np.std(losses, ddof=1) / np.sqrt(len(losses))
    assert error < 0.03
    assert abs(np.mean(losses) - fit.loss[-1]) < 4.3 * error


# ------------------------------------------------------------------------- starts and settings


def test_a_renamed_start_gives_the_same_bound_with_the_names_exchanged() -> None:
    data = mixture.simulate(3, K=3, D=2, n=60, variant="conjugate")
    y = data["observed_data"]["y"].to_numpy()
    rows = np.random.default_rng(1).dirichlet(np.ones(3), size=60)
    order = [2, 0, 1]
    one, other = (
        vi.fit(mixture.conjugate, data, vi.CAVI(start=mixture.start_from(y, phi)), seed=0)
        for phi in (rows, rows[:, order])
    )
    assert one.loss[-1] == pytest.approx(other.loss[-1], rel=1e-10)
    locations = [factors_of(fit)["components"].loc for fit in (one, other)]
    assert torch.allclose(locations[0][order], locations[1], atol=1e-6)


def test_restarts_begin_elsewhere_and_the_best_bound_is_kept() -> None:
    data = mixture.simulate(1, K=5, D=2, n=500, variant="unit")
    fit = vi.fit(mixture.unit, data, vi.CAVI(), seed=0, restarts=8)
    reached = np.array([each.loss[-1] for each in fit.restarts])
    assert reached.max() - reached.min() > 10
    assert reached[list(fit.kept)].max() < reached.min() + 1e-3
    truth = np.sort(data["truth"]["loc"].to_numpy()[:, 0])
    found = np.sort(factors_of(fit)["loc"].loc[:, 0])
    np.testing.assert_allclose(found, truth, atol=0.4)


def test_fewer_observations_than_components_are_no_obstacle() -> None:
    data = {"y": torch.tensor([[1.0], [1.0]], dtype=torch.float64), "components": 4}
    for model in (mixture.unit, mixture.conjugate):
        assert vi.fit(model, data, vi.CAVI(), seed=0).status is vi.Status.CONVERGED


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance": -1.0}, "tolerance of CAVI must be a number from 0"),
        ({"tolerance": math.nan}, "tolerance of CAVI must be a number from 0"),
        ({"max_steps": 0}, "max_steps of CAVI must be a whole number from 1"),
    ],
)
def test_a_setting_that_cannot_be_is_an_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        vi.CAVI(**settings)


def test_a_start_is_named_and_not_printed_in_full() -> None:
    start = mixture.start_from(np.zeros((3, 1)), np.ones((3, 1)))
    assert (
        repr(vi.CAVI(start=start, max_steps=9)) == "CAVI(start={'assignment': ...}, max_steps=9)"
    )


@pytest.mark.parametrize("start", [{"height": (0.0, 0.0)}, {}])
def test_a_start_that_names_no_coordinate_is_an_error(start: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="coordinates intercept, slope, and it names"):
        vi.fit(declared.line, declared.line_data(), vi.CAVI(start=start), seed=0)


def test_updates_that_leave_a_site_out_are_an_error() -> None:
    coordinates = {"intercept": declared.LINE.coordinates["intercept"]}
    model = redeclared(dataclasses.replace(declared.LINE, coordinates=coordinates))
    with pytest.raises(
        ModelError, match="cover the sites intercept, and the model also has slope"
    ):
        vi.fit(model, declared.line_data(), vi.CAVI(), seed=0)


def test_missing_values_are_an_error_that_says_what_to_do() -> None:
    data: dict[str, Any] = dict(declared.line_data())
    y = data["y"].numpy().copy()
    y[2] = np.nan
    data["y"] = np.ma.masked_invalid(y)
    with pytest.raises(EngineError, match=r"complete data, and y has missing values. Use SVI"):
        vi.fit(declared.line, data, vi.CAVI(), seed=0)


# ------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (declared.unknown, declared.sample()),
        (mixture.unit, mixture.simulate(1, K=2, D=2, n=30, variant="unit")),
        (mixture.conjugate, mixture.simulate(1, K=2, D=2, n=30, variant="conjugate")),
    ],
    ids=["unknown", "unit", "conjugate"],
)
def test_a_fit_read_from_its_files_draws_what_it_drew(
    model: Any, data: Any, tmp_path: Path
) -> None:
    fit = vi.fit(model, data, vi.CAVI(), seed=0)
    again = vi.Fit.open(fit.save(tmp_path), model, data)
    one, other = fit.draw(50)[0], again.draw(50)[0]
    assert torch.equal(one.flat, other.flat)
    assert one.log_guide is not None
    assert other.log_guide is not None
    assert torch.equal(one.log_guide, other.log_guide)
