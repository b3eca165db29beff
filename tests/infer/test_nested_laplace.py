"""Claims on nested Laplace, by closed forms, quadrature and what structure must be seen."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyrovi as vi
from infer.scripted import density_of
from pyrovi.approximations import Rest
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.infer.engines.nested_laplace import MOST_TRIALS, NestedLaplace, Search
from pyrovi.models.eight_schools import EFFECT, STANDARD_ERROR, centered, noncentered
from pyrovi.optimise import QuasiNewton, all_few, split_of

EFFECTS, ERRORS = (torch.tensor(each, dtype=torch.float64) for each in (EFFECT, STANDARD_ERROR))
SCHOOLS = {"y": EFFECTS, "sigma": ERRORS}


def by_quadrature() -> tuple[float, float, float]:
    """The log evidence of eight schools, and the mean and sd of log tau, over a fine grid."""
    grid = torch.linspace(-14, 7, 20_001, dtype=torch.float64)
    tau = grid.exp()
    eye = torch.eye(8, dtype=torch.float64)
    covariance = 25.0 + (tau.square()[:, None, None] * eye) + torch.diag(ERRORS.square())
    zero = torch.zeros(8, dtype=torch.float64)
    likelihood = dist.MultivariateNormal(zero, covariance).log_prob(EFFECTS)
    log_density = likelihood + dist.HalfCauchy(5.0).log_prob(tau) + grid
    log_evidence = log_density.logsumexp(0) + math.log(float(grid[1] - grid[0]))
    weight = torch.softmax(log_density, 0)
    mean = float(weight @ grid)
    return float(log_evidence), mean, float((weight @ (grid - mean).square()).sqrt())


def bound_to(model: Callable[..., Any], data: dict[str, Any]) -> LogDensity:
    return LogDensity(bind_model(model, bind(model, data)))


@pytest.mark.parametrize("model", [centered, noncentered])
def test_where_the_rest_is_gaussian_evidence_and_moments_are_those_of_quadrature(
    model: Callable[..., Any],
) -> None:
    log_evidence, mean, sd = by_quadrature()
    fit = vi.fit(model, SCHOOLS, vi.NestedLaplace(), seed=0)
    approximation = fit.approximations()[0]
    drawn = approximation.draw(20_000, seed=1)
    log_weights = fit.density.log_prob(drawn.flat) - drawn.log_guide
    weights = torch.softmax(log_weights, 0)
    effective = float(1 / weights.square().sum())
    error = 4.3 / math.sqrt(effective)
    reached = float(log_weights.logsumexp(0)) - math.log(len(log_weights))
    log_tau = drawn.flat[:, approximation.few[0]]
    weighted = float(weights @ log_tau)
    assert effective > 12_000
    assert abs(reached - log_evidence) < error
    assert abs(weighted - mean) < 1.5 * error * sd
    assert abs(float((weights @ (log_tau - weighted).square()).sqrt()) / sd - 1) < 1.5 * error


@pytest.mark.parametrize("model", [centered, noncentered])
def test_a_scale_is_one_of_the_few_and_each_school_a_block(model: Callable[..., Any]) -> None:
    density = bound_to(model, SCHOOLS)
    split = split_of(density, density.start(0), 0)
    assert split is not None
    labels = density.labels()
    assert [labels[i] for i in split.few] == ["tau"]
    assert [labels[i] for i in split.border] == ["mu"]
    assert split.blocks.shape == (8, 1)
    assert split.gaussian


def test_intercepts_and_slopes_of_a_group_share_a_block() -> None:
    def slopes(x: Tensor, y: Tensor) -> None:
        tau = pyro.sample("tau", dist.HalfNormal(1.0))
        with pyro.plate("group", 6, dim=-2):
            a = pyro.sample("a", dist.Normal(0.0, tau))
            b = pyro.sample("b", dist.Normal(0.0, tau))
            with pyro.plate("row", 5, dim=-1):
                pyro.sample("y", dist.Normal(a + b * x, 1.0), obs=y)

    x = torch.linspace(-1, 2, 30, dtype=torch.float64).reshape(6, 5)
    density = bound_to(slopes, {"x": x, "y": x.sin()})
    split = split_of(density, density.start(0), 0)
    assert split is not None
    assert split.blocks.shape == (6, 2)
    assert len(split.border) == 0
    labels = density.labels()
    for a, b in split.blocks.tolist():
        assert labels[a].replace("a[", "b[") == labels[b]


def test_groups_by_a_plate_are_seen_without_a_dense_matrix() -> None:
    def many(y: Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        tau = pyro.sample("tau", dist.HalfNormal(1.0))
        with pyro.plate("group", len(y)):
            z = pyro.sample("z", dist.Normal(mu, tau))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    y = torch.sin(torch.arange(1000.0, dtype=torch.float64))
    density = bound_to(many, {"y": y})
    split = split_of(density, density.start(0), 0)
    assert split is not None
    assert split.blocks.shape == (1000, 1)
    assert [density.labels()[i] for i in split.border] == ["mu"]


def test_a_chain_that_a_plate_hides_is_no_set_of_blocks() -> None:
    def walk(y: Tensor) -> None:
        tau = pyro.sample("tau", dist.HalfNormal(1.0))
        with pyro.plate("time", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(tau * z.cumsum(-1), 1.0), obs=y)

    density = bound_to(walk, {"y": torch.ones(700, dtype=torch.float64)})
    assert split_of(density, density.start(0), 0) is None


def test_the_default_takes_it_in_a_hierarchy_and_says_so() -> None:
    fit = vi.fit(centered, SCHOOLS, seed=0)
    assert fit.rungs[0].engine == "NestedLaplace()"
    assert (
        "1 latent dimension may make the shape, and 9 others be nearly Gaussian"
        in fit.rungs[0].why
    )
    assert fit.method.startswith("auto: NestedLaplace()")


def test_a_banana_is_covered_by_adaptive_importance_sampling() -> None:
    def banana() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x.square() / 2, 1.0))

    fit = vi.fit(banana, {}, vi.NestedLaplace(), seed=0)
    drawn = vi.draw(fit, draws=4000, resample=True)["posterior"]
    x, y = (drawn[name].to_numpy().ravel() for name in ("x", "y"))
    assert abs(x.std() - 1) < 0.06
    assert abs(y.mean() - 0.5) < 0.1
    assert abs(y.std() / math.sqrt(1.5) - 1) < 0.08
    assert abs(np.corrcoef(y, x**2)[0, 1] - math.sqrt(1 / 3)) < 0.08


def test_draws_of_entries_that_are_all_few_take_no_evaluation() -> None:
    def plain() -> None:
        pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    fit = vi.fit(plain, {}, vi.NestedLaplace(), seed=0)
    before = fit.density.evaluations
    drawn = fit.approximations()[0].draw(50, seed=1)
    assert drawn.flat.shape == (50, 2)
    assert fit.density.evaluations == before


@pytest.mark.parametrize(
    ("effective", "ended"),
    [
        ((0.2, 0.25), False),
        ((0.3, 0.3, 0.3), False),  # too soon to tell
        ((0.2, 0.3, 0.31, 0.1), True),
        ((0.2, 0.3, 0.1, 0.4), False),
        ((0.2, 0.3, 0.4, 0.1), False),  # one bad round is no stall
    ],
)
def test_rounds_end_where_two_in_a_row_gain_nothing(
    effective: tuple[float, ...], ended: bool
) -> None:
    rounds = [SimpleNamespace(effective=each, suffices=False) for each in effective]
    state = SimpleNamespace(rounds=rounds, look_around=lambda: None)
    assert NestedLaplace().converged(cast(Any, state)) is ended


def test_a_model_without_few_is_refused_in_one_sentence() -> None:
    def regression(x: Tensor, y: Tensor) -> None:
        b = pyro.sample("b", dist.Normal(torch.zeros(13), 1.0).to_event(1))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(x @ b.to(x.dtype), 1.0), obs=y)

    data = {"x": torch.ones(20, 13), "y": torch.ones(20)}
    with pytest.raises(vi.errors.EngineError, match="needs a few entries that make the shape"):
        vi.fit(regression, data, vi.NestedLaplace(), seed=0)


def test_rounds_go_on_until_half_of_a_rounds_rows_are_effective() -> None:
    density = density_of()
    engine = NestedLaplace(rows=100)
    state = engine.init(density, torch.zeros(1, dtype=torch.float64), 0)
    while not engine.converged(state):
        engine.step(state)
    assert len(state.rounds) == 2
    assert state.rounds[-1].effective > 0.9


COUNTS = torch.tensor([0.0, 1, 0, 2, 0, 0, 5, 1, 0, 3, 1, 0], dtype=torch.float64)


def counts(y: Tensor) -> None:
    """One count a group: given the few, each effect is skewed."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = pyro.sample("tau", dist.Gamma(5.0, 5.0))
    with pyro.plate("group", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Poisson((mu + tau * z).exp()), obs=y)


