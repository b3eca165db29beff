"""Bayesian mixture of Gaussians: clusters without names."""

from pyrovi.models.entry import ZooModel, variants_of
from pyrovi.models.gaussian_mixture.conjugate_updates import CONJUGATE_UPDATES as CONJUGATE_UPDATES
from pyrovi.models.gaussian_mixture.data import (
    iris,
    read,
    read_new,
    simulate as simulate,
    wine,
)
from pyrovi.models.gaussian_mixture.model import (
    FORMS as FORMS,
    conjugate as conjugate,
    diagonal as diagonal,
    full as full,
    unit as unit,
)
from pyrovi.models.gaussian_mixture.predictive import (
    log_predictive as log_predictive,
    responsibilities as responsibilities,
    start_from as start_from,
)
from pyrovi.models.gaussian_mixture.unit_updates import UNIT_UPDATES as UNIT_UPDATES

GAUSSIAN_MIXTURE = ZooModel(
    name="gaussian_mixture",
    title="Bayesian mixture of Gaussians: clusters without names",
    model=full,
    simulate=simulate,
    loaders={"iris": iris, "wine": wine},
    variants=variants_of(FORMS, simulate),
    reader=read,
    reader_of_new=read_new,
)
