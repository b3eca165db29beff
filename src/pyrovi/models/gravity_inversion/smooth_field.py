r"""A smooth random field on a tensor mesh: its sparse precision, and the same in cosines.

The density contrast of the cells is a Gaussian Markov random field with precision

.. math:: Q = \frac{v}{s^2} W A^2 W, \qquad
   A = I + \sum_a (\ell_a / h_a)^2 L_a, \qquad v = \operatorname{mean diag} A^{-2},

so that :math:`s^2` is the mean variance of the weighted field. :math:`L_a` is the graph Laplacian
of the first differences along axis a, :math:`\ell_a` the correlation length and :math:`h_a` the
width of a cell in metres; W is the diagonal of the depth weights. The identity in A is the ridge
without which a constant would cost nothing. A^2 is the stencil of the stochastic partial
differential equation behind Matérn fields (Lindgren, Rue and Lindström 2011): of smoothness 1 in a
section, 1/2 in three dimensions; correlations have fallen to about 0.1 at 2.8 and 2 lengths.

With cells of one width along an axis, free (Neumann) ends make :math:`L_a` diagonal in the cosine
transform, so :math:`Q^{-1/2}` is a cosine transform along each axis and two scalings. A draw, a
solve or the prior variances of n cells cost one small matrix product along each axis, exactly, and
nothing of the size n x n is formed, be the length fixed or learned.

References: Lindgren, Rue and Lindström (2011), JRSS B 73(4),
https://doi.org/10.1111/j.1467-9868.2011.00777.x; Li and Oldenburg (1998), "3-D inversion of
gravity data", Geophysics 63(1), https://doi.org/10.1190/1.1444302, for the depth weighting.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.models.gravity_inversion.prisms import Mesh


def depth_weight(mesh: Mesh, height: float, exponent: float) -> Float[np.ndarray, " depth"]:
    """Weights that fall with depth as the cells' gravity does: density need not be shallow.

    A cell's prior sd is proportional to the inverse weight: the distance to the stations to the
    power exponent / 2 (Li and Oldenburg 1998), scaled to a mean square of one.

    Args:
        mesh: The cells.
        height: Of the stations on average, in metres.
        exponent: 2 for blocks, whose gravity falls with the square of distance; 1 for a section.

    >>> mesh = Mesh(np.array([0.0, 1.0]), np.array([0.0, 20.0, 40.0]))
    >>> depth_weight(mesh, 0.0, 2.0).round(3)
    array([2.236, 0.745])
    """
    inverse = (mesh.centres["depth"] + height) ** (exponent / 2)
    return np.sqrt(np.mean(inverse**2)) / inverse


def cosines(like: Tensor) -> list[Tensor]:
    """Of the last three axes the matrices (mode, cell) of the orthonormal transform (DCT-II)."""
    return [_cosine(size, like.dtype, like.device) for size in like.shape[-3:]]


@functools.lru_cache(maxsize=64)
def _cosine(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    mode, cell = np.arange(size)[:, None], np.arange(size) + 0.5
    matrix = np.cos(np.pi * mode * cell / size) * math.sqrt(2 / size)
    matrix[0] = math.sqrt(1 / size)
    return torch.as_tensor(matrix, dtype=dtype, device=device)


def to_cells(field: Tensor, scale: Tensor, weight: Tensor) -> Tensor:
    """From modes to cells: the density from independent standard normals, one a cosine mode.

    Args:
        field: ``(..., depth_mode, northing_mode, easting_mode)``.
        scale: Standard deviation of each mode, broadcast against it.
        weight: Depth weights ``(depth,)``.

    Returns:
        ``(..., depth, northing, easting)``, in the units of ``scale``.
    """
    return _mixed(field * scale, *cosines(field)) / weight[:, None, None]


def to_modes(rows: Tensor, weight: Tensor) -> Tensor:
    """From cells to modes: the transpose of `to_cells` without its scale, along the last axes."""
    return _mixed(rows / weight[:, None, None], *(matrix.T for matrix in cosines(rows)))


def _mixed(field: Tensor, depth: Tensor, north: Tensor, east: Tensor) -> Tensor:
    """The field times a matrix ``(mode, cell)`` along each axis."""
    mixed = north.T @ (field @ east)
    return (depth.T @ mixed.flatten(-2)).unflatten(-1, mixed.shape[-2:])


def mode_scale(shape: Sequence[int], reach: Tensor, strength: Tensor) -> Tensor:
    """Standard deviation of each cosine mode of the weighted field, in the units of strength.

    Args:
        shape: Cells along depth, northing and easting.
        reach: Correlation lengths in cells, ``(..., axis)``.
        strength: ``(...)``.
    """
    eigenvalue = _eigenvalues(shape, reach)
    unit = eigenvalue.pow(-2).mean((-3, -2, -1), keepdim=True).sqrt()
    return strength[..., None, None, None] / (unit * eigenvalue)


def _eigenvalues(shape: Sequence[int], reach: Tensor) -> Tensor:
    """Those of A: ``(..., depth_mode, northing_mode, easting_mode)``."""
    depth, north, east = (
        length[..., None]
        * (2 - 2 * torch.cos(math.pi * torch.arange(size, dtype=reach.dtype) / size))
        for length, size in zip(reach.square().unbind(-1), shape, strict=True)
    )
    return 1 + depth[..., :, None, None] + north[..., None, :, None] + east[..., None, None, :]


@dataclass(frozen=True)
class SmoothField:
    """The prior as a linear map of standard normals: density = T z, with T T' the covariance.

    Attributes:
        scale: Standard deviation of each cosine mode, (depth, northing, easting), in kg/m3.
        weight: Depth weights ``(depth,)``.
    """

    scale: Float[Tensor, "depth northing easting"]
    weight: Float[Tensor, " depth"]

    def colour(self, field: Tensor) -> Tensor:
        """T z: densities ``(..., depth, northing, easting)`` in kg/m3."""
        return to_cells(field, self.scale, self.weight)

    def colour_back(self, rows: Tensor) -> Tensor:
        """T' g of each of ``(..., depth, northing, easting)``."""
        return to_modes(rows, self.weight) * self.scale

    @property
    def variance(self) -> Float[Tensor, "depth northing easting"]:
        """Prior variance of each cell's density, in (kg/m3)^2."""
        squares = (matrix.square() for matrix in cosines(self.scale))
        return _mixed(self.scale.square(), *squares) / self.weight.square()[:, None, None]
