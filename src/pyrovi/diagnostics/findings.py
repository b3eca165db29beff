"""What every diagnostic returns: rows of findings, as one Dataset of numbers and sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from pyrovi.evidence import Difference, Limit, Status

Kind = Literal["judged", "cannot tell", "not run", "out of time"]
JUDGED: Kind = "judged"
CANNOT_TELL: Kind = "cannot tell"
"""The check was made, and its evidence is too weak to say anything of the quantity."""
NOT_RUN: Kind = "not run"
LATE: Kind = "out of time"
"""There was no time for the check, or for what it reads."""
UNSAID = (
    'the tree does not say what its draws are: write sample_stats.attrs["draws"] = "chains" if '
    "they are a sampler's"
)
"""Of draws that another program wrote, which may be Markov chains and may be independent."""

ROW = ("quantity", "value", "low", "high", "unit", "kind", "status", "why", "action")
"""The variables of a diagnostic's Dataset that a verdict reads."""
COMPARES = "compares"
"""The attribute of a diagnostic's Dataset that says whether it compares draws and posterior."""
NUMBERS = ("value", "low", "high")


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

    @property
    def cells(self) -> tuple[Any, ...]:
        """What the table says of it, in the order of `ROW`."""
        limit, action = self.limit, self.action if self.status != "ok" else ""
        judged = self.quantity, self.value, limit.low, limit.high, limit.unit
        return *judged, self.kind, self.status, self.why, action


def table(
    rows: Sequence[Row],
    *,
    check: str,
    title: str,
    source: str,
    about: Literal["fit", "model"],
    compares: bool = False,
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
        compares: Whether it compares the draws with the posterior itself; where no check does, the
            verdict warns.
        extra: More variables, for plots and for the reader who wants the numbers.
        coords: Their coordinates.
    """
    every = [row.cells for row in rows]
    kinds = [float if name in NUMBERS else str for name in ROW]
    columns = {
        name: ("quantity", np.array([cells[i] for cells in every], kinds[i]))
        for i, name in enumerate(ROW)
    }
    said = {"check": check, "title": title, "source": source, "about": about}
    return xr.Dataset(
        {**columns, **(extra or {})},
        coords=coords,
        attrs={**said, COMPARES: int(compares)},  # a file has no booleans
    )


def off(gap: Difference, account: str) -> str:
    """How far the draws of a quantity are from another account of it, in words."""
    return (
        f"Mean off by {gap.shift:+.2f} sd (error {gap.shift_error:.2f}), sd {gap.ratio:.2f} "
        f"(error {gap.ratio_error:.2f}) of {account}"
    )


def of_differences(differences: Sequence[Difference | None]) -> dict[str, Any]:
    """The numbers behind rows that hold draws against another account; NaN where there is none."""
    names = ("shift", "shift_error", "ratio", "ratio_error", "mean", "sd")
    return {
        name: ("quantity", [np.nan if d is None else getattr(d, name) for d in differences])
        for name in names
    }
