r"""The regularised horseshoe: most of the numbers near nothing, some few as large as they like.

.. math::  \beta_i = \tilde s_i z_i, \qquad \tilde s_i^{-2} = s_i^{-2} + c^{-2}, \qquad
   s_i = \tau \lambda_i u_i, \qquad z_i \sim N(0, 1), \quad \lambda_i \sim C^+(0, 1),

with a global scale :math:`\tau`, a local one for each number, its unit :math:`u_i`, and a slab of
width c. Given the scales a number is normal, and has a share :math:`s_i^2 / (s_i^2 + c^2)` of the
slab's variance: next to none, or nearly all of it. That share has a closed form in the mean
(`expected_share`), by which `global_scale_for` says how many numbers are expected to be large. No
number has more than the slab's variance, so that what the data leave open does not run away as it
does under the horseshoe's Cauchy tails.

The sites are not centred: z, the local scales and the global one are independent a priori.

Reference: Piironen and Vehtari (2017), "Sparsity information and regularization in the horseshoe
and other shrinkage priors", Electronic Journal of Statistics 11(2), sections 2 and 3,
https://doi.org/10.1214/17-EJS1337SI. Their global scale is set against the noise, for covariates
that stand for themselves; the columns of an ill-posed problem do not, so here the slab stands
where the noise does.
"""

import torch
from torch import Tensor

__all__ = ["expected_share", "global_scale_for", "regularised"]


def regularised(scale: Tensor, slab: Tensor) -> Tensor:
    """Each scale, held below the slab's width: :math:`(s^{-2} + c^{-2})^{-1/2}`.

    Written without squares, so that the widest scales of a Cauchy neither overflow nor lose their
    gradient.

    >>> regularised(torch.tensor([1e-9, 3.0, 1e30]), torch.tensor(4.0))
    tensor([1.0000e-09, 2.4000e+00, 4.0000e+00])
    """
    slab = slab.expand_as(scale)
    return scale * (slab / torch.hypot(scale, slab))


def expected_share(ratio: float) -> float:
    """The prior mean of a number's share of the slab's variance, given the global scale.

    Where s / c is ``ratio`` times a half-Cauchy, the mean of s² / (s² + c²) is
    ratio / (1 + ratio). With a ratio of one the share is Beta(1/2, 1/2): a horseshoe.

    >>> expected_share(0.25)
    0.2
    """
    return ratio / (1 + ratio)


def global_scale_for(share: float) -> float:
    """The global scale, in widths of the slab, under which this share is expected: its inverse.

    >>> global_scale_for(0.2)
    0.25
    """
    return share / (1 - share)
