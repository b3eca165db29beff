"""A table of marks, long or wide.

A *long* one has a row for each mark and a column that says of which task it is; a *wide* one a row
for each student and a column of marks for each task. An empty cell of marks is a missing mark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from pyrovi.errors import DataError
from pyrovi.models.tables import Names, Table

FEWEST_MARKS = 2  # of a task: one alone says nothing of the noise
ADVICE = "leave it empty, or name a column of numbers as outcome"


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Marks, one row a mark.

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

    def __post_init__(self) -> None:
        """See that there are tasks, and marks of each."""
        if len(self.tasks) < 2:
            raise DataError(
                f"Expected at least two tasks, and only {', '.join(self.tasks)!r} came. One task "
                "is an ordinary regression."
            )
        for index, name in enumerate(self.tasks):
            seen = int(np.isfinite(self.outcome[self.task_index == index]).sum())
            if seen < FEWEST_MARKS:
                raise DataError(
                    f"Task {name!r} has {seen} mark{'s' * (seen != 1)}, and a task needs at least "
                    f"{FEWEST_MARKS}. Drop it, or join it with another."
                )


def read_marks(
    frame: pd.DataFrame,
    *,
    outcome: Names,
    task: str | None = None,
    covariates: Names | None = None,
) -> Marks:
    """The marks of a long or a wide table.

    Args:
        frame: The table; its cells may be text.
        outcome: The column of marks; of a wide table, the columns, one for each task.
        task: The column that names each mark's task; of a wide table, none.
        covariates: The columns to predict from; all others if not given.

    Raises:
        DataError: If a column is unknown or there twice, a cell is not what its column asks for,
            or a task has fewer than two marks.
    """
    table = Table.of(frame, each="mark or student")
    marks = table.named(outcome)
    if not marks:
        raise DataError("Expected the name of the column of marks as outcome, and none came.")
    parts = [*marks, *([] if task is None else [task])]
    others = [name for name in table.names if name not in parts]
    chosen = others if covariates is None else table.named(covariates)
    table.require([*parts, *chosen])
    _refuse_other_shapes(marks, task)
    x = table.predictors(chosen)
    if task is None:
        return _wide(table, marks, x, tuple(chosen))
    return _long(table, marks[0], task, x, tuple(chosen))


def _refuse_other_shapes(marks: Sequence[str], task: str | None) -> None:
    """Neither long nor wide."""
    if task is None and len(marks) < 2:
        raise DataError(
            f"One column of marks came ({marks[0]!r}) and no task column. Name the column that "
            "says of which task each mark is, or several columns of marks."
        )
    if task is not None and len(marks) > 1:
        raise DataError(
            f"A table with a task column {task!r} has one column of marks, and {len(marks)} came: "
            f"{', '.join(marks)}. Name one, or leave the task out."
        )


def _long(table: Table, mark: str, task: str, x: np.ndarray, covariates: tuple[str, ...]) -> Marks:
    names: Any = table.column(task)
    table.refuse(table.empty(task), task, "the name of a task", names.to_numpy(dtype=object))
    index, tasks = pd.factorize(names.map(str))
    rows = range(len(names))
    return Marks(
        outcome=table.numbers(mark, missing=True, advice=ADVICE),
        task_index=index.astype(np.int64),
        x=x,
        tasks=tuple(map(str, tasks)),
        covariates=covariates,
        rows=tuple(map(str, rows)),
        places=tuple(f"{table.place(row)}, column {mark!r}" for row in rows),
    )


def _wide(table: Table, marks: Sequence[str], x: np.ndarray, covariates: tuple[str, ...]) -> Marks:
    columns = [table.numbers(name, missing=True, advice=ADVICE) for name in marks]
    cells = [(row, name) for row in range(len(x)) for name in marks]
    return Marks(
        outcome=np.stack(columns, axis=1).ravel(),
        task_index=np.tile(np.arange(len(marks)), len(x)),
        x=np.repeat(x, len(marks), axis=0),
        tasks=tuple(marks),
        covariates=covariates,
        rows=tuple(f"{row}:{name}" for row, name in cells),
        places=tuple(f"{table.place(row)}, column {name!r}" for row, name in cells),
    )
