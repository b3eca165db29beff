"""Complete trees with a closed-form posterior, made by NumPy alone.

They let a diagnostic or a report be judged against the exact answer, and be shown a fit that is
wrong in a known way, without fitting anything.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from pyrovi.tree import data_tree, grow

FEATURES = ("slope", "curve")


@dataclass(frozen=True)
class LinearGaussian:
    """Linear regression with known noise: its posterior, evidence and mean-field optimum.

    ``y[i] ~ N(alpha + x[i] @ beta, sigma)``, ``alpha ~ N(0, 2)``, ``beta[k] ~ N(0, 1)``; with a
    ``misfit``, one observation in eight came from elsewhere: that many noise sds too high.
    """

    size: int = 40
    sigma: float = 1.0
    seed: int = 0
    misfit: float = 0.0
    truth: np.ndarray = field(default_factory=lambda: np.array([0.5, -1.0, 0.7]))

    prior_sd = np.array([2.0, 1.0, 1.0])

    @cached_property
    def x(self) -> np.ndarray:
        base = np.linspace(-1.0, 1.5, self.size)
        return np.stack([base, base**2], axis=1)

    @cached_property
    def design(self) -> np.ndarray:
        return np.column_stack([np.ones(self.size), self.x])

    @cached_property
    def y(self) -> np.ndarray:
        noise = np.random.default_rng(self.seed).normal(size=self.size)
        outlying = self.misfit * (np.arange(self.size) % 8 == 0)
        return self.design @ self.truth + self.sigma * (noise + outlying)

    @cached_property
    def precision(self) -> np.ndarray:
        return self.design.T @ self.design / self.sigma**2 + np.diag(self.prior_sd**-2)

    @cached_property
    def cov(self) -> np.ndarray:
        return np.linalg.inv(self.precision)

    @cached_property
    def mean(self) -> np.ndarray:
        return self.cov @ self.design.T @ self.y / self.sigma**2

    @cached_property
    def log_evidence(self) -> float:
        marginal = self.design @ np.diag(self.prior_sd**2) @ self.design.T
        cov = marginal + self.sigma**2 * np.eye(self.size)
        return float(stats.multivariate_normal(np.zeros(self.size), cov).logpdf(self.y))

    @cached_property
    def mean_field_sd(self) -> np.ndarray:
        """The sd of the best factorised Gaussian: the precision's diagonal to the power -1/2."""
        return np.diag(self.precision) ** -0.5

    def log_prior(self, theta: np.ndarray) -> np.ndarray:
        """Log prior of each parameter, shape (..., 3)."""
        return stats.norm(0.0, self.prior_sd).logpdf(theta)

    def log_likelihood(self, theta: np.ndarray) -> np.ndarray:
        """Log likelihood of each observation, shape (..., size)."""
        return stats.norm(theta @ self.design.T, self.sigma).logpdf(self.y)


def linear_gaussian_tree(
    *,
    draws: int = 2000,
    chains: int = 1,
    restarts: int = 1,
    seed: int = 0,
    shift: float = 0.0,
    scale: float = 1.0,
    mean_field: bool = False,
    status: str = "converged",
    misfit: float = 0.0,
    model: LinearGaussian | None = None,
    drift: bool = False,
    kept: float = 0.0,
    modes: tuple[bool, ...] = (),
    observed: bool = True,
) -> xr.DataTree:
    """The tree of a fit of `LinearGaussian`, complete and as right or wrong as asked.

    Args:
        draws: Draws in each chain.
        chains: Restarts that reached the best optimum.
        restarts: Restarts tried; those beyond ``chains`` ended 20 nats lower.
        seed: Of the draws.
        shift: How far the guide's means are off, in posterior sds.
        scale: The guide's sds over the exact ones.
        mean_field: Whether the guide is the best factorised Gaussian, and not the exact posterior.
        status: How each restart ended.
        misfit: Makes the model, and not the fit, wrong: see `LinearGaussian`.
        model: Another `LinearGaussian`.
        drift: Whether Markov chains were sent out, which came to exact draws of the posterior.
        kept: The share of where it started that each chain keeps.
        modes: Which of as many modes, each met nine times, the draws hold; none if not sought.
        observed: Whether the model's site of data has any, as the tree lists its sites.
    """
    model = model or LinearGaussian(misfit=misfit)
    rng = np.random.default_rng([seed, 1])
    sd = np.diag(model.cov) ** 0.5
    cov = np.diag(model.mean_field_sd**2) if mean_field else model.cov
    guide = stats.multivariate_normal(model.mean + shift * sd, scale**2 * cov)
    theta = guide.rvs(size=(chains, draws), random_state=rng).reshape(chains, draws, 3)
    sites = stats.norm(guide.mean, np.diag(guide.cov) ** 0.5).logpdf(theta)
    log_lik, log_prior = model.log_likelihood(theta), model.log_prior(theta)
    noise = model.sigma * rng.normal(size=log_lik.shape)
    prior = rng.normal(0.0, model.prior_sd, size=(1, draws, 3))
    prior_y = prior @ model.design.T + model.sigma * rng.normal(size=(1, draws, model.size))

    tree = _data(model)
    groups = {
        "posterior": _parameters(theta),
        "posterior_predictive": _observations(theta @ model.design.T + noise),
        "log_likelihood": _observations(log_lik),
        "log_prior": _summed(log_prior),
        "prior": _parameters(prior),
        "prior_predictive": _observations(prior_y),
        "sample_stats": _stats(log_prior, log_lik, guide.logpdf(theta), restarts, status, seed),
    }
    if not observed:
        listed = json.dumps([_site(*row) for row in _SITES if row[1] != "observed"])
        groups["sample_stats"].attrs["sites"] = listed
    if mean_field:
        groups["log_guide"] = _summed(sites)
    if drift:
        groups["drift"] = _drift(model, theta, kept, rng)
    if modes:
        groups["sample_stats"] = groups["sample_stats"].assign(_modes(modes))
    return grow(tree, **groups)


