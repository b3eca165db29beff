"""Run a model once per draw, with given latent values: to predict, and to draw discrete sites.

All draws go through one run, in a plate left of all others, as Pyro's own ``Predictive`` does it;
a draw's log density is then compared with that of a run of its own. A model that cannot be run so
(one that multiplies matrices as if there were one draw, say) is run draw by draw.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import config_enumerate, infer_discrete
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrovi.bound.sites import BoundModel, Trace, Widen
from pyrovi.errors import ModelError
from pyrovi.seeds import isolated

__all__ = ["Values", "carries_draws", "discrete_draws", "predictions", "prior_draws"]

Values = dict[str, Tensor]
ENTRIES_AT_ONCE = 20_000_000  # tensor entries in one run, a bound on memory
AGREEMENT = 1e-6


def predictions(model: BoundModel, values: Mapping[str, Tensor], seed: int) -> Values:
    """Observed and deterministic sites, given latent values of shape ``(draw, *shape)``.

    Observed sites are drawn anew.
    """
    names = [site.name for site in model.sites if site.kind in ("observed", "deterministic")]
    return _each(model, values, names, seed, count=_count(values))


def prior_draws(model: BoundModel, draws: int, seed: int) -> Values:
    """Every latent, deterministic and observed site, drawn from the prior."""
    names = [site.name for site in model.sites if site.kind != "factor"]
    return _each(model, {}, names, seed, count=draws)


def discrete_draws(model: BoundModel, values: Mapping[str, Tensor], seed: int) -> Values:
    """Discrete latent sites, drawn from their posterior given the continuous ones."""
    names = [site.name for site in model.discrete]
    return _each(model, values, names, seed, count=_count(values), given_data=True)


def carries_draws(model: BoundModel) -> bool:
    """Whether one run of the model can hold many draws, in a plate left of all others."""
    nodes = model.prototype.nodes
    rows = {
        site.name: torch.stack([nodes[site.name]["value"].reshape(site.shape)] * 2)
        for site in model.latent
    }
    with model.running(), isolated(0), torch.no_grad():
        return _together(model, rows, [], 2, given_data=bool(model.discrete)) is not None


def _count(values: Mapping[str, Tensor]) -> int:
    return len(next(iter(values.values())))


def _each(
    model: BoundModel,
    values: Mapping[str, Tensor],
    names: list[str],
    seed: int,
    *,
    count: int,
    given_data: bool = False,
) -> Values:
    # Two rows first: where an axis of draws meets another of its own, all rows would fill memory.
    trial = {name: value[:2] for name, value in values.items()}
    with model.running(), isolated(seed), torch.no_grad():
        together = count < 3 or _together(model, trial, names, 2, given_data) is not None
    with model.running(), isolated(seed), torch.no_grad():
        parts = []
        for start in range(0, count, step := _at_once(model, count)):
            rows = {name: value[start : start + step] for name, value in values.items()}
            size = min(step, count - start)
            found = _together(model, rows, names, size, given_data) if together else None
            if found is None:
                together = False
                found = _one_by_one(model, rows, names, size, given_data)
            parts.append(found)
        return {name: torch.cat([part[name] for part in parts]) for name in names}


def _at_once(model: BoundModel, count: int) -> int:
    entries = sum(prod(site.shape) for site in model.sites) + 1
    # An enumerated site gives everything below it one more axis; ten is a usual length.
    entries *= 10 if model.discrete else 1
    return max(1, min(count, ENTRIES_AT_ONCE // entries))


def _together(
    model: BoundModel, rows: Mapping[str, Tensor], names: list[str], size: int, given_data: bool
) -> Values | None:
    """All rows in one run; None if the model cannot be run so, or if that changes its density."""
    depth = model.max_plate_nesting
    padded = {name: _padded(model, name, value, depth) for name, value in rows.items()}

    handled = model.handled(Widen())

    def batched(*args: Any, **kwargs: Any) -> Any:
        with pyro.plate("_draws", size, dim=-1 - depth):
            return handled(*args, **kwargs)

    try:
        trace = _run(model, batched, padded, given_data, first_free=-2 - depth)
        trace.compute_log_prob()
        found = {name: _unpadded(model, name, trace.nodes[name]["value"], size) for name in names}
        for row in (0, size - 1):
            if not _agrees(model, trace, row, size, depth):
                return None
    except (ValueError, RuntimeError, IndexError, AssertionError, KeyError, TypeError):
        return None
    return found


def _one_by_one(
    model: BoundModel, rows: Mapping[str, Tensor], names: list[str], size: int, given_data: bool
) -> Values:
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    for row in range(size):
        own = {name: value[row] for name, value in rows.items()}
        first_free = -1 - model.max_plate_nesting
        trace = _run(model, model.handled(Widen()), own, given_data, first_free=first_free)
        for name in names:
            value = torch.as_tensor(trace.nodes[name]["value"])
            kept[name].append(value.reshape(model.site(name).shape))
    return {name: torch.stack(values) for name, values in kept.items()}


def _run(
    model: BoundModel,
    runnable: Any,
    values: Mapping[str, Tensor],
    given_data: bool,
    *,
    first_free: int,
) -> Trace:
    fixed = _Fix(values)(runnable)
    if given_data:
        handled = infer_discrete(
            config_enumerate(fixed), first_available_dim=first_free, temperature=1
        )
    else:
        handled = _Predict()(fixed)
    return poutine.trace(handled).get_trace(*model.args, **model.kwargs)


class _Fix(Messenger):
    """Give latent sites their values, and leave them latent; and see to improper ones."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"] = self.values[msg["name"]]


