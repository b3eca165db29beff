"""A person's table as arrays: marks of several tasks, one outcome, or columns alike.

A table of marks is *long*, a row for each mark and a column that says of which task it is; or
*wide*, a row for each student and a column of marks for each task. An empty cell of marks is a
missing mark.
"""

import re
import shlex
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from pyrovi.errors import DataError
from pyrovi.registry import nearest

__all__ = [
    "LARGEST",
    "Columns",
    "Given",
    "Marks",
    "Table",
    "number_above_zero",
    "read_columns",
    "read_marks",
    "read_table",
    "same_in_every_row",
    "standardise",
    "whole_number",
]

Given = Any
"""A number, or the text of one: checked where it is read, since a person may give anything."""

MISSING = ("", "na", "nan", "none", "null")
NO_CLASS = ("", "na", "nan")  # "none" may be a class: of a headache, say
FEWEST = 2  # marks of a task: one alone says nothing of the noise
LARGEST = 1e100  # squares, and sums of them, are then far from where float64 ends
ROUNDING = 1e-13  # of the largest value: what differs by less differs by rounding alone
PLAIN = "Write decimals with a point, and nothing between thousands."
OF_MARKS = "leave it empty, or name a column of numbers as outcome."
MOST_NUMBERED, MOST_CLASSES = 30, 200  # classes: digits are numbers, years are no classes
FEW_CLASSES = 10  # more than these, in fewer than two rows each, are names and no classes
MOST_NAMED = 8  # columns that a message lists


@dataclass(frozen=True, kw_only=True)
class Marks:
    """A table of marks, one row a mark.

    Attributes:
        outcome: The marks; NaN where one is missing.
        task_index: The task of each row.
        x: The covariates, without an intercept.
        tasks: The tasks' names.
        covariates: The covariates' names.
        rows: What to call each row.
        places: Where each mark stands in the table, in words.
    """

    outcome: Float[np.ndarray, "row"]
    task_index: Int[np.ndarray, "row"]
    x: Float[np.ndarray, "row covariate"]
    tasks: tuple[str, ...]
    covariates: tuple[str, ...]
    rows: tuple[str, ...]
    places: tuple[str, ...]


def read_marks(
    frame: pd.DataFrame,
    *,
    outcome: str | Sequence[str],
    task: str | None = None,
    covariates: str | Sequence[str] | None = None,
) -> Marks:
    """The marks of a long or a wide table.

    Args:
        frame: The table; its cells may be text.
        outcome: The column of marks; of a wide table, the columns, one for each task. Text with
            commas names several.
        task: The column that names each mark's task; of a wide table, none.
        covariates: The columns to predict from; all others if not given.

    Raises:
        DataError: If a column is unknown or there twice, a cell is not what its column asks for,
            or a task has fewer than two marks.
    """
    _refuse_short(frame, "mark or student")
    frame = _named_by_text(frame)
    known = list(frame.columns)
    marks = _names(outcome, known)
    if not marks:
        raise DataError("Expected the name of the column of marks as outcome, and none came.")
    named = [*marks, *([] if task is None else [task])]
    given = [n for n in map(str, frame.columns) if n not in named]
    chosen = given if covariates is None else _names(covariates, known)
    _refuse_unknown(frame, [*named, *chosen])
    _refuse_overlap([*named, *chosen])
    if task is None and len(marks) < 2:
        raise DataError(
            f"One column of marks came ({marks[0]!r}) and no task column. Name the column that "
            "says of which task each mark is, or several columns of marks."
        )
    x = _covariates(frame, chosen) if chosen else np.zeros((len(frame), 0))
    if task is None:
        found = _wide(frame, marks, x, tuple(chosen))
    elif len(marks) == 1:
        found = _long(frame, marks[0], task, x, tuple(chosen))
    else:
        raise DataError(
            f"A table with a task column {task!r} has one column of marks, and {len(marks)} came: "
            f"{', '.join(marks)}. Name one, or leave the task out."
        )
    _check_tasks(found)
    return found


def standardise(values: Float[np.ndarray, "row"]) -> tuple[Float[np.ndarray, "row"], float, float]:
    """``values`` with mean 0 and standard deviation 1, and the two; NaN stays where it is.

    Raises:
        DataError: If the standard deviation is zero, or no number, in float64.

    >>> standardise(np.array([1.0, 3.0, np.nan]))
    (array([-1.,  1., nan]), 2.0, 1.0)
    """
    centre, unit = float(np.nanmean(values)), float(np.nanstd(values))
    if not 0 < unit < np.inf:
        raise DataError(
            f"Values from {np.nanmin(values):g} to {np.nanmax(values):g} came, whose spread is "
            "beyond double precision. Take another unit, or another origin."
        )
    return (values - centre) / unit, centre, unit