def _modes(held: tuple[bool, ...]) -> dict[str, Any]:
    """Modes of one weight, 30 sds apart."""
    share, loc = np.full(len(held), 1 / len(held)), 30.0 * np.arange(len(held))[:, None]
    of_each = {"mode_found": [9] * len(held), "mode_share": share, "mode_held": list(held)}
    places = {"mode_loc": loc, "mode_scale": np.ones_like(loc)}
    variables: dict[str, Any] = {name: ("mode", value) for name, value in of_each.items()}
    return variables | {name: (("mode", "latent"), value) for name, value in places.items()}


def in_a_loop(tree: xr.DataTree, kinds: tuple[str, ...] = ("Normal",)) -> xr.DataTree:
    """The same tree of a model that observes one entry of ``y`` a time, as ``y_0``, ``y_1``, ...

    Args:
        tree: One of `linear_gaussian_tree`.
        kinds: The distributions of the sites, in turn.
    """
    groups = ("observed_data", "posterior_predictive", "log_likelihood")
    stations = range(tree["observed_data"]["y"].size)
    apart = {
        group: xr.Dataset(
            {f"y_{i}": tree[group]["y"][..., i].drop_vars("station") for i in stations}
        )
        for group in groups
    }
    sites = [
        _site(f"y_{i}", "observed", kinds[i % len(kinds)], [], [], "Real()") for i in stations
    ]
    stats_group = tree["sample_stats"].to_dataset().assign_attrs(sites=json.dumps(sites))
    return grow(tree, **apart, sample_stats=stats_group)


def gaussian_tree(
    guide_cov: np.ndarray,
    target_cov: np.ndarray,
    *,
    draws: int = 4000,
    seed: int = 0,
    shift: float | np.ndarray = 0.0,
) -> xr.DataTree:
    """A zero-mean Gaussian target seen through a Gaussian guide: draws and both densities only."""
    rng = np.random.default_rng(seed)
    size = len(target_cov)
    guide = stats.multivariate_normal(np.zeros(size) + shift, guide_cov)
    theta = guide.rvs(size=draws, random_state=rng).reshape(1, draws, size)
    target = stats.multivariate_normal(np.zeros(size), target_cov)
    both = {"log_joint": target.logpdf(theta), "log_guide": guide.logpdf(theta)}
    stats_group = {name: (("chain", "draw"), np.reshape(v, (1, -1))) for name, v in both.items()}
    return grow(
        xr.DataTree(),
        posterior=xr.Dataset({"theta": (("chain", "draw", "axis"), theta)}),
        sample_stats=xr.Dataset(stats_group, attrs={"engine": "SVI()"}),
    )


def _drift(
    model: LinearGaussian, theta: np.ndarray, share: float, rng: np.random.Generator
) -> xr.Dataset:
    """Where 256 Markov chains start, and are after each of their last five transitions.

    They forget all but a ``share`` of where they started: autoregressive, with the posterior kept.
    """
    exact = stats.multivariate_normal(model.mean, model.cov)
    chains, start = len(theta), theta[:, :256, None]
    noise = exact.rvs(size=(chains, 256, 5), random_state=rng).reshape(chains, 256, 5, 3)
    noise = np.sqrt(1 - share**2) * (noise - model.mean)
    theta = np.concatenate([start, model.mean + share * (start - model.mean) + noise], 2)
    dims = ("chain", "draw", "drift_state")
    return xr.Dataset(
        {
            "alpha": (dims, theta[..., 0]),
            "beta": ((*dims, "feature"), theta[..., 1:]),
            "acceptance_rate": (("chain", "draw"), rng.uniform(0.9, 1.0, (chains, 256))),
        },
        coords={**_numbered(theta), "drift_state": [0, *range(11, 16)], "feature": list(FEATURES)},
    )


