"""Objectives as plain functions: values in, one differentiable number out.

All are minus an evidence lower bound, in nats, summed over the data.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from pyrovi.density import LogDensity
from pyrovi.guides import detached


def fixed_draws_loss(
    value_and_gradient: Callable[[Tensor], tuple[Tensor, Tensor]],
    loc: Float[Tensor, "dim"],
    log_scale: Float[Tensor, "dim"],
    noise: Float[Tensor, "draw dim"],
) -> tuple[Float[Tensor, ""], Float[Tensor, "draw 2*dim"]]:
    """Minus the ELBO of a mean-field Gaussian, with fixed standard-normal draws for the average.

    The entropy is exact: ``sum(log_scale) + dim / 2 * log(2 pi e)``.

    Returns:
        The loss, and each draw's part of its gradient in ``loc`` and ``log_scale``: their mean is
        the gradient, and their spread says how much other draws would have changed it.

    Reference: Giordano, Ingram and Broderick (2024), https://arxiv.org/abs/2304.05527
    """
    scale = log_scale.exp()
    entropy = log_scale.sum() + 0.5 * len(loc) * math.log(2 * math.pi * math.e)
    value, gradient = value_and_gradient(loc + scale * noise)
    return -value.mean() - entropy, torch.cat([-gradient, -gradient * noise * scale - 1], dim=-1)


def negative_elbo(
    density: LogDensity, flat: Distribution, particles: int, *, path_derivative: bool
) -> tuple[Float[Tensor, ""], Float[Tensor, "draw dim"]]:
    """Minus the ELBO of a distribution over the flat vector, by reparameterised draws.

    Draws at which the density is not finite are left out, as long as most are finite; with none
    left the loss is infinite.

    Args:
        density: The model's density.
        flat: The approximation, differentiable in its parameters.
        particles: How many draws stand for the expectation.
        path_derivative: Whether to leave the score out of the gradient ("sticking the landing"),
            whose mean is zero, so that the gradient has no noise once the fit is exact.

    Returns:
        The loss, and the draws it was computed from, without their gradient.

    Reference: Roeder, Wu and Duvenaud (2017), https://arxiv.org/abs/1703.09194
    """
    draws = flat.rsample(torch.Size((particles,)))
    log_guide = (detached(flat) if path_derivative else flat).log_prob(draws)
    terms = log_guide - density.log_prob(draws)
    finite = terms.isfinite()
    if int(finite.sum()) <= particles // 2:
        return terms.sum() * 0 + torch.inf, draws.detach()
    return terms[finite].mean(), draws.detach()
