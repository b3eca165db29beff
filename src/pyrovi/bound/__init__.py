"""A model tied to its data: its arguments, its sites, and runs of it."""

from pyrovi.bound.arguments import Arguments, bind, to_numpy
from pyrovi.bound.binding import bind_model
from pyrovi.bound.handlers import NotePrior, Place, Unplace
from pyrovi.bound.model import BoundModel
from pyrovi.bound.pyro_patches import own_module
from pyrovi.bound.rows import at_once_or_each, in_plate_of_draws
from pyrovi.bound.runs import carries_draws, discrete_draws, predictions, prior_draws
from pyrovi.bound.sites import Site, Trace, sample_nodes, vectorised_frames

__all__ = [
    "Arguments",
    "BoundModel",
    "NotePrior",
    "Place",
    "Site",
    "Trace",
    "Unplace",
    "at_once_or_each",
    "bind",
    "bind_model",
    "carries_draws",
    "discrete_draws",
    "in_plate_of_draws",
    "own_module",
    "predictions",
    "prior_draws",
    "sample_nodes",
    "to_numpy",
    "vectorised_frames",
]
