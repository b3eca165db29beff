"""A squared quantity seen with noise: two answers, and what each approximation makes of them."""

from pyrovi.models.quadratic_observation.data import simulate
from pyrovi.models.quadratic_observation.entry import QUADRATIC_OBSERVATION
from pyrovi.models.quadratic_observation.exact import Exact
from pyrovi.models.quadratic_observation.gaussians import elbo, linearised, log_joint
from pyrovi.models.quadratic_observation.model import positive, signed

__all__ = [
    "QUADRATIC_OBSERVATION",
    "Exact",
    "elbo",
    "linearised",
    "log_joint",
    "positive",
    "signed",
    "simulate",
]
