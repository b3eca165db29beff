"""A registry: members by name, each imported when it is asked for, and those of other packages.

Other packages add members by an entry point of the registry's group, whose name is the member's.
A name of pyrovi's own is never taken by another's.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from pyrovi.errors import PyroviError, PyroviWarning
from pyrovi.lazy import load

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Members by name.

    Args:
        what: What a member is called in messages: ``"engine"``.
        members: Where each of pyrovi's own is, ``"module:attribute"``, by name.
        group: The group of entry points by which other packages add theirs.
        accepts: Whether an object from an entry point can be a member.
        asked: What such an object must be, in words.
        unknown: The error for a name that is not there.

    >>> from pyrovi.errors import EngineError
    >>> entry_points = {"group": "pyrovi.none", "accepts": callable, "asked": "a number"}
    >>> constants = Registry("constant", {"pi": "math:pi"}, **entry_points, unknown=EngineError)
    >>> constants["pi"]
    3.141592653589793
    >>> constants["pie"]
    Traceback (most recent call last):
    pyrovi.errors.EngineError: There is no constant 'pie' (did you mean 'pi'?). There is: pi.
    """

    def __init__(
        self,
        what: str,
        members: Mapping[str, str],
        *,
        group: str,
        accepts: Callable[[Any], bool],
        asked: str,
        unknown: type[PyroviError],
    ) -> None:
        self.what, self.members, self.group = what, dict(members), group
        self.accepts, self.asked, self.unknown = accepts, asked, unknown

    def __getitem__(self, name: str) -> T:
        if name in self.members:
            return load(self.members[name])
        said = f"There is no {self.what} {name!r}"
        refuse_unknown(name, self, self.unknown, said, there="There is")
        member, fault = self._from(self._points()[name])
        if fault:
            raise self.unknown(f"The {self.what} {name!r} cannot be used: {fault}.")
        return member

    def __iter__(self) -> Iterator[str]:
        yield from self.members
        yield from self._points()

    def __len__(self) -> int:
        return len(self.members) + len(self._points())

    def __contains__(self, name: object) -> bool:
        return name in self.members or name in self._points()

    def available(self) -> dict[str, T]:
        """Every member that can be loaded; of another package's that cannot, a warning."""
        members: dict[str, T] = {name: self[name] for name in self.members}
        for name, point in self._points().items():
            member, fault = self._from(point)
            if fault:
                what = f"{self.what.capitalize()} {name!r} ({point.value})"
                warnings.warn(f"{what} is left out: {fault}.", PyroviWarning, stacklevel=2)
            else:
                members[name] = member
        return members

    def _points(self) -> dict[str, EntryPoint]:
        points = entry_points(group=self.group)
        return {point.name: point for point in points if point.name not in self.members}

    def _from(self, point: EntryPoint) -> tuple[Any, str]:
        """The object behind an entry point, or what is wrong with it."""
        try:
            member = point.load()
        except Exception as error:  # noqa: BLE001  another package's fault must not be ours
            return None, f"importing it failed with {type(error).__name__}: {error}"
        if self.accepts(member):
            return member, ""
        return None, f"it is a {type(member).__name__}, and {self.asked} was expected"


def nearest(name: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` for a near miss, or nothing.

    >>> nearest("irs", ["iris", "wine"])
    " (did you mean 'iris'?)"
    """
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def refuse_unknown(
    name: str,
    known: Collection[str],
    error: type[PyroviError],
    said: str,
    *,
    there: str = "It has",
) -> None:
    """Raise ``error`` if a name is not among the ``known``: ``said``, the nearest, and all.

    >>> refuse_unknown("irs", ["iris", "wine"], PyroviError, "No data set is 'irs'")
    Traceback (most recent call last):
    pyrovi.errors.PyroviError: No data set is 'irs' (did you mean 'iris'?). It has: iris, wine.
    """
    if name not in known:
        raise error(f"{said}{nearest(name, known)}. {there}: {', '.join(known)}.")
