"""A few points, equally weighted: what an ensemble is."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.approximations.base import Approximation, Draws
from pyrovi.tree import POINTS


@dataclass(frozen=True)
class Points(Approximation):
    """A few points, equally weighted: of an ensemble. They have no density.

    Attributes:
        flat: The points.
    """

    flat: Float[Tensor, "member dim"]
    kind: ClassVar[str] = "points"
    draw_kind: ClassVar[str] = POINTS
    has_density: ClassVar[bool] = False

    def draw(self, draws: int, seed: int) -> Draws:
        """Each point as often as the others, give or take one, in random order."""
        generator = torch.Generator().manual_seed(seed)
        first = torch.randperm(len(self.flat), generator=generator)
        turns = first[torch.arange(draws) % len(self.flat)]
        return Draws(self.flat[turns[torch.randperm(draws, generator=generator)]])
