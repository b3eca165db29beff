"""What a person may say of a table or give to a model: typed, and checked where it is read.

The keyword arguments of an entry's ``read`` are its options, in ``entry.read(frame, width=5)`` as
on the command line (``--width 5``). Each is annotated with what it may be, and comes as such a
value or as its text::

    def read(
        frame: pd.DataFrame, *, width: Annotated[int, Whole(most=100)] = 5
    ) -> xr.DataTree: ...
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, get_args, runtime_checkable

import torch

from pyrovi.errors import DataError
from pyrovi.registry import nearest

__all__ = [
    "Number",
    "OneOf",
    "Option",
    "Whole",
    "YesNo",
    "options_of",
    "plain",
    "scale",
    "typed",
    "unlike",
    "whole_number",
]


@runtime_checkable
class Option(Protocol):
    """What an option may be."""

    def read(self, name: str, value: Any) -> Any:
        """The value, whether it came as one or as text; `DataError` where it is none."""
        ...


@dataclass(frozen=True)
class Whole:
    """A whole number from 1.

    Attributes:
        most: The largest.
    """

    most: int

    def read(self, name: str, value: Any) -> int:
        return whole_number(name, value, most=self.most)


@dataclass(frozen=True)
class Number:
    """A number between two others.

    >>> Number(0.01, 1e6, " m").read("depth", "500")
    500.0
    """

    least: float
    most: float
    unit: str = ""

    def read(self, name: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not self.least <= number <= self.most:
            raise unlike(name, f"a number from {self.least:g} to {self.most:g}{self.unit}", value)
        return number


@dataclass(frozen=True)
class OneOf:
    """One of some words."""

    words: tuple[str, ...]

    def read(self, name: str, value: Any) -> str:
        if value not in self.words:
            hint = f"{nearest(str(value), self.words)}."
            raise unlike(name, f"one of {', '.join(self.words)}", value, hint)
        return value


@dataclass(frozen=True)
class YesNo:
    """Yes or no."""

    def read(self, name: str, value: Any) -> bool:
        words = {"yes": True, "true": True, "no": False, "false": False}
        if (word := str(value).lower()) not in words:
            raise unlike(name, "yes or no", value)
        return words[word]


def options_of(reader: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The options that ``reader(frame, *, ...)`` takes, by name."""
    return dict(list(inspect.signature(reader).parameters.items())[1:])


def typed(reader: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options as ``reader`` takes them.

    Raises:
        DataError: If one is not what it is annotated to be.
    """
    parameters = options_of(reader)
    return {name: _typed(name, value, parameters[name]) for name, value in given.items()}


def _typed(name: str, value: Any, parameter: inspect.Parameter) -> Any:
    if value is None and parameter.default is None:
        return None
    for kind in get_args(parameter.annotation):
        if isinstance(kind, Option):
            value = kind.read(name, value)
    return value


def whole_number(name: str, value: Any, *, most: int, advice: str = "") -> int:
    """``value`` as a whole number from 1, whether it came as one or as text.

    >>> whole_number("width", "20", most=100)
    20
    """
    text = str(value).strip()
    number = int(text) if re.fullmatch(r"\d{1,18}", text) else 0
    if not 1 <= number <= most:
        raise unlike(name, f"a whole number from 1 to {most}", value, f". {advice}".rstrip())
    return number


def scale(name: str, value: Any, *, of: str, advice: str = "") -> Any:
    """``value``, a standard deviation of ``of``, if it is above zero everywhere."""
    if not bool((torch.as_tensor(value) > 0).all()):
        raise DataError(
            f"{name} is the standard deviation of {of}, above 0, and {plain(value)!r} came."
            f" {advice}".rstrip()
        )
    return value


def plain(value: Any) -> Any:
    """A tensor as the number, or the list, that was given."""
    return value.tolist() if isinstance(value, torch.Tensor) else value


def unlike(name: str, asked: str, value: Any, hint: str = ".") -> DataError:
    """The error for an option that is not what was asked for."""
    return DataError(f"{name}: expected {asked}, and {plain(value)!r} came{hint}")
