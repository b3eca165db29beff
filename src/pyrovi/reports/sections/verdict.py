"""The verdict: the status and its sentence, what is wrong and what to do, and what was fine."""

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from pyrovi.diagnostics import Verdict, number
from pyrovi.reports.parts import Column, Section, Table, present
from pyrovi.tree import json_attr
from pyrovi.words import count

CARDS_CAP = 12
"""Findings written out in full; all of them stand in the table that follows."""

WORDS = {"ok": "ok", "warn": "with a warning", "fail": "failed", "unknown": "not judged"}

SKIPPED = ("Check", "Why it was not run")
CHECKS = ("Check", "What it concerns", "Judges the", "Source of its thresholds")

Row = Mapping[str, Any]


def verdict_section(tree: xr.DataTree, verdict: Verdict) -> Section:
    """What the diagnostics say together."""
    rows = verdict.records
    wrong = [row for row in rows if row["status"] != "ok"]
    fine = [row for row in rows if row["status"] == "ok"]
    cards = verdict.findings
    said_in_full = len(wrong) == len(cards) <= CARDS_CAP
    one_by_one = f"The {count(len(wrong), 'finding')} at fault, one by one"
    tables = (
        judged(one_by_one, () if said_in_full else wrong, folded=True),
        judged(f"{count(len(fine), 'finding')} without fault", fine, folded=True),
        Table.capped("Not run", map(Column, SKIPPED), verdict.skipped.items()),
        _checks_table(tree),
    )
    facts = {
        "Findings at fault": f"{len(wrong)} of {len(rows)}",
        "The fit": WORDS[verdict.fit_status],
        "The model": WORDS[verdict.model_status],
        "Said in the table only": max(0, len(cards) - CARDS_CAP) or None,
    }
    return Section(
        id="verdict",
        title="Verdict",
        status=verdict.status,
        text=(
            *filter(None, (verdict.headline, verdict.unseen)),
            *(f"Note: {note}" for note in json_attr(tree, "notes", [])),
        ),
        facts=present(facts),
        findings=tuple(cards[:CARDS_CAP]),
        tables=tuple(table for table in tables if table.rows),
    )


def judged(title: str, rows: Sequence[Row], *, folded: bool = False, why: bool = False) -> Table:
    """Findings as a table, one row each; with ``why``, the sentence too."""
    columns = {
        "status": Column("Status", "status"),
        "quantity": Column("Quantity"),
        "check": Column("Check"),
        "value": Column("Value", "number"),
        "asked": Column("Asked"),
        "why": Column("Why"),
    }
    dropped = "check" if why else "why"
    names = [name for name in columns if name != dropped]
    said = ({**row, "value": number(row["value"])} for row in rows)
    cells = (tuple(str(row[name]) for name in names) for row in said)
    shown = [columns[name] for name in names]
    return Table.capped(title, shown, cells, order="worst", folded=folded)


def _checks_table(tree: xr.DataTree) -> Table:
    """What each check asks, and whose advice its threshold is."""
    made = tree["diagnostics"].children.values() if "diagnostics" in tree else ()
    keys = ("check", "title", "about", "source")
    rows = [tuple(str(each.attrs.get(key, "")) for key in keys) for each in made]
    return Table.capped("The checks and their sources", map(Column, CHECKS), rows, folded=True)


def status_of(verdict: Verdict) -> dict[str, str]:
    """The worst status of every quantity that was judged."""
    status: dict[str, str] = {}
    for row in verdict.records:
        status.setdefault(str(row["quantity"]), str(row["status"]))
    return status
