r"""The mixture's complete conditionals, for coordinate ascent and for Gibbs sampling.

The assignments touch the other coordinates through a few sums alone: how many observations a
component has, the sum of them and the sum of their squares. One pass over the data makes a block
of responsibilities and adds it to those sums, so that the n by K matrix of them is never held.

The log density of a Gaussian is linear in the features :math:`(x x^T, x, 1)`. So the logits of a
block are one product of matrices, and the sums another. Squares cancel where a component lies many
of its own widths from the origin; the data are centred first, which leaves a relative error of
about 1e-16 times the square of that distance in widths.

References: Blei, Kucukelbir and McAuliffe (2017), https://arxiv.org/abs/1601.00670, section 3
(unit variances); Bishop (2006), Pattern Recognition and Machine Learning, section 10.2 (conjugate).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "PRECISION_RATE",
    "WEIGHT_CONCENTRATION",
    "Assignments",
    "Components",
    "Locations",
    "Mixture",
    "Moments",
    "Prior",
    "Weights",
    "moments_of",
]

WEIGHT_CONCENTRATION = 2.0  # above 1: no component is empty a priori
PRECISION_RATE = 0.1  # of the gamma on a precision, with shape 2, times the squared spread
BLOCK_ENTRIES = 300_000  # float64 numbers: a block's features and logits stay in the cache
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Mixture:
    """Data and prior, as the updates read them.

    Attributes:
        x: The data about their mean, one row a dimension.
        centre: That mean.
        components: How many there are.
        spread: The prior standard deviation of a location.
        square: The sum of squares of ``x``.
    """

    x: Float[Tensor, "dimension observation"]
    centre: Float[Tensor, "dimension"]
    components: int
    spread: float
    square: float

    @property
    def dimensions(self) -> int:
        """D."""
        return len(self.x)

    @property
    def observations(self) -> int:
        """n."""
        return self.x.shape[1]


def prepare(y: Tensor, components: int, spread: Tensor | float = 1.0) -> Mixture:
    """Centre the data, and turn them so that a dimension lies in one piece."""
    y = y.detach().double()
    centre = y.mean(0)
    x = (y - centre).T.contiguous()
    return Mixture(x, centre, int(components), float(spread), float(x.square().sum()))


@dataclass(frozen=True)
class Moments:
    """What the other coordinates see of the assignments: sums over the observations.

    Attributes:
        count: How many observations each component has.
        first: Their sum, about the mean of all data.
        second: The sum of their outer products, likewise; None where no update needs it.
    """

    count: Float[Tensor, "component"]
    first: Float[Tensor, "component dimension"]
    second: Float[Tensor, "component dimension dimension"] | None = None


def moments_of(
    x: Float[Tensor, "dimension observation"],
    responsibilities: Float[Tensor, "component observation"],
) -> Moments:
    """The sums that belong to given responsibilities."""
    total = Total.zero(len(responsibilities), len(x), squares=True)
    for block in _blocks(x, len(responsibilities), squares=True):
        total.add(block, responsibilities[:, block.place])
    return total.moments()


# The pass over the data


@dataclass(frozen=True)
class Block:
    """A part of the data that stays in the cache.

    Attributes:
        place: Which observations.
        x: Their values.
        products: Those of each pair of dimensions, the first not above the second; or None.
    """

    place: slice
    x: Tensor
    products: Tensor | None


def _blocks(x: Tensor, components: int, *, squares: bool) -> Iterator[Block]:
    """The data block by block; all blocks' products lie in one buffer."""
    dimensions, count = x.shape
    pairs = dimensions * (dimensions + 1) // 2 if squares else 0
    size = min(max(512, BLOCK_ENTRIES // (pairs + dimensions + components)), 16384, count)
    buffer = x.new_empty(pairs, size) if squares else None
    for start in range(0, count, size):
        part = x[:, start : start + size]
        products = None
        if buffer is not None:
            products = buffer[:, : part.shape[1]]
            row = 0
            for i in range(dimensions):
                torch.mul(part[i:], part[i], out=products[row : row + dimensions - i])
                row += dimensions - i
        yield Block(slice(start, start + size), part, products)


@dataclass
class Total:
    """Sums over observations, as they grow; and the sum of the logs of the normalisers."""

    count: Tensor
    first: Tensor
    products: Tensor | None
    log_normaliser: float = 0.0

    @staticmethod
    def zero(components: int, dimensions: int, *, squares: bool) -> "Total":
        pairs = dimensions * (dimensions + 1) // 2
        sizes = [(components,), (components, dimensions), (components, pairs)]
        count, first, products = (torch.zeros(size, dtype=torch.float64) for size in sizes)
        return Total(count, first, products if squares else None)

    def add(self, block: Block, responsibilities: Tensor) -> None:
        self.count += responsibilities.sum(1)
        self.first.addmm_(responsibilities, block.x.T)
        if self.products is not None and block.products is not None:
            self.products.addmm_(responsibilities, block.products.T)

    def moments(self) -> Moments:
        if self.products is None:
            return Moments(self.count, self.first)
        dimensions = self.first.shape[1]
        rows, columns = torch.triu_indices(dimensions, dimensions)
        second = self.first.new_empty(len(self.count), dimensions, dimensions)
        second[:, rows, columns] = self.products
        second[:, columns, rows] = self.products
        return Moments(self.count, self.first, second)


@dataclass(frozen=True)
class Assignments:
    r"""Every observation's component, given linear and quadratic forms: equations 2.32 to 2.35.

    The logit of component k at x is
    :math:`b_k + a_k \cdot x - \tfrac12 x^T \Lambda_k x`; what all components share is left out.

    Attributes:
        x: The data about their mean.
        constant: b.
        linear: a.
        precision: :math:`\Lambda`; None where it is the same for all.
    """

    x: Float[Tensor, "dimension observation"]
    constant: Float[Tensor, "component"]
    linear: Float[Tensor, "component dimension"]
    precision: Float[Tensor, "component dimension dimension"] | None = None

    def expected(self) -> Moments:
        """The expected sums."""
        return self._pass.moments()

    def entropy(self) -> float:
        r"""The sum over i and k of :math:`-\varphi_{ik} \log \varphi_{ik}`.

        Each log is a logit less its normaliser, and the logits' share is linear in the sums.
        """
        found = self._pass
        logits = (self.constant * found.count).sum() + (self.linear * found.first).sum()
        if found.products is not None:
            logits = logits + (self._of_products * found.products).sum()
        return found.log_normaliser - float(logits)

    def sample(self, generator: torch.Generator) -> tuple[dict[str, Tensor], Moments]:
        """The sums of one draw of all assignments; the assignments themselves are not kept."""
        total = self._zero()
        for block, weights in self._responsibilities():
            cumulated = weights.cumsum(0)
            place = torch.rand(weights.shape[1], generator=generator, dtype=torch.float64)
            chosen = (place * cumulated[-1] >= cumulated[:-1]).sum(0)
            chosen_ones = torch.zeros_like(weights).scatter_(0, chosen[None], 1.0)
            total.add(block, chosen_ones)
        return {}, total.moments()

    def responsibilities(self) -> Float[Tensor, "observation component"]:
        r"""The probabilities :math:`\varphi_{ik}`, in full."""
        return torch.cat([weights.T.clone() for _, weights in self._responsibilities()])

    def draw(self, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Nothing: it has no continuous site."""
        return {}

    def log_prob(self, values: Mapping[str, Tensor]) -> Tensor:
        """Nothing: it has no continuous site."""
        return torch.zeros(0, dtype=torch.float64)

    def tensors(self) -> dict[str, Tensor]:
        """Nothing: the other factors make it again."""
        return {}

    @cached_property
    def _of_products(self) -> Tensor:
        """What each product of two dimensions counts in the logit."""
        precision = self.precision
        if precision is None:
            return self.linear.new_zeros(len(self.constant), 0)
        rows, columns = torch.triu_indices(*precision.shape[1:])
        return -precision[:, rows, columns] * torch.where(rows == columns, 0.5, 1.0)

    def _zero(self) -> Total:
        return Total.zero(*self.linear.shape, squares=self.precision is not None)

    @cached_property
    def _pass(self) -> Total:
        total = self._zero()
        for block, weights in self._responsibilities(total):
            total.add(block, weights)
        return total

    def _responsibilities(self, total: Total | None = None) -> Iterator[tuple[Block, Tensor]]:
        """Each block's responsibilities, in one buffer; the normalisers are added to ``total``."""
        components = len(self.constant)
        buffer: Tensor | None = None
        for block in _blocks(self.x, components, squares=self.precision is not None):
            size = block.x.shape[1]
            buffer = block.x.new_empty(components, size) if buffer is None else buffer
            logits = buffer if size == buffer.shape[1] else block.x.new_empty(components, size)
            torch.addmm(self.constant[:, None], self.linear, block.x, out=logits)
            if block.products is not None:
                logits.addmm_(self._of_products, block.products)
            largest = logits.amax(0)
            weights = logits.sub_(largest).exp_()
            normaliser = weights.sum(0)
            weights.div_(normaliser)
            if total is not None:
                total.log_normaliser += float(largest.add_(normaliser.log_()).sum())
            yield block, weights


def nearest_seed(problem: Mixture, seed: int) -> dict[str, Moments]:
    """A start: every observation with the nearest of K of them, spread out as in k-means++.

    Each further one is drawn with probability as the square of its distance from the nearest so
    far (Arthur and Vassilvitskii 2007).
    """
    generator = torch.Generator().manual_seed(seed)
    x = problem.x
    distance = torch.full((x.shape[1],), math.inf, dtype=torch.float64)
    nearest = torch.zeros(x.shape[1], dtype=torch.int64)
    chance = torch.ones_like(distance)
    for component in range(problem.components):
        place = torch.rand((), generator=generator, dtype=torch.float64) * chance.sum()
        chosen = int(torch.searchsorted(chance.cumsum(0), place).clamp(max=x.shape[1] - 1))
        own = (x - x[:, chosen, None]).square().sum(0)
        nearest[own < distance] = component
        distance = torch.minimum(distance, own)
        chance = distance if bool(distance.any()) else torch.ones_like(distance)
    return {"assignment": moments_of(x, one_hot(nearest, problem.components))}


def one_hot(assignment: Tensor, components: int) -> Float[Tensor, "component observation"]:
    """Responsibilities of one for the component assigned, and of zero for the others."""
    return torch.eye(components, dtype=torch.float64)[:, assignment]


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


def assign_unit(problem: Mixture, statistics: Mapping[str, Any]) -> Assignments:
    """Equation 2.35: the logit is E[mu] x - E[mu^2] / 2."""
    loc: LocationMoments = statistics["loc"]
    return Assignments(problem.x, -0.5 * loc.square, loc.mean)


def locate_unit(problem: Mixture, statistics: Mapping[str, Any]) -> Locations:
    """Equation 2.38, about the mean of the data, where the prior's mean is minus that."""
    of: Moments = statistics["assignment"]
    weight = problem.spread**-2
    precision = weight + of.count
    offset = (of.first - weight * problem.centre) / precision[:, None]
    return Locations(offset, precision.rsqrt(), problem.centre)


def log_joint_unit(problem: Mixture, statistics: Mapping[str, Any]) -> float:
    """The three expected logs of equation 2.31, with their constants."""
    of, loc = statistics["assignment"], statistics["loc"]
    n, dimensions, variance = problem.observations, problem.dimensions, problem.spread**2
    likelihood = (of.first * loc.mean).sum() - 0.5 * (of.count * loc.square).sum()
    about_zero = loc.square + 2 * loc.mean @ problem.centre + problem.centre.square().sum()
    prior = -0.5 * (about_zero / variance + dimensions * math.log(2 * math.pi * variance)).sum()
    constants = -0.5 * (problem.square + n * dimensions * LOG_2PI) - n * math.log(len(of.count))
    return float(likelihood + prior) + constants


# Conjugate: Dirichlet weights, normal-Wishart components


@dataclass(frozen=True)
class Prior:
    r"""The conjugate prior, for a given spread.

    A component's precision is Wishart with D + 3 degrees of freedom and scale matrix
    :math:`I / (2 b \sigma^2)`, b the rate of `diagonal`'s gamma. Each variance then has, on its
    own, the very prior it has there, and each location the variance :math:`\sigma^2`.

    Attributes:
        concentration: Of the Dirichlet of the weights, the same for each.
        mean_precision: beta: a location's precision is that of the component, times this.
        degrees: nu.
        inverse_scale: The inverse of the scale matrix is this times the identity.
    """

    concentration: float
    mean_precision: float
    degrees: float
    inverse_scale: float

    @staticmethod
    def of(dimensions: int, spread: float) -> "Prior":
        """The prior of a mixture in so many dimensions."""
        rate = PRECISION_RATE * spread**2
        return Prior(WEIGHT_CONCENTRATION, PRECISION_RATE, dimensions + 3.0, 2 * rate)


@dataclass(frozen=True)
class Weights:
    """Dirichlet weights.

    Attributes:
        concentration: One for each component.
    """

    concentration: Float[Tensor, "component"]

    def expected(self) -> Float[Tensor, "component"]:
        """The expected log weights."""
        return self.concentration.digamma() - self.concentration.sum().digamma()

    def entropy(self) -> float:
        """Of the Dirichlet."""
        powers = ((self.concentration - 1) * self.expected()).sum()
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
    def _whitening(self) -> Tensor:
        """H: the scale matrix is its transpose times itself."""
        eye = torch.eye(self.offset.shape[1], dtype=torch.float64)
        eye = eye.expand_as(self.inverse_scale_tril)
        return torch.linalg.solve_triangular(self.inverse_scale_tril, eye, upper=False)

    @property
    def _log_det_scale(self) -> Tensor:
        return -2 * self.inverse_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @property
    def _expected_log_det(self) -> Tensor:
        """The expected log determinant of the precision."""
        dimensions = self.offset.shape[1]
        halves = (self.degrees[:, None] - torch.arange(dimensions)) / 2
        return halves.digamma().sum(-1) + dimensions * math.log(2) + self._log_det_scale

    def expected(self) -> ComponentMoments:
        """The expected natural statistics."""
        whitening = self._whitening
        precision = self.degrees[:, None, None] * (whitening.mT @ whitening)
        linear = (precision @ self.offset[..., None])[..., 0]
        square = (linear * self.offset).sum(-1) + self.offset.shape[1] / self.mean_precision
        return ComponentMoments(precision, linear, square, self._expected_log_det)

    def entropy(self) -> float:
        """Of the precision, and of the location given it."""
        dimensions, log_det = self.offset.shape[1], self._expected_log_det
        of_precision = (
            -_log_wishart(self.degrees, self._log_det_scale, dimensions)
            - (self.degrees - dimensions - 1) / 2 * log_det
            + self.degrees * dimensions / 2
        )
        of_loc = 0.5 * (dimensions * (1 + LOG_2PI - self.mean_precision.log()) - log_det)
        return float((of_precision + of_loc).sum())

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
        whitening = bartlett @ self._whitening
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
    halves = (degrees[..., None] - torch.arange(dimensions)) / 2
    return -(
        degrees / 2 * log_det_scale
        + degrees * dimensions / 2 * math.log(2)
        + dimensions * (dimensions - 1) / 4 * math.log(math.pi)
        + halves.lgamma().sum(-1)
    )


def assign(problem: Mixture, statistics: Mapping[str, Any]) -> Assignments:
    """Bishop 10.46, without what all components share."""
    of, log_weight = statistics["components"], statistics["weight"]
    constant = log_weight + 0.5 * (of.log_det - of.square)
    return Assignments(problem.x, constant, of.linear, of.precision)


def weigh(problem: Mixture, statistics: Mapping[str, Any]) -> Weights:
    """Bishop 10.58."""
    prior = Prior.of(problem.dimensions, problem.spread)
    return Weights(prior.concentration + statistics["assignment"].count)


def locate(problem: Mixture, statistics: Mapping[str, Any]) -> Components:
    """Bishop 10.60 to 10.63, about the mean of the data."""
    of: Moments = statistics["assignment"]
    if of.second is None:
        raise ValueError("The conjugate updates need the second moments of the assignments.")
    prior = Prior.of(problem.dimensions, problem.spread)
    beta = prior.mean_precision + of.count
    mean = (of.first - prior.mean_precision * problem.centre) / beta[:, None]
    inverse_scale = (
        of.second
        + prior.inverse_scale * torch.eye(problem.dimensions, dtype=torch.float64)
        + prior.mean_precision * torch.outer(problem.centre, problem.centre)
        - beta[:, None, None] * mean[:, :, None] * mean[:, None, :]
    )
    tril, info = torch.linalg.cholesky_ex(inverse_scale)
    # A matrix that rounding has spoilt makes the loss not a number, which the loop reports.
    tril = torch.where(info[:, None, None] > 0, torch.nan, tril)
    return Components(mean, beta, prior.degrees + of.count, tril, problem.centre)


def log_joint(problem: Mixture, statistics: Mapping[str, Any]) -> float:
    """The expected logs of Bishop 10.71 to 10.74, with their constants."""
    of, log_weight, component = (statistics[n] for n in ("assignment", "weight", "components"))
    n, dimensions, count = problem.observations, problem.dimensions, problem.components
    likelihood = (
        (of.count * (log_weight + 0.5 * (component.log_det - component.square))).sum()
        + (of.first * component.linear).sum()
        - 0.5 * (of.second * component.precision).sum()
        - 0.5 * n * dimensions * LOG_2PI
    )
    prior = Prior.of(dimensions, problem.spread)
    same = torch.full((count,), prior.concentration, dtype=torch.float64)
    of_weight = _log_dirichlet(same) + (prior.concentration - 1) * log_weight.sum()
    centre = problem.centre
    about_zero = component.square + 2 * component.linear @ centre
    about_zero = about_zero + torch.einsum("kij,i,j->k", component.precision, centre, centre)
    log_beta = math.log(prior.mean_precision)
    of_loc = 0.5 * (
        dimensions * (log_beta - LOG_2PI) + component.log_det - prior.mean_precision * about_zero
    )
    degrees = torch.tensor(prior.degrees, dtype=torch.float64)
    log_det_scale = torch.tensor(-dimensions * math.log(prior.inverse_scale), dtype=torch.float64)
    trace = component.precision.diagonal(dim1=-2, dim2=-1).sum(-1)
    of_precision = (
        _log_wishart(degrees, log_det_scale, dimensions)
        + (prior.degrees - dimensions - 1) / 2 * component.log_det
        - 0.5 * prior.inverse_scale * trace
    )
    return float(likelihood + of_weight + (of_loc + of_precision).sum())
