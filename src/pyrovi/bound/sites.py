"""What sites a Pyro model has, and how to run it: plates become dims, supports become maps.

A `BoundModel` is a Pyro callable tied to its arguments. It is run once to see its sites; after
that every stage runs it through :meth:`BoundModel.trace`, which sees to the default dtype, to
validation, to parameters (no global store is touched) and to plates that subsample.
"""

import contextlib
import copy
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any, TypeAlias

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.infer import config_enumerate
from pyro.ops.einsum import torch_log
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import SubsampleMessenger, _Subsample
from torch import Tensor
from torch.distributions import biject_to

from pyrovi.errors import DataError, ModelError, PyroviError
from pyrovi.seeds import isolated, stream
from pyrovi.structure import Structure, structure_of

__all__ = [
    "BoundModel",
    "Place",
    "Plate",
    "Site",
    "Trace",
    "Unplace",
    "Widen",
    "bound",
    "own_module",
    "whole_plates",
]

# Pyro types a trace's nodes as dicts none of whose keys is sure to be there; all of them are.
Trace: TypeAlias = Any
Handler = Callable[[Callable[..., Any]], Callable[..., Any]]
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
DTYPE_COMPLAINTS = ("dtype", "scalar type", "must have the same dtype")


@dataclass(frozen=True)
class Plate:
    """A plate: its name is a dim, its size the length of that dim.

    Attributes:
        name: The plate's name.
        size: The full size, subsampled or not.
        subsampled: Whether the model draws a random subset of it.
    """

    name: str
    size: int
    subsampled: bool = False


@dataclass(frozen=True)
class Site:
    """One site of a model.

    Attributes:
        name: The site's name.
        kind: ``latent``, ``observed``, ``deterministic`` or ``factor``.
        distribution: The name of its distribution; empty for a deterministic site.
        shape: The shape of one value, plates first.
        dims: The name of each axis of ``shape``; plate names first.
        support: The constraint its values satisfy.
        event_dim: How many of the rightmost axes belong to one event.
        discrete: Whether its values are discrete.
        enumerable: Whether it can be summed out exactly.
        subsampled: Whether it stands in a plate that subsamples.
        improper: Whether its prior has no total mass (a masked or improper distribution).
    """

    name: str
    kind: str
    distribution: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    support: str
    event_dim: int = 0
    discrete: bool = False
    enumerable: bool = False
    subsampled: bool = False
    improper: bool = False

    @property
    def continuous(self) -> bool:
        """Whether this is a latent site with a density."""
        return self.kind == "latent" and not self.discrete


class Place(Messenger):
    """Put each continuous latent site where a flat unconstrained piece says.

    The map from the flat piece to the site's support is taken from the distribution as it is met,
    so a support that depends on another latent site is right too.

    Attributes:
        by_site: After a run, the log absolute Jacobian determinant of constraining each site.
    """

    def __init__(self, pieces: Mapping[str, Tensor], free: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.pieces = pieces
        self.free = free
        self.by_site: dict[str, Tensor] = {}

    def __enter__(self) -> "Place":  # noqa: PYI034  beartype has no class here for Self
        self.by_site = {}
        return super().__enter__()

    @property
    def log_abs_det(self) -> Tensor:
        """The log absolute Jacobian determinant of the whole map, after a run."""
        return torch.stack(list(self.by_site.values())).sum()

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] not in self.pieces or msg["is_observed"]:
            return
        piece, free = self.pieces[msg["name"]], self.free.get(msg["name"])
        transform = biject_to(msg["fn"].support)
        if free is not None:
            piece = torch.zeros(free.shape).index_put(free.nonzero(as_tuple=True), piece)
        value = transform(piece)
        terms = transform.log_abs_det_jacobian(piece, value)
        self.by_site[msg["name"]] = (terms if free is None else terms * free).sum()
        msg["value"] = value


class Unplace(Messenger):
    """The reverse of `Place`: note the flat unconstrained piece of each value given."""

    def __init__(self, values: Mapping[str, Tensor], free: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values
        self.free = free
        self.pieces: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] not in self.values or msg["is_observed"]:
            return
        value, free = self.values[msg["name"]], self.free.get(msg["name"])
        piece = biject_to(msg["fn"].support).inv(value)
        self.pieces[msg["name"]] = piece if free is None else piece[free]
        msg["value"] = value


