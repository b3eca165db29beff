"""The arrays of one chain: its draws, what the model says of them, and where they drift to."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pyrovi.approximations import Draws
from pyrovi.bound import BoundModel, discrete_draws, predictions, to_numpy
from pyrovi.density import LogDensity
from pyrovi.infer import Fit, judge, send_out
from pyrovi.seeds import stream
from pyrovi.tree import ACCEPTANCE

Arrays = dict[str, np.ndarray]
MIN_JUDGED = 200  # draws, fewer of which are not worth a judgement


def one_chain(density: LogDensity, drawn: Draws, seed: int) -> dict[str, Arrays]:
    """Every array of one chain, by group, with the draw first."""
    model = density.model
    terms = {key: value.detach() for key, value in density.explain(drawn.flat).items()}
    values = {site.name: terms[f"value:{site.name}"] for site in model.latent}
    discrete = discrete_draws(model, values, stream(seed, "discrete")) if model.discrete else {}
    latent = values | discrete
    predicted = predictions(model, latent, stream(seed, "predict"))
    pieces = {
        piece.site: drawn.flat[:, piece.start : piece.stop].reshape(len(drawn.flat), *piece.shape)
        for piece in density.pieces
    }
    deterministic = {name: predicted.pop(name) for name in _computed(model)}
    return {
        "posterior": as_arrays(latent | deterministic),
        "unconstrained_posterior": as_arrays(pieces),
        "posterior_predictive": as_arrays(predicted),
        "log_likelihood": as_arrays(_prefixed(terms, "log_likelihood")),
        "log_prior": as_arrays(_prefixed(terms, "log_prior")),
        "log_guide": as_arrays(_by_site(drawn, terms)),
        "sample_stats": as_arrays(_log_densities(drawn, terms)),
    }


def drift(fit: Fit, drawn: Sequence[Draws]) -> dict[str, Arrays]:
    """Where short Markov chains went from some draws, unless the weights alone could tell."""
    if len(drawn[0].flat) < MIN_JUDGED:
        return {}
    sent = []
    for chain, (run, each) in enumerate(zip(fit.chains, drawn, strict=True)):
        before = run.judgement.chains if run.judgement else None
        judged = judge(run.density, each, stream(fit.seed, "drift", chain), before)
        sent.append(judged.chains)
    if all(chains is None for chains in sent):
        return {}
    states = []
    for index, run, each, before in zip(fit.kept, fit.chains, drawn, sent, strict=True):
        seed = stream(fit.seed, "drift", index)
        chains = before or send_out(run.density, each, seed)
        path = torch.cat([chains.start[:, None], chains.states], dim=1)
        values = run.density.constrain(path.flatten(0, 1))
        values |= _deterministic(run.density.model, values, seed)
        of_path = {n: v.reshape(*path.shape[:2], *v.shape[1:]) for n, v in values.items()}
        states.append({"drift": as_arrays(of_path | {ACCEPTANCE: chains.acceptance})})
    return stack_chains(states)


def stack_chains(chains: Sequence[dict[str, Arrays]]) -> dict[str, Arrays]:
    """The arrays of all chains, by group, with the chain first."""
    return {
        group: {name: np.stack([chain[group][name] for chain in chains]) for name in variables}
        for group, variables in chains[0].items()
    }


def as_arrays(values: Mapping[str, Tensor]) -> Arrays:
    """Tensors as arrays, floats in double precision."""
    arrays = {name: to_numpy(value) for name, value in values.items()}
    return {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in arrays.items()}


def _computed(model: BoundModel) -> list[str]:
    return [site.name for site in model.sites if site.kind == "deterministic"]


def _deterministic(
    model: BoundModel, values: Mapping[str, Tensor], seed: int
) -> dict[str, Tensor]:
    """What the model computes of its latent sites; not where discrete ones would be drawn too."""
    names = _computed(model)
    if not names or model.discrete:
        return {}
    predicted = predictions(model, values, seed)
    return {name: predicted[name] for name in names}


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
