"""The mesh that is put under a survey, and the data of the model from both."""

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from pyrovi.errors import DataError, RowError
from pyrovi.models.gravity_inversion.prisms import Mesh, sensitivity
from pyrovi.models.gravity_inversion.smooth_field import depth_weight
from pyrovi.models.gravity_inversion.survey import Survey
from pyrovi.models.options import one_of
from pyrovi.tree import data_tree

REGIONAL = {"none": 0, "constant": 1, "plane": 3}
EDGES = "edges"  # the attribute of a mesh's axis, which holds those of its cells
_AXES = ("depth", "northing", "easting")
MOST_BYTES = 4e9  # of a kernel; a fit takes several times as much
TREND_SPREAD = 1.0  # prior sd of a trend at the survey's edge, in sds of the anomaly


def cell_counts(
    cells: str | Sequence[int] | None, survey: Survey, *, section: bool
) -> tuple[int, int, int]:
    """Cells along depth, northing and easting; by default two thirds of the stations' spacing.

    Raises:
        DataError: If they are not whole numbers of at least 1, or not as many as there are axes.
    """
    if cells is None:
        return _usual_counts(len(survey.gravity), section=section)
    given = _whole_numbers(cells)
    if section and len(given) == 2:
        given.insert(1, 1)
    if len(given) != 3 or min(given) < 1 or (section and given[1] != 1):
        asked = "2 whole numbers (depth, easting)" if section else "3 whole numbers"
        raise DataError(
            f"cells: expected {asked} of at least 1 with commas between, and {cells!r} came. "
            f"Try {'10,30' if section else '8,12,12'}."
        )
    return given[0], given[1], given[2]


def _usual_counts(stations: int, *, section: bool) -> tuple[int, int, int]:
    if section:
        along = min(40, max(8, round(1.5 * stations)))
        return max(4, along // 3), 1, along
    along = min(20, max(6, round(1.5 * math.sqrt(stations))))
    return max(4, along // 2), along, along


def _whole_numbers(given: str | Sequence[int]) -> list[int]:
    """An empty list where one is no whole number."""
    try:
        return [int(n) for n in (given.split(",") if isinstance(given, str) else given)]
    except ValueError:
        return []


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
    width = survey.width
    start = float(-survey.height.min()) if top is None else top
    reach = width / 2 if depth is None else depth
    if not reach > 0:
        raise DataError(f"The depth of a mesh is above zero, and {reach:g} m came.")
    inside = np.flatnonzero(-survey.height > start + 1e-9 * width)
    if len(inside):
        row = int(inside[0])
        place = f"{survey.places[row]}, column 'height'" if survey.places else f"station {row}"
        raise RowError(
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
        **{
            name: (name, np.round(middle, 9), metres | _edges_of(mesh, name))
            for name, middle in mesh.centres.items()
        },
        "axis": ["depth", "northing", "easting"],
        "coordinate": ["easting", "northing", "height"],
        "term": ["level", "to the east", "to the north"][: basis.shape[1]],
    }
    observed = {"gravity": ("station", survey.gravity, about)}
    return data_tree(observed, constant, coords, metadata=metadata)


def _edges_of(mesh: Mesh, name: str) -> dict[str, list[float]]:
    """As an attribute; none along the strike of a section, whose cells have no end there."""
    endless = name == "northing" and mesh.northing is None
    return {} if endless else {EDGES: mesh.edges[name].tolist()}


def stations_over(
    fitted: xr.Dataset,
    position: Float[np.ndarray, "station 3"],
    sigma: Float[np.ndarray, " station"],
) -> xr.DataTree:
    """What the model needs of new stations over the mesh, and the trend, of a fitted survey."""
    edges = {axis: fitted[axis].attrs[EDGES] for axis in _AXES if EDGES in fitted[axis].attrs}
    if not {"easting", "depth"} <= edges.keys():
        raise DataError("The fitted survey does not say where its cells end. Read it again.")
    mesh = Mesh(**{axis: np.asarray(each, dtype=float) for axis, each in edges.items()})
    _refuse_inside(position[:, 2], float(mesh.depth[0]))
    easting, northing, height = position.T
    kernel = sensitivity(easting, northing, height, mesh)
    constant = {
        "sensitivity": (("station", *mesh.centres), kernel, {"units": "mGal m3 / kg"}),
        "sigma": ("station", sigma, {"units": "mGal"}),
    }
    if "basis" in fitted:
        basis = _extended(fitted["position"].to_numpy(), fitted["basis"].to_numpy(), position)
        constant["basis"] = (("station", "term"), basis, {"units": "mGal"})
    return data_tree({}, constant, {name: fitted[name].to_numpy() for name in mesh.centres})


def _extended(
    position: Float[np.ndarray, "station 3"],
    basis: Float[np.ndarray, "station term"],
    to: Float[np.ndarray, "other 3"],
) -> Float[np.ndarray, "other term"]:
    """Trends, which are planes, at other places."""
    middle, spread = position.mean(0), np.maximum(np.ptp(position, axis=0), 1.0)

    def plane(places: np.ndarray) -> np.ndarray:
        return np.column_stack([np.ones(len(places)), ((places - middle) / spread)[:, :2]])

    return plane(to) @ np.linalg.lstsq(plane(position), basis)[0]


def _refuse_inside(height: Float[np.ndarray, " station"], top: float) -> None:
    if (-height > top + 1e-6).any():
        raise DataError(
            f"A station is at {height.min():g} m, inside the mesh, which begins at {-top:g} m. "
            "Predict above it."
        )


def _widths(mesh: Mesh) -> np.ndarray:
    """Width of the cells along depth, northing and easting."""
    widths = {name: np.diff(edges) for name, edges in mesh.edges.items()}
    for name, width in widths.items():
        if not np.allclose(width, width[0], rtol=1e-6):
            raise DataError(f"The smooth prior needs cells of one width, and {name} has several.")
    return np.array([width[0] for width in widths.values()])


def _basis(survey: Survey, regional: str) -> Float[np.ndarray, "station term"]:
    spread = float(np.std(survey.gravity))
    level = math.hypot(spread, float(np.mean(survey.gravity)))
    terms = [np.full(len(survey.gravity), level)]
    for along in (survey.easting, survey.northing):
        half = np.ptp(along) / 2
        centred = (along - along.min() - half) / (half or 1.0)
        terms.append(centred * (TREND_SPREAD * spread))
    return np.stack(terms, axis=1)[:, : REGIONAL[regional]]


def _check_prior(strength: float, length: Sequence[float], regional: str) -> None:
    if not strength > 0 or len(length) != 3 or not all(each > 0 for each in length):
        raise DataError(
            "Expected a strength above zero in kg/m3 and 3 lengths above zero in metres, and "
            f"{strength=}, length={tuple(length)} came."
        )
    one_of(REGIONAL)("regional", regional)
