"""A model as one unconstrained log density, vectorised over draws, with gradients."""

from pyrovi.density.budget import OutOfTime
from pyrovi.density.log_density import LogDensity
from pyrovi.density.threads import fitting_threads, measured_threads

__all__ = ["LogDensity", "OutOfTime", "fitting_threads", "measured_threads"]
