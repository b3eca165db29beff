"""NUTS, Pyro's own, as the reference engine: slow, and right where it mixes.

It samples the flat density, in which discrete sites are summed out. A restart is a chain.

Reference: Hoffman and Gelman (2014), https://jmlr.org/papers/v15/hoffman14a.html
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.infer.mcmc import NUTS as PyroNUTS  # noqa: N811
from torch import Tensor

from pyrovi.approximations import Empirical
from pyrovi.bound import default_dtype
from pyrovi.density import LogDensity
from pyrovi.infer.engine import BY_DRAWS, Capabilities, NothingYet, Outcome
from pyrovi.infer.settings import Settings, whole
from pyrovi.tree import CHAINS


@dataclass(frozen=True, kw_only=True, repr=False)
class NUTS(Settings):
    """Pyro's No-U-Turn sampler.

    Attributes:
        draws: How many transitions to keep.
        warmup: How many to adapt the step size and the mass matrix in, before them.
        target_accept: The acceptance probability that the step size is adapted to.
        max_tree_depth: How often a path may double.
        full_mass: Whether to adapt a full mass matrix instead of a diagonal one.
    """

    draws: int = 1000
    warmup: int = 1000
    target_accept: float = 0.8
    max_tree_depth: int = 10
    full_mass: bool = False
    capabilities = Capabilities(draws=CHAINS, recovers=BY_DRAWS)

    def __post_init__(self) -> None:
        whole(self, "draws", "max_tree_depth")
        whole(self, "warmup", least=0)

    @property
    def max_steps(self) -> int:
        """One step is one transition."""
        return self.warmup + self.draws

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "NUTSState":
        kernel = PyroNUTS(
            potential_fn=lambda at: -density.log_prob(at["flat"]),
            target_accept_prob=self.target_accept,
            max_tree_depth=self.max_tree_depth,
            full_mass=self.full_mass,
        )
        kernel.initial_params = {"flat": start}
        with default_dtype(torch.float64):
            kernel.setup(self.warmup)
        return NUTSState(density, kernel, {"flat": start})

    def step(self, state: "NUTSState") -> float:
        """Make one transition, and give minus the log density there."""
        with default_dtype(torch.float64):
            state.place = state.kernel.sample(state.place)
        state.flat.append(state.place["flat"].detach().clone())
        _, potential, _ = state.kernel._fetch_from_cache()
        return float(potential)

    def converged(self, state: "NUTSState") -> bool:
        """Whether all transitions were made; whether they mixed is for a diagnostic to say."""
        return len(state.flat) == self.max_steps

    def outcome(self, state: "NUTSState") -> Outcome:
        """The draws after warm-up."""
        kept = state.flat[self.warmup :] or state.flat
        if not kept:
            raise NothingYet
        diverged = set(state.kernel._divergences)
        flags = torch.tensor([i in diverged for i in range(len(kept))])
        return Outcome(approximation=Empirical(state.density, torch.stack(kept), flags))


@dataclass
class NUTSState:
    """The kernel, and where it has been."""

    density: LogDensity
    kernel: Any
    place: dict[str, Tensor]
    flat: list[Tensor] = field(default_factory=list)
