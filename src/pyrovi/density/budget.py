"""What an evaluation costs: memory and work."""

from math import prod
from typing import Any

from pyro.distributions import DiscreteHMM, GammaGaussianHMM, GaussianHMM, Stable
from torch import Tensor
from torch.distributions import Independent, MixtureSameFamily, MultivariateNormal, Wishart

from pyrovi.bound import BoundModel

PER_COMPONENT = 3  # numbers behind a value of a mixture, for each component
STABLE_POINTS = 501  # at which Pyro integrates the density of a stable distribution


def entries_of(model: BoundModel) -> int:
    """About how many numbers one evaluation at one point holds."""
    return sum(sizes_of(model)) + 1


def sizes_of(model: BoundModel) -> list[int]:
    """About how many numbers each site holds at one point."""
    nodes = model.prototype.nodes
    widths = (_width(nodes[site.name]["fn"]) for site in model.sites)
    sizes = [w * prod(site.shape) for w, site in zip(widths, model.sites, strict=True)]
    # Discrete sites are enumerated: ten values are usual, and some terms hang on each.
    return sizes + [3 * prod(site.shape) * 10 for site in model.discrete]


def work_of(model: BoundModel) -> int:
    """`entries_of`, and the covariances, which a Gaussian may have factorised at every point."""
    nodes = model.prototype.nodes
    factors = (_factor(nodes[site.name]["fn"]) for site in model.sites)
    return entries_of(model) + sum(factor.numel() for factor in factors if factor is not None)


def _width(distribution: Any) -> int:
    """How many numbers stand behind one entry of a value: hidden states, points of an integral."""
    inner = _inner(distribution)
    if isinstance(inner, MixtureSameFamily):
        return PER_COMPONENT * inner.mixture_distribution.param_shape[-1]
    if isinstance(inner, Stable):
        return 4 * STABLE_POINTS
    if isinstance(inner, DiscreteHMM):
        return inner.initial_logits.shape[-1] ** 2
    return 4 * inner.hidden_dim**2 if isinstance(inner, GaussianHMM | GammaGaussianHMM) else 1


def _inner(distribution: Any) -> Any:
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return distribution


def _factor(distribution: Any) -> Tensor | None:
    """The Cholesky factor of a distribution's covariance; None where it has none."""
    distribution = _inner(distribution)
    if isinstance(distribution, MultivariateNormal | Wishart):
        return distribution._unbroadcasted_scale_tril
    return None
