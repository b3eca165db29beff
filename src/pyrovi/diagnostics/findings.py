"""What every diagnostic returns: rows of findings, as one Dataset of numbers and sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from pyrovi.evidence import Difference, Limit, Status

Kind = Literal["judged", "cannot tell", "not run"]
JUDGED: Kind = "judged"
CANNOT_TELL: Kind = "cannot tell"
"""The check was made, and its evidence is too weak to say anything of the quantity."""
NOT_RUN: Kind = "not run"

ROW = ("quantity", "value", "low", "high", "unit", "kind", "status", "why", "action")
"""The variables of a diagnostic's Dataset that a verdict reads."""


@dataclass(frozen=True)
class Row:
    """One finding: a number about a quantity, what is asked of it, and what follows.

    Attributes:
        quantity: A label as `pyrovi.tree.quantities` gives it, or what else was judged.
        value: The number that was judged; NaN if there is none.
        limit: What is asked of it: that it lies from `Limit.low` to `Limit.high`, beyond noise.
        why: One sentence.
        status: ``"ok"``, ``"warn"`` or ``"fail"``.
        action: The next thing to do; left out of the table if all is well.
        kind: Whether it could be judged.
    """

    quantity: str
    value: float | int
    limit: Limit
    why: str
    status: Status = "ok"
    action: str = ""
    kind: Kind = JUDGED


def table(
    rows: Sequence[Row],
    *,
    check: str,
    title: str,
    source: str,
    about: Literal["fit", "model"],
    extra: Mapping[str, Any] | None = None,
    coords: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """The Dataset of a diagnostic.

    Args:
        rows: Its findings.
        check: Its name in `pyrovi.diagnostics.CHECKS`.
        title: What it asks, for a heading.
        source: Where its thresholds come from.
        about: Whether it judges the fit or the model.
        extra: More variables, for plots and for the reader who wants the numbers.
        coords: Their coordinates.
    """
    columns = {
        "value": np.array([row.value for row in rows], float),
        "low": np.array([row.limit.low for row in rows], float),
        "high": np.array([row.limit.high for row in rows], float),
        "unit": np.array([row.limit.unit for row in rows], str),
        "kind": np.array([row.kind for row in rows], str),
        "status": np.array([row.status for row in rows], str),
        "why": np.array([row.why for row in rows], str),
        "action": np.array([row.action * (row.status != "ok") for row in rows], str),
    }
    return xr.Dataset(
        {name: ("quantity", column) for name, column in columns.items()} | dict(extra or {}),
        coords={"quantity": np.array([row.quantity for row in rows], str), **(coords or {})},
        attrs={"check": check, "title": title, "source": source, "about": about},
    )


def of_differences(differences: Sequence[Difference | None]) -> dict[str, Any]:
    """The numbers behind rows that hold draws against another account; NaN where there is none."""
    names = ("shift", "shift_error", "ratio", "ratio_error", "mean", "sd")
    return {
        name: ("quantity", [np.nan if d is None else getattr(d, name) for d in differences])
        for name in names
    }
