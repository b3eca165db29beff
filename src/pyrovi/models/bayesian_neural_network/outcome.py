"""The column of a table that is to be predicted: numbers, or classes."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Num

from pyrovi.errors import DataError
from pyrovi.models.tables import FEWEST_ROWS, Table, parsed, same_in_every_row

NO_CLASS = ("", "na", "nan")  # "none" may be a class: of a headache, say
MOST_NUMBERED, MOST_CLASSES = 30, 200  # classes: digits are numbers, years are no classes
FEW_CLASSES = 10  # more than these, in fewer than two rows each, are names and no classes


def numbers_of(table: Table, name: str) -> Float[np.ndarray, "row"]:
    """The outcome as numbers, NaN where it is to be predicted.

    Raises:
        DataError: If a cell is no number, no cell has one, or all are the same.
    """
    values = table.numbers(name, missing=True, advice="fit classes: --variant classification")
    _refuse_unseen(name, np.isfinite(values))
    if same_in_every_row(values):
        raise DataError(
            f"Column {name!r} is {np.nanmin(values):g} in every row, so there is nothing to "
            "explain. Name another as outcome."
        )
    return values


def classes_of(table: Table, name: str) -> tuple[Num[np.ndarray, "row"], list[str]]:
    """The index of each row's class, NaN where it is to be predicted; and the classes' names.

    Raises:
        DataError: If there are fewer than two classes, or so many that it is no such column.
    """
    cells = table.column(name)
    labels = np.array([str(cell).strip() for cell in cells])
    named = np.array([label.lower() not in NO_CLASS for label in labels])
    seen = named & cells.notna().to_numpy(dtype=bool)
    _refuse_unseen(name, seen)
    classes, index = np.unique(labels[seen], return_inverse=True)
    _refuse_few_or_many(name, classes, int(seen.sum()))
    if seen.all():
        return index.astype(np.int64), classes.tolist()
    values = np.full(len(labels), np.nan)
    values[seen] = index
    return values, classes.tolist()


def _refuse_unseen(name: str, seen: Bool[np.ndarray, "row"]) -> None:
    if seen.sum() < FEWEST_ROWS:
        raise DataError(
            f"Column {name!r} has {int(seen.sum())} values in {len(seen)} rows. Rows without one "
            f"are predicted, and {FEWEST_ROWS} or more are needed to learn from."
        )


def _refuse_few_or_many(name: str, classes: np.ndarray, rows: int) -> None:
    if len(classes) < 2:
        raise DataError(
            f"Every row is of class {str(classes[0])!r}, so there is nothing to explain. "
            "Name another column as outcome."
        )
    numbers = np.isfinite(parsed(pd.Series(classes))).all()
    most = min(MOST_NUMBERED if numbers else MOST_CLASSES, max(FEW_CLASSES, rows // 2))
    if len(classes) > most or len(classes) == rows:
        what = "numbers" if numbers else "words"
        raise DataError(
            f"Column {name!r} has {len(classes)} classes of {what} in {rows} rows. "
            + ("To predict a number take the variant regression. " if numbers else "")
            + "Join classes, or name another column as outcome."
        )