class Enumerate(EnumMessenger):
    """Pyro's parallel enumeration, in a form that `torch.func.vmap` can carry.

    Pyro asks for ``value.data.shape``, which a batched tensor refuses; it only needs the shape.
    """

    def _pyro_post_sample(self, msg: Any) -> None:
        value = msg["value"]
        if not isinstance(value, Tensor):
            return super()._pyro_post_sample(msg)
        msg["value"] = _ShapeOnly(value)
        try:
            super()._pyro_post_sample(msg)
        finally:
            msg["value"] = value


class _ShapeOnly:
    """Stands for a tensor where only ``.data.shape`` and ``.dim()`` are asked for."""

    def __init__(self, value: Tensor) -> None:
        self.data, self.shape = self, value.shape

    def dim(self) -> int:
        return len(self.shape)


class Widen(Messenger):
    """Let a site that observes more values than its distribution has be drawn as many times."""

    def _pyro_sample(self, msg: Any) -> None:
        fn, value = msg["fn"], msg["value"]
        if not msg["is_observed"] or not isinstance(value, Tensor) or _is_plate(msg):
            return
        batch = value.shape[: value.dim() - fn.event_dim]
        if batch.numel() > fn.batch_shape.numel():
            msg["fn"] = fn.expand(torch.broadcast_shapes(batch, fn.batch_shape))


class _Cast(Messenger):
    """Give latent values the dtype that the model computes in, whatever its priors are made of."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def _pyro_post_sample(self, msg: Any) -> None:
        value = msg["value"]
        if not msg["is_observed"] and isinstance(value, Tensor) and value.is_floating_point():
            msg["value"] = value.to(self.dtype)


class _Missing(Messenger):
    """Leave masked entries of an observed site out of the likelihood."""

    def __init__(self, missing: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.missing = missing

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.missing and msg["is_observed"]:
            seen = ~self.missing[msg["name"]]
            msg["mask"] = seen if msg["mask"] is None else msg["mask"] & seen


@contextlib.contextmanager
def whole_plates() -> Iterator[None]:
    """Within this, a plate that subsamples at random takes all of its indices instead.

    Pyro offers no handler for it: the size is fixed before a message is sent. A plate that is
    given its indices keeps them.
    """
    original = SubsampleMessenger._subsample

    def whole(
        name: str,
        size: int | None = None,
        subsample_size: int | None = None,
        subsample: Tensor | None = None,
        use_cuda: bool | None = None,
        device: str | None = None,
    ) -> Any:
        if subsample is None:
            subsample_size = None
        return original(name, size, subsample_size, subsample, use_cuda, device)

    SubsampleMessenger._subsample = staticmethod(whole)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        SubsampleMessenger._subsample = staticmethod(original)  # pyright: ignore[reportAttributeAccessIssue]


class _SafeLog(torch.autograd.Function):
    """Pyro's `safe_log`, whose gradient is finite at zero, in a form that vmap can carry."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.log()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad_outputs[0] / x.clamp(min=torch.finfo(x.dtype).eps)


@contextlib.contextmanager
def _carried_by_vmap() -> Iterator[None]:
    """Within this, Pyro's contraction of enumerated factors uses a logarithm that vmap carries."""
    original = torch_log.safe_log  # pyright: ignore[reportPrivateImportUsage]
    torch_log.safe_log = _SafeLog.apply  # pyright: ignore[reportPrivateImportUsage]
    try:
        yield
    finally:
        torch_log.safe_log = original  # pyright: ignore[reportPrivateImportUsage]


