"""The priors of the mixture's closed forms, as sums over observations of their own.

In both forms the prior of a component is conjugate: it adds to the sums of the assignments what
some observations of its own would. The log joint is then one inner product of those sums with the
natural statistics of the components, and the updates read the same sums.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.models.gaussian_mixture.assignments import Data, Moments, nearest_seed
from pyrovi.models.gaussian_mixture.factors import LOG_2PI, log_dirichlet, log_wishart

WEIGHT_CONCENTRATION = 2.0  # above 1: no component is empty a priori
PRECISION_RATE = 0.1  # of the gamma on a precision, with shape 2, times the squared spread


@dataclass(frozen=True)
class UnitPrior:
    """The normal prior of the locations, about the mean of the data.

    Attributes:
        count: The observations that it is worth.
        first: Their sum.
        constant: What the log joint has beside its inner product with the statistics.
    """

    count: float
    first: Float[Tensor, "dimension"]
    constant: float

    @staticmethod
    def of(data: Data, spread: float) -> "UnitPrior":
        """The prior of a location about zero, with standard deviation ``spread``."""
        dimensions, n = data.x.shape
        count = spread**-2
        of_data = float(data.x.square().sum()) + n * dimensions * LOG_2PI
        of_prior = data.components * (
            dimensions * (LOG_2PI - math.log(count)) + count * float(data.centre.square().sum())
        )
        constant = -0.5 * (of_data + of_prior) - n * math.log(data.components)
        return UnitPrior(count, -count * data.centre, constant)


@dataclass(frozen=True)
class Prior:
    r"""The conjugate prior, about the mean of the data.

    A component's precision is Wishart with D + 3 degrees of freedom and scale matrix
    :math:`I / (2 b \sigma^2)`, b the rate of `diagonal`'s gamma. Each variance then has, on its
    own, the very prior it has there, and each location the variance :math:`\sigma^2`.

    Attributes:
        concentration: Of the Dirichlet of the weights, the same for each.
        mean_precision: beta: a location's precision is that of the component, times this.
        degrees: nu.
        inverse_scale: The inverse of the scale matrix is this times the identity.
        first: The sum of the beta observations that the prior of a location is worth.
        second: The inverse scale matrix, and the sum of their squares.
        constant: What the log joint has beside its inner product with the statistics.
    """

    concentration: float
    mean_precision: float
    degrees: float
    inverse_scale: float
    first: Float[Tensor, "dimension"]
    second: Float[Tensor, "dimension dimension"]
    constant: float

    @staticmethod
    def of(data: Data, spread: float) -> "Prior":
        """The prior about zero at this spread, and the constants that go with so many data."""
        dimensions, n = data.x.shape
        count, beta, degrees = data.components, PRECISION_RATE, dimensions + 3.0
        inverse_scale = 2 * PRECISION_RATE * spread**2
        eye = torch.eye(dimensions, dtype=torch.float64)
        same = torch.full((count,), WEIGHT_CONCENTRATION, dtype=torch.float64)
        of_scale = log_wishart(
            torch.tensor(degrees, dtype=torch.float64),
            torch.tensor(-dimensions * math.log(inverse_scale), dtype=torch.float64),
            dimensions,
        )
        each = float(of_scale) + 0.5 * dimensions * (math.log(beta) - LOG_2PI)
        of_weight = float(log_dirichlet(same))
        return Prior(
            concentration=WEIGHT_CONCENTRATION,
            mean_precision=beta,
            degrees=degrees,
            inverse_scale=inverse_scale,
            first=-beta * data.centre,
            second=inverse_scale * eye + beta * torch.outer(data.centre, data.centre),
            constant=of_weight + count * each - 0.5 * n * dimensions * LOG_2PI,
        )


@dataclass(frozen=True)
class Mixture:
    """Data and prior, as the updates read them.

    Attributes:
        data: The data about their mean.
        spread: The prior standard deviation of a location.
    """

    data: Data
    spread: float

    @cached_property
    def unit_prior(self) -> UnitPrior:
        """The prior of unit variances, as sums."""
        return UnitPrior.of(self.data, self.spread)

    @cached_property
    def prior(self) -> Prior:
        """The conjugate prior, as sums."""
        return Prior.of(self.data, self.spread)


def prepare(y: Tensor, components: int, spread: Tensor | float = 1.0) -> Mixture:
    """Centre the data, and turn them so that a dimension lies in one piece."""
    return Mixture(Data.of(y.double(), int(components)), float(spread))


def start(problem: Mixture, seed: int) -> dict[str, Moments]:
    """Every observation with the nearest of K of them, spread out as in k-means++."""
    return nearest_seed(problem.data, seed)
