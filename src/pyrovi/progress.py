"""Progress bars, one below another, where somebody can see them."""

import contextlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

_SHOWN: ContextVar[bool] = ContextVar("shown", default=False)
UPDATED_EVERY = 0.2  # seconds


@contextlib.contextmanager
def shown(progress: bool | None) -> Iterator[None]:
    """Within this, bars are shown, or not; None for only in a terminal, or a notebook."""
    seen = sys.stderr.isatty() or "ipykernel" in sys.modules
    token = _SHOWN.set(seen if progress is None else progress)
    try:
        yield
    finally:
        _SHOWN.reset(token)


def bar(total: int, label: str) -> Any:
    """A bar of tqdm's, to be used in a ``with``: of so many steps as are expected."""
    from tqdm.auto import tqdm

    hidden = not _SHOWN.get()
    return tqdm(total=total, desc=label, disable=hidden, leave=False, mininterval=UPDATED_EVERY)


def steps_of(total: int, label: str) -> Iterator[int]:
    """The numbers of so many steps, with a bar.

    >>> list(steps_of(3, "searching"))
    [0, 1, 2]
    """
    with bar(total, label) as steps:
        for step in range(total):
            yield step
            steps.update()
