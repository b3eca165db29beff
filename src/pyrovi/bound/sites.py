"""What sites a Pyro model has, read off a trace: plates become dims, supports become texts."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.poutine.util import site_is_subsample
from torch import Tensor

# Pyro types a trace's nodes as dicts whose keys may all be missing; none is.
Trace: TypeAlias = Any
SUPPORTS = {
    "Real": "real",
    "GreaterThan": "above {lower_bound}",
    "GreaterThanEq": "from {lower_bound} up",
    "LessThan": "below {upper_bound}",
    "Interval": "{lower_bound} to {upper_bound}",
    "HalfOpenInterval": "{lower_bound} to {upper_bound}",
    "IntegerInterval": "{lower_bound}, ..., {upper_bound}",
    "IntegerGreaterThan": "{lower_bound}, ...",
    "Boolean": "0, 1",
    "Simplex": "simplex",
}


@dataclass(frozen=True)
class Plate:
    """A plate: its name is a dim, its full size the length of that dim."""

    name: str
    size: int
    subsampled: bool = False  # whether the model draws a random subset of it


@dataclass(frozen=True)
class Site:
    """One site of a model."""

    name: str
    kind: str  # latent, observed, deterministic or factor
    distribution: str  # empty for a deterministic site
    shape: tuple[int, ...]  # of one value, plates first
    dims: tuple[str, ...]  # the name of each axis of the shape
    support: str
    event_dim: int = 0  # how many of the rightmost axes belong to one event
    discrete: bool = False
    enumerable: bool = False  # whether it can be summed out exactly
    subsampled: bool = False  # whether it stands in a plate that subsamples
    improper: bool = False  # whether its prior has no total mass (masked, or improper)

    @property
    def continuous(self) -> bool:
        """Whether this is a latent site with a density."""
        return self.kind == "latent" and not self.discrete

    @property
    def conditions(self) -> bool:
        """Whether the posterior is conditioned on it."""
        return self.kind in ("observed", "factor")


def sample_nodes(trace: Trace) -> list[Any]:
    """The nodes of a trace that are sites, in the model's order."""
    return [n for n in trace.nodes.values() if n["type"] == "sample" and not site_is_subsample(n)]


def batch_shape(fn: Any) -> torch.Size:
    """The shape of a distribution's batch, which some of Pyro's have as a tuple or a list."""
    return torch.Size(fn.batch_shape)


def value_shape(fn: Any) -> torch.Size:
    """The shape of one draw of a distribution."""
    return batch_shape(fn) + torch.Size(fn.event_shape)


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that all are stretched to."""
    # Torch's own arithmetic of shapes imports sympy, a third of a second.
    return np.broadcast_shapes(*shapes)


def vectorised_frames(node: Any) -> list[Any]:
    """The plates that a node stands in, but for those that are loops."""
    return [frame for frame in node["cond_indep_stack"] if frame.vectorized]


def batch_axes_without_plates(node: Any) -> tuple[int, ...]:
    """The lengths of a distribution's batch axes that stand in no plate, where there are more."""
    if kind_of(node) not in ("latent", "observed"):
        return ()
    batch, frames = batch_shape(node["fn"]), vectorised_frames(node)
    owned = {len(batch) + frame.dim for frame in frames}
    return tuple(size for axis, size in enumerate(batch) if size > 1 and axis not in owned)


def lists_its_entries(fn: Any) -> bool:
    """Whether a distribution is an event of entries that can each be listed."""
    return any(each.has_enumerate_support for each in _layers(fn))


def plates_of(trace: Trace, given: Collection[str] = ()) -> dict[str, Plate]:
    """The vectorised plates, at their full sizes; of those ``given`` their rows, at these."""
    drawn = {n["name"]: n["fn"].size for n in trace.nodes.values() if site_is_subsample(n)}
    plates = {}
    for frame in (frame for node in sample_nodes(trace) for frame in vectorised_frames(node)):
        full = frame.size if frame.name in given else drawn.get(frame.name, frame.size)
        plates[frame.name] = Plate(frame.name, int(full), subsampled=bool(frame.size < full))
    return plates


def sites_of(
    trace: Trace,
    plates: Mapping[str, Plate],
    labels: Mapping[str, tuple[str, ...]],
    event_dims: Mapping[str, tuple[str, ...]],
) -> tuple[Site, ...]:
    """Every site; ``labels`` name all axes of one, ``event_dims`` the rightmost, by its name."""
    nodes = sample_nodes(trace)
    taken = {node["name"] for node in nodes}
    sites = []
    for node in nodes:
        shape, dims = _axes(node, plates, labels.get(node["name"], ()), taken)
        of_event = event_dims.get(node["name"], ())
        dims = (*dims[: max(0, len(dims) - len(of_event))], *of_event)
        subsampled = any(plates[frame.name].subsampled for frame in vectorised_frames(node))
        sites.append(_site(node, shape, dims, subsampled=subsampled))
    return tuple(sites)


def _site(node: Any, shape: tuple[int, ...], dims: tuple[str, ...], *, subsampled: bool) -> Site:
    fn, kind = node["fn"], kind_of(node)
    discrete = kind in ("latent", "observed") and is_discrete(fn)
    distributed = kind not in ("deterministic", "factor")
    return Site(
        name=node["name"],
        kind=kind,
        distribution=_distribution_name(fn) if distributed else "",
        shape=shape,
        dims=dims,
        support=_support_name(fn) if distributed else "",
        event_dim=fn.event_dim,
        discrete=discrete,
        enumerable=kind == "latent" and discrete and bool(fn.has_enumerate_support),
        subsampled=subsampled,
        improper=kind == "latent" and _is_improper(node),
    )


