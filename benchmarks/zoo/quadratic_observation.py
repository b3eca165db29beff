"""The squared quantity: quadrature, and the Gaussians that each way of approximating comes to."""

from importlib.metadata import version
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from references import QUANTILES, rounded
from scipy.integrate import cumulative_trapezoid
from scipy.optimize import minimize

from pyrovi import models
from pyrovi.models import quadratic_observation as quadratic

SOFT = "#b0b7bd"


def reference() -> dict[str, Any]:
    exact = quadratic_posterior("two_modes")
    how = {
        "method": "trapezoid rule",
        "points": len(exact.x),
        "reach": "12 prior standard deviations each way",
        "log_evidence": round(exact.log_evidence, 9),
        "versions": {name: version(name) for name in ("numpy", "scipy")},
    }
    size = np.where(exact.x >= 0, 2 * np.exp(exact.log_density), 0.0)
    quantities = {
        "x": by_quadrature(exact.x, np.exp(exact.log_density)),
        "size": by_quadrature(exact.x, size),
    }
    variants = {
        "signed": {"how": how, "quantities": quantities},
        "positive": {"how": how, "quantities": {"size": quantities["size"]}},
    }
    names = models.get("quadratic_observation").datasets
    approximations = {name: quadratic_gaussians(quadratic_posterior(name)) for name in names}
    return {
        "model": "quadratic_observation",
        "data": "two_modes",
        "variants": variants,
        "approximations": approximations,
    }


def quadratic_posterior(name: str) -> quadratic.Exact:
    data = models.get("quadratic_observation").load(name)
    return quadratic.Exact(data["observed_data"]["y"].to_numpy())


def by_quadrature(x: np.ndarray, density: np.ndarray) -> dict[str, float]:
    """Moments and quantiles of a density on a grid; there is no Monte Carlo error."""
    below = cumulative_trapezoid(density, x, initial=0.0)
    mean = np.trapezoid(density * x, x)
    numbers = {
        "mean": mean,
        "sd": np.sqrt(np.trapezoid(density * (x - mean) ** 2, x)),
        **{name: np.interp(at, below, x) for name, at in QUANTILES.items()},
    }
    # what symmetry makes zero comes out as rounding error
    return rounded({n: v if abs(v) > 1e-9 else 0.0 for n, v in numbers.items()})


def quadratic_gaussians(exact: quadratic.Exact) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each Gaussian, and both of its divergences in nats."""

    def loss(at: np.ndarray) -> float:
        return -quadratic.elbo(at[0], float(np.exp(at[1])), exact.y)

    best = minimize(loss, [exact.laplace[0], -1.5], method="Nelder-Mead", tol=1e-12).x
    gaussians = {
        "laplace": exact.laplace,
        "variational": (best[0], np.exp(best[1])),
        "linearised": quadratic.linearised(exact.y, start=0.0),
        "moments": exact.moments,
    }
    return {
        name: {
            "loc": round(float(loc), 6) + 0.0,
            "scale": round(float(scale), 6),
            "kl_from": round(exact.kl_from(round(loc, 6), round(scale, 6)), 6),
            "kl_to": round(exact.kl_to(round(loc, 6), round(scale, 6)), 6),
        }
        for name, (loc, scale) in gaussians.items()
    }


GAUSSIANS = {
    "laplace": ("Laplace", {"color": "#2e86c1"}),
    "variational": ("variational: least KL(q to p)", {"color": "#d68910"}),
    "linearised": ("linearised at zero: the prior", {"color": "#c0392b", "linestyle": "--"}),
    "moments": ("moments: least KL(p to q)", {"color": "#6c3483", "linestyle": "-."}),
}


def figure(kept: dict[str, Any]) -> Figure:
    """The exact posterior of each worked example, and the Gaussians beside it."""
    drawn, panels = plt.subplots(1, 2, figsize=(7.5, 3.4), layout="constrained")
    for axes, (name, gaussians) in zip(panels, kept["approximations"].items(), strict=True):
        exact = quadratic_posterior(name)
        shown = np.abs(exact.x) < 3
        x = exact.x[shown][::100]
        axes.fill_between(x, np.exp(exact.log_density[shown][::100]), color=SOFT, label="exact")
        for key, row in gaussians.items():
            label, style = GAUSSIANS[key]
            z = (x - row["loc"]) / row["scale"]
            density = np.exp(-0.5 * z**2) / row["scale"] / np.sqrt(2 * np.pi)
            axes.plot(x, density, label=label, linewidth=1.4, **style)
        axes.set(title=f"mean of y: {exact.y.mean():g}", xlabel="x", xlim=(-3, 3), ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("density")
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, frameon=False, ncols=3, loc="outside upper center")
    return drawn
