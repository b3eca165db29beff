"""y = x^2 + noise: every approximation against quadrature, and what the verdict can see of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import init_to_mean
from scipy import integrate, optimize, stats

import pyrovi as vi
from pyrovi.bound import bind
from pyrovi.errors import DataError
from pyrovi.models import get, quadratic_observation as quadratic
from pyrovi.models.quadratic_observation import Exact
from pyrovi.seeds import isolated

REFERENCE = Path(__file__).parents[2] / "models" / "quadratic_observation" / "reference.json"
ENTRY = quadratic.QUADRATIC_OBSERVATION
DATA = {name: ENTRY.load(name)["observed_data"]["y"].to_numpy() for name in ENTRY.datasets}
TWO_MODES, PEAK_AT_ZERO = Exact(DATA["two_modes"]), Exact(DATA["peak_at_zero"])
BOTH = pytest.mark.parametrize("exact", [TWO_MODES, PEAK_AT_ZERO], ids=list(DATA))
OTHER = Exact(np.array([3.0, 0.5]), prior_scale=2.0, noise_scale=0.7)
WIDE_FLOW = vi.guides.nsf.with_options(transforms=1, init_loc_fn=init_to_mean, init_scale=1.0)


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    with isolated(2):
        yield
    torch.set_default_dtype(torch.float32)


def log_prob(model: Any, given: dict[str, Any], **values: float) -> float:
    at = {name: torch.tensor(value) for name, value in values.items()}
    return float(poutine.trace(poutine.condition(model, at)).get_trace(**given).log_prob_sum())


def joint(exact: Exact, x: float) -> float:
    """log p(x, y) by scipy's own densities."""
    likelihood = stats.norm(x**2, exact.noise_scale).logpdf(exact.y).sum()
    return float(stats.norm(0, exact.prior_scale).logpdf(x) + likelihood)


def integral(exact: Exact, value: Any = lambda x: 1.0) -> float:
    """The integral of value(x) p(x, y), by scipy's adaptive quadrature."""
    reach, mode = 6 * exact.prior_scale, exact.mode
    points = sorted({-mode, 0.0, mode})
    found = integrate.quad(
        lambda x: value(x) * np.exp(joint(exact, x)),
        -reach,
        reach,
        points=points,
        epsabs=0,
        epsrel=1e-12,
        limit=500,
    )
    return found[0]


def best_gaussian(exact: Exact, start: float) -> tuple[float, float]:
    """The mean and standard deviation of the local optimum of the exact bound."""

    def loss(at: np.ndarray) -> float:
        return -quadratic.elbo(at[0], np.exp(at[1]), exact.y, exact.prior_scale, exact.noise_scale)

    found = optimize.minimize(loss, [start, -1.5], method="Nelder-Mead", tol=1e-12)
    return float(found.x[0]), float(np.exp(found.x[1]))


# ------------------------------------------------------------------------- the model


def test_the_density_is_the_formula_and_even() -> None:
    given = dict(bind(quadratic.signed, ENTRY.load()).kwargs)
    for x in (-2.0, -0.3, 0.0, 1.4):
        assert log_prob(quadratic.signed, given, x=x) == pytest.approx(joint(TWO_MODES, x))
        assert log_prob(quadratic.signed, given, x=-x) == pytest.approx(joint(TWO_MODES, x))
    grid = np.array([-1.1, 0.7])
    np.testing.assert_allclose(
        quadratic.log_joint(grid, OTHER.y, 2.0, 0.7), [joint(OTHER, x) for x in grid]
    )


def test_positive_is_the_posterior_folded_at_zero() -> None:
    given = dict(bind(quadratic.signed, ENTRY.load()).kwargs)
    for size in (0.2, 1.4, 3.0):
        folded = log_prob(quadratic.signed, given, x=size) + np.log(2)
        assert log_prob(quadratic.positive, given, size=size) == pytest.approx(folded)


def test_simulated_observations_scatter_about_the_square_as_the_noise_says() -> None:
    """((y - x^2) / sigma)^2 summed over 100 x 4 values is chi-squared of 400."""
    total = 0.0
    for seed in range(100):
        tree = ENTRY.simulate(seed, noise_scale=0.5)
        residual = tree["observed_data"]["y"] - tree["truth"]["x"] ** 2
        total += float(((residual / 0.5) ** 2).sum())
        assert float(tree["truth"]["size"]) == abs(float(tree["truth"]["x"]))
    assert abs(total - 400) < 4.3 * np.sqrt(2 * 400)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"prior_scale": 0.0}, {"noise_scale": -1.0}])