@dataclass(frozen=True)
class BoundModel:
    """A Pyro callable tied to its arguments: what every engine and every later stage runs.

    Attributes:
        model: The callable. A module is a copy of the user's, in ``dtype``.
        args: Positional arguments.
        kwargs: Keyword arguments.
        dtype: What the model computes in.
        sites: Every site, in the order the model meets them.
        plates: Every vectorised plate by name.
        coords: Labels of the indices of a dim, where the data had them.
        missing: By observed site, True where a value is missing.
        parameters: Whether the model has learnable parameters of its own.
        notes: What the user should know about how the model was read.
        params: The state of Pyro's parameter store that the model runs under.
    """

    model: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float64
    sites: tuple[Site, ...] = ()
    plates: Mapping[str, Plate] = field(default_factory=dict)
    coords: Mapping[str, np.ndarray] = field(default_factory=dict)
    missing: Mapping[str, Tensor] = field(default_factory=dict)
    parameters: bool = False
    notes: tuple[str, ...] = ()
    params: Any = None

    @property
    def name(self) -> str:
        """What to call the model: what it declares, or the function's or the class's name."""
        if self.structure.name:
            return self.structure.name
        inner = self.model
        while hasattr(inner, "func"):
            inner = getattr(inner, "func")  # noqa: B009  a partial, or like one
        return getattr(inner, "__name__", type(inner).__name__)

    @cached_property
    def latent(self) -> tuple[Site, ...]:
        """The continuous latent sites, in the model's order."""
        return tuple(site for site in self.sites if site.continuous)

    @cached_property
    def discrete(self) -> tuple[Site, ...]:
        """The discrete latent sites."""
        return tuple(site for site in self.sites if site.kind == "latent" and site.discrete)

    @cached_property
    def observed(self) -> tuple[Site, ...]:
        """The observed sites that have a distribution to predict from."""
        return tuple(site for site in self.sites if site.kind == "observed")

    @property
    def subsampled(self) -> bool:
        """Whether any plate draws a random subset."""
        return any(plate.subsampled for plate in self.plates.values())

    @cached_property
    def max_plate_nesting(self) -> int:
        """How many axes from the right plates or batches use; dims further left are free."""
        nodes = [node for node in self.prototype.nodes.values() if node["type"] == "sample"]
        plates = [-f.dim for node in nodes for f in node["cond_indep_stack"] if f.vectorized]
        batches = [
            max(node["value"].dim() - node["fn"].event_dim, len(node["fn"].batch_shape))
            for node in nodes
            if not _is_plate(node) and _kind(node) in ("latent", "observed")
        ]
        return max(*plates, *batches, 0, 0)

    @cached_property
    def free(self) -> dict[str, Tensor]:
        """By site made by ``obs_mask`` for what was not observed: the entries that are latent.

        The others have neither a prior nor an effect, and no approximation should carry them.
        """
        return {
            node["name"]: node["mask"].expand(node["value"].shape)
            for node in _sample_nodes(self.prototype)
            if node["name"].endswith("_unobserved")
            and not node["is_observed"]
            and isinstance(node["mask"], Tensor)
        }

    @cached_property
    def prototype(self) -> Trace:
        """One run of the model on whole plates, its latent sites drawn from the prior."""
        for attempt in range(PRIOR_ATTEMPTS - 1):
            # A draw at which the model itself fails is another draw's business.
            with contextlib.suppress(torch.linalg.LinAlgError):  # pyright: ignore[reportPrivateImportUsage]
                return self.trace(seed=stream(0, "prototype", *([attempt] if attempt else [])))
        return self.trace(seed=stream(0, "prototype", PRIOR_ATTEMPTS))

    def with_parameters(self, values: Mapping[str, Tensor] | None = None) -> "BoundModel":
        """The same model with learnable parameters of its own: copies, or those of ``values``."""
        if self.params is None:
            return self
        given = self.params["params"] if values is None else values
        leaves = {name: value.detach().clone().requires_grad_() for name, value in given.items()}
        model = (
            copy.deepcopy(self.model) if isinstance(self.model, torch.nn.Module) else self.model
        )
        return replace(self, model=model, params={**self.params, "params": leaves})

    def site(self, name: str) -> Site:
        """The site called ``name``."""
        return next(site for site in self.sites if site.name == name)

    @contextlib.contextmanager
    def running(self, *, whole: bool = True) -> Iterator[None]:
        """What holds while the model runs: dtype, no validation, an own parameter store."""
        default = torch.get_default_dtype()
        with contextlib.ExitStack() as stack:
            stack.enter_context(pyro.validation_enabled(False))
            stack.enter_context(pyro.get_param_store().scope(self.params))
            stack.enter_context(pyro.settings.context(module_local_params=True))
            stack.enter_context(_carried_by_vmap())
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message="There is a performance drop because")
            if whole:
                stack.enter_context(whole_plates())
            torch.set_default_dtype(self.dtype)
            try:
                yield
            finally:
                torch.set_default_dtype(default)

    @property
    def structure(self) -> Structure:
        """What the model declares about itself."""
        return structure_of(self.model)

    def handled(self, *handlers: Handler) -> Callable[..., Any]:
        """The model under ``handlers``, the first innermost, and with missing values left out."""
        model = _Cast(self.dtype)(self.model)
        if self.missing:
            model = _Missing(self.missing)(model)
        for handler in handlers:
            model = handler(model)
        return model

    def trace(self, *handlers: Handler, seed: int | None = None) -> Trace:
        """Run the model under ``handlers``, the first innermost, and return what it did.

        With a ``seed``, the global generators are seeded for the run, and put back.
        """
        model = self.handled(*handlers)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.running())
            if seed is not None:
                stack.enter_context(isolated(seed))
            return poutine.trace(model).get_trace(*self.args, **self.kwargs)

    def enumerated(self, model: Callable[..., Any]) -> Callable[..., Any]:
        """A handler that sums discrete latent sites out, in parallel."""
        if not self.discrete:
            return model
        first = -1 - self.max_plate_nesting
        return Enumerate(first_available_dim=first)(config_enumerate(model))


