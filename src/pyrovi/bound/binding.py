"""Tie a model to its arguments: run it once, read its sites, check the data against them."""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import pandas as pd
import pyro
import torch
from torch import Tensor

from pyrovi.bound.arguments import Arguments
from pyrovi.bound.gaps import check_gaps, gap_error, gaps_of, leaving_gaps_out
from pyrovi.bound.handlers import InitialValues
from pyrovi.bound.labels import named
from pyrovi.bound.model import PRIOR_ATTEMPTS, BoundModel
from pyrovi.bound.parameters import own_module
from pyrovi.bound.partly_seen import has_marginals
from pyrovi.bound.replaced import Replacement, replaced_in, replacements
from pyrovi.bound.sites import (
    Trace,
    batch_axes_without_plates,
    broadcast,
    is_discrete,
    kind_of,
    lists_its_entries,
    plates_of,
    sample_nodes,
    sites_of,
    value_shape,
)
from pyrovi.bound.supports import ENDLESS, map_of
from pyrovi.bound.uses import unused_arguments
from pyrovi.errors import DataError, ModelError, PyroviError
from pyrovi.seeds import isolated, stream

# What torch and Pyro say of one draw from the prior that makes the rest impossible (a parameter
# outside its domain, data outside a support that hangs on a latent site, a matrix that is not
# positive definite), and of tensors of two dtypes.
OUTSIDE_DOMAIN = ("Expected parameter",)
IMPOSSIBLE_DRAW = (*OUTSIDE_DOMAIN, "Expected value argument", "positive-definite")
SUPPORT = r"within the support \((.*)\) of the distribution"
TWO_DTYPES = ("dtype", "scalar type")
UNCONDITIONED = (
    "The model observes nothing and has no factor, so that its posterior is its prior. Give a "
    "site its data by obs=."
)
# What torch and Pyro say where a batch is not the plates that it stands in.
OF_SHAPES = ("Shape mismatch inside plate", "to_event", "must match the size", "shape mismatch")
WHOLE_NUMBERS = ("Long", "must be a Tensor")  # where torch or Pyro wanted a tensor of floats
FLOATS = (
    "Give whole numbers that are multiplied as floats (x.astype(float), x.double()), and what is "
    "observed as an array or a tensor."
)
CHECK = "Check lengths, types and argument names."
SHAPES = (
    "Check lengths; axes of a site that belong to no plate are to be one event: .to_event(1), or "
    ".to_event(2) for two."
)
GIVEN_ROWS = (
    "The plate {0!r} is given {1} of its {2} rows: the likelihood of each counts {3:g} times, and "
    "the others are not used. For all of them by minibatches, give it subsample_size={1} instead."
)
DRAWN_ROWS = (
    "The plate {0!r} is given other rows in each run; all of its {1} rows are used. For "
    "minibatches, give it subsample_size instead."
)
EVENT = ", or make them one event: .to_event(1)"
MISTAKES = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)


def bind_model(model: Callable[..., Any], arguments: Arguments) -> BoundModel:
    """Tie a model to the arguments that `bind` made of data, and read its sites.

    The model computes in float64. One that closes over float32 tensors of its own, and so cannot,
    computes in float32, and a note says so.

    Raises:
        ModelError: If the model has no latent sites, or cannot be run.
        DataError: If the data do not fit the model's sites.
    """
    if not callable(model):
        raise ModelError(
            f"Expected a Pyro model, a callable, and {type(model).__name__} came. "
            "Pass the function itself, or a name from the zoo through pyrovi.models.get."
        )
    model = own_module(model, torch.float64)
    candidate = BoundModel(model, arguments.args, dict(arguments.kwargs))
    candidate = replace(candidate, replaced=_replaced(candidate))
    candidate, trace = _first_run(candidate)
    _check_labels(trace, candidate.kwargs, arguments.levels)
    _check_observations(trace, candidate)
    candidate, trace = _with_rows(candidate, trace)
    same = [name for name, rows in candidate.rows.items() if rows is not None]
    plates, labels = plates_of(trace, same), _labels(trace, candidate.kwargs, arguments.dims)
    bound = replace(
        candidate,
        sites=sites_of(trace, plates, labels, candidate.structure.dims),
        plates=plates,
        missing={
            **candidate.missing,
            **_missing_sites(trace, candidate.kwargs, arguments.missing),
        },
        parameters=any(node["type"] == "param" for node in trace.nodes.values()),
    )
    _check_latent(bound, trace)
    bound = replace(bound, uneven=_uneven(bound, trace))
    bound = _prepared(bound, vars(candidate).get("prototype", trace))
    check_gaps(bound)
    return _with_notes(bound, _silent(bound))


