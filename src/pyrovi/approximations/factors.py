"""What CAVI makes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pyrovi.approximations.base import Approximation, Draws
from pyrovi.approximations.coordinates import unconstrained, updates_of
from pyrovi.density import LogDensity
from pyrovi.structure import Factor


@dataclass(frozen=True)
class Factors(Approximation):
    """Independent factors, each of a family of its own: of CAVI.

    Attributes:
        factors: The factor of each coordinate with continuous sites, by its name.
    """

    factors: Mapping[str, Factor]
    kind: ClassVar[str] = "factors"

    def draw(self, draws: int, seed: int) -> Draws:
        generator = torch.Generator().manual_seed(seed)
        values: dict[str, Tensor] = {}
        terms: dict[tuple[str, ...], Tensor] = {}
        for factor in self.factors.values():
            own = factor.draw(draws, generator)
            values |= own
            terms[tuple(own)] = factor.log_prob(own)
        flat, jacobians = unconstrained(self.density, values)
        by_coordinate = {
            sites: term + torch.stack([jacobians[site] for site in sites]).sum(0)
            for sites, term in terms.items()
        }
        by_site = {sites[0]: term for sites, term in by_coordinate.items() if len(sites) == 1}
        whole = torch.stack(list(by_coordinate.values())).sum(0)
        return Draws(flat, whole, by_site if len(by_site) == len(terms) else None)

    def tensors(self) -> dict[str, Tensor]:
        """Every factor's parameters, as ``coordinate:parameter``."""
        return {
            f"{name}:{key}": value.contiguous()
            for name, factor in self.factors.items()
            for key, value in factor.tensors().items()
        }

    @classmethod
    def restore(
        cls, density: LogDensity, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
    ) -> "Factors":
        """As it was when it was written: the model's record makes the factors."""
        factors = {}
        for name, coordinate in updates_of(density, "CAVI").coordinates.items():
            prefix = f"{name}:"
            own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if coordinate.factor is not None and own:
                factors[name] = coordinate.factor(**own)
        return cls(density, factors, **settings)
