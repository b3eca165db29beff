"""The states of Markov chains, kept as they are."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from pyrovi.approximations.base import Approximation, Draws
from pyrovi.tree import CHAINS, INDEPENDENT


@dataclass(frozen=True)
class Empirical(Approximation):
    """The draws of a sampler, kept as they are. They have no density.

    Attributes:
        flat: The draws, in the order of the chain.
        diverging: Whether the sampler's path to each diverged; None for a sampler of no paths.
        in_order: Whether they are one chain; else the last states of many, in random order.
    """

    flat: Float[Tensor, "draw dim"]
    diverging: Bool[Tensor, "draw"] | None = None
    in_order: bool = True
    kind: ClassVar[str] = "empirical"
    has_density: ClassVar[bool] = False

    @property
    def draw_kind(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """States of a chain depend on each other."""
        return CHAINS if self.in_order else INDEPENDENT

    def draw(self, draws: int, seed: int) -> Draws:
        """The last ``draws`` of the chain, or all of it if it is shorter."""
        stats = {} if self.diverging is None else {"diverging": self.diverging[-draws:]}
        return Draws(self.flat[-draws:], stats=stats)

    def settings(self) -> dict[str, Any]:
        return {"in_order": self.in_order}
