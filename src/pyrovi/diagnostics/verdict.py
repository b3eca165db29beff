"""One reading of all diagnostics: ok, warn or fail, why, and what to do next."""

import html
import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from pyrovi.diagnostics._rows import SEVERITY, Row, table, worst
from pyrovi.diagnostics.convergence import is_nuts
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

    def summary(self) -> str:
        """One sentence: the status, and what is behind it."""
        behind = [finding.label for finding in _findings(self.table)]
        if not behind:
            return f"ok: {_count(len(self.table), 'finding')}, none at fault."
        more = f" and {len(behind) - APART} more" * (len(behind) > APART)
        wrong = (self.table["status"] != "ok").sum()
        said = "; ".join(behind[:APART])
        return f"{self.status}: {wrong} of {_count(len(self.table), 'finding')}: {said}{more}."

    def __str__(self) -> str:
        blocks = [self._head(), *(f.text() for f in _findings(self.table)), self._tail()]
        return "\n\n".join(block for block in blocks if block)

    def __repr__(self) -> str:
        return f"<Verdict {self.summary()}>"

    def _head(self) -> str:
        about = f"The fit: {self.fit_status}. The model: {self.model_status}"
        through = self.fit_status == "fail" and self.model_status == "warn"
        about += ", but seen through a fit that failed." if through else "."
        return "\n".join(filter(None, [_HEADLINES[self.status], self.subject, about]))

    def _tail(self) -> str:
        lines = []
        well = self.table[self.table["status"] == "ok"]
        if len(well):
            counts = well["check"].value_counts(sort=False).items()
            each = ", ".join(f"{check} {count}" for check, count in counts)
            lines.append(_wrap("ok", f"{_count(len(well), 'finding')}: {each}."))
        lines += [_wrap("-", f"{name} not run: {why}.") for name, why in self.skipped.items()]
        cited = self.table.loc[self.table["status"] != "ok", ["check", "source"]].drop_duplicates()
        lines += [
            _wrap("", f"{check}: {source}.") for check, source in cited.itertuples(index=False)
        ]
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
    parts = [group[name].to_dataset() for name in names]
    if not _accuracy_judged(tree):
        parts.append(_unjudged(skipped.pop("psis", "it was not run")))
    rows = pd.concat([_as_frame(part) for part in parts], ignore_index=True)
    order = rows["status"].map(SEVERITY)
    ranked = rows.loc[order.sort_values(ascending=False, kind="stable").index]
    return Verdict(
        table=ranked[COLUMNS].reset_index(drop=True),
        fit_status=worst(rows.loc[rows["about"] == "fit", "status"]),
        model_status=_status_or_unknown(rows.loc[rows["about"] == "model", "status"]),
        skipped=skipped,
        subject=_subject(tree),
    )


def _as_frame(found: xr.Dataset) -> pd.DataFrame:
    columns = {name: found[name].to_numpy() for name in COLUMNS if name in found}
    constants = {name: found.attrs[name] for name in ("check", "source", "about")}
    return pd.DataFrame({**columns, **constants})


def _status_or_unknown(statuses: pd.Series) -> str:
    return worst(statuses) if len(statuses) else "unknown"


def _accuracy_judged(tree: xr.DataTree) -> bool:
    """Whether anything compared the draws with the posterior itself."""
    if is_nuts(tree):
        return has(tree, "diagnostics/convergence")
    return has(tree, "diagnostics/psis")


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

    check: str
    status: str
    names: list[str]
    worst: pd.Series
    differ: bool

    @property
    def label(self) -> str:
        return f"{self.check} {self._named(limit=2)}"

    def text(self) -> str:
        quoted = self.worst
        many = f"Worst, {quoted['quantity']}: " * self.differ
        asked = f" [{quoted['value']:.3g}, asked {quoted['threshold']}]"
        known = asked * bool(np.isfinite(quoted["value"]))
        lines = [
            _wrap(self.status, f"{self.check}: {self._named(limit=NAMED)}"),
            _wrap("", f"{many}{quoted['why']}{known}"),
        ]
        if quoted["action"]:
            lines.append(_wrap("", f"Next: {quoted['action']}"))
        return "\n".join(lines)

    def _named(self, limit: int) -> str:
        more = len(self.names) - limit
        return ", ".join(self.names[:limit]) + (f" and {more} more" if more > 0 else "")


def _findings(rows: pd.DataFrame) -> list[_Finding]:
    wrong = rows[rows["status"] != "ok"]
    found: list[_Finding] = []
    for (check, status, _), group in wrong.groupby(["check", "status", "threshold"], sort=False):
        alike = len(set(group["action"])) == 1
        together = (
            [group]
            if alike or len(group) > APART
            else [group.iloc[[i]] for i in range(len(group))]
        )
        found += [_finding(str(check), str(status), part) for part in together]
    return found


def _finding(check: str, status: str, group: pd.DataFrame) -> _Finding:
    excess = [_excess(*pair) for pair in zip(group["value"], group["threshold"], strict=True)]
    row = group.iloc[int(np.argmax(excess))]
    return _Finding(check, status, list(group["quantity"]), row, differ=len(set(group["why"])) > 1)


def _excess(value: float, threshold: str) -> float:
    """How far a value is on the wrong side; comparable between rows of one threshold."""
    if not np.isfinite(value):
        return np.inf if value > 0 else 0.0
    numbers = [float(text) for text in re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", threshold)]
    if threshold.startswith("in [") and len(numbers) == 2:
        low, high = numbers
        return max(low - value, 0) / low + max(value - high, 0) / high
    return -value if threshold.startswith(">") else value


def _wrap(mark: str, text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=f"{mark:6}", subsequent_indent=" " * 6, break_long_words=False
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
