"""Gibbs: its draws are the posterior's, where that is known by counting or in closed form."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import gammaln, logsumexp, multigammaln

import pyrovi as vi
from infer import declared
from pyrovi.errors import EngineError
from pyrovi.models import gaussian_mixture as mixture
from pyrovi.models.gaussian_mixture.conjugate_updates import Weights, assign, locate
from pyrovi.models.gaussian_mixture.priors import prepare

BATCHES = 40
ERRORS = 5.0  # batch-mean standard errors, themselves known to a tenth


def agrees(found: np.ndarray, exact: float, *, at_most: float) -> None:
    """The chain's mean is ``exact`` within its error by batch means, which is small enough."""
    means = found.reshape(BATCHES, -1).mean(1)
    error = means.std(ddof=1) / np.sqrt(BATCHES)
    assert error < at_most
    assert abs(means.mean() - exact) < ERRORS * error


def drawn(model: Any, data: Any, draws: int) -> dict[str, np.ndarray]:
    fit = vi.fit(model, data, vi.Gibbs(draws=draws, warmup=200), seed=1)
    assert fit.status is vi.Status.CONVERGED
    values = fit.density.constrain(fit.draw(draws)[0].flat)
    return {name: value.numpy() for name, value in values.items()}


Y = np.array([-1.6, -0.9, 0.1, 0.7, 1.4, 2.2])


def by_assignment(evidence: Any, K: int = 2) -> tuple[np.ndarray, list[list[np.ndarray]]]:
    """The posterior probability of each of the K^n assignments, and what falls to whom."""
    groups = [
        [Y[np.equal(assignment, k)] for k in range(K)]
        for assignment in itertools.product(range(K), repeat=len(Y))
    ]
    logs = np.array([evidence(each) for each in groups])
    return np.exp(logs - logsumexp(logs)), groups


def test_unit_draws_the_posterior_that_counting_gives() -> None:
    spread, draws = 1.5, 6000

    def moments(own: np.ndarray) -> tuple[float, float]:
        precision = spread**-2 + len(own)
        return own.sum() / precision, 1 / precision

    def evidence(groups: list[np.ndarray]) -> float:
        each = [moments(own) for own in groups]
        return sum(0.5 * (np.log(v) + m**2 / v) for m, v in each)

    chance, groups = by_assignment(evidence)
    each = np.array([[moments(own) for own in both] for both in groups])
    m, v = each[..., 0], each[..., 1]
    data = {"y": torch.as_tensor(Y[:, None]), "components": 2, "spread": spread}
    loc = drawn(mixture.unit, data, draws)["loc"][..., 0]
    agrees(loc.sum(1), float(chance @ m.sum(1)), at_most=0.05)
    agrees((loc**2).sum(1), float(chance @ (m**2 + v).sum(1)), at_most=0.1)
    agrees(loc.prod(1), float(chance @ m.prod(1)), at_most=0.05)


def test_conjugate_draws_the_posterior_that_counting_gives() -> None:
    draws, nu0, beta0 = 4000, 4.0, 0.1

    def posterior(own: np.ndarray) -> tuple[float, ...]:
        n = len(own)
        beta, nu = beta0 + n, nu0 + n
        m = own.sum() / beta
        return m, beta, nu, 0.2 + (own**2).sum() - beta * m**2, n

    def evidence(groups: list[np.ndarray]) -> float:
        total = 0.0
        for own in groups:
            _, beta, nu, w_inverse, n = posterior(own)
            total += multigammaln(nu / 2, 1) - nu / 2 * np.log(w_inverse) - 0.5 * np.log(beta)
            total += gammaln(2 + n) - n / 2 * np.log(np.pi)
        return float(total)

    chance, groups = by_assignment(evidence)
    each = np.array([[posterior(own) for own in both] for both in groups])
    m, _, nu, w_inverse, n = np.moveaxis(each, -1, 0)
    data = {"y": torch.as_tensor(Y[:, None]), "components": 2, "spread": 1.0}
    found = drawn(mixture.conjugate, data, draws)
    agrees(found["loc"][..., 0].sum(1), float(chance @ m.sum(1)), at_most=0.1)
    precision = found["whitening_diagonal"][..., 0] ** 2
    agrees(precision.sum(1), float(chance @ (nu / w_inverse).sum(1)), at_most=0.3)
    # Dirichlet(2 + n): the mean of the squared weights.
    a = 2 + n
    squared = (a * (a + 1)).sum(1) / (a.sum(1) * (a.sum(1) + 1))
    agrees((found["weight"] ** 2).sum(1), float(chance @ squared), at_most=0.01)