def counts_by_quadrature() -> tuple[float, float, float]:
    """The log evidence of `counts`, and the mean and sd of mu: each group summed over a grid."""
    mu = torch.linspace(-5, 3, 161, dtype=torch.float64)
    tau = torch.linspace(0.02, 5, 250, dtype=torch.float64)
    z = torch.linspace(-8, 8, 161, dtype=torch.float64)
    log_rate = mu[:, None, None] + tau[:, None] * z
    prior = dist.Normal(0.0, 1.0).log_prob(z) + math.log(float(z[1] - z[0]))
    likelihood = {
        count: (dist.Poisson(log_rate.exp()).log_prob(torch.tensor(count)) + prior).logsumexp(-1)
        for count in set(COUNTS.tolist())
    }
    area = math.log(float(mu[1] - mu[0])) + math.log(float(tau[1] - tau[0]))
    log_density = sum(likelihood[count] for count in COUNTS.tolist())
    log_density = log_density + dist.Normal(0.0, 1.0).log_prob(mu)[:, None]
    log_density = log_density + dist.Gamma(5.0, 5.0).log_prob(tau) + area
    weight = torch.softmax(log_density.flatten(), 0).reshape(log_density.shape).sum(1)
    mean = float(weight @ mu)
    spread = float((weight @ (mu - mean).square()).sqrt())
    return float(log_density.logsumexp((0, 1))), mean, spread


