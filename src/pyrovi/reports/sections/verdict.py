"""The verdict: the status and its sentence, what is wrong and what to do, and what was fine."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pyrovi.diagnostics import Verdict
from pyrovi.reports.numbers import count, short
from pyrovi.reports.parts import Column, Finding, Section, Table, present
from pyrovi.reports.sections.groups import diagnostic, diagnostics
from pyrovi.tree import json_attr

__all__ = ["judged", "status_of", "verdict_section"]

SEVERITY = {"fail": 0, "warn": 1, "ok": 2}

CARDS_CAP = 12
"""Findings written out in full; all of them stand in the table that follows."""
APART = 3
"""Findings of one kind that are each said in full; more are said together."""
NAMED_CAP = 6
"""Quantities that a finding names before it counts the rest."""

LEADS = {
    "ok": "No diagnostic found fault with this fit.",
    "warn": "Usable, with the care that is named below.",
    "fail": "Do not rely on what is named below.",
}
WORDS = {"ok": "ok", "warn": "with a warning", "fail": "failed", "unknown": "not judged"}

Row = Mapping[str, Any]


def verdict_section(tree: xr.DataTree, verdict: Verdict) -> Section:
    """What the diagnostics say together."""
    rows = _records(verdict.table)
    wrong = [row for row in rows if row["status"] != "ok"]
    fine = [row for row in rows if row["status"] == "ok"]
    cards = [_finding(alike) for alike in _alike(wrong)]
    said_in_full = len(wrong) == len(cards) <= CARDS_CAP
    one_by_one = f"The {count(len(wrong), 'finding')} at fault, one by one"
    tables = (
        judged(one_by_one, () if said_in_full else wrong, folded=True),
        judged(f"{count(len(fine), 'finding')} without fault", fine, folded=True),
        _skipped_table(verdict),
        _checks_table(tree),
    )
    facts = {
        "Findings at fault": f"{len(wrong)} of {len(rows)}",
        "The fit": WORDS.get(verdict.fit_status, verdict.fit_status),
        "The model": WORDS.get(verdict.model_status, verdict.model_status),
        "Said in the table only": max(0, len(cards) - CARDS_CAP) or None,
    }
    return Section(
        id="verdict",
        title="Verdict",
        status=verdict.status,
        text=(LEADS.get(verdict.status, verdict.summary()), *_notes(tree)),
        facts=present(facts),
        findings=tuple(cards[:CARDS_CAP]),
        tables=tuple(table for table in tables if table.rows),
    )


def _notes(tree: xr.DataTree) -> list[str]:
    return [f"Note: {note}" for note in json_attr(tree, "notes", [])]


def _skipped_table(verdict: Verdict) -> Table:
    columns = (Column("Check"), Column("Why it could not be made"))
    return Table.capped("Not checked", columns, verdict.skipped.items())


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows, failures first, otherwise in the verdict's order."""
    records: Any = table.to_dict("records")
    return sorted(records, key=lambda row: SEVERITY.get(row["status"], 0))


def _alike(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that call for one action together; others of one kind too, where they are many."""
    together = _bucket(rows, "check", "status", "action")
    alone = [each[0] for each in together if len(each) == 1]
    groups = [each for each in together if len(each) > 1]
    for kind in _bucket(alone, "check", "status"):
        groups += [kind] if len(kind) > APART else [[row] for row in kind]
    place = {id(row): i for i, row in enumerate(rows)}
    return sorted(groups, key=lambda group: place[id(group[0])])


def _bucket(rows: Sequence[Row], *keys: str) -> list[list[Row]]:
    buckets: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        buckets.setdefault(tuple(row[key] for key in keys), []).append(row)
    return list(buckets.values())


def _finding(rows: Sequence[Row]) -> Finding:
    """One finding of rows that are alike; the first is quoted."""
    quoted = rows[0]
    reasons = {row["why"] for row in rows}
    names = [str(row["quantity"]) for row in rows]
    first = f"For example {names[0]}. " if len(reasons) > 1 else ""
    words = {name: str(quoted[name] or "") for name in ("status", "check", "action")}
    return Finding(
        quantity=_named(names),
        value="" if np.isnan(quoted["value"]) else short(quoted["value"]),
        threshold=str(quoted["threshold"]),
        why=f"{first}{quoted['why']}",
        **words,
    )


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED_CAP
    return ", ".join(names[:NAMED_CAP]) + (f" and {more:,} more" if more > 0 else "")


def judged(title: str, rows: Sequence[Row], *, folded: bool = False, why: bool = False) -> Table:
    """Findings as a table, one row each; with ``why``, the sentence too."""
    columns = (
        Column("Status", "status"),
        Column("Quantity"),
        *(() if why else (Column("Check"),)),
        Column("Value", "number"),
        Column("Asked"),
        *((Column("Why"),) if why else ()),
    )
    cells = (_cells(row, why=why) for row in rows)
    return Table.capped(title, columns, cells, order="worst", folded=folded)


def _cells(row: Row, *, why: bool) -> tuple[str, ...]:
    value = "" if np.isnan(row["value"]) else short(row["value"])
    check = () if why else (str(row["check"]),)
    reason = (str(row["why"]),) if why else ()
    return (
        str(row["status"]),
        str(row["quantity"]),
        *check,
        value,
        str(row["threshold"]),
        *reason,
    )


def _checks_table(tree: xr.DataTree) -> Table:
    """What each check asks, and whose advice its threshold is."""
    found = [diagnostic(tree, name).attrs for name in diagnostics(tree)]
    rows = [
        tuple(str(each.get(k, "")) for k in ("check", "title", "about", "source"))
        for each in found
    ]
    columns = map(Column, ("Check", "What it looks at", "Judges the", "Source of its thresholds"))
    return Table.capped("The checks and their sources", columns, rows, folded=True)


def status_of(table: pd.DataFrame) -> dict[str, str]:
    """The worst status of every quantity that was judged."""
    status: dict[str, str] = {}
    for row in _records(table):
        status.setdefault(str(row["quantity"]), str(row["status"]))
    return status
