r"""Multi-task regression: related tasks that lend each other strength.

Students have marks in mathematics, physics and chemistry; each subject is a task with a linear
model of its own, and the coefficients of all tasks come from one population that is learned:

.. math::  y_i \sim N(x_i^\top \beta_{t(i)}, \sigma_{t(i)}), \quad
           \beta_t \sim N(\mu, \operatorname{diag}(\tau)\, \Omega \operatorname{diag}(\tau)),

.. math::  \mu_p \sim N(0, 1), \quad \Omega \sim \text{LKJ}(2), \quad
           \tau_p, \sigma_t \sim \text{LogNormal}(\log 0.5, 0.75).

A masked mark is left out of the likelihood, and predicted.

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

import math
from collections.abc import Callable, Mapping

import pyro
import pyro.distributions as dist
from torch import Tensor

from pyrovi.errors import DataError
from pyrovi.models.entry import as_floats
from pyrovi.structure import declare

CORRELATION_SHAPE = 2.0  # LKJ: mild pull towards no correlation
SCALE_LOC, SCALE_SCALE = math.log(0.5), 0.75  # 95% of spreads and noises in 0.11 to 2.2
ALONE = math.sqrt(1.0 + math.exp(2 * SCALE_LOC + 2 * SCALE_SCALE**2))  # sd of one task's, a priori
DIMS = {
    "population_mean": ("covariate",),
    "population_scale": ("covariate",),
    "population_corr_chol": ("covariate", "other_covariate"),
    "offset": ("covariate",),
    "beta": ("covariate",),
}


def expected(x: Tensor, beta: Tensor, task_index: Tensor) -> Tensor:
    """The linear predictor ``(..., row)``, whatever axes stand on the left of ``beta``.

    Args:
        x: Covariates ``(row, covariate)``.
        beta: Coefficients ``(..., task, covariate)``.
        task_index: The task of each row, ``(row,)``.

    >>> import torch
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
        beta = _moved(mean, scale_tril)
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
        beta = pyro.sample("beta", dist.Normal(x.new_zeros(x.shape[-1]), ALONE).to_event(1))
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
        beta = _moved(mean, scale_tril)
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


def _moved(mean: Tensor, scale_tril: Tensor) -> Tensor:
    """A task's coefficients, as the mean of all tasks and an offset."""
    offset = pyro.sample("offset", dist.Normal(mean.new_zeros(mean.shape[-1]), 1.0).to_event(1))
    beta = mean + (scale_tril @ offset.unsqueeze(-1)).squeeze(-1)
    return pyro.deterministic("beta", beta, event_dim=1)


def _noise() -> Tensor:
    return pyro.sample("noise", dist.LogNormal(SCALE_LOC, SCALE_SCALE))


def _observe(outcome: Tensor, loc: Tensor, noise: Tensor) -> None:
    with pyro.plate("row", outcome.shape[-1], dim=-1):
        pyro.sample("outcome", dist.Normal(loc, noise), obs=outcome)


def _tasks(task_index: Tensor, size: Tensor | None) -> int:
    return int(task_index.max()) + 1 if size is None else size.shape[-1]


FORMS: Mapping[str, Callable[..., None]] = {
    "partial": partial,
    "centered": centered,
    "no_pooling": no_pooling,
    "complete_pooling": complete_pooling,
    "binary": binary,
}
