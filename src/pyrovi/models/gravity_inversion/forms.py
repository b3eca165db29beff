r"""What lies below, from gravity measured above: a linear inverse problem with an exact answer.

The ground is a mesh of prisms (or a section of cells without end along the strike), each of one
unknown density contrast :math:`\rho`. Gravity at the stations is linear in it,

.. math::  \rho \sim N(0, Q^{-1}), \qquad g = G \rho + B t + \varepsilon,
   \qquad \varepsilon_i \sim N(0, \sigma_i), \qquad t \sim N(0, I),

with the closed-form kernel G of `_prisms`, the sparse precision Q of `_smooth_field`, and, where
asked for, a regional trend B t. Units: metres, kg/m3, mGal; gravity positive down.

It is in the zoo because everything about it is known exactly (`Exact`): the posterior is Gaussian
with correlations that reach across the mesh, since a shallow light body and a deep heavy one have
nearly the same gravity. Any affine map of a standard normal holds it without error, so does an
affine flow; mean field has the mean and is overconfident; linear response mends that. Positivity
and sparsity end all this, and there richer families have something to do.

The sites are standard normal (`whitened`): prior and posterior then differ in no more directions
than there are stations, the units are right by construction, and hyperparameters to be learned
enter by scaling. `centered` samples the density itself. `learned` integrates it out.

References: Tarantola (2005), "Inverse Problem Theory", SIAM, chapter 3; Li and Oldenburg (1998),
"3-D inversion of gravity data", Geophysics 63(1), https://doi.org/10.1190/1.1444302.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import softplus

from pyrovi.bound import bind
from pyrovi.errors import DataError, ModelError
from pyrovi.models.entry import Variant, ZooModel, run_forward
from pyrovi.models.gravity_inversion.checks import survey_checks, survey_discrepancies
from pyrovi.models.gravity_inversion.exact import Exact
from pyrovi.models.gravity_inversion.horseshoe import global_scale_for, regularised
from pyrovi.models.gravity_inversion.options import cell_counts, number, yes_or_no
from pyrovi.models.gravity_inversion.prisms import Mesh, prism_gravity, sensitivity
from pyrovi.models.gravity_inversion.smooth_field import cosines, mode_scale, ripple, unripple
from pyrovi.models.gravity_inversion.survey import Survey, mesh_under, read_survey, survey_tree
from pyrovi.seeds import check_seed, stream
from pyrovi.structure import declare, structure_of
from pyrovi.tree import data_tree

__all__ = [
    "GRAVITY_INVERSION",
    "Exact",
    "Mesh",
    "Survey",
    "buried_block",
    "few_bodies",
    "heavy_block",
    "prism_gravity",
    "read",
    "sensitivity",
    "simulate",
    "survey_checks",
    "survey_tree",
]

CELL = ("depth", "northing", "easting")
MODE = ("depth_mode", "northing_mode", "easting_mode")
DIMS = {"field": MODE, "density": CELL, "cell_density": ("cell",), "trend": ("term",)}
CELL_DIMS = {"field": CELL, "local_scale": CELL, "density": CELL, "trend": ("term",)}
OWN_DIMS = {**DIMS, "prior_field": MODE, "prior_trend": ("term",), "gravity": ("station",)}
UNITS = dict.fromkeys(("density", "cell_density", "amplitude"), "kg/m3") | {"gravity": "mGal"}
SHARPNESS = 2.0
"""Of the bend at zero that keeps ``positive`` densities positive."""
SPREAD = {"amplitude": 0.75, "stretch": 0.5, "noise_factor": 0.5}
"""Prior standard deviation of the logarithm of what ``learned`` learns."""


def _declared(
    name: str, dims: Mapping[str, tuple[str, ...]]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return declare(name=name, dims=dims, discrepancies=survey_discrepancies, units=UNITS)


@_declared("gravity_inversion", DIMS)
def whitened(
    gravity: Tensor,
    sensitivity: Tensor,
    sigma: Tensor,
    weight: Tensor,
    reach: Tensor,
    strength: Tensor | float,
    basis: Tensor | None = None,
) -> None:
    """A smooth density from standard normals, ``field``, one to a cosine mode of the mesh.

    Args:
        gravity: Measured anomaly ``(station,)`` in mGal, positive down; may come masked.
        sensitivity: ``(station, depth, northing, easting)``, in mGal for 1 kg/m3.
        sigma: Standard deviation of the noise ``(station,)`` in mGal.
        weight: Depth weights ``(depth,)``.
        reach: Correlation length along depth, northing and easting, in cells ``(axis,)``.
        strength: Root mean square of the prior sd over the cells, in kg/m3.
        basis: Regional trends ``(station, term)``, in mGal at one prior sd; none if not given.
    """
    field = _field(sensitivity)
    scale = mode_scale(_shape(sensitivity), reach, _scalar(strength, sensitivity))
    density = pyro.deterministic("density", ripple(field, scale, weight), event_dim=3)
    _observe(gravity, density, sensitivity, sigma, basis)


@_declared("gravity_inversion:centered", DIMS)
def centered(
    gravity: Tensor,
    sensitivity: Tensor,
    sigma: Tensor,
    weight: Tensor,
    reach: Tensor,
    strength: Tensor | float,
    basis: Tensor | None = None,
) -> None:
    """The same distribution with the density of the cells sampled; for small meshes."""
    shape = _shape(sensitivity)
    depth, north, east = cosines(shape, sensitivity)
    modes = torch.kron(torch.kron(depth.contiguous(), north), east)
    modes = modes * weight.repeat_interleave(shape[1] * shape[2])
    scale = mode_scale(shape, reach, _scalar(strength, sensitivity))
    scaled = modes / scale.reshape(-1, 1)
    prior = dist.MultivariateNormal(
        scaled.new_zeros(len(scaled)), precision_matrix=scaled.T @ scaled
    )
    cell = pyro.sample("cell_density", prior)
    density = pyro.deterministic("density", cell.unflatten(-1, shape), event_dim=3)
    _observe(gravity, density, sensitivity, sigma, basis)


@_declared("gravity_inversion:learned", OWN_DIMS)
def learned(
    gravity: Tensor,
    sensitivity: Tensor,
    sigma: Tensor,
    weight: Tensor,
    reach: Tensor,
    strength: Tensor | float,
    basis: Tensor | None = None,
) -> None:
    """Strength, correlation length and noise learned too, about the values given.

    Sampled beside the field, they would make a funnel of it that no Gaussian fits. Here gravity
    has the field integrated out, and the density is a draw given the data and them, by Matheron's
    rule: a ground and a noise drawn from the prior (``prior_field``, ``prior_error``), corrected
    by what the data say. Those sites stay standard normal in the posterior; what is left to be
    fitted are three numbers. Replicated gravity is thus of other ground of the same kind, and no
    station may be missing.
    """
    centre = _scalar(strength, sensitivity).log()
    amplitude = pyro.sample("amplitude", dist.LogNormal(centre, SPREAD["amplitude"]))
    zero, shape = sensitivity.new_zeros(()), _shape(sensitivity)
    stretch = pyro.sample("stretch", dist.LogNormal(zero, SPREAD["stretch"]))
    factor = pyro.sample("noise_factor", dist.LogNormal(zero, SPREAD["noise_factor"]))
    scale = mode_scale(shape, reach * stretch[..., None], amplitude)
    field = _field(sensitivity, name="prior_field")
    with pyro.plate("station", len(sigma), dim=-1):
        error = pyro.sample("prior_error", dist.Normal(sigma.new_zeros(()), 1.0))
    noise = sigma * factor[..., None]
    modes = unripple(sensitivity, weight).flatten(1) * scale.flatten(-3).unsqueeze(-2)
    covariance = modes @ modes.mT + torch.diag_embed(noise.square())
    perturbed = (modes @ field.flatten(-3).unsqueeze(-1)).squeeze(-1)
    perturbed = perturbed + noise * (error if error.ndim == 1 else error.unsqueeze(-2))
    trend = sigma.new_zeros(0)
    basis = sigma.new_zeros(len(sigma), 0) if basis is None else basis
    if basis.shape[-1]:
        standard = dist.Normal(basis.new_zeros(basis.shape[-1]), 1.0).to_event(1)
        trend = pyro.sample("prior_trend", standard)
        covariance = covariance + basis @ basis.T
        perturbed = perturbed + trend @ basis.T
    tril = torch.linalg.cholesky(covariance)
    solved = torch.cholesky_solve((gravity - perturbed).unsqueeze(-1), tril)
    corrected = field + (modes.mT @ solved).squeeze(-1).unflatten(-1, shape)
    pyro.deterministic("density", ripple(corrected, scale, weight), event_dim=3)
    if basis.shape[-1]:
        pyro.deterministic("trend", trend + (basis.T @ solved).squeeze(-1), event_dim=1)
    none = gravity.new_zeros(len(sigma))
    pyro.sample("gravity", dist.MultivariateNormal(none, scale_tril=tril), obs=gravity)


@_declared("gravity_inversion:positive", DIMS)
def positive(
    gravity: Tensor,
    sensitivity: Tensor,
    sigma: Tensor,
    weight: Tensor,
    reach: Tensor,
    strength: Tensor | float,
    basis: Tensor | None = None,
) -> None:
    """Nothing lighter than the surroundings: the smooth field bent to stay above zero."""
    field = _field(sensitivity)
    scale = mode_scale(_shape(sensitivity), reach, sensitivity.new_ones(()))
    bent = softplus(ripple(field, scale, torch.ones_like(weight)), beta=SHARPNESS)
    bent = bent * strength / weight[:, None, None]
    density = pyro.deterministic("density", bent, event_dim=3)
    _observe(gravity, density, sensitivity, sigma, basis)


@_declared("gravity_inversion:sparse", CELL_DIMS)
def sparse(
    gravity: Tensor,
    sensitivity: Tensor,
    sigma: Tensor,
    weight: Tensor,
    reach: Tensor,
    strength: Tensor | float,
    basis: Tensor | None = None,
) -> None:
    """Compact bodies: every cell by itself, Laplace, so that most are near nothing."""
    del reach
    zero = sensitivity.new_zeros(_shape(sensitivity))
    field = pyro.sample("field", dist.Laplace(zero, math.sqrt(0.5)).to_event(3))
    scaled = field * strength / weight[:, None, None]
    density = pyro.deterministic("density", scaled, event_dim=3)
    _observe(gravity, density, sensitivity, sigma, basis)


def few_bodies(
    share: float = 0.05, *, contrast: float | None = None, freedom: float = 4.0
) -> Callable[..., None]:
    """The model of ground that is nothing but some few bodies: a regularised horseshoe.

    Every cell is by itself, as in `sparse`. Its scale is the product of ``global_scale``, its own
    ``local_scale`` and ``strength``, weighted by depth, and is held below a slab of
    ``contrast`` over the root of ``slab_precision``, which is the same at all depths: rocks are.
    So cells are shrunk to nothing or, in a body, hardly at all.

    Args:
        share: Of the cells, that are expected to lie in a body; it sets the scale of
            ``global_scale``, which is learned and half-normal.
        contrast: Of a body with its surroundings, in kg/m3: the scale of the slab. The model's
            ``strength`` if not given.
        freedom: Degrees of the t distribution that a body's contrast has; few have long tails.

    Raises:
        ModelError: If the share is not between 0 and 1, or another number is not above zero.

    >>> from pyrovi.structure import structure_of
    >>> structure_of(few_bodies(share=0.1)).dims["local_scale"]
    ('depth', 'northing', 'easting')
    """
    if not 0 < share < 1:
        raise ModelError(f"share is of the cells, between 0 and 1, and {share!r} came. Try 0.05.")
    for name, value in (("contrast", contrast), ("freedom", freedom)):
        if value is not None and not (0 < value < math.inf):
            raise ModelError(f"{name}: expected a finite number above 0, and {value!r} came.")

    def horseshoe(
        gravity: Tensor,
        sensitivity: Tensor,
        sigma: Tensor,
        weight: Tensor,
        reach: Tensor,
        strength: Tensor | float,
        basis: Tensor | None = None,
    ) -> None:
        del reach
        zero = sensitivity.new_zeros(_shape(sensitivity))
        # Under a half-Cauchy there is a second ground in which all cells are in the slab; it holds
        # little of the posterior and is smooth, so that fits of one optimum end there.
        widest = sensitivity.new_tensor(global_scale_for(share))
        overall = pyro.sample("global_scale", dist.HalfNormal(widest))
        half = sensitivity.new_tensor(freedom / 2)
        # Not the variance: an inverse gamma's density overflows far out, where chains may step.
        precision = pyro.sample("slab_precision", dist.Gamma(half, half))
        local = pyro.sample("local_scale", dist.HalfCauchy(zero + 1.0).to_event(3))
        field = pyro.sample("field", dist.Normal(zero, 1.0).to_event(3))
        slab = (strength if contrast is None else contrast) * precision.rsqrt()
        scale = overall[..., None, None, None] * local * strength / weight[:, None, None]
        scaled = field * regularised(scale, slab[..., None, None, None])
        density = pyro.deterministic("density", scaled, event_dim=3)
        _observe(gravity, density, sensitivity, sigma, basis)

    return _declared("gravity_inversion:horseshoe", CELL_DIMS)(horseshoe)


def _shape(sensitivity: Tensor) -> tuple[int, int, int]:
    return sensitivity.shape[1], sensitivity.shape[2], sensitivity.shape[3]


def _scalar(value: Tensor | float, like: Tensor) -> Tensor:
    """A number of the data, which comes as one where a person calls the model with plain Pyro."""
    return value if isinstance(value, Tensor) else like.new_tensor(value)


def _field(sensitivity: Tensor, name: str = "field") -> Tensor:
    zero = sensitivity.new_zeros(_shape(sensitivity))
    return pyro.sample(name, dist.Normal(zero, 1.0).to_event(3))


def _observe(
    gravity: Tensor, density: Tensor, sensitivity: Tensor, sigma: Tensor, basis: Tensor | None
) -> None:
    loc = density.flatten(-3) @ sensitivity.flatten(1).T
    if basis is not None:
        zero = basis.new_zeros(basis.shape[-1])
        loc = loc + pyro.sample("trend", dist.Normal(zero, 1.0).to_event(1)) @ basis.T
    # Draws that come in a plate of their own have an axis of length one where stations go.
    loc = loc if loc.ndim == 1 else loc.squeeze(-2)
    with pyro.plate("station", sensitivity.shape[0], dim=-1):
        pyro.sample("gravity", dist.Normal(loc, sigma), obs=gravity)


FORMS: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        "whitened": whitened,
        "centered": centered,
        "learned": learned,
        "positive": positive,
        "sparse": sparse,
        "horseshoe": few_bodies(),
    }
)


# ------------------------------------------------------------------------------ data


class Block(NamedTuple):
    """A body without end along the strike: sides in metres, contrast in kg/m3."""

    easting: tuple[float, float]
    depth: tuple[float, float]
    contrast: float


STRENGTH = 200.0  # kg/m3: a basalt in granite, a salt dome in sediments
SIGMA = 0.05  # mGal: a careful land survey


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
    seed = check_seed(seed)
    nothing = np.zeros(stations)
    easting, northing = _stations(stations, width, section=cells[1] == 1, seed=seed)
    survey = Survey(
        easting=easting,
        northing=northing,
        height=nothing + 1.0,
        gravity=nothing,
        sigma=nothing + sigma,
    )
    mesh = mesh_under(survey, cells=cells, depth=depth, section=cells[1] == 1, top=0.0)
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


def _stations(
    stations: int, width: float, *, section: bool, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Easting and northing of each."""
    if section:
        return np.linspace(0.0, width, stations), np.zeros(stations)
    chance = np.random.default_rng(stream(seed, "gravity_inversion", "stations"))
    easting, northing = chance.uniform(0.0, width, (2, stations))
    return easting, northing