def _data(model: LinearGaussian) -> xr.DataTree:
    return data_tree(
        {"y": ("station", model.y)},
        {"x": (("station", "feature"), model.x), "sigma": model.sigma},
        coords={"feature": list(FEATURES), "station": _stations(model.size)},
        truth={"alpha": model.truth[0], "beta": ("feature", model.truth[1:])},
    )


def _stations(size: int) -> list[str]:
    return [f"S{i:02d}" for i in range(size)]


def _parameters(theta: np.ndarray) -> xr.Dataset:
    dims = ("chain", "draw")
    return xr.Dataset(
        {"alpha": (dims, theta[..., 0]), "beta": ((*dims, "feature"), theta[..., 1:])},
        coords={**_numbered(theta), "feature": list(FEATURES)},
    )


def _observations(values: np.ndarray) -> xr.Dataset:
    return xr.Dataset(
        {"y": (("chain", "draw", "station"), values)},
        coords={**_numbered(values), "station": _stations(values.shape[-1])},
    )


def _summed(sites: np.ndarray) -> xr.Dataset:
    """One scalar per draw and site, from one column per parameter."""
    dims = ("chain", "draw")
    return xr.Dataset(
        {"alpha": (dims, sites[..., 0]), "beta": (dims, sites[..., 1:].sum(-1))},
        coords=_numbered(sites),
    )


def _numbered(values: np.ndarray) -> dict[str, np.ndarray]:
    return {"chain": np.arange(values.shape[0]), "draw": np.arange(values.shape[1])}


def _stats(
    log_prior: np.ndarray,
    log_lik: np.ndarray,
    log_guide: np.ndarray,
    restarts: int,
    status: str,
    seed: int,
) -> xr.Dataset:
    log_joint = log_prior.sum(-1) + log_lik.sum(-1)
    log_guide = log_guide.reshape(log_joint.shape)
    chains = len(log_joint)
    elbo = float(np.mean(log_joint - log_guide))
    tried = max(restarts, chains)
    reached = np.where(np.arange(tried) < chains, elbo, elbo - 20.0)
    dims = ("chain", "draw")
    return xr.Dataset(
        {
            "log_joint": (dims, log_joint),
            "log_guide": (dims, log_guide),
            "loss": (("chain", "step"), _loss_curve(-elbo, chains, seed)),
            "status": ("chain", [status] * chains),
            "seconds": ("chain", np.linspace(1.5, 2.0, chains)),
            "restart_elbo": ("restart", reached),
            "restart_status": ("restart", [status] * tried),
            "restart_index": ("chain", np.arange(chains)),
        },
        coords={**_numbered(log_joint), "restart": np.arange(tried)},
        attrs=_attrs(status, seed),
    )


def _loss_curve(end: float, chains: int, seed: int, steps: int = 1000) -> np.ndarray:
    """A curve that has settled at ``end``; the chain before the last stopped a little earlier."""
    noise = np.random.default_rng([seed, 2]).normal(size=(chains, steps))
    loss = end + 80.0 * np.exp(-np.arange(steps) / 50.0) + 0.5 * noise
    if chains > 1:
        loss[0, -50:] = np.nan
    return loss


def _attrs(status: str, seed: int) -> dict[str, str | int]:
    return {
        "engine": "SVI(guide='full_rank')",
        "engine_reason": "3 continuous latents: a full-rank Gaussian is affordable.",
        "model": "linear_gaussian",
        "seed": seed,
        "status": status,
        "versions": json.dumps({"pyrovi": "0.1.0", "torch": "2.13.0", "pyro-ppl": "1.9.2"}),
        "created": "2026-11-21T00:00:00+00:00",
        "notes": json.dumps([]),
        "sites": json.dumps([_site(*row) for row in _SITES]),
    }


_SITES = (
    ("alpha", "latent", "Normal", [], [], "Real()"),
    ("beta", "latent", "Normal", [2], ["feature"], "Real()"),
    ("y", "observed", "Normal", [40], ["station"], "Real()"),
)


def _site(
    name: str, kind: str, distribution: str, shape: list[int], dims: list[str], support: str
) -> dict[str, object]:
    return {
        "name": name,
        "kind": kind,
        "distribution": distribution,
        "shape": shape,
        "dims": dims,
        "support": support,
        "discrete": False,
        "subsampled": False,
    }


def one_bad_restart() -> xr.DataTree:
    """The second of two misses the posterior; the weights of both together leave it out."""
    fits = linear_gaussian_tree(scale=1.2), linear_gaussian_tree(shift=4.0)
    keep = {"posterior": ["alpha", "beta"], "sample_stats": ["log_joint", "log_guide"]}
    both = {
        group: xr.concat(
            [fit[group].to_dataset()[names].drop_vars("chain") for fit in fits],
            dim="chain",
            data_vars="all",
        )
        for group, names in keep.items()
    }
    return grow(xr.DataTree(), **both)
