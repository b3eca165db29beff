"""Surveys: over ground that is drawn from the prior, worked examples, and of a table."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr

from pyrovi.bound import bind
from pyrovi.errors import DataError
from pyrovi.models.entry import run_forward, variant_named
from pyrovi.models.gravity_inversion.mesh import (
    REGIONAL,
    cell_counts,
    mesh_under,
    stations_over,
    survey_tree,
)
from pyrovi.models.gravity_inversion.model import FORMS
from pyrovi.models.gravity_inversion.prisms import Mesh, sensitivity
from pyrovi.models.gravity_inversion.sites import LEARNED_DIMS
from pyrovi.models.gravity_inversion.survey import (
    Survey,
    read_stations,
    read_survey,
)
from pyrovi.models.options import number, one_of, yes_or_no
from pyrovi.seeds import check_seed, stream
from pyrovi.structure import structure_of
from pyrovi.tree import data_tree

STRENGTH = 200.0  # kg/m3: a basalt in granite, a salt dome in sediments
SIGMA = 0.05  # mGal: a careful land survey


class Block(NamedTuple):
    """A body without end along the strike: sides in metres, contrast in kg/m3."""

    easting: tuple[float, float]
    depth: tuple[float, float]
    contrast: float


def simulate(
    seed: int | None = None,
    *,
    cells: Sequence[int] = (6, 1, 12),
    stations: int = 24,
    width: float = 2000.0,
    depth: float = 800.0,
    sigma: float = SIGMA,
    strength: float = STRENGTH,
    length: float = 250.0,
    exponent: float | None = None,
    variant: str = "whitened",
) -> xr.DataTree:
    """A survey over ground drawn from the prior.

    Args:
        seed: Of all random choices; a fresh one if missing.
        cells: Along depth, northing and easting; 1 along northing makes a section.
        stations: On a line over a section, scattered over a mesh of three dimensions.
        width: Of the surveyed ground, in metres.
        depth: Of the mesh, in metres.
        sigma: Standard deviation of the noise, in mGal.
        strength: Root mean square of the prior sd over the cells, in kg/m3.
        length: Correlation length, in metres.
        exponent: Of the depth weighting; 2, or in a section 1, if not given.
        variant: The form of the model that is drawn from.

    Returns:
        ``gravity`` (station), what the model needs beside it, and what was drawn as ``truth``.

    Raises:
        DataError: If there are too few cells or stations, or a size is not above zero.
    """
    _check(cells, stations, {"width": width, "depth": depth, "sigma": sigma})
    seed, section = check_seed(seed), cells[1] == 1
    if section:
        places = np.linspace(0.0, width, stations), np.zeros(stations)
    else:
        chance = np.random.default_rng(stream(seed, "gravity_inversion", "stations"))
        places = chance.uniform(0.0, width, (2, stations))
    survey = _above_level_ground(*places, gravity=np.zeros(stations), sigma=sigma)
    mesh = mesh_under(survey, cells=cells, depth=depth, section=section, top=0.0)
    tree = survey_tree(survey, mesh, strength=strength, length=(length,) * 3, exponent=exponent)
    return _drawn(tree, variant, stream(seed, "gravity_inversion", variant))


def _check(cells: Sequence[int], stations: int, sizes: Mapping[str, float]) -> None:
    if len(cells) != 3 or min(cells) < 1 or stations < 1:
        raise DataError(
            f"Expected 3 numbers of cells and a number of stations, all of at least 1, and "
            f"cells={tuple(cells)}, {stations=} came."
        )
    wrong = [f"{name}={size}" for name, size in sizes.items() if not size > 0]
    if wrong:
        raise DataError(f"Expected sizes above zero, and {', '.join(wrong)} came.")


def _above_level_ground(
    easting: np.ndarray, northing: np.ndarray, *, gravity: np.ndarray, sigma: float
) -> Survey:
    """A survey one metre above it, with the same noise everywhere."""
    height, noise = np.ones(len(gravity)), np.zeros(len(gravity)) + sigma
    return Survey(easting=easting, northing=northing, height=height, gravity=gravity, sigma=noise)


def _drawn(tree: xr.DataTree, variant: str, seed: int) -> xr.DataTree:
    """The tree with gravity drawn from the model, and the rest that was drawn as its truth."""
    given, form = tree["constant_data"].to_dataset(), variant_named(variant, FORMS)
    arguments = dict(bind(form, tree).kwargs)
    arguments["gravity"] = torch.zeros(given.sizes["station"], dtype=torch.float64)
    drawn = run_forward(form, seed, arguments)
    # Under `learned` the density is one given the data: the same chance again, with the data.
    arguments["gravity"] = torch.as_tensor(drawn["gravity"])
    drawn = run_forward(form, seed, arguments)
    observed = tree["observed_data"]["gravity"]
    gravity = ("station", drawn.pop("gravity"), observed.attrs)
    dims = {**LEARNED_DIMS, "prior_error": ("station",), **structure_of(form).dims}
    return data_tree(
        observed={"gravity": gravity},
        constant={str(name): each for name, each in given.data_vars.items()},
        coords={str(name): each for name, each in given.coords.items()},
        truth={name: (dims.get(name, ()), value) for name, value in drawn.items()},
    )


HEAVY = Block(easting=(700.0, 1100.0), depth=(150.0, 450.0), contrast=300.0)
LIGHT = Block(easting=(1900.0, 2400.0), depth=(250.0, 600.0), contrast=-200.0)


def buried_block() -> xr.DataTree:
    """A worked example: a profile of 31 stations over ``HEAVY`` and ``LIGHT``; made up.

    Neither is made of cells of the mesh. The noise is 0.05 mGal.
    """
    return _profile([HEAVY, LIGHT])


def heavy_block() -> xr.DataTree:
    """The same over the heavy block alone, for ``positive``."""
    return _profile([HEAVY])


def _profile(blocks: Sequence[Block]) -> xr.DataTree:
    easting, nothing = np.linspace(0.0, 3000.0, 31), np.zeros(31)
    gravity = np.random.default_rng(1662).normal(0.0, SIGMA, 31)
    for block in blocks:
        cell = Mesh(easting=np.array(block.easting), depth=np.array(block.depth))
        kernel = sensitivity(easting, nothing, nothing + 1.0, cell)
        gravity += block.contrast * kernel[:, 0, 0, 0]
    survey = _above_level_ground(easting, nothing, gravity=gravity, sigma=SIGMA)
    mesh = mesh_under(survey, cells=(8, 1, 24), depth=960.0, section=True, top=0.0)
    about = "made up, not measured"
    return survey_tree(survey, mesh, strength=STRENGTH, length=(300.0,) * 3, comment=about)


# Beyond these is no ground on Earth, and squares leave double precision.
Depth = Annotated[float | None, number(0.01, 1e6, " m")]
Top = Annotated[float | None, number(-1e6, 1e6, " m")]
Strength = Annotated[float, number(1e-3, 1e5, " kg/m3")]
Length = Annotated[float | None, number(0.01, 1e7, " m")]
Exponent = Annotated[float | None, number(0.0, 20.0)]


def read(
    frame: pd.DataFrame,
    *,
    units: str | Sequence[str] = "m,mGal",
    cells: str | Sequence[int] | None = None,
    section: Annotated[bool | None, yes_or_no] = None,
    depth: Depth = None,
    top: Top = None,
    strength: Strength = STRENGTH,
    length: Length = None,
    exponent: Exponent = None,
    regional: Annotated[str, one_of(REGIONAL)] = "plane",
) -> xr.DataTree:
    """The data of a survey of your own, over a mesh that is put under its stations.

    Args:
        frame: Columns easting, northing, height, gravity and sigma.
        units: Of length (m, km) and of gravity (mGal, uGal, um/s2, m/s2), with a comma between.
        cells: Along depth, northing and easting, such as ``8,12,12``; of a section, along depth
            and easting. By default cells of about two thirds of the stations' spacing.
        section: Whether cells have no end along northing: yes where all stations lie on a line
            to the east, if not given.
        depth: Of the mesh, in metres; half the survey's width if not given.
        top: Depth of the mesh below height zero, in metres; at the lowest station if not given.
        strength: Root mean square of the prior sd over the cells, in kg/m3.
        length: Correlation length in metres; a tenth of the survey's width if not given.
        exponent: Of the depth weighting; 2, or in a section 1, if not given; 0 for none.
        regional: A trend to be fitted too: ``none``, ``constant`` or ``plane``.

    Raises:
        DataError: If the table or an option cannot be used; the message says which and why.

    A `PyroviWarning` names a height that is far off the others, and a survey of unlikely size.
    """
    survey = read_survey(frame, units)
    flat = float(np.ptp(survey.northing)) == 0.0 if section is None else section
    counts = cell_counts(cells, survey, section=flat)
    return survey_tree(
        survey,
        mesh_under(survey, cells=counts, section=flat, depth=depth, top=top),
        strength=strength,
        length=(length or survey.width / 10,) * 3,
        exponent=exponent,
        regional=regional,
    )


def read_new(
    frame: pd.DataFrame,
    fitted: xr.DataTree,
    *,
    units: str | Sequence[str] = "m,mGal",
    **_options: Any,
) -> xr.DataTree:
    """New stations over the mesh of the ``fitted`` survey: all its columns but gravity."""
    return stations_over(fitted["constant_data"].to_dataset(), *read_stations(frame, units))
