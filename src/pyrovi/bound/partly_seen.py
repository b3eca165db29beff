"""A distribution of events of which some entries are missing: the density of what was seen."""

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Independent, LowRankMultivariateNormal, MultivariateNormal

ONE_DRAW = torch.Size()
GAUSSIANS = (MultivariateNormal, LowRankMultivariateNormal)


def has_marginals(fn: Any) -> bool:
    """Whether the density of some entries of an event is known in closed form."""
    if isinstance(fn, Independent):
        return len(fn.event_shape) == fn.reinterpreted_batch_ndims
    return isinstance(fn, GAUSSIANS)


class PartlySeen(TorchDistribution):
    """A distribution under which an event has the marginal density of its entries that were seen.

    Draws are whole events. Shape of ``seen``: that of the observed value, True where it was seen.

    >>> whole = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    >>> seen = PartlySeen(whole, torch.tensor([True, False]))
    >>> torch.isclose(seen.log_prob(torch.zeros(2)), -torch.tensor(2 * math.pi).log() / 2).item()
    True
    """

    arg_constraints: Any = {}  # noqa: RUF012  those of torch are plain dicts

    def __init__(self, base_dist: Any, seen: Tensor) -> None:
        self.base_dist, self.seen = base_dist, seen
        super().__init__(base_dist.batch_shape, base_dist.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """That of whole events."""
        return self.base_dist.support

    @property
    def has_rsample(self) -> bool:
        """Whether draws have gradients."""
        return self.base_dist.has_rsample

    def rsample(self, sample_shape: Any = ONE_DRAW) -> Tensor:
        """Whole events."""
        return self.base_dist.rsample(sample_shape)

    def sample(self, sample_shape: Any = ONE_DRAW) -> Tensor:
        """Whole events."""
        return self.base_dist.sample(sample_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "PartlySeen":
        """The same with a larger batch."""
        return PartlySeen(self.base_dist.expand(batch_shape), self.seen)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density of the entries that were seen; of the others ``value`` says nothing."""
        if isinstance(self.base_dist, Independent):
            terms = torch.where(self.seen, self.base_dist.base_dist.log_prob(value), 0.0)
            return terms.sum(tuple(range(-len(self.event_shape), 0)))
        # Entries that were not seen become standard normal ones at 0, independent of the rest.
        seen = self.seen.to(value.dtype)
        both = seen[..., :, None] * seen[..., None, :]
        covariance = self.base_dist.covariance_matrix * both + torch.diag_embed(1 - seen)
        off = (value - self.base_dist.loc) * seen
        whole = MultivariateNormal(torch.zeros_like(off), covariance, validate_args=False)
        return whole.log_prob(off) + (1 - seen).sum(-1) * math.log(2 * math.pi) / 2
