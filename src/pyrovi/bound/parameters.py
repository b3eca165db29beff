"""Parameters that a model or guide registers with Pyro, wherever they are kept.

Pyro's parameter store holds what `pyro.param` makes. What `pyro.module` or a `PyroModule`
registers is a parameter of some module of the user's, and Pyro's own inference trains it there.
Here each run of a fit has tensors of its own for all of them, and while a model or a guide runs,
the modules hold these.
"""

import contextlib
import copy
import gc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributions import transform_to

from pyrovi.bound.sites import support_text
from pyrovi.structure import handled_by_pyro


@dataclass(frozen=True)
class Holder:
    """A module that holds a registered parameter, and the attribute that it has there."""

    parameter: str  # its name in Pyro's store
    module: torch.nn.Module
    attribute: str


def holders_of(params: Mapping[str, Tensor]) -> tuple[Holder, ...]:
    """Where parameters are held by modules.

    Pyro's messages bring a parameter, and not whose it is, so every living module is asked.
    """
    names = {id(p): name for name, p in params.items() if isinstance(p, torch.nn.Parameter)}
    if not names:
        return ()
    modules = [each for each in gc.get_objects() if issubclass(type(each), torch.nn.Module)]
    held = [(each, *item) for each in modules for item in vars(each)["_parameters"].items()]
    return tuple(Holder(names[id(p)], each, own) for each, own, p in held if id(p) in names)


def own_copies(params: Mapping[str, Tensor]) -> dict[str, torch.nn.Parameter]:
    """Copies to be learnt, by name; what is one parameter under two names stays one."""
    copies = {id(each): torch.nn.Parameter(each.detach().clone()) for each in params.values()}
    return {name: copies[id(each)] for name, each in params.items()}


@contextlib.contextmanager
def placed(params: Mapping[str, Tensor], holders: tuple[Holder, ...]) -> Iterator[None]:
    """Within this, modules hold ``params``; after it, what they held before."""
    slots: list[tuple[dict[str, Any], str, Tensor]] = [
        (each.module._parameters, each.attribute, params[each.parameter]) for each in holders
    ]
    before = [slot[name] for slot, name, _ in slots]
    try:
        for slot, name, value in slots:
            slot[name] = value
        yield
    finally:
        for (slot, name, _), value in zip(slots, before, strict=True):
            slot[name] = value


def constrained(state: Mapping[str, Any] | None) -> dict[str, Tensor]:
    """The value of each parameter in a state of Pyro's store, inside its support."""
    if state is None:
        return {}
    supports = state["constraints"]
    return {
        name: transform_to(supports[name])(value).detach()
        for name, value in state["params"].items()
    }


def supports_of(state: Mapping[str, Any] | None) -> dict[str, str]:
    """The support of each parameter in a state of Pyro's store, in words."""
    return {} if state is None else {n: support_text(s) for n, s in state["constraints"].items()}


def own_module(model: Callable[..., Any], dtype: torch.dtype) -> Callable[..., Any]:
    """A user's model; where it is a module, under handlers or not, a copy of it in ``dtype``."""
    if isinstance(model, torch.nn.Module):
        return copy.deepcopy(model).to(dtype)
    if not isinstance(model, partial) or handled_by_pyro(model) is None:
        return model
    handler, within, *given = model.args
    own = own_module(within, dtype)
    return model if own is within else partial(handler(own), *given, **model.keywords)