def _drawn(tree: xr.DataTree, variant: str, seed: int) -> xr.DataTree:
    """The tree with gravity drawn from the model, and the rest that was drawn as its truth."""
    given = tree["constant_data"].to_dataset()
    arguments = dict(bind(FORMS[variant], tree).kwargs)
    arguments["gravity"] = torch.zeros(given.sizes["station"], dtype=torch.float64)
    drawn = run_forward(FORMS[variant], seed, arguments)
    # Under `learned` the density is one given the data: the same chance again, with the data.
    arguments["gravity"] = torch.as_tensor(drawn["gravity"])
    drawn = run_forward(FORMS[variant], seed, arguments)
    observed = tree["observed_data"]["gravity"]
    gravity = ("station", drawn.pop("gravity"), observed.attrs)
    dims = {**OWN_DIMS, "prior_error": ("station",), **structure_of(FORMS[variant]).dims}
    return data_tree(
        observed={"gravity": gravity},
        constant={str(name): each for name, each in given.data_vars.items()},
        coords={str(name): each for name, each in given.coords.items()},
        truth={name: (dims.get(name, ()), value) for name, value in drawn.items()},
    )


HEAVY = Block(easting=(700.0, 1100.0), depth=(150.0, 450.0), contrast=300.0)
LIGHT = Block(easting=(1900.0, 2400.0), depth=(250.0, 600.0), contrast=-200.0)


