"""Closed forms of the conjugate mixture: Dirichlet weights, normal-Wishart components.

They serve coordinate ascent and, as complete conditionals, Gibbs sampling. Equations are those of
Bishop (2006), Pattern Recognition and Machine Learning, section 10.2.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.models.gaussian_mixture.assignments import Assignments
from pyrovi.models.gaussian_mixture.priors import (
    LOG_2PI,
    Mixture,
    halves,
    log_dirichlet,
    prepare,
    start,
)
from pyrovi.structure import Coordinate, CoordinateUpdates


@dataclass(frozen=True)
class Weights:
    """Dirichlet weights; the other coordinates read the expected logs."""

    concentration: Float[Tensor, "component"]

    def expected(self) -> Float[Tensor, "component"]:
        return self.concentration.digamma() - self.concentration.sum().digamma()

    def entropy(self) -> float:
        powers = ((self.concentration - 1) * self.expected()).sum()
        return -float(log_dirichlet(self.concentration) + powers)

    def sample(self, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        values = self.draw(1, generator)["weight"][0]
        return {"weight": values}, values.log()

    def draw(self, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Gammas, normalised."""
        drawn = _gammas(self.concentration.expand(draws, -1), generator)
        return {"weight": drawn / drawn.sum(1, keepdim=True)}

    def log_prob(self, values: Mapping[str, Tensor]) -> Float[Tensor, "draw"]:
        """Over all weights but the last."""
        powers = ((self.concentration - 1) * values["weight"].log()).sum(-1)
        return log_dirichlet(self.concentration) + powers

    def tensors(self) -> dict[str, Tensor]:
        return {"concentration": self.concentration}


def _gammas(shape: Tensor, generator: torch.Generator) -> Tensor:
    """Gammas of these shapes, of unit rate."""
    return torch._standard_gamma(shape.contiguous(), generator)  # pyright: ignore[reportPrivateImportUsage]


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
        return halves(self.degrees, self.offset.shape[1])

    @property
    def _row_degrees(self) -> Tensor:
        """The degrees of freedom of each diagonal entry, from the first row."""
        dimensions = self.offset.shape[1]
        return self.degrees[:, None] - dimensions + torch.arange(1, dimensions + 1)

    @cached_property
    def _log_det_scale(self) -> Tensor:
        return -2 * log_det(self.inverse_scale_tril)

    @cached_property
    def _expected_log_det(self) -> Tensor:
        """The expected log determinant of the precision."""
        constant = self.offset.shape[1] * math.log(2)
        return self._halves.digamma().sum(-1) + self._log_det_scale + constant

    def expected(self) -> ComponentMoments:
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
        values = {name: value[0] for name, value in self.draw(1, generator).items()}
        whitening = whitening_of(values)
        precision = whitening.mT @ whitening
        offset = values["loc"] - self.centre
        linear = (precision @ offset[..., None])[..., 0]
        square = (linear * offset).sum(-1)
        return values, ComponentMoments(precision, linear, square, 2 * log_det(whitening))

    def draw(self, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
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
        log_beta = self.mean_precision.log()
        of_loc = log_det(whitening) - 0.5 * (square + dimensions * (LOG_2PI - log_beta))
        return (of_precision + of_loc).sum(-1)

    def tensors(self) -> dict[str, Tensor]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

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
            of_precision = self._log_det_scale + dimensions * self.degrees.log()
            return 0.5 * (of_precision - dimensions * LOG_2PI - self.degrees * square)
        degrees = self.degrees + 1 - dimensions
        shrink = self.mean_precision / (1 + self.mean_precision)
        constant = (
            ((degrees + dimensions) / 2).lgamma()
            - (degrees / 2).lgamma()
            + 0.5 * (self._log_det_scale + dimensions * (shrink.log() - math.log(math.pi)))
        )
        return constant - (degrees + dimensions) / 2 * torch.log1p(shrink * square)


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


def log_det(tril: Float[Tensor, "*batch dimension dimension"]) -> Float[Tensor, "*batch"]:
    """The log determinant of a lower triangular matrix."""
    return tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


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
    beta = of.count + prior.count
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
    square = (of.count + prior.count) * component.square
    linear = ((of.first + prior.first) * component.linear).sum()
    trace = ((of.second + prior.second) * component.precision).sum()
    terms = (of_weight + 0.5 * (log_det - square)).sum() + linear - 0.5 * trace
    return float(terms) + prior.constant


CONJUGATE_UPDATES = CoordinateUpdates(
    prepare=prepare,
    start=start,
    coordinates={
        "assignment": Coordinate(assign),
        "weight": Coordinate(weigh, sites=("weight",), factor=Weights),
        "components": Coordinate(
            locate, sites=("whitening_diagonal", "whitening_below", "loc"), factor=Components
        ),
    },
    log_joint=log_joint,
)
