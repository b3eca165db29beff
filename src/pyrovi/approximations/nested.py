"""A few entries by a mixture of t distributions, and the rest nearly Gaussian given them."""

import math
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyrovi.approximations.base import Approximation, Draws
from pyrovi.approximations.rest import CLOSE, Conditional, Rest, Split, at_once
from pyrovi.approximations.student import StudentMixture

BULK = 0.05  # of the average weight, from which a row has to be in the box
LEAST_SHARE = 1e-3  # of the average weight, with which a row counts for what is smooth
MOST_SQUARED = 1e6  # nats squared: what is missed by more is no worse
GROWN = 3.0  # times what is missed within the box, by which a little outside may be off
DEGREES = range(1, 10)  # of polynomials
LITTLE_LOST = 0.02  # nats, at which a higher degree would gain nothing
MOST_LOST = 0.4  # nats by which polynomials may miss the log density of the rest


@dataclass(frozen=True)
class Polynomials:
    """Smooth functions of the few, within the box where they were fitted.

    Attributes:
        centre: The middle of the box.
        sides: From the middle to the middle of each side of it, one a row.
        coefficients: One column a function; none where there is no function.
    """

    centre: Float[Tensor, "few"]
    sides: Float[Tensor, "few few"]
    coefficients: Float[Tensor, "term parameter"]

    @staticmethod
    def none(few: int) -> "Polynomials":
        """Not one, of so many variables."""
        centre = torch.zeros(few, dtype=torch.float64)
        return Polynomials(centre, torch.diag(centre), centre.new_zeros(0, 0))

    @staticmethod
    def fitted(
        few: Float[Tensor, "row few"],
        values: Float[Tensor, "row parameter"],
        weights: Float[Tensor, "row"],
        degree: int,
    ) -> "Polynomials":
        """By weighted least squares.

        The box has the axes of the weighted rows, and holds those that count for something.
        """
        share = weights.clamp(min=LEAST_SHARE / len(weights))
        share = share / share.sum()
        mean = share @ few
        apart = (few - mean) * share.sqrt()[:, None]
        axes = torch.linalg.eigh(apart.T @ apart).eigenvectors
        turned = (few - mean) @ axes
        counts = weights >= BULK * weights.mean()
        low, high = turned[counts].amin(0), turned[counts].amax(0)
        centre = mean + axes @ ((low + high) / 2)
        blank = Polynomials(centre, ((high - low) / 2)[:, None] * axes.T, values.new_zeros(0, 0))
        root = share.sqrt()[:, None]
        terms = root * blank.terms(few, degree)
        solved = torch.linalg.lstsq(terms, root * values, driver="gelsd").solution
        return Polynomials(blank.centre, blank.sides, solved)

    def units(self, few: Float[Tensor, "row few"]) -> Float[Tensor, "row few"]:
        """Where each row is in the box, whose sides are at -1 and 1."""
        squares = self.sides.square().sum(-1).clamp(min=torch.finfo(few.dtype).tiny)
        return (few - self.centre) @ (self.sides / squares[:, None]).T

    def covers(self, few: Float[Tensor, "row few"]) -> Bool[Tensor, "row"]:
        """Which rows are inside the box, or hardly outside; none where there is no function.

        What polynomials of a degree miss is of the next one, and of all that are within one in
        the box Chebyshev's grow fastest outside, by T(x) = cosh(degree * arcosh(x)).
        """
        if not self.size:
            return torch.zeros(len(few), dtype=torch.bool)
        edge = math.cosh(math.acosh(GROWN) / (self.degree + 1))
        return self.units(few).abs().amax(-1) <= edge

    @property
    def degree(self) -> int:
        """The highest power."""
        few, count = len(self.centre), len(self.coefficients)
        return next(degree for degree in DEGREES if terms_of(few, degree) == count)

    @property
    def size(self) -> int:
        """How many functions there are."""
        return self.coefficients.shape[1]

    def terms(self, few: Float[Tensor, "row few"], degree: int) -> Float[Tensor, "row term"]:
        """The powers and products that are weighed."""
        units = self.units(few)
        chosen = [
            units[:, list(which)].prod(-1)
            for power in range(degree + 1)
            for which in combinations_with_replacement(range(few.shape[1]), power)
        ]
        return torch.stack(chosen, dim=-1)

    def __call__(self, few: Float[Tensor, "row few"]) -> Float[Tensor, "row parameter"]:
        return self.terms(few, self.degree) @ self.coefficients


