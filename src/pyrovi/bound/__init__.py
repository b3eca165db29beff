"""A model tied to its data: its arguments, its sites, and runs of it."""

from pyrovi.bound.arguments import Arguments, bind
from pyrovi.bound.binding import bind_model
from pyrovi.bound.data import as_tree, observed_values, same_values
from pyrovi.bound.handlers import NotePrior, Place, Unplace
from pyrovi.bound.model import BoundModel, default_dtype
from pyrovi.bound.pyro_patches import own_module
from pyrovi.bound.rows import at_once_or_each, in_plate_of_draws
from pyrovi.bound.runs import carries_draws, discrete_draws, predictions, prior_draws
from pyrovi.bound.sites import Site, Trace, sample_nodes, vectorised_frames
from pyrovi.bound.values import to_numpy

__all__ = [
    "Arguments",
    "BoundModel",
    "NotePrior",
    "Place",
    "Site",
    "Trace",
    "Unplace",
    "as_tree",
    "at_once_or_each",
    "bind",
    "bind_model",
    "carries_draws",
    "default_dtype",
    "discrete_draws",
    "in_plate_of_draws",
    "observed_values",
    "own_module",
    "predictions",
    "prior_draws",
    "same_values",
    "sample_nodes",
    "to_numpy",
    "vectorised_frames",
]