def test_a_size_that_cannot_be_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="at least 1 and scales above 0"):
        quadratic.simulate(1, **wrong)


def test_the_numbers_of_the_worked_examples_say_that_they_are_made_up() -> None:
    for name in ENTRY.datasets:
        assert "made up" in ENTRY.load(name)["observed_data"]["y"].attrs["comment"]


# ------------------------------------------------------------------------- the exact answer


@pytest.mark.parametrize("exact", [TWO_MODES, PEAK_AT_ZERO, OTHER])
def test_the_grid_has_the_evidence_and_the_moments_of_adaptive_quadrature(exact: Exact) -> None:
    evidence = integral(exact)
    assert exact.log_evidence == pytest.approx(np.log(evidence), abs=1e-9)
    mean, sd = exact.moments
    assert mean == pytest.approx(0, abs=1e-12)  # by symmetry
    assert sd == pytest.approx(np.sqrt(integral(exact, np.square) / evidence), rel=1e-9)


@pytest.mark.parametrize("exact", [TWO_MODES, PEAK_AT_ZERO, OTHER])
def test_laplace_is_the_mode_and_the_curvature_there(exact: Exact) -> None:
    mode, sd = exact.laplace
    best = optimize.minimize_scalar(
        lambda x: -joint(exact, x), bounds=(-1e-3, 6 * exact.prior_scale), options={"xatol": 1e-9}
    )
    assert mode == pytest.approx(best.x, abs=1e-4)
    h = 1e-3
    curvature = -(joint(exact, mode + h) - 2 * joint(exact, mode) + joint(exact, mode - h)) / h**2
    assert sd == pytest.approx(curvature**-0.5, rel=1e-4)


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 1.0), (-1.3, 0.2), (2.0, 0.5)])
def test_the_bound_in_closed_form_is_the_integral(loc: float, scale: float) -> None:
    """Gauss and Hermite's rule of ten points is exact for polynomials up to degree 19."""
    points, weights = np.polynomial.hermite_e.hermegauss(10)
    terms = [joint(OTHER, loc + scale * z) for z in points]
    entropy = stats.norm(0, scale).entropy()
    expected = np.dot(weights, terms) / np.sqrt(2 * np.pi) + entropy
    assert quadratic.elbo(loc, scale, OTHER.y, 2.0, 0.7) == pytest.approx(expected, rel=1e-10)


@BOTH
def test_the_divergences_of_a_gaussian_are_those_of_adaptive_quadrature(exact: Exact) -> None:
    q, evidence = stats.norm(0.1, 0.9), integral(exact)
    log_p = joint  # less the log evidence
    forward = integral(exact, lambda x: log_p(exact, x) - q.logpdf(x)) / evidence
    assert exact.kl_to(0.1, 0.9) == pytest.approx(forward - np.log(evidence), abs=1e-8)
    reverse = integrate.quad(lambda x: q.pdf(x) * (q.logpdf(x) - log_p(exact, x)), -9, 9)[0]
    assert exact.kl_from(0.1, 0.9) == pytest.approx(reverse + np.log(evidence), abs=1e-8)


# ------------------------------------------------------------------------- the approximations


@pytest.mark.parametrize("exact", [TWO_MODES, PEAK_AT_ZERO, OTHER])
def test_linearised_at_zero_reverts_to_the_prior_whatever_was_observed(exact: Exact) -> None:
    found = quadratic.linearised(exact.y, exact.prior_scale, exact.noise_scale, start=0.0)
    assert found == (0.0, exact.prior_scale)


def test_at_a_peak_at_zero_laplace_has_the_curvature_and_the_linearised_has_the_prior() -> None:
    """The documents' example. The curvature is 1 / s^2 - 2 n mean(y) / sigma^2 = 5."""
    assert PEAK_AT_ZERO.laplace == (0.0, pytest.approx(5**-0.5))
    for start in (0.0, 1e-3, -0.7, 2.0):
        loc, scale = quadratic.linearised(PEAK_AT_ZERO.y, start=start)
        assert (loc, scale) == (pytest.approx(0, abs=1e-6), pytest.approx(1.0))
    sd = PEAK_AT_ZERO.moments[1]
    assert sd < PEAK_AT_ZERO.laplace[1] < 1.0
    assert PEAK_AT_ZERO.kl_from(*PEAK_AT_ZERO.laplace) < 0.02 * PEAK_AT_ZERO.kl_from(0.0, 1.0)


