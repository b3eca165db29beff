r"""What mean field lacks on a Gaussian posterior: the documents' statement, and where it ends.

The gap between the evidence and the best bound of a factorised q is KL(q to p). For a Gaussian p
with precision :math:`\Lambda` it is :math:`\frac12 (\sum_i \log \Lambda_{ii} - \log |\Lambda|)`
(Bishop 2006, section 10.1.2). With two factors that is the mutual information of the posterior,
:math:`-\frac12 \log(1 - \rho^2)`. With more it is not the posterior's total correlation, which is
the least KL(p to q): it is that of a Gaussian whose *covariance* is :math:`\Lambda`.
"""

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyrovi as vi

NATS = 1e-3
Y = 1.5


def only_the_sum(y: Tensor, dim: int, weight: float) -> None:
    """``dim`` unknowns of which the sum is seen: they trade off, so they are correlated."""
    part = pyro.sample("part", dist.Normal(torch.zeros(dim), 1.0).to_event(1))
    pyro.sample("y", dist.Normal(part.sum(-1), weight**-0.5), obs=y)


def precision(dim: int, weight: float) -> np.ndarray:
    return np.eye(dim) + weight * np.ones((dim, dim))


def log_evidence(dim: int, weight: float) -> float:
    variance = dim + 1 / weight
    return float(-0.5 * (Y**2 / variance + np.log(2 * np.pi * variance)))


def measured(dim: int, weight: float) -> float:
    """The evidence less the bound reached; on a Gaussian the fixed draws make no error in it."""
    data: dict[str, Any] = {"y": torch.tensor(Y, dtype=torch.float64), "dim": dim}
    fit = vi.fit(only_the_sum, data | {"weight": weight}, vi.DADVI(), seed=0)
    assert fit.status is vi.Status.CONVERGED
    assert fit.elbo is not None
    assert fit.elbo.value == pytest.approx(-fit.loss[-1], abs=4.3 * fit.elbo.error)
    return log_evidence(dim, weight) + float(fit.loss[-1])


def total_correlation(matrix: np.ndarray) -> float:
    """Of the Gaussian with this covariance: what its marginals' entropies exceed its own by."""
    return float(0.5 * (np.log(np.diag(matrix)).sum() - np.linalg.slogdet(matrix)[1]))


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.9, 0.99])
def test_with_two_unknowns_the_gap_is_the_mutual_information_of_the_posterior(rho: float) -> None:
    weight = rho / (1 - rho)  # which makes their posterior correlation -rho
    cov = np.linalg.inv(precision(2, weight))
    assert cov[0, 1] / cov[0, 0] == pytest.approx(-rho)
    assert measured(2, weight) == pytest.approx(-0.5 * np.log(1 - rho**2), abs=NATS)
    assert total_correlation(cov) == pytest.approx(-0.5 * np.log(1 - rho**2))


@pytest.mark.parametrize(("dim", "weight"), [(3, 0.5), (3, 9.0), (8, 0.5), (8, 9.0)])
def test_with_more_the_gap_is_that_of_the_precision_and_exceeds_the_total_correlation(
    dim: int, weight: float
) -> None:
    gap = measured(dim, weight)
    assert gap == pytest.approx(total_correlation(precision(dim, weight)), abs=NATS)
    posterior = total_correlation(np.linalg.inv(precision(dim, weight)))
    assert gap > posterior + 0.01


def test_the_total_correlation_is_the_least_divergence_the_other_way() -> None:
    """KL(p to q) over factorised Gaussians q is least with p's marginals, and is then it."""
    cov = np.linalg.inv(precision(4, 2.0))

    def kl_to(variance: np.ndarray) -> float:
        log_dets = np.log(variance).sum() - np.linalg.slogdet(cov)[1]
        return float(0.5 * (log_dets + (np.diag(cov) / variance).sum() - len(cov)))

    least = kl_to(np.diag(cov))
    assert least == pytest.approx(total_correlation(cov))
    assert kl_to(np.diag(cov) * 1.1) > least < kl_to(1 / np.diag(precision(4, 2.0)))


def test_between_two_blocks_it_is_mutual_information_again_however_large_they_are() -> None:
    matrix = precision(5, 2.0)
    cov, blocks = np.linalg.inv(matrix), (slice(0, 2), slice(2, 5))

    def log_det(of: np.ndarray) -> float:
        return float(np.linalg.slogdet(of)[1])

    gap = 0.5 * (sum(log_det(matrix[b, b]) for b in blocks) - log_det(matrix))
    information = 0.5 * (sum(log_det(cov[b, b]) for b in blocks) - log_det(cov))
    assert gap == pytest.approx(information)
