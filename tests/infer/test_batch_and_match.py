"""Batch and match against its own equation, Gaussians, a closed form, and gold-standard draws."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

import pyrovi as vi
from infer.conjugate import Conjugate, model
from posteriordb import needs_posteriordb, posterior
from pyrovi.approximations import Gaussian
from pyrovi.errors import EngineError
from pyrovi.infer.engines import batch_and_match
from pyrovi.infer.engines.batch_and_match import BatchAndMatchState, matched

EXACT = Conjugate()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------ one update


@pytest.mark.parametrize(("batch", "dim", "rate"), [(32, 4, 100.0), (4, 7, 0.5), (2, 5, 10.0)])
def test_an_update_solves_the_quadratic_matrix_equation(batch: int, dim: int, rate: float) -> None:
    """S U S + S = V and the mean of Cai et al. (2024), algorithm 1, at mean zero and scale one."""
    noise, scores = normal(batch, dim), normal(batch, dim, seed=1) * 3 + 1
    moved, factor = matched(noise, scores, rate)
    found = factor @ factor.T
    share = rate / (1 + rate)
    score, middle = scores.mean(0), noise.mean(0)
    u = rate * torch.cov(scores.T, correction=0) + share * torch.outer(score, score)
    v = torch.eye(dim).double() + rate * torch.cov(noise.T, correction=0)
    v = v + share * torch.outer(middle, middle)
    torch.testing.assert_close(found @ u @ found + found, v, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(moved, share * (found @ score + middle))
    torch.testing.assert_close(factor, torch.linalg.cholesky(found))


def test_one_update_at_a_large_rate_meets_a_gaussian() -> None:
    root = normal(6, 6, seed=2)
    target = MultivariateNormal(normal(6, seed=3), root @ root.T)
    noise = normal(30, 6)
    scores = (target.mean - noise) @ target.precision_matrix
    moved, factor = matched(noise, scores, rate=1e9)
    torch.testing.assert_close(moved, target.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(factor @ factor.T, target.covariance_matrix, rtol=1e-3, atol=1e-3)


# ------------------------------------------------------------------ Gaussian posteriors

DIM, CONDITION = 16, 70.0
_TURN = torch.linalg.qr(normal(DIM, DIM, seed=4))[0]
_SPREADS = torch.logspace(0, math.log10(CONDITION), DIM, dtype=torch.float64)
TARGET = MultivariateNormal(3 * normal(DIM, seed=5), _TURN @ torch.diag(_SPREADS) @ _TURN.T)


def ill_conditioned() -> None:
    pyro.sample("x", dist.MultivariateNormal(TARGET.mean, TARGET.covariance_matrix))


def divergences(batch: int, steps: int) -> list[float]:
    """KL(q || p) after each step from a standard normal, as in the paper."""
    density = vi.fit(ill_conditioned, {}, vi.Laplace(), seed=0).density
    engine = vi.BatchAndMatch(batch=batch)
    first = Gaussian(density, torch.zeros(DIM).double(), torch.eye(DIM).double())
    state, found = BatchAndMatchState(first, seed=0), []
    for _ in range(steps):
        engine.step(state)
        q = MultivariateNormal(state.gaussian.loc, scale_tril=state.gaussian.scale_tril)
        found.append(float(kl_divergence(q, TARGET)))
    return found


def test_a_badly_conditioned_gaussian_is_met_in_a_few_batches() -> None:
    """Three batches of 32 are 96 gradients."""
    found = divergences(batch=32, steps=10)
    assert found[2] < 1e-2
    assert found[9] < 1e-10


def test_two_draws_a_step_meet_it_too() -> None:
    found = divergences(batch=2, steps=300)
    assert found[-1] < 0.05


def test_a_conjugate_posterior_is_exact() -> None:
    fit = vi.fit(model, EXACT.data, vi.BatchAndMatch(), seed=0)
    (found,) = fit.approximations()
    assert isinstance(found, Gaussian)
    assert fit.status is vi.Status.CONVERGED
    torch.testing.assert_close(found.loc, EXACT.mean, rtol=1e-6, atol=1e-6)
    covariance = found.scale_tril @ found.scale_tril.T
    torch.testing.assert_close(covariance, EXACT.cov, rtol=1e-6, atol=1e-9)
    assert fit.elbo is not None
    assert fit.elbo.value == pytest.approx(EXACT.log_evidence, abs=1e-6)


# ------------------------------------------------------------------ other posteriors


SHAPE, RATE = 2.0, 3.0


def log_gamma() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0).mask(False))
    pyro.factor("tilt", SHAPE * x - RATE * x.exp())


def test_the_fixed_point_on_a_log_gamma_density_is_the_one_in_closed_form() -> None:
    """For a x - b exp(x): mean score zero, and a^2 (exp(v) - 1) v = 1 for the variance v.

    The Gaussian with the best bound has v = 1 / a, and is wider.
    """
    a, b = SHAPE, RATE
    engine = vi.BatchAndMatch(batch=256, tolerance=0.002, max_steps=2000)
    (found,) = vi.fit(log_gamma, {}, engine, seed=0).approximations()
    assert isinstance(found, Gaussian)
    variance = float(brentq(lambda v: a**2 * (math.exp(v) - 1) * v - 1, 1e-6, 1 / a))
    assert variance < 0.9 / a
    assert float(found.scale[0]) ** 2 == pytest.approx(variance, rel=0.02)
    assert float(found.loc[0]) == pytest.approx(math.log(a / b) - variance / 2, abs=0.01)


def funnel() -> None:
    width = pyro.sample("width", dist.Normal(0.0, 3.0))
    pyro.sample("x", dist.Normal(torch.zeros(9), torch.exp(width / 2)).to_event(1))


@needs_posteriordb
def test_without_a_mode_it_begins_with_the_best_of_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """From far outside alone it does not arrive: the bound is then below -10,000."""
    monkeypatch.setattr(batch_and_match, "find_mode", lambda density, start: None)
    reference = posterior("kidiq-kidscore_interaction")
    fit = vi.fit(reference.model, {"data": reference.data}, vi.BatchAndMatch(), seed=0)
    assert fit.elbo is not None
    assert fit.elbo.value == pytest.approx(-1872.8, abs=0.2)


def test_a_funnel_is_taken_by_its_body() -> None:
    """Its density is highest where the width is 13 standard deviations off."""
    ours = vi.fit(funnel, {}, vi.BatchAndMatch(), seed=0).elbo
    mode = vi.fit(funnel, {}, vi.Laplace(), seed=0).elbo
    assert ours is not None
    assert mode is not None
    assert -6 < ours.value < 0
    assert ours.value > mode.value + 100


def test_the_rate_falls_only_once_the_steps_turn_back_and_forth() -> None:
    """At the first rate a small batch leaves the mean in a cloud; the falling rate averages it."""

    def spread(*, held: bool) -> float:
        density = vi.fit(log_gamma, {}, vi.Laplace(), seed=0).density
        engine = vi.BatchAndMatch(batch=4, learning_rate=100.0)
        state, locs = engine.init(density, density.start(0), seed=0), []
        for _ in range(400):
            engine.step(state)
            state.turns *= not held
            locs.append(state.gaussian.loc)
        return float(torch.cat(locs[200:]).std())

    assert spread(held=False) < 0.1 * spread(held=True)


def test_draws_without_a_score_are_left_out() -> None:
    """A quarter of the Gaussian's draws fall where the density is not a number."""

    def edge() -> None:
        x = pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.factor("edge", (1.5 - x.abs()).sqrt().sum())

    (found,) = vi.fit(edge, {}, vi.BatchAndMatch(), seed=0).approximations()
    assert isinstance(found, Gaussian)
    assert found.scale_tril.isfinite().all()
    assert found.loc.abs().max() < 0.2