@pytest.mark.parametrize("exact", [TWO_MODES, OTHER])
@pytest.mark.parametrize("start", [-3.0, 0.01, 0.9])
def test_linearised_elsewhere_ends_at_a_mode_more_certain_than_laplace(
    exact: Exact, start: float
) -> None:
    loc, scale = quadratic.linearised(exact.y, exact.prior_scale, exact.noise_scale, start=start)
    mode, laplace = exact.laplace
    assert loc == pytest.approx(np.sign(start) * mode, abs=1e-6)
    assert scale**-2 == pytest.approx(laplace**-2 + exact.prior_scale**-2, rel=1e-6)


@BOTH
def test_no_gaussian_is_closer_forwards_than_the_one_with_the_moments(exact: Exact) -> None:
    mean, sd = exact.moments
    least = exact.kl_to(mean, sd)
    for loc, scale in ((0.05, sd), (-0.05, sd), (mean, 1.05 * sd), (mean, sd / 1.05)):
        assert exact.kl_to(loc, scale) > least


def test_each_divergence_prefers_its_own_gaussian() -> None:
    """One mode backwards, half of it missing: log 2 nats. Both modes forwards."""
    one, cover = best_gaussian(TWO_MODES, start=1.0), TWO_MODES.moments
    assert TWO_MODES.kl_from(*one) < TWO_MODES.kl_from(*cover) - 1
    assert TWO_MODES.kl_to(*cover) < TWO_MODES.kl_to(*one) - 1
    assert np.log(2) < TWO_MODES.kl_from(*one) < np.log(2) + 0.05
    between = stats.norm(*cover).cdf([-0.5, 0.5])
    exact = TWO_MODES.expect((np.abs(TWO_MODES.x) < 0.5).astype(float))
    assert np.diff(between)[0] > 0.25
    assert exact < 0.005


@BOTH
def test_gaussian_variational_inference_finds_the_best_bound(exact: Exact) -> None:
    name = next(name for name, y in DATA.items() if y is exact.y)
    fit = vi.fit(ENTRY.model, ENTRY.load(name), vi.DADVI(particles=512), seed=0)
    (found,) = fit.approximations()
    loc, scale = float(found.loc), float(found.scale)  # pyright: ignore[reportAttributeAccessIssue]
    best = best_gaussian(exact, start=loc)
    assert loc == pytest.approx(best[0], abs=0.02 * best[1])
    assert scale == pytest.approx(best[1], rel=0.02)
    assert fit.elbo is not None
    lack = exact.log_evidence - fit.elbo.value
    assert lack == pytest.approx(exact.kl_from(*best), abs=4.3 * fit.elbo.error + 1e-3)


@BOTH
def test_the_engine_laplace_is_the_formula(exact: Exact) -> None:
    name = next(name for name, y in DATA.items() if y is exact.y)
    (found,) = vi.fit(ENTRY.model, ENTRY.load(name), vi.Laplace(), seed=0).approximations()
    mode, sd = exact.laplace
    assert abs(float(found.loc)) == pytest.approx(mode, abs=1e-5)  # pyright: ignore[reportAttributeAccessIssue]
    assert float(found.scale) == pytest.approx(sd, rel=1e-5)  # pyright: ignore[reportAttributeAccessIssue]


def flow(seed: int) -> tuple[vi.Fit, np.ndarray]:
    engine = vi.SVI(guide=WIDE_FLOW, particles=256, step_size=0.05)
    fit = vi.fit(ENTRY.model, ENTRY.load("two_modes"), engine, seed=seed)
    return fit, fit.draw(4000)[0].flat[:, 0].numpy()


def holds_both(fit: vi.Fit, x: np.ndarray) -> bool:
    """At least 30% of the mass on each side, and a better bound than any fit of one mode has."""
    assert fit.elbo is not None
    better = TWO_MODES.log_evidence - fit.elbo.value < np.log(2)
    return better and 0.3 < float((x < 0).mean()) < 0.7


def test_a_flow_that_starts_wide_holds_both_modes() -> None:
    fit, x = flow(seed=0)
    assert holds_both(fit, x)
    assert abs(np.abs(x).mean() - TWO_MODES.expect(np.abs(TWO_MODES.x))) < 0.03
    assert x.std() == pytest.approx(TWO_MODES.moments[1], rel=0.03)


