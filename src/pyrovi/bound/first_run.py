"""The first run of a model on its data, with Pyro's own checks on: they see most mistakes."""

import contextlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pyro
import torch
from torch import Tensor

from pyrovi.bound.handlers import InitialValues
from pyrovi.bound.model import PRIOR_ATTEMPTS, BoundModel
from pyrovi.bound.pyro_patches import own_module
from pyrovi.bound.sites import Trace
from pyrovi.errors import ModelError, PyroviError
from pyrovi.seeds import isolated, stream

# What torch and Pyro say of one draw from the prior that makes the rest impossible (a parameter
# outside its domain, data outside a support that hangs on a latent site, a matrix that is not
# positive definite), and of tensors of two dtypes.
OUTSIDE_DOMAIN = ("Expected parameter",)
IMPOSSIBLE_DRAW = (*OUTSIDE_DOMAIN, "Expected value argument", "positive-definite")
TWO_DTYPES = ("dtype", "scalar type")
MISTAKES = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)


def first_run(candidate: BoundModel) -> tuple[BoundModel, Trace]:
    """A model in float64, or in float32 if its own tensors ask for it; and one run of it."""
    try:
        return candidate, _validated_trace(candidate)
    except MISTAKES as error:
        if not (isinstance(error, RuntimeError) and _says(error, TWO_DTYPES)):
            raise _refusal(candidate, error) from error
    single = _in_single_precision(candidate)
    try:
        return single, _validated_trace(single)
    except Exception as error:
        raise _refusal(single, error) from error


def initial_parameters(model: BoundModel) -> Any:
    """Pyro's store after one run, so that no later run makes a parameter (vmap forbids that)."""
    with model.running(), isolated(stream(0, "parameters")):
        model.traced(model.model)
        return pyro.get_param_store().get_state()


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


def _validated_trace(candidate: BoundModel) -> Trace:
    """A run with validation, at the first of a few draws from the prior that allows one."""
    model, first = InitialValues()(candidate.handled()), None
    for attempt in range(PRIOR_ATTEMPTS):
        try:
            return _traced(model, candidate, validated=True, attempt=attempt)
        except (ValueError, RuntimeError) as error:
            first = first or error
            if not _says(first, IMPOSSIBLE_DRAW):
                raise
    if first is not None and not _says(first, OUTSIDE_DOMAIN):
        raise first
    return _traced(model, candidate, validated=False)


def _says(error: Exception, signs: tuple[str, ...]) -> bool:
    said = str(error.__cause__ or error)
    return any(sign in said for sign in signs)


def _traced(
    model: Callable[..., Any], candidate: BoundModel, *, validated: bool, attempt: int = 0
) -> Trace:
    with contextlib.ExitStack() as stack:
        stack.enter_context(candidate.running(whole=False))
        stack.enter_context(pyro.validation_enabled(validated))
        stack.enter_context(isolated(stream(0, "sites", *([attempt] if attempt else []))))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", UserWarning)
        trace = candidate.traced(model)
        trace.compute_log_prob(site_filter=lambda _, site: site["is_observed"])
    return trace


def _refusal(candidate: BoundModel, error: Exception) -> PyroviError:
    """One line for a model that cannot be run on this data: the model's own, if it has one."""
    cause = error.__cause__ or error
    if isinstance(cause, PyroviError):
        return type(cause)(str(cause))
    first = str(cause).strip().split("\n")[0] or type(cause).__name__
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
        f"Model {candidate.name!r} cannot be run on this data: {type(cause).__name__}: "
        f"{first.rstrip('.')}.{came}{hint} Check lengths, types and argument names."
    )
