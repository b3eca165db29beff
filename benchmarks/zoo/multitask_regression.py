"""Marks of students: NUTS, and which approximations let a surprise move what is related."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import students
import xarray as xr
from matplotlib.figure import Figure
from references import SAMPLE, given, nuts, pairs, summary
from scipy import stats
from students import CHEMISTRY, PHYSICS

from pyrovi import models

GREY, INK, WARM, COOL = "#b0b7bd", "#2b2f33", "#d68910", "#2e86c1"


def reference() -> dict[str, Any]:
    model, arguments, data = given("multitask_regression", "linnerud")
    draws, how = nuts(model, arguments, seed=1985, warmup=1000, draws=5000, target=0.95, jobs=4)
    mean, scale = draws["population_mean"], draws["population_scale"]
    tril = scale[..., None] * draws["population_corr_chol"]
    beta = mean[..., None, :] + np.einsum("...pq,...tq->...tp", tril, draws["offset"])
    corr = draws["population_corr_chol"] @ np.swapaxes(draws["population_corr_chol"], -1, -2)
    constant = data["constant_data"]
    names = constant["covariate"].to_numpy()
    rows, columns, called = pairs(names)
    posterior = xr.Dataset(
        {
            "population_mean": ((*SAMPLE, "covariate"), mean),
            "population_scale": ((*SAMPLE, "covariate"), scale),
            "population_corr": ((*SAMPLE, "pair"), corr[..., rows, columns]),
            "beta": ((*SAMPLE, "task", "covariate"), beta),
            "noise": ((*SAMPLE, "task"), draws["noise"]),
        },
        coords={
            "covariate": names,
            "task": constant["task"].to_numpy(),
            "pair": called,
        },
    )
    variants = {"partial": {"how": how, "quantities": summary(posterior)}}
    return {
        "model": "multitask_regression",
        "data": "linnerud",
        "variants": variants,
        "students": students_reference(),
    }


def students_reference() -> dict[str, Any]:
    """How the levels of physics and chemistry are correlated, and its error over chains."""
    model = models.get("multitask_regression").model
    draws, how = nuts(model, students.marks(), seed=7, warmup=1000, draws=2500, target=0.9, jobs=4)
    tril = draws["population_scale"][..., None] * draws["population_corr_chol"]
    offset = np.einsum("...pq,...tq->...tp", tril, draws["offset"])
    level = (draws["population_mean"][..., None, :] + offset)[..., 0]
    each = [students.correlation(chain) for chain in level]
    return {
        "how": how,
        "data": "benchmarks/students.py: marks(), the population learned",
        "correlation": {
            "mean": float(f"{np.mean(each):.5g}"),
            "error": float(f"{np.std(each, ddof=1) / np.sqrt(len(each)):.3g}"),
        },
    }


def figure(_kept: dict[str, Any]) -> Figure:
    """The beliefs about physics and chemistry, and what the surprise does to chemistry."""
    data = students.marks()
    mark = students.surprising(data)
    mean, cov = students.exact(data)
    after, cov_after = students.exact(students.with_surprise(data, mark))
    pair = [PHYSICS, CHEMISTRY]
    drawn, (left, right) = plt.subplots(1, 2, figsize=(8.0, 3.6), layout="constrained")
    _ellipse(left, mean[pair], cov[np.ix_(pair, pair)], color=GREY, linewidth=6, label="exact")
    looks = {
        "mean field": {"color": WARM, "linewidth": 1.6},
        "full rank": {"color": COOL, "linewidth": 1.6},
        "linear response": {"color": INK, "linewidth": 1.6, "linestyle": ":"},
    }
    grid = np.linspace(mean[CHEMISTRY] - 0.9, mean[CHEMISTRY] + 1.2, 300)
    for moment, covariance, style, label in (
        (mean, cov, "--", "exact, before"),
        (after, cov_after, "-", "exact, after"),
    ):
        density = stats.norm(moment[CHEMISTRY], np.sqrt(covariance[CHEMISTRY, CHEMISTRY]))
        right.plot(grid, density.pdf(grid), style, color=GREY, linewidth=3.5, label=label)
    for name, look in looks.items():
        draws = students.levels(students.known, data, students.ENGINES[name])
        _ellipse(left, draws.mean(0)[pair], np.cov(draws[:, pair].T), label=name, **look)
        weight = students.reweighted(draws, mark)
        centre = float(weight @ draws[:, CHEMISTRY])
        sd = float(np.sqrt(weight @ (draws[:, CHEMISTRY] - centre) ** 2))
        right.plot(grid, stats.norm(centre, sd).pdf(grid), label=f"{name}, after", **look)
    left.set(xlabel="level of physics", ylabel="level of chemistry", title="given the marks")
    left.legend(frameon=False, fontsize=8, loc="upper left")
    left.margins(y=0.22)
    right.set(xlabel="level of chemistry", ylabel="density", title="after a surprise in physics")
    right.set_ylim(0, right.get_ylim()[1] * 1.45)
    right.legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return drawn


def _ellipse(axes: Any, mean: np.ndarray, cov: np.ndarray, **look: Any) -> None:
    """Where 90% of a Gaussian lies."""
    angle = np.linspace(0, 2 * np.pi, 200)
    edge = np.sqrt(-2 * np.log(0.1)) * np.linalg.cholesky(cov) @ [np.cos(angle), np.sin(angle)]
    axes.plot(mean[0] + edge[0], mean[1] + edge[1], **look)
