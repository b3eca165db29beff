"""What every diagnostic returns: rows of findings, as one Dataset."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from pyrovi.evidence import Status, first_case


def asked(low: float, high: float, unit: str = "") -> str:
    """What is asked of a number, in words; nothing where it is no number.

    >>> asked(-math.inf, 0.1, "sd"), asked(400.0, math.inf), asked(1 / 1.1, 1.1), asked(0.0, 0.0)
    ('<= 0.1 sd', '>= 400', 'in [0.909, 1.1]', '0')
    """
    if math.isnan(low) or math.isnan(high):
        return ""
    words = first_case(
        (low == high, f"{high:.3g}"),
        (low == -math.inf, f"<= {high:.3g}"),
        (high == math.inf, f">= {low:.3g}"),
        otherwise=f"in [{low:.3g}, {high:.3g}]",
    )
    return f"{words} {unit}".rstrip()


@dataclass(frozen=True)
class Row:
    """One finding: a number about a quantity, what was asked of it, and what follows.

    Attributes:
        quantity: A label as `pyrovi.tree.quantities` gives it, or what else was judged.
        value: The number that was judged; NaN if there is none.
        threshold: What was asked of it, for a reader: ``"< 0.7"``.
        why: One sentence.
        status: ``"ok"``, ``"warn"`` or ``"fail"``.
        action: The next thing to do; empty if all is well.
    """

    quantity: str
    value: float | int
    threshold: str
    why: str
    status: Status = "ok"
    action: str = ""


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
        "value": np.array([row.value for row in rows], dtype=float),
        "status": _text(row.status for row in rows),
        "threshold": _text(row.threshold for row in rows),
        "why": _text(row.why for row in rows),
        "action": _text(row.action for row in rows),
    }
    return xr.Dataset(
        {name: ("quantity", column) for name, column in columns.items()} | dict(extra or {}),
        coords={"quantity": _text(row.quantity for row in rows), **(coords or {})},
        attrs={"check": check, "title": title, "source": source, "about": about},
    )


def _text(values: Iterable[str]) -> np.ndarray:
    return np.array(list(values), dtype=str)
