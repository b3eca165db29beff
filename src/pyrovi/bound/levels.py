"""Which axes of a model have one entry for each label of an argument: read off one run of it.

An axis is one of the labels' where the densities of some rows hang on the very entries that their
codes point to, and on no others along it; or where it has the argument's name and their number.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyrovi.bound.arguments import Signature
from pyrovi.bound.handlers import Fix
from pyrovi.bound.model import BoundModel
from pyrovi.bound.sites import Site, innermost, kind_of, sample_nodes
from pyrovi.seeds import isolated, stream

ROWS_TRIED = 3
FAILS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)


class _Value(NamedTuple):
    """The value of a site, in its own shape, and what of the run the gradient is taken by."""

    site: Site
    tensor: Tensor


def level_dims(model: BoundModel, levels: Mapping[str, pd.Index]) -> dict[str, list[str]]:
    """For each argument that came as labels the dims that have one entry for each of them."""
    if not levels:
        return {}
    codes = _codes(model, levels)
    values, rows = _run(model)
    found = {}
    for name, own in codes.items():
        size = len(levels[name])
        indexed = {dim for row in rows for dim in _indexed(own, size, values, row)}
        namesakes = {each.name for each in model.plates.values() if each.size == size} & {name}
        found[name] = sorted(indexed or (namesakes if own.size != size else ()))
    return found


def _codes(model: BoundModel, levels: Mapping[str, pd.Index]) -> dict[str, np.ndarray]:
    given = Signature.of(model.model).named(model.args, model.kwargs)
    tensors = {name: given[name] for name in levels if isinstance(given.get(name), Tensor)}
    return {name: each.numpy(force=True).ravel() for name, each in tensors.items()}


def _run(model: BoundModel) -> tuple[list[_Value], list[Tensor]]:
    """The values of sites in one run, and the log densities of each row that sites observe."""
    nodes = model.prototype.nodes
    latent = {site.name: nodes[site.name]["value"].detach() for site in model.latent}
    latent = {name: value.clone().requires_grad_() for name, value in latent.items()}
    discrete = {site.name: nodes[site.name]["value"] for site in model.discrete}
    try:
        with model.running(), isolated(stream(0, "levels")):
            trace = model.traced(Fix({**latent, **discrete})(model.handled()))
            rows = [_of_rows(node) for node in sample_nodes(trace) if kind_of(node) == "observed"]
    except FAILS:  # at these values nothing can be told
        return [], []
    kinds = [site for site in model.sites if site.continuous or site.kind == "deterministic"]
    values = [_Value(site, trace.nodes[site.name]["value"]) for site in kinds]
    of_a_loop = [each for each in rows if each.numel() == 1]
    whole = [*rows, torch.cat(of_a_loop)] if len(of_a_loop) > 1 else rows
    return [each for each in values if each.tensor.requires_grad], whole


def _of_rows(node: Any) -> Tensor:
    """The log density of each row on its own, whatever event or mask they are put in."""
    terms = innermost(node["fn"]).log_prob(node["value"])
    return terms.flatten()


def _indexed(codes: np.ndarray, size: int, values: list[_Value], rows: Tensor) -> Iterator[str]:
    """The dims along which rows hang on the entries that their codes point to, and no others."""
    if len(rows) != len(codes) or not rows.requires_grad:
        return
    tried, tensors = _telling(codes, rows), [each.tensor for each in values]
    slopes = [
        torch.autograd.grad(rows[row], tensors, retain_graph=True, allow_unused=True)
        for row in tried
    ]
    for index, value in enumerate(values):
        own = [each[index] for each in slopes]
        for axis, length in enumerate(value.site.shape):
            if length == size and _points(own, value.site, axis, codes[tried]):
                yield value.site.dims[axis]


def _telling(codes: np.ndarray, rows: Tensor) -> np.ndarray:
    """A few rows of different labels; first such that lie elsewhere than their label does."""
    finite = np.flatnonzero(rows.isfinite().numpy(force=True))
    order = finite[np.argsort(codes[finite] == finite, kind="stable")]
    _, first = np.unique(codes[order], return_index=True)
    return order[np.sort(first)][:ROWS_TRIED]


def _points(slopes: Sequence[Tensor | None], site: Site, axis: int, codes: np.ndarray) -> bool:
    """Whether each slope is nonzero along an axis at its code alone."""
    return bool(codes.size) and all(
        slope is not None
        and slope.numel() == prod(site.shape)
        and _nonzero(slope.reshape(site.shape), axis) == [code]
        for slope, code in zip(slopes, codes, strict=True)
    )


def _nonzero(slope: Tensor, axis: int) -> list[int]:
    others = [other for other in range(slope.dim()) if other != axis]
    along = slope.abs().sum(others) if others else slope.abs()
    return along.nonzero().flatten().tolist()
