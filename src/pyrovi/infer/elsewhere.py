"""A `Fit` of a posterior that something else came to: a sampler of any library, or a Pyro guide.

Its draws are moved to the model's unconstrained space once. From there on it is like any other
fit: `draw` works out what the model says of it, `predict` predicts, and `check` judges.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pyro
import torch
import xarray as xr
from torch import Tensor

from pyrovi.approximations import Approximation, Empirical, GuideDraws
from pyrovi.bound import BoundModel, Site, as_tree, bind, bind_model, to_numpy
from pyrovi.density import LogDensity, in_one_sentence
from pyrovi.errors import DataError
from pyrovi.guides import own_guide
from pyrovi.infer.result import Fit, Recorded
from pyrovi.infer.run import Run, Status
from pyrovi.seeds import check_seed
from pyrovi.tree import SAMPLE_DIMS, held, original_name

WHY = "it came from elsewhere"
GUIDE_DRAWS = 4_000  # of a guide of another library, which then stand for it


def fit_of(
    posterior: Any, model: Callable[..., Any], data: Any, *, seed: int | None = None
) -> Fit:
    """The fit that a posterior from elsewhere is, of a Pyro model to data.

    Args:
        posterior: A sampler's run with ``get_samples`` (Pyro's or NumPyro's ``MCMC``); a tree or
            `InferenceData` with a group ``posterior``; a Dataset, or a dict of arrays, ``(chain,
            draw, *shape)``, of one chain ``(draw, *shape)``; a Pyro guide that was trained, whose
            parameters are those of Pyro's store; or a NumPyro autoguide with its parameters,
            ``(guide, params)``, of which draws are taken, without a density.
        model: The Pyro model of it. What it names besides the model's latent variables is left.
        data: The data, as for `pyrovi.fit`.
        seed: Of what is drawn from it; a missing one is drawn, and recorded.

    Raises:
        DataError: If it lacks a latent variable of the model, or has it in another shape.
    """
    seed = check_seed(seed)
    arguments = bind(model, data)
    bound = bind_model(model, arguments)
    with in_one_sentence(bound.name, "held against these draws"):
        name, chains = _read(posterior, LogDensity(bound), seed)
    ended: Any = {"status": Status.CONVERGED, "why": WHY, "seconds": 0.0}
    runs = tuple(
        Run(losses={"loss": np.empty(0)}, density=each.density, approximation=each, **ended)
        for each in chains
    )
    return Fit(
        model=bound,
        engine=Recorded(name),
        restarts=runs,
        kept=tuple(range(len(runs))),
        seed=seed,
        seconds=0.0,
        data=as_tree(bound, data),
        arguments=arguments,
    )


def _read(posterior: Any, density: LogDensity, seed: int) -> tuple[str, list[Approximation]]:
    """What it is, and each of its chains."""
    if isinstance(posterior, tuple):
        guide, samples = _sampled(posterior, seed)
        return f"numpyro's {type(guide).__name__}", _chains(samples, density)
    if hasattr(posterior, "get_samples"):
        kernel = getattr(posterior, "kernel", getattr(posterior, "sampler", posterior))
        samples = posterior.get_samples(group_by_chain=True)
        library = type(posterior).__module__.partition(".")[0]
        return f"{library}'s {type(kernel).__name__}", _chains(samples, density)
    tree = isinstance(posterior, xr.DataTree)
    group = held(posterior, "posterior") if tree else getattr(posterior, "posterior", posterior)
    samples = _arrays(group) if isinstance(group, xr.Dataset) else group
    if isinstance(samples, Mapping):
        return "draws from elsewhere", _chains(samples, density)
    if callable(posterior):
        return type(posterior).__name__, [_of_guide(posterior, density)]
    raise DataError(
        "Expected an MCMC run, a tree with a posterior, a Dataset, a dict of draws, a trained "
        f"Pyro guide, or (guide, params) of NumPyro, and a {type(posterior).__name__} came."
    )


def _sampled(pair: tuple[Any, ...], seed: int) -> tuple[Any, Mapping[str, Any]]:
    """A NumPyro guide, and draws of it under its parameters."""
    if len(pair) != 2 or not hasattr(pair[0], "sample_posterior"):
        raise DataError(
            "Expected a NumPyro autoguide and its parameters, (guide, svi_result.params), and a "
            f"tuple of {', '.join(type(each).__name__ for each in pair) or 'nothing'} came. "
            "A Pyro guide is given alone: its parameters are in Pyro's store."
        )
    guide, params = pair
    key = import_module("jax").random.PRNGKey(seed)  # it is there where NumPyro is
    return guide, guide.sample_posterior(key, params, sample_shape=(GUIDE_DRAWS,))


def _arrays(group: xr.Dataset) -> dict[str, np.ndarray]:
    """The variables, the chain and the draw first."""
    return {
        original_name(str(name)): each.transpose(*SAMPLE_DIMS, ...).to_numpy()
        for name, each in group.data_vars.items()
        if set(SAMPLE_DIMS) <= set(each.dims)
    }


def _chains(samples: Mapping[str, Any], density: LogDensity) -> list[Approximation]:
    latent = density.model.latent
    lacking = [site.name for site in latent if site.name not in samples]
    if lacking:
        raise DataError(
            f"The posterior lacks {', '.join(lacking)}, which {density.model.name!r} has; it has "
            f"{', '.join(map(str, samples)) or 'nothing'}. Name its variables after the model's."
        )
    values = {site.name: _by_chain(site, to_numpy(samples[site.name])) for site in latent}
    _check_alike(values)
    first = next(iter(values.values()))
    return [
        Empirical(density, _unconstrained(density, {n: v[chain] for n, v in values.items()}))
        for chain in range(len(first))
    ]


def _by_chain(site: Site, array: np.ndarray) -> np.ndarray:
    """The draws of a site, ``(chain, draw, *shape)``."""
    array = array[None] if array.ndim == len(site.shape) + 1 else array
    if array.ndim < 2 or array.shape[2:] != site.shape:
        raise DataError(
            f"{site.name} has the shape {site.shape} in the model, and its draws are of shape "
            f"{array.shape}. Expected (chain, draw, *shape), or (draw, *shape) of one chain."
        )
    if not np.isfinite(array).all():
        raise DataError(f"The draws of {site.name} are not all finite. Drop those that are not.")
    return array.astype(np.float64)


def _check_alike(values: Mapping[str, np.ndarray]) -> None:
    """Raise unless all variables have as many chains and draws."""
    counts = {name: value.shape[:2] for name, value in values.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {chains} x {draws}" for name, (chains, draws) in counts.items())
        raise DataError(f"Expected as many chains and draws of each variable, and {told} came.")


def _unconstrained(density: LogDensity, values: Mapping[str, np.ndarray]) -> Tensor:
    nodes = density.model.prototype.nodes
    rows = {
        name: torch.as_tensor(value).reshape(len(value), *nodes[name]["value"].shape)
        for name, value in values.items()
    }
    flat = density.unconstrain(rows)
    if not bool(flat.isfinite().all()):
        raise DataError(
            "Some draws lie outside of the model's supports, or on their edge: "
            f"{int((~flat.isfinite()).any(-1).sum())} of {len(flat)}. Are they of this model?"
        )
    return flat


def _of_guide(guide: Callable[..., Any], density: LogDensity) -> Approximation:
    """A guide with the parameters that Pyro's store has now, of which these are copies."""
    model = _as_trained(density.model)
    own = own_guide(guide, model) if isinstance(guide, torch.nn.Module) else guide
    return GuideDraws(LogDensity(model.registering(own)), own, None)


def _as_trained(model: BoundModel) -> BoundModel:
    """The model under the parameters of Pyro's store, its own among them."""
    state: Any = pyro.get_param_store().get_state()
    own = {"params": {}, "constraints": {}} if model.params is None else model.params
    values = {
        name: value.detach().to(model.dtype) if value.is_floating_point() else value.detach()
        for name, value in state["params"].items()
    }
    params = {
        "params": {**own["params"], **values},
        "constraints": {**own["constraints"], **state["constraints"]},
    }
    return replace(model, params=params).with_parameters()
