"""No pooling, partial pooling and complete pooling on marks held out.

Each split leaves every task a few marks, not equally many, and predicts the rest: the log
predictive density of a held-out mark (nats, larger is better) and the root mean squared error,
in standard deviations of the marks, with the standard error over splits; and of partial pooling's
lead over each of the others, split by split. Marks are standardised over all rows, held out ones
included, which is the same for the three.

    python benchmarks/pooling.py
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy import stats
from scipy.special import logsumexp

import pyrovi as vi
from pyrovi.models import get
from pyrovi.models.multitask_regression import simulate

POOLINGS = ("no_pooling", "partial", "complete_pooling")
ENGINE = vi.DADVI(whiten=True)
DRAWS = 1000
TASKS = tuple("ABCDEFGH")


def simulated(split: int) -> xr.DataTree:
    """Eight tasks with everything drawn from the prior: another population in each split."""
    return simulate(split, tasks=TASKS, sizes=(30,) * len(TASKS))


STUDIES: dict[str, tuple[Callable[[int], xr.DataTree], tuple[int, int], int]] = {
    "simulated, 8 tasks": (simulated, (4, 10), 10),
    "grunfeld, 11 firms": (lambda _: get("multitask_regression").load("grunfeld"), (4, 10), 6),
    "linnerud, 3 outcomes": (lambda _: get("multitask_regression").load("linnerud"), (5, 14), 10),
}


def kept(task: np.ndarray, between: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Which rows to learn from: of each task a number of its own."""
    keep = np.zeros(len(task), dtype=bool)
    for index in range(task.max() + 1):
        rows = np.flatnonzero(task == index)
        keep[rng.permutation(rows)[: rng.integers(between[0], between[1] + 1)]] = True
    return keep


def score(pooling: str, data: xr.DataTree, keep: np.ndarray) -> tuple[float, float]:
    """The mean log predictive density and the root mean squared error of what was held out."""
    model = get(f"multitask_regression:{pooling}").model
    learned = data.isel(row=np.flatnonzero(keep))
    posterior = vi.draw(vi.fit(model, learned, ENGINE, seed=0), draws=DRAWS)["posterior"]
    held = data.isel(row=np.flatnonzero(~keep))
    x, task = (held["constant_data"][name].to_numpy() for name in ("x", "task_index"))
    y = held["observed_data"]["outcome"].to_numpy()
    beta, noise = (posterior[name].to_numpy()[0] for name in ("beta", "noise"))
    if pooling == "complete_pooling":
        loc, scale = beta @ x.T, noise[:, None]
    else:
        loc, scale = np.einsum("drp,rp->dr", beta[:, task], x), noise[:, task]
    density = logsumexp(stats.norm(loc, scale).logpdf(y), axis=0) - np.log(DRAWS)
    return float(density.mean()), float(np.sqrt(np.mean((loc.mean(0) - y) ** 2)))


def main() -> None:
    torch.set_num_threads(1)
    for name, (load, between, splits) in STUDIES.items():
        began = time.perf_counter()
        found = np.empty((splits, len(POOLINGS), 2))
        for split in range(splits):
            data: Any = load(split)
            rng = np.random.default_rng([1950, split])
            keep = kept(data["constant_data"]["task_index"].to_numpy(), between, rng)
            found[split] = [score(pooling, data, keep) for pooling in POOLINGS]
        seconds = time.perf_counter() - began
        print(f"\n{name}: {between[0]} to {between[1]} marks a task, {splits} splits, ", end="")
        print(f"{seconds:.0f} s\n{'':20}{'log density':>18}{'lead':>18}{'RMSE':>18}{'lead':>18}")
        for index, pooling in enumerate(POOLINGS):
            lead = (found[:, 1] - found[:, index]) * [1, -1]
            columns = [values[:, m] for m in (0, 1) for values in (found[:, index], lead)]
            cells = [_with_error(values) for values in columns]
            print(f"{pooling:20}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def _with_error(values: np.ndarray) -> str:
    return f"{values.mean():.3f} ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"


if __name__ == "__main__":
    main()
