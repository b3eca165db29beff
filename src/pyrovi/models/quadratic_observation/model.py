r"""A squared quantity seen with noise: two answers, and what each approximation makes of them.

One unknown number :math:`x`, of which only the square is seen, a few times over:

.. math::  x \sim N(0, s), \quad y_i \sim N(x^2, \sigma), \quad i = 1 \ldots n.

The sign of :math:`x` leaves no trace in the data, so :math:`p(x \mid y)` is even. It has two modes

.. math::  x = \pm \sqrt{\bar y - \sigma^2 / (2 n s^2)}

where that is a number, and one mode at zero where not. It is in the zoo because one dimension can
be held against quadrature (`Exact`), and each Gaussian approximation is wrong in its own way:

- **Laplace** has the height and the curvature of one mode.
- The **Gaussian of least KL(q to p)**, which variational inference seeks, sits in one mode. Its
  bound needs no more than the first four moments, so `elbo` has it in closed form.
- The **Gaussian of least KL(p to q)** has the mean and the standard deviation of the posterior: it
  covers both modes, and is highest where nothing is.
- **Linearised variational Bayes** (`linearised`) puts :math:`m^2 + 2 m (x - m)` for :math:`x^2`.
  At :math:`m = 0` the slope is zero and the answer is the prior, whatever was observed, even where
  the posterior peaks there. From elsewhere it ends at a mode, with a precision of :math:`1 / s^2`
  more than Laplace's.

A flow can hold both modes, if it starts wide enough to see them. What all but the linearised one
get about right is the ``size`` of :math:`x`, which the data do determine; the variant ``positive``
has no other unknown.

The data sets are worked examples: their numbers are made up, and say so.

References: Friston, Mattout, Trujillo-Barreto, Ashburner and Penny (2007), "Variational free
energy and the Laplace approximation", NeuroImage 34(1), and Chappell et al. (2009), "Variational
Bayesian inference for a nonlinear forward model", IEEE Transactions on Signal Processing 57(1),
for the linearisation; Minka (2005), "Divergence measures and message passing", Microsoft Research
TR-2005-173, for what the two divergences seek.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
import xarray as xr
from torch import Tensor

from pyrovi.errors import DataError
from pyrovi.models.entry import run_forward
from pyrovi.seeds import check_seed, stream
from pyrovi.structure import declare
from pyrovi.tree import data_tree

PRIOR_SCALE, NOISE_SCALE = 1.0, 1.0


@declare(name="quadratic_observation")
def signed(
    y: Tensor, prior_scale: Tensor | float = PRIOR_SCALE, noise_scale: Tensor | float = NOISE_SCALE
) -> None:
    """``x`` of either sign: an even posterior, of two modes where the data are positive enough."""
    x = pyro.sample("x", dist.Normal(0.0, prior_scale))
    pyro.deterministic("size", x.abs())
    _observe(y, x, noise_scale)


@declare(name="quadratic_observation:positive")
def positive(
    y: Tensor, prior_scale: Tensor | float = PRIOR_SCALE, noise_scale: Tensor | float = NOISE_SCALE
) -> None:
    """The same for the ``size`` of ``x`` alone, which the data do determine."""
    _observe(y, pyro.sample("size", dist.HalfNormal(prior_scale)), noise_scale)


def _observe(y: Tensor, x: Tensor, noise_scale: Tensor | float) -> None:
    with pyro.plate("observation", y.shape[-1], dim=-1):
        pyro.sample("y", dist.Normal(x.square(), noise_scale), obs=y)


def simulate(
    seed: int | None = None,
    *,
    n: int = 4,
    prior_scale: float = PRIOR_SCALE,
    noise_scale: float = NOISE_SCALE,
) -> xr.DataTree:
    """``x`` drawn from the prior, and its square observed ``n`` times; with ``truth``.

    Raises:
        DataError: If ``n`` is below one, or a scale is not above zero.
    """
    if n < 1 or not (prior_scale > 0 and noise_scale > 0):
        raise DataError(
            f"Observations of x^2 need n of at least 1 and scales above 0; {n=}, {prior_scale=}, "
            f"{noise_scale=} came."
        )
    arguments = {"y": torch.zeros(n, dtype=torch.float64), "prior_scale": prior_scale}
    arguments |= {"noise_scale": noise_scale}
    drawn = run_forward(signed, stream(check_seed(seed), "quadratic_observation"), arguments)
    return _data(drawn["y"], prior_scale, noise_scale, {"x": drawn["x"], "size": drawn["size"]})


def two_modes() -> xr.DataTree:
    """A worked example: four observations of mean 2, so that x is near -1.37 or 1.37."""
    return _data(np.array([1.1, 2.6, 2.9, 1.4]))


def peak_at_zero() -> xr.DataTree:
    """A worked example: four observations of mean -0.5; no square is negative: x is near zero."""
    return _data(np.array([-1.3, 0.4, -0.9, -0.2]))


def _data(
    y: np.ndarray,
    prior_scale: float = PRIOR_SCALE,
    noise_scale: float = NOISE_SCALE,
    truth: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    about = {"long_name": "the square of x, with noise", "comment": "made up, not measured"}
    return data_tree(
        observed={"y": ("observation", y, about)},
        constant={"prior_scale": prior_scale, "noise_scale": noise_scale},
        truth=truth,
    )
