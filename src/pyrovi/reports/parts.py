"""What a report is made of, as plain values: nothing here knows HTML or matplotlib.

A `Report` is a tuple of `Section`; a section holds facts, findings, tables and plots, in that
order. Text is kept as the user wrote it: escaping belongs to the page, shortening to the figure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pyrovi.diagnostics import Finding

ROWS_CAP = 200
"""Rows of a table that are shown; its note says how many there were."""


@dataclass(frozen=True)
class Column:
    """A column's heading, and whether its cells are numbers (set flush right) or a status."""

    title: str
    kind: Literal["text", "number", "status"] = "text"


def numbers(*titles: str) -> tuple[Column, ...]:
    """Columns of numbers."""
    return tuple(Column(title, "number") for title in titles)


@dataclass(frozen=True)
class Table:
    """Rows of text that is already formatted; `note` says what a cap left out."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    folded: bool = False

    @classmethod
    def capped(
        cls,
        title: str,
        columns: Iterable[Column],
        rows: Iterable[tuple[str, ...]],
        *,
        order: str = "first",
        note: str = "",
        folded: bool = False,
    ) -> "Table":
        """The first `ROWS_CAP` of ``rows``; ``order`` says which these are, e.g. ``"worst"``."""
        every = tuple(rows)
        if len(every) > ROWS_CAP:
            note = f"The {order} {ROWS_CAP} of {len(every):,} rows are shown. {note}".strip()
        return cls(title, tuple(columns), every[:ROWS_CAP], note, folded)


@dataclass(frozen=True)
class Plot:
    """A figure still to be drawn: its words and its arrays.

    What the arrays are depends on `kind`, one of `pyrovi.reports.figures.FIGURES`; `labels` names
    them where the figure does.
    """

    kind: str
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


def present(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The facts that there are, as text."""
    return tuple((key, str(value)) for key, value in facts.items() if value not in (None, ""))
