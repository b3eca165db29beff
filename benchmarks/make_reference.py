"""The shelf's reference posteriors: long runs of Pyro's NUTS, and how far they can be trusted.

Where there is one dimension, quadrature stands in for the sampler.

    python benchmarks/make_reference.py                           print what the shelf holds
    python benchmarks/make_reference.py --make eight_schools      run it again (minutes)
    python benchmarks/make_reference.py --make gaussian_mixture
    python benchmarks/make_reference.py --make quadratic_observation
    python benchmarks/make_reference.py --draw                    draw the cards' figures again

A reference holds, for each quantity, mean, sd, quantiles, their Monte Carlo errors, rank R-hat
and effective sample sizes; and how it was made.
"""

import argparse
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gravity
import joblib
import matplotlib as mpl
import matplotlib.pyplot as plt
import networks
import numpy as np
import pyro
import students
import torch
import xarray as xr
from arviz_stats.base import array_stats
from matplotlib.figure import Figure
from pyro.infer import MCMC, NUTS
from pyro.infer.autoguide import init_to_value
from pyro.infer.mcmc.util import initialize_model
from scipy.integrate import cumulative_trapezoid
from scipy.optimize import minimize
from scipy.stats import norm
from torch import Tensor

from pyrovi import models
from pyrovi.bound.arguments import bind
from pyrovi.models import quadratic_observation as quadratic
from pyrovi.models.gravity_inversion.forms import Exact
from pyrovi.seeds import stream
from pyrovi.tree import quantities

mpl.use("agg")

SHELF = Path(__file__).parents[1] / "models"
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}
CHAINS = 4
NETWORK_ROWS = 40  # of the data, at which the network is held

Draws = dict[str, np.ndarray]


def nuts(
    model: Callable[..., Any],
    arguments: dict[str, Any],
    *,
    seed: int,
    warmup: int,
    draws: int,
    target: float,
    start: dict[str, Tensor] | None = None,
    jobs: int = 1,
) -> tuple[Draws, dict[str, Any]]:
    """Draws (chain, draw, ...) of the continuous sites, and how they came about."""
    began = time.perf_counter()
    runs = joblib.Parallel(n_jobs=jobs)(
        joblib.delayed(_chain)(
            model, arguments, stream(seed, "chain", chain), warmup, draws, target, start
        )
        for chain in range(CHAINS)
    )
    chains, divergences = [drawn for drawn, _ in runs], sum(count for _, count in runs)
    how = {
        "sampler": "pyro.infer.NUTS",
        "chains": CHAINS,
        "warmup": warmup,
        "draws": draws,
        "target_accept_prob": target,
        "seed": seed,
        "divergences": divergences,
        "seconds": round(time.perf_counter() - began),
        "versions": {name: version(name) for name in ("pyro-ppl", "torch")},
    }
    return {name: np.stack([chain[name] for chain in chains]) for name in chains[0]}, how


def _chain(
    model: Callable[..., Any],
    arguments: dict[str, Any],
    seed: int,
    warmup: int,
    draws: int,
    target: float,
    start: dict[str, Tensor] | None,
) -> tuple[Draws, int]:
    """The draws of one chain, and how many transitions diverged."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    pyro.set_rng_seed(seed)
    options: dict[str, Any] = {"target_accept_prob": target, "max_plate_nesting": 1}
    if start is not None:
        options["init_strategy"] = init_to_value(values=start)
    kernel = NUTS(model, jit_compile=True, ignore_jit_warnings=True, **options)
    run = MCMC(kernel, num_samples=draws, warmup_steps=warmup, disable_progbar=True)
    run.run(**arguments)
    drawn = {name: value.numpy() for name, value in run.get_samples().items()}
    return drawn, sum(map(len, run.diagnostics()["divergences"].values()))


def summary(posterior: xr.Dataset) -> dict[str, dict[str, float]]:
    """Each quantity's moments and quantiles, and what says that they can be trusted."""
    return {label: _summary(values) for label, values in quantities(posterior)}


def _summary(values: np.ndarray) -> dict[str, float]:
    numbers = {
        "mean": values.mean(),
        "sd": values.std(ddof=1),
        **{name: np.quantile(values, at) for name, at in QUANTILES.items()},
        "mcse_mean": array_stats.mcse(values, method="mean"),
        "mcse_sd": array_stats.mcse(values, method="sd"),
        "rhat": array_stats.rhat(values),
        "ess_bulk": array_stats.ess(values, method="bulk"),
        "ess_tail": array_stats.ess(values, method="tail", prob=(0.05, 0.95)),
    }
    return {name: float(f"{number:.6g}") for name, number in numbers.items()}


