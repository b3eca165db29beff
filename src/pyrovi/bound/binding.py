"""Tie a model to its arguments: run it once, read its sites, check the data against them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from pyrovi.bound.arguments import Arguments
from pyrovi.bound.first_run import first_run, initial_parameters
from pyrovi.bound.model import BoundModel
from pyrovi.bound.pyro_patches import own_module
from pyrovi.bound.sites import Trace, kind_of, plates_of, sample_nodes, sites_of
from pyrovi.errors import DataError, ModelError


def bind_model(model: Callable[..., Any], arguments: Arguments) -> BoundModel:
    """Tie a model to the arguments that `bind` made of data, and read its sites.

    The model computes in float64. One that closes over float32 tensors of its own, and so cannot,
    computes in float32, and a note says so.

    Args:
        model: Any Pyro callable.
        arguments: What it is called with, and the labels that came along.

    Raises:
        ModelError: If the model has no latent sites, or cannot be run.
        DataError: If the data do not fit the model's sites.
    """
    if not callable(model):
        raise ModelError(
            f"Expected a Pyro model, a callable, and {type(model).__name__} came. "
            "Pass the function itself, or a name from the zoo through pyrovi.models.get."
        )
    if isinstance(model, torch.nn.Module):
        model = own_module(model, torch.float64)
    candidate = BoundModel(model, arguments.args, dict(arguments.kwargs))
    candidate, trace = first_run(candidate)
    _check_observations(trace, candidate.kwargs)
    plates, labels = plates_of(trace), _labels(trace, candidate.kwargs, arguments.dims)
    bound = replace(
        candidate,
        sites=sites_of(trace, plates, labels, candidate.structure.dims),
        plates=plates,
        missing=_missing_sites(trace, candidate.kwargs, arguments.missing),
        parameters=any(node["type"] == "param" for node in trace.nodes.values()),
    )
    _check_latent(bound)
    if bound.parameters:
        return replace(bound, params=initial_parameters(bound))
    if not (bound.missing or bound.subsampled):
        # A second run would tell no more, and on many data it costs as much as a fit.
        bound.__dict__["prototype"] = trace
    return bound


def _labels(
    trace: Trace, kwargs: Mapping[str, Any], dims: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """The names that labelled data gave to the axes of the sites that observe them."""
    return {
        node["name"]: dims[name]
        for node in sample_nodes(trace)
        for name in _observed_arguments(node, kwargs)
        if name in dims
    }


def _observed_arguments(node: Any, kwargs: Mapping[str, Any]) -> list[str]:
    value = node["value"]
    if not (node["is_observed"] and isinstance(value, Tensor)):
        return []
    tensors = {name: each for name, each in kwargs.items() if isinstance(each, Tensor)}
    return [name for name, each in tensors.items() if each is value or _same_storage(each, value)]


def _same_storage(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.data_ptr() == other.data_ptr()


def _missing_sites(
    trace: Trace, kwargs: Mapping[str, Any], missing: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The masks of arguments, by the sites that observe them."""
    masks = {}
    for argument, mask in missing.items():
        nodes = [n for n in sample_nodes(trace) if argument in _observed_arguments(n, kwargs)]
        if not nodes:
            raise DataError(
                f"{argument} has masked values, and the model does not observe it, whole, at a "
                "site. Only observed values can be missing, without minibatches: drop or impute "
                "the others."
            )
        for node in nodes:
            if node["fn"].event_dim:
                raise DataError(
                    f"{argument} has masked values inside the events of site {node['name']!r}. "
                    "Observe independent entries without .to_event, or drop those rows."
                )
            masks[node["name"]] = mask
    return masks


def _check_observations(trace: Trace, kwargs: Mapping[str, Any]) -> None:
    """Data that would be stretched to fit their distribution are of a wrong length."""
    for node in sample_nodes(trace):
        value = node["value"]
        if kind_of(node) != "observed" or not isinstance(value, Tensor):
            continue
        expected = tuple(node["fn"].batch_shape + node["fn"].event_shape)
        if value.numel() < prod(expected) and _observed_arguments(node, kwargs):
            raise DataError(
                f"{node['name']}: the model expects shape {expected}, and the data has "
                f"{tuple(value.shape)}. Give one value for each, in the same order."
            )
        if not bool(torch.isfinite(value.double()).all()):
            raise DataError(
                f"{node['name']}: the model observes values that are not finite. "
                "Drop or impute them before the fit."
            )


def _check_latent(bound: BoundModel) -> None:
    if not (bound.latent or bound.discrete):
        raise ModelError(
            f"Model {bound.name!r} has no latent sites, so there is nothing to infer. "
            "Add a pyro.sample without obs."
        )
    endless = [site.name for site in bound.discrete if not site.enumerable]
    if endless:
        raise ModelError(
            f"Site {endless[0]!r} is discrete and its support cannot be listed, so it cannot be "
            "summed out. Bound it, or replace it by a continuous site."
        )
    if not bound.latent:
        raise ModelError(
            f"Model {bound.name!r} has only discrete latent sites, which are summed out exactly: "
            "there is nothing to fit. Use pyro.infer.infer_discrete."
        )