def same_in_every_row(values: Float[np.ndarray, "row"]) -> bool:
    """Whether values differ by no more than rounding; NaN is left out.

    >>> same_in_every_row(np.array([0.3, 0.1 + 0.2, np.nan]))
    True
    """
    low, high = np.nanmin(values), np.nanmax(values)
    return bool(high - low <= ROUNDING * max(abs(low), abs(high)))


def whole_number(name: str, value: Given, *, most: int) -> int:
    """The option ``name`` as a number of 1 or more, whether it came as one or as text.

    >>> whole_number("width", "20", most=100)
    20
    """
    text = str(value).strip()
    number = int(text) if re.fullmatch(r"\d{1,18}", text) else 0
    if not 1 <= number <= most:
        raise DataError(f"{name} is a whole number from 1 to {most}, and {text!r} came.")
    return number


def number_above_zero(name: str, value: Given) -> float:
    """The option ``name`` as a finite number above zero, whether it came as one or as text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 1 / LARGEST < number < LARGEST:
        raise DataError(f"{name} is a number above 0, and {str(value)!r} came.")
    return number


def _long(
    frame: pd.DataFrame, mark: str, task: str, x: np.ndarray, covariates: tuple[str, ...]
) -> Marks:
    names: Any = frame[task].map(lambda cell: "" if _is_missing(cell) else str(cell))
    if (names == "").any():
        place = _place(frame, int(np.flatnonzero(names == "")[0]))
        raise DataError(f"{place}, column {task!r}: expected the name of a task, and none came.")
    index, tasks = pd.factorize(names)
    return Marks(
        outcome=_numbers(frame, mark, missing=True, advice=OF_MARKS),
        task_index=index.astype(np.int64),
        x=x,
        tasks=tuple(map(str, tasks)),
        covariates=covariates,
        rows=tuple(map(str, range(len(frame)))),
        places=tuple(f"{_place(frame, row)}, column {mark!r}" for row in range(len(frame))),
    )


def _wide(
    frame: pd.DataFrame, marks: Sequence[str], x: np.ndarray, covariates: tuple[str, ...]
) -> Marks:
    outcome = np.stack(
        [_numbers(frame, name, missing=True, advice=OF_MARKS) for name in marks], axis=1
    )
    return Marks(
        outcome=outcome.ravel(),
        task_index=np.tile(np.arange(len(marks)), len(frame)),
        x=np.repeat(x, len(marks), axis=0),
        tasks=tuple(marks),
        covariates=covariates,
        rows=tuple(f"{row}:{name}" for row in range(len(frame)) for name in marks),
        places=tuple(
            f"{_place(frame, row)}, column {name!r}" for row in range(len(frame)) for name in marks
        ),
    )


def _refuse_short(frame: pd.DataFrame, unit: str) -> None:
    if len(frame) < FEWEST:
        raise DataError(
            f"The table has {len(frame)} row{'s' * (len(frame) != 1)}. It needs one for each "
            f"{unit}, two or more."
        )


def _named_by_text(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with names that are text, each there once."""
    named = frame.set_axis([str(name) for name in frame.columns], axis=1)
    twice = named.columns[named.columns.duplicated()]
    if len(twice):
        raise DataError(f"Column {twice[0]!r} is there twice. Rename or drop one of the two.")
    return named


def _names(given: str | Sequence[str], known: Sequence[str]) -> list[str]:
    """Names with commas between, or a list of them; a column's own name may have commas."""
    if isinstance(given, str):
        return [given] if given in known else [t.strip() for t in given.split(",") if t.strip()]
    return [str(name) for name in given]


def _refuse_unknown(frame: pd.DataFrame, names: Sequence[str]) -> None:
    known = list(frame.columns)
    for name in names:
        if name not in known:
            raise DataError(
                f"The table has no column {name!r}{nearest(name, known)}. "
                f"It has: {_listed(known)}." + _headless(known)
            )


