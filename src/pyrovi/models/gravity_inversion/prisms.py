r"""The gravity of rectangular prisms, in closed form, and meshes of them.

Lengths are metres, densities kg/m3, gravity mGal (1 mGal = 1e-5 m/s2), everything float64. Axes
are easting, northing and, for what lies below, depth: positive down from the datum at height 0.
**Gravity is the downward component, positive down**: more mass below a station is more gravity.

The downward attraction of a prism of unit density is a sum over its eight corners, with the sign
of each corner's parity (Nagy 1966, Plouff 1976),

.. math:: g = G \sum \pm \Big[ z \arctan\frac{x y}{z r} - x \ln(y + r) - y \ln(x + r) \Big],

where :math:`(x, y, z)` leads from the station to the corner and :math:`r` is its length. The sum
over corners cancels anything that depends on two coordinates alone, so :math:`\ln(y + r)` may be
:math:`\operatorname{arsinh}(y / \sqrt{x^2 + z^2})`, which loses no digits for negative y and has
the limit zero, after its factor x, on an edge. Corners, edges and faces are so no special cases.

A **section** has cells without end along the strike, northing. Their formula is the exact limit,
not that of a long prism,

.. math:: g = 2 G \sum \pm \Big[ \tfrac12 x \ln(x^2 + z^2) + z \arctan\frac{x}{z} \Big].

On a tensor mesh neighbours share corners: the bracket is computed once on each node and
differenced along each axis, which is the same sum with an eighth of the logarithms.

References: Nagy (1966), "The gravitational attraction of a right rectangular prism", Geophysics
31(2), https://doi.org/10.1190/1.1439779; Plouff (1976), "Gravity and magnetic fields of polygonal
prisms", Geophysics 41(4), https://doi.org/10.1190/1.1440645.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from pyrovi.errors import DataError

GRAVITATIONAL_CONSTANT = 6.6743e-11  # CODATA 2018, in m3 / (kg s2)
MGAL = 1e5  # in one m/s2
BLOCK_BYTES = 32_000_000  # of one temporary array; stations are taken in blocks that keep to it

Array = np.ndarray


@dataclass(frozen=True)
class Mesh:
    """A tensor mesh of prisms, or a section of cells without end along the strike.

    Attributes:
        easting: Edges of the cells in metres, ascending, ``(n_easting + 1,)``.
        depth: Edges below height zero in metres, ascending, ``(n_depth + 1,)``.
        northing: Edges in metres, ascending; None for a section, whose strike is northing.
    """

    easting: Float[Array, " easting_edge"]
    depth: Float[Array, " depth_edge"]
    northing: Float[Array, " northing_edge"] | None = None

    def __post_init__(self) -> None:
        """Check that the edges make cells."""
        for name, edges in self.edges.items():
            if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all():
                raise DataError(
                    f"The {name} edges of a mesh are at least 2 finite numbers in metres, "
                    f"and {edges!r} came."
                )
            if not (np.diff(edges) > 0).all():
                raise DataError(f"The {name} edges of a mesh must ascend, and {edges!r} came.")

    @property
    def edges(self) -> dict[str, Array]:
        """Along each axis; a section counts as one cell along its strike, a metre about 0."""
        strike = np.array([-0.5, 0.5]) if self.northing is None else self.northing
        return {"depth": self.depth, "northing": strike, "easting": self.easting}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells along depth, northing and easting."""
        depth, north, east = (len(edges) - 1 for edges in self.edges.values())
        return depth, north, east

    @property
    def centres(self) -> dict[str, Array]:
        """Middles of the cells along each axis, in metres."""
        return {name: (edges[1:] + edges[:-1]) / 2 for name, edges in self.edges.items()}

    @property
    def prisms(self) -> Float[Array, "cell 6"]:
        """West, east, south, north, top and bottom of each cell, the last two as depths.

        Raises:
            DataError: If the mesh is a section, whose cells have no end.
        """
        if self.northing is None:
            raise DataError("A section's cells have no north and south. Give the mesh a northing.")
        low, high = (
            np.meshgrid(*(edges[part] for edges in self.edges.values()), indexing="ij")
            for part in (slice(None, -1), slice(1, None))
        )
        sides = (low[2], high[2], low[1], high[1], low[0], high[0])
        return np.stack([side.ravel() for side in sides], axis=-1)


