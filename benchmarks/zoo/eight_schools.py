"""Eight schools: NUTS under both forms, and what pooling makes of each school."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from references import SAMPLE, given, nuts, summary

from pyrovi import models

DATA = "rubin1981"
INK, SOFT = "#1b4f72", "#b0b7bd"


def reference() -> dict[str, Any]:
    variants = {}
    for variant, target in (("noncentered", 0.95), ("centered", 0.99)):
        model, arguments, data = given(f"eight_schools:{variant}", DATA)
        draws, how = nuts(model, arguments, seed=1981, warmup=1000, draws=5000, target=target)
        mu, tau = draws["mu"], draws["tau"]
        if variant == "noncentered":
            draws["theta"] = mu[..., None] + tau[..., None] * draws["theta_trans"]
        posterior = xr.Dataset(
            {
                "mu": (SAMPLE, mu),
                "tau": (SAMPLE, tau),
                "theta": ((*SAMPLE, "school"), draws["theta"]),
            },
            coords={"school": data["observed_data"]["school"]},
        )
        variants[variant] = {"how": how, "quantities": summary(posterior)}
    return {"model": "eight_schools", "data": DATA, "variants": variants}


def figure(kept: dict[str, Any]) -> Figure:
    """What was measured, and what is believed after pooling: 90% intervals."""
    rows_of = kept["variants"]["noncentered"]["quantities"]
    data = models.get("eight_schools").load(DATA)
    y, sigma = data["observed_data"]["y"], data["constant_data"]["sigma"]
    schools = y["school"].to_numpy()
    rows = np.arange(len(schools))
    drawn, axes = plt.subplots(figsize=(6.0, 3.6), layout="constrained")
    options = {"fmt": "o", "markersize": 4, "linewidth": 1.5}
    axes.errorbar(y, rows - 0.15, xerr=1.645 * sigma, color=SOFT, label="measured", **options)
    mean = np.array([rows_of[f"theta[{school}]"]["mean"] for school in schools])
    ends = np.array([[rows_of[f"theta[{s}]"][q] for s in schools] for q in ("q05", "q95")])
    errors = np.abs(ends - mean)
    axes.errorbar(mean, rows + 0.15, xerr=errors, color=INK, label="posterior", **options)
    axes.axvline(rows_of["mu"]["mean"], color=INK, linewidth=0.8, linestyle=":")
    axes.set(yticks=rows, yticklabels=schools, xlabel="effect of coaching (SAT points)")
    axes.set(ylabel="school")
    axes.invert_yaxis()
    drawn.legend(frameon=False, ncols=2, loc="outside upper right")
    return drawn