def _headless(names: Sequence[str]) -> str:
    """A doubt about names most of which are numbers."""
    numbers = int(np.isfinite(_parsed(pd.Series(names))).sum())
    return " Does the first line name the columns?" if 2 * numbers > len(names) else ""


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _refuse_overlap(names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(
            f"Column {twice[0]!r} is named twice. A column has one part: outcome, task, or one of "
            "those to use."
        )


def _covariates(
    frame: pd.DataFrame, names: Sequence[str], option: str = "covariates"
) -> Float[np.ndarray, "row covariate"]:
    """Columns that are numbers in every row, and not the same in all."""
    return np.stack([_covariate(frame, n, names, option) for n in names], axis=1)


def _covariate(
    frame: pd.DataFrame, name: str, chosen: Sequence[str], option: str
) -> Float[np.ndarray, "row"]:
    advice = f"or leave the column out: {_without(frame, name, chosen, option)}."
    values = _numbers(frame, name, missing=False, advice=advice)
    if same_in_every_row(values):
        raise DataError(
            f"Column {name!r} is {values[0]:g} in every row, so nothing can be learned of it. "
            f"Leave it out: {_without(frame, name, chosen, option)}."
        )
    return values


def _without(frame: pd.DataFrame, name: str, chosen: Sequence[str], option: str) -> str:
    """The option that chooses all columns but ``name`` and others that are not numbers."""
    fit = [n for n in chosen if n != name and np.isfinite(_parsed(frame[n])).all()]
    if not fit or len(fit) > MOST_NAMED or any("," in n for n in fit):
        return f"name those to use by the option {option} (--{option} a,b)"
    return f"--{option} {shlex.quote(','.join(fit))}"


def _parsed(column: Any) -> Float[np.ndarray, "row"]:
    """The cells as numbers, NaN where they are none."""
    kind = getattr(column.dtype, "kind", "O")
    if kind in "mMc":  # times, which pandas would have as nanoseconds; and complex numbers
        return np.full(len(column), np.nan)
    numeric: Any = pd.to_numeric(column, errors="coerce")
    return numeric.to_numpy(dtype=float, na_value=np.nan)


def _numbers(
    frame: pd.DataFrame, name: str, *, missing: bool, advice: str
) -> Float[np.ndarray, "row"]:
    """A column as numbers; empty cells are NaN where ``missing`` allows it."""
    column = frame[name]
    values = _parsed(column)
    empty = column.map(_is_missing).to_numpy(dtype=bool)
    wrong = ~np.isfinite(values) & ~(empty & missing)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        came = "none" if empty[row] else repr(str(column.iloc[row]))
        decimal = re.fullmatch(r"'[+-]?[\d.,' ]*\d[\d.,' ]*'", came)
        mend = "Fill it in, drop the row," if empty[row] else "Correct it,"
        raise DataError(
            f"{_place(frame, row)}, column {name!r}: expected a number, and {came} came. "
            + (PLAIN if decimal else f"{mend} {advice}")
        )
    huge = np.abs(values) > LARGEST
    if huge.any():
        row = int(np.flatnonzero(huge)[0])
        raise DataError(
            f"{_place(frame, row)}, column {name!r}: expected a number of at most {LARGEST:g} in "
            f"size, and {values[row]:g} came. Correct the cell, or take another unit."
        )
    return values


def _is_missing(cell: Hashable) -> bool:
    return str(cell).strip().lower() in MISSING or cell is pd.NA or cell is pd.NaT


def _place(frame: pd.DataFrame, row: int) -> str:
    """``line 7`` of a file whose lines were counted, ``row 5`` of any other table."""
    return f"{frame.index.name or 'row'} {frame.index[row]}"


def _check_tasks(marks: Marks) -> None:
    if len(marks.tasks) < 2:
        raise DataError(
            f"Expected at least two tasks, and only {', '.join(marks.tasks)!r} came. One task is "
            "an ordinary regression."
        )
    for index, name in enumerate(marks.tasks):
        seen = int(np.isfinite(marks.outcome[marks.task_index == index]).sum())
        if seen < FEWEST:
            raise DataError(
                f"Task {name!r} has {seen} mark{'s' * (seen != 1)}, and a task needs at least "
                f"{FEWEST}. Drop it, or join it with another."
            )


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of one outcome and its covariates, a row a case.

    Attributes:
        outcome: The cells of the outcome's column, as they stand.
        x: The covariates.
        covariates: Their names.
    """

    outcome: pd.Series
    x: Float[np.ndarray, "row covariate"]
    covariates: tuple[str, ...]

    def numbers(self) -> Float[np.ndarray, "row"]:
        """The outcome as numbers, NaN where it is to be predicted.

        Raises:
            DataError: If a cell is no number, no cell has one, or all are the same.
        """
        name = str(self.outcome.name)
        advice = "or fit classes: --variant classification."
        values = _numbers(self.outcome.to_frame(), name, missing=True, advice=advice)
        self._refuse_unseen(np.isfinite(values))
        if same_in_every_row(values):
            raise DataError(
                f"Column {name!r} is {np.nanmin(values):g} in every row, so there is nothing to "
                "explain. Name another as outcome."
            )
        return values

    def classes(self) -> tuple[Float[np.ndarray, "row"], list[str]]:
        """The index of each row's class, NaN where it is to be predicted; and their names.

        Raises:
            DataError: If there are fewer than two classes, or so many that it is no such column.
        """
        labels = [str(cell).strip() for cell in self.outcome]
        missing = self.outcome.isna().to_numpy(dtype=bool)
        seen = ~missing & np.array([label.lower() not in NO_CLASS for label in labels])
        self._refuse_unseen(seen)
        names, index = np.unique(np.array(labels)[seen], return_inverse=True)
        self._refuse_few_or_many(names, int(seen.sum()))
        values = np.full(len(labels), np.nan)
        values[seen] = index
        return values, names.tolist()

    def _refuse_unseen(self, seen: np.ndarray) -> None:
        if seen.sum() < FEWEST:
            raise DataError(
                f"Column {self.outcome.name!r} has {int(seen.sum())} values in {len(seen)} rows. "
                f"Rows without one are predicted, and {FEWEST} or more are needed to learn from."
            )

    def _refuse_few_or_many(self, names: np.ndarray, rows: int) -> None:
        if len(names) < 2:
            raise DataError(
                f"Every row is of class {str(names[0])!r}, so there is nothing to explain. "
                "Name another column as outcome."
            )
        numbers = np.isfinite(_parsed(pd.Series(names))).all()
        most = min(MOST_NUMBERED if numbers else MOST_CLASSES, max(FEW_CLASSES, rows // 2))
        if len(names) > most or len(names) == rows:
            what = "numbers" if numbers else "words"
            raise DataError(
                f"Column {self.outcome.name!r} has {len(names)} classes of {what} in {rows} rows. "
                + ("To predict a number take the variant regression. " if numbers else "")
                + "Join classes, or name another column as outcome."
            )


def read_table(
    frame: pd.DataFrame, *, outcome: str, covariates: str | Sequence[str] | None = None
) -> Table:
    """One outcome and its covariates, all other columns unless they are named.

    Raises:
        DataError: If the table is empty, a column is unknown or there twice, or a covariate is
            not a number in every row or the same in all of them.
    """
    _refuse_short(frame, "case")
    frame = _named_by_text(frame)
    known = list(frame.columns)
    outcome = str(outcome)
    chosen = _names(covariates, known) if covariates is not None else known
    if covariates is None and outcome in known:
        chosen = [name for name in known if name != outcome]
    _refuse_unknown(frame, [outcome, *chosen])
    _refuse_overlap([outcome, *chosen])
    if not chosen:
        raise DataError("The table has no column to predict from: the outcome is all there is.")
    return Table(
        outcome=pd.Series(frame[outcome]),
        x=_covariates(frame, chosen),
        covariates=tuple(chosen),
    )


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Columns of one kind, a row an observation.

    Attributes:
        numbers: What they hold.
        names: What they are called.
    """

    numbers: Float[np.ndarray, "row column"]
    names: tuple[str, ...]


def read_columns(frame: pd.DataFrame, columns: str | Sequence[str] | None = None) -> Columns:
    """The columns that are named, or all; each a number in every row and not the same in all.

    Raises:
        DataError: If the table has fewer than two rows, a column is unknown or there twice, or a
            cell is no number.
    """
    _refuse_short(frame, "observation")
    frame = _named_by_text(frame)
    known = list(frame.columns)
    chosen = known if columns is None else _names(columns, known)
    _refuse_unknown(frame, chosen)
    _refuse_overlap(chosen)
    if not chosen:
        raise DataError(
            f"Expected the names of columns, and none came. There is: {_listed(known)}."
        )
    return Columns(numbers=_covariates(frame, chosen, "columns"), names=tuple(chosen))
