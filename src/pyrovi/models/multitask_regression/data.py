"""Marks of students: drawn from the prior, of a table, and real; they come standardised."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyro
import torch
import xarray as xr

from pyrovi.errors import DataError, RowError
from pyrovi.models.entry import run_forward, variant_named
from pyrovi.models.multitask_regression.marks import Marks, placed, read_marks
from pyrovi.models.multitask_regression.model import DIMS, FORMS
from pyrovi.models.options import one_of
from pyrovi.models.tables import (
    Names,
    Standardised,
    Table,
    same_in_every_row,
    standardise,
    standardise_columns,
)
from pyrovi.registry import refuse_unknown
from pyrovi.seeds import check_seed, stream
from pyrovi.tree import MISSING, data_tree

SUBJECTS = ("mathematics", "physics", "chemistry")
HELD = (*DIMS, "noise")


def simulate(
    seed: int | None = None,
    *,
    tasks: Sequence[str] = SUBJECTS,
    sizes: Sequence[int] = (40, 12, 6),
    covariates: Sequence[str] = ("hours", "attendance"),
    population: Mapping[str, Any] | None = None,
    variant: str = "partial",
) -> xr.DataTree:
    """Marks of students in subjects of unequal size, with everything drawn from the prior.

    Args:
        seed: Of all random choices; a fresh one if missing.
        tasks: Their names.
        sizes: Marks in each task.
        covariates: Their names; the values are standard normal.
        population: Values of sites to hold instead of drawing, such as ``population_scale``.
        variant: The form of the model that is drawn from.

    Returns:
        ``outcome`` (row), ``x`` (row, covariate), ``task_index`` (row), ``size`` (task); and the
        drawn parameters as ``truth``.

    Raises:
        DataError: If there is no task, one is named twice, there is not one size above zero for
            each, or ``population`` names no site.
    """
    _check(tasks, sizes, population or {})
    seed = check_seed(seed)
    index = np.repeat(np.arange(len(tasks)), sizes)
    noise = np.random.default_rng(stream(seed, "multitask_regression", "x"))
    given = noise.standard_normal((len(index), len(covariates)))
    x = np.column_stack([np.ones(len(index)), given])
    arguments = {
        "outcome": torch.zeros(len(index), dtype=torch.float64),
        "task_index": torch.tensor(index),
        "x": torch.tensor(x),
        "size": torch.tensor(sizes),
    }
    held: dict[str, Any] = {
        n: torch.as_tensor(v, dtype=torch.float64) for n, v in (population or {}).items()
    }
    model = pyro.poutine.do(variant_named(variant, FORMS), data=held)
    drawn = run_forward(model, stream(seed, "multitask_regression", variant), arguments)
    outcome = drawn.pop("outcome")
    drawn |= {name: value.numpy() for name, value in held.items()}
    of_task = () if variant == "complete_pooling" else ("offset", "noise", "beta")
    dims = {name: ("task",) * (name in of_task) + DIMS.get(name, ()) for name in drawn}
    return data_tree(
        observed={"outcome": ("row", outcome)},
        constant={
            "task_index": ("row", index),
            "x": (("row", "covariate"), x),
            "size": ("task", np.array(sizes)),
        },
        coords={"task": list(tasks), "covariate": ["intercept", *covariates]},
        truth={name: (dims[name], value) for name, value in drawn.items()},
    )


def _check(tasks: Sequence[str], sizes: Sequence[int], population: Mapping[str, Any]) -> None:
    if not tasks or len(sizes) != len(tasks) or min(sizes) < 1:
        raise DataError(
            f"Expected a size above zero for each of {len(tasks)} tasks, and {tuple(sizes)} came."
        )
    for name in tasks:
        if list(tasks).count(name) > 1:
            raise DataError(f"Task {name!r} is named twice. Name each once.")
    for name in population:
        said = f"population holds no {name!r}"
        refuse_unknown(name, HELD, DataError, said, there="It may hold")


PHYSIOLOGY = ("weight", "waist", "pulse")
PARTIES = (
    "strong Democrat",
    "weak Democrat",
    "independent, Democrat",
    "independent",
    "independent, Republican",
    "weak Republican",
    "strong Republican",
)


def read(
    frame: pd.DataFrame,
    *,
    outcome: Names,
    task: str | None = None,
    covariates: Names | None = None,
    standardised: Annotated[str, one_of(("together", "by_task"))] = "together",
) -> xr.DataTree:
    """The data of any table of marks, long or wide; covariates and marks are standardised.

    Args:
        frame: The table. An empty cell of marks is a missing mark: it is predicted.
        outcome: The column of marks; of a wide table, the columns, one for each task.
        task: The column that names each mark's task; of a wide table, none.
        covariates: The columns to predict from; all others if not given.
        standardised: Marks ``together``, where tasks share a scale and differ in level; or
            ``by_task``, where their units differ.

    Raises:
        DataError: If the table does not hold what is asked of it; the message says where.

    >>> frame = pd.DataFrame({"hours": [1, 2, 3], "maths": [4, 6, 5], "physics": [2, None, 6]})
    >>> read(frame, outcome="maths,physics")["constant_data"]["size"].to_numpy()
    array([3, 2])
    """
    marks = read_marks(frame, outcome=outcome, task=task, covariates=covariates)
    together = standardised == "together"
    group = np.zeros_like(marks.task_index) if together else marks.task_index
    values = np.empty_like(marks.outcome)
    centre, unit = [], []
    for index in range(group.max() + 1):
        own = group == index
        if same_in_every_row(marks.outcome[own]):
            named = "" if together else f" of {marks.tasks[index]!r}"
            raise DataError(
                f"Every mark{named} is {np.nanmin(marks.outcome[own]):g}, so there is nothing to "
                "explain. Name another column as outcome."
            )
        scaled = standardise(marks.outcome[own])
        values[own] = scaled.z
        centre.append(scaled.centre)
        unit.append(scaled.unit)
    return _tree(marks, values, Standardised(values, centre, unit).about)


def read_binary(
    frame: pd.DataFrame,
    *,
    outcome: Names,
    task: str | None = None,
    covariates: Names | None = None,
) -> xr.DataTree:
    """As `read`, for marks of 0 and 1, which stay as they are."""
    marks = read_marks(frame, outcome=outcome, task=task, covariates=covariates)
    wrong = np.isfinite(marks.outcome) & ~np.isin(marks.outcome, (0.0, 1.0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise RowError(
            f"{marks.places[row]}: expected a mark of 0 or 1, and {marks.outcome[row]:g} came. "
            "Recode it, or fit marks of other values by the variant partial."
        )
    return _tree(marks, marks.outcome, {})


def _tree(marks: Marks, outcome: np.ndarray, about: Mapping[str, Any]) -> xr.DataTree:
    scaled = standardise_columns(marks.x)
    x = np.column_stack([np.ones(len(outcome)), scaled.z])
    moments = {"centre": [0.0, *scaled.centre], "unit": [1.0, *scaled.unit]}
    seen = np.isfinite(outcome)
    missing = {} if seen.all() else {MISSING: 1}
    return data_tree(
        observed={"outcome": ("row", outcome, {**about, **missing})},
        constant={
            "task_index": ("row", marks.task_index),
            "x": (("row", "covariate"), x, moments),
            "size": ("task", np.bincount(marks.task_index[seen], minlength=len(marks.tasks))),
        },
        coords={
            "row": list(marks.rows),
            "task": list(marks.tasks),
            "covariate": ["intercept", *marks.covariates],
        },
    )


def read_new(
    frame: pd.DataFrame, fitted: xr.DataTree, *, task: str | None = None, **_options: Any
) -> xr.DataTree:
    """New rows in the units of the ``fitted`` ones: of a task each, or without ``task`` of all.

    A task that was not fitted gets a place beside those that were, for `pyrovi.predict` to refuse
    or to draw from the population.
    """
    given = fitted["constant_data"].to_dataset()
    table = Table.of(frame, each="mark or student", fewest=1)
    known = [str(name) for name in given.coords["task"].to_numpy()]
    x = table.as_fitted(given["x"], besides=["intercept"])
    names, tasks = [str(row) for row in frame.index], known
    if task is None:
        index, x = np.tile(np.arange(len(known)), len(x)), np.repeat(x, len(known), axis=0)
        names = [f"{row}:{each}" for row in names for each in known]
    else:
        table.require([task])
        index, tasks = placed(table, task, known)
    return data_tree(
        observed={},
        constant={
            "task_index": ("row", index),
            "x": (("row", "covariate"), np.column_stack([np.ones(len(x)), x])),
            "size": ("task", np.bincount(index, minlength=len(tasks))),
        },
        coords={"row": names, "task": tasks, "covariate": given.coords["covariate"].to_numpy()},
    )


def linnerud() -> xr.DataTree:
    """Linnerud's fitness club: weight, waist and pulse of 20 men, from three exercises."""
    return read(_linnerud(), outcome=PHYSIOLOGY, standardised="by_task")


