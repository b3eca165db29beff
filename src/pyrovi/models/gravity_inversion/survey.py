"""A gravity survey, and reading one from a table."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from pyrovi.errors import DataError, PyroviWarning, RowError
from pyrovi.models.tables import Table
from pyrovi.registry import nearest

PLACES = ("easting", "northing", "height")
COLUMNS = (*PLACES, "gravity", "sigma")
LENGTHS = {"m": 1.0, "km": 1e3}
ACCELERATIONS = {"mgal": 1.0, "ugal": 1e-3, "m/s2": 1e5, "m s-2": 1e5, "um/s2": 0.1}
FEWEST_STATIONS = 5
LARGEST = {"easting": 1e8, "northing": 1e8, "height": 20e3, "gravity": 1e4, "sigma": 1e4}
"""Metres and mGal: the coordinates of every map, heights where no ground is and few aircraft fly,
and ten times the anomalies of mountains, far less than gravity itself."""
FINEST = 1e-6  # mGal: finer than any gravimeter
WIDEST, WIDE, NARROW = (
    1e6,
    3e5,
    20.0,
)  # metres: refused above the first, doubted outside the others
OUTLYING = 10.0  # sds, by the median of absolute deviations, that part one height from others


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Stations, in metres with height positive up, and what was measured there.

    Attributes:
        gravity: Anomaly in mGal, positive down.
        sigma: Standard deviation of its noise, in mGal.
        places: Where in a table each station stands, in words; none if it is of no table.
    """

    easting: Float[np.ndarray, " station"]
    northing: Float[np.ndarray, " station"]
    height: Float[np.ndarray, " station"]
    gravity: Float[np.ndarray, " station"]
    sigma: Float[np.ndarray, " station"]
    places: tuple[str, ...] = ()

    @property
    def position(self) -> Float[np.ndarray, "station 3"]:
        """Easting, northing and height of each station."""
        return np.stack([self.easting, self.northing, self.height], axis=1)

    @property
    def width(self) -> float:
        """The longer side of the surveyed ground, in metres."""
        return max(float(np.ptp(self.easting)), float(np.ptp(self.northing)))


def read_survey(frame: pd.DataFrame, units: str | Sequence[str] = "m,mGal") -> Survey:
    """The survey of a table with the columns easting, northing, height, gravity and sigma.

    Args:
        frame: The table; its cells may be text, its index names its lines. Columns that have
            other names are not read.
        units: Of length (m, km) and of gravity (mGal, uGal, um/s2, m/s2), with a comma between.

    Raises:
        DataError: If a column is lacking, a cell is no finite number, a sigma is not above zero,
            two stations are in one place, or there are too few stations.
    """
    unit, table = _units(units), Table.of(frame, each="station")
    columns = {name: _column(table, name, unit) for name in COLUMNS}
    if len(frame) < FEWEST_STATIONS:
        raise DataError(
            f"A survey has at least {FEWEST_STATIONS} stations, and {len(frame)} came."
        )
    survey = Survey(
        **{name: columns[name] * unit.of(name)[0] for name in COLUMNS},
        places=tuple(table.place(row) for row in range(len(frame))),
    )
    _refuse_same_places(survey)
    _check_width(survey, unit)
    _doubt_heights(survey)
    return survey


def read_stations(
    frame: pd.DataFrame, units: str | Sequence[str] = "m,mGal"
) -> tuple[Float[np.ndarray, "station 3"], Float[np.ndarray, " station"]]:
    """The places and the noise of stations where nothing need have been measured yet."""
    unit, table = _units(units), Table.of(frame, each="station", fewest=1)
    given = {name: _column(table, name, unit) * unit.of(name)[0] for name in (*PLACES, "sigma")}
    return np.stack([given[name] for name in PLACES], axis=1), given["sigma"]


class Units(NamedTuple):
    """What a table's numbers are in: how many metres or mGal, and its name."""

    length: tuple[float, str] = 1.0, "m"
    gravity: tuple[float, str] = 1.0, "mGal"

    def of(self, column: str) -> tuple[float, str]:
        return self.length if column in PLACES else self.gravity


