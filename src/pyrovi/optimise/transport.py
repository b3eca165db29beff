"""The objective of a transport map on fixed draws, and which of its terms to fit.

Fitted by its bound, a Gaussian leaves no slope and no average curvature of the log ratio of
posterior and approximation. What it leaves first is that the log density is of third order, and
the mean of a score times ``z_j z_k - [j = k]`` over standard normal draws ``z`` is its average
third derivative (Stein 1981, https://doi.org/10.1214/aos/1176345632). Each of these is what one
term of a triangular map takes away, so those beyond their noise are the terms that pay.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyrovi.approximations import Transported

TERM_ERRORS = 3.0  # Monte Carlo errors that a third derivative is beyond zero, to be fitted


class TransportedDraws:
    """Minus the ELBO of a transport map as a function of the map's parameters, on fixed draws.

    Args:
        base: What is bent; its parameters are where to start.
        noise: The draws, of which the second half mirrors the first.
    """

    def __init__(self, base: Transported, noise: Float[Tensor, "draw dim"]) -> None:
        self.base, self.noise = base, noise

    def evaluate(
        self, parameters: Float[Tensor, "parameter"]
    ) -> tuple[float, Float[Tensor, "parameter"]]:
        """The loss, in nats, and its gradient."""
        parameters = parameters.detach().requires_grad_()
        loss = self._loss(self._pulled_back(parameters, self.noise))
        (gradient,) = torch.autograd.grad(loss, parameters)
        return float(loss.detach()), gradient

    def loss(self) -> float:
        """The loss of the base."""
        flat, log_stretch = self.base.placed(self.base.parameters, self.noise)
        return float(self._loss(self.base.density.log_prob(flat).detach() + log_stretch))

    def scores(self) -> Float[Tensor, "draw dim"]:
        """The gradient of the log ratio of the posterior to the base, in the noise of each draw.

        It is zero if the base is the posterior.
        """
        noise = self.noise.detach().requires_grad_()
        pulled_back = self._pulled_back(self.base.parameters, noise)
        return torch.autograd.grad(pulled_back.sum(), noise)[0] + self.noise

    def _loss(self, pulled_back: Tensor) -> Tensor:
        entropy = 0.5 * self.noise.shape[1] * math.log(2 * math.pi * math.e)
        return (-pulled_back.mean() - entropy).nan_to_num(torch.inf, torch.inf)

    def _pulled_back(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """The log density of the model at each draw, and how much the map stretches there."""
        flat, log_stretch = self.base.placed(parameters, noise)
        value, gradient = self.base.density.value_and_gradient(flat.detach())
        linear = (flat * gradient).sum(-1)
        return value + (linear - linear.detach()) + log_stretch


def terms_of(
    scores: Float[Tensor, "draw dim"], noise: Float[Tensor, "draw dim"]
) -> Int[Tensor, "term 3"]:
    """The terms ``(i, j, k)`` of a triangular map that scores show to be beyond their noise.

    Each stands for the third derivative of the same indices, and takes the mean of three
    estimates of it, by the score of each index.
    """
    dim, pairs = noise.shape[1], len(noise) // 2
    mean, square = (noise.new_empty(dim, dim, dim) for _ in range(2))
    for j in range(dim):
        product = noise[:, j, None] * noise
        product[:, j] -= 1
        mean[:, j] = scores.T @ product / len(noise)
        square[:, j] = scores.square().T @ product.square() / len(noise)
    variance = (square - mean.square()).clamp(min=0) / pairs
    beyond = _symmetric(mean).abs() > TERM_ERRORS * (_symmetric(variance) / 3).sqrt()
    i, j, k = torch.nonzero(beyond).T
    kept = (i >= j) & (j >= k) & (i > k)  # the third derivative along one entry is its skew
    return torch.stack([i, j, k], dim=1)[kept]


def _symmetric(cube: Tensor) -> Tensor:
    return (cube + cube.permute(1, 0, 2) + cube.permute(2, 1, 0)) / 3
