"""What a model computes at one flat vector, part by part: priors, Jacobians, likelihoods."""

from collections import OrderedDict
from math import prod
from typing import Any

import numpy as np
import torch
from opt_einsum import shared_intermediates
from pyro.ops import packed
from pyro.ops.contract import contract_to_tensor
from torch import Tensor

from pyrovi.bound import BoundModel, Trace, batch_shape, vectorised_frames
from pyrovi.density.one_point import OnePoint

MANY_ENUMERATED = 20  # above this, one contraction per observed site costs too much


def explain(point: OnePoint, flat: Tensor, without: frozenset[str]) -> dict[str, Tensor]:
    """See `LogDensity.explain`; the observed sites ``without`` have no pointwise part."""
    trace, place = point.trace(flat)
    if not point.model.discrete:
        trace.compute_log_prob()  # which the log joint then is the sum of
    parts = {
        "log_joint": point.log_joint(trace).double(),
        "log_abs_det": place.log_abs_det.double(),
    }
    for site in point.model.sites:
        if site.name not in trace.nodes:
            continue
        node = trace.nodes[site.name]
        if site.continuous:
            parts[f"value:{site.name}"] = node["value"].reshape(site.shape)
            parts[f"log_prior:{site.name}"] = node["log_prob"].sum().double()
            parts[f"log_abs_det:{site.name}"] = place.by_site[site.name].double()
        if site.kind == "observed" and site.name not in without:
            parts[f"log_likelihood:{site.name}"] = _pointwise(point, trace, site.name).double()
    return parts


def without_pointwise(point: OnePoint) -> dict[str, str]:
    """Observed sites that have no pointwise log likelihood, and why not."""
    model = point.model
    if not model.discrete:
        return _not_by_entry(model)
    if len(model.discrete) > MANY_ENUMERATED:
        why = (
            f"{len(model.discrete)} discrete sites are summed out, too many for a "
            "pointwise log likelihood, so there is none."
        )
        return {site.name: why for site in model.observed}
    plates = {
        site.name: {frame.name for frame in vectorised_frames(point.origin.nodes[site.name])}
        for site in (*model.observed, *model.discrete)
    }
    return {
        site.name: f"The entries of {site.name} share the discrete site {shared[0]}, so it "
        "has no pointwise log likelihood."
        for site in model.observed
        if (shared := [d.name for d in model.discrete if not plates[site.name] <= plates[d.name]])
    }


def _not_by_entry(model: BoundModel) -> dict[str, str]:
    """Sites whose distribution has one density of all that they observe, and says no axes."""
    reasons = {}
    for site in model.observed:
        node = model.prototype.nodes[site.name]
        batch = site.shape[: len(site.shape) - site.event_dim]
        if prod(batch) > batch_shape(node["fn"]).numel():
            with model.running(), torch.no_grad():
                terms = node["fn"].log_prob(node["value"])
            if terms.numel() != prod(batch):
                reasons[site.name] = (
                    f"{site.distribution} has one density of all entries of {site.name}, so it "
                    "has no pointwise log likelihood."
                )
    return reasons


def _pointwise(point: OnePoint, trace: Trace, name: str) -> Tensor:
    """The log likelihood of each entry of one observed site, discrete sites summed out."""
    node = trace.nodes[name]
    shape = point.model.site(name).shape
    batch = shape[: len(shape) - node["fn"].event_dim]
    if point.model.discrete:
        return _masked(_summed_out(point, trace, name), node["mask"]).reshape(batch)
    own = node["unscaled_log_prob"]
    whole = torch.Size(np.broadcast_shapes(own.shape, batch_shape(node["fn"])))
    return _masked(own, node["mask"]).expand(whole).reshape(batch)


def _summed_out(point: OnePoint, trace: Trace, name: str) -> Tensor:
    involved = (*(site.name for site in point.model.discrete), name)
    packs: Any = {n: trace.nodes[n]["packed"]["unscaled_log_prob"] for n in involved}
    # A plate of one has no axis in what is packed, and contracting cannot give it one.
    long = frozenset().union(*(each._pyro_dims for each in packs.values()))
    ordering = {n: point.enumerator.ordering[n] & long for n in involved}
    terms: OrderedDict[Any, list[Tensor]] = OrderedDict()
    for other, pack in packs.items():
        terms.setdefault(ordering[other], []).append(pack)
    with shared_intermediates() as cache:
        value = contract_to_tensor(
            terms, set(point.enumerator._enum_dims), ordering[name], cache=cache
        )
    return packed.unpack(value, trace.symbol_to_dim)


def _masked(value: Tensor, mask: Any) -> Tensor:
    if mask is None or mask is True:
        return value
    return torch.where(torch.as_tensor(mask), value, torch.zeros_like(value))
