"""A tree as one self-contained HTML page: tree, then sections, then figures, then HTML."""

import logging
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import xarray as xr

from pyrovi import diagnostics
from pyrovi.clock import OutOfTime, check_time, within
from pyrovi.errors import PyroviError, check_seconds
from pyrovi.files import write_whole
from pyrovi.reports.figures import Drawing, draw
from pyrovi.reports.page import Drawn, render
from pyrovi.reports.parts import (
    Column as Column,
    Plot as Plot,
    Section as Section,
    Table as Table,
    present,
)
from pyrovi.reports.sections import SECTIONS as SECTIONS, contents
from pyrovi.reports.sections.groups import attrs

_log = logging.getLogger(__name__)


class Report:
    """A report on one tree.

    Attributes:
        title: The page's title.
        sections: What it says, as plain data.
    """

    def __init__(self, title: str, sections: Sequence[Section]) -> None:
        self.title = title
        self.sections = tuple(sections)

    @cached_property
    def html(self) -> str:
        """The page."""
        return render(self.title, self.sections, self.drawings)

    @cached_property
    def drawings(self) -> dict[str, tuple[Drawn, ...]]:
        """The figures of each section, drawn when they are first asked for."""
        return {
            section.id: tuple((plot, _drawing(plot)) for plot in section.plots)
            for section in self.sections
        }

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to ``path``, whole or not at all.

        Raises:
            OutputError: If it cannot be written; what was at ``path`` is then untouched.
        """
        return write_whole(Path(path), self.html.encode("utf-8", "backslashreplace"))

    def __repr__(self) -> str:
        return f"Report({self.title!r}, {len(self.sections)} sections)"


def report(tree: xr.DataTree, *, max_seconds: float | None = None) -> Report:
    """The report on ``tree``, from its verdict to its provenance.

    A tree that was not checked yet is checked; groups that it lacks make the report shorter.

    Args:
        tree: What `pyrovi.check` returned, or what it would take.
        max_seconds: Wall time to spend at the most, figures included, which are then drawn here.
            What there is no time for is left out, as the page says.

    Raises:
        TreeError: If ``tree`` is no tree.
        PyroviError: If ``max_seconds`` is not positive.
    """
    check_seconds(max_seconds, PyroviError)
    with within(max_seconds):
        judged = tree if diagnostics.checked(tree) else diagnostics.check(tree)
        name = attrs(judged).get("model") or "A model"
        sections, late = contents(judged, diagnostics.verdict(judged))
        made = Report(f"{name}: how far to trust this fit", sections)
        return made if max_seconds is None else _in_time(made, late, max_seconds)


def _in_time(made: Report, late: Sequence[str], max_seconds: float) -> Report:
    """The report with its figures drawn, and with a section on what there was no time for."""
    undrawn = [plot.title for each in made.drawings.values() for plot, one in each if one is None]
    missing = {"Sections": ", ".join(late), "Figures": "; ".join(undrawn)}
    if not (late or undrawn):
        return made
    first, *others = made.sections
    said = f"{max_seconds:g} s, which were asked for, were no time for all of this report."
    left_out = Section("time", "Left out", (said,), "warn", present(missing))
    whole = Report(made.title, (first, left_out, *others))
    whole.drawings = made.drawings | {left_out.id: ()}
    return whole


def _drawing(plot: Plot) -> Drawing | None:
    """One figure that cannot be drawn, or in time, costs that figure, and not the page."""
    try:
        check_time()
        return draw(plot)
    except OutOfTime:
        return None
    except Exception as error:  # noqa: BLE001 -- whatever plotting makes of unusual draws
        _log.warning("The figure %r could not be drawn: %s", plot.title, error)
        _log.debug("Its traceback:", exc_info=True)
        return None
