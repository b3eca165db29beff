"""Two small models that declare their complete conditionals, written with torch's distributions.

``line`` is a regression of intercept and slope, two coordinates whose posterior is one Gaussian:
its mean-field optimum is known in closed form, and is that of any mean-field Gaussian engine.
``unknown`` is a normal sample of unknown mean and precision (Bishop 2006, section 10.1.3), whose
posterior is normal-gamma and whose optimum is not Gaussian.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovi.structure import Coordinate, CoordinateUpdates, declare

LOG_2PI = math.log(2 * math.pi)
WIDE = 3.0  # prior sd of intercept and slope
MEAN_PRECISION, SHAPE, RATE = 0.5, 2.0, 1.5  # the normal-gamma prior of ``unknown``


@dataclass(frozen=True)
class Univariate:
    """A factor that one of torch's distributions gives, with the statistics x, x^2 and log x."""

    site: str
    of: Any

    def expected(self) -> tuple[float, ...]:
        if isinstance(self.of, dist.Gamma):
            log = self.of.concentration.digamma() - self.of.rate.log()
            return float(self.of.mean), float(log)
        return float(self.of.mean), float(self.of.mean**2 + self.of.variance)

    def entropy(self) -> float:
        return float(self.of.entropy())

    def sample(self, generator: torch.Generator) -> tuple[dict[str, Tensor], tuple[float, ...]]:
        value = self.draw(1, generator)[self.site][0]
        second = value.log() if isinstance(self.of, dist.Gamma) else value**2
        return {self.site: value}, (float(value), float(second))

    def draw(self, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
        if isinstance(self.of, dist.Gamma):
            drawn = torch._standard_gamma(self.of.concentration.expand(draws), generator)
            return {self.site: drawn / self.of.rate}
        noise = torch.randn(draws, generator=generator, dtype=torch.float64)
        return {self.site: self.of.loc + self.of.scale * noise}

    def log_prob(self, values: Mapping[str, Tensor]) -> Tensor:
        return self.of.log_prob(values[self.site])

    def tensors(self) -> dict[str, Tensor]:
        if isinstance(self.of, dist.Gamma):
            return {"concentration": self.of.concentration, "rate": self.of.rate}
        return {"loc": self.of.loc, "scale": self.of.scale}


def normal(site: str, loc: Any, scale: Any) -> Univariate:
    both = (torch.as_tensor(each, dtype=torch.float64) for each in (loc, scale))
    return Univariate(site, dist.Normal(*both))


def gamma(site: str, concentration: Any, rate: Any) -> Univariate:
    both = (torch.as_tensor(each, dtype=torch.float64) for each in (concentration, rate))
    return Univariate(site, dist.Gamma(*both))


def coordinate(make: Any, site: str, update: Any) -> Coordinate:
    return Coordinate(update, (site,), lambda **tensors: make(site, **tensors))


# Intercept and slope, the noise known


def _intercept(data: tuple[Tensor, Tensor], given: Mapping[str, Any]) -> Univariate:
    x, y = data
    precision = WIDE**-2 + len(y)
    loc = float((y - given["slope"][0] * x).sum()) / precision
    return normal("intercept", loc, precision**-0.5)


def _slope(data: tuple[Tensor, Tensor], given: Mapping[str, Any]) -> Univariate:
    x, y = data
    precision = WIDE**-2 + float(x.square().sum())
    loc = float((x * (y - given["intercept"][0])).sum()) / precision
    return normal("slope", loc, precision**-0.5)


def _line_log_joint(data: tuple[Tensor, Tensor], given: Mapping[str, Any]) -> float:
    x, y = data
    (a, aa), (b, bb) = given["intercept"], given["slope"]
    square = (y - a - b * x).square().sum() + (aa - a**2) * len(y) + (bb - b**2) * x.square().sum()
    prior = -0.5 * ((aa + bb) / WIDE**2 + 2 * LOG_2PI) - 2 * math.log(WIDE)
    return float(prior - 0.5 * (square + len(y) * LOG_2PI))


LINE = CoordinateUpdates(
    prepare=lambda x, y: (x.double(), y.double()),
    start=lambda _data, seed: {"slope": (float(seed % 7), float(seed % 7) ** 2)},
    coordinates={
        "intercept": coordinate(normal, "intercept", _intercept),
        "slope": coordinate(normal, "slope", _slope),
    },
    log_joint=_line_log_joint,
)


@declare(coordinate_updates=LINE)
def line(x: Tensor, y: Tensor) -> None:
    """A straight line with unit noise."""
    intercept = pyro.sample("intercept", dist.Normal(0.0, WIDE))
    slope = pyro.sample("slope", dist.Normal(0.0, WIDE))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(intercept + slope * x, 1.0), obs=y)


