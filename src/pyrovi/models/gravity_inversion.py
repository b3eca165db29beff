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
enter by scaling, with no determinant to compute. `centered` samples the density itself.

References: Tarantola (2005), "Inverse Problem Theory", SIAM, chapter 3; Li and Oldenburg (1998),
"3-D inversion of gravity data", Geophysics 63(1), https://doi.org/10.1190/1.1444302.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import softplus

from pyrovi.models._smooth_field import cosines, mode_scale, ripple
from pyrovi.structure import declare

CELL = ("depth", "northing", "easting")
MODE = ("depth_mode", "northing_mode", "easting_mode")
DIMS = {"field": MODE, "density": CELL, "cell_density": ("cell",), "trend": ("term",)}
SHARPNESS = 4.0
"""Of the bend at zero that keeps ``positive`` densities positive."""
SPREAD = {"amplitude": 0.75, "stretch": 0.5, "noise_factor": 0.5}
"""Prior standard deviation of the logarithm of what ``learned`` learns."""


@declare(name="gravity_inversion", dims=DIMS)
def whitened(
    gravity: Tensor,
    sensitivity: Tensor,
    sigma: Tensor,
    weight: Tensor,
    reach: Tensor,
    strength: Tensor,
    basis: Tensor | None = None,
    position: Tensor | None = None,
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
        position: Easting, northing and height of the stations in metres. Not read: the checks
            and the pictures do.
    """
    del position
    field = _field(sensitivity)
    scale = mode_scale(_shape(sensitivity), reach, strength)
    density = pyro.deterministic("density", ripple(field, scale, weight), event_dim=3)
    _observe(gravity, density, sensitivity, sigma, basis)


@declare(name="gravity_inversion:centered", dims=DIMS)
def centered(
    gravity: Tensor,
    sensitivity: Tensor,
    sigma: Tensor,
    weight: Tensor,
    reach: Tensor,
    strength: Tensor,
    basis: Tensor | None = None,
    position: Tensor | None = None,
) -> None:
    """The same distribution with the density of the cells sampled; for small meshes."""
    del position
    shape = _shape(sensitivity)
    depth, north, east = cosines(shape, sensitivity)
    modes = torch.kron(torch.kron(depth.contiguous(), north), east)
    modes = modes * weight.repeat_interleave(shape[1] * shape[2])
    scaled = modes / mode_scale(shape, reach, strength).reshape(-1, 1)
    prior = dist.MultivariateNormal(scaled.new_zeros(len(scaled)), precision_matrix=scaled.T @ scaled)
    cell = pyro.sample("cell_density", prior)
    density = pyro.deterministic("density", cell.unflatten(-1, shape), event_dim=3)
    _observe(gravity, density, sensitivity, sigma, basis)


@declare(name="gravity_inversion:learned", dims=DIMS)
def learned(
    gravity: Tensor,
    sensitivity: Tensor,
    sigma: Tensor,
    weight: Tensor,
    reach: Tensor,
    strength: Tensor,
    basis: Tensor | None = None,
    position: Tensor | None = None,
) -> None:
    """Strength, correlation length and noise learned too, about the values given."""
    del position
    amplitude = pyro.sample("amplitude", dist.LogNormal(strength.log(), SPREAD["amplitude"]))
    zero = strength.new_zeros(())
    stretch = pyro.sample("stretch", dist.LogNormal(zero, SPREAD["stretch"]))
    factor = pyro.sample("noise_factor", dist.LogNormal(zero, SPREAD["noise_factor"]))
    field = _field(sensitivity)
    scale = mode_scale(_shape(sensitivity), reach * stretch[..., None], amplitude)
    density = pyro.deterministic("density", ripple(field, scale, weight), event_dim=3)
    _observe(gravity, density, sensitivity, sigma * factor, basis)


@declare(name="gravity_inversion:positive", dims=DIMS)
def positive(
    gravity: Tensor,
    sensitivity: Tensor,
    sigma: Tensor,
    weight: Tensor,
    reach: Tensor,
    strength: Tensor,
    basis: Tensor | None = None,
    position: Tensor | None = None,
) -> None:
    """Nothing lighter than the surroundings: the smooth field bent to stay above zero."""
    del position
    field = _field(sensitivity)
    scale = mode_scale(_shape(sensitivity), reach, torch.ones_like(strength))
    bent = softplus(ripple(field, scale, torch.ones_like(weight)), beta=SHARPNESS)
    bent = bent * strength / weight[:, None, None]
    density = pyro.deterministic("density", bent, event_dim=3)
    _observe(gravity, density, sensitivity, sigma, basis)


@declare(name="gravity_inversion:sparse", dims=DIMS)
def sparse(
    gravity: Tensor,
    sensitivity: Tensor,
    sigma: Tensor,
    weight: Tensor,
    reach: Tensor,
    strength: Tensor,
    basis: Tensor | None = None,
    position: Tensor | None = None,
) -> None:
    """Compact bodies: every cell by itself, Laplace, so that most are near nothing."""
    del position, reach
    zero = sensitivity.new_zeros(_shape(sensitivity))
    field = pyro.sample("field", dist.Laplace(zero, math.sqrt(0.5)).to_event(3))
    scaled = field * strength / weight[:, None, None]
    density = pyro.deterministic("density", scaled, event_dim=3)
    _observe(gravity, density, sensitivity, sigma, basis)


def _shape(sensitivity: Tensor) -> tuple[int, int, int]:
    return sensitivity.shape[1], sensitivity.shape[2], sensitivity.shape[3]


def _field(sensitivity: Tensor) -> Tensor:
    zero = sensitivity.new_zeros(_shape(sensitivity))
    return pyro.sample("field", dist.Normal(zero, 1.0).to_event(3))


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


VARIANTS: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        "whitened": whitened,
        "centered": centered,
        "learned": learned,
        "positive": positive,
        "sparse": sparse,
    }
)