def _replaced(candidate: BoundModel) -> tuple[Replacement, ...]:
    """What the model has in place of distributions of its own, which must go with its sites."""
    found: dict[str, Replacement] = {}
    for handler, inner in reversed([*replaced_in(candidate.model)]):
        within, first = _first_run(replace(candidate, model=inner))
        second = _traced(
            InitialValues()(within.handled()), within, validated=False, attempt=PRIOR_ATTEMPTS
        )
        with within.running(whole=False):
            made = replacements(handler, candidate.name, (first, second))
        found |= {each.site: each for each in made}
    return tuple(found.values())


def _uneven(bound: BoundModel, trace: Trace) -> frozenset[str]:
    """The plates declared exchangeable whose entries no longer have one distribution."""
    changed = {each.site for each in bound.replaced}
    plates = {each.plate for each in bound.structure.exchangeable}
    return frozenset(
        plate
        for plate in plates
        for site in bound.latent
        if site.name in changed and plate in site.dims
        if not _is_even(trace.nodes[site.name], site.dims.index(plate) - len(site.dims))
    )


def _is_even(node: Any, axis: int) -> bool:
    """Whether a distribution gives entries that are shifted along an axis the same density."""
    value = node["value"]
    both = [node["fn"].log_prob(each).sum() for each in (value, value.roll(1, axis))]
    return torch.allclose(*both)


def _with_rows(candidate: BoundModel, trace: Trace) -> tuple[BoundModel, Trace]:
    """With the rows that the model itself gives its plates, a run on them, and notes.

    Raises:
        ModelError: If rows are drawn by the model, and it cannot be run on all of them.
    """
    partial = {name for name, plate in plates_of(trace).items() if plate.subsampled}
    if not partial:
        return candidate, trace
    one = candidate.prototype
    given = [name for name, plate in plates_of(one).items() if plate.subsampled]
    if not given:
        return candidate, trace
    other = _run_with_rows(candidate, 0, whole=True)
    rows, sizes = {}, {name: one.nodes[name]["fn"].size for name in given}
    for name in given:
        first, second = one.nodes[name]["value"], other.nodes[name]["value"]
        rows[name] = first if torch.equal(first, second) else None
    notes = [
        DRAWN_ROWS.format(name, sizes[name])
        if each is None
        else GIVEN_ROWS.format(name, len(each), sizes[name], sizes[name] / len(each))
        for name, each in rows.items()
    ]
    candidate = replace(candidate, rows=rows, notes=(*candidate.notes, *notes))
    return candidate, _run_with_rows(candidate, 0, whole=False)


def _run_with_rows(candidate: BoundModel, attempt: int, *, whole: bool) -> Trace:
    try:
        with candidate.running(whole=whole), isolated(stream(0, "rows", attempt)):
            return candidate.traced(InitialValues()(candidate.handled()))
    except MISTAKES as error:
        raise ModelError(
            f"Model {candidate.name!r} cannot be run on all rows of its plates: {_said(error)}. "
            "Where it subsamples, take the rows from the plate: with pyro.plate(...) as rows."
        ) from error


def _prepared(bound: BoundModel, trace: Trace) -> BoundModel:
    """With what later runs need, of ``trace`` where that tells it."""
    if bound.parameters:
        # After one run, so that no later run makes a parameter, which vmap forbids.
        with isolated(stream(0, "parameters")):
            return bound.registering(bound.model)
    whole = not any(plate.subsampled for plate in plates_of(trace, bound.rows).values())
    if whole and not bound.missing:
        # A second run would tell no more, and on many data it costs as much as a fit.
        bound.__dict__["prototype"] = trace
    return bound


def _silent(bound: BoundModel) -> tuple[str, ...]:
    """What of the data the model does not condition on."""
    notes = [
        f"Nothing in the model depends on {name!r}: no other values of it change any site."
        for name in unused_arguments(bound)
    ]
    if not any(site.conditions for site in bound.sites):
        notes.append(UNCONDITIONED)
    return tuple(notes)


def _with_notes(bound: BoundModel, notes: tuple[str, ...]) -> BoundModel:
    """The same with more notes, and with the run that it was read from."""
    noted = replace(bound, notes=(*bound.notes, *notes))
    noted.__dict__.update({k: v for k, v in vars(bound).items() if k == "prototype"})
    return noted


