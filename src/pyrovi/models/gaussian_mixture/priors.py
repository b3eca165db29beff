"""The data and priors of the mixture's closed forms, the priors as sums over observations too.

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

from pyrovi.models.gaussian_mixture.assignments import Data, Moments, moments_of

LOG_2PI = math.log(2 * math.pi)
WEIGHT_CONCENTRATION = 2.0  # above 1: no component is empty a priori
PRECISION_RATE = 0.1  # of the gamma on a precision, with shape 2, times the squared spread


@dataclass(frozen=True)
class UnitPrior:
    """The normal prior of a location, about the mean of the data.

    Attributes:
        count: The observations that it is worth.
        first: Their sum.
        constant: What the log joint has beside its inner product with the statistics.
    """

    count: float
    first: Float[Tensor, "dimension"]
    constant: float


@dataclass(frozen=True)
class Prior(UnitPrior):
    r"""The conjugate prior: a location's precision is ``count`` times that of its component.

    A component's precision is Wishart with D + 3 degrees of freedom and scale matrix
    :math:`I / (2 b \sigma^2)`, b the rate of `diagonal`'s gamma. Each variance then has, on its
    own, the very prior it has there, and each location the variance :math:`\sigma^2`.

    Attributes:
        degrees: Of freedom.
        second: The inverse scale matrix, and the sum of the observations' squares.
        concentration: Of the Dirichlet of the weights, the same for each.
    """

    degrees: float
    second: Float[Tensor, "dimension dimension"]
    concentration: float = WEIGHT_CONCENTRATION


@dataclass(frozen=True)
class Mixture:
    """Data and prior, as the updates read them; the spread is the prior's of a location."""

    data: Data
    spread: float

    @cached_property
    def unit_prior(self) -> UnitPrior:
        """Under unit variances."""
        data, (dimensions, n) = self.data, self.data.x.shape
        count = self.spread**-2
        of_data = float(data.x.square().sum()) + n * dimensions * LOG_2PI
        of_prior = data.components * (
            dimensions * (LOG_2PI - math.log(count)) + count * float(data.centre.square().sum())
        )
        constant = -0.5 * (of_data + of_prior) - n * math.log(data.components)
        return UnitPrior(count, -count * data.centre, constant)

    @cached_property
    def prior(self) -> Prior:
        """The conjugate one; the Wishart's constant is Bishop's B.79."""
        centre, (dimensions, n) = self.data.centre, self.data.x.shape
        count, beta, degrees = self.data.components, PRECISION_RATE, dimensions + 3.0
        inverse_scale = 2 * PRECISION_RATE * self.spread**2
        eye = torch.eye(dimensions, dtype=torch.float64)
        same = torch.full((count,), WEIGHT_CONCENTRATION, dtype=torch.float64)
        log_det_scale = -dimensions * math.log(inverse_scale)
        pairs = dimensions * (dimensions - 1) / 4 * math.log(math.pi)
        of_gammas = float(
            halves(torch.tensor(degrees, dtype=eye.dtype), dimensions).lgamma().sum()
        )
        of_scale = degrees / 2 * (log_det_scale + dimensions * math.log(2)) + of_gammas + pairs
        each = -of_scale + 0.5 * dimensions * (math.log(beta) - LOG_2PI)
        of_weight = float(log_dirichlet(same))
        return Prior(
            count=beta,
            first=-beta * centre,
            constant=of_weight + count * each - 0.5 * n * dimensions * LOG_2PI,
            degrees=degrees,
            second=inverse_scale * eye + beta * torch.outer(centre, centre),
        )


def log_dirichlet(concentration: Tensor) -> Tensor:
    """The log of the density's constant."""
    return concentration.sum().lgamma() - concentration.lgamma().sum()


def halves(degrees: Tensor, dimensions: int) -> Tensor:
    """Half the degrees of freedom of each row of Bartlett's factor."""
    return 0.5 * (degrees[..., None] - torch.arange(dimensions))


def prepare(y: Tensor, components: int, spread: Tensor | float = 1.0) -> Mixture:
    """Centre the data, and turn them so that a dimension lies in one piece."""
    return Mixture(Data.of(y.double(), int(components)), float(spread))


def start(problem: Mixture, seed: int) -> dict[str, Moments]:
    """Every observation with the nearest of K of them, spread out as in k-means++.

    Each further one is drawn with probability as the square of its distance from the nearest so
    far (Arthur and Vassilvitskii 2007).
    """
    generator = torch.Generator().manual_seed(seed)
    x = problem.data.x
    distance = torch.full((x.shape[1],), math.inf, dtype=torch.float64)
    nearest = torch.zeros(x.shape[1], dtype=torch.int64)
    chance = torch.ones_like(distance)
    for component in range(problem.data.components):
        place = torch.rand((), generator=generator, dtype=torch.float64) * chance.sum()
        chosen = int(torch.searchsorted(chance.cumsum(0), place).clamp(max=x.shape[1] - 1))
        own = (x - x[:, chosen, None]).square().sum(0)
        nearest[own < distance] = component
        distance = torch.minimum(distance, own)
        chance = distance if bool(distance.any()) else torch.ones_like(distance)
    one_hot = torch.eye(problem.data.components, dtype=torch.float64)[:, nearest]
    return {"assignment": moments_of(problem.data, one_hot)}
