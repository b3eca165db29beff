"""What a model may declare about itself that its trace does not show.

Engines and summaries read the record; the model fills it in. Nothing in it is needed to fit a
model, and a wrong statement in it gives wrong summaries: it is a promise, held by a test.

>>> @declare(exchangeable=(Exchangeable("component", labels=("assignment",)),))
... def model(y): ...
>>> structure_of(model).exchangeable[0].plate
'component'
>>> structure_of(print)
Structure(exchangeable=(), dims={}, name='')
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = ["Exchangeable", "Structure", "declare", "structure_of"]

ATTRIBUTE = "__pyrovi_structure__"

Model = TypeVar("Model", bound=Callable[..., Any])


@dataclass(frozen=True)
class Exchangeable:
    """The indices of one plate may be permuted without changing the joint density.

    Attributes:
        plate: The plate; every site with this dim is permuted along it. A site that carries the
            plate on an event axis (mixture weights) names that axis in `Structure.dims`.
        labels: Discrete sites whose values are indices of the plate.
    """

    plate: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Structure:
    """Everything a model declares about itself.

    Attributes:
        exchangeable: Plates whose indices have no meaning of their own.
        dims: Names of the event axes of a site, rightmost last, as ArviZ's ``dims``. Plates name
            the batch axes already.
        name: What to call the model where its function's name says too little.
    """

    exchangeable: tuple[Exchangeable, ...] = ()
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    name: str = ""


def declare(**statements: Any) -> Callable[[Model], Model]:
    """Attach `Structure(**statements)` to a model; the model itself is unchanged."""
    structure = Structure(**statements)

    def attach(model: Model) -> Model:
        setattr(model, ATTRIBUTE, structure)
        return model

    return attach


def structure_of(model: Callable[..., Any]) -> Structure:
    """What ``model`` declares, read through `functools.partial`; an empty record if nothing."""
    while isinstance(model, functools.partial):
        model = model.func
    structure = getattr(model, ATTRIBUTE, None)
    return structure if isinstance(structure, Structure) else Structure()
