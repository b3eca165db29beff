"""One reading of all diagnostics: ok, warn or fail, why, and what to do next."""

import html
import textwrap
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pyrovi.diagnostics.findings import COMPARES, LATE, NOT_RUN, ROW, Row, table
from pyrovi.diagnostics.sentences import Finding, asked, findings
from pyrovi.evidence import SEVERITY, limits, worst
from pyrovi.words import count, listed

COLUMNS = [
    *("quantity", "check", "status", "kind", "value", "low", "high", "unit", "asked"),
    *("why", "action", "source"),
]
WIDTH = 90
SUMMED_UP = 3
"""Findings that the summary names before it counts the rest."""
Marked = tuple[str, str]
"""A mark and a line; the mark is a status, or empty."""
OF_MODES = {"modes", "restarts"}  # the checks that could have seen another mode
OTHER_MODES = (
    "Whether there are other modes was not judged: no survey of modes was made, and one fit "
    "agrees with itself."
)
HEADLINES = {
    "ok": "no diagnostic found fault.",
    "warn": "usable with the care named below.",
    "fail": "do not rely on what is named below.",
}


@dataclass(frozen=True, eq=False, repr=False)
class Verdict:
    """What the diagnostics of a tree say together.

    Attributes:
        table: One row per quantity and check, the worst first; columns quantity, check, status,
            kind ("judged", "cannot tell" or "not run"), value, low, high and unit (the value is
            asked to lie from low to high, beyond noise), asked (the same in words), why, action
            and source.
        fit_status: The worst status of the rows that judge the fit.
        model_status: The worst status of the rows that judge the model, or ``"unknown"``.
        skipped: The checks that did not apply, each with the reason.
        subject: Which model was fitted, and by what engine.
        unseen: What no check judged, in a sentence, where the status alone would hide it.
    """

    table: pd.DataFrame
    fit_status: str
    model_status: str
    skipped: dict[str, str]
    subject: str = ""
    unseen: str = ""

    @property
    def status(self) -> str:
        """The worst of all rows: ``"ok"``, ``"warn"`` or ``"fail"``."""
        return worst(self.table["status"])

    @property
    def headline(self) -> str:
        """The status in a sentence."""
        return f"{self.status.upper()}: {HEADLINES[self.status]}"

    @property
    def findings(self) -> list[Finding]:
        """What is at fault, in words."""
        return findings([row for row in self.records if row["status"] != "ok"])

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows of the table, each by its columns."""
        records: Any = self.table.to_dict("records")
        return records

    def summary(self) -> str:
        """One sentence: the status, and what is behind it."""
        faults = self.findings
        judged = count(len(self.table), "finding")
        if not faults:
            return f"ok: {judged}, none at fault. {self.unseen}".strip()
        wrong = sum(len(finding.names) for finding in faults)
        said = listed([finding.label for finding in faults], SUMMED_UP, "; ")
        return f"{self.status}: {wrong} of {judged}: {said}."

    def __str__(self) -> str:
        head = (textwrap.fill(line, WIDTH, break_long_words=False) for line in self._head)
        paragraphs = ["\n".join(head), *map(_wrapped, self._marked)]
        return "\n\n".join(filter(None, paragraphs))

    def __repr__(self) -> str:
        return f"<Verdict {self.summary()}>"

    def _repr_html_(self) -> str:
        head = [("", line) for line in self._head]
        return f"<div>{''.join(map(_paragraph, [head, *self._marked]))}</div>"

    @property
    def _head(self) -> list[str]:
        about = f"The fit: {self.fit_status}. The model: {self.model_status}"
        through = self.fit_status == "fail" and self.model_status == "warn"
        about += ", but seen through a fit that failed." if through else "."
        return list(filter(None, [self.headline, self.subject, about, self.unseen]))

    @property
    def _marked(self) -> list[list[Marked]]:
        """Each finding with its status as the mark of its first line, and then the rest."""
        said = [zip_longest([each.status], each.lines, fillvalue="") for each in self.findings]
        return [*map(list, said), self._tail]

    @property
    def _tail(self) -> list[Marked]:
        """What was fine, what was not run, and the sources of what is at fault."""
        records = self.records
        well = Counter(row["check"] for row in records if row["status"] == "ok")
        each = ", ".join(f"{check} {number}" for check, number in well.items())
        fine = [("ok", f"{count(well.total(), 'finding')}: {each}.")] * bool(well)
        idle = [("-", f"{name} not run: {why}.") for name, why in self.skipped.items()]
        sources = {row["check"]: row["source"] for row in records if row["status"] != "ok"}
        return [*fine, *idle, *(("", f"{check}: {source}.") for check, source in sources.items())]


def _wrapped(lines: Iterable[Marked]) -> str:
    """Lines with a mark before each, at most `WIDTH` characters wide."""
    fill = partial(textwrap.fill, width=WIDTH, subsequent_indent=" " * 6, break_long_words=False)
    return "\n".join(fill(text, initial_indent=f"{mark:6}") for mark, text in lines)


def _paragraph(lines: Iterable[Marked]) -> str:
    said = [f"<b>{mark}</b> " * bool(mark) + html.escape(text) for mark, text in lines]
    return f"<p>{'<br>'.join(said)}</p>"


# From a tree


def not_run(reasons: Mapping[str, str], late: Container[str] = ()) -> xr.Dataset:
    """The checks that did not apply, or were ``late``, as variables of the group `diagnostics`."""
    if not reasons:
        return xr.Dataset()
    kinds = [LATE if name in late else NOT_RUN for name in reasons]
    columns = {"check": list(reasons), "kind": kinds, "why": list(reasons.values())}
    return xr.Dataset({name: ("not_run", np.array(c, str)) for name, c in columns.items()})


def read(tree: xr.DataTree, order: Sequence[str]) -> Verdict:
    """The verdict on a tree that `pyrovi.check` has grown, with the checks in ``order``."""
    group = tree["diagnostics"]
    skipped = _skipped(group.to_dataset())
    # A file gives them back in alphabetical order; checks of other libraries come last.
    names = dict.fromkeys([*order, *group.children])
    judged = [group[name].to_dataset() for name in names if name in group.children]
    judged += [_late(name, skipped[name]) for name in _late_checks(group.to_dataset())]
    if not _accuracy_judged(tree):
        judged.append(_unjudged(skipped.pop("psis", "psis was not run")))
    rows = sorted(
        (row for dataset in judged for row in _rows(dataset)),
        key=lambda row: -SEVERITY[row["status"]],
    )
    return Verdict(
        table=pd.DataFrame(rows, columns=pd.Index(COLUMNS)),
        fit_status=_status(rows, about="fit", otherwise="ok"),
        model_status=_status(rows, about="model", otherwise="unknown"),
        skipped=skipped,
        subject=_subject(tree),
        unseen=OTHER_MODES if _alone(tree) and skipped.keys() >= OF_MODES else "",
    )


def _skipped(group: xr.Dataset) -> dict[str, str]:
    if "check" not in group:
        return {}
    return dict(zip(*(group[name].to_numpy().tolist() for name in ("check", "why")), strict=True))


def _rows(made: xr.Dataset) -> list[dict[str, Any]]:
    constants = {key: made.attrs[key] for key in ("check", "source", "about")}
    columns = [made[name].to_numpy().tolist() for name in ROW]
    rows = [dict(zip(ROW, row, strict=True)) for row in zip(*columns, strict=True)]
    return [
        row | constants | {"asked": asked(row["low"], row["high"], row["unit"])} for row in rows
    ]


def _status(rows: list[dict[str, Any]], *, about: str, otherwise: str) -> str:
    statuses = [row["status"] for row in rows if row["about"] == about]
    return worst(statuses) if statuses else otherwise


def _accuracy_judged(tree: xr.DataTree) -> bool:
    """Whether anything compared the draws with the posterior itself."""
    return any(each.attrs.get(COMPARES) for each in tree["diagnostics"].children.values())


def _alone(tree: xr.DataTree) -> bool:
    """Whether the draws are of one chain, which agrees with itself."""
    return "posterior" not in tree or tree["posterior"].sizes.get("chain", 1) == 1


def _unjudged(reason: str) -> xr.Dataset:
    """Silence about the accuracy must not read as ok."""
    why = f"Nothing here compares the draws with the posterior: {reason}."
    act = "Draw with pyrovi.draw, which keeps both densities, or compare with NUTS."
    row = Row("joint", np.nan, limits.NO_LIMIT, why, "warn", act, NOT_RUN)
    return table([row], check="psis", title="", source="Yao et al. (2018), ICML", about="fit")


def _late_checks(group: xr.Dataset) -> list[str]:
    if "check" not in group:
        return []
    return group["check"].to_numpy()[group["kind"].to_numpy() == LATE].tolist()


def _late(name: str, reason: str) -> xr.Dataset:
    """A check for which there was no time must not read as ok."""
    why = f"It was not run: {reason}."
    act = "Draw and check with a larger max_seconds, or without one."
    row = Row("all", np.nan, limits.NO_LIMIT, why, "warn", act, NOT_RUN)
    return table([row], check=name, title="", source="the time that was allowed", about="fit")


def _subject(tree: xr.DataTree) -> str:
    attrs = tree["sample_stats"].attrs if "sample_stats" in tree else {}
    named = [str(attrs[key]) for key in ("model", "engine") if attrs.get(key)]
    return f"{' by '.join(named)}." if named else ""
