"""A guide that a user made, as a fit runs it: a copy, of the model as it is tied to its data."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from pyro import poutine
from pyro.contrib.easyguide import EasyGuide
from pyro.infer.autoguide import AutoDiscreteParallel, AutoGuide

from pyrovi.bound import BoundModel, Replaced, replaced_in
from pyrovi.guides.family import hidden
from pyrovi.structure import handled_by_pyro, layers_of

OF_A_MODEL = (AutoGuide, EasyGuide)  # what has a model, of which it is the guide
DROPPED = ("_model", "master")  # attributes, by the guide that is copied


def own_guide(guide: torch.nn.Module, model: BoundModel) -> torch.nn.Module:
    """A copy of a user's guide in the model's dtype; the user's own is as it was.

    Pyro's guides drop their model where they are copied, and so does the one that is copied. In
    the copy each part has its model again, tied to the data, with what is wrapped around it.
    """
    kept = {name: (part, vars(part).copy()) for name, part in _parts(guide)}
    try:
        for part, _ in kept.values():
            part._model = (None,)  # or a model that is a module were copied, too
        made = copy.deepcopy(guide).to(model.dtype)
    finally:
        for part, before in kept.values():
            vars(part).update({key: before[key] for key in DROPPED if key in before})
    for name, part in _parts(made):
        part._model = (_tied(part, kept[name][1]["_model"][0], model),)
    return made


def _parts(guide: torch.nn.Module) -> list[tuple[str, Any]]:
    return [(name, part) for name, part in guide.named_modules() if isinstance(part, OF_A_MODEL)]


def _tied(part: Any, runnable: Callable[..., Any], model: BoundModel) -> Callable[..., Any]:
    """What a part is the guide of, tied to the data, under the handlers that are around it."""
    if isinstance(runnable, partial) and handled_by_pyro(runnable) is not None:
        handler, inner, *given = runnable.args
        tied = _tied(part, inner, model)
        wrapped = tied if isinstance(handler, Replaced) else handler(tied)  # which all have below
        return partial(wrapped, *given, **runnable.keywords)
    *_, innermost = layers_of(model.model)
    module = isinstance(innermost, torch.nn.Module) and type(runnable) is type(innermost)
    own = innermost if module else runnable  # which is a copy of the user's
    for handler, _ in reversed([*replaced_in(model.model)]):
        own = handler(own)  # its priors are those of the model that is fitted
    tied = replace(model, model=own).handled()
    return tied if isinstance(part, AutoDiscreteParallel) else poutine.block(tied, hide_fn=hidden)
