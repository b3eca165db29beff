"""What a fit leaves behind: something that can be drawn from, and written to a file."""

from pyrovi.approximations.base import (
    APPROXIMATIONS,
    Approximation,
    Draws,
    Empirical,
    Factors,
    Gaussian,
    GaussianMixture,
    GuideDraws,
    Points,
    Resampled,
)
from pyrovi.approximations.coordinates import Sweeper, check_time, unconstrained

__all__ = [
    "APPROXIMATIONS",
    "Approximation",
    "Draws",
    "Empirical",
    "Factors",
    "Gaussian",
    "GaussianMixture",
    "GuideDraws",
    "Points",
    "Resampled",
    "Sweeper",
    "check_time",
    "unconstrained",
]
