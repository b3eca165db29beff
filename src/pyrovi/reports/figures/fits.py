"""A fit: its loss, and draws of one quantity or of many."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyrovi.reports.figures import style
from pyrovi.reports.parts import Plot

UNROUNDED = {"round_to": "none"}
"""By default ArviZ rounds a point estimate for its label, and draws it where the label says."""


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


def marginal(plot: Plot) -> Any:
    """`arrays`: one, shape (chain, draw)."""
    (values,) = plot.arrays
    figure = style.arviz(
        "plot_dist",
        style.group(posterior={"quantity": values}),
        kind="kde",
        ci_kind="eti",
        ci_prob=0.9,
        point_estimate="mean",
        stats={"point_estimate": UNROUNDED},
        visuals={
            "title": False,
            "point_estimate_text": False,
            "credible_interval": {"color": style.MUTED, "width": 2.5},
            "point_estimate": {"color": style.INK},
        },
        figure_kwargs={"figsize": (0.62 * style.WIDTH, 0.62 * style.HEIGHT)},
    )
    figure.axes[0].set_title(style.short_label(plot.title))
    return figure


def forest(plot: Plot) -> Any:
    """`arrays`: a row each, shape (chain, draw)."""
    rows = {f"row{i}": values for i, values in enumerate(plot.arrays)}
    figure = style.arviz(
        "plot_forest",
        style.group(posterior=rows),
        combined=True,
        ci_kind="eti",
        ci_probs=(0.5, 0.9),
        point_estimate="median",
        stats={"point_estimate": UNROUNDED},
        labels=[],
        figure_kwargs={
            "figsize": (style.WIDTH, 0.75 + 0.24 * len(rows)),
            "figsize_units": "inches",
            "width_ratios": [1, 1000],
        },
    )
    return _labelled_rows(figure, plot.labels)


def _labelled_rows(figure: Any, labels: Sequence[str]) -> Any:
    """Our own row labels: ArviZ's stand in a column of fixed width, and are cut when long."""
    margin, axes = figure.axes
    margin.set_axis_off()
    axes.yaxis.set_visible(True)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelleft=True)
    axes.set_yticks(range(len(labels))[::-1], [style.short_label(label) for label in labels])
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.grid(axis="y", color=style.BAND, linewidth=style.HAIRLINE)
    axes.set_axisbelow(True)
    return figure
