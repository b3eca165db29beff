"""Monotone maps that take a standard normal to a distribution with skew and tails.

Each is a rational quadratic spline with knots at the same places, and straight beyond them. Of a
distribution that is known by the slope of its log density at a few places, the map through its
quantiles is worked out by integration, for many distributions at once.

Reference: Durkan, Bekasov, Murray and Papamakarios (2019), https://arxiv.org/abs/1906.04032
"""

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from pyrovi.approximations.base import LOG_TWO_PI, log_normal

KNOTS = torch.arange(-4.0, 5.0, dtype=torch.float64)
WIDEST, SPACING = 7.0, 1.8  # standard deviations to the last place; how much denser the middle is
PLACES = torch.sinh(SPACING * torch.linspace(-1, 1, 13, dtype=torch.float64))
PLACES = WIDEST * PLACES / PLACES[-1]
GRID = torch.linspace(-WIDEST, WIDEST, 49, dtype=torch.float64)  # for the integrals
STEP = float(GRID[1] - GRID[0])
STEEPEST = 1e4  # slope of a log density, in nats a standard deviation
AT_ONCE = 500_000  # numbers that a processor's cache holds
LEAST_TAIL = 1e-15  # a probability that is nothing
MOST_LOG_SLOPE = 5.0  # of a map
LEAST_RISE = 1e-6  # of a map between knots


@dataclass(frozen=True)
class Bends:
    """Maps from the standard normal, one for each coordinate of each row.

    Attributes:
        values: Where each map takes the `KNOTS`.
        slopes: How steep it is there.
    """

    values: Float[Tensor, "row coordinate knot"]
    slopes: Float[Tensor, "row coordinate knot"]

    @property
    def parameters(self) -> Float[Tensor, "row parameter"]:
        """The numbers that make the maps, all of them free to be any."""
        parts = self.values[..., :1], self.values.diff(dim=-1).log(), self.slopes.log()
        return torch.cat(parts, dim=-1).flatten(1)

    @staticmethod
    def of(parameters: Float[Tensor, "row parameter"]) -> "Bends":
        """The maps whose `parameters` these are."""
        count = len(KNOTS)
        parts = parameters.reshape(len(parameters), -1, 2 * count)
        values, slopes = parts.exp().split(count, dim=-1)
        values[..., 0] = parts[..., 0]
        return Bends(values.cumsum(-1), slopes)

    def rows(self, which: Tensor) -> "Bends":
        """Some of the rows."""
        return Bends(self.values[which], self.slopes[which])

    def __call__(
        self, noise: Float[Tensor, "row coordinate"]
    ) -> tuple[Float[Tensor, "row coordinate"], Float[Tensor, "row coordinate"]]:
        """Where noise is taken, and the log of the slope there."""
        inside = noise.clamp(KNOTS[0], KNOTS[-1])
        piece = self._piece((inside - KNOTS[0]).floor().long())
        share = inside - KNOTS[0] - piece.index
        value = piece.start + piece.rise * piece.share_of_rise(share)
        log_slope = piece.log_slope(share)
        return value + (noise - inside) * log_slope.exp(), log_slope

    def inverse(
        self, value: Float[Tensor, "row coordinate"]
    ) -> tuple[Float[Tensor, "row coordinate"], Float[Tensor, "row coordinate"]]:
        """The noise that is taken to a value, and the log of the slope there."""
        inside = torch.maximum(torch.minimum(value, self.values[..., -1]), self.values[..., 0])
        below = torch.searchsorted(self.values.contiguous(), inside[..., None].contiguous())
        piece = self._piece(below[..., 0] - 1)
        share = piece.share((inside - piece.start) / piece.rise)
        log_slope = piece.log_slope(share)
        return KNOTS[0] + piece.index + share + (value - inside) / log_slope.exp(), log_slope

    def _piece(self, index: Tensor) -> "_Piece":
        index = index.clamp(0, len(KNOTS) - 2)

        def at(knots: Tensor, where: Tensor) -> Tensor:
            return knots.gather(-1, where[..., None])[..., 0]

        start = at(self.values, index)
        rise = (at(self.values, index + 1) - start).clamp(min=LEAST_RISE)
        return _Piece(index, start, rise, at(self.slopes, index), at(self.slopes, index + 1))


@dataclass(frozen=True)
class _Piece:
    """Between two knots, which are one apart."""

    index: Tensor
    start: Tensor
    rise: Tensor
    slope: Tensor
    next_slope: Tensor

    @property
    def _excess(self) -> Tensor:
        return self.slope + self.next_slope - 2 * self.rise

    def share_of_rise(self, share: Tensor) -> Tensor:
        both = share * (1 - share)
        return (self.rise * share**2 + self.slope * both) / (self.rise + self._excess * both)

    def log_slope(self, share: Tensor) -> Tensor:
        both = share * (1 - share)
        ends = self.next_slope * share**2 + self.slope * (1 - share) ** 2
        share_of_slope = self.rise / (self.rise + self._excess * both)
        return ((ends + 2 * self.rise * both) * share_of_slope**2).log()

    def share(self, share_of_rise: Tensor) -> Tensor:
        """The inverse of `share_of_rise`: the root of a quadratic equation."""
        part = share_of_rise * self._excess
        a = self.rise - self.slope + part
        b = self.slope - part
        c = -self.rise * share_of_rise
        return 2 * c / (-b - (b**2 - 4 * a * c).clamp(min=0).sqrt())


