"""What a reference posterior is made of: long runs of Pyro's NUTS, and how far to trust them.

A reference holds, for each quantity, mean, sd, quantiles, their Monte Carlo errors, rank R-hat
and effective sample sizes; and how it was made.
"""

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import joblib
import numpy as np
import pyro
import torch
import xarray as xr
from arviz_stats.base import array_stats
from pyro.infer import MCMC, NUTS
from pyro.infer.autoguide import init_to_value
from torch import Tensor

from pyrovi import models
from pyrovi.bound import bind
from pyrovi.seeds import stream
from pyrovi.tree import quantities

QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}
CHAINS = 4
SAMPLE = ("chain", "draw")

Draws = dict[str, np.ndarray]


def given(name: str, data: str) -> tuple[Callable[..., Any], dict[str, Any], xr.DataTree]:
    """The model of an entry or of its variant, its arguments, and the data set they are of."""
    entry = models.get(name)
    tree = entry.load(data)
    return entry.model, dict(bind(entry.model, tree).kwargs), tree


def nuts(
    model: Callable[..., Any],
    arguments: dict[str, Any],
    *,
    seed: int,
    warmup: int,
    draws: int,
    target: float,
    start: dict[str, Tensor] | None = None,
    jobs: int = 1,
) -> tuple[Draws, dict[str, Any]]:
    """Draws (chain, draw, ...) of the continuous sites, and how they came about."""
    began = time.perf_counter()
    runs = joblib.Parallel(n_jobs=jobs)(
        joblib.delayed(_chain)(
            model, arguments, stream(seed, "chain", chain), warmup, draws, target, start
        )
        for chain in range(CHAINS)
    )
    chains, divergences = [drawn for drawn, _ in runs], sum(count for _, count in runs)
    how = {
        "sampler": "pyro.infer.NUTS",
        "chains": CHAINS,
        "warmup": warmup,
        "draws": draws,
        "target_accept_prob": target,
        "seed": seed,
        "divergences": divergences,
        "seconds": round(time.perf_counter() - began),
        "versions": {name: version(name) for name in ("pyro-ppl", "torch")},
    }
    return {name: np.stack([chain[name] for chain in chains]) for name in chains[0]}, how


def _chain(
    model: Callable[..., Any],
    arguments: dict[str, Any],
    seed: int,
    warmup: int,
    draws: int,
    target: float,
    start: dict[str, Tensor] | None,
) -> tuple[Draws, int]:
    """The draws of one chain, and how many transitions diverged."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    pyro.set_rng_seed(seed)
    options: dict[str, Any] = {"target_accept_prob": target, "max_plate_nesting": 1}
    if start is not None:
        options["init_strategy"] = init_to_value(values=start)
    kernel = NUTS(model, jit_compile=True, ignore_jit_warnings=True, **options)
    run = MCMC(kernel, num_samples=draws, warmup_steps=warmup, disable_progbar=True)
    run.run(**arguments)
    drawn = {name: value.numpy() for name, value in run.get_samples().items()}
    return drawn, sum(map(len, run.diagnostics()["divergences"].values()))


def summary(posterior: xr.Dataset) -> dict[str, dict[str, float]]:
    """Each quantity's moments and quantiles, and what says that they can be trusted."""
    return {label: _summary(values) for label, values in quantities(posterior)}


def _summary(values: np.ndarray) -> dict[str, float]:
    numbers = {
        "mean": values.mean(),
        "sd": values.std(ddof=1),
        **{name: np.quantile(values, at) for name, at in QUANTILES.items()},
        "mcse_mean": array_stats.mcse(values, method="mean"),
        "mcse_sd": array_stats.mcse(values, method="sd"),
        "rhat": array_stats.rhat(values),
        "ess_bulk": array_stats.ess(values, method="bulk"),
        "ess_tail": array_stats.ess(values, method="tail", prob=(0.05, 0.95)),
    }
    return rounded(numbers)


def rounded(numbers: dict[str, Any]) -> dict[str, float]:
    """To six digits."""
    return {name: float(f"{number:.6g}") for name, number in numbers.items()}


def pairs(names: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Rows and columns below the diagonal of a matrix, and what each entry is called."""
    rows, columns = np.tril_indices(len(names), -1)
    called = [f"{names[i]}:{names[j]}" for i, j in zip(rows, columns, strict=True)]
    return rows, columns, called
