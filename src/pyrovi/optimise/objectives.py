"""An objective as a plain function: values in, one differentiable number out."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from pyrovi.density import LogDensity
from pyrovi.guides import detached


def negative_elbo(
    density: LogDensity, flat: Distribution, particles: int, *, path_derivative: bool
) -> tuple[Float[Tensor, ""], Float[Tensor, "draw dim"]]:
    """Minus the ELBO of a distribution over the flat vector, in nats, by reparameterised draws.

    Draws at which the density is not finite are left out; where that is most of them, the loss is
    infinite.

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
