"""The mixture's closed forms, against slow loops, counting, quadrature-free truths and peers."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from scipy import stats
from scipy.special import digamma, gammaln, logsumexp, multigammaln
from sklearn.cluster import KMeans
from sklearn.mixture import BayesianGaussianMixture

from pyrovi.models import gaussian_mixture as mixture
from pyrovi.models.gaussian_mixture.assignments import Assignments
from pyrovi.models.gaussian_mixture.conjugate_updates import (
    Components,
    Weights,
    locate,
    whitening_of,
)
from pyrovi.models.gaussian_mixture.priors import prepare, start
from pyrovi.structure import CoordinateUpdates

SWEEPS = 6


def sweeps(
    updates: CoordinateUpdates, problem: Any, start: Mapping[str, Any], count: int
) -> list[tuple[float, dict[str, Any]]]:
    """Coordinate ascent in five lines: the ELBO and the factors after each sweep."""
    statistics, factors, found = dict(start), {}, []
    later = [name for name in updates.coordinates if name not in start]
    for name in later + list(updates.coordinates) * count:
        factors[name] = updates.coordinates[name].update(problem, statistics)
        statistics[name] = factors[name].expected()
        if name == later[-1] and len(factors) == len(updates.coordinates):
            bound = updates.log_joint(problem, statistics)
            found.append((bound + sum(f.entropy() for f in factors.values()), dict(factors)))
    return found


def example(D: int, K: int, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Data far from the origin, and responsibilities at random."""
    rng = np.random.default_rng(seed)
    y = rng.normal(0, 2, (K, D))[rng.integers(K, size=n)] + rng.normal(size=(n, D)) + 1.5
    return y, rng.dirichlet(np.ones(K), size=n)


# ------------------------------------------------------------------------- unit variances


def thesis_by_loops(
    x: np.ndarray, phi: np.ndarray, sigma: float, count: int
) -> list[tuple[float, np.ndarray, np.ndarray, np.ndarray]]:
    """Equations 2.35, 2.38 and 2.31, one number at a time."""
    (n, D), K = x.shape, phi.shape[1]
    m, s2, found = np.zeros((K, D)), np.zeros(K), []

    def locate() -> None:
        for k in range(K):
            total = 1 / sigma**2 + sum(phi[i, k] for i in range(n))
            s2[k] = 1 / total
            for d in range(D):
                m[k, d] = sum(phi[i, k] * x[i, d] for i in range(n)) / total

    locate()
    for _ in range(count):
        for i in range(n):
            logits = [
                sum(m[k, d] * x[i, d] - (m[k, d] ** 2 + s2[k]) / 2 for d in range(D))
                for k in range(K)
            ]
            phi[i] = np.exp(np.array(logits) - logsumexp(logits))
        locate()
        bound = 0.0
        for k in range(K):
            for d in range(D):
                bound += stats.norm(0, sigma).logpdf(m[k, d]) - s2[k] / (2 * sigma**2)
                bound += stats.norm(m[k, d], np.sqrt(s2[k])).entropy()
        for i in range(n):
            bound += -math.log(K)
            for k in range(K):
                expected = sum(stats.norm(m[k, d]).logpdf(x[i, d]) - s2[k] / 2 for d in range(D))
                bound += phi[i, k] * expected
                bound += -phi[i, k] * math.log(phi[i, k]) if phi[i, k] > 0 else 0.0
        found.append((bound, phi.copy(), m.copy(), s2.copy()))
    return found


@pytest.mark.parametrize(("D", "K"), [(1, 3), (3, 2)])
def test_unit_follows_the_theses_equations_sweep_by_sweep(D: int, K: int) -> None:
    y, phi = example(D, K, n=25)
    problem = prepare(torch.as_tensor(y), K, 2.5)
    start = mixture.start_from(y, phi)
    slow = thesis_by_loops(y, phi.copy(), 2.5, SWEEPS)
    fast = sweeps(mixture.UNIT_UPDATES, problem, start, SWEEPS)
    for (bound, phi_slow, m, s2), (elbo, factors) in zip(slow, fast, strict=True):
        assert elbo == pytest.approx(bound, rel=1e-10)
        np.testing.assert_allclose(factors["loc"].loc, m, atol=1e-10)
        np.testing.assert_allclose(factors["loc"].scale ** 2, s2, rtol=1e-12)
        np.testing.assert_allclose(factors["assignment"].responsibilities(), phi_slow, atol=1e-10)


