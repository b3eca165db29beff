"""Bayesian mixture of Gaussians: clusters without names."""

from pyrovi.models.entry import ZooModel, variants_of
from pyrovi.models.gaussian_mixture.conjugate_updates import CONJUGATE_UPDATES
from pyrovi.models.gaussian_mixture.data import iris, read, simulate, standardise, wine
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

GAUSSIAN_MIXTURE = ZooModel(
    name="gaussian_mixture",
    title="Bayesian mixture of Gaussians: clusters without names",
    model=full,
    simulate=simulate,
    loaders={"iris": iris, "wine": wine},
    variants=variants_of(FORMS, simulate),
    reader=read,
)
