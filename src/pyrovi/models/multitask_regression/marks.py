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
    """Marks, one row a mark; the names of tasks, covariates and rows; and each mark's place."""

    outcome: Float[np.ndarray, "row"]  # NaN where one is missing
    task_index: Int[np.ndarray, "row"]
    x: Float[np.ndarray, "row covariate"]  # without an intercept
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
    """The marks of a long or a wide table, whose columns are named as `data.read` has it.

    Raises:
        DataError: If a column is unknown or there twice, a cell is not what its column asks for,
            or a task has fewer than two marks.
    """
    table = Table.of(frame, each="mark or student")
    marks = table.named(outcome)
    if not marks:
        raise DataError("Expected the name of the column of marks as outcome, and none came.")
    parts = [*marks, *([] if task is None else [task])]
    chosen = table.chosen(covariates, parts)
    _refuse_other_shapes(marks, task)
    x = table.predictors(chosen)
    index, tasks = _tasks(table, task, marks)
    cells = [(row, name) for row in range(len(x)) for name in marks]
    columns = [table.numbers(name, missing=True, advice=ADVICE) for name in marks]
    return Marks(
        outcome=np.stack(columns, axis=1).ravel(),
        task_index=index,
        x=np.repeat(x, len(marks), axis=0),
        tasks=tasks,
        covariates=tuple(chosen),
        rows=tuple(f"{row}:{name}" if task is None else f"{row}" for row, name in cells),
        places=tuple(f"{table.place(row)}, column {name!r}" for row, name in cells),
    )


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


def _tasks(
    table: Table, task: str | None, marks: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The task of each mark, and the tasks' names."""
    if task is None:
        return np.tile(np.arange(len(marks)), len(table.frame)), tuple(marks)
    names: Any = table.column(task)
    table.refuse(table.empty(task), task, "the name of a task", names.to_numpy(dtype=object))
    index, tasks = pd.factorize(names.map(str))
    return index.astype(np.int64), tuple(map(str, tasks))


def placed(table: Table, task: str, known: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """The task of each row among those ``known`` and, after them, those that are new."""
    index, names = _tasks(table, task, [])
    tasks = [*known, *(name for name in names if name not in known)]
    places = np.array([tasks.index(name) for name in names])
    return places[index], tasks
