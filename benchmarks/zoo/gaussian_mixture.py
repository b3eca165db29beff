"""The mixture: NUTS within its best mode, and the components beside the species."""

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pyro
import torch
import xarray as xr
from matplotlib.figure import Figure
from pyro.infer.mcmc.util import initialize_model
from references import SAMPLE, Draws, given, nuts, pairs, summary
from torch import Tensor

from pyrovi import models

SPECIES = {"setosa": "#2e86c1", "versicolor": "#d68910", "virginica": "#6c3483"}
DIMS = (*SAMPLE, "component")


def reference() -> dict[str, Any]:
    variants = {"full": full_mixture(), "conjugate": conjugate_mixture()}
    return {"model": "gaussian_mixture", "data": "iris", "variants": variants}


def full_mixture() -> dict[str, Any]:
    draws, how, names = within_the_best_mode("full")
    loc, scale, tril = (draws[name] for name in ("loc", "scale", "corr_chol"))
    corr = tril @ np.swapaxes(tril, -1, -2)
    rows, columns, called = pairs(names)
    posterior = xr.Dataset(
        {
            "weight": (DIMS, draws["weight"]),
            "loc": ((*DIMS, "dimension"), loc),
            "scale": ((*DIMS, "dimension"), scale),
            "corr": ((*DIMS, "pair"), corr[..., rows, columns]),
        },
        coords={
            "component": np.arange(loc.shape[2]),
            "dimension": names,
            "pair": called,
        },
    )
    return {"how": how, "quantities": summary(posterior)}


def conjugate_mixture() -> dict[str, Any]:
    """The sites, and the covariances that the whitening matrices come to."""
    draws, how, names = within_the_best_mode("conjugate")
    how["elsewhere"] = 0.011  # of 600,000 sweeps of Gibbs, and the card says how well it is known
    diagonal, below = draws["whitening_diagonal"], draws["whitening_below"]
    whitening = np.zeros((*diagonal.shape, diagonal.shape[-1]))
    rows, columns = np.tril_indices(diagonal.shape[-1], -1)
    whitening[..., rows, columns] = below
    whitening += diagonal[..., None] * np.eye(diagonal.shape[-1])
    tril = np.linalg.inv(whitening)
    posterior = xr.Dataset(
        {
            "weight": (DIMS, draws["weight"]),
            "loc": ((*DIMS, "dimension"), draws["loc"]),
            "whitening_diagonal": ((*DIMS, "dimension"), diagonal),
            "whitening_below": ((*DIMS, "pair"), below),
            "cov": ((*DIMS, "dimension", "other_dimension"), tril @ np.swapaxes(tril, -1, -2)),
        },
        coords={"component": np.arange(diagonal.shape[2]), "dimension": names},
    )
    return {"how": how, "quantities": summary(posterior)}


def within_the_best_mode(variant: str) -> tuple[Draws, dict[str, Any], np.ndarray]:
    """Chains from the best mode, the components in order of petal length; and the dimensions."""
    model, arguments, data = given(f"gaussian_mixture:{variant}", "iris")
    mode, log_joint = best_mode(model, arguments, restarts=40)
    draws, how = nuts(
        model, arguments, seed=1936, warmup=500, draws=1500, target=0.9, start=mode, jobs=2
    )
    how["start"] = "every chain at the best mode of 40 L-BFGS runs"
    how["log_joint_at_start"] = round(log_joint, 3)
    order = draws["loc"][..., 2].mean((0, 1)).argsort()  # by petal length: the species' order
    how["component"] = "in order of posterior mean petal length; 0 is setosa"
    ordered = {name: value[:, :, order] for name, value in draws.items()}
    return ordered, how, data["observed_data"]["dimension"].to_numpy()


def best_mode(
    model: Callable[..., Any], arguments: dict[str, Any], *, restarts: int
) -> tuple[dict[str, Tensor], float]:
    """The highest mode of the unconstrained density found from random starts."""
    best: dict[str, Tensor] = {}
    lowest = float("inf")
    for restart in range(restarts):
        pyro.set_rng_seed(restart)
        start, potential, transforms, _ = initialize_model(
            model, model_kwargs=arguments, max_plate_nesting=1
        )
        flat = {name: value.detach().clone().requires_grad_() for name, value in start.items()}
        reached = _minimise(potential, flat)
        if reached < lowest:
            lowest = reached
            best = {name: transforms[name].inv(value.detach()) for name, value in flat.items()}
    return best, -lowest


def _minimise(potential: Callable[..., Tensor], flat: dict[str, Tensor]) -> float:
    optimiser = torch.optim.LBFGS(list(flat.values()), max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = potential(flat)
        loss.backward()
        return loss

    optimiser.step(closure)
    reached = potential(flat).item()
    return reached if np.isfinite(reached) else float("inf")


def figure(kept: dict[str, Any]) -> Figure:
    """The irises by species, and the components found without it: 50% and 90% ellipses."""
    rows = kept["variants"]["full"]["quantities"]
    data = models.get("gaussian_mixture").load("iris")
    y, species = data["observed_data"]["y"], data["truth"]["species"].to_numpy()
    x_name, y_name = "petal length", "petal width"
    drawn, axes = plt.subplots(figsize=(6.0, 4.0), layout="constrained")
    for kind, colour in SPECIES.items():
        own = y[species == kind]
        x, height = own.sel(dimension=x_name), own.sel(dimension=y_name)
        axes.plot(x, height, "o", markersize=4, alpha=0.6, color=colour, label=kind)
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    for k in range(3):
        loc = [rows[f"loc[{k},{name}]"]["mean"] for name in (x_name, y_name)]
        scale = [rows[f"scale[{k},{name}]"]["mean"] for name in (x_name, y_name)]
        rho = rows[f"corr[{k},{y_name}:{x_name}]"]["mean"]
        tril = np.diag(scale) @ np.array([[1.0, 0.0], [rho, np.sqrt(1 - rho**2)]])
        for share in (0.5, 0.9):
            edge = np.sqrt(-2 * np.log(1 - share)) * tril @ circle
            axes.plot(loc[0] + edge[0], loc[1] + edge[1], color="black", linewidth=0.9)
    axes.set(xlabel=f"{x_name} (standardised)", ylabel=f"{y_name} (standardised)")
    axes.legend(frameon=False, loc="upper left")
    return drawn
