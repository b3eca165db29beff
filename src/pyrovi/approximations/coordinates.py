"""What CAVI and Gibbs share: the record that a model declares, tied to its data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to

from pyrovi.clock import check_time
from pyrovi.density import LogDensity
from pyrovi.errors import ClosedFormError, EngineError, ModelError
from pyrovi.structure import CoordinateUpdates, Factor, layers_of, structure_of


def updates_of(density: LogDensity, engine: str) -> CoordinateUpdates:
    """The closed forms that the model declares; an error where they are not to be had."""
    model = density.model
    updates = model.structure.coordinate_updates
    if updates is None and declares_under_handlers(model.model):
        raise ClosedFormError(
            f"{engine} needs closed-form updates, and those that {model.name!r} declares are not "
            "of what is wrapped around it (other priors, a handler of Pyro's). Use SVI or DADVI, "
            "or fit the model as it is."
        )
    if updates is None:
        raise ClosedFormError(
            f"{engine} needs closed-form updates, and {model.name!r} declares none. Use SVI or "
            "DADVI, or give the model a CoordinateUpdates."
        )
    if model.missing:
        raise EngineError(
            f"The closed-form updates of {model.name!r} take complete data, and "
            f"{', '.join(model.missing)} has missing values. Use SVI or DADVI, or leave those "
            "rows out."
        )
    covered = {site for each in updates.coordinates.values() for site in each.sites}
    lacking = [piece.site for piece in density.pieces if piece.site not in covered]
    if lacking:
        raise ModelError(
            f"The CoordinateUpdates of {model.name!r} cover the sites "
            f"{', '.join(sorted(covered)) or 'none'}, and the model also has "
            f"{', '.join(lacking)}. Name them in the sites of a Coordinate."
        )
    return updates


def declares_under_handlers(model: Callable[..., Any]) -> bool:
    """Whether some layer of a model declares closed forms, which hold for that layer alone."""
    return any(structure_of(each).coordinate_updates is not None for each in layers_of(model))


def unconstrained(
    density: LogDensity, values: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Values ``(draw, *site)`` of all sites as flat vectors ``(draw, dim)``, without a model run.

    In a conditionally conjugate model no site moves the support of another.

    Returns:
        The flat vectors; by site the log absolute determinant ``(draw,)`` of the map from its
        flat piece to its value.
    """
    pieces, jacobians = [], {}
    for piece in density.pieces:
        transform = biject_to(density.model.prototype.nodes[piece.site]["fn"].support)
        value = values[piece.site].double()
        flat = transform.inv(value)
        jacobian = transform.log_abs_det_jacobian(flat, value)
        jacobians[piece.site] = jacobian.reshape(len(value), -1).sum(-1)
        pieces.append(flat.reshape(len(value), -1))
    return torch.cat(pieces, dim=-1), jacobians


@dataclass
class Sweeper:
    """The coordinates of one model on one data set, and where each of them stands.

    Attributes:
        problem: What the updates worked out from the data.
        statistics: The sufficient statistics of each coordinate, expected or sampled.
        factors: The factor of each coordinate that was updated.
    """

    density: LogDensity
    updates: CoordinateUpdates
    problem: Any
    statistics: dict[str, Any]
    factors: dict[str, Factor]

    @staticmethod
    def at_start(
        density: LogDensity, engine: str, seed: int, start: Mapping[str, Any] | None = None
    ) -> "Sweeper":
        """Work out what the data say once, and start.

        Raises:
            EngineError: If the model declares no updates, or none for such data; or ``start``
                names no coordinate.
            ModelError: If its updates leave a site out.
        """
        check_time()
        updates = updates_of(density, engine)
        problem = updates.prepare(*density.model.args, **density.model.kwargs)
        begun = updates.start(problem, seed) if start is None else start
        unknown = [name for name in begun if name not in updates.coordinates]
        if unknown or not begun:
            raise EngineError(
                f"A start gives the statistics of some of the coordinates "
                f"{', '.join(updates.coordinates)}, and it names {', '.join(unknown) or 'none'}."
            )
        return Sweeper(density, updates, problem, dict(begun), {})

    @property
    def waiting(self) -> list[str]:
        """The coordinates that have no statistics yet."""
        return [name for name in self.updates.coordinates if name not in self.statistics]

    def conditional(self, name: str) -> Factor:
        """The factor of one coordinate, given the statistics of the others."""
        return self.updates.coordinates[name].update(self.problem, self.statistics)

    def log_joint(self) -> float:
        """The log joint density, or its expectation, at the present statistics."""
        return float(self.updates.log_joint(self.problem, self.statistics))
