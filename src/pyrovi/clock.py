"""The time that a user allows: a deadline at which whatever takes long ends itself."""

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from time import perf_counter

_DEADLINE: ContextVar[float] = ContextVar("deadline", default=math.inf)


class OutOfTime(Exception):  # noqa: N818  not an error: whoever set the deadline expects it
    """The time that the user allowed is spent."""


def seconds_left() -> float:
    """The time that is left; infinite where none was set.

    >>> with within(5.0):
    ...     4.0 < seconds_left() < 5.0
    True
    """
    return _DEADLINE.get() - perf_counter()


def check_time() -> None:
    """Raise `OutOfTime` if the deadline has passed."""
    if perf_counter() > _DEADLINE.get():
        raise OutOfTime


@contextlib.contextmanager
def until(deadline: float | None) -> Iterator[None]:
    """Within this there is a deadline, on the clock of `time.perf_counter`; the earliest holds."""
    token = _DEADLINE.set(min(_DEADLINE.get(), math.inf if deadline is None else deadline))
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def within(seconds: float | None) -> contextlib.AbstractContextManager[None]:
    """Within this, so much time is left at the most."""
    return until(None if seconds is None else perf_counter() + seconds)
