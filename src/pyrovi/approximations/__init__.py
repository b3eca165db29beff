"""What a fit leaves behind: something that can be drawn from, and written to a file."""

from pyrovi.approximations.base import Approximation, Draws, restored
from pyrovi.approximations.coordinates import Sweeper, unconstrained
from pyrovi.approximations.empirical import Empirical
from pyrovi.approximations.factors import Factors
from pyrovi.approximations.gaussian import Gaussian, GaussianMixture
from pyrovi.approximations.guide import GuideDraws
from pyrovi.approximations.points import Points
from pyrovi.approximations.resampled import Resampled

__all__ = [
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
    "restored",
    "unconstrained",
]
