"""A person's table of marks as arrays: which rows, which tasks, which covariates.

A table is *long*, a row for each mark and a column that says of which task it is; or *wide*, a row
for each student and a column of marks for each task. An empty cell of marks is a missing mark.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from pyrovi.errors import DataError
from pyrovi.models._base import nearest

__all__ = ["Marks", "Table", "read_marks", "read_table", "standardise"]

MISSING = ("", "na", "nan", "none", "null")
FEWEST = 2  # marks of a task: one alone says nothing of the noise


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
    if not len(frame):
        raise DataError("The table has no rows. It needs one for each mark or student.")
    _refuse_twice(frame)
    marks = _names(outcome)
    if not marks:
        raise DataError("Expected the name of the column of marks as outcome, and none came.")
    named = [*marks, *([] if task is None else [task])]
    given = [n for n in map(str, frame.columns) if n not in named]
    chosen = given if covariates is None else _names(covariates)
    _refuse_unknown(frame, [*named, *chosen])
    _refuse_overlap([*named, *chosen])
    if task is None and len(marks) < 2:
        raise DataError(
            f"One column of marks came ({marks[0]!r}) and no task column. Name the column that "
            "says of which task each mark is, or several columns of marks."
        )
    x = np.stack([_covariate(frame, n) for n in chosen], axis=1) if chosen else _nothing(frame)
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

    >>> standardise(np.array([1.0, 3.0, np.nan]))
    (array([-1.,  1., nan]), 2.0, 1.0)
    """
    centre, unit = float(np.nanmean(values)), float(np.nanstd(values))
    return (values - centre) / unit, centre, unit


def _long(
    frame: pd.DataFrame, mark: str, task: str, x: np.ndarray, covariates: tuple[str, ...]
) -> Marks:
    names: Any = frame[task].map(lambda cell: "" if _is_missing(cell) else str(cell))
    if (names == "").any():
        place = _place(frame, int(np.flatnonzero(names == "")[0]))
        raise DataError(f"{place}, column {task!r}: expected the name of a task, and none came.")
    index, tasks = pd.factorize(names)
    return Marks(
        outcome=_numbers(frame, mark, missing=True),
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
    outcome = np.stack([_numbers(frame, name, missing=True) for name in marks], axis=1)
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


def _names(given: str | Sequence[str]) -> list[str]:
    texts = given.split(",") if isinstance(given, str) else list(given)
    return [text.strip() for text in texts if text.strip()]


def _refuse_twice(frame: pd.DataFrame) -> None:
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(f"Column {twice[0]!r} is there twice. Rename or drop one of the two.")


def _refuse_unknown(frame: pd.DataFrame, names: Sequence[str]) -> None:
    known = [str(name) for name in frame.columns]
    for name in names:
        if name not in known:
            raise DataError(
                f"The table has no column {name!r}{nearest(name, known)}. "
                f"It has: {', '.join(known)}."
            )


def _refuse_overlap(names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(
            f"Column {twice[0]!r} is named twice. A column is marks, task or covariate, once."
        )


def _covariate(frame: pd.DataFrame, name: str) -> np.ndarray:
    values = _numbers(frame, name, missing=False)
    if np.ptp(values) == 0:
        raise DataError(
            f"Column {name!r} is {values[0]:g} in every row, so nothing can be learned of it. "
            "Leave it out of the covariates."
        )
    return values


def _nothing(frame: pd.DataFrame) -> np.ndarray:
    return np.zeros((len(frame), 0))


def _numbers(frame: pd.DataFrame, name: str, *, missing: bool) -> np.ndarray:
    """A column as numbers; empty cells are NaN where ``missing`` allows it."""
    column = frame[name]
    numeric: Any = pd.to_numeric(column, errors="coerce")
    values = numeric.to_numpy(dtype=float, na_value=np.nan)
    empty = column.map(_is_missing).to_numpy(dtype=bool)
    wrong = ~np.isfinite(values) & ~(empty & missing)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        came = "none" if empty[row] else repr(str(column.iloc[row]))
        advice = "Correct the cell." if missing else "Fill it in, or leave the column or row out."
        raise DataError(
            f"{_place(frame, row)}, column {name!r}: expected a number, and {came} came. {advice}"
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
        rows: What to call each row.
        places: Where each row stands, in words.
    """

    outcome: pd.Series
    x: Float[np.ndarray, "row covariate"]
    covariates: tuple[str, ...]
    rows: tuple[str, ...]
    places: tuple[str, ...]

    def numbers(self) -> Float[np.ndarray, "row"]:
        """The outcome as numbers; a `DataError` names the cell that is none."""
        return _numbers(self.outcome.to_frame(), str(self.outcome.name), missing=False)

    def labels(self) -> list[str]:
        """The outcome as text; a `DataError` names the cell that is empty."""
        empty = self.outcome.map(_is_missing).to_numpy(dtype=bool)
        if empty.any():
            place = self.places[int(np.flatnonzero(empty)[0])]
            raise DataError(
                f"{place}, column {self.outcome.name!r}: expected a class, and none came. "
                "Fill it in, or leave the row out."
            )
        return [str(cell).strip() for cell in self.outcome]


def read_table(
    frame: pd.DataFrame, *, outcome: str, covariates: str | Sequence[str] | None = None
) -> Table:
    """One outcome and its covariates, all other columns unless they are named.

    Raises:
        DataError: If the table is empty, a column is unknown or there twice, or a covariate is
            not a number in every row or the same in all of them.
    """
    if len(frame) < FEWEST:
        raise DataError(
            f"The table has {len(frame)} rows. It needs one for each case, two or more."
        )
    _refuse_twice(frame)
    given = [name for name in map(str, frame.columns) if name != outcome]
    chosen = given if covariates is None else _names(covariates)
    _refuse_unknown(frame, [outcome, *chosen])
    _refuse_overlap([outcome, *chosen])
    if not chosen:
        raise DataError("The table has no column to predict from: the outcome is all there is.")
    return Table(
        outcome=pd.Series(frame[outcome]),
        x=np.stack([_covariate(frame, name) for name in chosen], axis=1),
        covariates=tuple(chosen),
        rows=tuple(map(str, range(len(frame)))),
        places=tuple(_place(frame, row) for row in range(len(frame))),
    )
