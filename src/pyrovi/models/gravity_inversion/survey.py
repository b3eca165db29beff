"""A gravity survey, the mesh that is put under it, and the data of the model from both."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from pyrovi.errors import DataError, PyroviWarning
from pyrovi.models.gravity_inversion.prisms import Mesh, sensitivity
from pyrovi.models.gravity_inversion.smooth_field import depth_weight
from pyrovi.registry import nearest
from pyrovi.tree import data_tree

__all__ = ["Survey", "mesh_under", "read_survey", "survey_tree"]

PLACES = ("easting", "northing", "height")
COLUMNS = (*PLACES, "gravity", "sigma")
LENGTHS = {"m": 1.0, "km": 1e3}
ACCELERATIONS = {"mgal": 1.0, "ugal": 1e-3, "m/s2": 1e5, "m s-2": 1e5, "um/s2": 0.1}
FEWEST = 5
REGIONAL = {"none": 0, "constant": 1, "plane": 3}
FARTHEST = 1e8
"""Metres: the coordinates of every map of the Earth are less."""
HIGHEST = 20e3
"""Metres above or below height zero, where no ground is and few aircraft fly."""
LARGEST = 1e4
"""mGal: ten times the anomalies of mountains, and far less than gravity itself."""
FINEST = 1e-6
"""mGal: finer than any gravimeter."""
WIDEST, WIDE, NARROW = 1e6, 3e5, 20.0
"""Metres: of a survey on a flat Earth at most; above and below which a warning is due."""
FAR_OFF = 10.0
"""Standard deviations, by the median of absolute deviations, that part one height from others."""
MOST_BYTES = 4e9
"""Of a kernel; a fit takes several times as much."""
TREND_SPREAD = 1.0
"""Prior sd of a trend at the survey's edge, in standard deviations of the anomaly."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Stations and what was measured there.

    Attributes:
        easting: In metres.
        northing: In metres.
        height: In metres, positive up.
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
    unit = _units(units)
    columns = {name: _column(frame, name) for name in COLUMNS}
    _refuse(frame, columns["sigma"] <= 0, "sigma", "a number above zero", columns["sigma"])
    if len(frame) < FEWEST:
        raise DataError(f"A survey has at least {FEWEST} stations, and {len(frame)} came.")
    _refuse_beyond(frame, columns, unit)
    found = Survey(
        **{name: columns[name] * unit.length for name in PLACES},
        **{name: columns[name] * unit.gravity for name in ("gravity", "sigma")},
        places=tuple(_place(frame, row) for row in range(len(frame))),
    )
    if len(np.unique(found.position, axis=0)) < len(frame):
        _, first = np.unique(found.position, axis=0, return_index=True)
        again = int(np.setdiff1d(np.arange(len(frame)), first)[0])
        raise DataError(
            f"{found.places[again]}: a station is already there. Average the two, or drop one."
        )
    if np.ptp(found.easting) == 0 and np.ptp(found.northing) == 0:
        raise DataError("All stations have one easting and northing. A survey covers some ground.")
    _check_width(found, unit)
    _doubt_heights(found)
    return found


class Units(NamedTuple):
    """What a table's numbers are in: metres and mGal to one, and the names."""

    length: float = 1.0
    gravity: float = 1.0
    of_length: str = "m"
    of_gravity: str = "mGal"


def _units(units: str | Sequence[str]) -> Units:
    names = [n.strip() for n in (units.split(",") if isinstance(units, str) else units)]
    found: dict[str, Any] = {}
    for name in names:
        key = name.lower().replace("^", "").replace("²", "2").replace("µ", "u").replace("μ", "u")
        kind = "length" if key in LENGTHS else "gravity"
        if key not in LENGTHS and key not in ACCELERATIONS:
            known = [*LENGTHS, "mGal", "uGal", "um/s2", "m/s2"]
            raise DataError(
                f"Unknown unit {name!r}{nearest(name, known)}. Lengths are in m or km, gravity in "
                "mGal, uGal, um/s2 or m/s2: --units km,mGal"
            )
        if kind in found:
            raise DataError(
                f"units: {found[f'of_{kind}']!r} and {name!r} are both of {kind}. Give one of "
                "length and one of gravity: --units km,mGal"
            )
        found |= {kind: (LENGTHS | ACCELERATIONS)[key], f"of_{kind}": name}
    return Units(**found)


def _refuse_beyond(frame: pd.DataFrame, columns: Mapping[str, np.ndarray], unit: Units) -> None:
    """Numbers that no survey has: typing errors, a wrong unit, or gravity itself."""
    for name, values in columns.items():
        place = name in PLACES
        most = HIGHEST if name == "height" else FARTHEST if place else LARGEST
        most /= unit.length if place else unit.gravity
        hint = f"Correct it, or the units (now {unit.of_length},{unit.of_gravity})."
        if name == "gravity":
            hint += " Of measured gravity the normal field is to be taken off first."
        asked = f"at most {most:g} {unit.of_length if place else unit.of_gravity} in size"
        _refuse(frame, np.abs(values) > most, name, asked, values, hint)
    finest = FINEST / unit.gravity
    asked, hint = f"at least {finest:g} {unit.of_gravity}", "No gravimeter is finer."
    _refuse(frame, columns["sigma"] < finest, "sigma", asked, columns["sigma"], hint)


