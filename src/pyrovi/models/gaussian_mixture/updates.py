r"""The mixture's complete conditionals, for coordinate ascent and for Gibbs sampling.

In each form of the model the prior of a component is conjugate: it adds to the sums of the
assignments what some observations of its own would. The log joint is then one inner product of
those sums with the natural statistics of the components, and the update reads the same sums.

References: Blei, Kucukelbir and McAuliffe (2017), https://arxiv.org/abs/1601.00670, section 3
(unit variances); Bishop (2006), Pattern Recognition and Machine Learning, section 10.2.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.models.gaussian_mixture.assignments import Assignments, Data, Moments, nearest_seed

__all__ = [
    "PRECISION_RATE",
    "WEIGHT_CONCENTRATION",
    "Components",
    "Locations",
    "Mixture",
    "Prior",
    "Weights",
]

WEIGHT_CONCENTRATION = 2.0  # above 1: no component is empty a priori
PRECISION_RATE = 0.1  # of the gamma on a precision, with shape 2, times the squared spread
LOG_2PI = math.log(2 * math.pi)


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
    def unit_prior(self) -> "UnitPrior":
        """The prior of unit variances, as sums."""
        return UnitPrior.of(self.data, self.spread)

    @cached_property
    def prior(self) -> "Prior":
        """The conjugate prior, as sums."""
        return Prior.of(self.data, self.spread)


def prepare(y: Tensor, components: int, spread: Tensor | float = 1.0) -> Mixture:
    """Centre the data, and turn them so that a dimension lies in one piece."""
    return Mixture(Data.of(y.double(), int(components)), float(spread))


def start(problem: Mixture, seed: int) -> dict[str, Moments]:
    """Every observation with the nearest of K of them, spread out as in k-means++."""
    return nearest_seed(problem.data, seed)


# Unit variances: equations 2.36 to 2.39


@dataclass(frozen=True)
class LocationMoments:
    """What the assignments see of the locations.

    Attributes:
        mean: The expected location, about the mean of the data.
        square: The expected square of its length, likewise.
    """

    mean: Float[Tensor, "component dimension"]
    square: Float[Tensor, "component"]


@dataclass(frozen=True)
class Locations:
    """Independent normal locations.

    Attributes:
        offset: The mean of each, about the mean of the data.
        scale: The standard deviation of each, the same in every dimension.
        centre: The mean of the data.
    """

    offset: Float[Tensor, "component dimension"]
    scale: Float[Tensor, "component"]
    centre: Float[Tensor, "dimension"]

    @property
    def loc(self) -> Float[Tensor, "component dimension"]:
        """The mean of each, in the coordinates of the data."""
        return self.offset + self.centre

    def expected(self) -> LocationMoments:
        """The expected location and square."""
        spread = self.offset.shape[1] * self.scale.square()
        return LocationMoments(self.offset, self.offset.square().sum(1) + spread)

    def entropy(self) -> float:
        """Half of 1 + log(2 pi s^2), once for each dimension of each."""
        dimensions = self.offset.shape[1]
        return float((dimensions * (0.5 * (1 + LOG_2PI) + self.scale.log())).sum())

    def sample(self, generator: torch.Generator) -> tuple[dict[str, Tensor], LocationMoments]:
        """One value, and its square."""
        loc = self.draw(1, generator)["loc"][0]
        offset = loc - self.centre
        return {"loc": loc}, LocationMoments(offset, offset.square().sum(1))

    def draw(self, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
        """``loc`` (draw, component, dimension)."""
        noise = torch.randn(draws, *self.offset.shape, generator=generator, dtype=torch.float64)
        return {"loc": self.loc + self.scale[:, None] * noise}

    def log_prob(self, values: Mapping[str, Tensor]) -> Float[Tensor, "draw"]:
        """The normal log density."""
        z = (values["loc"] - self.loc) / self.scale[:, None]
        terms = -0.5 * (z.square() + LOG_2PI) - self.scale.log()[:, None]
        return terms.flatten(1).sum(1)

    def tensors(self) -> dict[str, Tensor]:
        """The parameters."""
        return {"offset": self.offset, "scale": self.scale, "centre": self.centre}

    def log_predictive(
        self, x: Float[Tensor, "observation dimension"], *, plug_in: bool
    ) -> Float[Tensor, "observation component"]:
        """Of each component: normal about its mean, or with the location integrated out."""
        variance = torch.ones_like(self.scale) if plug_in else 1 + self.scale.square()
        square = (x[:, None] - self.loc).square().sum(-1)
        log_scale = x.shape[1] * (LOG_2PI + variance.log())
        return -0.5 * (square / variance + log_scale)


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


def assign_unit(problem: Mixture, statistics: Mapping[str, Any]) -> Assignments:
    """Equation 2.35: the logit is E[mu] x - E[mu^2] / 2."""
    loc: LocationMoments = statistics["loc"]
    return Assignments(problem.data, -0.5 * loc.square, loc.mean)


def locate_unit(problem: Mixture, statistics: Mapping[str, Any]) -> Locations:
    """Equation 2.38, about the mean of the data, where the prior's mean is minus that."""
    of, prior = statistics["assignment"], problem.unit_prior
    count = of.count + prior.count
    return Locations((of.first + prior.first) / count[:, None], count.rsqrt(), problem.data.centre)


