"""What a report is made of, as plain values: nothing here knows HTML or matplotlib.

A `Report` is a tuple of `Section`; a section holds facts, findings, tables and plots, in that
order. Text is kept as the user wrote it: escaping belongs to the page, shortening to the figure.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Column", "Finding", "Plot", "PlotKind", "Section", "Table"]

PlotKind = Literal["loss", "marginal", "forest", "predictive", "pit"]


@dataclass(frozen=True)
class Column:
    """A column's heading, and whether its cells are numbers (set flush right) or a status."""

    title: str
    kind: Literal["text", "number", "status"] = "text"


@dataclass(frozen=True)
class Table:
    """Rows of text that is already formatted; `note` says what a cap left out."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Finding:
    """One judgement of the verdict, in words and numbers."""

    status: str
    quantity: str
    check: str
    value: str
    threshold: str
    why: str
    action: str
    source: str


@dataclass(frozen=True)
class Plot:
    """A figure still to be drawn: its words and its arrays.

    What the arrays are depends on `kind` (see `pyrovi.reports.figures`); `labels` names them
    where the figure does.
    """

    kind: PlotKind
    title: str
    alt: str
    caption: str
    arrays: tuple[np.ndarray, ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """One part of the page; `status` is set where the section is a judgement."""

    id: str
    title: str
    text: tuple[str, ...] = ()
    status: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
