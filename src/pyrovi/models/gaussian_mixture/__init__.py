"""Bayesian mixture of Gaussians: clusters without names."""

from pyrovi.models.gaussian_mixture.conjugate_updates import CONJUGATE_UPDATES
from pyrovi.models.gaussian_mixture.data import simulate
from pyrovi.models.gaussian_mixture.entry import GAUSSIAN_MIXTURE
from pyrovi.models.gaussian_mixture.loaders import standardise
from pyrovi.models.gaussian_mixture.model import FORMS, conjugate, diagonal, full, unit
from pyrovi.models.gaussian_mixture.predictive import log_predictive, responsibilities, start_from
from pyrovi.models.gaussian_mixture.unit_updates import UNIT_UPDATES

__all__ = [
    "CONJUGATE_UPDATES",
    "FORMS",
    "GAUSSIAN_MIXTURE",
    "UNIT_UPDATES",
    "conjugate",
    "diagonal",
    "full",
    "log_predictive",
    "responsibilities",
    "simulate",
    "standardise",
    "start_from",
    "unit",
]
