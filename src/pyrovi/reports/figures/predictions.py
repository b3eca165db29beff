"""Predictions beside the data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.reports.figures.style import (
    BAND,
    BLUE,
    HAIRLINE,
    HEIGHT,
    MUTED,
    ORANGE,
    WIDTH,
    figure_of,
    group,
    relabelled,
)
from pyrovi.reports.parts import Plot

__all__ = ["against", "calibration", "counts", "density", "ecdf", "parts", "pit"]


def against(plot: Plot) -> Any:
    """`arrays`: one, rows for the predicted mean, the data, and the prediction's both ends."""
    from matplotlib import pyplot as plt

    mean, observed, low, high = plot.arrays[0]
    figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT))
    axes.vlines(mean, low, high, color=BAND, linewidth=2.0)
    axes.plot(mean[[0, -1]], mean[[0, -1]], color=MUTED, linewidth=HAIRLINE)
    size = float(np.clip(40 / np.sqrt(len(mean)), 1.5, 5))
    axes.plot(mean, observed, "o", color=ORANGE, markersize=size, alpha=0.8, markeredgewidth=0)
    axes.set(xlabel="predicted mean", ylabel="data")
    return figure


def parts(plot: Plot) -> Any:
    """`arrays`: the aleatoric and the epistemic part of each prediction's spread, (n)."""
    from matplotlib import pyplot as plt

    noise, ignorance = plot.arrays
    place = np.arange(1, len(noise) + 1)
    figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT))
    axes.fill_between(place, 0, noise, color=BLUE, linewidth=0, label="noise (aleatoric)")
    top = noise + ignorance
    axes.fill_between(place, noise, top, color=ORANGE, linewidth=0, label="ignorance (epistemic)")
    axes.set(xlabel="predictions, from the surest", ylabel=plot.labels[0], xlim=(1, len(noise)))
    axes.set_ylim(bottom=0)
    figure.legend(fontsize="small", loc="outside upper center", ncols=2)
    return figure


def density(plot: Plot) -> Any:
    """`arrays`: observed (n) and predictive (draw, n)."""
    # Without a bound at zero, a curve that ends where the data do ends in mid-air.
    bounded = min(float(values.min()) for values in plot.arrays) >= 0
    tails = {"bound_correction": bounded, "extend_fct": 1.0}
    return _distributions(plot, kind="kde", label="value", of_each=tails)


def ecdf(plot: Plot) -> Any:
    """`arrays`: observed (n) and predictive (draw, n)."""
    figure = _distributions(plot, kind="ecdf", label="value")
    figure.axes[0].set_ylabel("share at or below")
    return figure


def _distributions(
    plot: Plot, *, kind: str, label: str, of_each: Mapping[str, Any] | None = None
) -> Any:
    from pyrovi import az

    of_each = of_each or {}

    collection = az.plot_ppc_dist(
        _beside(plot),
        kind=kind,
        num_samples=len(plot.arrays[1]),
        stats={"predictive_dist": dict(of_each), "observed_dist": dict(of_each)},
        backend="matplotlib",
        visuals={"title": False, "observed_dist": {"color": ORANGE, "width": 2.2}},
        figure_kwargs={"figsize": (WIDTH, HEIGHT)},
    )
    figure = figure_of(collection)
    figure.axes[0].set_xlabel(label)
    return figure


def counts(plot: Plot) -> Any:
    """`arrays`: observed (n) and predictive (draw, n), whole numbers."""
    from pyrovi import az

    collection = az.plot_ppc_rootogram(
        _beside(plot),
        backend="matplotlib",
        visuals={
            "title": False,
            "observed_markers": {"color": ORANGE},
            "grid": {"color": BAND},
        },
        figure_kwargs={"figsize": (WIDTH, HEIGHT)},
    )
    return relabelled(figure_of(collection), "count", "how often")


def calibration(plot: Plot) -> Any:
    """`arrays`: observed (n) and predictive (draw, n), zeros and ones."""
    from pyrovi import az

    collection = az.plot_ppc_pava(
        _beside(plot),
        backend="matplotlib",
        visuals={"title": False},
        figure_kwargs={"figsize": (WIDTH, HEIGHT)},
    )
    return relabelled(figure_of(collection), "predicted probability", "observed share")


def _beside(plot: Plot) -> xr.DataTree:
    observed, predictive = plot.arrays
    return group(posterior_predictive={"y": predictive[None]}, observed_data={"y": observed})


def pit(plot: Plot) -> Any:
    """`arrays`: one, the PIT values (n)."""
    from pyrovi import az

    (values,) = plot.arrays
    collection = az.plot_ecdf_pit(
        group(prior_sbc={"pit": values[None]}),
        backend="matplotlib",
        visuals={
            **dict.fromkeys(("title", "xlabel", "ylabel", "remove_axis"), False),
            "credible_interval": {"color": MUTED, "alpha": 0.25},
        },
        figure_kwargs={"figsize": (WIDTH, HEIGHT)},
    )
    figure = relabelled(figure_of(collection), "PIT value", "ECDF minus uniform")
    figure.axes[0].set_xlim(-0.02, 1.02)
    return figure
