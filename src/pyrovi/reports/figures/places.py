"""What lies in space: fields, stations and profiles."""

from typing import Any

import numpy as np

from pyrovi.reports.figures import style
from pyrovi.reports.parts import Plot

MAP_WIDTH, MAP_HEIGHT = 3.6, 2.4


def field(plot: Plot) -> Any:
    """`arrays`: the ticks along (n) and up (m), from the bottom, and the values (m, n)."""
    along, up, values = plot.arrays
    figure, axes = style.blank(MAP_WIDTH, MAP_HEIGHT)
    drawn = axes.pcolormesh(
        along, up, values, shading="nearest", rasterized=True, **_shades(values)
    )
    if up[0] > up[-1]:
        axes.invert_yaxis()
    return _labelled(plot, figure, axes, drawn)


def stations(plot: Plot) -> Any:
    """`arrays`: both coordinates and the values at them, (n) each."""
    along, up, values = plot.arrays
    figure, axes = style.blank(MAP_WIDTH, MAP_HEIGHT)
    size = float(np.clip(3000 / len(values), 6, 60))
    drawn = axes.scatter(
        along, up, c=values, s=size, edgecolors=style.MUTED, linewidths=0.4, **_shades(values)
    )
    axes.set_aspect("equal", adjustable="datalim")
    return _labelled(plot, figure, axes, drawn)


def _labelled(plot: Plot, figure: Any, axes: Any, drawn: Any) -> Any:
    along, up, unit = map(style.short_label, plot.labels)
    axes.set(xlabel=along, ylabel=up)
    figure.colorbar(drawn, ax=axes, label=unit)
    return figure


def _shades(values: np.ndarray) -> dict[str, Any]:
    """Two hues about zero where values lie on both sides of it, else one that darkens."""
    most = float(np.nanmax(np.abs(values), initial=0.0))
    if np.nanmin(values) < 0 < np.nanmax(values):
        return {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    return {"cmap": "viridis"}


def profile(plot: Plot) -> Any:
    """`arrays`: one, rows for the place, the data, and the prediction's mean and both ends."""
    place, observed, mean, low, high = plot.arrays[0]
    figure, axes = style.blank()
    axes.fill_between(place, low, high, color=style.BAND, label="9 in 10 predicted")
    axes.plot(place, mean, color=style.BLUE, label="predicted mean")
    axes.plot(place, observed, "o", color=style.ORANGE, markersize=4, label="data")
    axes.set(xlabel=style.short_label(plot.labels[0]), ylabel=style.short_label(plot.labels[1]))
    axes.legend(fontsize="small")
    return figure