def log_evidence_unit(y: np.ndarray, K: int, spread: float) -> float:
    """log p(y): a sum over all assignments of closed forms."""
    terms = []
    for assignment in itertools.product(range(K), repeat=len(y)):
        total = -len(y) * np.log(K)
        for k, d in itertools.product(range(K), range(y.shape[1])):
            own = y[np.equal(assignment, k), d]
            if len(own):
                cov = np.eye(len(own)) + spread**2
                total += stats.multivariate_normal(np.zeros(len(own)), cov).logpdf(own)
        terms.append(total)
    return float(logsumexp(terms))


def test_the_bound_of_unit_is_below_the_evidence_and_is_it_with_one_component() -> None:
    y, _ = example(2, 2, n=6)
    for K in (1, 2, 3):
        problem = prepare(torch.as_tensor(y), K, 1.5)
        bounds = [
            sweeps(mixture.UNIT_UPDATES, problem, start(problem, seed), 200)[-1][0]
            for seed in range(5)
        ]
        evidence = log_evidence_unit(y, K, 1.5)
        if K == 1:
            assert bounds[0] == pytest.approx(evidence, abs=1e-10)
        else:
            assert evidence - 5.0 < max(bounds) < evidence - 1e-3


# ------------------------------------------------------------------------- conjugate


