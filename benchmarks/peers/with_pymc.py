"""The models in PyMC, fitted by its ADVI, full-rank ADVI, and Pathfinder (pymc-extras)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from peers.clock import Clock, Gaussian
from peers.problems import INVERSE_NOISE, PROBLEMS, Data

__all__ = ["density", "fit", "pathfinder", "pathfinder_elbo", "timed"]


def eight_schools(y: np.ndarray, sigma: np.ndarray) -> None:
    mu = pm.Normal("mu", 0.0, 5.0)
    tau = pm.HalfCauchy("tau", 5.0)
    z = pm.Normal("z", 0.0, 1.0, shape=8)
    pm.Normal("y", mu + tau * z, sigma, observed=y)


def radon(county: np.ndarray, floor: np.ndarray, y: np.ndarray) -> None:
    mu = pm.Normal("mu", 0.0, 5.0)
    beta = pm.Normal("beta", 0.0, 5.0)
    sd_county = pm.HalfNormal("sd_county", 2.0)
    sigma = pm.HalfNormal("sigma", 2.0)
    z = pm.Normal("z", 0.0, 1.0, shape=85)
    pm.Normal("y", mu + sd_county * z[county] + beta * floor, sigma, observed=y)


def logistic(X: np.ndarray, y: np.ndarray) -> None:
    intercept = pm.Normal("intercept", 0.0, 5.0)
    beta = pm.Normal("beta", 0.0, 1.0, shape=30)
    pm.Bernoulli("y", logit_p=intercept + pt.dot(X, beta), observed=y)


def mixture(y: np.ndarray) -> None:
    first = pm.Normal("first", 0.0, 10.0)
    gap = pm.HalfNormal("gap", 5.0, shape=4)
    scale = pm.HalfNormal("scale", 2.0, shape=5)
    logit = pm.Normal("logit", 0.0, 1.0, shape=4)
    loc = pt.concatenate([pt.shape_padleft(first), first + pt.cumsum(gap)])
    weight = pt.special.softmax(pt.concatenate([pt.zeros(1), logit]))
    pm.NormalMixture("y", weight, loc, sigma=scale, observed=y)


def gp(x: np.ndarray, y: np.ndarray) -> None:
    rho = pm.LogNormal("rho", 0.0, 1.0)
    alpha = pm.LogNormal("alpha", 0.0, 1.0)
    sigma = pm.LogNormal("sigma", -1.0, 1.0)
    square = np.square(x[:, None] - x)
    covariance = alpha**2 * pt.exp(-0.5 * square / rho**2) + sigma**2 * np.eye(len(x))
    pm.MvNormal("y", np.zeros(len(x)), cov=covariance, observed=y)


def inverse(A: np.ndarray, y: np.ndarray) -> None:
    x = pm.Normal("x", 0.0, 1.0, shape=A.shape[1])
    pm.Normal("y", pt.dot(A, x), INVERSE_NOISE, observed=y)


MODELS: Mapping[str, Callable[..., None]] = {
    each.__name__: each for each in (eight_schools, radon, logistic, mixture, gp, inverse)
}
METHODS: Mapping[str, tuple[str, type]] = {
    "mean-field": ("advi", pm.ADVI),
    "full-rank": ("fullrank_advi", pm.FullRankADVI),
}


def _model(name: str, data: Data) -> pm.Model:
    with pm.Model() as model:
        MODELS[name](**data)
    return model


def density(name: str, data: Data, flats: np.ndarray) -> np.ndarray:
    """The log density of the unconstrained space."""
    model = _model(name, data)
    compiled = model.compile_logp()
    return np.array([float(compiled(_point(name, model, flat))) for flat in flats])


def fit(name: str, data: Data, family: str, rate: float, clock: Clock) -> None:
    """ADVI with PyMC's own optimiser, ``adagrad_window``."""

    def look(approximation: Any, _losses: Any, step: int) -> None:
        if clock.due(step):
            clock.note(step, _moments(name, approximation))
        if clock.over(step):
            raise StopIteration

    with _model(name, data):
        inference = METHODS[family][1](random_seed=0)
        inference.fit(
            10**7,
            callbacks=[look],
            obj_optimizer=pm.adagrad_window(learning_rate=rate),
            progressbar=False,
        )


def timed(name: str, data: Data, family: str, rate: float, steps: int) -> None:
    """``pm.fit``, so many steps."""
    with _model(name, data):
        pm.fit(
            steps,
            method=METHODS[family][0],
            obj_optimizer=pm.adagrad_window(learning_rate=rate),
            random_seed=0,
            progressbar=False,
        )


PATHS = {"num_paths": 4, "concurrent": None, "random_seed": 0, "progressbar": False}


def pathfinder(name: str, data: Data) -> np.ndarray:
    """Multi-path Pathfinder as it comes, its paths one after the other; draws, flat."""
    import pymc_extras as pmx

    model = _model(name, data)
    found = pmx.fit_pathfinder(model, **PATHS, display_summary=False, add_pathfinder_groups=False)
    posterior = found["posterior"]
    columns = []
    for latent in PROBLEMS[name].latents:
        value = np.asarray(posterior[latent.name]).reshape(-1, latent.size)
        columns.append(np.log(value) if latent.positive else value)
    return np.concatenate(columns, axis=1)


def pathfinder_elbo(name: str, data: Data) -> float:
    """The ELBO of the best path's Gaussian, from its own 1,000 draws, before any weighting."""
    from pymc_extras.inference.pathfinder.pathfinder import multipath_pathfinder

    found = multipath_pathfinder(
        _model(name, data),
        **PATHS,
        num_draws=1000,
        num_draws_per_path=1000,
        maxcor=max(int(np.ceil(3 * np.log(PROBLEMS[name].dim))), 5),  # as fit_pathfinder sets it
        maxiter=1000,
        ftol=1e-5,
        gtol=1e-8,
        maxls=1000,
        num_elbo_draws=10,
        jitter=2.0,
        epsilon=1e-12,
        importance_sampling=None,
        display_summary=False,
    )
    return float(np.max(np.mean(found.logP - found.logQ, axis=-1)))


def _point(name: str, model: pm.Model, flat: np.ndarray) -> dict[str, np.ndarray]:
    found, start = {}, 0
    for latent in PROBLEMS[name].latents:
        own = model.rvs_to_values[model[latent.name]].name
        found[own] = flat[start : start + latent.size].reshape(latent.shape)
        start += latent.size
    return found


def _moments(name: str, approximation: Any) -> Gaussian:
    """The shared parameters themselves, in the order of the flat vector."""
    group = approximation.groups[0]
    own = {key: value.get_value() for key, value in group.params_dict.items()}
    slices = {key.removesuffix("_log__"): each[1] for key, each in group.ordering.items()}
    places = np.arange(PROBLEMS[name].dim)
    order = np.concatenate([places[slices[latent.name]] for latent in PROBLEMS[name].latents])
    if "rho" in own:
        return Gaussian(own["mu"][order], np.logaddexp(0.0, own["rho"])[order])
    root = np.zeros((len(order), len(order)))
    root[np.tril_indices(len(order))] = own["L_tril"]
    np.fill_diagonal(root, np.logaddexp(0.0, root.diagonal()))
    return Gaussian(own["mu"][order], root[order])
