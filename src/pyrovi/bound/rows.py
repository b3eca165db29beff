"""Many rows at once where that works, else one by one: for draws, guides and densities alike."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import pyro
import torch

T = TypeVar("T")


def at_once_or_each(
    together: Callable[[], T | None] | None,
    each: Callable[[Any], T],
    rows: Iterable[Any],
    *,
    failures: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """All rows in one call, or what one call a row gives, stacked.

    Args:
        together: All at once; None where that is out of the question. It may give None itself,
            where its result would be wrong.
        each: A tensor, or a mapping of tensors, for one row.
        rows: What ``each`` is called with in turn.
        failures: What ``together`` may raise where it does not work.

    >>> at_once_or_each(None, lambda row: {"square": torch.tensor(row**2)}, range(3))
    {'square': tensor([0, 1, 4])}
    """
    if together is not None:
        try:
            result = together()
        except failures:
            result = None
        if result is not None:
            return result
    return _stacked([each(row) for row in rows])


def _stacked(rows: list[Any]) -> Any:
    if isinstance(rows[0], Mapping):
        return {key: _stacked([row[key] for row in rows]) for key in rows[0]}
    return torch.stack(rows)


def in_plate_of_draws(
    model: Callable[..., Any], draws: int, max_plate_nesting: int
) -> Callable[..., Any]:
    """A model or guide run for many draws at once, in a plate left of all others."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with pyro.plate("_draws", draws, dim=-1 - max_plate_nesting):
            return model(*args, **kwargs)

    return run
