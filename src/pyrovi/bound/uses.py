"""What of its arguments a model uses: found out by changing them, at one value of its latents.

An argument counts as used if any change of it, of its values or of its length, changes the density
of a site, what a site computes, or whether the model runs at all. Of what a site observes the
values must, since a length says nothing where the density has no weight.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from pyrovi.bound.handlers import Fix
from pyrovi.bound.model import BoundModel
from pyrovi.bound.sites import kind_of, sample_nodes
from pyrovi.errors import PyroviError
from pyrovi.seeds import stream

CHANGES = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)
Place = tuple[Any, ...]  # an argument, by position or by name; and its item, where it is a dict


def unused_arguments(model: BoundModel) -> list[str]:
    """The names of tensors that were given, on which no site of the model depends."""
    tensors = dict(_tensors(model))
    if not tensors:
        return []
    latent = [site.name for site in (*model.latent, *model.discrete)]
    try:
        fixed = Fix({name: model.prototype.nodes[name]["value"] for name in latent})
        asked = _sites(model, fixed)
    except CHANGES:  # at these latents nothing can be told
        return []
    return [str(p[-1]) for p, v in tensors.items() if not _matters(model, fixed, asked, p, v)]


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
    lengths = () if _is_observed(model, value) else _shorter(value)
    for other in chain(_in_place(value), lengths):
        try:
            came = _sites(_with(model, place, other), fixed)
        except (*CHANGES, PyroviError):
            return True
        if came.keys() != asked.keys() or not all(_same(came[n], asked[n]) for n in asked):
            return True
    return False


def _is_observed(model: BoundModel, value: Tensor) -> bool:
    """Whether some site observes this very tensor, whole."""
    observed = (n["value"] for n in sample_nodes(model.prototype) if n["is_observed"])
    return any(
        isinstance(each, Tensor)
        and each.shape == value.shape
        and each.data_ptr() == value.data_ptr()
        for each in observed
    )


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


def _with(model: BoundModel, place: Place, value: Tensor) -> BoundModel:
    """The model with another value of one argument."""
    name, *item = place
    args, kwargs = list(model.args), dict(model.kwargs)
    holder: Any = args if isinstance(name, int) else kwargs
    holder[name] = {**holder[name], item[0]: value} if item else value
    return replace(model, args=tuple(args), kwargs=kwargs)


def _sites(model: BoundModel, fixed: Fix) -> dict[str, Tensor]:
    """The log density of each site, and the value of what is computed of others."""
    trace = model.trace(fixed, seed=0)
    trace.compute_log_prob()
    return {
        node["name"]: torch.as_tensor(
            node["value"] if kind_of(node) == "deterministic" else node["log_prob"]
        ).detach()
        for node in sample_nodes(trace)
    }


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