def buried_block() -> xr.DataTree:
    """A worked example: a profile of 31 stations over a heavy and a light block; made up.

    The heavy one has 300 kg/m3 more than its surroundings, is 400 m wide and reaches from 150 to
    450 m; the light one 200 less, 500 m, and 250 to 600 m. Neither is made of cells of the mesh,
    and both are without end along the strike. The noise is 0.05 mGal.
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
    survey = Survey(
        easting=easting,
        northing=nothing,
        height=nothing + 1.0,
        gravity=gravity,
        sigma=nothing + SIGMA,
    )
    mesh = mesh_under(survey, cells=(8, 1, 24), depth=960.0, section=True, top=0.0)
    about = "made up, not measured"
    length = (300.0, 300.0, 300.0)
    return survey_tree(survey, mesh, strength=STRENGTH, length=length, comment=about)


def read(
    frame: pd.DataFrame,
    *,
    units: str | Sequence[str] = "m,mGal",
    cells: str | Sequence[int] | None = None,
    section: str | bool | None = None,
    depth: str | float | None = None,
    top: str | float | None = None,
    strength: str | float = STRENGTH,
    length: str | float | None = None,
    exponent: str | float | None = None,
    regional: str = "plane",
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
    flat = yes_or_no("section", section, default=float(np.ptp(survey.northing)) == 0.0)
    width = max(float(np.ptp(survey.easting)), float(np.ptp(survey.northing)))
    mesh = mesh_under(
        survey,
        cells=cell_counts(cells, survey, section=flat),
        section=flat,
        depth=number("depth", depth),
        top=number("top", top),
    )
    chosen = number("length", length) or width / 10
    return survey_tree(
        survey,
        mesh,
        strength=number("strength", strength) or STRENGTH,
        length=(chosen, chosen, chosen),
        exponent=number("exponent", exponent),
        regional=regional,
    )


def own(name: str, **others: Any) -> Variant:
    """The form of that name, which simulates itself."""
    return Variant(model=FORMS[name], simulate=functools.partial(simulate, variant=name), **others)


GRAVITY_INVERSION = ZooModel(
    name="gravity_inversion",
    title="Density below ground from gravity above it",
    model=whitened,
    simulate=simulate,
    loaders={"buried_block": buried_block},
    variants={
        **{name: own(name) for name in FORMS},
        "positive": own("positive", loaders={"heavy_block": heavy_block}),
    },
    reader=read,
)
