"""A person's table: its columns by name, as numbers, and what is wrong said with its place."""

import re
import shlex
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float

from pyrovi.errors import DataError, RowError
from pyrovi.registry import nearest
from pyrovi.words import listed

Names = str | Sequence[Any]
"""Names of columns: a list, or text with commas between."""

EMPTY = ("", "na", "nan", "none", "null")
FEWEST_ROWS = 2
LARGEST = 1e100  # squares, and sums of them, are then far from where float64 ends
ROUNDING = 1e-13  # of the largest value: what differs by less differs by rounding alone
DECIMALS = "Write decimals with a point, and nothing between thousands."
MOST_LISTED = 8  # columns that a message names


@dataclass(frozen=True)
class Table:
    """Rows that are alike; cells may be text, and the index names the rows, as ``line``."""

    frame: pd.DataFrame

    @staticmethod
    def of(frame: pd.DataFrame, *, each: str, fewest: int = FEWEST_ROWS) -> "Table":
        """The table, of which a row is ``each``; `DataError` if it has fewer than two rows."""
        if len(frame) < fewest:
            raise DataError(
                f"The table has {len(frame)} row{'s' * (len(frame) != 1)}. It needs one for each "
                f"{each}, {'two' if fewest > 1 else 'one'} or more."
            )
        return Table(frame.set_axis([str(name).strip() for name in frame.columns], axis=1))

    @property
    def names(self) -> list[str]:
        """The columns'."""
        return list(self.frame.columns)

    @property
    def listed(self) -> str:
        """The columns' names, for a message."""
        return listed(self.names, MOST_LISTED)

    def named(self, given: Names) -> list[str]:
        """Names with commas between, or a list of them; a column's own name may have commas."""
        if not isinstance(given, str):
            return [str(name).strip() for name in given]
        if given.strip() in self.names:
            return [given.strip()]
        return [text.strip() for text in given.split(",") if text.strip()]

    def chosen(self, given: Names | None, besides: Sequence[str] = ()) -> list[str]:
        """The columns that were ``given``, or all but those ``besides``, once they are there."""
        others = [name for name in self.names if name not in besides]
        names = others if given is None else self.named(given)
        self.require([*besides, *names])
        return names

    def require(self, names: Sequence[str]) -> None:
        """Raise `DataError` unless each is the name of one column, and none is there twice."""
        for name in names:
            if name not in self.names:
                raise DataError(
                    f"The table has no column {name!r}{nearest(name, self.names)}. "
                    f"It has: {self.listed}.{self._headless()}"
                )
            if self.names.count(name) > 1:
                raise DataError(f"Column {name!r} is there twice. Rename or drop one of the two.")
            if names.count(name) > 1:
                raise DataError(
                    f"Column {name!r} is named twice. A column has one part: outcome, task, or "
                    "one of those to use."
                )

    def as_fitted(
        self, fitted: xr.DataArray, besides: Sequence[str] = ()
    ) -> Float[np.ndarray, "row column"]:
        """The columns of a fitted array by their names, standardised as that was; not ``besides``.

        Raises:
            DataError: If a column is lacking, or holds what is no number.
        """
        labels = [str(each) for each in fitted.coords[fitted.dims[-1]].to_numpy()]
        kept = [at for at, name in enumerate(labels) if name not in besides]
        self.require([labels[at] for at in kept])
        centre = np.broadcast_to(fitted.attrs.get("centre", 0.0), len(labels))
        unit = np.broadcast_to(fitted.attrs.get("unit", 1.0), len(labels))
        columns = [(self.numbers(labels[at]) - centre[at]) / unit[at] for at in kept]
        return np.stack(columns, axis=1) if columns else np.zeros((len(self.frame), 0))

    def place(self, row: int) -> str:
        """``line 7`` of a file whose lines were counted, ``row 5`` of any other table."""
        return f"{self.frame.index.name or 'row'} {self.frame.index[row]}"

    def refuse(
        self, wrong: Bool[np.ndarray, "row"], name: str, asked: str, came: Any, hint: str = ""
    ) -> None:
        """Raise `RowError` of the first ``wrong`` cell; ``came`` holds the column's values."""
        if not wrong.any():
            return
        row = int(np.flatnonzero(wrong)[0])
        value = came[row].item() if isinstance(came[row], np.generic) else came[row]
        shown = "none" if _is_empty(value) else repr(value)
        said = f"{self.place(row)}, column {name!r}: expected {asked}, and {shown} came. {hint}"
        raise RowError(said.strip())

    def column(self, name: str) -> pd.Series:
        """The cells of a column."""
        return pd.Series(self.frame[name])

    def empty(self, name: str) -> Bool[np.ndarray, "row"]:
        """Which cells of a column are."""
        return self.column(name).map(_is_empty).to_numpy(dtype=bool)

    def numbers(
        self, name: str, *, missing: bool = False, advice: str = "", most: float = LARGEST
    ) -> Float[np.ndarray, "row"]:
        """A column as numbers; NaN where a cell is empty, if it may be ``missing``.

        Raises:
            RowError: If a cell is no number (``advice`` says what else may be done about it,
                after "or"), or is above ``most`` in size.
        """
        values, empty = parsed(self.column(name)), self.empty(name)
        wrong = ~np.isfinite(values) & ~(empty & missing)
        if wrong.any():
            cells = [str(cell).strip() for cell in self.column(name)]
            first = int(np.flatnonzero(wrong)[0])
            hint = _mended(cells[first], empty=bool(empty[first]), advice=advice)
            self.refuse(wrong, name, "a number", cells, hint)
        asked = f"a number of at most {most:g} in size"
        hint = "Correct the cell, or take another unit."
        self.refuse(np.abs(values) > most, name, asked, values, hint)
        return values

    def predictors(
        self, names: Sequence[str], option: str = "covariates"
    ) -> Float[np.ndarray, "row column"]:
        """Columns that ``option`` chose, as numbers; `DataError` if one is not, or is constant."""
        columns = [self._predictor(name, names, option) for name in names]
        return np.stack(columns, axis=1) if columns else np.zeros((len(self.frame), 0))

    def _predictor(
        self, name: str, chosen: Sequence[str], option: str
    ) -> Float[np.ndarray, "row"]:
        without = self._without(name, chosen, option)
        values = self.numbers(name, advice=f"leave the column out: {without}")
        if same_in_every_row(values):
            raise DataError(
                f"Column {name!r} is {values[0]:g} in every row, so nothing can be learned of it. "
                f"Leave it out: {without}."
            )
        return values

    def _without(self, name: str, chosen: Sequence[str], option: str) -> str:
        """The option that chooses all columns but ``name`` and others that are not numbers."""
        fit = [n for n in chosen if n != name and np.isfinite(parsed(self.column(n))).all()]
        if not fit or len(fit) > MOST_LISTED or any("," in n for n in fit):
            return f"name those to use by the option {option} (--{option} a,b)"
        return f"--{option} {shlex.quote(','.join(fit))}"

    def _headless(self) -> str:
        """A doubt about names most of which are numbers."""
        numbers = np.isfinite(parsed(pd.Series(self.names))).sum()
        return " Does the first line name the columns?" if 2 * numbers > len(self.names) else ""


