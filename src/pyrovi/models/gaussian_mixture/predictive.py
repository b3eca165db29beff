"""What the factors of `CAVI` say of observations, and a start for it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.models.gaussian_mixture import conjugate_updates, unit_updates
from pyrovi.models.gaussian_mixture.assignments import Data, moments_of
from pyrovi.models.gaussian_mixture.priors import Mixture


def start_from(y: Any, responsibilities: Any) -> dict[str, Any]:
    """A start for `CAVI` at given responsibilities, for either form with closed updates.

    Args:
        y: The data (observation, dimension).
        responsibilities: The probability of each component (observation, component).

    Returns:
        What ``CAVI(start=...)`` takes.
    """
    given = torch.as_tensor(np.asarray(responsibilities), dtype=torch.float64)
    data = Data.of(torch.as_tensor(np.asarray(y)), given.shape[1])
    return {"assignment": moments_of(data, given.T.contiguous())}


def responsibilities(factors: Mapping[str, Any], y: Any) -> Float[Tensor, "observation component"]:
    """The factor of the assignments of ``y`` (observation, dimension), given the other factors.

    Args:
        factors: Those of `CAVI`: ``fit.approximations()[0].factors``.
        y: The data, or others.
    """
    conjugate = "components" in factors
    located = factors["components" if conjugate else "loc"]
    x = (torch.as_tensor(np.asarray(y), dtype=torch.float64) - located.centre).T.contiguous()
    problem = Mixture(Data(x, located.centre, len(located.loc)), spread=1.0)
    statistics = {name: factor.expected() for name, factor in factors.items()}
    assign = conjugate_updates.assign if conjugate else unit_updates.assign
    return assign(problem, statistics).responsibilities()


def log_predictive(
    factors: Mapping[str, Any], y: Any, *, plug_in: bool = False
) -> Float[Tensor, "observation"]:
    r"""The log density of new observations, under the factors of `CAVI`.

    Under ``unit`` it is :math:`\log \tfrac1K \sum_k N(x; m_k, (1 + s_k^2) I)`; with ``plug_in``
    the posterior means stand for the locations, :math:`\log \tfrac1K \sum_k N(x; m_k, I)`. Under
    ``conjugate`` it is a mixture of Student's t (Bishop 10.81), or of normals with the expected
    weights, locations and precisions plugged in.

    Args:
        factors: Those of `CAVI`: ``fit.approximations()[0].factors``.
        y: New observations (observation, dimension).
        plug_in: Whether to leave out how uncertain the parameters are.
    """
    x = torch.as_tensor(np.asarray(y), dtype=torch.float64)
    if "components" not in factors:
        of_each = factors["loc"].log_predictive(x, plug_in=plug_in)
        return of_each.logsumexp(-1) - math.log(of_each.shape[1])
    concentration = factors["weight"].concentration
    log_weight = (concentration / concentration.sum()).log()
    of_each = factors["components"].log_predictive(x, plug_in=plug_in)
    return (of_each + log_weight).logsumexp(-1)
