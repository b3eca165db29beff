r"""Multi-task regression: related tasks that lend each other strength.

Students have marks in mathematics, physics and chemistry; each subject is a task with a linear
model of its own, and the coefficients of all tasks come from one population that is learned:

.. math::  y_i \sim N(x_i^\top \beta_{t(i)}, \sigma_{t(i)}), \quad
           \beta_t \sim N(\mu, \operatorname{diag}(\tau)\, \Omega \operatorname{diag}(\tau)),

.. math::  \mu_p \sim N(0, 1), \quad \Omega \sim \text{LKJ}(2), \quad
           \tau_p, \sigma_t \sim \text{LogNormal}(\log 0.5, 0.75).

Tasks may have any number of rows each. A masked mark is left out of the likelihood, and predicted.

- ``partial``, the default: as above, with :math:`\beta_t = \mu + \operatorname{diag}(\tau) L z_t`
  and :math:`z_t` standard normal, which suits tasks with few rows;
- ``centered``: the same distribution, each :math:`\beta_t` drawn around :math:`\mu` directly;
- ``no_pooling``: each task by itself, :math:`\beta_t \sim N(0, 1.33)`, which is the mean and the
  standard deviation that one task has under ``partial`` before any data;
- ``complete_pooling``: one :math:`\beta` and one :math:`\sigma` for all tasks;
- ``binary``: marks of 0 and 1, :math:`\operatorname{logit} P(y_i = 1) = x_i^\top \beta_{t(i)}`.

**What a test can hold.** The tasks share a parent, so given the data their coefficients are
correlated: news about physics is news about chemistry. A mean-field guide of ``centered`` has the
means nearly right, shrunk towards :math:`\mu`, and no such correlation at all.

**Units.** Priors are for standardised marks and covariates. The loaders standardise, and keep the
mean and standard deviation that they took out as attributes ``centre`` and ``unit``. The first
column of ``x`` is ones.

References: Gelman and Hill (2007), "Data Analysis Using Regression and Multilevel/Hierarchical
Models", chapters 12 and 13. Lewandowski, Kurowicka and Joe (2009), "Generating random correlation
matrices based on vines and extended onion method", Journal of Multivariate Analysis 100(9).
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
import xarray as xr
from torch import Tensor

from pyrovi.errors import DataError
from pyrovi.models.entry import Variant, ZooModel, as_floats, run_forward, variant_named
from pyrovi.models.tables import Marks, read_marks, same_in_every_row, standardise
from pyrovi.registry import nearest
from pyrovi.seeds import check_seed, stream
from pyrovi.structure import declare
from pyrovi.tree import MISSING, data_tree

__all__ = [
    "MULTITASK_REGRESSION",
    "binary",
    "centered",
    "complete_pooling",
    "no_pooling",
    "partial",
    "simulate",
]

CORRELATION_SHAPE = 2.0  # LKJ: mild pull towards no correlation
SCALE_LOC, SCALE_SCALE = math.log(0.5), 0.75  # 95% of spreads and noises in 0.11 to 2.2
ALONE = math.sqrt(1.0 + math.exp(2 * SCALE_LOC + 2 * SCALE_SCALE**2))  # sd of one task's, a priori
SUBJECTS = ("mathematics", "physics", "chemistry")
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
DIMS = {
    "population_mean": ("covariate",),
    "population_scale": ("covariate",),
    "population_corr_chol": ("covariate", "other_covariate"),
    "offset": ("covariate",),
    "beta": ("covariate",),
}

HELD = (*DIMS, "noise")


def expected(x: Tensor, beta: Tensor, task_index: Tensor) -> Tensor:
    """The linear predictor of each row, whatever axes stand on the left of ``beta``.

    Args:
        x: Covariates ``(row, covariate)``.
        beta: Coefficients ``(..., task, covariate)``.
        task_index: The task of each row, ``(row,)``.

    Returns:
        ``(..., row)``.

    >>> expected(torch.eye(2), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 0]))
    tensor([3., 2.])
    """
    return (x * beta[..., task_index, :]).sum(-1)


@declare(name="multitask_regression", dims=DIMS)
def partial(outcome: Tensor, task_index: Tensor, x: Tensor, size: Tensor | None = None) -> None:
    """Tasks of one population, each as its mean and an offset.

    Args:
        outcome: Marks ``(row,)``, standardised; may come masked.
        task_index: The task of each row, ``(row,)``, from 0.
        x: Covariates ``(row, covariate)``, the first all ones.
        size: Marks in each task, ``(task,)``. Only its length is read, and the tree has the
            tasks' names from it; the tasks that ``task_index`` names if not given.
    """
    x = _checked(outcome, task_index, x, size)
    mean, scale_tril = _population(x)
    with pyro.plate("task", _tasks(task_index, size), dim=-1):
        standard = dist.Normal(x.new_zeros(x.shape[-1]), 1.0).to_event(1)
        offset = pyro.sample("offset", standard)
        beta = mean + (scale_tril @ offset.unsqueeze(-1)).squeeze(-1)
        beta = pyro.deterministic("beta", beta, event_dim=1)
        noise = _noise()
    _observe(outcome, expected(x, beta, task_index), noise[..., task_index])


@declare(name="multitask_regression:centered", dims=DIMS)
def centered(outcome: Tensor, task_index: Tensor, x: Tensor, size: Tensor | None = None) -> None:
    """Tasks of one population, drawn around its mean."""
    x = _checked(outcome, task_index, x, size)
    mean, scale_tril = _population(x)
    with pyro.plate("task", _tasks(task_index, size), dim=-1):
        beta = pyro.sample("beta", dist.MultivariateNormal(mean, scale_tril=scale_tril))
        noise = _noise()
    _observe(outcome, expected(x, beta, task_index), noise[..., task_index])


@declare(name="multitask_regression:no_pooling", dims=DIMS)
def no_pooling(outcome: Tensor, task_index: Tensor, x: Tensor, size: Tensor | None = None) -> None:
    """Every task by itself."""
    x = _checked(outcome, task_index, x, size)
    with pyro.plate("task", _tasks(task_index, size), dim=-1):
        alone = dist.Normal(x.new_zeros(x.shape[-1]), ALONE).to_event(1)
        beta = pyro.sample("beta", alone)
        noise = _noise()
    _observe(outcome, expected(x, beta, task_index), noise[..., task_index])


@declare(name="multitask_regression:complete_pooling", dims=DIMS)
def complete_pooling(
    outcome: Tensor, task_index: Tensor, x: Tensor, size: Tensor | None = None
) -> None:
    """One regression for all rows, whatever their task."""
    x = _checked(outcome, task_index, x, size)
    beta = pyro.sample("beta", dist.Normal(x.new_zeros(x.shape[-1]), 1.0).to_event(1))
    _observe(outcome, (x * beta).sum(-1), _noise())


@declare(name="multitask_regression:binary", dims=DIMS)
def binary(outcome: Tensor, task_index: Tensor, x: Tensor, size: Tensor | None = None) -> None:
    """Tasks of one population whose marks are 0 and 1, as ``partial``."""
    x = _checked(outcome, task_index, x, size)
    if not bool(((outcome == 0) | (outcome == 1)).all()):
        raise DataError(
            f"outcome is 0 or 1 in every row, and values from {outcome.min().item():g} to "
            f"{outcome.max().item():g} came. Recode it, or fit the variant partial."
        )
    mean, scale_tril = _population(x)
    with pyro.plate("task", _tasks(task_index, size), dim=-1):
        standard = dist.Normal(x.new_zeros(x.shape[-1]), 1.0).to_event(1)
        offset = pyro.sample("offset", standard)
        beta = mean + (scale_tril @ offset.unsqueeze(-1)).squeeze(-1)
        beta = pyro.deterministic("beta", beta, event_dim=1)
    with pyro.plate("row", outcome.shape[-1], dim=-1):
        logit = expected(x, beta, task_index)
        pyro.sample("outcome", dist.Bernoulli(logits=logit), obs=outcome.to(x.dtype))


def _checked(outcome: Tensor, task_index: Tensor, x: Tensor, size: Tensor | None) -> Tensor:
    """``x`` as floats; what is wrong with the arguments is said, as they may come from anyone."""
    if x.ndim != 2 or not outcome.shape == task_index.shape == x.shape[:1]:
        raise DataError(
            "x is a matrix with a row for each value of outcome and of task_index, and shapes "
            f"{tuple(x.shape)}, {tuple(outcome.shape)} and {tuple(task_index.shape)} came. "
            "Give each the same rows."
        )
    whole = not task_index.is_floating_point()
    tasks = _tasks(task_index, size) if whole else 0
    low, high = task_index.min().item(), task_index.max().item()
    if not whole or low < 0 or high >= tasks:
        most = f"to {tasks - 1}, the tasks of size" if size is not None and whole else "up"
        raise DataError(
            f"task_index is a whole number from 0 {most}, and {task_index.dtype} from {low:g} to "
            f"{high:g} came. Number the tasks from 0; pyrovi.models.get(...).read does so."
        )
    return as_floats(x)


def _population(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the tasks' coefficients, and the Cholesky factor of their covariance."""
    zeros = x.new_zeros(x.shape[-1])
    mean = pyro.sample("population_mean", dist.Normal(zeros, 1.0).to_event(1))
    scale = pyro.sample(
        "population_scale", dist.LogNormal(zeros + SCALE_LOC, SCALE_SCALE).to_event(1)
    )
    if x.shape[-1] == 1:
        return mean, scale.unsqueeze(-1)
    correlation = dist.LKJCholesky(x.shape[-1], x.new_tensor(CORRELATION_SHAPE))
    return mean, scale.unsqueeze(-1) * pyro.sample("population_corr_chol", correlation)