def linnerud_above() -> xr.DataTree:
    """Whether each of the 20 men's weight, waist and pulse is above the sample's median."""
    frame: Any = _linnerud()
    above = frame[list(PHYSIOLOGY)] > frame[list(PHYSIOLOGY)].median()
    return read_binary(frame.assign(**above.astype(int)), outcome=PHYSIOLOGY)


def grunfeld() -> xr.DataTree:
    """Grunfeld's (1950) firms: log investment of 11, 1935 to 1954, from log value and capital."""
    data: Any = _statsmodels("grunfeld")
    logs = np.log(data[["invest", "value", "capital"]])
    return read(logs.assign(firm=data["firm"]), outcome="invest", task="firm")


def anes96() -> xr.DataTree:
    """American National Election Study 1996: a vote for Dole, by party identification."""
    data: Any = _statsmodels("anes96")
    parties = data["PID"].astype(int).map(dict(enumerate(PARTIES)))
    frame = data[["age", "educ", "income", "vote"]].assign(party=parties)
    ordered = frame.iloc[data["PID"].argsort(kind="stable")]
    return read_binary(ordered, outcome="vote", task="party")


def _linnerud() -> pd.DataFrame:
    from sklearn.datasets import load_linnerud

    bunch: Any = load_linnerud(as_frame=True)
    return bunch.frame.rename(columns=str.lower)


def _statsmodels(name: str) -> pd.DataFrame:
    try:
        from statsmodels import datasets
    except ImportError as error:
        raise DataError(
            f"The data set {name!r} comes with statsmodels, which is not installed. "
            "Install it with: pip install statsmodels"
        ) from error
    return getattr(datasets, name).load_pandas().data
