r"""The regularised horseshoe: most of the numbers near nothing, some few as large as they like.

.. math::  \beta_i = \tilde s_i z_i, \qquad \tilde s_i^{-2} = s_i^{-2} + c^{-2}, \qquad
   s_i = \tau \lambda_i u_i, \qquad z_i \sim N(0, 1), \quad \lambda_i \sim C^+(0, 1),

with a global scale :math:`\tau`, a local one for each number, its unit :math:`u_i`, and a slab of
width c. Given the scales a number is normal, and has a share :math:`s_i^2 / (s_i^2 + c^2)` of the
slab's variance: next to none, or nearly all of it. Its mean says how many numbers are expected to
be large (`global_scale_for`). No number has more than the slab's variance, so that what the data
leave open does not run away as it does under the horseshoe's Cauchy tails.

The sites are not centred: z, the local scales and the global one are independent a priori.

Reference: Piironen and Vehtari (2017), "Sparsity information and regularization in the horseshoe
and other shrinkage priors", Electronic Journal of Statistics 11(2), sections 2 and 3,
https://doi.org/10.1214/17-EJS1337SI. Their global scale is set against the noise, for covariates
that stand for themselves; the columns of an ill-posed problem do not, so here the slab stands
where the noise does.
"""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovi.errors import ModelError
from pyrovi.models.gravity_inversion.sites import CELL_DIMS, Ground, form, standard_field


def regularised(scale: Tensor, slab: Tensor) -> Tensor:
    """Each scale, held below the slab's width: :math:`(s^{-2} + c^{-2})^{-1/2}`.

    Written without squares, so that the widest scales of a Cauchy neither overflow nor lose their
    gradient.

    >>> regularised(torch.tensor([1e-9, 3.0, 1e30]), torch.tensor(4.0))
    tensor([1.0000e-09, 2.4000e+00, 4.0000e+00])
    """
    slab = slab.expand_as(scale)
    return scale * (slab / torch.hypot(scale, slab))


def global_scale_for(share: float) -> float:
    """The global scale, in widths of the slab, under which a number has this share in the mean.

    Where s / c is r times a half-Cauchy, the mean of s² / (s² + c²) is r / (1 + r). With r of one
    the share is Beta(1/2, 1/2): a horseshoe.

    >>> global_scale_for(0.2)
    0.25
    """
    return share / (1 - share)


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

    @form("gravity_inversion:horseshoe", CELL_DIMS)
    def horseshoe(ground: Ground) -> Tensor:
        zero, strength = ground.zero, ground.strength
        # Under a half-Cauchy there is a second ground in which all cells are in the slab; it holds
        # little of the posterior and is smooth, so that fits of one optimum end there.
        widest = zero.new_tensor(global_scale_for(share))
        overall = pyro.sample("global_scale", dist.HalfNormal(widest))
        half = zero.new_tensor(freedom / 2)
        # Not the variance: an inverse gamma's density overflows far out, where chains may step.
        precision = pyro.sample("slab_precision", dist.Gamma(half, half))
        local = pyro.sample("local_scale", dist.HalfCauchy(zero + 1.0).to_event(3))
        field = standard_field(zero)
        slab = (strength if contrast is None else contrast) * precision.rsqrt()
        scale = overall[..., None, None, None] * local * strength / ground.weight[:, None, None]
        return field * regularised(scale, slab[..., None, None, None])

    return horseshoe