def _check_width(survey: Survey, unit: Units) -> None:
    """Refuse or doubt a survey whose size is that of another unit, or of one wrong coordinate."""
    for name in ("easting", "northing"):
        along = getattr(survey, name)
        if np.ptp(along) > WIDEST:
            away = np.abs(along - np.median(along))
            row = int(np.argmax(away))
            raise DataError(
                f"{survey.places[row]}, column {name!r}: the station is {away[row] / 1e3:.4g} km "
                f"from the middle of the survey, and the Earth is flat here: at most "
                f"{WIDEST / 1e3:g} km wide. Correct it, or the units (now {unit.of_length})."
            )
    width = _width(survey)
    if not NARROW <= width <= WIDE:
        size = f"{width / 1e3:.4g} km" if width > WIDE else f"{width:.3g} m"
        doubt = "The Earth is flat here. " if width > WIDE else ""
        _warn(f"The survey is {size} wide. {doubt}Are lengths in {unit.of_length}?")


def _doubt_heights(survey: Survey) -> None:
    """Say where one height is far off the others: the mesh begins at the lowest."""
    middle = float(np.median(survey.height))
    off = np.abs(survey.height - middle)
    most = max(FAR_OFF * 1.4826 * float(np.median(off)), _width(survey) / 40)
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


def _width(survey: Survey) -> float:
    """The longer side of the surveyed ground, in metres."""
    return max(float(np.ptp(survey.easting)), float(np.ptp(survey.northing)))


def _column(frame: pd.DataFrame, name: str) -> Float[np.ndarray, " station"]:
    names = [str(n).strip() for n in frame.columns]
    if names.count(name) != 1:
        many = "none" if name not in names else "several"
        raise DataError(
            f"Expected one column {name!r}, and {many} came{nearest(name, names)}. A survey has "
            f"the columns {', '.join(COLUMNS)}."
        )
    cells = frame.iloc[:, names.index(name)]
    numbers: Any = pd.to_numeric(cells, errors="coerce")
    values = numbers.to_numpy(dtype=float)
    _refuse(frame, ~np.isfinite(values), name, "a finite number", cells.to_numpy())
    return values


def _refuse(
    frame: pd.DataFrame, wrong: np.ndarray, name: str, asked: str, came: Any, hint: str = ""
) -> None:
    if not wrong.any():
        return
    row = int(np.flatnonzero(wrong)[0])
    value = came[row].item() if isinstance(came[row], np.generic) else came[row]
    shown = "the cell is empty" if value == "" else f"{value!r} came"
    said = f"{_place(frame, row)}, column {name!r}: expected {asked}, and {shown}. {hint}"
    raise DataError(said.strip())


def _place(frame: pd.DataFrame, row: int) -> str:
    return f"{frame.index.name or 'row'} {frame.index[row]}"


# ------------------------------------------------------------------------------ mesh


def mesh_under(
    survey: Survey,
    *,
    cells: Sequence[int],
    depth: float | None = None,
    section: bool = False,
    top: float | None = None,
) -> Mesh:
    """A mesh that reaches past the stations by a tenth of their spread, from the top down.

    Args:
        survey: The stations.
        cells: How many along depth, northing and easting; northing 1 in a section.
        depth: Of the bottom below the top, in metres; half the survey's width if not given.
        section: Whether the cells have no end along northing.
        top: Depth of the top below height zero; the lowest station's if not given.

    Raises:
        DataError: If the mesh cannot be made, or a station lies inside it.
    """
    down, north, east = cells
    _refuse_large(len(survey.gravity), (down, north, east))
    width = _width(survey)
    start = float(-survey.height.min()) if top is None else top
    reach = width / 2 if depth is None else depth
    if not reach > 0:
        raise DataError(f"The depth of a mesh is above zero, and {reach:g} m came.")
    inside = np.flatnonzero(-survey.height > start + 1e-9 * width)
    if len(inside):
        row = int(inside[0])
        place = f"{survey.places[row]}, column 'height'" if survey.places else f"station {row}"
        raise DataError(
            f"{place}: the station lies inside the mesh. It is at {survey.height[row]:g} m, and "
            f"the mesh begins at {-start:g} m (top={start:g}). Give a top of "
            f"{-survey.height.min():g} or more, or leave it out for the lowest station's."
        )
    if section:
        _refuse_across(survey, east, width)
    return Mesh(
        easting=_edges(survey.easting, east, width),
        depth=np.linspace(start, start + reach, down + 1),
        northing=None if section else _edges(survey.northing, north, width),
    )


