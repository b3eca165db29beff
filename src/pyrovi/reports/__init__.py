"""A tree as one self-contained HTML page: tree, then sections, then figures, then HTML."""

import logging
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import xarray as xr

from pyrovi import diagnostics
from pyrovi.files import write_whole
from pyrovi.reports.figures import Drawing, draw
from pyrovi.reports.page import render
from pyrovi.reports.parts import Column as Column, Plot as Plot, Section as Section, Table as Table
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
        """The page; its figures are drawn when it is first asked for."""
        drawings = {
            section.id: tuple((plot, _drawing(plot)) for plot in section.plots)
            for section in self.sections
        }
        return render(self.title, self.sections, drawings)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to ``path``, whole or not at all.

        Raises:
            OutputError: If it cannot be written; what was at ``path`` is then untouched.
        """
        return write_whole(Path(path), self.html.encode("utf-8", "backslashreplace"))

    def __repr__(self) -> str:
        return f"Report({self.title!r}, {len(self.sections)} sections)"


def report(tree: xr.DataTree) -> Report:
    """The report on ``tree``, from its verdict to its provenance.

    A tree that was not checked yet is checked; groups that it lacks make the report shorter.

    Raises:
        TreeError: If ``tree`` is no tree.
    """
    judged = tree if diagnostics.checked(tree) else diagnostics.check(tree)
    name = attrs(judged).get("model") or "A model"
    sections = contents(judged, diagnostics.verdict(judged))
    return Report(f"{name}: how far to trust this fit", sections)


def _drawing(plot: Plot) -> Drawing | None:
    """One figure that cannot be drawn costs that figure, and not the page."""
    try:
        return draw(plot)
    except Exception as error:  # noqa: BLE001 -- whatever plotting makes of unusual draws
        _log.warning("The figure %r could not be drawn: %s", plot.title, error)
        _log.debug("Its traceback:", exc_info=True)
        return None
