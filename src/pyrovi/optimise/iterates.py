"""Whether a stochastic optimiser has arrived: R-hat and Monte Carlo error of its iterates.

A constant step size ends in a stationary cloud around the optimum. R-hat between parts of the last
iterates says whether they are in it; then their mean is a far better answer than the last one.

Reference: Dhaka, Catalina, Andersen, Magnusson, Huggins and Vehtari (2020),
https://arxiv.org/abs/2009.00666
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

RHAT_THRESHOLD = 1.1  # Dhaka et al. (2020), section 4
FEWEST_ITERATES = 200  # in the window that is judged, the last half
BLOCK = 20  # iterates per stored mean of all parameters
STILL = 1e-9  # a quantity that moves less than this has arrived exactly


@dataclass
class Iterates:
    """The iterates of one phase of an optimiser at one step size.

    Attributes:
        watched: For each step, the quantities that are judged.
        blocks: Means of the full parameter vector over consecutive blocks of steps.
    """

    watched: list[np.ndarray] = field(default_factory=list)
    blocks: list[Tensor] = field(default_factory=list)
    _sum: Tensor | None = None
    _count: int = 0

    def note(self, watched: Tensor, parameters: Tensor) -> None:
        """Add one iterate."""
        self.watched.append(watched.detach().numpy().copy())
        flat = parameters.detach()
        self._sum = flat.clone() if self._sum is None else self._sum + flat
        self._count += 1
        if self._count == BLOCK:
            self.blocks.append(self._sum / BLOCK)
            self._sum, self._count = None, 0

    def stationary(self) -> bool:
        """Whether the last half of the iterates has stopped going anywhere."""
        if (window := self._window()) is None:
            return False
        halves = window[: len(window) // 2 * 2].reshape(2, -1, window.shape[1])
        moving = halves.std(1).min(0) > STILL
        if not moving.any():
            return True
        from arviz_stats.base.array import array_stats  # almost a second the first time

        rhat = array_stats.rhat(halves[..., moving], chain_axis=0, draw_axis=1, method="identity")
        return bool(np.nanmax(rhat) < RHAT_THRESHOLD)

    def error(self, units: np.ndarray | None = None) -> float:
        """The largest Monte Carlo standard error of the mean of the last half.

        Args:
            units: What each quantity's error is measured in; None for its own spread there.
        """
        if (window := self._window()) is None:
            return np.inf
        spread = window.std(0)
        moving = spread > STILL
        if not moving.any():
            return 0.0
        from arviz_stats.base.array import array_stats

        error = array_stats.mcse(window[None][..., moving], chain_axis=0, draw_axis=1)
        return float(np.nanmax(error / (spread if units is None else units)[moving]))

    def average(self) -> Tensor | None:
        """The mean of the parameters over the last half; None before there is one."""
        if len(self.blocks) < 2:
            return None
        return torch.stack(self.blocks[len(self.blocks) // 2 :]).mean(0)

    def _window(self) -> np.ndarray | None:
        if len(self.watched) < 2 * FEWEST_ITERATES:
            return None
        return np.stack(self.watched[len(self.watched) // 2 :])
