"""NaN in the data: which of it the model itself hides, and whether any reaches the density."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pyrovi.bound.handlers import Fix, InitialValues
from pyrovi.bound.model import BoundModel
from pyrovi.bound.sites import Trace, kind_of, sample_nodes, shown
from pyrovi.bound.uses import CHANGES, Place, with_value
from pyrovi.bound.values import floats_in
from pyrovi.errors import DataError
from pyrovi.seeds import stream

ATTEMPTS = 5  # draws from the prior: at one alone a density may be no number by itself
IN_THE_DENSITY = (
    "in the density of the model. Drop or impute them. What is observed can be left out of the "
    "likelihood by numpy.ma.masked_invalid({0}), or in the model by obs_mask=~torch.isnan({0})."
)
IN_ITS_SLOPE = (
    "in the slope of the model's density: torch.where hides a value, and not its slope. Put a "
    "number in the place of NaN first, by torch.nan_to_num({0})."
)


def gaps_of(model: BoundModel) -> list[tuple[str, Tensor]]:
    """The name of each argument that has NaN, and where it has."""
    return [(str(place[-1]), value.isnan()) for place, value in _with_nan(model)]


def leaving_gaps_out(model: BoundModel) -> BoundModel:
    """The model with values for the NaNs that its own masks hide, whose gradient is then 0.

    Torch multiplies the slope of what a mask hides by 0, and NaN times 0 is NaN.
    """
    closes_over_its_data = not (model.args or model.kwargs)
    if not (closes_over_its_data or gaps_of(model)):
        return model
    # A model that cannot be run says so later on.
    with contextlib.suppress(*CHANGES):
        trace = model.trace(InitialValues(), seed=stream(0, "gaps"))
        hidden = dict(_hidden(trace))
        fills = {name: _fill(trace.nodes[name], gaps) for name, gaps in hidden.items()}
        return replace(model, missing=hidden, fills=fills)
    return model


def check_gaps(model: BoundModel) -> None:
    """Raise a `DataError` if NaN of the data reaches the density, or its gradient."""
    gaps = dict(_with_nan(model))
    where = _reached(model) if gaps else ""
    if where:
        alone = (place for place in gaps if _reached(_others_filled(model, place)))
        place = next(alone, next(iter(gaps)))
        raise _refusal(str(place[-1]), gaps[place].isnan(), where)


def gap_error(model: BoundModel) -> DataError | None:
    """The error for the first argument that has NaN; None where none has."""
    return next((_refusal(name, gaps) for name, gaps in gaps_of(model)), None)


def _refusal(name: str, gaps: Tensor, where: str = IN_THE_DENSITY) -> DataError:
    first = tuple(gaps.nonzero()[0].tolist())
    index = first[0] if len(first) == 1 else first
    return DataError(
        f"{name}: expected finite values, and {int(gaps.sum())} NaN(s) came, the first at index "
        f"{index}, and come up {where.format(name)}"
    )


def _with_nan(model: BoundModel) -> Iterator[tuple[Place, Tensor]]:
    """Every argument, or item of one that is a dict, with NaN in it."""
    for name, value in (*enumerate(model.args), *model.kwargs.items()):
        whole = isinstance(value, Mapping)
        for key, each in floats_in(value if whole else {name: value}):
            if each.isnan().any():
                yield (name, key) if whole else (name,), each


def _hidden(trace: Trace) -> Iterator[tuple[str, Tensor]]:
    """Where the values of observed sites are NaN, of sites all of whose NaNs are hidden."""
    for node in sample_nodes(trace):
        value = node["value"]
        if kind_of(node) != "observed" or not isinstance(value, Tensor):
            continue
        gaps = value.isnan()
        if gaps.any() and not (gaps.numpy() & shown(node, tuple(value.shape))).any():
            yield node["name"], gaps


def _fill(node: Any, gaps: Tensor) -> Tensor:
    """One event that was seen whole, or is drawn where there is none."""
    fn, value = node["fn"], node["value"]
    shape = value.shape[value.dim() - fn.event_dim :]
    events, partly = value.reshape(-1, *shape), gaps.reshape(-1, max(1, shape.numel())).any(1)
    seen = events[~partly]
    return seen[0] if len(seen) else fn().detach().reshape(-1, *shape)[0]


def _reached(model: BoundModel) -> str:
    """Where NaN comes up wherever the density is tried; empty where it does not."""
    found = [_nan_in(model, stream(0, "gaps", attempt)) for attempt in range(ATTEMPTS)]
    return found[0] if all(found) else ""


def _nan_in(model: BoundModel, seed: int) -> str:
    drawn = model.trace(InitialValues(), seed=seed)
    values = {site.name: drawn.nodes[site.name]["value"].detach() for site in model.discrete}
    latent = {
        site.name: drawn.nodes[site.name]["value"].detach().clone().requires_grad_()
        for site in model.latent
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pyro's, of NaN
        total = model.trace(Fix({**values, **latent}), seed=seed).log_prob_sum()
    if total.isnan() or not total.requires_grad:
        return IN_THE_DENSITY if total.isnan() else ""
    slopes = torch.autograd.grad(total, list(latent.values()), allow_unused=True)
    return IN_ITS_SLOPE if any(each.isnan().any() for each in slopes if each is not None) else ""


def _others_filled(model: BoundModel, place: Place) -> BoundModel:
    """The model with NaN in one argument alone."""
    for other, value in _with_nan(model):
        if other != place:
            model = with_value(model, other, value.nan_to_num(float(value.nanmean())))
    return model
