"""Predictions beside the data."""

from typing import Any

import numpy as np
import xarray as xr

from pyrovi.reports.figures import style
from pyrovi.reports.parts import Plot


def against(plot: Plot) -> Any:
    """`arrays`: one, rows for the predicted mean, the data, and the prediction's both ends."""
    mean, observed, low, high = plot.arrays[0]
    figure, axes = style.blank()
    axes.vlines(mean, low, high, color=style.BAND, linewidth=2.0)
    axes.plot(mean[[0, -1]], mean[[0, -1]], color=style.MUTED, linewidth=style.HAIRLINE)
    size = float(np.clip(40 / np.sqrt(len(mean)), 1.5, 5))
    axes.plot(
        mean, observed, "o", color=style.ORANGE, markersize=size, alpha=0.8, markeredgewidth=0
    )
    axes.set(xlabel="predicted mean", ylabel="data")
    return figure


def parts(plot: Plot) -> Any:
    """`arrays`: the aleatoric and the epistemic part of each prediction's spread, (n)."""
    noise, ignorance = plot.arrays
    place = np.arange(1, len(noise) + 1)
    figure, axes = style.blank()
    axes.fill_between(place, 0, noise, color=style.BLUE, linewidth=0, label="noise (aleatoric)")
    top = noise + ignorance
    axes.fill_between(
        place, noise, top, color=style.ORANGE, linewidth=0, label="ignorance (epistemic)"
    )
    axes.set(xlabel="predictions, from the surest", ylabel=plot.labels[0], xlim=(1, len(noise)))
    axes.set_ylim(bottom=0)
    figure.legend(fontsize="small", loc="outside upper center", ncols=2)
    return figure


def density(plot: Plot) -> Any:
    """`arrays`: observed (n) and predictive (draw, n)."""
    # Without a bound at zero, a curve that ends where the data do ends in mid-air.
    bounded = min(float(values.min()) for values in plot.arrays) >= 0
    return _distributions(plot, kind="kde", bound_correction=bounded, extend_fct=1.0)


def ecdf(plot: Plot) -> Any:
    """`arrays`: observed (n) and predictive (draw, n)."""
    figure = _distributions(plot, kind="ecdf")
    figure.axes[0].set_ylabel("share at or below")
    return figure


def _distributions(plot: Plot, *, kind: str, **each: Any) -> Any:
    figure = style.arviz(
        "plot_ppc_dist",
        _beside(plot),
        kind=kind,
        num_samples=len(plot.arrays[1]),
        stats={"predictive_dist": each, "observed_dist": each},
        visuals={"title": False, "observed_dist": {"color": style.ORANGE, "width": 2.2}},
    )
    figure.axes[0].set_xlabel("value")
    return figure


def counts(plot: Plot) -> Any:
    """`arrays`: observed (n) and predictive (draw, n), whole numbers."""
    visuals = {
        "title": False,
        "observed_markers": {"color": style.ORANGE},
        "grid": {"color": style.BAND},
    }
    figure = style.arviz("plot_ppc_rootogram", _beside(plot), visuals=visuals)
    return style.relabelled(figure, "count", "how often")


def calibration(plot: Plot) -> Any:
    """`arrays`: observed (n) and predictive (draw, n), zeros and ones."""
    figure = style.arviz("plot_ppc_pava", _beside(plot), visuals={"title": False})
    return style.relabelled(figure, "predicted probability", "observed share")


def _beside(plot: Plot) -> xr.DataTree:
    observed, predictive = plot.arrays
    return style.group(posterior_predictive={"y": predictive[None]}, observed_data={"y": observed})


def pit(plot: Plot) -> Any:
    """`arrays`: one, the PIT values (n)."""
    (values,) = plot.arrays
    visuals = {
        **dict.fromkeys(("title", "xlabel", "ylabel", "remove_axis"), False),
        "credible_interval": {"color": style.MUTED, "alpha": 0.25},
    }
    tree = style.group(prior_sbc={"pit": values[None]})
    figure = style.arviz("plot_ecdf_pit", tree, visuals=visuals)
    figure.axes[0].set_xlim(-0.02, 1.02)
    return style.relabelled(figure, "PIT value", "ECDF minus uniform")
