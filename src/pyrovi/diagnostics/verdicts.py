"""One reading of all diagnostics: ok, warn or fail, why, and what to do next."""

import html
import json
import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pyrovi.diagnostics.checks.convergence import is_nuts
from pyrovi.diagnostics.findings import Row, table
from pyrovi.evidence import SEVERITY, worst
from pyrovi.tree import has

__all__ = ["Verdict", "read"]

COLUMNS = ["quantity", "check", "status", "value", "threshold", "why", "action", "source"]

WIDTH = 90
NAMED = 6
"""Quantities that a finding names before it counts the rest."""
APART = 3
"""Rows of one kind that are each said in full; more are said together, with the worst."""

_HEADLINES = {
    "ok": "OK: no diagnostic found fault.",
    "warn": "WARN: usable with the care named below.",
    "fail": "FAIL: do not rely on what is named below.",
}


@dataclass(frozen=True, eq=False, repr=False)
class Verdict:
    """What the diagnostics of a tree say together.

    Attributes:
        table: One row per quantity and check, the worst first; columns quantity, check, status,
            value, threshold, why, action and source.
        fit_status: The worst status of the rows that judge the fit.
        model_status: The worst status of the rows that judge the model, or ``"unknown"``.
        skipped: The checks that did not apply, each with the reason.
        subject: Which model was fitted, and by what engine.
    """

    table: pd.DataFrame
    fit_status: str
    model_status: str
    skipped: dict[str, str]
    subject: str = ""

    @property
    def status(self) -> str:
        """The worst of all rows: ``"ok"``, ``"warn"`` or ``"fail"``."""
        return worst(self.table["status"])

    @property
    def _findings(self) -> "list[_Finding]":
        return _group([row for row in _records(self.table) if row["status"] != "ok"])

    def summary(self) -> str:
        """One sentence: the status, and what is behind it."""
        found = self._findings
        judged = _count(len(self.table), "finding")
        if not found:
            return f"ok: {judged}, none at fault."
        wrong = sum(len(finding.names) for finding in found)
        said = "; ".join(finding.label for finding in found[:APART])
        more = f" and {len(found) - APART} more" * (len(found) > APART)
        return f"{self.status}: {wrong} of {judged}: {said}{more}."

    def __str__(self) -> str:
        blocks = [self._head(), *(finding.text() for finding in self._findings), self._tail()]
        return "\n\n".join(block for block in blocks if block)

    def __repr__(self) -> str:
        return f"<Verdict {self.summary()}>"

    def _head(self) -> str:
        about = f"The fit: {self.fit_status}. The model: {self.model_status}"
        through = self.fit_status == "fail" and self.model_status == "warn"
        about += ", but seen through a fit that failed." if through else "."
        return "\n".join(filter(None, [_HEADLINES[self.status], self.subject, about]))

    def _tail(self) -> str:
        rows = _records(self.table)
        well = Counter(row["check"] for row in rows if row["status"] == "ok")
        lines = []
        if well:
            each = ", ".join(f"{check} {count}" for check, count in well.items())
            lines.append(_wrap("ok", f"{_count(well.total(), 'finding')}: {each}."))
        lines += [_wrap("-", f"{name} not run: {why}.") for name, why in self.skipped.items()]
        sources = {row["check"]: row["source"] for row in rows if row["status"] != "ok"}
        lines += [_wrap("", f"{check}: {source}.") for check, source in sources.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        wrong = self.table[self.table["status"] != "ok"].drop(columns="source")
        head = "<br>".join(map(html.escape, self._head().split("\n")))
        body = wrong.to_html(index=False, escape=True, float_format="%.3g", na_rep="")
        tail = html.escape(self._tail())
        return f"<div><p>{head}</p>{body if len(wrong) else ''}<pre>{tail}</pre></div>"


def read(tree: xr.DataTree, order: Sequence[str]) -> Verdict:
    """The verdict on a tree that `pyrovi.check` has grown, with the checks in ``order``."""
    group = tree["diagnostics"]
    skipped = json.loads(group.attrs.get("skipped", "{}"))
    # A file gives them back in alphabetical order; checks of other libraries come last.
    names = [name for name in order if name in group.children]
    names += [name for name in group.children if name not in names]
    found = [group[name].to_dataset() for name in names]
    if not _accuracy_judged(tree):
        found.append(_unjudged(skipped.pop("psis", "psis was not run")))
    rows = [row for dataset in found for row in _rows(dataset)]
    rows.sort(key=lambda row: -SEVERITY[row["status"]])
    return Verdict(
        table=pd.DataFrame(rows, columns=pd.Index(COLUMNS)),
        fit_status=worst(row["status"] for row in rows if row["about"] == "fit"),
        model_status=_status_of_model([row for row in rows if row["about"] == "model"]),
        skipped=skipped,
        subject=_subject(tree),
    )


def _rows(found: xr.Dataset) -> list[dict[str, Any]]:
    constants = {name: found.attrs[name] for name in ("check", "source", "about")}
    names = ("quantity", "status", "value", "threshold", "why", "action")
    columns = [found[name].to_numpy().tolist() for name in names]
    return [dict(zip(names, row, strict=True)) | constants for row in zip(*columns, strict=True)]


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in table.itertuples(index=False)]