def line_data() -> dict[str, Tensor]:
    """Twelve points whose mean is far from zero, so that intercept and slope are correlated."""
    generator = torch.Generator().manual_seed(4)
    x = torch.linspace(0.5, 2.0, 12, dtype=torch.float64)
    noise = torch.randn(12, generator=generator, dtype=torch.float64)
    return {"x": x, "y": 1.0 - 0.5 * x + noise}


def line_posterior() -> tuple[np.ndarray, np.ndarray]:
    """The exact mean and standard deviations of intercept and slope."""
    data = line_data()
    x = torch.stack([torch.ones_like(data["x"]), data["x"]], dim=1)
    covariance = torch.linalg.inv(x.T @ x + torch.eye(2, dtype=torch.float64) / WIDE**2)
    mean = covariance @ x.T @ data["y"]
    return mean.numpy(), covariance.diagonal().sqrt().numpy()


# A normal sample of unknown mean and precision


def _mean(y: Tensor, given: Mapping[str, Any]) -> Univariate:
    weight = MEAN_PRECISION + len(y)
    return normal("mean", float(y.sum()) / weight, (weight * given["precision"][0]) ** -0.5)


def _precision(y: Tensor, given: Mapping[str, Any]) -> Univariate:
    mean, square = given["mean"]
    about = float(y.square().sum()) - 2 * mean * float(y.sum()) + len(y) * square
    rate = RATE + 0.5 * (about + MEAN_PRECISION * square)
    return gamma("precision", SHAPE + (len(y) + 1) / 2, rate)


def _unknown_log_joint(y: Tensor, given: Mapping[str, Any]) -> float:
    (mean, square), (precision, log_precision) = given["mean"], given["precision"]
    about = float(y.square().sum()) - 2 * mean * float(y.sum()) + len(y) * square
    likelihood = 0.5 * (len(y) * (log_precision - LOG_2PI) - precision * about)
    of_mean = 0.5 * (math.log(MEAN_PRECISION) + log_precision - LOG_2PI)
    of_mean -= 0.5 * MEAN_PRECISION * precision * square
    of_precision = SHAPE * math.log(RATE) - math.lgamma(SHAPE)
    of_precision += (SHAPE - 1) * log_precision - RATE * precision
    return likelihood + of_mean + of_precision


UNKNOWN = CoordinateUpdates(
    prepare=lambda y: y.double(),
    start=lambda _data, seed: {"precision": (0.1 + seed % 5, math.log(0.1 + seed % 5))},
    coordinates={
        "mean": coordinate(normal, "mean", _mean),
        "precision": coordinate(gamma, "precision", _precision),
    },
    log_joint=_unknown_log_joint,
)


@declare(coordinate_updates=UNKNOWN)
def unknown(y: Tensor) -> None:
    """Normal, with a normal-gamma prior on mean and precision."""
    precision = pyro.sample("precision", dist.Gamma(SHAPE, RATE))
    mean = pyro.sample("mean", dist.Normal(0.0, (MEAN_PRECISION * precision) ** -0.5))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mean, precision**-0.5), obs=y)


def sample() -> dict[str, Tensor]:
    """Eight values about 2."""
    generator = torch.Generator().manual_seed(9)
    return {"y": 2.0 + 1.5 * torch.randn(8, generator=generator, dtype=torch.float64)}
