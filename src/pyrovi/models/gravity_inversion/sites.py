"""What the forms of the model share: the field of the cells, and gravity with its noise."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pyro
import pyro.distributions as dist
from torch import Tensor

from pyrovi.models.gravity_inversion.checks import survey_discrepancies
from pyrovi.structure import declare

CELL = ("depth", "northing", "easting")
MODE = ("depth_mode", "northing_mode", "easting_mode")
DIMS = {"field": MODE, "density": CELL, "cell_density": ("cell",), "trend": ("term",)}
CELL_DIMS = {"field": CELL, "local_scale": CELL, "density": CELL, "trend": ("term",)}
LEARNED_DIMS = {**DIMS, "prior_field": MODE, "prior_trend": ("term",), "gravity": ("station",)}
UNITS = dict.fromkeys(("density", "cell_density", "amplitude"), "kg/m3") | {"gravity": "mGal"}


class Ground(NamedTuple):
    """What a density is made of: those of the model's arguments, which `form` documents."""

    sensitivity: Tensor
    weight: Tensor
    reach: Tensor
    strength: Tensor

    @property
    def zero(self) -> Tensor:
        """Nothing in each cell."""
        return self.sensitivity.new_zeros(self.sensitivity.shape[1:])


def declared(
    name: str, dims: Mapping[str, tuple[str, ...]]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A form of the model, with what its trace does not show."""
    return declare(name=name, dims=dims, discrepancies=survey_discrepancies, units=UNITS)


def form(
    name: str, dims: Mapping[str, tuple[str, ...]]
) -> Callable[[Callable[[Ground], Tensor]], Callable[..., None]]:
    """The model of a survey over a density, which is drawn by what this decorates.

    Args of the model:
        gravity: Measured anomaly ``(station,)`` in mGal, positive down; may come masked.
        sensitivity: ``(station, depth, northing, easting)``, in mGal for 1 kg/m3.
        sigma: Standard deviation of the noise ``(station,)`` in mGal.
        weight: Depth weights ``(depth,)``.
        reach: Correlation length along depth, northing and easting, in cells ``(axis,)``.
        strength: Root mean square of the prior sd over the cells, in kg/m3.
        basis: Regional trends ``(station, term)``, in mGal at one prior sd; none if not given.
    """

    def over(density_of: Callable[[Ground], Tensor]) -> Callable[..., None]:
        def model(
            gravity: Tensor,
            sensitivity: Tensor,
            sigma: Tensor,
            weight: Tensor,
            reach: Tensor,
            strength: Tensor | float,
            basis: Tensor | None = None,
        ) -> None:
            ground = Ground(sensitivity, weight, reach, scalar(strength, sensitivity))
            density = pyro.deterministic("density", density_of(ground), event_dim=3)
            observe(gravity, density, sensitivity, sigma, basis)

        model.__name__, model.__doc__ = density_of.__name__, density_of.__doc__
        model.__qualname__, model.__module__ = density_of.__qualname__, density_of.__module__
        return declared(name, dims)(model)

    return over


def scalar(value: Tensor | float, like: Tensor) -> Tensor:
    """A number of the data as a tensor, also where a person gives a number to plain Pyro."""
    return value if isinstance(value, Tensor) else like.new_tensor(value)


def standard_field(zero: Tensor, name: str = "field") -> Tensor:
    """A standard normal for each cell, or for each cosine mode of the mesh."""
    return pyro.sample(name, dist.Normal(zero, 1.0).to_event(3))


def observe(
    gravity: Tensor, density: Tensor, sensitivity: Tensor, sigma: Tensor, basis: Tensor | None
) -> None:
    """Gravity with its noise, over a density and, where asked for, regional trends."""
    loc = density.flatten(-3) @ sensitivity.flatten(1).T
    if basis is not None:
        zero = basis.new_zeros(basis.shape[-1])
        loc = loc + pyro.sample("trend", dist.Normal(zero, 1.0).to_event(1)) @ basis.T
    # Draws that come in a plate of their own have an axis of length one where stations go.
    loc = loc if loc.ndim == 1 else loc.squeeze(-2)
    with pyro.plate("station", sensitivity.shape[0], dim=-1):
        pyro.sample("gravity", dist.Normal(loc, sigma), obs=gravity)
