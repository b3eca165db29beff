"""What lies in space: fields, stations and profiles."""

from typing import Any

import numpy as np

from pyrovi.reports.figures.style import (
    BAND,
    BLUE,
    HEIGHT,
    MUTED,
    ORANGE,
    WIDTH,
    short_label,
)
from pyrovi.reports.parts import Plot

__all__ = ["field", "profile", "stations"]

MAP_WIDTH, MAP_HEIGHT = 3.6, 2.4


def field(plot: Plot) -> Any:
    """`arrays`: the ticks along (n) and up (m), from the bottom, and the values (m, n)."""
    from matplotlib import pyplot as plt

    along, up, values = plot.arrays
    figure, axes = plt.subplots(figsize=(MAP_WIDTH, MAP_HEIGHT))
    drawn = axes.pcolormesh(
        along, up, values, shading="nearest", rasterized=True, **_shades(values)
    )
    if up[0] > up[-1]:
        axes.invert_yaxis()
    axes.set(xlabel=short_label(plot.labels[0]), ylabel=short_label(plot.labels[1]))
    figure.colorbar(drawn, ax=axes, label=short_label(plot.labels[2]))
    return figure


def stations(plot: Plot) -> Any:
    """`arrays`: both coordinates and the values at them, (n) each."""
    from matplotlib import pyplot as plt

    along, up, values = plot.arrays
    figure, axes = plt.subplots(figsize=(MAP_WIDTH, MAP_HEIGHT))
    size = float(np.clip(3000 / len(values), 6, 60))
    drawn = axes.scatter(
        along, up, c=values, s=size, edgecolors=MUTED, linewidths=0.4, **_shades(values)
    )
    axes.set(xlabel=short_label(plot.labels[0]), ylabel=short_label(plot.labels[1]))
    axes.set_aspect("equal", adjustable="datalim")
    figure.colorbar(drawn, ax=axes, label=short_label(plot.labels[2]))
    return figure


def _shades(values: np.ndarray) -> dict[str, Any]:
    """Two hues about zero where values lie on both sides of it, else one that darkens."""
    most = float(np.nanmax(np.abs(values), initial=0.0))
    if np.nanmin(values) < 0 < np.nanmax(values):
        return {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    return {"cmap": "viridis"}


def profile(plot: Plot) -> Any:
    """`arrays`: one, rows for the place, the data, and the prediction's mean and both ends."""
    from matplotlib import pyplot as plt

    place, observed, mean, low, high = plot.arrays[0]
    figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT))
    axes.fill_between(place, low, high, color=BAND, label="9 in 10 predicted")
    axes.plot(place, mean, color=BLUE, label="predicted mean")
    axes.plot(place, observed, "o", color=ORANGE, markersize=4, label="data")
    axes.set(xlabel=short_label(plot.labels[0]), ylabel=short_label(plot.labels[1]))
    axes.legend(fontsize="small")
    return figure
