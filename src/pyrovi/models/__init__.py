"""The zoo: models with real data, a simulator and a truth to be judged by.

Other packages add theirs by an entry point of the group ``pyrovi.models`` whose name is the
model's and whose object is a `ZooModel`. They are imported only when asked for.

>>> get("eight_schools:centered").name
'eight_schools:centered'
"""

import warnings
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from pyrovi.errors import PyroviWarning, UnknownModelError
from pyrovi.models.bayesian_neural_network.forms import BAYESIAN_NEURAL_NETWORK
from pyrovi.models.eight_schools import EIGHT_SCHOOLS
from pyrovi.models.entry import ZooModel, nearest
from pyrovi.models.gaussian_mixture.forms import GAUSSIAN_MIXTURE
from pyrovi.models.gravity_inversion.forms import GRAVITY_INVERSION
from pyrovi.models.multitask_regression.forms import MULTITASK_REGRESSION
from pyrovi.models.quadratic_observation import QUADRATIC_OBSERVATION

__all__ = ["ZOO", "ZooModel", "available", "get"]

ENTRY_POINT_GROUP = "pyrovi.models"

ZOO: Mapping[str, ZooModel] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            BAYESIAN_NEURAL_NETWORK,
            EIGHT_SCHOOLS,
            GAUSSIAN_MIXTURE,
            GRAVITY_INVERSION,
            MULTITASK_REGRESSION,
            QUADRATIC_OBSERVATION,
        )
    }
)
"""The entries that pyrovi ships; `available` has those of other packages too."""


def get(name: str) -> ZooModel:
    """The entry called ``name``, or its variant for ``name:variant``.

    Raises:
        UnknownModelError: If there is no such entry or variant; the message names the nearest.
    """
    entry_name, _, variant = name.partition(":")
    entry = ZOO.get(entry_name) or _third_party(entry_name)
    if entry is None:
        known = sorted({*ZOO, *(point.name for point in _entry_points())})
        raise UnknownModelError(
            f"No model named {entry_name!r} in the zoo{nearest(entry_name, known)}. "
            f"It has: {', '.join(known)}."
        )
    return entry.variant(variant) if variant else entry


def available() -> dict[str, ZooModel]:
    """Every entry, those of other packages included; one that fails to import is left out."""
    others = {point.name: _load(point) for point in _entry_points() if point.name not in ZOO}
    return {**ZOO, **{name: entry for name, entry in others.items() if entry is not None}}


def _entry_points() -> list[EntryPoint]:
    return list(entry_points(group=ENTRY_POINT_GROUP))


def _third_party(name: str) -> ZooModel | None:
    found = [point for point in _entry_points() if point.name == name]
    return _load(found[0]) if found else None


def _load(point: EntryPoint) -> ZooModel | None:
    """The entry behind ``point``; None and a warning where it cannot be had."""
    try:
        entry = point.load()
    except Exception as error:  # noqa: BLE001 - another package's fault must not be ours
        reason = f"importing it failed with {type(error).__name__}: {error}"
    else:
        if isinstance(entry, ZooModel):
            return entry
        reason = f"it is a {type(entry).__name__}, not a pyrovi.models.ZooModel"
    warnings.warn(
        f"Model {point.name!r} ({point.value}) is left out of the zoo: {reason}.",
        PyroviWarning,
        stacklevel=4,
    )
    return None
