"""`draw`: from a fit to the grown tree, in ArviZ's schema.

The posterior of continuous sites comes from the approximation; discrete sites are drawn from
their conditional posterior given those, not from the prior; observed sites are predicted; and the
log likelihood is pointwise, with discrete sites summed out. Where a model declares that the
indices of a plate may be exchanged, draws and chains are relabelled to agree with one another.
"""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from math import prod
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from pyrovi.approximations import Draws, Resampled
from pyrovi.bound import BoundModel, Site, discrete_draws, predictions, prior_draws, to_numpy
from pyrovi.density import LogDensity, fitting_threads
from pyrovi.errors import DataError, EngineError
from pyrovi.evidence import threshold
from pyrovi.infer import Fit, Rung, Status, importance_khat, judge, send_out
from pyrovi.seeds import stream
from pyrovi.structure import Exchangeable
from pyrovi.tree import ACCEPTANCE, DISCREPANCIES, DRAWS, data_tree, grow, safe_name

__all__ = ["draw"]

Arrays = dict[str, np.ndarray]
PACKAGES = ("pyrovi", "torch", "pyro-ppl", "arviz-base", "arviz-stats", "xarray", "numpy")
PRIOR_DRAWS = 500
FEWEST_PRIOR_DRAWS = 50
PRIOR_ENTRIES = 20_000_000  # numbers in all prior draws together, where there are more than those
MIN_JUDGED = 200  # draws, fewer of which are not worth a judgement
RELABELLING_ROUNDS = 5
FAR = 10.0  # interquartile ranges; features beyond it are taken to be there


