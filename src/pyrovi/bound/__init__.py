"""A model tied to its data: its arguments, its sites, and runs of it."""

from pyrovi.bound.arguments import Arguments, bind, to_numpy
from pyrovi.bound.runs import carries_draws, discrete_draws, predictions, prior_draws
from pyrovi.bound.sites import (
    BoundModel,
    Place,
    Site,
    Trace,
    Unplace,
    bound,
    initial_value,
    own_module,
)

__all__ = [
    "Arguments",
    "BoundModel",
    "Place",
    "Site",
    "Trace",
    "Unplace",
    "bind",
    "bound",
    "carries_draws",
    "discrete_draws",
    "initial_value",
    "own_module",
    "predictions",
    "prior_draws",
    "to_numpy",
]
