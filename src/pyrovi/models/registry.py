"""The zoo's entries by name, each imported when it is asked for.

Other packages add theirs by an entry point of the group ``pyrovi.models`` whose name is the
model's and whose object is a `ZooModel`.
"""

from pyrovi.errors import UnknownModelError
from pyrovi.models.entry import ZooModel
from pyrovi.registry import Registry

ZOO: Registry[ZooModel] = Registry(
    "model",
    {
        "bayesian_neural_network": "pyrovi.models.bayesian_neural_network:BAYESIAN_NEURAL_NETWORK",
        "eight_schools": "pyrovi.models.eight_schools:EIGHT_SCHOOLS",
        "gaussian_mixture": "pyrovi.models.gaussian_mixture:GAUSSIAN_MIXTURE",
        "gravity_inversion": "pyrovi.models.gravity_inversion:GRAVITY_INVERSION",
        "multitask_regression": "pyrovi.models.multitask_regression:MULTITASK_REGRESSION",
        "quadratic_observation": "pyrovi.models.quadratic_observation:QUADRATIC_OBSERVATION",
    },
    group="pyrovi.models",
    accepts=lambda each: isinstance(each, ZooModel),
    asked="a pyrovi.models.ZooModel",
    unknown=UnknownModelError,
)
"""The entries by name; those of pyrovi's own are ``ZOO.members``."""


def get(name: str) -> ZooModel:
    """The entry called ``name``, or its variant for ``name:variant``; else `UnknownModelError`.

    >>> get("eight_schools:centered").name
    'eight_schools:centered'
    """
    entry, _, variant = name.partition(":")
    return ZOO[entry].variant(variant) if variant else ZOO[entry]


available = ZOO.available
