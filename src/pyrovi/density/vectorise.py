"""Many points carried through one run of a model; one that fails there spoils no other."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from pyrovi.bound import end_to_end, made_for_many
from pyrovi.density.idioms import ApartError, Idiom, Idioms, Line, MadeOnceError, NotForManyError

# What a model raises at a point where it cannot be run: of many in one call, find out which.
FAILS_AT_A_POINT = (ValueError, RuntimeError, ArithmeticError, AssertionError)
NEED_PARTS = (*FAILS_AT_A_POINT, ApartError, NotForManyError)
MOST_FAILURES = 8  # one in so many rows, and a few; beyond, a small part goes row by row
SMALL = 4  # rows that are faster one by one than in a run that may fail


class Carrier:
    """Carries many points through one run of a model.

    Attributes:
        helps: Whether `Idioms` help the model, which takes a third longer.
        lines: Where it makes tensors that are to hold a value for each point, learnt on the way.
        random: Whether the model draws random numbers, on which its density does not hang.
    """

    def __init__(self, *, random: bool = False) -> None:
        self.random = random
        self.helps = False
        self.lines: frozenset[Line] = frozenset()

    def in_one_run(self, one: Callable[..., Any], rows: Any, *, random: bool = False) -> Any:
        """``one`` at all rows; a matrix that cannot be factorised is NaN in its own row.

        Args:
            one: A function of one flat vector, or of one draw of each site.
            rows: A tensor ``(draw, dim)``, or a mapping of ``(draw, *shape)``.
            random: Whether the function draws random numbers, other ones in each row.
        """
        randomness = "different" if random or self.random else "error"
        while True:
            helped = self._helped(one) if self.helps else one
            try:
                with made_for_many():
                    return torch.func.vmap(helped, randomness=randomness)(rows)
            except MadeOnceError as once:
                if once.line in self.lines:
                    raise NotForManyError(Idiom.WRITTEN) from once
                self.lines |= {once.line}

    def _helped(self, one: Callable[..., Any]) -> Callable[..., Any]:
        def helped(row: Any) -> Any:
            with Idioms(tree_leaves(row)[0], self.lines):
                return one(row)

        return helped


def in_parts(
    together: Callable[[Tensor], Any],
    alone: Callable[[Tensor], Any],
    rows: Tensor,
    fits: int | None = None,
) -> Any:
    """``together`` at all rows, ``fits`` at once; at parts where it fails, or ``alone`` at each.

    >>> matrices = torch.tensor([2.0, 0.0, 4.0]).reshape(3, 1, 1)
    >>> in_parts(torch.linalg.inv, torch.zeros_like, matrices).flatten()
    tensor([0.5000, 0.0000, 0.2500])
    """
    if fits is not None and fits < len(rows):
        parts = (in_parts(together, alone, part) for part in rows.split(fits))
        return end_to_end(parts, len(rows))
    waiting, done, failures = [torch.arange(len(rows))], [], 0
    while waiting:
        part = waiting.pop()
        some = rows if len(part) == len(rows) else rows[part]
        scattered = failures > SMALL + len(rows) // MOST_FAILURES and len(part) < SMALL
        try:
            value = _at_each(alone, some) if scattered else together(some)
        except NEED_PARTS as error:
            failures += 1
            if smaller := _parts(error, part):
                waiting += smaller
                continue
            value = _at_each(alone, some)
        done.append((part, value))
    return done[0][1] if len(done) == 1 else _in_order(done)


def _parts(error: Exception, part: Tensor) -> list[Tensor]:
    """The rows of a part that are to be tried together next; none where they go alone."""
    if len(part) == 1 or isinstance(error, NotForManyError):
        return []
    if not isinstance(error, ApartError):
        return [*part.tensor_split(2)]
    ways = error.way.unique() if len(error.way) == len(part) else []
    return [part[error.way == way] for way in ways]


def _in_order(done: list[tuple[Tensor, Any]]) -> Any:
    order = torch.cat([part for part, _ in done]).argsort()
    return tree_map(lambda each: each[order], _joined([each for _, each in done]))


def _at_each(alone: Callable[[Tensor], Any], rows: Tensor) -> Any:
    return tree_map(lambda *each: torch.stack(each), *[alone(row) for row in rows])


def _joined(parts: list[Any]) -> Any:
    return tree_map(lambda *each: torch.cat(each), *parts)