def bound(
    model: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    coords: Mapping[str, np.ndarray] | None = None,
    dims: Mapping[str, tuple[str, ...]] | None = None,
    missing: Mapping[str, Tensor] | None = None,
) -> BoundModel:
    """Tie a model to its arguments and read its sites.

    The model computes in float64. One that closes over float32 tensors of its own, and so cannot,
    computes in float32, and a note says so.

    Args:
        model: Any Pyro callable.
        args: Positional arguments.
        kwargs: Keyword arguments.
        coords: Labels of the indices of a dim.
        dims: For arguments that came labelled, the name of each axis.
        missing: For arguments that came masked, True where a value is missing.

    Raises:
        ModelError: If the model has no latent sites, or cannot be run.
        DataError: If the data do not fit the model's sites.
    """
    if not callable(model):
        raise ModelError(
            f"Expected a Pyro model, a callable, and {type(model).__name__} came. "
            "Pass the function itself, or a name from the zoo through pyrovi.models.get."
        )
    kwargs = dict(kwargs or {})
    if isinstance(model, torch.nn.Module):
        model = own_module(model, torch.float64)
    candidate = BoundModel(model, args, kwargs, coords=dict(coords or {}))
    candidate, trace = _first_run(candidate)
    _check_observations(candidate, trace)
    named_dims = _dims_of_observed(trace, candidate.kwargs, dims or {})
    event_dims = structure_of(candidate.model).dims
    plates = _plates(trace)
    sites = tuple(_sites(trace, plates, named_dims, event_dims))
    whole = replace(
        candidate,
        sites=sites,
        plates=plates,
        missing=_missing_sites(trace, candidate.kwargs, missing or {}),
        parameters=any(node["type"] == "param" for node in trace.nodes.values()),
    )
    _check_latent(whole)
    if whole.parameters:
        return replace(whole, params=_initial_parameters(whole))
    if not (whole.missing or whole.subsampled):
        # A second run would tell no more, and on many data it costs as much as a fit.
        whole.__dict__["prototype"] = trace
    return whole


def _first_run(candidate: BoundModel) -> tuple[BoundModel, Trace]:
    try:
        return candidate, _validated_trace(candidate)
    except RuntimeError as error:
        if not any(complaint in str(error) for complaint in DTYPE_COMPLAINTS):
            raise _refusal(candidate, error) from error
    except (
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        ZeroDivisionError,
    ) as error:
        raise _refusal(candidate, error) from error
    single = _in_single_precision(candidate)
    try:
        return single, _validated_trace(single)
    except Exception as error:
        raise _refusal(single, error) from error


