"""Polish: many Markov chains from the draws of an approximation, until they hold still.

Draws of a good approximation need little of it. What comes out is draws, without a density or a
bound; it costs what sampling costs, and never sees a mode that no draw is near.

Reference: Hoffman and Ma (2020), https://proceedings.mlr.press/v108/hoffman20a.html, who run short
chains from a variational start
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyrovi.approximations import Approximation, Draws, Empirical
from pyrovi.density import LogDensity
from pyrovi.infer.engine import BY_DRAWS, Capabilities, Outcome
from pyrovi.infer.ladder.price import Price
from pyrovi.infer.settings import Settings, positive, whole
from pyrovi.optimise import LEAPFROGS, STEP_SIZE, WIDE_JITTER, chains_for, mass_factor, move
from pyrovi.seeds import stream
from pyrovi.tree import INDEPENDENT

TRANSITIONS = 10  # in a step
TARGET_ACCEPTANCE = 0.7
FEWEST_STEPS, USUAL_STEPS = 20, 40  # the latter is the median of where it was the last rung
STALLED = 0.9  # of the error that half the steps came to
CHAINS, DRAWS = 512, 4000
RESCUED_STEPS = FEWEST_STEPS // 2  # which are never kept
LOST_NATS, LOST_NATS_PER_DIM = (
    50.0,
    10.0,
)  # below the best chain: no draw of a posterior lies there
CHAIN_ENTRIES = 200_000  # numbers in one evaluation of all chains: half a minute in all


@dataclass(frozen=True, kw_only=True, repr=False)
class Polish(Settings):
    """Vectorised Hamiltonian Monte Carlo from the draws of an approximation.

    Attributes:
        base: Whose draws the chains start from.
        chains: How many; None for 512, and fewer where the density is dear.
        tolerance: The Monte Carlo error of every mean, in standard deviations, at which it ends;
            the earlier and the later half of what is kept must agree as well.
        max_steps: How many steps, of ten transitions of every chain, to take at the most.
    """

    base: Approximation
    chains: int | None = None
    tolerance: float = 0.04
    max_steps: int = 100
    capabilities = Capabilities(own_start=True, draws=INDEPENDENT, recovers=BY_DRAWS)

    def __post_init__(self) -> None:
        whole(self, "chains", least=8)
        positive(self, "tolerance")

    def _shown(self) -> dict[str, str]:
        return {"base": "..."}

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "PolishState":
        drawn = self.base.draw(self.price(density).points, stream(seed, "polish"))
        return PolishState(density, drawn, seed)

    def price(self, density: LogDensity) -> Price:
        """What it takes, if it takes as many steps as it mostly does."""
        count = self.chains or chains_for(density, CHAINS, CHAIN_ENTRIES)
        return Price(min(USUAL_STEPS, self.max_steps) * (TRANSITIONS * LEAPFROGS + 3), count)

    def step(self, state: "PolishState") -> float:
        return state.step()

    def converged(self, state: "PolishState") -> bool:
        """Whether the means of what is kept are accurate and hold still, or never will be."""
        if state.taken < FEWEST_STEPS:
            return False
        return state.mean_errors[-1] < self.tolerance or state.stalls()

    def outcome(self, state: "PolishState") -> Outcome:
        return Outcome(approximation=Empirical(state.density, state.draws(), in_order=False))


class PolishState:
    """Where the chains stand and stood; the first half of every past is dropped as it grows."""

    def __init__(self, density: LogDensity, drawn: Draws, seed: int) -> None:
        self.density, self.flat, self.within, self.seed = density, drawn.flat, drawn.within, seed
        self.step_size, self.taken = STEP_SIZE, 0
        self.past: list[Tensor] = []
        self.mean_errors: list[float] = []  # after each step

    def step(self) -> float:
        """Move, and adapt the mass and the step size to where the chains are now."""
        if self.taken < RESCUED_STEPS:
            self.rescue()
        chains = move(
            self.density,
            self.flat,
            self.factor(),
            transitions=TRANSITIONS,
            kept=1,
            seed=stream(self.seed, "move", self.taken),
            step_size=self.step_size,
            jitter=WIDE_JITTER,
        )
        self.taken += 1
        self.flat = chains.states[:, -1]
        self.past.append(self.flat)
        self.mean_errors.append(self.error())
        self.step_size *= float(torch.exp(chains.acceptance.mean() - TARGET_ACCEPTANCE))
        return -float(self.density.log_prob(self.flat).mean())

    def rescue(self) -> None:
        """Put chains that are lost where others are.

        Where a rate is e^100, or none at all, every step is too long: such a chain would stay.
        """
        values = self.density.log_prob(self.flat)
        lost = values < values.max() - LOST_NATS - LOST_NATS_PER_DIM * self.density.dim
        others = self.flat[~lost]
        if bool(lost.any()) and len(others):
            generator = torch.Generator().manual_seed(stream(self.seed, "rescue", self.taken))
            picked = torch.randint(len(others), (int(lost.sum()),), generator=generator)
            self.flat = self.flat.clone()
            self.flat[lost] = others[picked]

    def factor(self) -> Tensor:
        """The Cholesky factor of where the chains are, within one mode where there are several."""
        if self.within is not None:
            return self.within
        return mass_factor(torch.cat([self.flat, *self.past[len(self.past) // 2 :]]))

    def kept(self) -> Tensor:
        """The states of the later half of the steps, ``(step, chain, dim)``."""
        return torch.stack(self.past[len(self.past) // 2 :])

    def error(self) -> float:
        """The largest error of a mean, or half the distance of two halves, in sds."""
        kept = self.kept()
        sd = kept.std((0, 1)).clamp(min=torch.finfo(kept.dtype).tiny)
        error = kept.mean(0).std(0) / np.sqrt(kept.shape[1])
        half = len(kept) // 2
        apart = (kept[:half].mean((0, 1)) - kept[half:].mean((0, 1))).abs() / 2
        return float((torch.maximum(error, apart) / sd).max())

    def stalls(self) -> bool:
        """Whether twice the steps have hardly made the worst mean more accurate.

        Where chains mix, its error falls by the root of two; between modes, hardly at all.
        """
        before = self.mean_errors[self.taken // 2]
        return self.taken % (2 * FEWEST_STEPS) == 0 and self.mean_errors[-1] > STALLED * before

    def draws(self) -> Tensor:
        """The kept states in random order, the newest where there are too many."""
        flat = self.kept().flatten(0, 1)[-DRAWS:] if self.past else self.flat
        generator = torch.Generator().manual_seed(stream(self.seed, "order"))
        return flat[torch.randperm(len(flat), generator=generator)]