def draw(fit: Fit, draws: int = 2000, *, resample: bool = False) -> xr.DataTree:
    """Draw from a fit, and grow its data into the tree that the later stages read.

    Args:
        fit: What `pyrovi.fit` found.
        draws: How many draws of each chain; a chain is a restart that reached the best bound.
        resample: Whether to resample the draws by their importance weights, which moves them from
            the approximation towards the posterior where the weights' tail is light.

    Returns:
        The data's groups, and ``posterior``, ``posterior_predictive``, ``log_likelihood``,
        ``log_prior``, ``sample_stats``, and, where the prior is proper, ``prior`` and
        ``prior_predictive``, and the ``discrepancies`` that the model declares. See `pyrovi.tree`.

    Raises:
        FitError: If every run of the fit diverged.
        EngineError: If ``draws`` is not a positive whole number, or if the draws are to be
            resampled and their weights are too uneven (k-hat), or they have none.
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise EngineError(f"draws must be a whole number from 1, and {draws!r} came.")
    with fitting_threads(fit.density):
        return _grown(fit, draws, resample=resample)


def _grown(fit: Fit, draws: int, *, resample: bool) -> xr.DataTree:
    model = fit.density.model
    drawn = _even(_resampled(fit, draws) if resample else fit.draw(draws))
    chains = [
        _chain(fit.densities[index], each, stream(fit.seed, "chain", chain))
        for chain, (index, each) in enumerate(zip(fit.kept, drawn, strict=True))
    ]
    stacked = _stack_chains(chains) | _drift(fit, drawn)
    notes = list(fit.notes)
    for symmetry in model.structure.exchangeable:
        stacked = _relabelled(stacked, model, symmetry)
    groups = _draw_groups(model, stacked)
    prior, prior_notes = _prior_groups(model, fit.seed)
    groups |= prior
    groups["sample_stats"] = _sample_stats(fit, stacked, notes + prior_notes)
    tree = grow(_data(fit, model), **groups)
    return grow(tree, **_discrepancies(tree, model, stream(fit.seed, "discrepancies")))


def _resampled(fit: Fit, draws: int) -> list[Draws]:
    """Draws of each chain, resampled by their weights.

    Raises:
        EngineError: If the weights of a chain are too uneven, or there are none.
    """
    found = []
    for chain, (index, each) in enumerate(zip(fit.kept, fit.approximations(), strict=True)):
        density = fit.densities[index]
        k = importance_khat(density, each.draw(draws, stream(fit.seed, "weigh", chain)))
        if not k <= threshold(draws):
            raise EngineError(
                f"The draws of {fit.method} cannot be resampled: their importance weights "
                + ("are not known" if np.isnan(k) else f"have k-hat {k:.2f}")
                + f", and at most {threshold(draws):.2f} is asked of {draws} draws. Fit with "
                "engine='auto', or a richer guide."
            )
        found.append(Resampled(density, each).draw(draws, stream(fit.seed, "draw", chain)))
    return found


def _discrepancies(tree: xr.DataTree, model: BoundModel, seed: int) -> dict[str, xr.Dataset]:
    """The statistics that the model declares, as a group; none of data without what they read."""
    declared = model.structure.discrepancies
    if declared is None:
        return {}
    try:
        found = declared(tree, model.model, seed)
    except DataError:
        return {}
    shortest = min(len(each.replicated) for each in found.values())
    dims = ("statistic", "replication")
    both = {
        name: (dims, np.stack([getattr(each, name)[:shortest] for each in found.values()]))
        for name in ("data", "replicated")
    }
    said = {
        name: ("statistic", [getattr(each, name) for each in found.values()])
        for name in ("smaller", "larger")
    }
    return {DISCREPANCIES: xr.Dataset(both | said, {"statistic": list(found)})}


# One chain


def _chain(density: LogDensity, drawn: Draws, seed: int) -> dict[str, Arrays]:
    """Every array of one chain, by group, with the draw first."""
    model = density.model
    found = {key: value.detach() for key, value in density.explain(drawn.flat).items()}
    values = {site.name: found[f"value:{site.name}"] for site in model.latent}
    discrete = discrete_draws(model, values, stream(seed, "discrete")) if model.discrete else {}
    latent = values | discrete
    predicted = predictions(model, latent, stream(seed, "predict"))
    deterministic = {name: predicted.pop(name) for name in _computed(model)}
    return {
        "posterior": _arrays(latent | deterministic),
        "unconstrained_posterior": _arrays(_pieces(density, drawn.flat)),
        "posterior_predictive": _arrays(predicted),
        "log_likelihood": _arrays(_prefixed(found, "log_likelihood")),
        "log_prior": _arrays(_prefixed(found, "log_prior")),
        "log_guide": _arrays(_by_site(drawn, found)),
        "sample_stats": _arrays(_log_densities(drawn, found)),
    }


def _drift(fit: Fit, drawn: list[Draws]) -> dict[str, Arrays]:
    """Where short Markov chains went from some draws, unless the weights alone could tell."""
    if len(drawn[0].flat) < MIN_JUDGED:
        return {}
    found = []
    for chain, (index, each) in enumerate(zip(fit.kept, drawn, strict=True)):
        known = fit.restarts[index].judgement
        seed = stream(fit.seed, "drift", chain)
        found.append(judge(fit.densities[index], each, seed, known.chains if known else None))
    if all(each.chains is None for each in found):
        return {}
    states = []
    for index, each, judged in zip(fit.kept, drawn, found, strict=True):
        density = fit.densities[index]
        chains = judged.chains or send_out(density, each, stream(fit.seed, "drift", index))
        path = torch.cat([chains.start[:, None], chains.states], dim=1)
        values = density.constrain(path.flatten(0, 1))
        values |= _deterministic(density.model, values, stream(fit.seed, "drift", index))
        count = path.shape[:2]
        states.append(
            {name: value.reshape(*count, *value.shape[1:]) for name, value in values.items()}
            | {ACCEPTANCE: chains.acceptance}
        )
    return _stack_chains([{"drift": _arrays(each)} for each in states])


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


def _pieces(density: LogDensity, flat: Tensor) -> dict[str, Tensor]:
    return {
        piece.site: flat[:, piece.start : piece.stop].reshape(len(flat), *piece.shape)
        for piece in density.pieces
    }


def _prefixed(found: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(f"{prefix}:"): value
        for key, value in found.items()
        if key.startswith(f"{prefix}:")
    }


def _by_site(drawn: Draws, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each site's log density under the approximation, in the constrained space."""
    if drawn.by_site is None:
        return {}
    return {name: value - found[f"log_abs_det:{name}"] for name, value in drawn.by_site.items()}