@pytest.mark.slow
def test_a_flow_that_starts_wide_holds_both_modes_from_most_seeds() -> None:
    assert sum(holds_both(*flow(seed)) for seed in range(10)) >= 9  # 10 when this was written


# ------------------------------------------------------------------------- the verdict


def statuses(verdict: vi.Verdict, check: str) -> dict[str, str]:
    rows = verdict.table[verdict.table["check"] == check]
    return dict(zip(rows["quantity"], rows["status"], strict=True))


def test_restarts_show_that_the_sign_is_not_known_and_the_size_is() -> None:
    fit = vi.fit(ENTRY.model, ENTRY.load("two_modes"), vi.Laplace(), seed=0, restarts=8)
    verdict = vi.verdict(vi.draw(fit, draws=1000))
    assert verdict.fit_status == "fail"
    found = statuses(verdict, "restarts")
    assert (found["x"], found["size"]) == ("fail", "ok")


def flagged(verdict: vi.Verdict) -> bool:
    """Whether the fit is not ok, and x is among what is named."""
    named = verdict.table[verdict.table["status"] != "ok"]["quantity"]
    return verdict.fit_status != "ok" and "x" in set(named)


@pytest.mark.parametrize("engine", [vi.DADVI(), vi.Laplace()], ids=["VI", "Laplace"])
def test_a_gaussian_in_one_mode_is_never_ok(engine: Any) -> None:
    fit = vi.fit(ENTRY.model, ENTRY.load("two_modes"), engine, seed=0)
    assert flagged(vi.verdict(vi.draw(fit, draws=2000)))


@pytest.mark.slow
def test_the_default_fit_holds_both_modes_or_is_not_ok() -> None:
    for seed in range(5):
        fit = vi.fit(ENTRY.model, ENTRY.load("two_modes"), seed=seed)
        tree = vi.draw(fit, draws=2000)
        below = float((tree["posterior"]["x"] < 0).mean())
        assert 0.3 < below < 0.7 or vi.verdict(tree).fit_status != "ok"


def test_a_mode_that_nobody_visited_cannot_be_seen_by_reweighting() -> None:
    """A limit of every check on the draws of one fit, written down: restarts are what sees it."""
    fit = vi.fit(ENTRY.model, ENTRY.load("two_modes"), vi.Laplace(), seed=0)
    tree = vi.check(vi.draw(fit, draws=2000))
    found = tree["diagnostics/psis"].to_dataset()
    assert float(found["khat"]) < 0.7
    size = TWO_MODES.expect(np.abs(TWO_MODES.x))
    reweighted = abs(float(found["mean"].sel(quantity="x")))
    assert reweighted == pytest.approx(size, abs=0.02)  # of one mode; the posterior's is zero


# ------------------------------------------------------------------------- the shelf


def test_the_reference_is_what_adaptive_quadrature_gives() -> None:
    reference = json.loads(REFERENCE.read_text())
    evidence = integral(TWO_MODES)
    size = integral(TWO_MODES, np.abs) / evidence
    sd = np.sqrt(integral(TWO_MODES, lambda x: (abs(x) - size) ** 2) / evidence)
    for variant in ENTRY.variants:
        row = reference["variants"][variant]["quantities"]["size"]
        assert row["mean"] == pytest.approx(size, rel=1e-5)
        assert row["sd"] == pytest.approx(sd, rel=1e-5)
        below = integral(TWO_MODES, lambda x, row=row: float(abs(x) < row["q95"])) / evidence
        assert below == pytest.approx(0.95, abs=1e-4)
    x = reference["variants"]["signed"]["quantities"]["x"]
    assert x["mean"] == 0.0
    assert x["sd"] == pytest.approx(np.hypot(size, sd), rel=1e-5)


def test_the_card_has_the_divergences_of_the_reference() -> None:
    card = (REFERENCE.parent / "README.md").read_text()
    for name, rows in json.loads(REFERENCE.read_text())["approximations"].items():
        exact = Exact(DATA[name])
        for row in rows.values():
            assert row["kl_from"] == pytest.approx(
                exact.kl_from(row["loc"], row["scale"]), abs=1e-5
            )
            assert row["kl_to"] == pytest.approx(exact.kl_to(row["loc"], row["scale"]), abs=1e-5)
            assert f"| {row['kl_from']:.2f} | {row['kl_to']:.2f} |" in card


def test_the_zoo_knows_it() -> None:
    assert get("quadratic_observation:positive").model is quadratic.positive
