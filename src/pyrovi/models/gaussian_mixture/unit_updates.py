"""Coordinate updates under unit variances: a normal factor for each location.

Equations are those of Blei, Kucukelbir and McAuliffe (2017), https://arxiv.org/abs/1601.00670,
section 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.models.gaussian_mixture.assignments import Assignments
from pyrovi.models.gaussian_mixture.priors import LOG_2PI, Mixture, prepare, start
from pyrovi.structure import Coordinate, CoordinateUpdates


@dataclass(frozen=True)
class LocationMoments:
    """Expected locations about the mean of the data, and squares of their lengths."""

    mean: Float[Tensor, "component dimension"]
    square: Float[Tensor, "component"]


@dataclass(frozen=True)
class Locations:
    """Independent normal locations, their means about the mean of the data, ``centre``."""

    offset: Float[Tensor, "component dimension"]
    scale: Float[Tensor, "component"]  # the same in every dimension
    centre: Float[Tensor, "dimension"]

    @property
    def loc(self) -> Float[Tensor, "component dimension"]:
        """The mean of each, in the coordinates of the data."""
        return self.offset + self.centre

    def expected(self) -> LocationMoments:
        spread = self.offset.shape[1] * self.scale.square()
        return LocationMoments(self.offset, self.offset.square().sum(1) + spread)

    def entropy(self) -> float:
        """Half of 1 + log(2 pi s^2), once for each dimension of each."""
        dimensions = self.offset.shape[1]
        return float((dimensions * (0.5 * (1 + LOG_2PI) + self.scale.log())).sum())

    def sample(self, generator: torch.Generator) -> tuple[dict[str, Tensor], LocationMoments]:
        loc = self.draw(1, generator)["loc"][0]
        offset = loc - self.centre
        return {"loc": loc}, LocationMoments(offset, offset.square().sum(1))

    def draw(self, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
        noise = torch.randn(draws, *self.offset.shape, generator=generator, dtype=torch.float64)
        return {"loc": self.loc + self.scale[:, None] * noise}

    def log_prob(self, values: Mapping[str, Tensor]) -> Float[Tensor, "draw"]:
        z = (values["loc"] - self.loc) / self.scale[:, None]
        terms = -0.5 * (z.square() + LOG_2PI) - self.scale.log()[:, None]
        return terms.flatten(1).sum(1)

    def tensors(self) -> dict[str, Tensor]:
        return {"offset": self.offset, "scale": self.scale, "centre": self.centre}

    def log_predictive(
        self, x: Float[Tensor, "observation dimension"], *, plug_in: bool
    ) -> Float[Tensor, "observation component"]:
        """Of each component: normal about its mean, or with the location integrated out."""
        variance = torch.ones_like(self.scale) if plug_in else 1 + self.scale.square()
        square = (x[:, None] - self.loc).square().sum(-1)
        log_scale = x.shape[1] * (LOG_2PI + variance.log())
        return -0.5 * (square / variance + log_scale)


def assign(problem: Mixture, statistics: Mapping[str, Any]) -> Assignments:
    """Equation 2.35: the logit is E[mu] x - E[mu^2] / 2."""
    loc: LocationMoments = statistics["loc"]
    return Assignments(problem.data, -0.5 * loc.square, loc.mean)


def locate(problem: Mixture, statistics: Mapping[str, Any]) -> Locations:
    """Equation 2.38, about the mean of the data, where the prior's mean is minus that."""
    of, prior = statistics["assignment"], problem.unit_prior
    count = of.count + prior.count
    return Locations((of.first + prior.first) / count[:, None], count.rsqrt(), problem.data.centre)


def log_joint(problem: Mixture, statistics: Mapping[str, Any]) -> float:
    """The three expected logs of equation 2.31, with their constants."""
    of, loc, prior = statistics["assignment"], statistics["loc"], problem.unit_prior
    linear = ((of.first + prior.first) * loc.mean).sum()
    square = ((of.count + prior.count) * loc.square).sum()
    return float(linear - 0.5 * square) + prior.constant


UNIT_UPDATES = CoordinateUpdates(
    prepare=prepare,
    start=start,
    coordinates={
        "assignment": Coordinate(assign),
        "loc": Coordinate(locate, sites=("loc",), factor=Locations),
    },
    log_joint=log_joint,
)
