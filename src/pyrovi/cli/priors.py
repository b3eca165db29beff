"""Priors that a command was given, as text: ``tau=HalfNormal(2.0)``. Nothing in one is run."""

import ast
import inspect
from collections.abc import Sequence
from typing import Any

from pyrovi.errors import ModelError
from pyrovi.registry import refuse_unknown

ASKED = (
    "Expected --prior 'tau=HalfNormal(2.0)', a site and a distribution of Pyro with numbers, or "
    "lists of them, and {!r} came."
)


def priors_of(texts: Sequence[str]) -> dict[str, Any]:
    """The distribution of each site that was named.

    Raises:
        ModelError: If a text is none such, or there is no such distribution.

    >>> priors_of(["tau=HalfNormal(scale=2.0)"])["tau"].scale
    tensor(2., dtype=torch.float64)
    """
    priors = {}
    for text in texts:
        site, equals, call = text.partition("=")
        if not equals or not site.strip():
            raise ModelError(ASKED.format(text))
        if site.strip() in priors:
            raise ModelError(f"--prior {site.strip()} came twice. Give it once.")
        priors[site.strip()] = _distribution(call, text)
    return priors


def _distribution(call: str, text: str) -> Any:
    try:
        parsed = ast.parse(call.strip(), mode="eval").body
    except SyntaxError as error:
        raise ModelError(ASKED.format(text)) from error
    if not isinstance(parsed, ast.Call) or not isinstance(parsed.func, ast.Name):
        raise ModelError(ASKED.format(text))
    there = _distributions()
    refuse_unknown(parsed.func.id, there, ModelError, f"Pyro has no {parsed.func.id!r}")
    try:
        values = [_value(each) for each in parsed.args]
        named = {str(each.arg): _value(each.value) for each in parsed.keywords}
        return there[parsed.func.id](*values, **named)
    except (ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(f"--prior {text}: {reason}. {ASKED.format(text)}") from error


def _value(node: ast.expr) -> Any:
    """A number, or a list of them as a tensor."""
    import torch

    value = ast.literal_eval(node)
    if isinstance(value, list | tuple):
        return torch.tensor(value, dtype=torch.float64)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return torch.tensor(float(value), dtype=torch.float64)


def _distributions() -> dict[str, Any]:
    import pyro.distributions as dist

    return {
        name: each
        for name, each in vars(dist).items()
        if inspect.isclass(each) and issubclass(each, dist.Distribution) and name[0] != "_"
    }