def parsed(column: pd.Series) -> Float[np.ndarray, "row"]:
    """The cells as numbers, NaN where they are none."""
    if column.dtype.kind in "mMc":  # times, which pandas would have as nanoseconds; and complex
        return np.full(len(column), np.nan)
    numeric: Any = pd.to_numeric(column, errors="coerce")
    return numeric.to_numpy(dtype=float, na_value=np.nan)


def _mended(cell: str, *, empty: bool, advice: str) -> str:
    """What to do about a cell that is no number."""
    if re.fullmatch(r"[+-]?[\d.,' ]*\d[\d.,' ]*", cell):
        return DECIMALS
    ways = [*(["Fill it in", "drop the row"] if empty else ["Correct it"]), advice]
    *others, last = [way for way in ways if way]
    return f"{', '.join(others)}, or {last}." if others else f"{last}."


def _is_empty(cell: Hashable) -> bool:
    return str(cell).strip().lower() in EMPTY or cell is pd.NA or cell is pd.NaT


class Standardised(NamedTuple):
    """Values in standard deviations, and the mean and standard deviation (of columns, lists)."""

    z: np.ndarray
    centre: Any
    unit: Any

    @property
    def about(self) -> dict[str, Any]:
        """The attributes that say so."""
        return {"units": "standard deviations", "centre": self.centre, "unit": self.unit}


def standardise(values: Float[np.ndarray, "row"]) -> Standardised:
    """``values`` with mean 0 and standard deviation 1; NaN stays where it is.

    Raises:
        DataError: If the standard deviation is zero, or not finite, in float64.

    >>> standardise(np.array([1.0, 3.0, np.nan]))[:3]
    (array([-1.,  1., nan]), 2.0, 1.0)
    """
    centre, unit = float(np.nanmean(values)), float(np.nanstd(values))
    if not 0 < unit < np.inf:
        raise DataError(
            f"Values from {np.nanmin(values):g} to {np.nanmax(values):g} came, whose spread is "
            "beyond double precision. Take another unit, or another origin."
        )
    return Standardised((values - centre) / unit, centre, unit)


def standardise_columns(x: Float[np.ndarray, "row column"]) -> Standardised:
    """Each column of ``x`` with mean 0 and standard deviation 1."""
    columns = [standardise(column) for column in x.T]
    return Standardised(
        np.column_stack([each.z for each in columns]) if columns else x,
        [each.centre for each in columns],
        [each.unit for each in columns],
    )


def same_in_every_row(values: Float[np.ndarray, "row"]) -> bool:
    """Whether values differ by no more than rounding; NaN is left out.

    >>> same_in_every_row(np.array([0.3, 0.1 + 0.2, np.nan]))
    True
    """
    low, high = np.nanmin(values), np.nanmax(values)
    return bool(high - low <= ROUNDING * max(abs(low), abs(high)))
