"""A normal distribution over the flat vector, and a mixture of several."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.approximations.base import Approximation, Draws, log_normal


@dataclass(frozen=True)
class Gaussian(Approximation):
    """A normal distribution over the flat vector: of DADVI and Laplace.

    Attributes:
        loc: The mean.
        scale_tril: The lower Cholesky factor of the covariance; or, as a vector, the scales of
            independent entries.
    """

    loc: Float[Tensor, "dim"]
    scale_tril: Tensor
    kind: ClassVar[str] = "gaussian"

    @property
    def diagonal(self) -> bool:
        """Whether the entries are independent."""
        return self.scale_tril.dim() == 1

    @property
    def scale(self) -> Float[Tensor, "dim"]:
        """The marginal standard deviations."""
        return self.scale_tril if self.diagonal else self.scale_tril.square().sum(-1).sqrt()

    @property
    def factor(self) -> Float[Tensor, "dim dim"]:
        """The lower Cholesky factor of the covariance as a matrix."""
        return torch.diag(self.scale_tril) if self.diagonal else self.scale_tril

    def gaussian(self) -> "Gaussian":
        return self

    def draw(self, draws: int, seed: int) -> Draws:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(draws, len(self.loc), generator=generator, dtype=torch.float64)
        each = log_normal(noise)
        if not self.diagonal:
            # Laid out as a file will give it back: the product rounds by the layout.
            flat = self.loc + noise @ self.scale_tril.contiguous().T
            return Draws(flat, each.sum(-1) - self.scale_tril.diagonal().log().sum())
        terms = each - self.scale_tril.log()
        by_site = {p.site: terms[:, p.start : p.stop].sum(-1) for p in self.density.pieces}
        return Draws(self.loc + noise * self.scale_tril, terms.sum(-1), by_site)


@dataclass(frozen=True)
class GaussianMixture(Approximation):
    """Several normal distributions over the flat vector, weighted: of Pathfinder with many paths.

    Attributes:
        locs: The mean of each.
        scale_trils: The lower Cholesky factor of the covariance of each.
        weights: How much of the whole each is; they sum to one.
    """

    locs: Float[Tensor, "component dim"]
    scale_trils: Float[Tensor, "component dim dim"]
    weights: Float[Tensor, "component"]
    kind: ClassVar[str] = "mixture"

    def draw(self, draws: int, seed: int) -> Draws:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(draws, self.locs.shape[1], generator=generator, dtype=torch.float64)
        chosen = torch.multinomial(self.weights, draws, replacement=True, generator=generator)
        flat = torch.empty_like(noise)
        for component, (loc, scale_tril) in enumerate(
            zip(self.locs, self.scale_trils, strict=True)
        ):
            own = chosen == component
            flat[own] = loc + noise[own] @ scale_tril.contiguous().T
        factors = self.scale_trils * self.weights.sqrt()[:, None, None]
        covariance = (factors @ factors.mT).sum(0)
        within = torch.linalg.cholesky(covariance)
        return Draws(flat, self.log_prob(flat), within=within, mode=chosen)

    def log_prob(self, flat: Float[Tensor, "draw dim"]) -> Float[Tensor, "draw"]:
        """The log density of the mixture."""
        return (self.component_log_prob(flat) + self.weights.log()).logsumexp(-1)

    def component_log_prob(
        self, flat: Float[Tensor, "draw dim"]
    ) -> Float[Tensor, "draw component"]:
        """The log density of each normal distribution."""
        columns = []
        for loc, scale_tril in zip(self.locs, self.scale_trils, strict=True):
            noise = torch.linalg.solve_triangular(scale_tril, (flat - loc).T, upper=False)
            columns.append(log_normal(noise).sum(0) - scale_tril.diagonal().log().sum())
        return torch.stack(columns, dim=-1)