def log_joint_unit(problem: Mixture, statistics: Mapping[str, Any]) -> float:
    """The three expected logs of equation 2.31, with their constants."""
    of, loc, prior = statistics["assignment"], statistics["loc"], problem.unit_prior
    linear = ((of.first + prior.first) * loc.mean).sum()
    square = ((of.count + prior.count) * loc.square).sum()
    return float(linear - 0.5 * square) + prior.constant


# Conjugate: Dirichlet weights, normal-Wishart components


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
        of_scale = _log_wishart(
            torch.tensor(degrees, dtype=torch.float64),
            torch.tensor(-dimensions * math.log(inverse_scale), dtype=torch.float64),
            dimensions,
        )
        each = float(of_scale) + 0.5 * dimensions * (math.log(beta) - LOG_2PI)
        of_weight = float(_log_dirichlet(same))
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
class Weights:
    """Dirichlet weights.

    Attributes:
        concentration: One for each component.
    """

    concentration: Float[Tensor, "component"]

    def expected(self) -> Float[Tensor, "component"]:
        """The expected log weights."""
        return self._expected_log

    @cached_property
    def _expected_log(self) -> Tensor:
        return self.concentration.digamma() - self.concentration.sum().digamma()

    def entropy(self) -> float:
        """Of the Dirichlet."""
        powers = ((self.concentration - 1) * self._expected_log).sum()
        return -float(_log_dirichlet(self.concentration) + powers)

    def sample(self, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        """One value, and its log."""
        values = self.draw(1, generator)["weight"][0]
        return {"weight": values}, values.log()

    def draw(self, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
        """``weight`` (draw, component): gammas, normalised."""
        shape = self.concentration.expand(draws, -1).contiguous()
        gammas = _gammas(shape, generator)
        return {"weight": gammas / gammas.sum(1, keepdim=True)}

    def log_prob(self, values: Mapping[str, Tensor]) -> Float[Tensor, "draw"]:
        """The Dirichlet log density, over all weights but the last."""
        powers = ((self.concentration - 1) * values["weight"].log()).sum(-1)
        return _log_dirichlet(self.concentration) + powers

    def tensors(self) -> dict[str, Tensor]:
        """The concentrations."""
        return {"concentration": self.concentration}


@dataclass(frozen=True)
class ComponentMoments:
    r"""What the assignments see of the components.

    Attributes:
        precision: :math:`E[\Lambda]`.
        linear: :math:`E[\Lambda \mu]`, the location about the mean of the data.
        square: :math:`E[\mu^T \Lambda \mu]`, likewise.
        log_det: :math:`E[\log |\Lambda|]`.
    """

    precision: Float[Tensor, "component dimension dimension"]
    linear: Float[Tensor, "component dimension"]
    square: Float[Tensor, "component"]
    log_det: Float[Tensor, "component"]


@dataclass(frozen=True)
class Components:
    r"""Normal-Wishart components: locations and precisions.

    A precision is :math:`\Lambda = R^T R`, with R the lower triangular matrix that whitens the
    component. Its entries are the sites, and their density follows from Bartlett's decomposition,
    rows from the last: R is B H with H the inverse of the Cholesky factor of the inverse scale
    matrix, the squares of B's diagonal are chi-squared with nu - D + i degrees of freedom in
    row i = 1 ... D, and its entries below are standard normal.

    Attributes:
        offset: The mean location, about the mean of the data.
        mean_precision: beta.
        degrees: nu.
        inverse_scale_tril: The lower Cholesky factor of the inverse of the scale matrix.
        centre: The mean of the data.
    """

    offset: Float[Tensor, "component dimension"]
    mean_precision: Float[Tensor, "component"]
    degrees: Float[Tensor, "component"]
    inverse_scale_tril: Float[Tensor, "component dimension dimension"]
    centre: Float[Tensor, "dimension"]

    @property
    def loc(self) -> Float[Tensor, "component dimension"]:
        """The mean location, in the coordinates of the data."""
        return self.offset + self.centre

    @property
    def cov(self) -> Float[Tensor, "component dimension dimension"]:
        """The inverse of the expected precision."""
        return self.inverse_scale_tril @ self.inverse_scale_tril.mT / self.degrees[:, None, None]

    @cached_property
    def _halves(self) -> Tensor:
        """Half the degrees of freedom of each row of Bartlett's factor, as Bishop orders them."""
        return _halves(self.degrees, self.offset.shape[1])

    @cached_property
    def _log_det_scale(self) -> Tensor:
        return -2 * self.inverse_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @cached_property
    def _expected_log_det(self) -> Tensor:
        """The expected log determinant of the precision."""
        constant = self.offset.shape[1] * math.log(2)
        return self._halves.digamma().sum(-1) + self._log_det_scale + constant

    def expected(self) -> ComponentMoments:
        """The expected natural statistics."""
        precision = torch.cholesky_inverse(self.inverse_scale_tril) * self.degrees[:, None, None]
        linear = (precision @ self.offset[..., None])[..., 0]
        square = (linear * self.offset).sum(-1) + self.offset.shape[1] / self.mean_precision
        return ComponentMoments(precision, linear, square, self._expected_log_det)

    def entropy(self) -> float:
        """Of the precision, and of the location given it."""
        count, dimensions = self.offset.shape
        each = (
            self.degrees * (self._log_det_scale + dimensions * (math.log(2) + 1))
            - (self.degrees - dimensions) * self._expected_log_det
            - dimensions * self.mean_precision.log()
        )
        constant = dimensions * ((dimensions - 1) / 4 * math.log(math.pi) + 0.5 * (1 + LOG_2PI))
        return float(0.5 * each.sum() + self._halves.lgamma().sum()) + count * constant

    def sample(self, generator: torch.Generator) -> tuple[dict[str, Tensor], ComponentMoments]:
        """One value, and its natural statistics."""
        values = {name: value[0] for name, value in self.draw(1, generator).items()}
        whitening = whitening_of(values)
        precision = whitening.mT @ whitening
        offset = values["loc"] - self.centre
        linear = (precision @ offset[..., None])[..., 0]
        log_det = 2 * whitening.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return values, ComponentMoments(precision, linear, (linear * offset).sum(-1), log_det)

    def draw(self, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The sites (draw, component, ...): the whitening matrix and the location."""
        count, dimensions = self.offset.shape
        chi_squared = 2 * _gammas((self._row_degrees / 2).expand(draws, -1, -1), generator)
        shape = (draws, count, dimensions, dimensions)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        bartlett = noise.tril(-1) + torch.diag_embed(chi_squared.sqrt())
        # R is B H: H is the inverse of the factor, so that R times the factor is B.
        whitening = torch.linalg.solve_triangular(
            self.inverse_scale_tril, bartlett, upper=False, left=False
        )
        z = torch.randn(draws, count, dimensions, 1, generator=generator, dtype=torch.float64)
        step = torch.linalg.solve_triangular(whitening, z, upper=False)
        loc = self.loc + step[..., 0] / self.mean_precision.sqrt()[:, None]
        return sites_of(whitening) | {"loc": loc}

    def log_prob(self, values: Mapping[str, Tensor]) -> Float[Tensor, "draw"]:
        """The log density of the whitening matrix's entries and the location."""
        dimensions = self.offset.shape[1]
        whitening = whitening_of(values)
        bartlett = whitening @ self.inverse_scale_tril
        diagonal = bartlett.diagonal(dim1=-2, dim2=-1)
        degrees = self._row_degrees
        of_diagonal = (
            (1 - degrees / 2) * math.log(2)
            - (degrees / 2).lgamma()
            + (degrees - 1) * diagonal.log()
            - diagonal.square() / 2
        )
        pairs = dimensions * (dimensions - 1) // 2
        of_below = -0.5 * (bartlett.tril(-1).square().sum((-2, -1)) + pairs * LOG_2PI)
        # Row i of R is the leading i columns of H taken by row i of B.
        powers = torch.arange(dimensions, 0, -1)
        log_scale = self.inverse_scale_tril.diagonal(dim1=-2, dim2=-1).log()
        of_precision = of_diagonal.sum(-1) + of_below + (powers * log_scale).sum(-1)
        offset = (values["loc"] - self.loc)[..., None]
        square = (whitening @ offset).square().sum((-2, -1)) * self.mean_precision
        log_det = whitening.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_beta = self.mean_precision.log()
        of_loc = log_det - 0.5 * (square + dimensions * (LOG_2PI - log_beta))
        return (of_precision + of_loc).sum(-1)

    def tensors(self) -> dict[str, Tensor]:
        """The parameters."""
        return {
            "offset": self.offset,
            "mean_precision": self.mean_precision,
            "degrees": self.degrees,
            "inverse_scale_tril": self.inverse_scale_tril,
            "centre": self.centre,
        }

    def log_predictive(
        self, x: Float[Tensor, "observation dimension"], *, plug_in: bool
    ) -> Float[Tensor, "observation component"]:
        """Of each component: normal at the expected location and precision, or Student's t.

        The latter integrates both out (Bishop 10.81).
        """
        dimensions = x.shape[1]
        residual = x.T - self.loc[..., None]
        solved = torch.linalg.solve_triangular(self.inverse_scale_tril, residual, upper=False)
        square = solved.square().sum(1).T
        if plug_in:
            log_det = self._log_det_scale + dimensions * self.degrees.log()
            return 0.5 * (log_det - dimensions * LOG_2PI - self.degrees * square)
        degrees = self.degrees + 1 - dimensions
        shrink = self.mean_precision / (1 + self.mean_precision)
        constant = (
            ((degrees + dimensions) / 2).lgamma()
            - (degrees / 2).lgamma()
            + 0.5 * (self._log_det_scale + dimensions * (shrink.log() - math.log(math.pi)))
        )
        return constant - (degrees + dimensions) / 2 * torch.log1p(shrink * square)

    @property
    def _row_degrees(self) -> Tensor:
        """The degrees of freedom of each diagonal entry, from the first row."""
        dimensions = self.offset.shape[1]
        return self.degrees[:, None] - dimensions + torch.arange(1, dimensions + 1)


def whitening_of(values: Mapping[str, Tensor]) -> Float[Tensor, "*batch dimension dimension"]:
    """The lower triangular matrix that the sites are the entries of."""
    matrix = torch.diag_embed(values["whitening_diagonal"])
    if "whitening_below" in values:
        rows, columns = torch.tril_indices(matrix.shape[-2], matrix.shape[-1], -1)
        matrix[..., rows, columns] = values["whitening_below"]
    return matrix


def sites_of(whitening: Float[Tensor, "*batch dimension dimension"]) -> dict[str, Tensor]:
    """The sites that are the entries of a lower triangular matrix."""
    sites = {"whitening_diagonal": whitening.diagonal(dim1=-2, dim2=-1)}
    if whitening.shape[-1] > 1:
        rows, columns = torch.tril_indices(whitening.shape[-2], whitening.shape[-1], -1)
        sites["whitening_below"] = whitening[..., rows, columns]
    return sites


def _gammas(shape: Tensor, generator: torch.Generator) -> Tensor:
    return torch._standard_gamma(shape.contiguous(), generator)  # pyright: ignore[reportPrivateImportUsage]


def _log_dirichlet(concentration: Tensor) -> Tensor:
    """The log of the density's constant."""
    return concentration.sum().lgamma() - concentration.lgamma().sum()


def _log_wishart(degrees: Tensor, log_det_scale: Tensor, dimensions: int) -> Tensor:
    """The log of the density's constant: Bishop's log B(W, nu), B.79."""
    constant = dimensions * (dimensions - 1) / 4 * math.log(math.pi)
    of_gammas = _halves(degrees, dimensions).lgamma().sum(-1)
    return -(degrees / 2 * (log_det_scale + dimensions * math.log(2)) + of_gammas + constant)


def _halves(degrees: Tensor, dimensions: int) -> Tensor:
    """Half the degrees of freedom of each row of Bartlett's factor."""
    return 0.5 * (degrees[..., None] - torch.arange(dimensions))


def assign(problem: Mixture, statistics: Mapping[str, Any]) -> Assignments:
    """Bishop 10.46, without what all components share."""
    of, log_weight = statistics["components"], statistics["weight"]
    constant = log_weight + 0.5 * (of.log_det - of.square)
    return Assignments(problem.data, constant, of.linear, of.precision)


def weigh(problem: Mixture, statistics: Mapping[str, Any]) -> Weights:
    """Bishop 10.58."""
    return Weights(statistics["assignment"].count + problem.prior.concentration)


def locate(problem: Mixture, statistics: Mapping[str, Any]) -> Components:
    """Bishop 10.60 to 10.63, about the mean of the data."""
    of, prior = statistics["assignment"], problem.prior
    beta = of.count + prior.mean_precision
    first = of.first + prior.first
    mean = first / beta[:, None]
    inverse_scale = of.second + prior.second - first[:, :, None] * mean[:, None, :]
    tril, info = torch.linalg.cholesky_ex(inverse_scale)
    if info.any():
        # A matrix that rounding has spoilt makes the loss not a number, which the loop reports.
        tril = torch.where(info[:, None, None] > 0, torch.nan, tril)
    return Components(mean, beta, of.count + prior.degrees, tril, problem.data.centre)


def log_joint(problem: Mixture, statistics: Mapping[str, Any]) -> float:
    """The expected logs of Bishop 10.71 to 10.74, with their constants."""
    of, log_weight, component = (statistics[n] for n in ("assignment", "weight", "components"))
    prior = problem.prior
    of_weight = (of.count + (prior.concentration - 1)) * log_weight
    log_det = (of.count + (prior.degrees - problem.data.x.shape[0])) * component.log_det
    square = (of.count + prior.mean_precision) * component.square
    linear = ((of.first + prior.first) * component.linear).sum()
    trace = ((of.second + prior.second) * component.precision).sum()
    terms = (of_weight + 0.5 * (log_det - square)).sum() + linear - 0.5 * trace
    return float(terms) + prior.constant