def bends_of(
    slopes: Float[Tensor, "row coordinate place"],
) -> tuple[Bends, Float[Tensor, "row coordinate"]]:
    """The maps to distributions, by the slopes of their log densities at the `PLACES`.

    Returns:
        The maps; and the log of how much each distribution holds, its density being that of the
        standard normal at zero.
    """
    rows = max(1, AT_ONCE // (slopes.shape[1] * len(GRID)))
    parts = [_bends_of(part) for part in slopes.split(rows)]
    values, steepness, held = (torch.cat(each) for each in zip(*parts, strict=True))
    return Bends(values, steepness), held


def _bends_of(slopes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The values and slopes of the maps, and the log of what is held."""
    steepest = torch.where(PLACES > 0, -STEEPEST, STEEPEST)
    slopes = torch.where(slopes.isfinite(), slopes, steepest).clamp(-STEEPEST, STEEPEST)
    by_slope, by_bend = _integrals()
    log_density = slopes @ by_slope + _monotone(slopes) @ by_bend - 0.5 * LOG_TWO_PI
    top = log_density.amax(-1, keepdim=True)
    density = (log_density - top).exp()
    below = torch.cumsum((density[..., 1:] + density[..., :-1]).mul_(STEP / 2), dim=-1)
    held = top + below[..., -1:].log()
    values, there = _at_knots(below.div_(below[..., -1:].clone()), log_density, held)
    log_slopes = log_normal(KNOTS) - there
    return values, log_slopes.clamp(-MOST_LOG_SLOPE, MOST_LOG_SLOPE).exp(), held[..., 0]


def _at_knots(below: Tensor, log_density: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """Where the knots are taken, and the log density there, both between points of the grid.

    Args:
        below: What the trapezoidal rule finds below each point of the grid but the first.
        log_density: At each point.
        held: The log of what all of it holds.
    """
    chances = torch.special.ndtr(KNOTS).expand(*below.shape[:-1], -1).contiguous()
    after = torch.searchsorted(below, chances).clamp(1, len(GRID) - 3)
    around = torch.stack([log_density.gather(-1, after + step) for step in (-1, 0, 1, 2)]) - held
    density = around.exp()
    ends = torch.stack([below.gather(-1, after - 1), below.gather(-1, after)])
    ends = ends - STEP / 24 * (density[2:] - density[:2])  # as the rule of Euler and Maclaurin has
    noise = torch.special.ndtri(ends.clamp(LEAST_TAIL, 1 - LEAST_TAIL))
    width = (noise[1] - noise[0]).clamp(min=LEAST_TAIL)
    share = ((KNOTS - noise[0]) / width).clamp(0, 1)
    first, last = width / STEP * (log_normal(noise) - around[1:3]).exp() - 1
    # a cubic with the slopes that the map has at both ends
    part = share + share * (1 - share) * ((1 - share) * first - share * last)
    part = part.nan_to_num().clamp(0, 1)
    bent = around[0] - around[1] - around[2] + around[3]
    there = torch.lerp(around[1], around[2], part) - bent * part * (1 - part) / 4
    values = (GRID[after] + STEP * part).cummax(-1).values
    return values + LEAST_RISE * (KNOTS - KNOTS[0]), there  # rising where a tail holds nothing too


def _monotone(values: Tensor) -> Tensor:
    """The derivatives at the `PLACES` of a cubic that rises and falls with the values (PCHIP)."""
    steps = PLACES.diff()
    secants = values.diff(dim=-1) / steps
    first, second = secants[..., :-1], secants[..., 1:]
    one, two = 2 * steps[1:] + steps[:-1], steps[1:] + 2 * steps[:-1]
    inner = (one + two) * first * second / (one * second + two * first)
    inner = torch.where(first * second > 0, inner, 0.0)
    return torch.cat([secants[..., :1], inner, secants[..., -1:]], dim=-1)


@cache
def _integrals() -> tuple[Tensor, Tensor]:
    """What values and derivatives at the `PLACES` add to an integral from zero to the `GRID`.

    Between two places it is that of Hermite's cubic. SciPy has it, at a third of a second.
    """
    steps = PLACES.diff()
    ends = torch.cat([GRID, GRID.new_zeros(1)])
    share = ((ends[:, None] - PLACES[:-1]) / steps).clamp(0, 1)
    square, cube, fourth = share**2, share**3, share**4
    of_values = steps * (share - cube + fourth / 2), steps * (cube - fourth / 2)
    of_slopes = (
        steps**2 * (square / 2 - 2 * cube / 3 + fourth / 4),
        steps**2 * (fourth / 4 - cube / 3),
    )
    by_value, by_slope = (
        pad(left, (0, 1)) + pad(right, (1, 0)) for left, right in (of_values, of_slopes)
    )
    return (by_value[:-1] - by_value[-1]).T, (by_slope[:-1] - by_slope[-1]).T
