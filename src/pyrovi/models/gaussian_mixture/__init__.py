"""Bayesian mixture of Gaussians: clusters without names."""

from pyrovi.models.gaussian_mixture.forms import (
    GAUSSIAN_MIXTURE,
    conjugate,
    diagonal,
    full,
    log_predictive,
    responsibilities,
    simulate,
    standardise,
    start_from,
    unit,
)

__all__ = [
    "GAUSSIAN_MIXTURE",
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