def _refuse_across(survey: Survey, east: int, width: float) -> None:
    """A section has no northing: stations a cell apart along it are not one line's."""
    across, cell = float(np.ptp(survey.northing)), 1.2 * width / east
    if across > cell:
        raise DataError(
            f"section: its cells have no end along northing, and stations lie {across:g} m apart "
            f"along northing, more than a cell's {cell:.4g} m. Read one line to the east at a "
            "time, or take --section no."
        )


def _refuse_large(stations: int, shape: Sequence[int]) -> None:
    """A kernel that no memory holds, and no fit would end with."""
    size = 8 * stations * math.prod(shape)
    if size > MOST_BYTES:
        raise DataError(
            f"cells: {' x '.join(map(str, shape))} of them under {stations} stations make a "
            f"kernel of {size / 1e9:.3g} GB, and at most {MOST_BYTES / 1e9:g} GB are taken. "
            "Take fewer cells."
        )


def _edges(along: np.ndarray, cells: int, width: float) -> np.ndarray:
    margin = width / 10
    return np.linspace(along.min() - margin, along.max() + margin, cells + 1)


def survey_tree(
    survey: Survey,
    mesh: Mesh,
    *,
    strength: float,
    length: Sequence[float],
    exponent: float | None = None,
    regional: str = "none",
    truth: Mapping[str, Any] | None = None,
    comment: str | None = None,
) -> xr.DataTree:
    """The data of the model: a survey over a mesh, and a prior.

    Args:
        survey: The stations.
        mesh: The cells, of one width along each axis.
        strength: Root mean square of the prior sd over the cells, in kg/m3.
        length: Correlation length along depth, northing and easting, in metres.
        exponent: Of the depth weighting; 2, or in a section 1, if not given; 0 for none.
        regional: ``none``, ``constant`` or ``plane``.
        truth: What the data were simulated from.
        comment: Where the data come from.
    """
    _check_prior(strength, length, regional)
    _refuse_large(len(survey.gravity), mesh.shape)
    chosen = exponent if exponent is not None else 1.0 if mesh.northing is None else 2.0
    weight = depth_weight(mesh, float(survey.height.mean()), chosen)
    kernel = sensitivity(survey.easting, survey.northing, survey.height, mesh)
    metres = {"units": "m"}
    about = {"units": "mGal", "long_name": "gravity anomaly, positive down"}
    about |= {"comment": comment} if comment else {}
    constant = {
        "sensitivity": (("station", *mesh.centres), kernel, {"units": "mGal m3 / kg"}),
        "sigma": ("station", survey.sigma, {"units": "mGal"}),
        "weight": ("depth", weight, {"exponent": chosen}),
        "reach": ("axis", np.asarray(length) / _widths(mesh), {"units": "cells"}),
        "strength": ((), float(strength), {"units": "kg/m3"}),
    }
    metadata = {"position": (("station", "coordinate"), survey.position, metres)}
    basis = _basis(survey, regional)
    if basis.shape[1]:
        constant["basis"] = (("station", "term"), basis, {"units": "mGal"})
    coords = {
        **{name: (name, np.round(middle, 9), metres) for name, middle in mesh.centres.items()},
        "axis": ["depth", "northing", "easting"],
        "coordinate": ["easting", "northing", "height"],
        "term": ["level", "to the east", "to the north"][: basis.shape[1]],
    }
    observed = {"gravity": ("station", survey.gravity, about)}
    return data_tree(observed, constant, coords, truth, metadata=metadata)


def _widths(mesh: Mesh) -> np.ndarray:
    """Width of the cells along depth, northing and easting; 1 along the strike of a section."""
    edges = mesh.depth, mesh.northing, mesh.easting
    widths = [np.ones(1) if edge is None else np.diff(edge) for edge in edges]
    for name, width in zip(("depth", "northing", "easting"), widths, strict=True):
        if not np.allclose(width, width[0], rtol=1e-6):
            raise DataError(f"The smooth prior needs cells of one width, and {name} has several.")
    return np.array([width[0] for width in widths])


def _basis(survey: Survey, regional: str) -> Float[np.ndarray, "station term"]:
    terms = np.ones((len(survey.gravity), REGIONAL[regional]))
    for term, along in enumerate(
        (survey.easting, survey.northing)[: max(0, terms.shape[1] - 1)], start=1
    ):
        half = np.ptp(along) / 2
        terms[:, term] = (along - along.min() - half) / half if half else 0.0
    spread = float(np.std(survey.gravity))
    level = math.hypot(spread, float(np.mean(survey.gravity)))
    return (
        terms * np.array([level, TREND_SPREAD * spread, TREND_SPREAD * spread])[: terms.shape[1]]
    )


def _check_prior(strength: float, length: Sequence[float], regional: str) -> None:
    if not strength > 0 or len(length) != 3 or not all(each > 0 for each in length):
        raise DataError(
            "Expected a strength above zero in kg/m3 and 3 lengths above zero in metres, and "
            f"{strength=}, length={tuple(length)} came."
        )
    if regional not in REGIONAL:
        raise DataError(
            f"regional is one of {', '.join(REGIONAL)}, and {regional!r} came"
            f"{nearest(regional, REGIONAL)}."
        )