def _first_run(candidate: BoundModel) -> tuple[BoundModel, Trace]:
    """A model in float64, or in float32 if its own tensors ask for it; and one checked run."""
    candidate = leaving_gaps_out(candidate)
    try:
        return candidate, _validated_trace(candidate)
    except MISTAKES as error:
        if not (isinstance(error, RuntimeError) and _says(error, TWO_DTYPES)):
            raise _refusal(candidate, error) from error
    single = leaving_gaps_out(_in_single_precision(candidate))
    try:
        return single, _validated_trace(single)
    except Exception as error:
        raise _refusal(single, error) from error


def _in_single_precision(candidate: BoundModel) -> BoundModel:
    def cast_down(value: Any) -> Any:
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return value.float() if floating else value

    return replace(
        candidate,
        model=own_module(candidate.model, torch.float32),
        args=tuple(map(cast_down, candidate.args)),
        kwargs={name: cast_down(value) for name, value in candidate.kwargs.items()},
        dtype=torch.float32,
        notes=("The model holds float32 tensors of its own, so it is computed in float32.",),
    )


def _validated_trace(candidate: BoundModel) -> Trace:
    """A run with validation, at the first of a few draws from the prior that allows one."""
    model, errors = InitialValues()(candidate.handled()), list[Exception]()
    gaps = bool(
        gaps_of(candidate)
    )  # which no validation lets pass, whatever a model makes of them
    for attempt in range(1 if gaps else PRIOR_ATTEMPTS):
        try:
            return _traced(model, candidate, validated=True, attempt=attempt)
        except (ValueError, RuntimeError) as error:
            errors.append(error)
            if not _says(errors[0], IMPOSSIBLE_DRAW):
                raise
    if not (gaps or _says(errors[0], OUTSIDE_DOMAIN) or _latents_bound_support(errors)):
        raise errors[0]
    return _traced(model, candidate, validated=False)


def _latents_bound_support(errors: Sequence[Exception]) -> bool:
    """Whether data were outside of supports that differ from draw to draw, as Uniform(0, top)."""
    found = (re.search(SUPPORT, str(error.__cause__ or error)) for error in errors)
    return len({match[1] for match in found if match}) > 1


def _says(error: Exception, signs: tuple[str, ...]) -> bool:
    said = str(error.__cause__ or error)
    return any(sign in said for sign in signs)


