"""The posterior of the squared quantity, and what approximations by a Gaussian make of it."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.integrate import trapezoid

from pyrovi.models.quadratic_observation.model import NOISE_SCALE, PRIOR_SCALE

GRID_SCALES, GRID_POINTS = 12.0, 200_001  # prior scales each way; odd, so that zero is a point
Grid = Float[np.ndarray, "point"]


def _log_normal(value: Any, loc: Any, scale: float) -> Any:
    """The log density of a normal."""
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

    Each step is that of Gauss and Newton, halved until the density at the mean does not fall; a
    start of zero is a fixed point, where the answer is the prior.

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
    """The posterior of ``x`` under ``signed``, by the trapezoid rule on a grid."""

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
