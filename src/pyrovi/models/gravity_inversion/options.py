"""What a person asks of the mesh and the prior of a survey, as numbers or as their text."""

import math
from collections.abc import Sequence

from pyrovi.errors import DataError
from pyrovi.models.gravity_inversion.survey import Survey

__all__ = ["cell_counts", "number", "yes_or_no"]

RANGE = {
    "depth": (0.01, 1e6),
    "top": (-1e6, 1e6),
    "strength": (1e-3, 1e5),
    "length": (0.01, 1e7),
    "exponent": (0.0, 20.0),
}
"""Least and most; beyond them is no ground on Earth, and squares leave double precision."""
UNIT = {"depth": " m", "top": " m", "strength": " kg/m3", "length": " m", "exponent": ""}


def cell_counts(
    cells: str | Sequence[int] | None, survey: Survey, *, section: bool
) -> tuple[int, int, int]:
    """Cells along depth, northing and easting; by default two thirds of the stations' spacing.

    Raises:
        DataError: If they are not whole numbers of at least 1, or not as many as there are axes.
    """
    if cells is None:
        if section:
            along = min(40, max(8, round(1.5 * len(survey.gravity))))
            return max(4, along // 3), 1, along
        along = min(20, max(6, round(1.5 * math.sqrt(len(survey.gravity)))))
        return max(4, along // 2), along, along
    try:
        given = [int(n) for n in (cells.split(",") if isinstance(cells, str) else cells)]
    except ValueError:
        given = []
    if section and len(given) == 2:
        given.insert(1, 1)
    if len(given) != 3 or min(given) < 1 or (section and given[1] != 1):
        asked = "2 whole numbers (depth, easting)" if section else "3 whole numbers"
        raise DataError(
            f"cells: expected {asked} of at least 1 with commas between, and {cells!r} came. "
            f"Try {'10,30' if section else '8,12,12'}."
        )
    return given[0], given[1], given[2]


def number(name: str, value: str | float | None) -> float | None:
    """The option ``name``, whether it came as a number or as text; None if it did not come.

    Raises:
        DataError: If it is no number, or one that the ground cannot have.

    >>> number("depth", "500")
    500.0
    """
    if value is None:
        return None
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    least, most = RANGE[name]
    if not least <= found <= most:
        raise DataError(
            f"{name}: expected a number from {least:g} to {most:g}{UNIT[name]}, and "
            f"{str(value)!r} came."
        )
    return found


def yes_or_no(name: str, value: str | bool | None, *, default: bool) -> bool:
    """The option ``name`` as true or false.

    Raises:
        DataError: If it is neither yes nor no.
    """
    known = {"yes": True, "true": True, "no": False, "false": False}
    if value is None or isinstance(value, bool):
        return default if value is None else value
    if value.lower() not in known:
        raise DataError(f"{name}: expected yes or no, and {value!r} came.")
    return known[value.lower()]
