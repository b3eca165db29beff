"""The network: NUTS at some rows of the data; and noise and ignorance, by MC dropout."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pyro
import torch
import xarray as xr
from matplotlib.figure import Figure
from pyro.infer import Predictive, Trace_ELBO
from references import SAMPLE, given, nuts, summary

from pyrovi.diagnostics.scores import variance_parts
from pyrovi.guides import dropout
from pyrovi.models.bayesian_neural_network import network
from pyrovi.seeds import isolated

ROWS = 40  # of the data, at which the network is held
STEPS, STEP_SIZE, PARTICLES, DRAWS = 1000, 0.02, 8, 300
RATE = 0.02
CLIP = 100.0  # a mask may leave a noise next to nothing far from what was seen
GAP = (-1.0, 1.0)
BLUE, ORANGE, GREEN = "#2e86c1", "#d68910", "#1e8449"


def reference() -> dict[str, Any]:
    """Of the function alone: weights have no meaning of their own."""
    model, arguments, _ = given("bayesian_neural_network", "diabetes")
    draws, how = nuts(model, arguments, seed=1996, warmup=500, draws=1000, target=0.8, jobs=2)
    layers = [(draws[f"weight_{k}"], draws[f"bias_{k}"]) for k in (1, 2)]
    rows = np.arange(0, len(arguments["x"]), len(arguments["x"]) // ROWS)[:ROWS]
    x = arguments["x"].numpy()[rows]
    (first, bias), (last, level) = layers
    hidden = np.tanh(np.einsum("...uc,rc->...ru", first, x) + bias[..., None, :])
    mean = np.einsum("...ou,...ru->...ro", last, hidden)[..., 0] + level
    posterior = xr.Dataset(
        {"noise": (SAMPLE, draws["noise"]), "mean": ((*SAMPLE, "row"), mean)},
        coords={"row": rows},
    )
    variants = {"regression": {"how": how, "quantities": summary(posterior)}}
    return {"model": "bayesian_neural_network", "data": "diabetes", "variants": variants}


def curve(x: np.ndarray) -> np.ndarray:
    return np.sin(1.5 * x)


def noise(x: np.ndarray) -> np.ndarray:
    """The standard deviation of what is seen: it grows from left to right."""
    return 0.05 + 0.1 * (x + 3) / 6


def seen() -> tuple[np.ndarray, np.ndarray]:
    """Eighty points of the curve, none in the gap."""
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.uniform(-3, GAP[0], 40), rng.uniform(GAP[1], 3, 40)])
    return x, curve(x) + noise(x) * rng.standard_normal(80)


def learned(grid: np.ndarray) -> xr.Dataset:
    """What MC dropout predicts, taken apart."""
    torch.set_default_dtype(torch.float64)
    x, y = (torch.tensor(values) for values in seen())
    model = network("heteroscedastic", activation="relu")
    data = {"outcome": y, "x": x[:, None], "width": 50, "weight_scale": 2.0, "bias_scale": 2.0}
    new = data | {"x": torch.tensor(grid)[:, None], "outcome": torch.zeros(len(grid))}
    with isolated(0), pyro.settings.context(module_local_params=True):
        guide: Any = dropout(model, rate={"weight_2": RATE})
        guide(**data)
        elbo = Trace_ELBO(PARTICLES, max_plate_nesting=1, vectorize_particles=True)
        loss = elbo(model, guide)
        adam = torch.optim.Adam(loss.parameters(), lr=STEP_SIZE)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, STEPS)
        for _ in range(STEPS):
            adam.zero_grad()
            loss(**data).backward()
            torch.nn.utils.clip_grad_norm_(loss.parameters(), CLIP)
            adam.step()
            falling.step()
        with torch.no_grad():
            drawn: Any = Predictive(model, guide=guide, num_samples=DRAWS)(**new)
    mean, sd = (drawn[name].reshape(1, DRAWS, -1).numpy() for name in ("mean", "sd"))
    dims = ("chain", "draw", "x")
    return variance_parts(xr.DataArray(mean, dims=dims), xr.DataArray(sd, dims=dims))


def figure(_kept: dict[str, Any]) -> Figure:
    """Above what is predicted; below what of its spread is noise, and what ignorance."""
    grid = np.linspace(-5, 5, 161)
    part = learned(grid)
    drawn, (above, below) = plt.subplots(
        2, 1, figsize=(6.5, 4.4), sharex=True, layout="constrained", height_ratios=(3, 2)
    )
    for sds, shade in ((2, 0.15), (1, 0.25)):
        width = sds * np.sqrt(part["total"])
        ends = part["mean"] - width, part["mean"] + width
        above.fill_between(grid, *ends, color=BLUE, alpha=shade, linewidth=0)
    above.plot(grid, part["mean"], color=BLUE, linewidth=1.4, label="predicted, with 1 and 2 sd")
    above.plot(
        grid, curve(grid), color="#555555", linewidth=0.9, linestyle="--", label="the curve"
    )
    above.plot(*seen(), ".", color="black", markersize=3.5, label="seen")
    above.set(ylabel="y", ylim=(-3, 3))
    below.plot(grid, np.sqrt(part["aleatoric"]), color=ORANGE, label="noise (aleatoric)")
    below.plot(grid, np.sqrt(part["epistemic"]), color=GREEN, label="ignorance (epistemic)")
    on = np.abs(grid) < 3
    below.plot(grid[on], noise(grid[on]), color=ORANGE, linestyle=":", label="the true noise")
    below.set(xlabel="x", ylabel="sd", ylim=(0, 0.8))
    for axes in (above, below):
        axes.axvspan(*GAP, color="#f0f0f0", zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="upper left" if axes is below else "lower left")
    return drawn
