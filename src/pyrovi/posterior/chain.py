"""The arrays of one chain: its draws, and what the model says of them."""

from collections.abc import Collection, Mapping, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from pyrovi.approximations import Draws
from pyrovi.bound import BoundModel, conditional_draws, predictions, to_numpy
from pyrovi.density import LogDensity
from pyrovi.seeds import stream

Arrays = dict[str, np.ndarray]
REPLICATED_ENTRIES = 20_000_000  # numbers in all replications of the data together, where they are
MIN_REPLICATIONS = 200  # more: fewer could not show a statistic beyond its limits


def one_chain(
    density: LogDensity, drawn: Draws, seed: int, *, kept: Collection[str] = ()
) -> dict[str, Arrays]:
    """Every array of one chain, by group, with the draw first; ``kept`` are not predicted."""
    model = density.model
    terms = {key: value.detach() for key, value in density.explain(drawn.flat).items()}
    values = {site.name: terms[f"value:{site.name}"] for site in model.latent}
    own = stream(seed, "discrete")
    discrete = density.discrete_draws(drawn.flat, own) if model.discrete else {}
    latent = values | discrete
    deterministic, replicated = _predicted(model, latent, stream(seed, "predict"), kept)
    pieces = {
        piece.site: drawn.flat[:, piece.start : piece.stop].reshape(len(drawn.flat), *piece.shape)
        for piece in density.pieces
    }
    return {
        "posterior": as_arrays(latent | deterministic),
        "unconstrained_posterior": as_arrays(pieces),
        "posterior_predictive": as_arrays(replicated, copy=False),
        "log_likelihood": as_arrays(_prefixed(terms, "log_likelihood"), copy=False),
        "log_prior": as_arrays(_prefixed(terms, "log_prior")),
        "log_guide": as_arrays(_by_site(drawn, terms)),
        "sample_stats": as_arrays(_log_densities(drawn, terms)),
    }


def _predicted(
    model: BoundModel, latent: Mapping[str, Tensor], seed: int, kept: Collection[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The deterministic sites, and the observed ones drawn anew, of some draws where many are."""
    count = len(next(iter(latent.values())))
    entries = sum(prod(site.shape) for site in model.observed)
    own = min(count, max(MIN_REPLICATIONS, REPLICATED_ENTRIES // max(entries, 1)))
    if own == count:
        replicated = predictions(model, latent, seed, kept=kept)
        return {name: replicated.pop(name) for name in computed(model)}, replicated
    some = torch.as_tensor(spread_over(count, own))
    few = {name: value[some] for name, value in latent.items()}
    observed = [site.name for site in model.observed if site.name not in kept]
    return (
        conditional_draws(model, computed(model), latent, count, seed, kept=kept),
        conditional_draws(model, observed, few, own, seed, kept=kept),
    )


def spread_over(count: int, own: int) -> np.ndarray:
    """Which of ``count`` draws so many are that lie one as far from the next as any.

    >>> spread_over(11, 3)
    array([0, 3, 6])
    """
    return np.arange(own) * (count // own)


def stack_chains(chains: Sequence[dict[str, Arrays]]) -> dict[str, Arrays]:
    """The arrays of all chains, by group, with the chain first."""
    return {
        group: {name: _stacked([chain[group][name] for chain in chains]) for name in variables}
        for group, variables in chains[0].items()
    }


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays on a new first axis; of one alone it is a view, as draws of large data are large."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def as_arrays(values: Mapping[str, Tensor], *, copy: bool = True) -> Arrays:
    """Tensors as arrays, floats in double precision.

    Args:
        values: The tensors, by name.
        copy: Whether to copy those that are so already: not what nothing else holds, as the
            predictions of large data are.
    """
    as_array = to_numpy if copy else _contiguous
    arrays = {name: as_array(value) for name, value in values.items()}
    return {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in arrays.items()}


def _contiguous(value: Tensor) -> np.ndarray:
    return value.detach().cpu().contiguous().numpy()


def computed(model: BoundModel) -> list[str]:
    """The names of the deterministic sites."""
    return [site.name for site in model.sites if site.kind == "deterministic"]


def _prefixed(terms: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(f"{prefix}:"): value
        for key, value in terms.items()
        if key.startswith(f"{prefix}:")
    }


def _by_site(drawn: Draws, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each site's log density under the approximation, in the constrained space."""
    if drawn.by_site is None:
        return {}
    return {name: value - terms[f"log_abs_det:{name}"] for name, value in drawn.by_site.items()}


def _log_densities(drawn: Draws, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    stats = {"log_joint": terms["log_joint"], **drawn.stats}
    if drawn.log_guide is not None:
        stats["log_guide"] = drawn.log_guide - terms["log_abs_det"]
    return stats