def _status_of_model(rows: list[dict[str, Any]]) -> str:
    return worst(row["status"] for row in rows) if rows else "unknown"


def _accuracy_judged(tree: xr.DataTree) -> bool:
    """Whether anything compared the draws with the posterior itself."""
    if is_nuts(tree):
        return has(tree, "diagnostics/convergence")
    return has(tree, "diagnostics/psis") or has(tree, "diagnostics/drift")


def _unjudged(reason: str) -> xr.Dataset:
    """Silence about the accuracy must not read as ok."""
    row = Row(
        "joint",
        np.nan,
        "a comparison with the posterior",
        f"Nothing here compares the draws with the posterior: {reason}.",
        "warn",
        "Draw with pyrovi.draw, which keeps both densities, or compare with NUTS.",
    )
    return table([row], check="psis", title="", source="Yao et al. (2018), ICML", about="fit")


def _subject(tree: xr.DataTree) -> str:
    attrs = tree["sample_stats"].attrs if "sample_stats" in tree else {}
    known = [str(attrs[key]) for key in ("model", "engine") if attrs.get(key)]
    return f"{' by '.join(known)}." if known else ""


# Findings: rows of one kind, said together


@dataclass(frozen=True)
class _Finding:
    """Rows of one check with one status and one threshold; `worst` is the row that is quoted."""

    rows: list[dict[str, Any]]

    @property
    def names(self) -> list[str]:
        return [row["quantity"] for row in self.rows]

    @property
    def worst(self) -> dict[str, Any]:
        return max(self.rows, key=lambda row: _excess(row["value"], row["threshold"]))

    @property
    def label(self) -> str:
        return f"{self.worst['check']} {self._named(limit=2)}"

    def text(self) -> str:
        said = self.worst
        differ = len({row["why"] for row in self.rows}) > 1
        which = f"The worst is {said['quantity']}. " if differ else ""
        asked = f" [{said['value']:.3g}, asked {said['threshold']}]"
        lines = [
            _wrap(said["status"], f"{said['check']}: {self._named(limit=NAMED)}"),
            _wrap("", f"{which}{said['why']}{asked if np.isfinite(said['value']) else ''}"),
        ]
        if said["action"]:
            lines.append(_wrap("", f"Next: {said['action']}"))
        return "\n".join(lines)

    def _named(self, limit: int) -> str:
        more = len(self.names) - limit
        return ", ".join(self.names[:limit]) + (f" and {more} more" if more > 0 else "")


def _group(rows: list[dict[str, Any]]) -> list[_Finding]:
    """Rows that call for one action together; others of one kind too, if they are many."""
    found: list[_Finding] = []
    for same in _bucket(rows, "check", "status", "action"):
        found += [_Finding(same)] if len(same) > 1 else []
    said = {id(row) for finding in found for row in finding.rows}
    rest = [row for row in rows if id(row) not in said]
    for kind in _bucket(rest, "check", "status", "threshold"):
        found += [_Finding(kind)] if len(kind) > APART else [_Finding([row]) for row in kind]
    place = {id(row): i for i, row in enumerate(rows)}
    return sorted(found, key=lambda finding: place[id(finding.rows[0])])


def _bucket(rows: list[dict[str, Any]], *keys: str) -> list[list[dict[str, Any]]]:
    buckets: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        buckets.setdefault(tuple(row[key] for key in keys), []).append(row)
    return list(buckets.values())


def _excess(value: float, threshold: str) -> float:
    """How far a value is beyond its threshold, as a share of it."""
    limits = [float(text) for text in re.findall(r"\d+(?:\.\d+)?", threshold)]
    if not limits or np.isnan(value) or 0.0 in limits:
        return 0.0
    if threshold.startswith("in ["):
        low, high = limits
        return max((low - value) / low, (value - high) / high)
    return (limits[0] - value if threshold.startswith(">") else value - limits[0]) / limits[0]


def _wrap(mark: str, text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=f"{mark:6}", subsequent_indent=" " * 6, break_long_words=False
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