def bishop_by_loops(
    x: np.ndarray, r: np.ndarray, spread: float, count: int
) -> list[tuple[float, np.ndarray, dict[str, np.ndarray]]]:
    """Bishop's section 10.2, equation by equation, the prior in the coordinates of the data."""
    (n, D), K = x.shape, r.shape[1]
    alpha0, beta0, nu0 = 2.0, 0.1, D + 3.0
    W0_inverse = 0.2 * spread**2 * np.eye(D)
    found = []

    def maximise() -> dict[str, np.ndarray]:
        N = r.sum(0)  # 10.51
        xbar = (r.T @ x) / N[:, None]  # 10.52
        W = np.zeros((K, D, D))
        for k in range(K):
            S = sum(r[i, k] * np.outer(x[i] - xbar[k], x[i] - xbar[k]) for i in range(n)) / N[k]
            shrunk = beta0 * N[k] / (beta0 + N[k]) * np.outer(xbar[k], xbar[k])
            W[k] = np.linalg.inv(W0_inverse + N[k] * S + shrunk)  # 10.62
        beta = beta0 + N
        m = N[:, None] * xbar / beta[:, None]  # 10.61
        return {"alpha": alpha0 + N, "beta": beta, "m": m, "W": W, "nu": nu0 + N}

    def expectations(p: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        log_pi = digamma(p["alpha"]) - digamma(p["alpha"].sum())  # 10.66
        log_det = np.array(
            [
                sum(digamma((p["nu"][k] - j) / 2) for j in range(D))
                + D * math.log(2)
                + np.linalg.slogdet(p["W"][k])[1]
                for k in range(K)
            ]
        )  # 10.65
        return log_pi, log_det

    p = maximise()
    for _ in range(count):
        log_pi, log_det = expectations(p)
        for i in range(n):
            log_rho = np.zeros(K)
            for k in range(K):
                d = x[i] - p["m"][k]
                square = D / p["beta"][k] + p["nu"][k] * d @ p["W"][k] @ d  # 10.64
                log_rho[k] = (
                    log_pi[k] + log_det[k] / 2 - D / 2 * math.log(2 * math.pi) - square / 2
                )
            r[i] = np.exp(log_rho - logsumexp(log_rho))
        p = maximise()
        log_pi, log_det = expectations(p)
        bound = stats_terms(x, r, p, log_pi, log_det, (alpha0, beta0, nu0, W0_inverse))
        found.append((bound, r.copy(), p))
    return found


def stats_terms(
    x: np.ndarray,
    r: np.ndarray,
    p: dict[str, np.ndarray],
    log_pi: np.ndarray,
    log_det: np.ndarray,
    prior: tuple[Any, ...],
) -> float:
    """Bishop's 10.70: the expected log joint less the expected log factors."""
    (n, D), K = x.shape, r.shape[1]
    alpha0, beta0, nu0, W0_inverse = prior
    total = 0.0
    for k in range(K):
        m, beta, nu, W = p["m"][k], p["beta"][k], p["nu"][k], p["W"][k]
        for i in range(n):
            d = x[i] - m
            total += (
                0.5
                * r[i, k]
                * (log_det[k] - D / beta - nu * d @ W @ d - D * math.log(2 * math.pi))
                + r[i, k] * log_pi[k]
            )  # 10.71, 10.72
            total -= r[i, k] * math.log(r[i, k]) if r[i, k] > 0 else 0.0  # 10.75
        # 10.74, of location and precision
        total += 0.5 * (
            D * math.log(beta0 / (2 * math.pi)) + log_det[k]
            - D * beta0 / beta - beta0 * nu * m @ W @ m
        )  # fmt: skip
        log_b0 = 0.5 * nu0 * np.linalg.slogdet(W0_inverse)[1]
        log_b0 -= 0.5 * nu0 * D * math.log(2) + multigammaln(nu0 / 2, D)
        total += log_b0 + (nu0 - D - 1) / 2 * log_det[k] - 0.5 * nu * np.trace(W0_inverse @ W)
        # 10.77
        total -= 0.5 * log_det[k] + D / 2 * (math.log(beta / (2 * math.pi)) - 1)
        total += stats.wishart(nu, W).entropy()
    # 10.73, 10.76
    total += gammaln(K * alpha0) - K * gammaln(alpha0) + (alpha0 - 1) * log_pi.sum()
    total += stats.dirichlet(p["alpha"]).entropy()
    return float(total)


@pytest.mark.parametrize(("D", "K"), [(1, 3), (3, 2)])
def test_conjugate_follows_bishops_equations_sweep_by_sweep(D: int, K: int) -> None:
    y, r = example(D, K, n=25)
    problem = prepare(torch.as_tensor(y), K, 1.7)
    slow = bishop_by_loops(y, r.copy(), 1.7, SWEEPS)
    fast = sweeps(mixture.CONJUGATE_UPDATES, problem, mixture.start_from(y, r), SWEEPS)
    for (bound, r_slow, p), (elbo, factors) in zip(slow, fast, strict=True):
        component = factors["components"]
        assert elbo == pytest.approx(bound, rel=1e-10)
        np.testing.assert_allclose(component.loc, p["m"], atol=1e-10)
        np.testing.assert_allclose(
            np.linalg.inv(component.cov), p["nu"][:, None, None] * p["W"], rtol=1e-9, atol=1e-10
        )
        np.testing.assert_allclose(factors["weight"].concentration, p["alpha"], rtol=1e-12)
        np.testing.assert_allclose(factors["assignment"].responsibilities(), r_slow, atol=1e-10)


def log_evidence_conjugate(y: np.ndarray, K: int, spread: float) -> float:
    """log p(y): over all assignments, Dirichlet-multinomial times normal-Wishart evidences."""
    D = y.shape[1]
    beta0, nu0, W0_inverse = 0.1, D + 3.0, 0.2 * spread**2 * np.eye(D)

    def of_component(own: np.ndarray) -> float:
        N = len(own)
        m = own.sum(0) / (beta0 + N)
        W_inverse = W0_inverse + own.T @ own - (beta0 + N) * np.outer(m, m)
        return (
            -N * D / 2 * math.log(math.pi)
            + multigammaln((nu0 + N) / 2, D) - multigammaln(nu0 / 2, D)
            + nu0 / 2 * np.linalg.slogdet(W0_inverse)[1]
            - (nu0 + N) / 2 * np.linalg.slogdet(W_inverse)[1]
            + D / 2 * math.log(beta0 / (beta0 + N))
        )  # fmt: skip

    terms = []
    for assignment in itertools.product(range(K), repeat=len(y)):
        counts = np.bincount(assignment, minlength=K)
        total = gammaln(2 * K) - K * gammaln(2) + gammaln(2 + counts).sum()
        total -= gammaln(2 * K + len(y))
        terms.append(total + sum(of_component(y[np.equal(assignment, k)]) for k in range(K)))
    return float(logsumexp(terms))


def test_the_bound_of_conjugate_is_below_the_evidence_and_is_it_with_one_component() -> None:
    y, _ = example(2, 2, n=6)
    for K in (1, 2, 3):
        problem = prepare(torch.as_tensor(y), K, 1.5)
        bounds = [
            sweeps(mixture.CONJUGATE_UPDATES, problem, start(problem, s), 200)[-1][0]
            for s in range(5)
        ]
        evidence = log_evidence_conjugate(y, K, 1.5)
        if K == 1:
            assert bounds[0] == pytest.approx(evidence, abs=1e-10)
        else:
            assert evidence - 8.0 < max(bounds) < evidence - 1e-3


# ------------------------------------------------------------------------- densities and draws


def components(D: int, K: int) -> Components:
    """A normal-Wishart factor with nothing special about it."""
    y, r = example(D, K, n=30, seed=4)
    problem = prepare(torch.as_tensor(y), K, 1.3)
    return locate(problem, mixture.start_from(y, r))


@pytest.mark.parametrize("D", [1, 2, 4])
def test_the_sites_of_the_whitening_matrix_are_scipys_wishart(D: int) -> None:
    r"""For Lambda = R^T R the Jacobian is 2^D times the product of R_ii^i, i from 1."""
    factor = components(D, 3)
    values = factor.draw(20, torch.Generator().manual_seed(1))
    whitening = whitening_of(values).numpy()
    inverse_scale = (factor.inverse_scale_tril @ factor.inverse_scale_tril.mT).numpy()
    expected = np.zeros(20)
    for s, k in itertools.product(range(20), range(3)):
        R, nu = whitening[s, k], float(factor.degrees[k])
        precision = R.T @ R
        expected[s] += stats.wishart(nu, np.linalg.inv(inverse_scale[k])).logpdf(precision)
        expected[s] += D * np.log(2) + (np.arange(1, D + 1) * np.log(np.diag(R))).sum()
        cov = np.linalg.inv(precision) / float(factor.mean_precision[k])
        located = stats.multivariate_normal(factor.loc[k].numpy(), cov)
        expected[s] += located.logpdf(values["loc"][s, k].numpy())
    np.testing.assert_allclose(factor.log_prob(values), expected, rtol=1e-9)


@pytest.mark.parametrize("D", [1, 3])
def test_the_prior_of_the_model_is_scipys_wishart_too(D: int) -> None:
    spread, w = 1.7, 1 / (0.2 * 1.7**2)
    y = torch.zeros(4, D, dtype=torch.float64)
    trace = torch_trace(y, spread)
    sites = {n: trace.nodes[n] for n in ("whitening_diagonal", "whitening_below") if n in trace}
    whitening = whitening_of({n: site["value"] for n, site in sites.items()}).numpy()
    for k in range(2):
        own = sum(float(site["fn"].log_prob(site["value"])[k]) for site in sites.values())
        R = whitening[k]
        expected = stats.wishart(D + 3, w * np.eye(D)).logpdf(R.T @ R)
        expected += D * np.log(2) + (np.arange(1, D + 1) * np.log(np.diag(R))).sum()
        assert own == pytest.approx(expected, rel=1e-9)
        cov = np.linalg.inv(R.T @ R)
        np.testing.assert_allclose(trace.nodes["cov"]["value"][k], cov, rtol=1e-9)
        located = stats.multivariate_normal(np.zeros(D), cov / 0.1)
        at = trace.nodes["loc"]
        expected = located.logpdf(at["value"][k].numpy())
        assert float(at["fn"].log_prob(at["value"])[k]) == pytest.approx(expected, rel=1e-9)


def torch_trace(y: torch.Tensor, spread: float) -> Any:
    pyro.set_rng_seed(3)
    with torch.no_grad():
        return poutine.trace(mixture.conjugate).get_trace(
            y=y, components=2, spread=torch.tensor(spread, dtype=torch.float64)
        )


def test_each_scale_of_conjugate_has_the_prior_it_has_in_diagonal() -> None:
    """The claim by which its hyper-parameters were chosen, in three dimensions."""
    prior = prepare(torch.zeros(2, 3), 1, 2.0).prior
    draws = stats.wishart(prior.degrees, np.linalg.inv(prior.second)).rvs(4000, random_state=1)
    variances = np.linalg.inv(draws)[:, [0, 1, 2], [0, 1, 2]]
    of_diagonal = stats.gamma(2.0, scale=1 / (0.1 * 2.0**2))
    for dimension in range(3):
        assert stats.kstest(1 / variances[:, dimension], of_diagonal.cdf).pvalue > 2e-5


@pytest.mark.parametrize("D", [1, 3])
def test_what_is_drawn_has_the_moments_that_the_updates_expect(D: int) -> None:
    factor, draws = components(D, 2), 40_000
    values = factor.draw(draws, torch.Generator().manual_seed(2))
    whitening = whitening_of(values)
    precision = whitening.mT @ whitening
    offset = (values["loc"] - factor.centre)[..., None]
    linear = precision @ offset
    square = (offset.mT @ linear)[..., 0, 0]
    log_det = 2 * whitening.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    expected = factor.expected()
    for found, mean in (
        (precision, expected.precision),
        (linear[..., 0], expected.linear),
        (square, expected.square),
        (log_det, expected.log_det),
    ):
        error = found.std(0) / math.sqrt(draws)
        assert ((found.mean(0) - mean).abs() < 5.0 * error).all()
    entropy = -factor.log_prob(values)
    # In the sites, not in the precision: the Jacobian's mean lies between the two.
    powers = torch.arange(1.0, D + 1)
    jacobian = (powers * whitening.diagonal(dim1=-2, dim2=-1).log()).sum((-2, -1))
    jacobian = jacobian + 2 * D * math.log(2)
    difference = entropy + jacobian - factor.entropy()
    assert abs(difference.mean()) < 4.3 * difference.std() / math.sqrt(draws)


def test_weights_are_dirichlet() -> None:
    factor = Weights(torch.tensor([2.5, 7.0, 1.2], dtype=torch.float64))
    values = factor.draw(40_000, torch.Generator().manual_seed(2))["weight"]
    exact = stats.dirichlet(factor.concentration.numpy())
    np.testing.assert_allclose(
        factor.log_prob({"weight": values[:9]}), exact.logpdf(values[:9].T.numpy()), rtol=1e-10
    )
    assert factor.entropy() == pytest.approx(exact.entropy(), rel=1e-10)
    error = np.sqrt(exact.var() / 40_000)
    assert (np.abs(values.mean(0).numpy() - exact.mean()) < 4.5 * error).all()
    logs = values.log()
    assert ((logs.mean(0) - factor.expected()).abs() < 4.5 * logs.std(0) / 200).all()


# ------------------------------------------------------------------------- prediction


@pytest.mark.parametrize("variant", ["unit", "conjugate"])
def test_the_predictive_density_is_the_mean_over_draws(variant: str) -> None:
    y, r = example(2, 3, n=20)
    updates = mixture.UNIT_UPDATES if variant == "unit" else mixture.CONJUGATE_UPDATES
    problem = prepare(torch.as_tensor(y), 3, 2.0)
    factors = sweeps(updates, problem, mixture.start_from(y, r), 3)[-1][1]
    del factors["assignment"]
    generator = torch.Generator().manual_seed(5)
    draws = 20_000
    values = {n: v for f in factors.values() for n, v in f.draw(draws, generator).items()}
    at = torch.as_tensor(y[:5] + 0.3)
    residual = at - values["loc"][:, :, None]  # draw, component, observation, dimension
    log_det, log_weight = torch.zeros(draws, 3), torch.full((draws, 3), -math.log(3))
    if variant == "conjugate":
        whitening = whitening_of(values)
        residual = (whitening[:, :, None] @ residual[..., None])[..., 0]
        log_det = whitening.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_weight = values["weight"].log()
    log_density = -0.5 * residual.square().sum(-1) - math.log(2 * math.pi)
    density = (log_density + (log_det + log_weight)[..., None]).exp().sum(1)
    found = mixture.log_predictive(factors, at).exp()
    error = density.std(0) / math.sqrt(draws)
    assert (error / found < 0.02).all()
    assert ((density.mean(0) - found).abs() < 4.5 * error).all()


def test_with_the_means_plugged_in_it_is_equation_2_40() -> None:
    y, r = example(1, 3, n=20)
    problem = prepare(torch.as_tensor(y), 3, 2.0)
    factors = sweeps(mixture.UNIT_UPDATES, problem, mixture.start_from(y, r), 3)[-1][1]
    m = factors["loc"].loc[:, 0].numpy()
    expected = np.mean([stats.norm(mk, 1).pdf(y[:, 0]) for mk in m], axis=0)
    found = mixture.log_predictive({"loc": factors["loc"]}, y, plug_in=True)
    np.testing.assert_allclose(found, np.log(expected), rtol=1e-12)


# ------------------------------------------------------------------------- the pass over the data


@pytest.mark.parametrize("n", [1, 700, 40_000])
@pytest.mark.parametrize("squares", [False, True])
def test_the_pass_in_blocks_is_the_plain_formula(n: int, squares: bool) -> None:
    """To 1e-10, with components ten of their widths away from the centre of the data."""
    D, K = 3, 4
    rng = np.random.default_rng(n)
    loc = rng.normal(0, 10, (K, D))
    y = loc[rng.integers(K, size=n)] + rng.normal(size=(n, D)) + 50.0
    problem = prepare(torch.as_tensor(y), K)
    spread = np.eye(D) + 0.3
    offset = torch.as_tensor(loc + 50.0) - problem.data.centre
    precision = torch.as_tensor(np.linalg.inv(spread)).expand(K, D, D) if squares else None
    matrix = torch.eye(D, dtype=torch.float64) if precision is None else precision
    linear = (matrix @ offset[..., None])[..., 0]
    constant = -0.5 * (linear * offset).sum(-1)
    factor = Assignments(problem.data, constant, linear, precision)
    cov = spread if squares else np.eye(D)
    log_density = np.stack([stats.multivariate_normal(m, cov).logpdf(y) for m in loc + 50.0], -1)
    log_density = log_density.reshape(n, K)
    log_phi = log_density - logsumexp(log_density, axis=1, keepdims=True)
    phi = np.exp(log_phi)
    np.testing.assert_allclose(factor.responsibilities(), phi, atol=1e-10)
    moments, x = factor.expected(), problem.data.x.T.numpy()
    np.testing.assert_allclose(moments.count, phi.sum(0), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(moments.first, phi.T @ x, rtol=1e-10, atol=1e-8)
    if squares:
        second = np.einsum("ik,id,ie->kde", phi, x, x)
        assert moments.second is not None
        np.testing.assert_allclose(moments.second, second, rtol=1e-10, atol=1e-8)
    entropy = -(phi * np.where(phi > 0, log_phi, 0.0)).sum()
    assert factor.entropy() == pytest.approx(entropy, abs=1e-10 * n * 100)


# ------------------------------------------------------------------------- scikit-learn


class Started(BayesianGaussianMixture):
    """scikit-learn's, from given responsibilities."""

    def _initialize_parameters(self, X: Any, *_: Any, **__: Any) -> None:
        self._initialize(X, self.responsibilities)


def the_same_prior(y: np.ndarray, K: int, responsibilities: np.ndarray) -> Started:
    """scikit-learn's mixture with the prior of ``conjugate`` at a spread of one."""
    D = y.shape[1]
    peer = Started(
        n_components=K,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=2.0,
        mean_prior=np.zeros(D),
        mean_precision_prior=0.1,
        degrees_of_freedom_prior=D + 3.0,
        covariance_prior=0.2 * np.eye(D),
        reg_covar=0.0,
        tol=1e-9,
        max_iter=5000,
    )
    peer.responsibilities = responsibilities
    return peer


def dropped(n: int, D: int, K: int) -> float:
    """What scikit-learn's lower bound leaves out of the ELBO, in nats: the prior's normalisers."""
    nu0 = D + 3.0
    log_b0 = 0.5 * nu0 * D * math.log(0.2) - 0.5 * nu0 * D * math.log(2)
    log_b0 -= gammaln((nu0 - np.arange(D)) / 2).sum()  # pi's power is left out on both sides
    weights = gammaln(2.0 * K) - K * gammaln(2.0)
    return weights + K * (log_b0 + 0.5 * D * math.log(0.1)) - 0.5 * n * D * math.log(2 * math.pi)


@pytest.mark.parametrize("name", ["iris", "wine"])
def test_the_bound_is_scikit_learns_and_the_constants_it_drops(name: str) -> None:
    y = mixture.GAUSSIAN_MIXTURE.load(name)["observed_data"]["y"].to_numpy()
    n, D = y.shape
    labels = KMeans(3, n_init=1, random_state=0).fit_predict(y)
    r = np.eye(3)[labels]
    peer = the_same_prior(y, 3, r).fit(y)
    assert peer.converged_
    problem = prepare(torch.as_tensor(y), 3, 1.0)
    start = mixture.start_from(y, r)
    elbo, factors = sweeps(mixture.CONJUGATE_UPDATES, problem, start, peer.n_iter_)[-1]
    assert elbo == pytest.approx(peer.lower_bound_ + dropped(n, D, 3), rel=1e-9)
    np.testing.assert_allclose(factors["components"].loc, peer.means_, atol=1e-6)
    np.testing.assert_allclose(factors["components"].cov, peer.covariances_, atol=1e-6)
