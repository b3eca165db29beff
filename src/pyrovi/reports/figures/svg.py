"""A matplotlib figure as SVG in both colour schemes."""

import io
import re
from dataclasses import dataclass
from typing import Any

from pyrovi.reports.figures.style import INK, NIGHT


@dataclass(frozen=True)
class Drawing:
    """One figure in both colour schemes, as SVG text; width and height in CSS pixels."""

    light: str
    dark: str
    width: int
    height: int


def drawing(figure: Any) -> Drawing:
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
