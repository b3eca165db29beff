"""What the settings of every engine share: how they are shown, and how they are checked."""

import math
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from pyrovi.errors import EngineError, check_whole_number


class Settings:
    """The base of an engine's settings, a frozen dataclass made with ``repr=False``.

    It is shown by the settings that differ from the defaults.

    >>> from pyrovi import DADVI
    >>> DADVI(whiten=True)
    DADVI(whiten=True)
    """

    def __repr__(self) -> str:
        parts = self._shown()
        for each in fields(self):  # pyright: ignore[reportArgumentType]
            value = getattr(self, each.name)
            if each.repr and each.name not in parts and value != each.default:
                parts[each.name] = repr(value)
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in parts.items())})"

    def _shown(self) -> dict[str, str]:
        """Settings whose own repr would not do, as they are to be shown."""
        return {}


def whole(settings: Settings, *names: str, least: int = 1, even: bool = False) -> None:
    """Raise an `EngineError` unless the settings of these names are whole numbers from ``least``.

    >>> from pyrovi import DADVI
    >>> DADVI(particles=7)
    Traceback (most recent call last):
    pyrovi.errors.EngineError: particles of DADVI must be an even number, and 7 came.
    """
    for name, value in _given(settings, names):
        check_whole_number(value, name, EngineError, least=least)
        if even and value % 2:
            raise EngineError(f"{name} must be an even number, and {value} came.")


def positive(settings: Settings, *names: str, or_zero: bool = False) -> None:
    """Raise an `EngineError` unless the settings of these names are positive, and finite."""
    for name, value in _given(settings, names):
        if not (0 < value < math.inf or (or_zero and value == 0)):
            asked = "a number from 0" if or_zero else "a positive number"
            raise EngineError(f"{name} must be {asked}, and {value!r} came.")


def _given(settings: Settings, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """The name, with whose it is, and the value of each; not of those that are left out."""
    left_out = {each.name for each in fields(settings) if each.default is None}  # pyright: ignore[reportArgumentType]
    for name in names:
        value = getattr(settings, name)
        if value is not None or name not in left_out:
            yield f"{name} of {type(settings).__name__}", value