def test_a_model_it_has_never_seen_is_drawn_from_too() -> None:
    y = declared.sample()["y"].numpy()
    n, weight = len(y), declared.MEAN_PRECISION + len(y)
    shape, loc = declared.SHAPE + n / 2, y.sum() / weight
    rate = declared.RATE + 0.5 * ((y**2).sum() - y.sum() ** 2 / weight)
    found = drawn(declared.unknown, declared.sample(), 6000)
    agrees(found["precision"], shape / rate, at_most=0.01)
    agrees(found["precision"] ** 2, shape * (shape + 1) / rate**2, at_most=0.01)
    agrees(found["mean"], loc, at_most=0.02)
    agrees((found["mean"] - loc) ** 2, rate / (weight * (shape - 1)), at_most=0.02)


def test_the_sums_of_sampled_assignments_are_on_average_what_cavi_expects() -> None:
    """One record for both: the same conditional, sampled and expected."""
    rng = np.random.default_rng(1)
    y = torch.as_tensor(rng.normal(size=(40, 2)))
    problem = prepare(y, 3)
    phi = rng.dirichlet(np.ones(3), size=40)
    components = locate(problem, mixture.start_from(y, phi))
    weights = Weights(torch.tensor([3.0, 4.0, 5.0], dtype=torch.float64))
    given = {"components": components.expected(), "weight": weights.expected()}
    conditional = assign(problem, given)
    generator = torch.Generator().manual_seed(3)
    sampled = [conditional.sample(generator)[1] for _ in range(4000)]
    expected = conditional.expected()
    for name in ("count", "first", "second"):
        found = torch.stack([getattr(each, name) for each in sampled])
        error = found.std(0) / math.sqrt(len(found))
        assert ((found.mean(0) - getattr(expected, name)).abs() < 4.8 * error + 1e-12).all()
    assert all(float(each.count.sum()) == 40.0 for each in sampled)


def test_its_chains_are_judged_as_chains_by_r_hat() -> None:
    fit = vi.fit(
        declared.unknown, declared.sample(), vi.Gibbs(draws=1000, warmup=100), seed=0, restarts=4
    )
    tree = vi.check(vi.draw(fit, draws=1000))
    found = tree["diagnostics/convergence"]
    assert found["rhat"].size == 2
    assert float(found["rhat"].max()) < 1.01
    assert "diagnostics/restarts" not in tree  # restarts of a sampler have no bound to compare


def test_chains_that_stay_in_modes_of_their_own_are_seen() -> None:
    """Far apart clusters and one component too few: which two are shared stays as it began."""
    y = np.concatenate([[-30.0] * 20, [0.0] * 20, [40.0] * 20])[:, None]
    y = y + np.random.default_rng(1).normal(size=y.shape)
    data = {"y": y, "components": 2, "spread": 30.0}
    engine = vi.Gibbs(draws=200, warmup=20)
    fit = vi.fit(mixture.unit, data, engine, seed=0, restarts=6)
    found = vi.check(vi.draw(fit, draws=200))["diagnostics/convergence"]
    assert float(found["rhat"].max()) > 1.2
    assert set(found["status"].values) == {"fail"}


@pytest.mark.parametrize("settings", [{"draws": 0}, {"warmup": -1}])
def test_a_setting_that_cannot_be_is_an_error(settings: dict[str, int]) -> None:
    with pytest.raises(EngineError, match="of Gibbs must be a whole number from"):
        vi.Gibbs(**settings)