def _noise() -> Tensor:
    return pyro.sample("noise", dist.LogNormal(SCALE_LOC, SCALE_SCALE))


def _observe(outcome: Tensor, loc: Tensor, noise: Tensor) -> None:
    with pyro.plate("row", outcome.shape[-1], dim=-1):
        pyro.sample("outcome", dist.Normal(loc, noise), obs=outcome)


def _tasks(task_index: Tensor, size: Tensor | None) -> int:
    return int(task_index.max()) + 1 if size is None else size.shape[-1]


FORMS: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        "partial": partial,
        "centered": centered,
        "no_pooling": no_pooling,
        "complete_pooling": complete_pooling,
        "binary": binary,
    }
)


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
        tasks: The tasks' names.
        sizes: Marks in each task.
        covariates: Names of the covariates, which are standard normal.
        population: Values of sites to hold instead of drawing, such as ``population_scale``.
        variant: The form of the model that is drawn from.

    Returns:
        ``outcome`` (row), ``x`` (row, covariate), ``task_index`` (row), ``size`` (task); and the
        drawn parameters as ``truth``.

    Raises:
        DataError: If there is no task, one is named twice, there is not one size above zero for
            each, or ``population`` names no site.
    """
    if not tasks or len(sizes) != len(tasks) or min(sizes) < 1:
        raise DataError(
            f"Expected a size above zero for each of {len(tasks)} tasks, and {tuple(sizes)} came."
        )
    twice = sorted({name for name in tasks if list(tasks).count(name) > 1})
    unknown = [name for name in population or {} if name not in HELD]
    if twice or unknown:
        raise DataError(
            f"Task {twice[0]!r} is named twice. Name each once."
            if twice
            else f"population holds no {unknown[0]!r}{nearest(unknown[0], HELD)}. It may hold: "
            f"{', '.join(HELD)}."
        )
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
    of_task = set() if variant == "complete_pooling" else {"offset", "noise", "beta"}
    truth = {
        name: (("task",) * (name in of_task) + DIMS.get(name, ()), value)
        for name, value in drawn.items()
    }
    return data_tree(
        observed={"outcome": ("row", outcome)},
        constant={
            "task_index": ("row", index),
            "x": (("row", "covariate"), x),
            "size": ("task", np.array(sizes)),
        },
        coords={"task": list(tasks), "covariate": ["intercept", *covariates]},
        truth=truth,
    )


# ------------------------------------------------------------------------------ real data


def read(
    frame: pd.DataFrame,
    *,
    outcome: str | Sequence[str],
    task: str | None = None,
    covariates: str | Sequence[str] | None = None,
    standardised: str = "together",
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
    if standardised not in {"together", "by_task"}:
        raise DataError(f"standardised is together or by_task, and {standardised!r} came.")
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
        values[own], *moments = standardise(marks.outcome[own])
        centre.append(moments[0])
        unit.append(moments[1])
    about = {"units": "standard deviations", "centre": centre, "unit": unit}
    return _tree(marks, values, about)


def read_binary(
    frame: pd.DataFrame,
    *,
    outcome: str | Sequence[str],
    task: str | None = None,
    covariates: str | Sequence[str] | None = None,
) -> xr.DataTree:
    """As `read`, for marks of 0 and 1, which stay as they are."""
    marks = read_marks(frame, outcome=outcome, task=task, covariates=covariates)
    wrong = np.isfinite(marks.outcome) & ~np.isin(marks.outcome, (0.0, 1.0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{marks.places[row]}: expected a mark of 0 or 1, and {marks.outcome[row]:g} came. "
            "Recode it, or fit marks of other values by the variant partial."
        )
    return _tree(marks, marks.outcome, {})


def _tree(marks: Marks, outcome: np.ndarray, about: Mapping[str, Any]) -> xr.DataTree:
    columns = [standardise(column) for column in marks.x.T]
    x = np.column_stack([np.ones(len(outcome)), *(values for values, *_ in columns)])
    moments = {
        "centre": [0.0, *(centre for _, centre, _ in columns)],
        "unit": [1.0, *(unit for *_, unit in columns)],
    }
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

    found: Any = load_linnerud(as_frame=True)
    frame = pd.concat([found.data, found.target], axis=1)
    return frame.rename(columns=str.lower)


def _statsmodels(name: str) -> pd.DataFrame:
    try:
        from statsmodels import datasets
    except ImportError as error:
        raise DataError(
            f"The data set {name!r} comes with statsmodels, which is not installed. "
            "Install it with: pip install statsmodels"
        ) from error
    return getattr(datasets, name).load_pandas().data


def own(name: str, **others: Any) -> Variant:
    """The form of that name, which simulates itself."""
    return Variant(model=FORMS[name], simulate=functools.partial(simulate, variant=name), **others)


MULTITASK_REGRESSION = ZooModel(
    name="multitask_regression",
    title="Multi-task regression: related tasks that lend each other strength",
    model=partial,
    simulate=simulate,
    loaders={"linnerud": linnerud, "grunfeld": grunfeld},
    variants={
        **{name: own(name) for name in FORMS},
        "binary": own(
            "binary",
            loaders={"linnerud_above": linnerud_above, "anes96": anes96},
            reader=read_binary,
        ),
    },
    reader=read,
)
