"""The posterior of the squared quantity by quadrature: all that is said can be held against it."""

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.integrate import trapezoid

from pyrovi.models.quadratic_observation.gaussians import Grid, elbo, log_joint, log_normal
from pyrovi.models.quadratic_observation.model import NOISE_SCALE, PRIOR_SCALE

__all__ = ["Exact"]

GRID_SCALES, GRID_POINTS = 12.0, 200_001  # prior scales each way; odd, so that zero is a point


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
        return self.expect(self.log_density - log_normal(self.x, loc, scale))

    def kl_from(self, loc: float, scale: float) -> float:
        """KL(q to p) of the Gaussian q, in nats, which is what the bound `elbo` lacks."""
        return self.log_evidence - elbo(loc, scale, self.y, self.prior_scale, self.noise_scale)