def eight_schools() -> dict[str, Any]:
    data = models.get("eight_schools").load("rubin1981")
    arguments = dict(bind(models.get("eight_schools").model, data).kwargs)
    school = data["observed_data"]["school"]
    variants = {}
    for variant, target in (("noncentered", 0.95), ("centered", 0.99)):
        model = models.get(f"eight_schools:{variant}").model
        draws, how = nuts(model, arguments, seed=1981, warmup=1000, draws=5000, target=target)
        if "theta" not in draws:
            draws["theta"] = (
                draws["mu"][..., None] + draws["tau"][..., None] * draws["theta_trans"]
            )
        dims = ("chain", "draw")
        posterior = xr.Dataset(
            {
                "mu": (dims, draws["mu"]),
                "tau": (dims, draws["tau"]),
                "theta": ((*dims, "school"), draws["theta"]),
            },
            coords={"school": school},
        )
        variants[variant] = {"how": how, "quantities": summary(posterior)}
    return {"model": "eight_schools", "data": "rubin1981", "variants": variants}


def gaussian_mixture() -> dict[str, Any]:
    variants = {"full": full_mixture(), "conjugate": conjugate_mixture()}
    return {"model": "gaussian_mixture", "data": "iris", "variants": variants}


def full_mixture() -> dict[str, Any]:
    draws, how, names = within_the_best_mode("full")
    loc, scale, tril = (draws[name] for name in ("loc", "scale", "corr_chol"))
    corr = tril @ np.swapaxes(tril, -1, -2)
    rows, columns = np.tril_indices(loc.shape[-1], -1)
    dims = ("chain", "draw", "component")
    posterior = xr.Dataset(
        {
            "weight": (dims, draws["weight"]),
            "loc": ((*dims, "dimension"), loc),
            "scale": ((*dims, "dimension"), scale),
            "corr": ((*dims, "pair"), corr[..., rows, columns]),
        },
        coords={
            "component": np.arange(loc.shape[2]),
            "dimension": names,
            "pair": [f"{names[i]}:{names[j]}" for i, j in zip(rows, columns, strict=True)],
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
    dims = ("chain", "draw", "component")
    posterior = xr.Dataset(
        {
            "weight": (dims, draws["weight"]),
            "loc": ((*dims, "dimension"), draws["loc"]),
            "whitening_diagonal": ((*dims, "dimension"), diagonal),
            "whitening_below": ((*dims, "pair"), below),
            "cov": ((*dims, "dimension", "other_dimension"), tril @ np.swapaxes(tril, -1, -2)),
        },
        coords={"component": np.arange(diagonal.shape[2]), "dimension": names},
    )
    return {"how": how, "quantities": summary(posterior)}


def within_the_best_mode(variant: str) -> tuple[Draws, dict[str, Any], np.ndarray]:
    """Chains from the best mode, the components in order of petal length; and the dimensions."""
    data = models.get("gaussian_mixture").load("iris")
    model = models.get(f"gaussian_mixture:{variant}").model
    arguments = dict(bind(model, data).kwargs)
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


def quadratic_observation() -> dict[str, Any]:
    """Quadrature; and the Gaussians that each way of approximating comes to."""
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
    return {n: float(f"{v:.6g}") if abs(v) > 1e-9 else 0.0 for n, v in numbers.items()}


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


def bayesian_neural_network() -> dict[str, Any]:
    """What is known of the function: weights have no meaning of their own."""
    data = models.get("bayesian_neural_network").load("diabetes")
    model = models.get("bayesian_neural_network").model
    arguments = dict(bind(model, data).kwargs)
    draws, how = nuts(model, arguments, seed=1996, warmup=500, draws=1000, target=0.8, jobs=2)
    layers = [(draws[f"weight_{k}"], draws[f"bias_{k}"]) for k in (1, 2)]
    rows = np.arange(0, len(arguments["x"]), len(arguments["x"]) // NETWORK_ROWS)[:NETWORK_ROWS]
    x = arguments["x"].numpy()[rows]
    (first, bias), (last, level) = layers
    hidden = np.tanh(np.einsum("...uc,rc->...ru", first, x) + bias[..., None, :])
    mean = np.einsum("...ou,...ru->...ro", last, hidden)[..., 0] + level
    posterior = xr.Dataset(
        {"noise": (("chain", "draw"), draws["noise"]), "mean": (("chain", "draw", "row"), mean)},
        coords={"row": rows},
    )
    variants = {"regression": {"how": how, "quantities": summary(posterior)}}
    return {"model": "bayesian_neural_network", "data": "diabetes", "variants": variants}


def multitask_regression() -> dict[str, Any]:
    data = models.get("multitask_regression").load("linnerud")
    model = models.get("multitask_regression").model
    arguments = dict(bind(model, data).kwargs)
    draws, how = nuts(model, arguments, seed=1985, warmup=1000, draws=5000, target=0.95, jobs=4)
    mean, scale = draws["population_mean"], draws["population_scale"]
    tril = scale[..., None] * draws["population_corr_chol"]
    beta = mean[..., None, :] + np.einsum("...pq,...tq->...tp", tril, draws["offset"])
    corr = draws["population_corr_chol"] @ np.swapaxes(draws["population_corr_chol"], -1, -2)
    rows, columns = np.tril_indices(mean.shape[-1], -1)
    constant = data["constant_data"]
    names = constant["covariate"].to_numpy()
    dims = ("chain", "draw")
    posterior = xr.Dataset(
        {
            "population_mean": ((*dims, "covariate"), mean),
            "population_scale": ((*dims, "covariate"), scale),
            "population_corr": ((*dims, "pair"), corr[..., rows, columns]),
            "beta": ((*dims, "task", "covariate"), beta),
            "noise": ((*dims, "task"), draws["noise"]),
        },
        coords={
            "covariate": names,
            "task": constant["task"].to_numpy(),
            "pair": [f"{names[i]}:{names[j]}" for i, j in zip(rows, columns, strict=True)],
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


def gravity_inversion() -> dict[str, Any]:
    """The posterior of the worked example in closed form: a Gaussian for each cell."""
    data = models.get("gravity_inversion").load("buried_block")
    exact = Exact.of(data)
    dims = ("chain", "draw", "depth", "northing", "easting")
    given = data["constant_data"]
    coords = {name: given[name] for name in dims[2:]}
    mean, sd = (
        xr.Dataset({"density": (dims, values[None, None])}, coords=coords)
        for values in (exact.mean, exact.sd)
    )
    found = {
        label: _gaussian(float(centre.item()), float(spread.item()))
        for (label, centre), (_, spread) in zip(quantities(mean), quantities(sd), strict=True)
    }
    how = {
        "method": "closed form, in data space",
        "points": len(exact.gravity),
        "log_evidence": round(exact.log_evidence, 6),
        "versions": {name: version(name) for name in ("numpy", "torch")},
    }
    variants = {name: {"how": how, "quantities": found} for name in ("whitened", "centered")}
    return {"model": "gravity_inversion", "data": "buried_block", "variants": variants}


def _gaussian(mean: float, sd: float) -> dict[str, float]:
    numbers = {"mean": mean, "sd": sd}
    numbers |= {name: mean + sd * float(norm.ppf(at)) for name, at in QUANTILES.items()}
    return {name: float(f"{number:.6g}") for name, number in numbers.items()}


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


# ------------------------------------------------------------------------------ figures

INK, SOFT = "#1b4f72", "#b0b7bd"
SPECIES = {"setosa": "#2e86c1", "versicolor": "#d68910", "virginica": "#6c3483"}


def eight_schools_figure(found: dict[str, dict[str, float]]) -> Figure:
    """What was measured, and what is believed after pooling: 90% intervals."""
    data = models.get("eight_schools").load("rubin1981")
    y, sigma = data["observed_data"]["y"], data["constant_data"]["sigma"]
    schools = y["school"].to_numpy()
    rows = np.arange(len(schools))
    figure, axes = plt.subplots(figsize=(6.0, 3.6), layout="constrained")
    options = {"fmt": "o", "markersize": 4, "linewidth": 1.5}
    axes.errorbar(y, rows - 0.15, xerr=1.645 * sigma, color=SOFT, label="measured", **options)
    mean = np.array([found[f"theta[{school}]"]["mean"] for school in schools])
    ends = np.array([[found[f"theta[{s}]"][q] for s in schools] for q in ("q05", "q95")])
    errors = np.abs(ends - mean)
    axes.errorbar(mean, rows + 0.15, xerr=errors, color=INK, label="posterior", **options)
    axes.axvline(found["mu"]["mean"], color=INK, linewidth=0.8, linestyle=":")
    axes.set(yticks=rows, yticklabels=schools, xlabel="effect of coaching (SAT points)")
    axes.set(ylabel="school")
    axes.invert_yaxis()
    figure.legend(frameon=False, ncols=2, loc="outside upper right")
    return figure


def gaussian_mixture_figure(found: dict[str, dict[str, float]]) -> Figure:
    """The irises by species, and the components found without it: 50% and 90% ellipses."""
    data = models.get("gaussian_mixture").load("iris")
    y, species = data["observed_data"]["y"], data["truth"]["species"].to_numpy()
    x_name, y_name = "petal length", "petal width"
    figure, axes = plt.subplots(figsize=(6.0, 4.0), layout="constrained")
    for kind, colour in SPECIES.items():
        own = y[species == kind]
        x, height = own.sel(dimension=x_name), own.sel(dimension=y_name)
        axes.plot(x, height, "o", markersize=4, alpha=0.6, color=colour, label=kind)
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    for k in range(3):
        loc = [found[f"loc[{k},{name}]"]["mean"] for name in (x_name, y_name)]
        scale = [found[f"scale[{k},{name}]"]["mean"] for name in (x_name, y_name)]
        rho = found[f"corr[{k},{y_name}:{x_name}]"]["mean"]
        tril = np.diag(scale) @ np.array([[1.0, 0.0], [rho, np.sqrt(1 - rho**2)]])
        for share in (0.5, 0.9):
            edge = np.sqrt(-2 * np.log(1 - share)) * tril @ circle
            axes.plot(loc[0] + edge[0], loc[1] + edge[1], color="black", linewidth=0.9)
    axes.set(xlabel=f"{x_name} (standardised)", ylabel=f"{y_name} (standardised)")
    axes.legend(frameon=False, loc="upper left")
    return figure


GAUSSIANS = {
    "laplace": ("Laplace", {"color": "#2e86c1"}),
    "variational": ("variational: least KL(q to p)", {"color": "#d68910"}),
    "linearised": ("linearised at zero: the prior", {"color": "#c0392b", "linestyle": "--"}),
    "moments": ("moments: least KL(p to q)", {"color": "#6c3483", "linestyle": "-."}),
}


def quadratic_observation_figure(_found: dict[str, dict[str, float]]) -> Figure:
    """The exact posterior of each worked example, and the Gaussians beside it."""
    approximations = reference("quadratic_observation")["approximations"]
    figure, panels = plt.subplots(1, 2, figsize=(7.5, 3.4), layout="constrained")
    for axes, (name, gaussians) in zip(panels, approximations.items(), strict=True):
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
    figure.legend(handles, labels, frameon=False, ncols=3, loc="outside upper center")
    return figure


FIGURES = {
    "bayesian_neural_network": ("regression", lambda _: networks.figure()),
    "eight_schools": ("noncentered", eight_schools_figure),
    "gaussian_mixture": ("full", gaussian_mixture_figure),
    "quadratic_observation": ("signed", quadratic_observation_figure),
    "multitask_regression": ("partial", lambda _: students.figure()),
    "gravity_inversion": ("whitened", lambda _: gravity.figure()),
}


def draw(name: str) -> None:
    """The card's figure, without a date in it: the same numbers are the same file."""
    variant, figure = FIGURES[name]
    found = reference(name)["variants"][variant]["quantities"]
    with plt.rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.size": 9}):
        drawn = figure(found)
        drawn.savefig(SHELF / name / f"{name}.svg", metadata={"Date": None})
    plt.close(drawn)


def reference(name: str) -> dict[str, Any]:
    return json.loads((SHELF / name / "reference.json").read_text())


MAKERS = {
    "bayesian_neural_network": bayesian_neural_network,
    "eight_schools": eight_schools,
    "gaussian_mixture": gaussian_mixture,
    "quadratic_observation": quadratic_observation,
    "multitask_regression": multitask_regression,
    "gravity_inversion": gravity_inversion,
}


def show(reference: dict[str, Any]) -> None:
    for variant, part in reference["variants"].items():
        how, found = part["how"], part["quantities"]
        about = f"\n{reference['model']}:{variant} on {reference['data']}"
        if "method" in how:
            print(f"{about}: {how['method']}, {how['points']} points")
            for label, row in found.items():
                print(f"{label:<28}{row['mean']:>10.3f}{row['sd']:>10.3f}")
            continue
        print(
            f"{about}: {how['chains']} chains of {how['draws']} draws, "
            f"{how['divergences']} divergences, {how['seconds']} s"
        )
        print(f"{'quantity':<28}{'mean':>10}{'sd':>10}{'mcse':>10}{'R-hat':>8}{'ESS':>8}")
        for label, row in found.items():
            print(
                f"{label:<28}{row['mean']:>10.3f}{row['sd']:>10.3f}{row['mcse_mean']:>10.4f}"
                f"{row['rhat']:>8.3f}{row['ess_bulk']:>8.0f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="The shelf's reference posteriors.")
    parser.add_argument("--make", choices=sorted(MAKERS), help="run this one again")
    parser.add_argument("--draw", action="store_true", help="draw the figures again")
    asked = parser.parse_args()
    names = [asked.make] if asked.make else sorted(MAKERS)
    if asked.make:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(1)
        text = json.dumps(MAKERS[asked.make](), indent=1)
        (SHELF / asked.make / "reference.json").write_text(text + "\n")
    for name in names:
        if asked.make or asked.draw:
            draw(name)
        show(reference(name))


if __name__ == "__main__":
    main()