class _Predict(Messenger):
    """Draw observed sites anew, as Pyro's ``uncondition`` does, but leave deterministic ones.

    ``uncondition`` draws those too, and a deterministic site inside a plate then gets the plate's
    axis twice.
    """

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] and not msg["infer"].get("_deterministic"):
            msg["is_observed"] = False
            msg["value"] = None


def _padded(model: BoundModel, name: str, value: Tensor, depth: int) -> Tensor:
    """``(draw, *shape)`` to ``(draw, 1, ..., *shape)``: the draws lie left of all plates."""
    node = model.prototype.nodes[name]
    own = tuple(node["value"].shape)
    batch = len(own) - node["fn"].event_dim
    return value.reshape(len(value), *(1,) * (depth - batch), *own)


def _unpadded(model: BoundModel, name: str, value: Any, size: int) -> Tensor:
    """A value of the batched run to ``(draw, *shape)``."""
    shape = model.site(name).shape
    value = torch.as_tensor(value)
    if value.numel() == prod(shape) and size != 1:  # it does not hang on the draw
        return value.reshape(shape).expand(size, *shape)
    if value.dim() and value.shape[0] != size:
        raise ModelError(f"Site {name!r} does not carry the draws first.")
    return value.reshape(size, *shape)


def _agrees(model: BoundModel, trace: Trace, row: int, size: int, depth: int) -> bool:
    """Whether one draw's log density in the batched run is that of a run of its own."""
    own, batched = {}, torch.zeros(())
    for name, node in trace.nodes.items():
        if node["type"] != "sample" or name not in {site.name for site in model.sites}:
            continue
        if model.site(name).kind in ("deterministic", "factor"):
            continue
        own[name] = _unpadded(model, name, node["value"], size)[row]
        terms = node["log_prob"]
        carries = terms.dim() == depth + 1 and terms.shape[0] == size
        batched = batched + (terms[row] if carries else terms).sum()
    shaped = {
        name: value.reshape(model.prototype.nodes[name]["value"].shape)
        for name, value in own.items()
    }
    alone: Trace = poutine.trace(_Fix(shaped)(_Predict()(model.handled(Widen())))).get_trace(
        *model.args, **model.kwargs
    )
    alone.compute_log_prob()
    single = sum((alone.nodes[name]["log_prob"].sum() for name in own), torch.zeros(()))
    return bool(torch.isclose(single, batched, rtol=AGREEMENT, atol=AGREEMENT, equal_nan=True))