def kind_of(node: Any) -> str:
    """``latent``, ``observed``, ``deterministic`` or ``factor``."""
    if node["infer"].get("_deterministic"):
        return "deterministic"
    inner = innermost(node["fn"])
    if isinstance(inner, dist.Unit):
        return "factor"
    # A reparametrisation of Pyro's leaves of a site that it observes its own point.
    point = isinstance(inner, dist.Delta)
    if node["is_observed"] and not (point and bool((node["value"] == inner.v).all())):
        return "observed"
    return "deterministic" if point else "latent"


def _layers(fn: Any) -> Iterator[Any]:
    """A distribution, and those that it wraps, from the outermost in."""
    yield fn
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
        yield fn


def shown(node: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Whether the likelihood of each entry of an observed site counts, in the site's own shape.

    A mask stands around a site (`poutine.mask`), or inside of its distribution. A factor has an
    entry for each of its batch.
    """
    counts = np.ones((), bool)
    for mask, event_dim in _masks(node):
        entries = torch.as_tensor(mask).numpy(force=True).astype(bool)
        counts = counts & entries.reshape(entries.shape + (1,) * event_dim)
    factor = kind_of(node) == "factor"
    full = tuple(batch_shape(node["fn"]) if factor else node["value"].shape)
    whole = np.broadcast_shapes(full, counts.shape)
    counts = np.broadcast_to(counts, whole)
    own = whole if factor else shape
    return counts.reshape(own) if counts.size == prod(own) else np.ones(own, bool)


def _masks(node: Any) -> Iterator[tuple[Any, int]]:
    """Each mask of a site, and how many axes of an event it covers as one."""
    factor = kind_of(node) == "factor"
    if node["mask"] is not None:
        yield node["mask"], 0 if factor else node["fn"].event_dim
    for each in _layers(node["fn"]):
        if isinstance(each, MaskedDistribution):
            yield each._mask, 0 if factor else each.event_dim


def innermost(fn: Any) -> Any:
    """What an event or a mask is wrapped around; a transformed distribution is one of its own."""
    transformed = torch.distributions.TransformedDistribution
    *_, last = _layers(fn)
    return next((each for each in _layers(fn) if isinstance(each, transformed)), last)


def is_discrete(fn: Any) -> bool:
    """Whether the values of a distribution can be listed, or are whole numbers."""
    # Some of Pyro's do not say of their supports that they can be listed.
    try:
        return bool(fn.support.is_discrete or fn.has_enumerate_support)
    except NotImplementedError:
        return bool(fn.has_enumerate_support)


def _support_name(fn: Any) -> str:
    try:
        return support_text(fn.support)
    except NotImplementedError:
        return ""


def support_text(support: Any) -> str:
    """A constraint of torch in words."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    kind = type(support).__name__.strip("_")
    if kind in SUPPORTS:
        bounds = {name: _short(value) for name, value in vars(support).items()}
        return SUPPORTS[kind].format(**bounds)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind).replace("Corr ", "Correlation ")
    return words[:1].upper() + words[1:].lower()


def _short(value: Any) -> str:
    """A bound as a number, where it is one number."""
    tensor = torch.as_tensor(value)
    return f"{tensor.item():g}" if tensor.numel() == 1 else "its bound"


def _distribution_name(fn: Any) -> str:
    inner = innermost(fn)
    if type(inner) is dist.TransformedDistribution:
        return f"transformed {_distribution_name(inner.base_dist)}"
    return type(inner).__name__


def is_masked(fn: Any) -> bool:
    """Whether a distribution hides some of its values, by ``mask``."""
    return any(isinstance(each, MaskedDistribution) for each in _layers(fn))


def _is_improper(node: Any) -> bool:
    masks = [each._mask for each in _layers(node["fn"]) if isinstance(each, MaskedDistribution)]
    masked_away = any(not torch.as_tensor(mask).all() for mask in masks)
    unbounded = isinstance(innermost(node["fn"]), dist.ImproperUniform)
    return unbounded or masked_away or node["mask"] is False


def _axes(
    node: Any, plates: Mapping[str, Plate], labels: tuple[str, ...], taken: set[str]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The shape of one value and a name for each axis; padding between plates is dropped."""
    full = tuple(node["value"].shape) if isinstance(node["value"], Tensor) else ()
    owners, kept = _owners(node, plates, full)
    own = [f"{node['name']}_dim_{i}" for i in range(len(kept))]
    names = labels if len(labels) == len(kept) else own
    axes = {i: (name, full[i]) for i, name in zip(kept, names, strict=True)}
    axes |= {i: (plate.name, plate.size) for i, plate in owners.items()}
    dims = tuple(f"{name}_plate" if name in taken else name for name, _ in axes.values())
    return tuple(size for _, size in axes.values()), dims


def _owners(
    node: Any, plates: Mapping[str, Plate], full: tuple[int, ...]
) -> tuple[dict[int, Plate], list[int]]:
    """The plate that each axis belongs to, and the axes that are no padding between plates."""
    batch = _batch_axes(node, full)
    owners = {
        axis: plates[frame.name]
        for frame in vectorised_frames(node)
        if (axis := batch + frame.dim) >= 0 and full[axis] == frame.size
    }
    padding = {i for i in range(batch) if owners and full[i] == 1} - owners.keys()
    return owners, [i for i in range(len(full)) if i not in padding]


def _batch_axes(node: Any, shape: tuple[int, ...]) -> int:
    """How many axes of a value are batches or plates."""
    event_dim = node["fn"].event_dim
    # Unless told, a deterministic site counts all its axes as one event, the plates' among them.
    untold = node["infer"].get("_deterministic") and event_dim == len(shape)
    return len(shape) - (0 if untold else event_dim)
