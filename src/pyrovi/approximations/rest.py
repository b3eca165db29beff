"""The rest of a flat vector, given a few of its entries: its mode, and the curvature there.

In a hierarchy a few entries, scales and correlations mostly, make the shape of the posterior, and
given them the rest is Gaussian or nearly so. Its modes for many values of the few are sought at
once, by Newton's method, and its curvature comes from as many products as its blocks have entries.
What is not Gaussian in a block is told by gradients on both sides of the mode, which are those of
all blocks at once, since blocks are independent given the few and the border.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyrovi.approximations.arrow import Arrow, ArrowFactor
from pyrovi.approximations.base import LOG_TWO_PI, log_normal
from pyrovi.approximations.bends import PLACES, Bends, bends_of
from pyrovi.density import LogDensity

CHUNK, CHUNK_ENTRIES = 128, 500_000  # rows, and their entries, worked out together
NEWTON_STEPS = 30
DECREMENT = 1e-6  # nats that a step still promises, at which a mode is reached
CLOSE = 0.05  # nats, near enough to the mode to take the curvature, and a last step, from there
LEAST_SHORTENING = 1e-3
QUADRATURE = 5  # places at which a mean over the blocks is taken

Change = Callable[[Tensor], tuple[Tensor, Tensor]]


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
        """The distributions whose `Conditional.parameters` these are; they have no value."""
        border, (count, size) = len(self.border), self.blocks.shape
        lengths = (
            len(self.rest),
            _triangle(border),
            count * size * border,
            count * _triangle(size),
        )
        gaussian = sum(lengths)
        loc, corner, cross, blocks = parameters[:, :gaussian].split(lengths, dim=1)
        rows = len(parameters)
        factor = ArrowFactor(
            _lower(corner, border),
            cross.reshape(rows, count, size, border),
            _lower(blocks.reshape(rows, count, _triangle(size)), size),
            torch.ones(rows, dtype=torch.bool),
        )
        bends = Bends.of(parameters[:, gaussian:]) if parameters.shape[1] > gaussian else None
        return Conditional(loc, factor, torch.full((rows,), torch.nan, dtype=loc.dtype), bends)

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
    """How the rest is distributed for each value of the few: a Gaussian, whose blocks may bend.

    Attributes:
        loc: Where it is centred.
        factor: Of its precision there.
        value: The log density of the model there, and the log of what the bends add.
        bends: The maps of the noise in the blocks; None where the rest is Gaussian.
    """

    loc: Float[Tensor, "row rest"]
    factor: ArrowFactor
    value: Float[Tensor, "row"]
    bends: Bends | None = None

    @property
    def log_evidence(self) -> Float[Tensor, "row"]:
        """The log of the density summed over the rest, as if it were this distribution."""
        area = 0.5 * (self.loc.shape[1] * LOG_TWO_PI - self.factor.log_det)
        return torch.where(self.factor.usable, self.value + area, -torch.inf)

    @property
    def parameters(self) -> Float[Tensor, "row parameter"]:
        """The numbers that make each distribution, all of them free to be any."""
        factor, rows = self.factor, len(self.loc)
        parts = [self.loc, _entries(factor.border), factor.cross, _entries(factor.blocks)]
        parts += [] if self.bends is None else [self.bends.parameters]
        return torch.cat([each.reshape(rows, -1) for each in parts], dim=1)

    def rows(self, which: Int[Tensor, "some"]) -> "Conditional":
        """Some of them."""
        factor = {name: value[which] for name, value in vars(self.factor).items()}
        bends = None if self.bends is None else self.bends.rows(which)
        return Conditional(self.loc[which], ArrowFactor(**factor), self.value[which], bends)

    def log_prob(self, rest: Float[Tensor, "row rest"]) -> Float[Tensor, "row"]:
        """The log density of each distribution at a value of the rest."""
        noise = self.factor.whiten(rest - self.loc)
        return self._log_prob(*self._unbent(noise))

    def draw(
        self, noise: Float[Tensor, "row rest"]
    ) -> tuple[Float[Tensor, "row rest"], Float[Tensor, "row"]]:
        """A draw for each row of standard normal noise, and its log density."""
        bent, log_slope = self._bent(noise)
        return self.loc + self.factor.spread(bent), self._log_prob(noise, log_slope)

    def _log_prob(self, noise: Tensor, log_slope: Tensor) -> Tensor:
        return log_normal(noise).sum(-1) + 0.5 * self.factor.log_det - log_slope

    def _bent(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What the bends make of noise, and the log of their slopes."""
        return self._mapped(noise, None if self.bends is None else self.bends.__call__)

    def _unbent(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What the bends made it of, and the log of their slopes."""
        return self._mapped(noise, None if self.bends is None else self.bends.inverse)

    def _mapped(self, noise: Tensor, change: Change | None) -> tuple[Tensor, Tensor]:
        if change is None:
            return noise, noise.new_zeros(len(noise))
        border = self.factor.border.shape[-1]
        mapped, log_slope = change(noise[:, border:])
        return torch.cat([noise[:, :border], mapped], dim=1), log_slope.sum(-1)


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
        if not start.shape[1]:
            value = self.density.log_prob(self.split.flat(few, start)).detach()
            return Conditional(start, _nothing(start), value)
        size = at_once(self.density.entries)
        parts = zip(few.split(size), start.split(size), strict=True)
        return together([self._given(own, at, decrement) for own, at in parts])

    def bent(self, few: Float[Tensor, "row few"], given: Conditional) -> Conditional:
        """With what the blocks have beyond the Gaussian that is given."""
        if self.split.gaussian or not self.split.blocks.numel():
            return given
        rows = torch.arange(len(few)).split(at_once(self.density.entries))
        return together([self._bent(few[own], given.rows(own)) for own in rows])

    def _bent(self, few: Tensor, given: Conditional) -> Conditional:
        count, size = self.split.blocks.shape
        slopes = given.loc.new_empty(len(few), count, size, len(PLACES))
        for entry in range(size):
            along = given.factor.axis(entry)
            for index, place in enumerate(PLACES):
                gradient = self._climb(few, given.loc + float(place) * along)[1] * along
                blocks = gradient[:, len(self.split.border) :]
                slopes[:, :, entry, index] = blocks.reshape(-1, count, size).sum(-1)
        bends, held = bends_of(slopes.flatten(1, 2))
        return self._moved(few, replace(given, value=given.value + held.sum(-1), bends=bends))

    def _moved(self, few: Tensor, given: Conditional) -> Conditional:
        """With the border where its density is highest once the blocks are summed out.

        The slope of that density is the mean of the border's own slope over the blocks.
        """
        border = len(self.split.border)
        slope = torch.zeros_like(given.loc)
        for noise, weight in zip(*_quadrature(), strict=True):
            at = torch.full_like(given.loc, float(noise))
            at[:, :border] = 0.0
            gradient = self._climb(few, given.draw(at)[0])[1]
            slope[:, :border] += weight * gradient[:, :border]
        step = given.factor.solve(slope)
        gained = 0.5 * (slope * step).sum(-1)
        return replace(given, loc=given.loc + step, value=given.value + gained)

    def _given(self, few: Tensor, start: Tensor, decrement: float) -> Conditional:
        """Newton's method on all rows at once; a step that goes down is halved."""
        place, (value, gradient) = start, self._climb(few, start)
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


def _triangle(size: int) -> int:
    return size * (size + 1) // 2


def _entries(factor: Tensor) -> Tensor:
    """The lower entries of triangular matrices in a row, the diagonal by its logarithm."""
    if factor.shape[-1] == 1:
        return factor[..., 0].log()
    logs = factor.tril(-1) + torch.diag_embed(factor.diagonal(dim1=-2, dim2=-1).log())
    row, column = torch.tril_indices(*factor.shape[-2:])
    return logs[..., row, column]


def _lower(entries: Tensor, size: int) -> Tensor:
    """What `_entries` were taken of."""
    if size == 1:
        return entries[..., None].exp()
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


def _quadrature() -> tuple[Tensor, Tensor]:
    """The places and weights of Gauss and Hermite's rule for the standard normal."""
    places, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE)
    return torch.as_tensor(places), torch.as_tensor(weights / weights.sum())


def at_once(entries: int) -> int:
    """How many rows of so many numbers are worked out together: what memory gives back fast."""
    return max(1, min(CHUNK, CHUNK_ENTRIES // max(1, entries)))


def together(parts: list[Conditional]) -> Conditional:
    """The rows of all, of which all bend or none does."""
    factors = _joined([part.factor for part in parts], ArrowFactor)
    bends = [part.bends for part in parts if part.bends is not None]
    loc, value = (torch.cat([getattr(p, name) for p in parts]) for name in ("loc", "value"))
    return Conditional(loc, factors, value, _joined(bends, Bends) if bends else None)


def _joined(parts: list[Any], kind: type[Any]) -> Any:
    names = vars(parts[0])
    return kind(**{name: torch.cat([vars(part)[name] for part in parts]) for name in names})
