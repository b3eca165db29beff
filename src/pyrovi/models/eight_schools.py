r"""Eight schools: the smallest hierarchy that defeats a careless fit.

Rubin's (1981) coaching experiment: estimated effects :math:`y_j` of coaching on SAT scores in
eight schools, with known standard errors :math:`\sigma_j`:

.. math::  y_j \sim N(\theta_j, \sigma_j), \quad \theta_j \sim N(\mu, \tau), \quad
           \mu \sim N(0, 5), \quad \tau \sim \text{HalfCauchy}(5).

Centered, the effects :math:`\theta_j` must shrink as :math:`\tau` does (a funnel), and a Gaussian
guide stops short of small :math:`\tau`. Non-centered, :math:`\theta_j = \mu + \tau
\tilde\theta_j` with :math:`\tilde\theta_j \sim N(0, 1)`, the same posterior is nearly Gaussian.
Both have the same joint density of :math:`\mu, \tau, \theta, y`, which a test holds, and the
priors of posteriordb, whose reference draws it is held to.

References: Rubin (1981), "Estimation in parallel randomized experiments", Journal of Educational
Statistics 6(4), table 1. Gelman et al. (2013), "Bayesian Data Analysis", 3rd ed., section 5.5.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
import xarray as xr
from torch import Tensor

from pyrovi.models.entry import Variant, ZooModel, run_forward
from pyrovi.seeds import check_seed, stream
from pyrovi.structure import declare
from pyrovi.tree import data_tree

EFFECT = (28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0)  # SAT points
STANDARD_ERROR = (15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0)  # SAT points


@declare(name="eight_schools")
def noncentered(y: Tensor, sigma: Tensor) -> None:
    """``theta`` as ``mu + tau * theta_trans``."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", sigma.shape[-1], dim=-1):
        theta_trans = pyro.sample("theta_trans", dist.Normal(0.0, 1.0))
        theta = pyro.deterministic("theta", mu + tau * theta_trans, event_dim=0)
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


@declare(name="eight_schools:centered")
def centered(y: Tensor, sigma: Tensor) -> None:
    """``theta`` drawn around ``mu``."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", sigma.shape[-1], dim=-1):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def simulate(seed: int | None = None) -> xr.DataTree:
    """Effects drawn from the prior and measured with Rubin's standard errors; with ``truth``."""
    sigma = torch.tensor(STANDARD_ERROR, dtype=torch.float64)
    arguments = {"y": torch.zeros_like(sigma), "sigma": sigma}
    drawn = run_forward(centered, stream(check_seed(seed), "eight_schools"), arguments)
    truth = {"mu": drawn["mu"], "tau": drawn["tau"], "theta": ("school", drawn["theta"])}
    return _data(drawn["y"], truth)


def rubin1981() -> xr.DataTree:
    """The eight estimates and standard errors of Rubin (1981), table 1."""
    return _data(np.array(EFFECT))


def _data(y: np.ndarray, truth: Mapping[str, Any] | None = None) -> xr.DataTree:
    points = {"units": "SAT points"}
    return data_tree(
        observed={"y": ("school", y, {**points, "long_name": "estimated effect of coaching"})},
        constant={
            "sigma": ("school", np.array(STANDARD_ERROR), {**points, "long_name": "its s.e."})
        },
        coords={"school": list("ABCDEFGH")},
        truth=truth,
    )


EIGHT_SCHOOLS = ZooModel(
    name="eight_schools",
    title="Eight schools: effects of coaching, partially pooled",
    model=noncentered,
    simulate=simulate,
    loaders={"rubin1981": rubin1981},
    variants={"noncentered": Variant(model=noncentered), "centered": Variant(model=centered)},
)
