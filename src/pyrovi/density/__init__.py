"""A model as one unconstrained log density, vectorised over draws, with gradients."""

from pyrovi.density.culprit import in_one_sentence as in_one_sentence
from pyrovi.density.log_density import LogDensity as LogDensity
from pyrovi.density.threads import (
    faster_threads as faster_threads,
    fitting_threads as fitting_threads,
)
