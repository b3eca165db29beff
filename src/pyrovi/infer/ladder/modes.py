"""Several modes at once: a Gaussian in each, weighted by how much of the posterior it holds.

A Gaussian in one of several modes is wrong however well it fits there, and nothing that starts
from its draws can see it. Each gets its own, fitted in a space turned by its curvature, and is
weighed by its bound, which is nearly the log of the evidence about that mode.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.approximations import Gaussian, GaussianMixture
from pyrovi.density import LogDensity
from pyrovi.errors import EngineError
from pyrovi.infer.engine import EXACTLY, Capabilities, Outcome
from pyrovi.infer.engines.dadvi import DADVI, DADVIState
from pyrovi.infer.settings import Settings
from pyrovi.tree import INDEPENDENT


@dataclass(frozen=True, kw_only=True, repr=False)
class Modes(Settings):
    """A mixture of Gaussians, one about each mode.

    Attributes:
        modes: The Gaussians at the modes, by their curvature.
        engine: What fits each of them.
        max_steps: How many quasi-Newton iterations to take at the most, all together.
    """

    modes: tuple[Gaussian, ...]
    engine: DADVI = field(default_factory=lambda: DADVI(whiten=True))
    max_steps: int = 4000
    capabilities = Capabilities(own_start=True, draws=INDEPENDENT, recovers=EXACTLY)

    def __post_init__(self) -> None:
        if not self.modes:
            raise EngineError("Modes takes at least one mode, and none came.")

    def __repr__(self) -> str:
        return f"Modes({len(self.modes)} of {self.engine!r})"

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "ModesState":
        return ModesState([self.engine.begin_at(density, mode, seed) for mode in self.modes])

    def step(self, state: "ModesState") -> float:
        return self.engine.step(state.at_hand)

    def converged(self, state: "ModesState") -> bool:
        return self.engine.converged(state.at_hand) and not state.go_on()

    def outcome(self, state: "ModesState") -> Outcome:
        """The Gaussians of the modes, weighted by their bounds."""
        begun = state.states[: state.done + 1]
        gaussians = [each.gaussian() for each in begun]
        losses = torch.tensor([each.loss for each in begun])
        return Outcome(approximation=mixture_of(gaussians, torch.softmax(-losses.double(), 0)))


def mixture_of(
    gaussians: Sequence[Gaussian], weights: Float[Tensor, "component"]
) -> GaussianMixture:
    """The mixture of normal distributions about the modes of one density."""
    locs = torch.stack([each.loc for each in gaussians])
    factors = torch.stack([each.factor for each in gaussians])
    return GaussianMixture(gaussians[0].density, locs, factors, weights.double())


@dataclass
class ModesState:
    """The searches, and how many are done."""

    states: list[DADVIState]
    done: int = 0

    @property
    def at_hand(self) -> DADVIState:
        return self.states[self.done]

    def go_on(self) -> bool:
        """Go on to the next mode; False after the last."""
        more = self.done < len(self.states) - 1
        self.done += more
        return more
