"""The factor of the mixture's weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Weights", "gammas", "log_dirichlet"]


@dataclass(frozen=True)
class Weights:
    """Dirichlet weights.

    Attributes:
        concentration: One for each component.
    """

    concentration: Float[Tensor, "component"]

    def expected(self) -> Float[Tensor, "component"]:
        """The expected log weights."""
        return self._expected_log

    @cached_property
    def _expected_log(self) -> Tensor:
        return self.concentration.digamma() - self.concentration.sum().digamma()

    def entropy(self) -> float:
        """Of the Dirichlet."""
        powers = ((self.concentration - 1) * self._expected_log).sum()
        return -float(log_dirichlet(self.concentration) + powers)

    def sample(self, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        """One value, and its log."""
        values = self.draw(1, generator)["weight"][0]
        return {"weight": values}, values.log()

    def draw(self, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
        """``weight`` (draw, component): gammas, normalised."""
        shape = self.concentration.expand(draws, -1).contiguous()
        drawn = gammas(shape, generator)
        return {"weight": drawn / drawn.sum(1, keepdim=True)}

    def log_prob(self, values: Mapping[str, Tensor]) -> Float[Tensor, "draw"]:
        """The Dirichlet log density, over all weights but the last."""
        powers = ((self.concentration - 1) * values["weight"].log()).sum(-1)
        return log_dirichlet(self.concentration) + powers

    def tensors(self) -> dict[str, Tensor]:
        """The concentrations."""
        return {"concentration": self.concentration}


def log_dirichlet(concentration: Tensor) -> Tensor:
    """The log of the density's constant."""
    return concentration.sum().lgamma() - concentration.lgamma().sum()


def gammas(shape: Tensor, generator: torch.Generator) -> Tensor:
    """Gammas of these shapes, of unit rate."""
    return torch._standard_gamma(shape.contiguous(), generator)  # pyright: ignore[reportPrivateImportUsage]
