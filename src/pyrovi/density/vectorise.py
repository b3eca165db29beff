"""Many points carried through one run of a model; one that fails there spoils no other."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from pyrovi.bound import made_for_many

# What a model raises at a point where it cannot be run: of many in one call, find out which.
FAILS_AT_A_POINT = (ValueError, RuntimeError, ArithmeticError)


def in_one_run(
    one: Callable[..., Any], rows: Any, *, fits: int | None = None, random: bool = False
) -> Any:
    """``one`` at all rows, so many a run; a matrix that cannot be factorised is NaN in its row.

    Args:
        one: A function of one flat vector, or of one draw of each site.
        rows: A tensor ``(draw, dim)``, or a mapping of ``(draw, *shape)``.
        fits: How many fit into memory at once; None if all do.
        random: Whether the function draws random numbers, other ones in each row.
    """
    randomness = "different" if random else "error"
    with made_for_many():
        return torch.func.vmap(one, randomness=randomness, chunk_size=fits)(rows)


def bisected(
    together: Callable[[Tensor], Any], alone: Callable[[Tensor], Any], rows: Tensor
) -> Any:
    """``together`` at all rows; where that fails, at half of them, down to ``alone`` at one.

    >>> matrices = torch.tensor([2.0, 0.0, 4.0]).reshape(3, 1, 1)
    >>> bisected(torch.linalg.inv, torch.zeros_like, matrices).flatten()
    tensor([0.5000, 0.0000, 0.2500])
    """
    try:
        return together(rows)
    except FAILS_AT_A_POINT:
        if len(rows) == 1:
            return tree_map(lambda part: part[None], alone(rows[0]))
    halves = [bisected(together, alone, half) for half in rows.tensor_split(2)]
    return tree_map(lambda *parts: torch.cat(parts), *halves)


def first_line(error: Exception) -> str:
    """What an error says first; Pyro appends shapes, and says a site where torch says what."""
    return str(error.__cause__ or error).partition("\n")[0].rstrip(".")
