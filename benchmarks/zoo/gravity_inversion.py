"""Gravity: the closed form of the worked example, and what is seen of the ground."""

from importlib.metadata import version
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from references import QUANTILES, SAMPLE, rounded
from scipy.stats import norm

from pyrovi import models
from pyrovi.models.gravity_inversion import Exact
from pyrovi.tree import quantities

INK, SOFT = "#2b2f33", "#b0b7bd"
BLOCKS = ((700.0, 1100.0, 150.0, 450.0), (1900.0, 2400.0, 250.0, 600.0))


def reference() -> dict[str, Any]:
    """The posterior of the worked example in closed form: a Gaussian for each cell."""
    data = models.get("gravity_inversion").load("buried_block")
    exact = Exact.of(data)
    dims = (*SAMPLE, "depth", "northing", "easting")
    given = data["constant_data"]
    coords = {name: given[name] for name in dims[2:]}
    mean, sd = (
        xr.Dataset({"density": (dims, values[None, None])}, coords=coords)
        for values in (exact.mean, exact.sd)
    )
    rows = {
        label: _gaussian(float(centre.item()), float(spread.item()))
        for (label, centre), (_, spread) in zip(quantities(mean), quantities(sd), strict=True)
    }
    how = {
        "method": "closed form, in data space",
        "points": len(exact.gravity),
        "log_evidence": round(exact.log_evidence, 6),
        "versions": {name: version(name) for name in ("numpy", "torch")},
    }
    variants = {name: {"how": how, "quantities": rows} for name in ("whitened", "centered")}
    return {"model": "gravity_inversion", "data": "buried_block", "variants": variants}


def _gaussian(mean: float, sd: float) -> dict[str, float]:
    numbers = {"mean": mean, "sd": sd}
    numbers |= {name: mean + sd * float(norm.ppf(at)) for name, at in QUANTILES.items()}
    return rounded(numbers)


def figure(_kept: dict[str, Any]) -> Figure:
    """The worked example: data, what is believed of the ground, and what is seen of it."""
    data = models.get("gravity_inversion").load("buried_block")
    exact = Exact.of(data)
    drawn, panels = plt.subplots(3, 2, figsize=(8.0, 6.6), layout="constrained", sharex=True)
    (curve, resolved), (mean, sd), draws = panels
    _fitted(curve, data, exact)
    top = float(np.abs(exact.draws(2, seed=4)).max())
    dark = {"vmin": 0, "outline": "white"}
    _section(drawn, resolved, data, exact.resolution, "resolution", cmap="cividis", **dark)
    shown = {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
    _section(drawn, mean, data, exact.mean, "posterior mean (kg/m³)", **shown)
    _section(drawn, sd, data, exact.sd, "posterior sd (kg/m³)", cmap="viridis", **dark)
    for axes, density in zip(draws, exact.draws(2, seed=4), strict=True):
        _section(drawn, axes, data, density, "a posterior draw (kg/m³)", **shown)
        axes.set_xlabel("easting (km)")
    for axes in (resolved, *panels[1:, 0]):
        axes.set_ylabel("depth (km)")
    curve.set_ylabel("gravity (mGal)")
    return drawn


def _fitted(axes: Any, data: xr.DataTree, exact: Exact) -> None:
    """The profile with its noise, and what the posterior says it is without."""
    easting = data["constant_data"]["position"].sel(coordinate="easting").to_numpy() / 1e3
    drawn = exact.draws(2000, seed=0).reshape(2000, -1) @ exact.sensitivity.flatten(1).T.numpy()
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
    axes.fill_between(easting, low, high, color=SOFT, label="posterior, 90%")
    noise = 1.645 * data["constant_data"]["sigma"].to_numpy()
    axes.errorbar(
        easting, data["observed_data"]["gravity"], yerr=noise, fmt="o", color=INK, markersize=3,
        linewidth=1, label="measured",
    )  # fmt: skip
    axes.set_title("anomaly", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _section(
    figure: Figure,
    axes: Any,
    data: xr.DataTree,
    cells: np.ndarray,
    title: str,
    outline: str = INK,
    **look: Any,
) -> None:
    """One value for each cell of a section, and where the blocks are."""
    given = data["constant_data"]
    east, depth = (given[name].to_numpy() / 1e3 for name in ("easting", "depth"))
    half_east, half_depth = (east[1] - east[0]) / 2, (depth[1] - depth[0]) / 2
    extent = (
        east[0] - half_east,
        east[-1] + half_east,
        depth[-1] + half_depth,
        depth[0] - half_depth,
    )
    image = axes.imshow(
        cells[:, 0, :], extent=extent, aspect="auto", interpolation="nearest", **look
    )
    for west, right, top, bottom in BLOCKS:
        corner, size = (west / 1e3, top / 1e3), ((right - west) / 1e3, (bottom - top) / 1e3)
        axes.add_patch(plt.Rectangle(corner, *size, fill=False, linewidth=0.9, color=outline))
    figure.colorbar(image, ax=axes, pad=0.02)
    axes.set_title(title, fontsize=9)
