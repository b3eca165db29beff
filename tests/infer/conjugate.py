"""A conjugate linear-Gaussian model: its posterior and its evidence are known in closed form."""

from dataclasses import dataclass, field
from functools import cached_property

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

SIZE, FEATURES, PRIOR_SCALE = 40, 5, 2.0


def model(x: Tensor, y: Tensor) -> None:
    """Linear regression with unit noise; the columns of ``x`` are correlated."""
    loc = torch.zeros(x.shape[-1])
    coefficient = pyro.sample("coefficient", dist.Normal(loc, PRIOR_SCALE).to_event(1))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(x @ coefficient, 1.0), obs=y)


@dataclass(frozen=True)
class Conjugate:
    """Data, and the exact answer."""

    x: Tensor = field(default_factory=lambda: _design())  # noqa: PLW0108  defined below
    noise_seed: int = 1

    @cached_property
    def y(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.noise_seed)
        truth = torch.arange(1.0, FEATURES + 1, dtype=torch.float64)
        return self.x @ truth + torch.randn(SIZE, generator=generator, dtype=torch.float64)

    @property
    def data(self) -> dict[str, Tensor]:
        return {"x": self.x, "y": self.y}

    @cached_property
    def precision(self) -> Tensor:
        return self.x.T @ self.x + torch.eye(FEATURES, dtype=torch.float64) / PRIOR_SCALE**2

    @cached_property
    def cov(self) -> Tensor:
        return torch.linalg.inv(self.precision)

    @cached_property
    def mean(self) -> Tensor:
        return self.cov @ self.x.T @ self.y

    @cached_property
    def sd(self) -> Tensor:
        return self.cov.diagonal().sqrt()

    @cached_property
    def log_evidence(self) -> float:
        eye = torch.eye(SIZE, dtype=torch.float64)
        marginal = eye + PRIOR_SCALE**2 * self.x @ self.x.T
        zero = torch.zeros(SIZE, dtype=torch.float64)
        return float(torch.distributions.MultivariateNormal(zero, marginal).log_prob(self.y))


def _design() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SIZE, FEATURES, generator=generator, dtype=torch.float64)
    x[:, 1] = x[:, 0] + 0.3 * x[:, 1]
    return x
