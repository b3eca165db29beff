"""The rest of a flat vector, given a few of its entries: its mode, and the curvature there.

In a hierarchy a few entries, scales and correlations mostly, make the shape of the posterior, and
given them the rest is Gaussian or nearly so. Its modes for many values of the few are sought at
once, by Newton's method, and its curvature comes from as many products as its blocks have entries.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyrovi.approximations.arrow import Arrow, ArrowFactor
from pyrovi.density import LogDensity

CHUNK = 128  # rows whose curvature is worked out together: what a processor's cache holds
NEWTON_STEPS = 30
DECREMENT = 1e-6  # nats that a step still promises, at which a mode is reached
CLOSE = 0.05  # nats, near enough to the mode to take the curvature, and a last step, from there
LEAST_SHORTENING = 1e-3
LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Split:
    """Which entries of the flat vector are the few, and how the others hang together.

    Attributes:
        few: The entries that make the shape.
        border: Entries of the rest that any other may depend on.
        blocks: Those that depend, given the few and the border, on their own block alone.
        gaussian: Whether the rest is Gaussian given the few, so that its curvature is the same
            everywhere.
    """

    few: Int[Tensor, "few"]
    border: Int[Tensor, "border"]
    blocks: Int[Tensor, "block entry"]
    gaussian: bool = False

    @cached_property
    def rest(self) -> Int[Tensor, "rest"]:
        """The entries that are not the few, the border first."""
        return torch.cat([self.border, self.blocks.reshape(-1)])

    def flat(
        self, few: Float[Tensor, "row few"], rest: Float[Tensor, "row rest"]
    ) -> Float[Tensor, "row dim"]:
        """The flat vectors that are put together of both."""
        flat = few.new_empty(len(few), few.shape[1] + rest.shape[1])
        flat[:, self.few], flat[:, self.rest] = few, rest
        return flat

    def curvature(self, density: LogDensity, flat: Float[Tensor, "row dim"]) -> Arrow:
        """Minus the second derivatives in the rest, at each flat vector."""
        places = torch.arange(len(self.border), len(self.rest)).reshape(self.blocks.shape)
        products = -density.hessian_products(flat, self.rest, self._directions(places))
        own, crossed = products.split([self.blocks.shape[1], len(self.border)], dim=1)
        blocks = own[:, :, places].permute(0, 2, 3, 1)
        border = crossed[:, :, : len(self.border)]
        cross = crossed[:, :, places].permute(0, 2, 3, 1)
        return Arrow((border + border.mT) / 2, cross, (blocks + blocks.mT) / 2)

    def conditional(self, parameters: Float[Tensor, "row parameter"]) -> "Conditional":
        """The Gaussians whose `Conditional.parameters` these are; they have no value."""
        border, (count, size) = len(self.border), self.blocks.shape
        lengths = (
            len(self.rest),
            _triangle(border),
            count * size * border,
            count * _triangle(size),
        )
        loc, corner, cross, blocks = parameters.split(lengths, dim=1)
        rows = len(parameters)
        factor = ArrowFactor(
            _lower(corner, border),
            cross.reshape(rows, count, size, border),
            _lower(blocks.reshape(rows, count, _triangle(size)), size),
            torch.ones(rows, dtype=torch.bool),
        )
        return Conditional(loc, factor, torch.full((rows,), torch.nan, dtype=loc.dtype))

    def _directions(self, places: Int[Tensor, "block entry"]) -> Float[Tensor, "direction rest"]:
        """One for each entry of all blocks together, and one for each entry of the border."""
        size, border = self.blocks.shape[1], len(self.border)
        directions = torch.zeros(size + border, len(self.rest), dtype=torch.float64)
        for index in range(size):
            directions[index, places[:, index]] = 1.0
        directions[size:, :border] = torch.eye(border)
        return directions


@dataclass(frozen=True)
class Conditional:
    """The Gaussian that the rest is about, for each value of the few.

    Attributes:
        loc: Where it is centred.
        factor: Of its precision.
        value: The log density of the model there.
    """

    loc: Float[Tensor, "row rest"]
    factor: ArrowFactor
    value: Float[Tensor, "row"]

    @property
    def log_evidence(self) -> Float[Tensor, "row"]:
        """The log of the density summed over the rest, as if it were this Gaussian."""
        area = 0.5 * (self.loc.shape[1] * LOG_TWO_PI - self.factor.log_det)
        return torch.where(self.factor.usable, self.value + area, -torch.inf)

    @property
    def parameters(self) -> Float[Tensor, "row parameter"]:
        """The numbers that make each Gaussian, all of them free to be any."""
        factor, rows = self.factor, len(self.loc)
        parts = self.loc, _entries(factor.border), factor.cross, _entries(factor.blocks)
        return torch.cat([each.reshape(rows, -1) for each in parts], dim=1)

    def rows(self, which: Int[Tensor, "some"]) -> "Conditional":
        """Some of them."""
        factor = {name: value[which] for name, value in vars(self.factor).items()}
        return Conditional(self.loc[which], ArrowFactor(**factor), self.value[which])

    def log_prob(self, rest: Float[Tensor, "row rest"]) -> Float[Tensor, "row"]:
        """The log density of each Gaussian at a value of the rest."""
        noise = self.factor.whiten(rest - self.loc)
        return 0.5 * self.factor.log_det + _log_normal(noise)

    def draw(
        self, noise: Float[Tensor, "row rest"]
    ) -> tuple[Float[Tensor, "row rest"], Float[Tensor, "row"]]:
        """A draw for each row of standard normal noise, and its log density."""
        return self.loc + self.factor.spread(noise), _log_normal(noise) + 0.5 * self.factor.log_det


@dataclass(frozen=True)
class Rest:
    """The rest of the flat vector of a density."""

    density: LogDensity
    split: Split

    def given(
        self,
        few: Float[Tensor, "row few"],
        start: Float[Tensor, "row rest"],
        decrement: float = DECREMENT,
    ) -> Conditional:
        """The Gaussian at the mode for each value of the few, sought from ``start``."""
        parts = [
            self._given(*rows, decrement)
            for rows in zip(few.split(CHUNK), start.split(CHUNK), strict=True)
        ]
        return together(parts)

    def _given(self, few: Tensor, start: Tensor, decrement: float) -> Conditional:
        """Newton's method on all rows at once; a step that goes down is halved."""
        place, (value, gradient) = start, self._climb(few, start)
        if not place.shape[1]:
            return Conditional(place, _nothing(place), value)
        factor = self._factor(few, place)
        for taken in range(NEWTON_STEPS):
            if taken and not self.split.gaussian:
                factor = self._factor(few, place)
            step = factor.solve(gradient)
            promised = 0.5 * (step * gradient).sum(-1)
            place, value, gradient = self._step(few, place, step, value, gradient)
            if not bool((promised > decrement).any()):
                break
        return Conditional(place, factor, value)

    def _factor(self, few: Tensor, place: Tensor) -> ArrowFactor:
        return self.split.curvature(self.density, self.split.flat(few, place)).factor()

    def _climb(self, few: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = self.density.value_and_gradient(self.split.flat(few, rest))
        return value, gradient[:, self.split.rest]

    def _step(
        self, few: Tensor, place: Tensor, step: Tensor, value: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The place after a step, or after a part of it; the value and the gradient there."""
        share = torch.ones_like(value)
        going = step.isfinite().all(-1)
        step = torch.where(going[:, None], step, 0.0)
        while True:
            there = place + share[:, None] * step
            reached, slope = self._climb(few, there)
            up = reached >= value - 1e-9 * value.abs()
            if bool(up.all()) or float(share.min()) < LEAST_SHORTENING:
                break
            share = torch.where(up, share, share / 2)
        keep = up[:, None]
        return (
            torch.where(keep, there, place),
            torch.where(up, reached, value),
            torch.where(keep, slope, gradient),
        )


def _log_normal(noise: Tensor) -> Tensor:
    return -0.5 * (noise.square().sum(-1) + noise.shape[1] * LOG_TWO_PI)


def _triangle(size: int) -> int:
    return size * (size + 1) // 2


def _entries(factor: Tensor) -> Tensor:
    """The lower entries of triangular matrices in a row, the diagonal by its logarithm."""
    logs = factor.tril(-1) + torch.diag_embed(factor.diagonal(dim1=-2, dim2=-1).log())
    row, column = torch.tril_indices(*factor.shape[-2:])
    return logs[..., row, column]


def _lower(entries: Tensor, size: int) -> Tensor:
    """What `_entries` were taken of."""
    factor = entries.new_zeros(*entries.shape[:-1], size, size)
    row, column = torch.tril_indices(size, size)
    factor[..., row, column] = entries
    return factor.tril(-1) + torch.diag_embed(factor.diagonal(dim1=-2, dim2=-1).exp())


def _nothing(place: Tensor) -> ArrowFactor:
    """The factor of matrices without entries."""
    size = len(place)
    blocks = place.new_zeros(size, 0, 0, 0)
    usable = torch.ones(size, dtype=torch.bool)
    return ArrowFactor(place.new_zeros(size, 0, 0), blocks, blocks, usable)


def together(parts: list[Conditional]) -> Conditional:
    """The rows of all."""
    factors = {
        name: torch.cat([getattr(part.factor, name) for part in parts])
        for name in ("border", "cross", "blocks", "usable")
    }
    loc, value = (torch.cat([getattr(p, name) for p in parts]) for name in ("loc", "value"))
    return Conditional(loc, ArrowFactor(**factors), value)