@dataclass(frozen=True)
class Nested(Approximation):
    """Of nested Laplace: q(few) q(rest | few), with a density.

    The distribution of the rest is by `Polynomials` of the few where these hold; else it is
    worked out at each draw.

    Attributes:
        few, border, blocks: The indices that `pyrovi.approximations.Split` has.
        weights, locs, scale_trils, freedoms: Those of the `StudentMixture` over the few.
        centre, sides, coefficients: Those of the `Polynomials`.
        bent: Whether the rest is not Gaussian given the few.
        places: Values of the few for which the mode of the rest is known.
        modes: The mode of the rest for each; the search for others starts at the nearest.
    """

    few: Int[Tensor, "few"]
    border: Int[Tensor, "border"]
    blocks: Int[Tensor, "block entry"]
    weights: Float[Tensor, "component"]
    locs: Float[Tensor, "component few"]
    scale_trils: Float[Tensor, "component few few"]
    freedoms: Float[Tensor, "component"]
    centre: Float[Tensor, "few"]
    sides: Float[Tensor, "few few"]
    coefficients: Float[Tensor, "term parameter"]
    bent: Bool[Tensor, ""]
    places: Float[Tensor, "place few"]
    modes: Float[Tensor, "place rest"]
    kind: ClassVar[str] = "nested"

    @property
    def dim(self) -> int:
        return len(self.few) + self.modes.shape[1]

    @property
    def split(self) -> Split:
        """Which entries are the few."""
        return Split(self.few, self.border, self.blocks, not bool(self.bent))

    @property
    def mixture(self) -> StudentMixture:
        """The distribution of the few."""
        return StudentMixture(self.weights, self.locs, self.scale_trils, self.freedoms)

    def draw(self, draws: int, seed: int) -> Draws:
        generator = torch.Generator().manual_seed(seed)
        few = self.mixture.draw(draws, generator)
        if not self.modes.shape[1]:
            return Draws(self.split.flat(few, few[:, :0]), self.mixture.log_prob(few))
        rest = torch.randn(draws, self.modes.shape[1], generator=generator, dtype=torch.float64)
        log_rest = torch.empty(draws, dtype=torch.float64)
        polynomials = Polynomials(self.centre, self.sides, self.coefficients)
        smooth = polynomials.covers(few)
        ways = (
            (smooth, lambda own: self.split.conditional(polynomials(own)), polynomials.size),
            (~smooth, self._exact, self.density.entries),
        )
        for which, given, size in ways:
            for own in _chunks(which, at_once(size)):
                rest[own], log_rest[own] = given(few[own]).draw(rest[own])
        return Draws(self.split.flat(few, rest), self.mixture.log_prob(few) + log_rest)

    def _exact(self, few: Tensor) -> Conditional:
        """The rest by a search from a known mode."""
        rest = Rest(self.density, self.split)
        return rest.bent(few, rest.given(few, self._start(few), CLOSE))

    def _start(self, few: Tensor) -> Tensor:
        """The known mode of the rest that is nearest by the widths of the mixture."""
        widths = self.scale_trils.square().sum(-1).mT @ self.weights
        units = (widths + self.locs.var(0, unbiased=False)).sqrt()
        return self.modes[torch.cdist(few / units, self.places / units).argmin(-1)]


def _chunks(which: Bool[Tensor, "row"], size: int) -> tuple[Tensor, ...]:
    """The indices of some rows, so many at once; none where there are none."""
    return torch.nonzero(which).flatten().split(size) if bool(which.any()) else ()


def smooth_rest(
    split: Split,
    few: Float[Tensor, "row few"],
    given: Conditional,
    weights: Float[Tensor, "row"],
    generator: torch.Generator,
) -> Polynomials | None:
    """The distribution of the rest as polynomials of the few; None where none are accurate.

    Those of half of the rows are held against what is known of the others, by how log densities
    of draws differ; the degree that does best is taken.
    """
    parameters = given.parameters
    ours, held = torch.randperm(len(few), generator=generator).chunk(2)
    noise = torch.randn(given.loc.shape, generator=generator, dtype=torch.float64)[held]
    missed: dict[int, float] = {}
    for degree in DEGREES:
        if 2 * terms_of(few.shape[1], degree) > len(ours):
            break
        trial = Polynomials.fitted(few[ours], parameters[ours], weights[ours], degree)
        drawn, log_prob = split.conditional(trial(few[held])).draw(noise)
        lost = (log_prob - given.rows(held).log_prob(drawn)).square()
        share = weights[held] * trial.covers(few[held])
        share = share / share.sum()
        missed[degree] = float(share @ lost.nan_to_num(MOST_SQUARED).clamp(max=MOST_SQUARED))
        if missed[degree] < LITTLE_LOST**2:
            break
    best = min(missed, key=missed.__getitem__, default=0)
    if not best or missed[best] > MOST_LOST**2:
        return None
    return Polynomials.fitted(few, parameters, weights, best)


def terms_of(few: int, degree: int) -> int:
    """How many terms a polynomial of so many variables has."""
    return math.comb(few + degree, degree)
