"""A squared quantity seen with noise: two answers, and what each approximation makes of them."""

from pyrovi.models.entry import Variant, ZooModel
from pyrovi.models.quadratic_observation.data import peak_at_zero, simulate, two_modes
from pyrovi.models.quadratic_observation.exact import Exact, elbo, linearised, log_joint
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

QUADRATIC_OBSERVATION = ZooModel(
    name="quadratic_observation",
    title="A squared quantity, observed with noise: two modes",
    model=signed,
    simulate=simulate,
    loaders={"two_modes": two_modes, "peak_at_zero": peak_at_zero},
    variants={"signed": Variant(model=signed), "positive": Variant(model=positive)},
)
