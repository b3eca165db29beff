"""Marks of students that are drawn from the prior."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyro
import torch
import xarray as xr

from pyrovi.errors import DataError
from pyrovi.models.entry import run_forward, variant_named
from pyrovi.models.multitask_regression.model import DIMS, FORMS
from pyrovi.registry import nearest
from pyrovi.seeds import check_seed, stream
from pyrovi.tree import data_tree

__all__ = ["simulate"]

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


def _check(tasks: Sequence[str], sizes: Sequence[int], population: Mapping[str, Any]) -> None:
    if not tasks or len(sizes) != len(tasks) or min(sizes) < 1:
        raise DataError(
            f"Expected a size above zero for each of {len(tasks)} tasks, and {tuple(sizes)} came."
        )
    for name in tasks:
        if list(tasks).count(name) > 1:
            raise DataError(f"Task {name!r} is named twice. Name each once.")
    for name in population:
        if name not in HELD:
            raise DataError(
                f"population holds no {name!r}{nearest(name, HELD)}. It may hold: "
                f"{', '.join(HELD)}."
            )
