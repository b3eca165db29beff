"""A surprising physics mark: which approximations let it move the belief about chemistry?

Few marks in three subjects whose population is known, so that the posterior is Gaussian and exact:
the correlation of the levels of physics and chemistry, and how far one more physics mark, three
standard deviations too high, moves chemistry; once by reweighting the draws of the fit, and once
by fitting again. Then the same correlation with the population learned.

    python benchmarks/students.py
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyro import poutine
from scipy import stats
from torch import Tensor

import pyrovi as vi
from pyrovi.bound import bind
from pyrovi.models import multitask_regression as multitask

SPREAD, NOISE, PHYSICS, CHEMISTRY = 0.2, 1.0, 1, 2
DRAWS = 20_000
REFERENCE = Path(__file__).parents[1] / "models" / "multitask_regression" / "reference.json"
POPULATION = {
    "population_scale": torch.full((2,), SPREAD, dtype=torch.float64),
    "population_corr_chol": torch.eye(2, dtype=torch.float64),
    "noise": torch.full((3,), NOISE, dtype=torch.float64),
}
ENGINES = {
    "mean field": vi.DADVI(),
    "linear response": vi.DADVI(linear_response=True),
    "full rank": vi.DADVI(whiten=True),
    "structured": vi.SVI(guide="structured"),
}


def known(outcome: Tensor, task_index: Tensor, x: Tensor, size: Tensor) -> None:
    """``centered`` with the spread and the noise known."""
    poutine.condition(multitask.centered, data=POPULATION)(outcome, task_index, x, size)


def marks() -> dict[str, Any]:
    tree = multitask.simulate(2, sizes=(10, 8, 6), covariates=("hours",), population=POPULATION)
    return dict(bind(multitask.centered, tree).kwargs)


def with_surprise(data: dict[str, Any], mark: float) -> dict[str, Any]:
    """``data`` and one more mark in physics, of a student of average hours."""
    return data | {
        "outcome": torch.cat([data["outcome"], torch.tensor([mark], dtype=torch.float64)]),
        "task_index": torch.cat([data["task_index"], torch.tensor([PHYSICS])]),
        "x": torch.cat([data["x"], torch.tensor([[1.0, 0.0]], dtype=torch.float64)]),
    }


def exact(data: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Mean (task) and covariance (task, task) of the subjects' levels, in closed form."""
    x, task, y = (data[name].numpy() for name in ("x", "task_index", "outcome"))
    precision, right = np.zeros((4, 2, 4, 2)), np.zeros((4, 2))
    precision[0, :, 0] += np.eye(2)
    for t in range(1, 4):
        for one, other, sign in ((0, 0, 1), (t, t, 1), (0, t, -1), (t, 0, -1)):
            precision[one, :, other] += sign * np.eye(2) / SPREAD**2
        own = x[task == t - 1]
        precision[t, :, t] += own.T @ own / NOISE**2
        right[t] += own.T @ y[task == t - 1] / NOISE**2
    covariance = np.linalg.inv(precision.reshape(8, 8))
    mean = (covariance @ right.ravel()).reshape(4, 2)
    return mean[1:, 0], covariance.reshape(4, 2, 4, 2)[1:, 0, 1:, 0]


def levels(model: Any, data: Any, engine: Any) -> np.ndarray:
    """Draws (draw, task) of the subjects' levels."""
    tree = vi.draw(vi.fit(model, data, engine, seed=0), draws=DRAWS)
    return tree["posterior"]["beta"].to_numpy()[..., 0].reshape(-1, 3)


def correlation(draws: np.ndarray) -> float:
    return float(np.corrcoef(draws[:, PHYSICS], draws[:, CHEMISTRY])[0, 1])


def reweighted(draws: np.ndarray, mark: float) -> np.ndarray:
    """The weight of each draw after one more physics mark of an average student."""
    weight = stats.norm(draws[:, PHYSICS], NOISE).pdf(mark)
    return weight / weight.sum()


def surprising(data: dict[str, Any]) -> float:
    return float(exact(data)[0][PHYSICS] + 3 * NOISE)


def main() -> None:
    torch.set_num_threads(1)
    data = marks()
    mark = surprising(data)
    more = with_surprise(data, mark)
    mean, cov = exact(data)
    rho = cov[PHYSICS, CHEMISTRY] / np.sqrt(cov[PHYSICS, PHYSICS] * cov[CHEMISTRY, CHEMISTRY])
    move = exact(more)[0][CHEMISTRY] - mean[CHEMISTRY]
    print("population known                correlation   chemistry moves: reweighted   refitted")
    print(f"{'exact':32}{rho:11.3f}{move:30.3f}{move:11.3f}")
    for name, engine in ENGINES.items():
        before, again = levels(known, data, engine), levels(known, more, engine)
        weight = reweighted(before, mark)
        by_weight = weight @ before[:, CHEMISTRY] - before[:, CHEMISTRY].mean()
        by_fit = again[:, CHEMISTRY].mean() - before[:, CHEMISTRY].mean()
        print(f"{name:32}{correlation(before):11.3f}{by_weight:30.3f}{by_fit:11.3f}")
    print("\npopulation learned              correlation")
    long_run = json.loads(REFERENCE.read_text())["students"]["correlation"]
    print(f"{'NUTS, 4 chains':32}{long_run['mean']:11.3f} ± {long_run['error']:.3f}")
    rows: list[Any] = [("auto", multitask.partial, "auto")]
    rows += [(f"{n}, centred", multitask.centered, e) for n, e in ENGINES.items()]
    rows += [("mean field, non-centred", multitask.partial, ENGINES["mean field"])]
    for name, model, engine in rows:
        print(f"{name:32}{correlation(levels(model, data, engine)):11.3f}", flush=True)


if __name__ == "__main__":
    main()
