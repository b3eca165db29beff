"""Another approximation's draws, resampled by their importance weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pyrovi.approximations.base import Approximation, Draws, restored
from pyrovi.density import LogDensity
from pyrovi.evidence import smooth
from pyrovi.tree import POOL_KHAT, POOL_WEIGHT

POOL = 10  # draws of the base for each that is resampled, unless it is known that fewer will do
AT_ONCE = 1_000_000  # numbers that are worked out together
FEWEST = 1000  # of them: the tail of fewer weights cannot be smoothed


@dataclass(frozen=True)
class Resampled(Approximation):
    """Another approximation's draws, resampled by their importance weights.

    It has no density of its own, and is closer to the posterior than its base wherever the tail
    of the weights is light (k-hat below 0.7).

    Attributes:
        base: The approximation whose draws are weighed.
        pool: How many of these are weighed for each that is taken.
    """

    base: Approximation
    pool: int = POOL
    kind: ClassVar[str] = "resampled"
    has_density: ClassVar[bool] = False

    @property
    def dim(self) -> int:
        return self.base.dim

    def draw(self, draws: int, seed: int) -> Draws:
        """``draws`` draws out of ``pool`` times as many of the base's, by smoothed weights.

        Resampling is systematic, so that a draw of average weight comes once at the most.
        """
        pool = self.base.draw(max(self.pool * draws, FEWEST), seed)
        if pool.log_guide is None:
            return Draws(pool.flat[:draws])
        few = max(FEWEST, AT_ONCE // self.density.work)  # quicker in parts, which a cache holds
        log_joint = torch.cat([self.density.log_prob(part) for part in pool.flat.split(few)])
        log_ratios = (log_joint - pool.log_guide).detach().numpy()
        finite = np.isfinite(log_ratios)
        weights = np.zeros(len(log_ratios))
        log_weights, khat = smooth(log_ratios[finite])
        weights[finite] = np.exp(log_weights)
        generator = np.random.default_rng(seed)
        places = (np.arange(draws) + generator.random()) / draws
        reached = np.cumsum(weights / weights.sum())
        chosen = np.searchsorted(reached, places).clip(max=len(weights) - 1)
        order = torch.as_tensor(generator.permutation(chosen))
        stats = {
            POOL_WEIGHT: torch.as_tensor(weights)[order],
            POOL_KHAT: torch.full((draws,), khat, dtype=torch.float64),
        }
        return Draws(pool.flat[order], within=pool.within, stats=stats)

    def tensors(self) -> dict[str, Tensor]:
        return self.base.tensors()

    def settings(self) -> dict[str, Any]:
        """What the base is, and the size of the pool."""
        return {"base": self.base.kind, "settings": self.base.settings(), "pool": self.pool}

    @classmethod
    def restore(
        cls, density: LogDensity, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
    ) -> "Resampled":
        base = restored(settings["base"], density, tensors, settings["settings"])
        return cls(density, base, settings["pool"])