def test_where_groups_are_skewed_draws_are_nearly_those_of_the_posterior() -> None:
    log_evidence, mean, sd = counts_by_quadrature()
    fit = vi.fit(counts, {"y": COUNTS}, vi.NestedLaplace(), seed=0)
    approximation = fit.approximations()[0]
    drawn = approximation.draw(4_000, seed=1)
    log_weights = fit.density.log_prob(drawn.flat) - drawn.log_guide
    effective = float(1 / torch.softmax(log_weights, 0).square().sum())
    reached = float(log_weights.logsumexp(0)) - math.log(len(log_weights))
    mu = drawn.flat[:, 0]
    assert bool(approximation.bent)
    assert effective > 0.85 * len(mu)
    assert abs(reached - log_evidence) < 0.03
    assert abs(float(mu.mean()) - mean) < 0.1 * sd
    assert abs(float(mu.std()) / sd - 1) < 0.1


def test_the_distribution_of_the_rest_has_the_density_that_it_says() -> None:
    density = bound_to(counts, {"y": COUNTS})
    split = split_of(density, density.start(0), 0)
    assert split is not None
    few = torch.tensor([[0.3]], dtype=torch.float64)
    rest = Rest(density, split)
    given = rest.bent(few, rest.given(few, density.start(0)[None, split.rest]))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(5, len(split.rest), generator=generator, dtype=torch.float64)
    five = given.rows(torch.zeros(5, dtype=torch.long))
    drawn, log_prob = five.draw(noise)
    assert torch.allclose(five.log_prob(drawn), log_prob)
    again = split.conditional(five.parameters)
    assert torch.allclose(again.log_prob(drawn), log_prob)
    jacobian = torch.autograd.functional.jacobian(lambda e: given.draw(e[None])[0][0], noise[0])
    by_jacobian = dist.Normal(0.0, 1.0).log_prob(noise[0]).sum() - jacobian.slogdet().logabsdet
    assert torch.allclose(by_jacobian, log_prob[0])


def log_scale(y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    log_tau = pyro.sample("log_tau", dist.Normal(0.0, 1.0))
    with pyro.plate("group", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, log_tau.exp()))
        pyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def log_scale_apart(y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    log_tau = pyro.sample("log_tau", dist.Normal(0.0, 1.0))
    with pyro.plate("group", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + log_tau.exp() * z, 1.0), obs=y)


@pytest.mark.parametrize("model", [log_scale, log_scale_apart])
def test_a_scale_that_is_sampled_by_its_logarithm_is_one_of_the_few(
    model: Callable[..., Any],
) -> None:
    density = bound_to(model, {"y": torch.linspace(-2, 3, 12, dtype=torch.float64)})
    split = split_of(density, density.start(0), 0)
    assert split is not None
    assert [density.labels()[i] for i in split.few] == ["log_tau"]
    assert split.gaussian


def test_a_funnel_is_drawn_as_it_is() -> None:
    def funnel() -> None:
        v = pyro.sample("v", dist.Normal(0.0, 3.0))
        with pyro.plate("entry", 9):
            pyro.sample("x", dist.Normal(0.0, (v / 2).exp()))

    fit = vi.fit(funnel, {}, seed=0)
    posterior = vi.draw(fit)["posterior"]
    v = posterior["v"].to_numpy().ravel()
    assert fit.method.startswith("auto: NestedLaplace")
    assert abs(v.mean()) < 0.3
    assert abs(v.std() / 3 - 1) < 0.1
    standard = posterior["x"].to_numpy().reshape(len(v), 9) / np.exp(v / 2)[:, None]
    assert abs(standard.std() - 1) < 0.05


def test_a_search_that_meets_jumps_of_the_evidence_is_lost() -> None:
    def evidence(few: Tensor) -> tuple[float, Tensor]:
        """A slope down to a wall, just before which it is steepest: no step ends there."""
        x = float(few[0])
        return (-x if x < 1 / 3 else 1.0), torch.tensor([-1.0 if x < 1 / 3 else 1.0]).double()

    start = torch.zeros(1, dtype=torch.float64)
    density = density_of()
    search = Search(Rest(density, all_few(density)), start, start[:0])
    search._search = QuasiNewton(evidence, start, most_trials=MOST_TRIALS)
    assert math.isnan(search.step()[0])


def test_other_modes_are_looked_for_while_there_is_time_and_not_afterwards() -> None:
    engine, density = NestedLaplace(), bound_to(counts, {"y": COUNTS})
    state = engine.init(density, density.start(0), 0)
    while not engine.converged(state):
        engine.step(state)
    found = engine.outcome(state).survey
    assert found is not None
    assert found.found == (16,)  # each group is log-concave, so all searches end in one mode
    stopped = engine.init(density, density.start(0), 0)
    while len(stopped.rounds) < 2:
        engine.step(stopped)
    assert engine.outcome(stopped).survey is None