def sensitivity(
    easting: Float[Array, " station"],
    northing: Float[Array, " station"],
    height: Float[Array, " station"],
    mesh: Mesh,
) -> Float[Array, "station depth northing easting"]:
    """Gravity at each station for a density of 1 kg/m3 in each cell, in mGal.

    Stations are in metres, height positive up; over a section northing is without effect.
    """
    kernel = np.empty((len(easting), *mesh.shape))
    for block in _blocks(len(easting), (mesh.shape[0] + 1) * (mesh.shape[2] + 1), mesh.shape[1]):
        z = mesh.depth + height[block, None]
        x = mesh.easting - easting[block, None]
        if mesh.northing is None:
            nodes = _rectangle_node(x[:, None, :], z[:, :, None])
            kernel[block, :, 0, :] = np.diff(np.diff(nodes, axis=1), axis=2)
        else:
            y = mesh.northing - northing[block, None]
            nodes = _prism_node(x[:, None, None, :], y[:, None, :, None], z[:, :, None, None])
            kernel[block] = np.diff(np.diff(np.diff(nodes, axis=1), axis=2), axis=3)
    kernel *= GRAVITATIONAL_CONSTANT * MGAL
    return kernel


def prism_gravity(
    easting: Float[Array, " station"],
    northing: Float[Array, " station"],
    height: Float[Array, " station"],
    prisms: Float[Array, "prism 6"],
) -> Float[Array, "station prism"]:
    """Gravity at each station for a density of 1 kg/m3 in each of any prisms, in mGal.

    Stations are in metres, height positive up; of each prism west, east, south, north, top and
    bottom, the last two as depths.

    >>> block = np.array([[-50.0, 50.0, -50.0, 50.0, 100.0, 200.0]])
    >>> origin = np.zeros(1)
    >>> prism_gravity(origin, origin, origin, block).round(8)
    array([[0.00029272]])
    """
    kernel = np.empty((len(easting), len(prisms)))
    for block in _blocks(len(easting), 8, len(prisms)):
        x, y, z = (
            (side - at[block, None, None]).reshape(-1, len(prisms), *shape)
            for side, at, shape in (
                (prisms[:, 0:2], easting, (2, 1, 1)),
                (prisms[:, 2:4], northing, (1, 2, 1)),
                (prisms[:, 4:6], -height, (1, 1, 2)),
            )
        )
        nodes = _prism_node(x, y, z)
        kernel[block] = np.diff(np.diff(np.diff(nodes, axis=4), axis=3), axis=2)[..., 0, 0, 0]
    kernel *= GRAVITATIONAL_CONSTANT * MGAL
    return kernel


def _blocks(stations: int, nodes: int, times: int) -> Iterator[slice]:
    size = max(1, BLOCK_BYTES // (8 * nodes * (times + 1)))
    for start in range(0, stations, size):
        yield slice(start, start + size)


def _prism_node(x: Array, y: Array, z: Array) -> Array:
    """The bracket at nodes whose offsets broadcast against one another, in metres."""
    x2, y2, z2 = x * x, y * y, z * z
    r = np.sqrt(x2 + y2 + z2)
    with np.errstate(divide="ignore", invalid="ignore"):
        node = z * np.arctan(x * y / (z * r))
        np.nan_to_num(node, copy=False, nan=0.0)  # 0 / 0 where z is 0, and with it the term
        node -= _zero_times(x, np.arcsinh(y / np.sqrt(x2 + z2)))
        node -= _zero_times(y, np.arcsinh(x / np.sqrt(y2 + z2)))
    return node


def _rectangle_node(x: Array, z: Array) -> Array:
    """The section's bracket, doubled for the strike's two directions, in metres."""
    with np.errstate(divide="ignore", invalid="ignore"):
        node = _zero_times(x, np.log(x * x + z * z))
        node += _zero_times(2 * z, np.arctan(x / z))
    return node


def _zero_times(factor: Array, value: Array) -> Array:
    """Their product, which is its limit 0 where the factor is 0 and the value has none."""
    return np.where(factor == 0, 0.0, factor * value)
