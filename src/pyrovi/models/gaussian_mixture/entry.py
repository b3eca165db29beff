"""The mixture's record in the zoo."""

from pyrovi.models.entry import ZooModel, variants_of
from pyrovi.models.gaussian_mixture.data import simulate
from pyrovi.models.gaussian_mixture.loaders import iris, read, wine
from pyrovi.models.gaussian_mixture.model import FORMS, full

__all__ = ["GAUSSIAN_MIXTURE"]

GAUSSIAN_MIXTURE = ZooModel(
    name="gaussian_mixture",
    title="Bayesian mixture of Gaussians: clusters without names",
    model=full,
    simulate=simulate,
    loaders={"iris": iris, "wine": wine},
    variants=variants_of(FORMS, simulate),
    reader=read,
)