def test_a_batch_without_scores_draws_nearer_and_gives_up_in_the_end() -> None:
    density = vi.fit(ill_conditioned, {}, vi.Laplace(), seed=0).density
    state = BatchAndMatchState(Gaussian(density, TARGET.mean, TARGET.scale_tril), seed=0)
    for _ in range(30):
        assert math.isfinite(state.shrink())
    torch.testing.assert_close(state.gaussian.scale_tril, TARGET.scale_tril / 2.0**30)
    assert math.isnan(state.shrink())


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 1}, "whole number from 2, and 1 came"),
        ({"batch": 33}, "must be an even number, and 33 came"),
        (
            {"learning_rate": 0.0},
            "learning_rate of BatchAndMatch must be a positive number, and 0",
        ),
        ({"tolerance": -1.0}, "tolerance of BatchAndMatch must be a positive number"),
        ({"tolerance": math.nan}, "tolerance of BatchAndMatch must be a positive number"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        vi.BatchAndMatch(**settings)  # pyright: ignore[reportArgumentType]


def test_more_dimensions_than_a_dense_covariance_is_for_are_refused() -> None:
    def large() -> None:
        pyro.sample("x", dist.Normal(torch.zeros(2001), 1.0).to_event(1))

    with pytest.raises(EngineError, match=r"dense covariance.* up to 2000 dimensions, and 2001"):
        vi.fit(large, {}, vi.BatchAndMatch(), seed=0)


# ------------------------------------------------------------------ gold-standard posteriors


@needs_posteriordb
@pytest.mark.parametrize(
    ("name", "off", "narrow", "wide"),
    [
        ("kidiq-kidscore_interaction", 0.1, 0.95, 1.05),
        ("arK-arK", 0.1, 0.93, 1.05),
        ("gp_pois_regr-gp_regr", 0.1, 0.93, 1.07),
        ("earnings-earn_height", 0.1, 0.95, 1.05),
        ("mesquite-logmesquite_logva", 0.13, 0.85, 1.05),
        ("eight_schools-eight_schools_noncentered", 0.2, 0.7, 1.15),
    ],
)
def test_gold_standard_means_and_sds_are_met(
    name: str, off: float, narrow: float, wide: float
) -> None:
    reference = posterior(name)
    fit = vi.fit(reference.model, {"data": reference.data}, vi.BatchAndMatch(), seed=0)
    tree = vi.draw(fit, draws=4000)["posterior"]
    gold = reference.draws()["draws"]
    assert fit.status is vi.Status.CONVERGED
    for index, quantity in enumerate(reference.names):
        base, _, place = quantity.partition("[")
        values = tree[base].values.reshape(4000, -1)[:, int(place[:-1]) - 1 if place else 0]
        mean, sd = reference.mean[index], reference.sd[index]
        assert abs(values.mean() - mean) / sd < off
        assert narrow < values.std() / sd < wide
        assert wasserstein_distance(values, gold[..., index].ravel()) / sd < off + 0.05
