"""Densities of Pyro's that `torch.func.vmap` cannot carry, written so that it can.

Each is what it stands for, to rounding, and so is its gradient. What was in the way: masks and
branches that hang on values (`Stable`, the densities that leave NaN out), writing into a fresh
tensor (`OrderedLogistic`, `Multinomial`), ``.data`` (`GaussianHMM`, and all that takes a factor by
`safe_cholesky`), a gradient of Pyro's own making (`DiscreteHMM`). They stand in where many points
are carried through one run; see `pyro_patches`.
"""

import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import stable_log_prob
from pyro.ops import tensor_utils
from torch import Tensor
from torch.distributions.utils import broadcast_all

NEAR_ONE = stable_log_prob.alpha_near_one_tolerance


class SafeLog(torch.autograd.Function):
    """Pyro's `safe_log`, whose gradient is finite at zero."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.log()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad_outputs[0] / x.clamp(min=torch.finfo(x.dtype).eps)


def safe_cholesky(matrix: Tensor) -> Tensor:
    """Pyro's: the Cholesky factor of a matrix whose diagonal is raised by a few roundings."""
    relative = tensor_utils.CHOLESKY_RELATIVE_JITTER
    if matrix.shape[-1] == 1:
        return (matrix.clamp(min=torch.finfo(matrix.dtype).tiny) if relative else matrix).sqrt()
    if relative:
        largest = matrix.detach().abs().amax(-1)
        matrix = matrix + (relative * torch.finfo(matrix.dtype).eps * largest).diag_embed()
    return torch.linalg.cholesky(matrix)


def multinomial(self: Any, value: Tensor) -> Tensor:
    """The log density of counts, of which those of probability zero are zero."""
    logits, value = broadcast_all(self.logits, value)
    logits = logits.masked_fill((value == 0) & (logits == -torch.inf), 0.0)
    ways = torch.lgamma(value.sum(-1) + 1) - torch.lgamma(value + 1).sum(-1)
    return ways + (logits * value).sum(-1)


def ordered_logistic(
    self: Any, predictor: Tensor, cutpoints: Tensor, validate_args: bool | None = None
) -> None:
    """The probability of each grade: the differences of those to be at most so high."""
    at_most = torch.sigmoid(cutpoints - predictor.unsqueeze(-1))
    self.predictor = predictor.expand(at_most.shape[:-1])
    self.cutpoints = cutpoints.expand(at_most.shape)
    grades = [at_most[..., :1], at_most[..., 1:] - at_most[..., :-1], 1 - at_most[..., -1:]]
    dist.Categorical.__init__(self, torch.cat(grades, -1), validate_args=validate_args)


def sine_skewed(
    self: Any, base_dist: Any, skewness: Tensor, validate_args: bool | None = None
) -> None:
    """Without the warning of a skewness that is too large, which hangs on its value."""
    batch = torch.broadcast_shapes(base_dist.batch_shape, skewness.shape[:-1])
    event = skewness.shape[-1:]
    self.skewness = skewness.broadcast_to(batch + event)
    self.base_dist = base_dist.expand(batch)
    dist.TorchDistribution.__init__(self, batch, event, validate_args=validate_args)


def nan_masked_normal(self: Any, value: Tensor) -> Tensor:
    """The log density of a normal, and zero of what is not finite."""
    seen = value.isfinite()
    terms = dist.Normal.log_prob(self, torch.where(seen, value, self.loc))
    return torch.where(seen, terms, 0.0)


def nan_masked_multivariate_normal(self: Any, value: Tensor) -> Tensor:
    """The log density of the entries that are finite: the others become standard normal, at 0."""
    seen = value.isfinite()
    both, cov = seen.unsqueeze(-1) & seen.unsqueeze(-2), self.covariance_matrix
    apart = dist.MultivariateNormal(
        torch.where(seen, self.loc, 0.0),
        torch.where(both, cov, torch.eye(cov.shape[-1], dtype=cov.dtype)),
    )
    unseen = (~seen).sum(-1) * (0.5 * math.log(2 * math.pi))
    return apart.log_prob(torch.where(seen, value, 0.0)) + unseen


def stable_density(alpha: Tensor, beta: Tensor, value: Tensor, coords: str) -> Tensor:
    """The log density of a standard stable distribution, between two where alpha is near 1."""
    if coords == "S":
        value = torch.where(alpha == 1, value, value - beta * (math.pi / 2 * alpha)).tan()
    near = (alpha - 1).abs() < NEAR_ONE
    above = _stable_away_from_one(torch.where(near, 1 + NEAR_ONE, alpha), beta, value)
    below = _stable_away_from_one(torch.full_like(alpha, 1 - NEAR_ONE), beta, value)
    return _between(near, (alpha - 1) / (2 * NEAR_ONE), above, below)


def _stable_away_from_one(alpha: Tensor, beta: Tensor, value: Tensor) -> Tensor:
    """The same, between two where the value is near 0."""
    value = value + beta * (math.pi / 2 * alpha).tan()
    at_zero = stable_log_prob._unsafe_alpha_stable_log_prob_at_zero(alpha, 0)
    width = stable_log_prob.value_near_zero_tolerance_alpha * alpha / (1 - alpha).abs()
    width = width.clamp(
        max=stable_log_prob.value_near_zero_tolerance_density * at_zero.exp().reciprocal()
    )
    near, density = value.abs() < width, stable_log_prob._unsafe_stable_log_prob
    above = density(alpha, beta, torch.where(near, width, value))
    return _between(near, value / (2 * width), above, density(alpha, beta, -width))


def _between(near: Tensor, place: Tensor, above: Tensor, below: Tensor) -> Tensor:
    """The log of the mean of two densities, by a place from -0.5 to 0.5; elsewhere ``above``."""
    share = torch.where(near, place, 0.0) + 0.5  # elsewhere any, so that slopes are finite
    mean = torch.logaddexp(above + share.log(), below + (1 - share).log())
    return torch.where(near, mean, above)
