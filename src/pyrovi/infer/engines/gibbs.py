"""Gibbs sampling: each coordinate drawn from its complete conditional, in turn.

It reads the same closed forms as CAVI, at the statistics of sampled values where CAVI has expected
ones; its draws are the posterior's in the limit. A restart is a chain, from a start of its own.
Discrete coordinates are sampled on the way; what is kept are the continuous sites.

Reference: Gelfand and Smith (1990), https://doi.org/10.1080/01621459.1990.10476213
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovi.approximations import Empirical, Sweeper, unconstrained
from pyrovi.clock import check_time
from pyrovi.density import LogDensity
from pyrovi.infer.engine import BY_DRAWS, Capabilities, Outcome
from pyrovi.infer.settings import Settings, whole
from pyrovi.seeds import stream
from pyrovi.tree import CHAINS


@dataclass(frozen=True, kw_only=True, repr=False)
class Gibbs(Settings):
    """A Gibbs sampler, by a model's own complete conditionals.

    Attributes:
        draws: How many sweeps to keep.
        warmup: How many to make before them.
    """

    draws: int = 1000
    warmup: int = 500
    capabilities = Capabilities(closed_forms=True, own_start=True, draws=CHAINS, recovers=BY_DRAWS)

    def __post_init__(self) -> None:
        whole(self, "draws")
        whole(self, "warmup", least=0)

    @property
    def max_steps(self) -> int:
        """One step is one sweep."""
        return self.warmup + self.draws

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "GibbsState":
        """Start at the expected statistics that the model starts CAVI at; ``start`` is not used.

        It raises what `Sweeper.at_start` raises.
        """
        state = GibbsState(Sweeper.at_start(density, "Gibbs", seed), seed)
        state.update(state.sweeper.waiting)
        return state

    def step(self, state: "GibbsState") -> float:
        """Sample every coordinate once, and give minus the log joint density reached."""
        check_time()
        state.update(state.sweeper.updates.coordinates)
        state.kept.append(dict(state.values))
        return -state.sweeper.log_joint()

    def converged(self, state: "GibbsState") -> bool:
        """Whether all sweeps were made; whether they mixed is for a diagnostic to say."""
        return len(state.kept) == self.max_steps

    def outcome(self, state: "GibbsState") -> Outcome:
        """The draws after warm-up."""
        if not state.kept:
            self.step(state)
        kept = state.kept[self.warmup :] or state.kept
        values = {name: torch.stack([each[name] for each in kept]) for name in kept[0]}
        density = state.sweeper.density
        return Outcome(approximation=Empirical(density, unconstrained(density, values)[0]))


class GibbsState:
    """The values and statistics at hand, and the values met before."""

    def __init__(self, sweeper: Sweeper, seed: int) -> None:
        self.sweeper = sweeper
        self.generator = torch.Generator().manual_seed(stream(seed, "gibbs"))
        self.values: dict[str, Tensor] = {}
        self.kept: list[dict[str, Tensor]] = []

    def update(self, names: Iterable[str]) -> None:
        """Draw each of some coordinates from its complete conditional, in turn."""
        for name in names:
            values, statistics = self.sweeper.conditional(name).sample(self.generator)
            self.values |= values
            self.sweeper.statistics[name] = statistics
