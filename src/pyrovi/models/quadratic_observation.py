r"""A squared quantity seen with noise: two answers, and what each approximation makes of them.

One unknown number :math:`x`, of which only the square is seen, a few times over:

.. math::  x \sim N(0, s), \quad y_i \sim N(x^2, \sigma), \quad i = 1 \ldots n.

The sign of :math:`x` leaves no trace in the data, so :math:`p(x \mid y)` is even. It has two modes

.. math::  x = \pm \sqrt{\bar y - \sigma^2 / (2 n s^2)}

where that is a number, and one mode at zero where it is not. It is in the zoo because all that is
said about one dimension can be held against quadrature (`Exact`), and because each approximation
by a Gaussian is wrong in a way of its own:

- **Laplace** has the height and the curvature of one mode.
- The **Gaussian of least KL(q to p)**, which variational inference seeks, sits in one mode. Its
  bound needs no more than the first four moments, so `elbo` has it in closed form.
- The **Gaussian of least KL(p to q)** has the mean and the standard deviation of the posterior: it
  covers both modes, and is highest where nothing is.
- **Linearised variational Bayes** (`linearised`) puts :math:`m^2 + 2 m (x - m)` for :math:`x^2`.
  At :math:`m = 0` the slope is zero, the linearised model does not depend on :math:`x`, and the
  answer is the prior, whatever was observed; even where the posterior has its peak there, with a
  curvature that Laplace sees. From elsewhere it ends at a mode, with a precision of
  :math:`1 / s^2` more than Laplace's.

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

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
import xarray as xr
from jaxtyping import Float
from scipy.integrate import trapezoid
from torch import Tensor

from pyrovi.errors import DataError
from pyrovi.models.entry import Variant, ZooModel, run_forward
from pyrovi.seeds import check_seed, stream
from pyrovi.structure import declare
from pyrovi.tree import data_tree

__all__ = ["QUADRATIC_OBSERVATION", "Exact", "elbo", "linearised", "log_joint", "simulate"]

PRIOR_SCALE, NOISE_SCALE = 1.0, 1.0
TWO_MODES = (1.1, 2.6, 2.9, 1.4)  # mean 2.0: x is near -1.37 or 1.37
PEAK_AT_ZERO = (-1.3, 0.4, -0.9, -0.2)  # mean -0.5: no square is negative, so x is near zero
GRID_SCALES, GRID_POINTS = 12.0, 200_001  # prior scales each way; odd, so that zero is a point

Grid = Float[np.ndarray, "point"]


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


# ------------------------------------------------------------------------- the mathematics


def _log_normal(value: Any, loc: Any, scale: float) -> Any:
    return -0.5 * ((value - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)


def log_joint(
    x: Grid,
    y: Float[np.ndarray, "observation"],
    prior_scale: float = PRIOR_SCALE,
    noise_scale: float = NOISE_SCALE,
) -> Grid:
    """log p(x) + log p(y given x) of ``signed`` at each ``x``, in nats."""
    likelihood = _log_normal(np.asarray(y)[:, None], x**2, noise_scale).sum(0)
    return _log_normal(x, 0.0, prior_scale) + likelihood


def elbo(
    loc: float,
    scale: float,
    y: Float[np.ndarray, "observation"],
    prior_scale: float = PRIOR_SCALE,
    noise_scale: float = NOISE_SCALE,
) -> float:
    """The evidence lower bound of Normal(``loc``, ``scale``), exactly, in nats.

    With E(x^2) = m^2 + v and E(x^4) = m^4 + 6 m^2 v + 3 v^2, where v is ``scale`` squared.
    """
    v, y = scale**2, np.asarray(y)
    second, fourth = loc**2 + v, loc**4 + 6 * loc**2 * v + 3 * v**2
    residual = (y**2 - 2 * y * second + fourth).sum()
    accuracy = -0.5 * residual / noise_scale**2 - len(y) * np.log(noise_scale * np.sqrt(2 * np.pi))
    complexity = 0.5 * (second / prior_scale**2 - 1) - np.log(scale / prior_scale)
    return float(accuracy - complexity)


def linearised(
    y: Float[np.ndarray, "observation"],
    prior_scale: float = PRIOR_SCALE,
    noise_scale: float = NOISE_SCALE,
    *,
    start: float = 0.0,
    steps: int = 200,
) -> tuple[float, float]:
    """Gaussian variational Bayes with x^2 made linear about the mean, to its fixed point.

    Each step is that of Gauss and Newton, halved until the density at the mean does not fall.

    Args:
        y: Observations of x^2.
        prior_scale: Standard deviation of the prior on x.
        noise_scale: Standard deviation of the noise, in the units of ``y``.
        start: The first mean. Zero is a fixed point: there the answer is the prior.
        steps: How many steps to take.

    Returns:
        The mean and the standard deviation of the approximation.

    >>> linearised(np.array([2.0]), start=0.0)
    (0.0, 1.0)
    """
    loc = float(start)

    def height(at: float) -> float:
        return float(log_joint(np.array([at]), y, prior_scale, noise_scale)[0])

    for _ in range(steps):
        slope = 2 * loc
        uphill = slope * (np.asarray(y) - loc**2).sum() / noise_scale**2 - loc / prior_scale**2
        step = uphill / _linearised_precision(loc, len(y), prior_scale, noise_scale)
        while height(loc + step) < height(loc) and abs(step) > 1e-12:
            step /= 2
        loc += float(step)
    return loc, float(_linearised_precision(loc, len(y), prior_scale, noise_scale) ** -0.5)


def _linearised_precision(loc: float, n: int, prior_scale: float, noise_scale: float) -> float:
    return prior_scale**-2 + n * (2 * loc / noise_scale) ** 2


@dataclass(frozen=True)
class Exact:
    """The posterior of ``x`` under ``signed``, by the trapezoid rule on a grid.

    Attributes:
        y: Observations of x^2.
        prior_scale: Standard deviation of the prior on x.
        noise_scale: Standard deviation of the noise, in the units of ``y``.
    """

    y: Float[np.ndarray, "observation"]
    prior_scale: float = PRIOR_SCALE
    noise_scale: float = NOISE_SCALE

    @functools.cached_property
    def x(self) -> Grid:
        """The grid, in the units of x."""
        reach = GRID_SCALES * self.prior_scale
        return np.linspace(-reach, reach, GRID_POINTS)

    @functools.cached_property
    def log_evidence(self) -> float:
        """log p(y), in nats."""
        terms = log_joint(self.x, self.y, self.prior_scale, self.noise_scale)
        return float(terms.max() + np.log(trapezoid(np.exp(terms - terms.max()), self.x)))

    @functools.cached_property
    def log_density(self) -> Grid:
        """log p(x given y) at each point of the grid, in nats."""
        return log_joint(self.x, self.y, self.prior_scale, self.noise_scale) - self.log_evidence

    def expect(self, values: Grid) -> float:
        """The posterior mean of what is ``values`` on the grid."""
        return float(trapezoid(values * np.exp(self.log_density), self.x))

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation: those of the Gaussian of least KL(p to q), too."""
        mean = self.expect(self.x)
        return mean, float(np.sqrt(self.expect((self.x - mean) ** 2)))

    @property
    def mode(self) -> float:
        """The mode that is not negative."""
        reach = np.mean(self.y) - self.noise_scale**2 / (2 * len(self.y) * self.prior_scale**2)
        return float(np.sqrt(max(0.0, reach)))

    @property
    def laplace(self) -> tuple[float, float]:
        """The mode that is not negative, and the standard deviation that its curvature implies."""
        bend = (6 * self.mode**2 - 2 * np.asarray(self.y)).sum() / self.noise_scale**2
        return self.mode, float((self.prior_scale**-2 + bend) ** -0.5)

    def kl_to(self, loc: float, scale: float) -> float:
        """KL(p to q) of the Gaussian q, in nats: large where q has no mass and p has."""
        return self.expect(self.log_density - _log_normal(self.x, loc, scale))

    def kl_from(self, loc: float, scale: float) -> float:
        """KL(q to p) of the Gaussian q, in nats, which is what the bound `elbo` lacks."""
        return self.log_evidence - elbo(loc, scale, self.y, self.prior_scale, self.noise_scale)


# ------------------------------------------------------------------------- data


def simulate(
    seed: int | None = None,
    *,
    n: int = 4,
    prior_scale: float = PRIOR_SCALE,
    noise_scale: float = NOISE_SCALE,
) -> xr.DataTree:
    """``x`` drawn from the prior, and its square observed ``n`` times; with ``truth``.

    Args:
        seed: Of all random choices; a fresh one if missing.
        n: Observations.
        prior_scale: Standard deviation of the prior on x.
        noise_scale: Standard deviation of the noise, in the units of ``y``.

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
    return _data(np.array(TWO_MODES))


def peak_at_zero() -> xr.DataTree:
    """A worked example: four observations of mean -0.5, so that x is near zero."""
    return _data(np.array(PEAK_AT_ZERO))


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


QUADRATIC_OBSERVATION = ZooModel(
    name="quadratic_observation",
    title="A squared quantity, observed with noise: two modes",
    model=signed,
    simulate=simulate,
    loaders={"two_modes": two_modes, "peak_at_zero": peak_at_zero},
    variants={"signed": Variant(model=signed), "positive": Variant(model=positive)},
)
