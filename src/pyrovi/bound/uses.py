"""What of its arguments a model uses: found out by changing them, at one value of its latents.

An argument counts as used if any change of it, of its values or of its length, changes the density
of a site, what a site computes, or whether the model runs at all. Of what a site observes the
values must, since a length says nothing where the density has no weight.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from pyro.poutine.condition_messenger import ConditionMessenger
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrovi.bound.handlers import Fix, Give
from pyrovi.bound.model import BoundModel
from pyrovi.bound.sites import is_masked, kind_of, sample_nodes
from pyrovi.errors import PyroviError
from pyrovi.seeds import stream
from pyrovi.structure import layers_of

CHANGES = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)
Place = tuple[Any, ...]  # an argument, by position or by name; and its item, where it is a dict


def unused_arguments(model: BoundModel) -> list[str]:
    """The names of tensors that were given, on which no site of the model depends."""
    # On many data a run costs as much as a fit; of what a site observes it would tell nothing.
    tensors = {
        place: value
        for place, value in _tensors(model)
        if not any(map(_has_weight, _observers(model, value)))
    }
    if not tensors:
        return []
    latent = [site.name for site in (*model.latent, *model.discrete)]
    try:
        fixed = Fix({name: model.prototype.nodes[name]["value"] for name in latent})
        asked = _sites(model, fixed)
    except CHANGES:  # at these latents nothing can be told
        return []
    return [str(p[-1]) for p, v in tensors.items() if not _matters(model, fixed, asked, p, v)]


def fixed_for_others(model: BoundModel) -> list[str]:
    """The sites that `pyro.condition` gives a value, and on which other observed sites hang.

    They are what the model is conditioned on, and no outcomes of it, as its other data are.
    """
    given = _conditioned(model.model) & {site.name for site in model.observed}
    if not given:
        return []
    nodes = model.prototype.nodes
    latent = Fix(
        {site.name: nodes[site.name]["value"] for site in (*model.latent, *model.discrete)}
    )
    asked = _sites(model, latent)
    return [name for name in sorted(given) if _leads(model, latent, asked, name)]


def _conditioned(model: Callable[..., Any]) -> set[str]:
    """The names that handlers around a model give values to."""
    names: set[str] = set()
    for layer in layers_of(model):
        handler = layer.args[0] if isinstance(layer, partial) and layer.args else None
        if isinstance(handler, ConditionMessenger):
            given = handler.data
            names |= set(given if isinstance(given, Mapping) else given.nodes)
    return names


def _leads(model: BoundModel, latent: Fix, asked: dict[str, Tensor], name: str) -> bool:
    """Whether another value of a site changes another one."""
    other = torch.as_tensor(model.prototype.nodes[name]["value"]) + 1
    try:
        came = _sites(model, Give({name: other}), latent)
    except (*CHANGES, PyroviError):
        return True
    return any(not _same(came[n], asked[n]) for n in asked if n != name and n in came)


def _tensors(model: BoundModel) -> Iterator[tuple[Place, Tensor]]:
    """Every tensor that the model is called with, and where."""
    for name, value in (*enumerate(model.args), *model.kwargs.items()):
        if isinstance(value, Tensor):
            yield (name,), value
        elif isinstance(value, Mapping):
            yield from (((name, key), v) for key, v in value.items() if isinstance(v, Tensor))


def _matters(
    model: BoundModel, fixed: Fix, asked: dict[str, Tensor], place: Place, value: Tensor
) -> bool:
    lengths = () if _observers(model, value) else _shorter(value)
    for other in chain(_in_place(value), lengths):
        try:
            came = _sites(with_value(model, place, other), fixed)
        except (*CHANGES, PyroviError):
            return True
        if came.keys() != asked.keys() or not all(_same(came[n], asked[n]) for n in asked):
            return True
    return False


def _observers(model: BoundModel, value: Tensor) -> list[Any]:
    """The sites that observe these very values."""
    observed = [node for node in sample_nodes(model.prototype) if node["is_observed"]]
    return [
        n for n in observed if isinstance(n["value"], Tensor) and torch.equal(n["value"], value)
    ]


def _has_weight(node: Any) -> bool:
    """Whether nothing can hide a site's values from the density."""
    return node["mask"] is None and not is_masked(node["fn"])


def _in_place(value: Tensor) -> Iterator[Tensor]:
    """The same values in another order, and other values."""
    yield value.flatten().roll(1).reshape(value.shape)
    if value.dtype is torch.bool:
        yield ~value
    elif value.is_floating_point():
        generator = torch.Generator().manual_seed(stream(0, "other values"))
        yield value + torch.rand(value.shape, generator=generator).to(value) + 0.5
    else:
        yield value + torch.arange(value.numel()).reshape(value.shape) % 2 + 1


def _shorter(value: Tensor) -> Iterator[Tensor]:
    if value.dim() and len(value) > 1:
        yield value[:-1]


def with_value(model: BoundModel, place: Place, value: Tensor) -> BoundModel:
    """The model with another value of one argument."""
    name, *item = place
    args, kwargs = list(model.args), dict(model.kwargs)
    holder: Any = args if isinstance(name, int) else kwargs
    holder[name] = {**holder[name], item[0]: value} if item else value
    return replace(model, args=tuple(args), kwargs=kwargs, rows={})  # which may hang on it


def _sites(model: BoundModel, *handlers: Messenger) -> dict[str, Tensor]:
    """The log density of each site, and the value of what is computed of others."""
    trace = model.trace(*handlers, seed=0)
    trace.compute_log_prob()
    return {
        node["name"]: torch.as_tensor(
            node["value"] if kind_of(node) == "deterministic" else node["log_prob"]
        ).detach()
        for node in sample_nodes(trace)
    }


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
