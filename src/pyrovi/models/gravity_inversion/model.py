r"""What lies below, from gravity measured above: a linear inverse problem with an exact answer.

The ground is a mesh of prisms (or a section of cells without end along the strike), each of one
unknown density contrast :math:`\rho`. Gravity at the stations is linear in it,

.. math::  \rho \sim N(0, Q^{-1}), \qquad g = G \rho + B t + \varepsilon,
   \qquad \varepsilon_i \sim N(0, \sigma_i), \qquad t \sim N(0, I),

with the closed-form kernel G of `prisms`, the sparse precision Q of `smooth_field`, and, where
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

import math
from collections.abc import Callable, Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import softplus

from pyrovi.models.gravity_inversion.horseshoe import few_bodies
from pyrovi.models.gravity_inversion.sites import (
    CELL_DIMS,
    DIMS,
    LEARNED_DIMS,
    Ground,
    declared,
    form,
    scalar,
    standard_field,
)
from pyrovi.models.gravity_inversion.smooth_field import cosines, mode_scale, to_cells, to_modes

SHARPNESS = 2.0  # of the bend at zero that keeps ``positive`` densities positive
SPREAD = {"amplitude": 0.75, "stretch": 0.5, "noise_factor": 0.5}
"""Prior standard deviation of the logarithm of what ``learned`` learns."""


@form("gravity_inversion", DIMS)
def whitened(ground: Ground) -> Tensor:
    """A smooth density from standard normals, ``field``, one to a cosine mode of the mesh."""
    field = standard_field(ground.zero)
    scale = mode_scale(ground.sensitivity.shape[1:], ground.reach, ground.strength)
    return to_cells(field, scale, ground.weight)


@form("gravity_inversion:centered", DIMS)
def centered(ground: Ground) -> Tensor:
    """The same distribution with the density of the cells sampled; for small meshes."""
    shape = ground.sensitivity.shape[1:]
    depth, north, east = cosines(ground.sensitivity)
    modes = torch.kron(torch.kron(depth.contiguous(), north), east)
    modes = modes * ground.weight.repeat_interleave(shape[1] * shape[2])
    scaled = modes / mode_scale(shape, ground.reach, ground.strength).reshape(-1, 1)
    zero = scaled.new_zeros(len(scaled))
    prior = dist.MultivariateNormal(zero, precision_matrix=scaled.T @ scaled)
    return pyro.sample("cell_density", prior).unflatten(-1, shape)


@declared("gravity_inversion:learned", LEARNED_DIMS)
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
    centre = scalar(strength, sensitivity).log()
    amplitude = pyro.sample("amplitude", dist.LogNormal(centre, SPREAD["amplitude"]))
    zero, shape = sensitivity.new_zeros(()), sensitivity.shape[1:]
    stretch = pyro.sample("stretch", dist.LogNormal(zero, SPREAD["stretch"]))
    factor = pyro.sample("noise_factor", dist.LogNormal(zero, SPREAD["noise_factor"]))
    scale = mode_scale(shape, reach * stretch[..., None], amplitude)
    field = standard_field(sensitivity.new_zeros(shape), name="prior_field")
    with pyro.plate("station", len(sigma), dim=-1):
        error = pyro.sample("prior_error", dist.Normal(sigma.new_zeros(()), 1.0))
    noise = sigma * factor[..., None]
    modes = to_modes(sensitivity, weight).flatten(1) * scale.flatten(-3).unsqueeze(-2)
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
    pyro.deterministic("density", to_cells(corrected, scale, weight), event_dim=3)
    if basis.shape[-1]:
        pyro.deterministic("trend", trend + (basis.T @ solved).squeeze(-1), event_dim=1)
    none = gravity.new_zeros(len(sigma))
    pyro.sample("gravity", dist.MultivariateNormal(none, scale_tril=tril), obs=gravity)


@form("gravity_inversion:positive", DIMS)
def positive(ground: Ground) -> Tensor:
    """Nothing lighter than the surroundings: the smooth field bent to stay above zero."""
    field, one = standard_field(ground.zero), ground.sensitivity.new_ones(())
    scale = mode_scale(ground.sensitivity.shape[1:], ground.reach, one)
    bent = softplus(to_cells(field, scale, torch.ones_like(ground.weight)), beta=SHARPNESS)
    return bent * ground.strength / ground.weight[:, None, None]


@form("gravity_inversion:sparse", CELL_DIMS)
def sparse(ground: Ground) -> Tensor:
    """Compact bodies: every cell by itself, Laplace, so that most are near nothing."""
    field = pyro.sample("field", dist.Laplace(ground.zero, math.sqrt(0.5)).to_event(3))
    return field * ground.strength / ground.weight[:, None, None]


FORMS: Mapping[str, Callable[..., None]] = {
    "whitened": whitened,
    "centered": centered,
    "learned": learned,
    "positive": positive,
    "sparse": sparse,
    "horseshoe": few_bodies(),
}
