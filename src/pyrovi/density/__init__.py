"""A model as one unconstrained log density, vectorised over draws, with gradients."""

from pyrovi.density.budget import OutOfTime
from pyrovi.density.log_density import LogDensity
from pyrovi.density.threads import faster_threads, fitting_threads

__all__ = ["LogDensity", "OutOfTime", "faster_threads", "fitting_threads"]
