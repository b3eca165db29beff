"""How a fit went."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyrovi.reports.figures import style
from pyrovi.reports.parts import Plot


def loss(plot: Plot) -> Any:
    """`arrays`: a curve each, shape (2, points), the steps and the loss at them."""
    figure, axes = style.blank()
    curves = zip(plot.labels, plot.arrays, itertools.cycle(style.SERIES), strict=False)
    for label, (steps, loss), color in curves:
        axes.plot(steps, loss, label=style.short_label(label), color=color, linewidth=1.2)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats)")
    axes.set_ylim(*_tails(plot.arrays))
    if 1 < len(plot.arrays) <= len(style.SERIES):
        axes.legend(loc="upper right", fontsize="small")
    return figure


def _tails(curves: Sequence[np.ndarray]) -> tuple[float, float] | tuple[None, None]:
    """Limits that show the last nine tenths of each curve: the first steps dwarf the rest."""
    tails = [loss[len(loss) // 10 :] for _, loss in curves]
    values = np.concatenate([tail[np.isfinite(tail)] for tail in tails] or [np.empty(0)])
    if values.size < 2 or np.ptp(values) == 0:
        return None, None
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low)
    return low - margin, high + margin