def _traced(
    model: Callable[..., Any], candidate: BoundModel, *, validated: bool, attempt: int = 0
) -> Trace:
    seed = stream(0, "sites", *([attempt] if attempt else []))
    with (
        candidate.running(whole=False),
        pyro.validation_enabled(validated),
        isolated(seed),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", UserWarning)
        trace = candidate.traced(model)
        trace.compute_log_prob(site_filter=lambda _, site: site["is_observed"])
    return trace


def _refusal(candidate: BoundModel, error: Exception) -> PyroviError:
    """One line for a model that cannot be run on this data: the model's own, if it has one."""
    cause = error.__cause__ or error
    if isinstance(cause, PyroviError):
        return type(cause)(str(cause))
    gaps = gap_error(candidate) if _says(error, IMPOSSIBLE_DRAW) else None
    if gaps is not None:
        return gaps
    shapes = [
        f"{name} {tuple(value.shape)}"
        for name, value in candidate.kwargs.items()
        if isinstance(value, Tensor)
    ]
    came = f" The data: {', '.join(shapes)}." if shapes else ""
    given = (*candidate.args, *candidate.kwargs.values())
    whole = any(isinstance(value, Mapping) for value in given)
    hint = " The whole dict went to the model's one argument." if whole else ""
    return ModelError(
        f"Model {candidate.name!r} cannot be run on this data: {_said(error)}.{came}{hint} "
        f"{advice(error)}"
    )


def advice(error: Exception) -> str:
    """What to check of a model that raised an error."""
    cases = (OF_SHAPES, SHAPES), (WHOLE_NUMBERS, FLOATS)
    return next((what for signs, what in cases if _says(error, signs)), CHECK)


def _said(error: Exception) -> str:
    """The kind of an error, and the first line of what it says."""
    cause = error.__cause__ or error
    first = str(cause).strip().split("\n")[0] or type(cause).__name__
    return f"{type(cause).__name__}: {first.rstrip('.')}"


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
    return [
        name
        for name, each in tensors.items()
        if each.shape == value.shape
        and (each.data_ptr() == value.data_ptr() or _made_of(value, each))
    ]


def _made_of(value: Tensor, argument: Tensor) -> bool:
    """Whether a value is an argument in another dtype, or with others for its NaNs."""
    gaps = argument.isnan()
    changed = argument.dtype != value.dtype or bool(gaps.any())
    return changed and bool((gaps | (argument == value)).all())


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
            if node["fn"].event_dim and not has_marginals(node["fn"]):
                raise DataError(
                    f"{argument} has masked values inside the events of site {node['name']!r}, a "
                    f"{type(node['fn']).__name__}, whose density without them is not known. "
                    "Observe independent entries without .to_event, or drop those rows."
                )
            masks[node["name"]] = mask
    return masks


def _check_labels(trace: Trace, kwargs: Mapping[str, Any], levels: Mapping[str, pd.Index]) -> None:
    """Labels have an order but no distances: only what is discrete can be observed as them."""
    for node in sample_nodes(trace):
        continuous = kind_of(node) == "observed" and not is_discrete(node["fn"])
        for name in _observed_arguments(node, kwargs) if continuous else ():
            if name in levels:
                raise DataError(
                    f"{name}: expected numbers, and labels came ({named(levels[name].tolist())}), "
                    f"which site {node['name']!r} observes by a distribution that is continuous. "
                    "Encode them as numbers, or observe them by a Categorical or the like."
                )


def _check_observations(trace: Trace, candidate: BoundModel) -> None:
    """Data that would be stretched to fit their distribution are of a wrong length."""
    kwargs = candidate.kwargs
    for node in sample_nodes(trace):
        value = node["value"]
        if kind_of(node) != "observed" or not isinstance(value, Tensor):
            continue
        _check_shape(node, tuple(value_shape(node["fn"])), tuple(value.shape), kwargs)
        if not value.double().isfinite().all():
            raise gap_error(candidate) or DataError(
                f"{node['name']}: the model observes values that are not finite. "
                "Drop or impute them before the fit."
            )


def _check_shape(
    node: Any, expected: tuple[int, ...], came: tuple[int, ...], kwargs: Mapping[str, Any]
) -> None:
    """Either may be repeated whole, as what is constant is; not both, and not rows of data."""
    try:
        both = broadcast(expected, came)
    except ValueError:  # its distribution says another shape of itself than it takes
        return
    stretched = both not in (expected, came)
    constant = prod(came) == 1 and not _observed_arguments(node, kwargs)
    if not (stretched or (prod(came) < prod(expected) and not constant)):
        return
    of_each = f", so that {prod(both)} densities would be made of them" if stretched else ""
    hint = ""
    if stretched or prod(expected) == prod(came) ** 2:
        hint = " An axis of one is in the way: flatten() either, or [:, None] the other."
    raise DataError(
        f"{node['name']}: the model expects shape {expected}, and the data has {came}{of_each}. "
        f"Give one value for each, in the same order.{hint}"
    )


def _check_latent(bound: BoundModel, trace: Trace) -> None:
    if not (bound.latent or bound.discrete):
        raise ModelError(
            f"Model {bound.name!r} has no latent sites, so there is nothing to infer. "
            "Add a pyro.sample without obs."
        )
    for site in bound.latent:
        map_of(site.name, trace.nodes[site.name]["fn"])
    if bound.discrete:
        _check_discrete(bound, trace)
    if not bound.latent:
        raise ModelError(
            f"Model {bound.name!r} has only discrete latent sites, which are summed out exactly: "
            "there is nothing to fit. Use pyro.infer.infer_discrete."
        )


def _check_discrete(bound: BoundModel, trace: Trace) -> None:
    """Discrete sites are summed out, and drawn given the data; both need plates for all axes."""
    endless = [site for site in bound.discrete if not site.enumerable]
    if endless and lists_its_entries(trace.nodes[endless[0].name]["fn"]):
        raise ModelError(
            f"Site {endless[0].name!r} is discrete, and its axes are one event (.to_event), which "
            "cannot be summed out. Put them in a pyro.plate instead."
        )
    if endless:
        raise ModelError(ENDLESS.format(endless[0].name))
    vectors = [site for site in bound.discrete if site.event_dim]
    if vectors:
        raise ModelError(
            f"Site {vectors[0].name!r} ({vectors[0].distribution}) is discrete, and each of its "
            "values has axes, so it cannot be drawn given the data. Use a Categorical, and "
            "torch.nn.functional.one_hot of it."
        )
    for site in bound.sites:
        axes = batch_axes_without_plates(trace.nodes[site.name])
        if axes:
            event = "" if site.discrete and site.kind == "latent" else EVENT
            raise ModelError(
                f"Site {site.name!r} has batch axes {axes} that stand in no plate, and discrete "
                f"sites can be summed out only where each does. Open a pyro.plate for them{event}."
            )
