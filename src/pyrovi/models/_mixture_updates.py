r"""The mixture's complete conditionals, for coordinate ascent and for Gibbs sampling.

The assignments touch the other coordinates through a few sums alone: how many observations a
component has, the sum of them and the sum of their squares. One pass over the data makes a block of
responsibilities and adds it to those sums, so that the n by K matrix of them is never held.

The log density of a Gaussian is linear in the features :math:`(x x^T, x, 1)`. So the logits of a
block are one product of matrices, and the sums another. Squares cancel where a component lies many
of its own widths from the origin; the data are centred first, which leaves a relative error of
about 1e-16 times the square of that distance in widths.

References: Blei, Kucukelbir and McAuliffe (2017), https://arxiv.org/abs/1601.00670, section 3 (unit
variance); Bishop (2006), Pattern Recognition and Machine Learning, section 10.2 (conjugate).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Assignments", "Locations", "Mixture", "Moments", "moments_of"]

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

    def _responsibilities(
        self, total: Total | None = None
    ) -> Iterator[tuple[Block, Tensor]]:
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
        noise = torch.randn(
            draws, *self.offset.shape, generator=generator, dtype=torch.float64
        )
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
        """Of each component: 2.40 with its mean plugged in, or with the location integrated."""
        variance = torch.ones_like(self.scale) if plug_in else 1 + self.scale.square()
        square = (x[:, None] - self.loc).square().sum(-1)
        log_scale = x.shape[1] * (LOG_2PI + variance.log())
        return -0.5 * (square / variance + log_scale) - math.log(len(self.scale))


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
