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

POOL = 10  # draws of the base for each that is resampled
FEWEST = 1000  # of them: the tail of fewer weights cannot be smoothed


@dataclass(frozen=True)
class Resampled(Approximation):
    """Another approximation's draws, resampled by their importance weights.

    It has no density of its own, and is closer to the posterior than its base wherever the tail
    of the weights is light (k-hat below 0.7).

    Attributes:
        base: The approximation whose draws are weighed.
    """

    base: Approximation
    kind: ClassVar[str] = "resampled"
    has_density: ClassVar[bool] = False

    @property
    def dim(self) -> int:
        return self.base.dim

    def draw(self, draws: int, seed: int) -> Draws:
        """``draws`` draws out of ten times as many of the base's, by smoothed weights.

        Resampling is systematic, so that a draw of average weight comes once at the most.
        """
        pool = self.base.draw(max(POOL * draws, FEWEST), seed)
        if pool.log_guide is None:
            return Draws(pool.flat[:draws])
        log_ratios = (self.density.log_prob(pool.flat) - pool.log_guide).detach().numpy()
        finite = np.isfinite(log_ratios)
        weights = np.zeros(len(log_ratios))
        weights[finite] = np.exp(smooth(log_ratios[finite])[0])
        generator = np.random.default_rng(seed)
        places = (np.arange(draws) + generator.random()) / draws
        reached = np.cumsum(weights / weights.sum())
        chosen = np.searchsorted(reached, places).clip(max=len(weights) - 1)
        order = torch.as_tensor(generator.permutation(chosen))
        return Draws(pool.flat[order], within=pool.within)

    def tensors(self) -> dict[str, Tensor]:
        return self.base.tensors()

    def settings(self) -> dict[str, Any]:
        """What the base is."""
        return {"base": self.base.kind, "settings": self.base.settings()}

    @classmethod
    def restore(
        cls, density: LogDensity, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
    ) -> "Resampled":
        return cls(density, restored(settings["base"], density, tensors, settings["settings"]))
