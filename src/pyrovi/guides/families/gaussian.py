"""Gaussian families over the unconstrained latent space, and the point estimate.

Mean field ignores posterior correlations and so reports too little variance; full rank carries all
of them; low rank the strongest; structured those between a site and the ones before it.
"""

from typing import Any

import torch
from pyro.infer.autoguide import (
    AutoDelta,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoStructured,
)
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
)

from pyrovi.guides.family import Family


def flat_mean_field(guide: Any) -> Distribution:
    """The joint distribution of an ``AutoNormal`` over the flat unconstrained vector."""
    names = [name for name, _ in guide.prototype_trace.iter_stochastic_nodes()]
    parts = zip(*(guide._get_loc_and_scale(name) for name in names), strict=True)
    loc, scale = (torch.cat([each.reshape(-1) for each in part]) for part in parts)
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


def flat_full_rank(guide: Any) -> Distribution:
    """The joint distribution of an ``AutoMultivariateNormal`` over the flat vector."""
    scale_tril = guide.scale[..., None] * guide.scale_tril
    return MultivariateNormal(guide.loc, scale_tril=scale_tril, validate_args=False)


def flat_low_rank(guide: Any) -> Distribution:
    """The joint distribution of an ``AutoLowRankMultivariateNormal`` over the flat vector."""
    scale = guide.scale
    factor = guide.cov_factor * scale[..., None]
    return LowRankMultivariateNormal(guide.loc, factor, scale * scale, validate_args=False)


mean_field = Family(
    "mean_field", AutoNormal, flat_mean_field, gaussian=True, factorises=True, joint=False
)
full_rank = Family("full_rank", AutoMultivariateNormal, flat_full_rank, gaussian=True)
low_rank = Family("low_rank", AutoLowRankMultivariateNormal, flat_low_rank, gaussian=True)
structured = Family("structured", AutoStructured, joint=False)
map = Family("map", AutoDelta, joint=False, density=False, point=True)  # noqa: A001
