"""A squared quantity seen with noise: two answers, and what each approximation makes of them."""

from pyrovi.models.entry import Variant, ZooModel
from pyrovi.models.quadratic_observation.exact import (
    Exact as Exact,
    elbo as elbo,
    linearised as linearised,
    log_joint as log_joint,
)
from pyrovi.models.quadratic_observation.model import (
    peak_at_zero,
    positive as positive,
    signed as signed,
    simulate as simulate,
    two_modes,
)

QUADRATIC_OBSERVATION = ZooModel(
    name="quadratic_observation",
    title="A squared quantity, observed with noise: two modes",
    model=signed,
    simulate=simulate,
    loaders={"two_modes": two_modes, "peak_at_zero": peak_at_zero},
    variants={"signed": Variant(model=signed), "positive": Variant(model=positive)},
)