def _units(units: str | Sequence[str]) -> Units:
    given: dict[str, tuple[float, str]] = {}
    for each in units.split(",") if isinstance(units, str) else units:
        name = each.strip()
        kind, size = _unit(name)
        if kind in given:
            raise DataError(
                f"units: {given[kind][1]!r} and {name!r} are both of {kind}. Give one of length "
                "and one of gravity: --units km,mGal"
            )
        given[kind] = size, name
    return Units(**given)


def _unit(name: str) -> tuple[str, float]:
    """Whether a unit is of length or of gravity, and its size."""
    key = name.lower().replace("^", "").replace("²", "2").replace("µ", "u").replace("μ", "u")
    for kind, sizes in (("length", LENGTHS), ("gravity", ACCELERATIONS)):
        if key in sizes:
            return kind, sizes[key]
    near = nearest(name, [*LENGTHS, "mGal", "uGal", "um/s2", "m/s2"])
    raise DataError(
        f"Unknown unit {name!r}{near}. Lengths are in m or km, gravity in mGal, uGal, um/s2 or "
        "m/s2: --units km,mGal"
    )


def _column(table: Table, name: str, unit: Units) -> Float[np.ndarray, " station"]:
    """A column in the table's own unit; refused where no survey has such numbers."""
    if table.names.count(name) != 1:
        many = "none" if name not in table.names else "several"
        raise DataError(
            f"Expected one column {name!r}, and {many} came{nearest(name, table.names)}. A survey "
            f"has the columns {', '.join(COLUMNS)}."
        )
    values = table.numbers(name, most=np.inf)
    size, called = unit.of(name)
    if name == "sigma":
        table.refuse(values <= 0, name, "a number above zero", values)
        asked = f"at least {FINEST / size:g} {called}"
        table.refuse(values < FINEST / size, name, asked, values, "No gravimeter is finer.")
    hint = f"Correct it, or the units (now {unit.length[1]},{unit.gravity[1]})."
    if name == "gravity":
        hint += " Of measured gravity the normal field is to be taken off first."
    most = LARGEST[name] / size
    table.refuse(np.abs(values) > most, name, f"at most {most:g} {called} in size", values, hint)
    return values


def _refuse_same_places(survey: Survey) -> None:
    _, first = np.unique(survey.position, axis=0, return_index=True)
    again = np.setdiff1d(np.arange(len(survey.gravity)), first)
    if len(again):
        raise RowError(
            f"{survey.places[again[0]]}: a station is already there. Average the two, or drop one."
        )
    if survey.width == 0:
        raise DataError("All stations have one easting and northing. A survey covers some ground.")


def _check_width(survey: Survey, unit: Units) -> None:
    """Refuse or doubt a survey whose size is that of another unit, or of one wrong coordinate."""
    for name in ("easting", "northing"):
        along = getattr(survey, name)
        if np.ptp(along) > WIDEST:
            away = np.abs(along - np.median(along))
            row = int(np.argmax(away))
            raise RowError(
                f"{survey.places[row]}, column {name!r}: the station is {away[row] / 1e3:.4g} km "
                f"from the middle of the survey, and the Earth is flat here: at most "
                f"{WIDEST / 1e3:g} km wide. Correct it, or the units (now {unit.length[1]})."
            )
    width = survey.width
    if not NARROW <= width <= WIDE:
        size = f"{width / 1e3:.4g} km" if width > WIDE else f"{width:.3g} m"
        doubt = "The Earth is flat here. " if width > WIDE else ""
        _warn(f"The survey is {size} wide. {doubt}Are lengths in {unit.length[1]}?")


def _doubt_heights(survey: Survey) -> None:
    """Say where one height is far off the others: the mesh begins at the lowest."""
    middle = float(np.median(survey.height))
    off = np.abs(survey.height - middle)
    most = max(OUTLYING * 1.4826 * float(np.median(off)), survey.width / 40)
    row = int(np.argmax(off))
    if off[row] > most:
        below = survey.height[row] < middle
        so = ", and the mesh begins at the lowest station" if below else ""
        _warn(
            f"{survey.places[row]}, column 'height': {survey.height[row]:g} m is far off the "
            f"others (their median is {middle:g} m){so}. Is it right?"
        )


def _warn(message: str) -> None:
    warnings.warn(message, PyroviWarning, stacklevel=4)
