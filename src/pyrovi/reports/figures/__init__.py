"""Plots as SVG, drawn by ArviZ on matplotlib, once, in the colours of paper and of night.

The user's session is left as it was: rcParams and open figures are untouched, nothing is shown.
Whatever a user named is drawn as plain text: no mathematics in ``$``, no glyph warnings.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pyrovi.lazy import load
from pyrovi.reports.figures.style import own_settings
from pyrovi.reports.figures.svg import Drawing as Drawing, drawing
from pyrovi.reports.parts import Plot

FIGURES: Mapping[str, str] = {
    kind: f"pyrovi.reports.figures.{family}:{kind}"
    for family, kinds in {
        "progress": ("loss",),
        "quantities": ("marginal", "forest"),
        "places": ("field", "profile", "stations"),
        "predictions": ("against", "parts", "density", "ecdf", "counts", "calibration", "pit"),
    }.items()
    for kind in kinds
}
"""Where each kind of plot is drawn. One more is its function and its name here."""


def draw(plot: Plot) -> Drawing:
    """Draw ``plot``; the session's matplotlib settings and figures stay as they are."""
    function: Callable[[Plot], Any] = load(FIGURES[plot.kind])
    with own_settings() as plt:
        figure = function(plot)
        try:
            return drawing(figure)
        finally:
            plt.close(figure)
