"""What a person may say of a table or give to a model: typed, and checked where it is read.

The keyword arguments of an entry's ``read`` are its options, in ``entry.read(frame, width=5)`` as
on the command line (``--width 5``). Each is annotated with what it may be, and comes as such a
value or as its text::

    def read(
        frame: pd.DataFrame, *, width: Annotated[int, whole(most=100)] = 5
    ) -> xr.DataTree: ...
"""

import inspect
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, get_args, get_origin

import numpy as np
import torch

from pyrovi.errors import DataError
from pyrovi.registry import nearest

Reading = Callable[[str, Any], Any]
"""From an option's name and its value, or the text of one, to the value."""


def whole(most: int) -> Reading:
    """A whole number from 1."""
    return lambda name, value: whole_number(name, value, most=most)


def number(least: float, most: float, unit: str = "") -> Reading:
    """A number between two others.

    >>> number(0.01, 1e6, " m")("depth", "500")
    500.0
    """

    def read(name: str, value: Any) -> float:
        try:
            given = float(value)
        except (TypeError, ValueError):
            given = math.nan
        if not least <= given <= most:
            raise unlike(name, f"a number from {least:g} to {most:g}{unit}", value)
        return given

    return read


def one_of(words: Collection[str]) -> Reading:
    """One of some words."""

    def read(name: str, value: Any) -> str:
        if value not in words:
            near = nearest(str(value), words)
            raise unlike(name, f"one of {', '.join(words)}", value, f"{near}.")
        return value

    return read


def yes_or_no(name: str, value: Any) -> bool:
    """Yes or no."""
    words = {"yes": True, "true": True, "no": False, "false": False}
    if (word := str(value).lower()) not in words:
        raise unlike(name, "yes or no", value)
    return words[word]


def options_of(reader: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The options that ``reader(frame, *, ...)`` takes, by name."""
    return dict(list(inspect.signature(reader).parameters.items())[1:])


def typed(reader: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options as ``reader`` takes them; `DataError` if one is not as it is annotated."""
    parameters = options_of(reader)
    return {name: _typed(name, value, parameters[name]) for name, value in given.items()}


def _typed(name: str, value: Any, parameter: inspect.Parameter) -> Any:
    declared = parameter.annotation
    if get_origin(declared) is not Annotated or value is parameter.default:
        return value
    return get_args(declared)[1](name, value)


def whole_number(name: str, value: Any, *, most: int, advice: str = "") -> int:
    """``value`` as a whole number from 1, whether it came as one, as text or in an array.

    >>> whole_number("width", "20", most=100), whole_number("width", np.array(3), most=100)
    (20, 3)
    """
    text = str(np.asarray(value)).strip()
    number = int(text) if re.fullmatch(r"\d{1,18}", text) else 0
    if not 1 <= number <= most:
        raise unlike(name, f"a whole number from 1 to {most}", value, f". {advice}".rstrip())
    return number


def scale(name: str, value: Any, *, of: str, advice: str = "") -> None:
    """Refuse a ``value``, a standard deviation of ``of``, that is not above zero everywhere."""
    if not bool((torch.as_tensor(value) > 0).all()):
        raise DataError(
            f"{name} is the standard deviation of {of}, above 0, and {plain(value)!r} came."
            f" {advice}".rstrip()
        )


def plain(value: Any) -> Any:
    """A tensor as the number, or the list, that was given."""
    return value.tolist() if isinstance(value, torch.Tensor) else value


def unlike(name: str, asked: str, value: Any, hint: str = ".") -> DataError:
    """The error for an option that is not what was asked for."""
    return DataError(f"{name}: expected {asked}, and {plain(value)!r} came{hint}")