def _log_densities(drawn: Draws, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    stats = {"log_joint": found["log_joint"], **drawn.stats}
    if drawn.log_guide is not None:
        stats["log_guide"] = drawn.log_guide - found["log_abs_det"]
    return stats


def _arrays(values: Mapping[str, Tensor]) -> Arrays:
    return {name: _float64(to_numpy(value)) for name, value in values.items()}


def _float64(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _even(chains: list[Draws]) -> list[Draws]:
    """Chains of a sampler that was stopped may differ in length; the shortest counts."""
    shortest = min(len(each.flat) for each in chains)
    return [each if len(each.flat) == shortest else _last(each, shortest) for each in chains]


def _last(drawn: Draws, count: int) -> Draws:
    stats = {name: values[-count:] for name, values in drawn.stats.items()}
    return Draws(drawn.flat[-count:], stats=stats)


def _stack_chains(chains: list[dict[str, Arrays]]) -> dict[str, Arrays]:
    return {
        group: {name: np.stack([chain[group][name] for chain in chains]) for name in variables}
        for group, variables in chains[0].items()
    }


# Labels that have no meaning of their own


def _relabelled(
    stacked: dict[str, Arrays], model: BoundModel, symmetry: Exchangeable
) -> dict[str, Arrays]:
    """Permute one plate's indices, draw by draw, so that all draws speak of the same components.

    Each draw is matched to the running mean of those already matched, by the permutation with
    the least squared distance (Stephens 2000, https://doi.org/10.1111/1467-9868.00265).
    """
    posterior = stacked["posterior"]
    axes = {
        site.name: site.dims.index(symmetry.plate)
        for site in model.sites
        if site.name in posterior and symmetry.plate in site.dims
    }
    # By what is latent alone: the states that chains went to hold nothing that is computed.
    latent = {site.name: axes[site.name] for site in model.latent if site.name in axes}
    if not latent:
        return stacked
    shape = next(iter(posterior.values())).shape[:2]
    scale = _scale(posterior, latent)
    features = _features(posterior, latent, scale)
    start = int(stacked["sample_stats"]["log_joint"].argmax())
    reference, order = _matching(features, start)
    moved = _permuted(posterior, order, axes)
    ranks = np.argsort(order, axis=-1).reshape(*shape, -1)
    for label in symmetry.labels:
        if label in moved:
            chain, place = np.indices(shape)
            extra = (1,) * (moved[label].ndim - 2)
            index = (chain.reshape(*shape, *extra), place.reshape(*shape, *extra), moved[label])
            moved[label] = ranks[index]
    groups = stacked | {"posterior": moved, "unconstrained_posterior": {}}
    if "drift" not in stacked:
        return groups
    # The axes of a state stand behind the chain's and the draw's; here they are one.
    drift, sizes = stacked["drift"], stacked["drift"][ACCEPTANCE].shape
    flat = {name: _merged(value) for name, value in drift.items() if name in axes}
    order = _assigned(_features(flat, latent, scale), reference)
    back = {
        name: value.reshape(*sizes, -1, *value.shape[2:])
        for name, value in _permuted(flat, order, axes).items()
    }
    return groups | {"drift": drift | back}


def _merged(value: np.ndarray) -> np.ndarray:
    """``(chain, draw, state, ...)`` as ``(chain, draw * state, ...)``."""
    return value.reshape(value.shape[0], -1, *value.shape[3:])


def _permuted(values: Arrays, order: np.ndarray, axes: Mapping[str, int]) -> Arrays:
    return {
        name: _permute(value, order, axes[name]) if name in axes else value
        for name, value in values.items()
    }


def _columns(posterior: Arrays, axes: Mapping[str, int]) -> np.ndarray:
    """What tells components apart: ``(draw, component, feature)``."""
    columns = []
    for name, axis in axes.items():
        if name not in posterior or not np.issubdtype(posterior[name].dtype, np.floating):
            continue
        value = np.moveaxis(posterior[name], 2 + axis, 2)
        columns.append(value.reshape(value.shape[0] * value.shape[1], value.shape[2], -1))
    return np.concatenate(columns, axis=-1)


def _scale(posterior: Arrays, axes: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """The middle and the width of each feature, by quartiles: a few wild draws decide nothing."""
    low, middle, high = np.quantile(_columns(posterior, axes), [0.25, 0.5, 0.75], axis=(0, 1))
    return middle, high - low + 1e-12


def _features(
    posterior: Arrays, axes: Mapping[str, int], scale: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """What tells components apart, each on its own scale and bounded."""
    middle, width = scale
    return np.clip((_columns(posterior, axes) - middle) / width, -FAR, FAR)


def _matching(features: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """The running mean of matched components, and which of each draw's stands at each place."""
    count = features.shape[1]
    first = features[start]
    reference = first[np.lexsort(first.T[::-1])]  # by the first feature, so that places are stable
    order = np.tile(np.arange(count), (len(features), 1))
    for _ in range(RELABELLING_ROUNDS):
        found = _assigned(features, reference)
        if np.array_equal(found, order):
            break
        order = found
        reference = np.take_along_axis(features, order[..., None], axis=1).mean(0)
    return reference, order


def _assigned(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Which component of each draw is nearest to each of the reference, one to one."""
    cost = np.square(reference[None, :, None] - features[:, None]).sum(-1)
    return np.stack([linear_sum_assignment(each)[1] for each in cost])


def _permute(value: np.ndarray, order: np.ndarray, axis: int) -> np.ndarray:
    moved = np.moveaxis(value, 2 + axis, 2)
    index = order.reshape(*value.shape[:2], -1, *(1,) * (moved.ndim - 3))
    return np.moveaxis(np.take_along_axis(moved, index, axis=2), 2, 2 + axis)


# Groups


def _draw_groups(model: BoundModel, stacked: dict[str, Arrays]) -> dict[str, xr.Dataset]:
    scalars = ("log_prior", "log_guide", "sample_stats", "unconstrained_posterior")
    in_units = ("posterior", "posterior_predictive")
    return {
        group: _dataset(
            model,
            variables,
            scalar=group in scalars,
            extra=EXTRA.get(group, ()),
            units=model.structure.units if group in in_units else None,
        )
        for group, variables in stacked.items()
        if variables and group != "sample_stats"
    }


EXTRA = {"drift": ("state",)}  # dims between the draw's and the site's own


def _dataset(
    model: BoundModel,
    variables: Arrays,
    *,
    scalar: bool = False,
    extra: tuple[str, ...] = (),
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    built: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for name, value in variables.items():
        if name == ACCEPTANCE:
            built[name] = (("chain", "draw"), value)
            continue
        own = _dims(model, name, value.ndim - 2 - len(extra), scalar=scalar)
        dims = [*extra, *own]
        attrs = {"units": units[name]} if units and name in units else None
        built[safe_name(name)] = (("chain", "draw", *dims), value, attrs)
        for dim, length in zip(dims, value.shape[2:], strict=True):
            coords[dim] = _labels(model, dim, length)
    first = next(iter(variables.values()))
    coords |= {"chain": np.arange(first.shape[0]), "draw": np.arange(first.shape[1])}
    return xr.Dataset(built, coords)


def _dims(model: BoundModel, name: str, count: int, *, scalar: bool) -> list[str]:
    """The dims of a site, or of its log likelihood, which has no event axes."""
    if scalar:
        return [f"{safe_name(name)}_dim_{i}" for i in range(count)]
    return [safe_name(dim) for dim in model.site(name).dims[:count]]


def _labels(model: BoundModel, dim: str, length: int) -> np.ndarray:
    known = model.coords.get(dim)
    return known if known is not None and len(known) == length else np.arange(length)


def _prior_groups(model: BoundModel, seed: int) -> tuple[dict[str, xr.Dataset], list[str]]:
    improper = [site.name for site in model.latent if site.improper]
    if improper:
        names = ", ".join(improper)
        return {}, [f"The prior of {names} is improper: it cannot be drawn from, so is left out."]
    try:
        each = sum(prod(site.shape) for site in model.sites)
        count = max(FEWEST_PRIOR_DRAWS, min(PRIOR_DRAWS, PRIOR_ENTRIES // max(each, 1)))
        found = _arrays(prior_draws(model, count, stream(seed, "prior")))
    except (ValueError, RuntimeError, NotImplementedError) as error:
        reason = str(error.__cause__ or error).split("\n")[0]
        return {}, [f"The prior could not be drawn from ({reason}): there is no prior group."]
    observed = {site.name for site in model.observed}
    parts = {
        "prior": {n: v[None] for n, v in found.items() if n not in observed},
        "prior_predictive": {n: v[None] for n, v in found.items() if n in observed},
    }
    return {group: _dataset(model, part) for group, part in parts.items() if part}, []


def _sample_stats(fit: Fit, stacked: dict[str, Arrays], notes: list[str]) -> xr.Dataset:
    kept = [fit.restarts[index] for index in fit.kept]
    steps = max(len(each.loss) for each in kept)
    loss = np.full((len(kept), steps), np.nan)
    for row, each in zip(loss, kept, strict=True):
        row[: len(each.loss)] = each.loss
    dims = ("chain", "draw")
    variables: dict[str, Any] = {
        name: (dims, value) for name, value in stacked["sample_stats"].items()
    }
    variables |= {
        "loss": (("chain", "step"), loss),
        "status": ("chain", np.array([each.status.value for each in kept])),
        "seconds": ("chain", np.array([each.seconds for each in kept])),
        "restart_index": ("chain", np.array(fit.kept)),
        "restart_status": ("restart", np.array([each.status.value for each in fit.restarts])),
        "restart_elbo": (
            "restart",
            np.array([b.value if b is not None else np.nan for b in fit.bounds]),
        ),
    }
    errors = [each.errors for each in kept]
    if all(each is not None for each in errors):
        found = np.stack([to_numpy(each) for each in errors])
        variables["optimum_error"] = (("chain", "latent"), found)
        variables["latent"] = ("latent", fit.density.labels())
    return xr.Dataset(variables, attrs=_record(fit, notes))


def _record(fit: Fit, notes: list[str]) -> dict[str, Any]:
    worst = [s for s in Status if any(fit.restarts[i].status is s for i in fit.kept)][-1]
    return {
        "model": fit.model.name,
        "engine": fit.method,
        "rungs": json.dumps([_rung_record(rung) for rung in fit.rungs]),
        "engine_reason": fit.engine_reason,
        "status": worst.value,
        "why": fit.restarts[fit.kept[0]].why,
        "seed": fit.seed,
        DRAWS: fit.approximations()[0].draw_kind,
        "seconds_total": fit.seconds,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": json.dumps(_versions()),
        "notes": json.dumps(list(dict.fromkeys(notes))),
        "sites": json.dumps([_site_record(site) for site in fit.model.sites]),
    }


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def _rung_record(rung: Rung) -> dict[str, Any]:
    """A rung as JSON, which has no NaN."""
    return {key: None if value != value else value for key, value in asdict(rung).items()}  # noqa: PLR0124


def _site_record(site: Site) -> dict[str, Any]:
    return {
        "name": site.name,
        "kind": site.kind,
        "distribution": site.distribution,
        "shape": list(site.shape),
        "dims": list(site.dims),
        "support": site.support,
        "discrete": site.discrete,
        "subsampled": site.subsampled,
        "improper": site.improper,
    }


def _data(fit: Fit, model: BoundModel) -> xr.DataTree:
    """The data as they were fitted: what was observed, by site, and the other arguments."""
    trace = model.prototype
    observed: dict[str, Any] = {}
    for site in model.observed:
        value = trace.nodes[site.name]["value"]
        array = to_numpy(value).reshape(site.shape)
        if site.name in model.missing:
            array = np.where(to_numpy(model.missing[site.name]).reshape(site.shape), np.nan, array)
        observed[safe_name(site.name)] = ([safe_name(dim) for dim in site.dims], array)
    constant = {
        name: _constant(fit, model, name, value)
        for name, value in fit.arguments.kwargs.items()
        if _is_data(value) and not _was_observed(name, value, observed)
    }
    dims = {dim for dims, _ in (*observed.values(), *constant.values()) for dim in dims}
    units = {name: {"units": unit} for name, unit in fit.arguments.units.items()}
    coords = {
        dim: (dim, label, units.get(dim)) for dim, label in model.coords.items() if dim in dims
    }
    tree = data_tree(
        {name: (*value, units.get(name)) for name, value in observed.items()},
        {name: (*value, units.get(name)) for name, value in constant.items()} or None,
        coords,
    )
    truth = fit.arguments.truth
    return tree if truth is None else grow(tree, truth=truth)


def _was_observed(name: str, value: Any, observed: Mapping[str, Any]) -> bool:
    """Whether an argument is what a site observed: it may have been cast, or indexed whole."""
    if safe_name(name) in observed:
        return True
    return isinstance(value, Tensor) and any(
        value.shape == array.shape and np.allclose(to_numpy(value), array, rtol=1e-6)
        for _, array in observed.values()
    )


def _is_data(value: Any) -> bool:
    return isinstance(value, Tensor | int | float)


def _constant(
    fit: Fit, model: BoundModel, name: str, value: Any
) -> tuple[tuple[str, ...], np.ndarray]:
    array = to_numpy(value)
    known = fit.arguments.dims.get(name)
    if known is not None:
        return known, array
    sizes = {plate.size: plate.name for plate in model.plates.values()}
    dims = [safe_name(sizes.get(n, f"{name}_dim_{i}")) for i, n in enumerate(array.shape)]
    unique = len(set(dims)) == len(dims)
    return tuple(dims) if unique else tuple(f"{name}_dim_{i}" for i in range(array.ndim)), array