def _in_single_precision(candidate: BoundModel) -> BoundModel:
    def cast_down(value: Any) -> Any:
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return value.float() if floating else value

    model = candidate.model
    if isinstance(model, torch.nn.Module):
        model = own_module(model, torch.float32)
    return replace(
        candidate,
        model=model,
        args=tuple(map(cast_down, candidate.args)),
        kwargs={name: cast_down(value) for name, value in candidate.kwargs.items()},
        dtype=torch.float32,
        notes=("The model holds float32 tensors of its own, so it is computed in float32.",),
    )


def _initial_parameters(whole: BoundModel) -> Any:
    """Pyro's store after one run, so that no later run makes a parameter (vmap forbids that)."""
    with whole.running(), isolated(stream(0, "parameters")):
        poutine.trace(whole.model).get_trace(*whole.args, **whole.kwargs)
        return pyro.get_param_store().get_state()


def own_module(module: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """A copy of a user's module in ``dtype``, whose parameters stay out of the global store."""
    own = copy.deepcopy(module).to(dtype)
    for part in own.modules():
        context = getattr(part, "_pyro_context", None)
        if context is not None and not hasattr(context, "param_state"):
            # Pyro gives a module this only if it was made under `module_local_params`.
            context.param_state = {"params": {}, "constraints": {}}
    return own


def _validated_trace(candidate: BoundModel) -> Trace:
    """The first run, with Pyro's own checks on: they see most shape mistakes."""
    model = _InitialValues()(candidate.handled())
    try:
        return _traced(model, candidate, validated=True)
    except (ValueError, RuntimeError) as error:
        # A parameter outside its domain, data outside a support that hangs on a latent site, a
        # matrix that is not positive definite: at one draw from the prior these make that draw
        # impossible, and not the model.
        said = str(error.__cause__ or error)
        if not any(sign in said for sign in IMPOSSIBLE_DRAW):
            raise
        first = error
    for attempt in range(1, PRIOR_ATTEMPTS):
        with contextlib.suppress(ValueError, RuntimeError):
            return _traced(model, candidate, validated=True, attempt=attempt)
    if "Expected parameter" not in str(first.__cause__ or first):
        raise first
    return _traced(model, candidate, validated=False)


IMPOSSIBLE_DRAW = ("Expected parameter", "Expected value argument", "positive-definite")
PRIOR_ATTEMPTS = 50


def _traced(
    model: Callable[..., Any], candidate: BoundModel, *, validated: bool, attempt: int = 0
) -> Trace:
    with contextlib.ExitStack() as stack:
        stack.enter_context(candidate.running(whole=False))
        stack.enter_context(pyro.validation_enabled(validated))
        stack.enter_context(isolated(stream(0, "sites", *([attempt] if attempt else []))))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", UserWarning)
        trace: Trace = poutine.trace(model).get_trace(*candidate.args, **candidate.kwargs)
        trace.compute_log_prob(site_filter=lambda _, site: site["is_observed"])
    return trace


class _InitialValues(Messenger):
    """Give a site that cannot be sampled from (an improper prior) a value inside its support."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or msg["value"] is not None or isinstance(msg["fn"], _Subsample):
            return
        msg["value"] = initial_value(msg["fn"])


def initial_value(fn: Any) -> Tensor:
    """A draw from ``fn``, or a value inside its support where it cannot be drawn from."""
    try:
        return fn.sample() if not callable(getattr(fn, "rsample", None)) else fn()
    except NotImplementedError:
        transform = biject_to(fn.support)
        shape = transform.inverse_shape(fn.batch_shape + fn.event_shape)
        return transform(torch.zeros(shape))


def _refusal(candidate: BoundModel, error: Exception) -> PyroviError:
    """One line for a model that cannot be run on this data: the model's own, if it has one."""
    cause = error.__cause__ if error.__cause__ is not None else error
    if isinstance(cause, PyroviError):
        return type(cause)(str(cause))
    first = str(cause).strip().split("\n")[0] or type(cause).__name__
    shapes = [
        f"{name} {tuple(value.shape)}"
        for name, value in candidate.kwargs.items()
        if isinstance(value, Tensor)
    ]
    came = f" The data: {', '.join(shapes)}." if shapes else ""
    whole = any(isinstance(value, Mapping) for value in candidate.args)
    hint = " The whole dict went to the model's one argument." if whole else ""
    return ModelError(
        f"Model {candidate.name!r} cannot be run on this data: {type(cause).__name__}: "
        f"{first.rstrip('.')}.{came}{hint} Check lengths, types and argument names."
    )


def _is_plate(node: Mapping[str, Any]) -> bool:
    return isinstance(node["fn"], _Subsample)


def _sample_nodes(trace: Trace) -> list[Any]:
    return [n for n in trace.nodes.values() if n["type"] == "sample" and not _is_plate(n)]


def _plates(trace: Trace) -> dict[str, Plate]:
    """The vectorised plates, at their full sizes."""
    drawn = {
        name: node["fn"]
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and _is_plate(node)
    }
    plates = {}
    for node in _sample_nodes(trace):
        for frame in node["cond_indep_stack"]:
            if not frame.vectorized:
                continue
            full = drawn[frame.name].size if frame.name in drawn else frame.size
            partial = frame.size < full
            plates[frame.name] = Plate(frame.name, int(full), subsampled=bool(partial))
    return plates


def _sites(
    trace: Trace,
    plates: Mapping[str, Plate],
    named: Mapping[str, tuple[str, ...]],
    event_dims: Mapping[str, tuple[str, ...]],
) -> Iterator[Site]:
    taken = {node["name"] for node in _sample_nodes(trace)}
    for node in _sample_nodes(trace):
        site = _site(node, plates, named.get(node["name"]), taken)
        declared = event_dims.get(site.name, ())
        if declared:
            site = replace(site, dims=(*site.dims[: -len(declared)], *declared))
        yield site


def _site(
    node: Any, plates: Mapping[str, Plate], named: tuple[str, ...] | None, taken: set[str]
) -> Site:
    fn, kind = node["fn"], _kind(node)
    shape, dims = _axes(node, plates, named, taken)
    discrete = kind == "latent" and _is_discrete(fn)
    return Site(
        name=node["name"],
        kind=kind,
        distribution="" if kind in ("deterministic", "factor") else _distribution_name(fn),
        shape=shape,
        dims=dims,
        support="" if kind in ("deterministic", "factor") else _support_name(fn),
        event_dim=fn.event_dim,
        discrete=discrete or (kind == "observed" and _is_discrete(fn)),
        enumerable=discrete and bool(fn.has_enumerate_support),
        subsampled=any(plates[f.name].subsampled for f in _vectorised(node)),
        improper=kind == "latent" and _is_improper(node),
    )


def _vectorised(node: Any) -> list[Any]:
    return [frame for frame in node["cond_indep_stack"] if frame.vectorized]


def _kind(node: Any) -> str:
    if node["infer"].get("_deterministic"):
        return "deterministic"
    innermost = _innermost(node["fn"])
    if isinstance(innermost, dist.Unit):
        return "factor"
    if node["is_observed"]:
        return "observed"
    return "deterministic" if isinstance(innermost, dist.Delta) else "latent"


def _innermost(fn: Any) -> Any:
    while hasattr(fn, "base_dist") and not isinstance(
        fn, torch.distributions.TransformedDistribution
    ):
        fn = fn.base_dist
    return fn


def _is_discrete(fn: Any) -> bool:
    try:
        return bool(fn.support.is_discrete)
    except NotImplementedError:
        return bool(fn.has_enumerate_support)


def _support_name(fn: Any) -> str:
    try:
        support = fn.support
    except NotImplementedError:
        return ""
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
    innermost = _innermost(fn)
    if type(innermost) is dist.TransformedDistribution:
        return f"transformed {_distribution_name(innermost.base_dist)}"
    return type(innermost).__name__


def _is_improper(node: Any) -> bool:
    if isinstance(_innermost(node["fn"]), dist.ImproperUniform):
        return True
    return node["mask"] is False or _masked_away(node["fn"])


def _masked_away(fn: Any) -> bool:
    while True:
        if isinstance(fn, MaskedDistribution):
            mask = fn._mask
            return mask is False or (isinstance(mask, Tensor) and not bool(mask.all()))
        if not hasattr(fn, "base_dist"):
            return False
        fn = fn.base_dist


def _axes(
    node: Any, plates: Mapping[str, Plate], named: tuple[str, ...] | None, taken: set[str]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The shape of one value and a name for each axis; padding between plates is dropped."""
    fn, value = node["fn"], node["value"]
    full = tuple(value.shape) if isinstance(value, Tensor) else ()
    # Unless told, a deterministic site counts all its axes as one event, the plates' among them.
    untold = node["infer"].get("_deterministic") and fn.event_dim == len(full)
    batch = len(full) - (0 if untold else fn.event_dim)
    frames = {
        batch + frame.dim: frame
        for frame in _vectorised(node)
        if batch + frame.dim >= 0 and full[batch + frame.dim] == frame.size
    }
    padding = {i for i in range(batch) if full[i] == 1 and i not in frames and frames}
    kept = [i for i in range(len(full)) if i not in padding]
    shape, dims = [], []
    for position, i in enumerate(kept):
        plate = plates[frames[i].name] if i in frames else None
        own = named[position] if named and len(named) == len(kept) else None
        default = own or f"{node['name']}_dim_{position}"
        name = plate.name if plate else default
        dims.append(f"{name}_plate" if name in taken else name)
        shape.append(plate.size if plate else full[i])
    return tuple(shape), tuple(dims)


def _dims_of_observed(
    trace: Trace, kwargs: Mapping[str, Any], dims: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """The names that labelled data gave to the axes of the sites that observe them."""
    return {
        node["name"]: dims[name]
        for node in _sample_nodes(trace)
        for name in _observed_arguments(node, kwargs)
        if name in dims
    }


def _observed_arguments(node: Any, kwargs: Mapping[str, Any]) -> list[str]:
    if not node["is_observed"]:
        return []
    value = node["value"]
    return [
        name
        for name, argument in kwargs.items()
        if isinstance(argument, Tensor)
        and isinstance(value, Tensor)
        and (argument is value or _same_storage(argument, value))
    ]


def _same_storage(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.data_ptr() == other.data_ptr()


def _missing_sites(
    trace: Trace, kwargs: Mapping[str, Any], missing: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    found = {}
    for argument, mask in missing.items():
        nodes = [n for n in _sample_nodes(trace) if argument in _observed_arguments(n, kwargs)]
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
            found[node["name"]] = mask
    return found


def _check_observations(candidate: BoundModel, trace: Trace) -> None:
    """Data that would be stretched to fit their distribution are of a wrong length."""
    for node in _sample_nodes(trace):
        value = node["value"]
        if _kind(node) != "observed" or not isinstance(value, Tensor):
            continue
        expected = tuple(node["fn"].batch_shape + node["fn"].event_shape)
        short = value.numel() < prod(expected) and _observed_arguments(node, candidate.kwargs)
        if short:
            raise DataError(
                f"{node['name']}: the model expects shape {expected}, and the data has "
                f"{tuple(value.shape)}. Give one value for each, in the same order."
            )
        if not bool(torch.isfinite(value.double()).all()):
            raise DataError(
                f"{node['name']}: the model observes values that are not finite. "
                "Drop or impute them before the fit."
            )


def _check_latent(whole: BoundModel) -> None:
    if not any(site.kind == "latent" for site in whole.sites):
        raise ModelError(
            f"Model {whole.name!r} has no latent sites, so there is nothing to infer. "
            "Add a pyro.sample without obs."
        )
    endless = [site.name for site in whole.discrete if not site.enumerable]
    if endless:
        raise ModelError(
            f"Site {endless[0]!r} is discrete and its support cannot be listed, so it cannot be "
            "summed out. Bound it, or replace it by a continuous site."
        )
    if not whole.latent:
        raise ModelError(
            f"Model {whole.name!r} has only discrete latent sites, which are summed out exactly: "
            "there is nothing to fit. Use pyro.infer.infer_discrete."
        )
