"""Plots as SVG, drawn by ArviZ on matplotlib, once, in the colours of paper and of night.

The user's session is left as it was: rcParams and open figures are untouched, nothing is shown.
Whatever a user named is drawn as plain text: no mathematics in ``$``, no glyph warnings.
"""

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pyrovi.lazy import load
from pyrovi.reports.figures.style import INK, NIGHT, own_settings
from pyrovi.reports.parts import Plot

FIGURES: Mapping[str, str] = {
    kind: f"pyrovi.reports.figures.{family}:{kind}"
    for family, kinds in {
        "fits": ("loss", "marginal", "forest"),
        "places": ("field", "profile", "stations"),
        "predictions": ("against", "parts", "density", "ecdf", "counts", "calibration", "pit"),
    }.items()
    for kind in kinds
}
"""Where each kind of plot is drawn. One more is its function and its name here."""


@dataclass(frozen=True)
class Drawing:
    """One figure in both colour schemes, as SVG text; width and height in CSS pixels."""

    light: str
    dark: str
    width: int
    height: int


def draw(plot: Plot) -> Drawing:
    """Draw ``plot``; the session's matplotlib settings and figures stay as they are."""
    function: Callable[[Plot], Any] = load(FIGURES[plot.kind])
    with own_settings() as plt:
        figure = function(plot)
        try:
            return _drawing(figure)
        finally:
            plt.close(figure)


def _drawing(figure: Any) -> Drawing:
    """``figure`` in both colour schemes."""
    from matplotlib.text import Text

    # ArviZ writes some labels in a black of its own, which no night can show.
    for text in figure.findobj(Text):
        text.set_color(INK)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    light = _compact(buffer.getvalue())
    dark = re.sub("|".join(NIGHT), lambda match: NIGHT[match.group()], light)
    width, height = figure.get_size_inches() * 96
    return Drawing(light=light, dark=dark, width=round(width), height=round(height))


def _compact(svg: str) -> str:
    """Without comments, metadata and the digits that no eye can see."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' d="[^"]*"', lambda path: _rounded(path.group()), svg)
    return re.sub(r">\s+<", "><", svg)


def _rounded(path: str) -> str:
    rounded = re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number.group()):.1f}", path)
    return rounded.replace(".0 ", " ").replace("\n", "")
