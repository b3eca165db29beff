"""Random-walk Metropolis: the oldest sampler, with a step as wide as the prior's unit.

Reference: Metropolis et al. (1953), https://doi.org/10.1063/1.1699114
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovi.approximations import Empirical
from pyrovi.density import LogDensity
from pyrovi.infer import Capabilities, Outcome
from pyrovi.tree import CHAINS


@dataclass(frozen=True, kw_only=True)
class ToySampler:
    """A chain of proposals, taken or not.

    Attributes:
        draws: How many states to keep, after as many to warm up.
        step_size: The standard deviation of a proposal in the unconstrained space.
    """

    draws: int = 1000
    step_size: float = 0.05
    capabilities = Capabilities(draws=CHAINS)  # not annotated: no setting

    @property
    def max_steps(self) -> int:
        """One step is one proposal."""
        return 2 * self.draws

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "Walk":
        """Stand at ``start``."""
        return Walk(density, start, torch.Generator().manual_seed(seed))

    def step(self, state: "Walk") -> float:
        """Make a proposal, and give minus the log density at the place that is kept."""
        return state.move(self.step_size)

    def converged(self, state: "Walk") -> bool:
        """Whether all proposals were made."""
        return len(state.past) == self.max_steps

    def outcome(self, state: "Walk") -> Outcome:
        """The states after warm-up."""
        kept = state.past[self.draws :] or state.past or [state.place]
        return Outcome(approximation=Empirical(state.density, torch.stack(kept)))


class Walk:
    """Where the chain is, and has been."""

    def __init__(self, density: LogDensity, place: Tensor, generator: torch.Generator) -> None:
        self.density, self.place, self.generator = density, place, generator
        self.height = float(density.log_prob(place))
        self.past: list[Tensor] = []

    def move(self, step_size: float) -> float:
        noise = torch.randn(len(self.place), generator=self.generator, dtype=self.place.dtype)
        there = self.place + step_size * noise
        height = float(self.density.log_prob(there))
        if torch.rand(1, generator=self.generator).log().item() < height - self.height:
            self.place, self.height = there, height
        self.past.append(self.place)
        return -self.height
