"""Factors of covariances, from roots and from precisions, without squaring their condition."""

import torch
from jaxtyping import Float
from torch import Tensor

SMALLEST_EIGENVALUE = 1e-10  # as a share of the largest
SMALLEST_PIVOT = 1e-3  # of a matrix with a unit diagonal; below, its eigenvalues are worked out


def lower_factor(root: Float[Tensor, "dim dim"]) -> Float[Tensor, "dim dim"]:
    """The lower Cholesky factor of ``root @ root.T``: the R of a QR of the root's transpose.

    >>> lower_factor(torch.tensor([[3.0, 4.0], [0.0, 5.0]])).round().tril()
    tensor([[5., 0.],
            [4., 3.]])
    """
    factor = torch.linalg.qr(root.T, mode="r").R.T
    return factor * factor.diagonal().sign()


def curvature_cholesky(
    precision: Float[Tensor, "dim dim"],
) -> tuple[Float[Tensor, "dim dim"], list[int]]:
    """The Cholesky factor of the inverse of ``precision``, made positive definite.

    Returns:
        The lower factor of the covariance, and for each eigenvalue that had to be raised the
        index of the entry that its eigenvector mostly points to.
    """
    units = _units(precision)
    plain = _inverse_cholesky(units[:, None] * precision * units)
    if plain is not None:
        return units[:, None] * plain, []
    _, values, vectors = scaled_eigh(precision)
    floor = SMALLEST_EIGENVALUE * values.abs().max()
    raised = [int(vectors[:, i].abs().argmax()) for i in torch.nonzero(values < floor).flatten()]
    held = torch.where(values < floor, values.abs().clamp(min=floor), values)
    return lower_factor(units[:, None] * vectors * held.rsqrt()), raised


def scaled_eigh(
    precision: Float[Tensor, "dim dim"],
) -> tuple[Float[Tensor, "dim"], Float[Tensor, "dim"], Float[Tensor, "dim dim"]]:
    """Units that make the diagonal one, and the eigenvalues and eigenvectors in those units."""
    units = _units(precision)
    return units, *torch.linalg.eigh(units[:, None] * precision * units)


def _units(precision: Tensor) -> Tensor:
    return precision.diagonal().abs().clamp(min=torch.finfo(precision.dtype).tiny).rsqrt()


def _inverse_cholesky(precision: Tensor) -> Tensor | None:
    """The lower factor of the inverse, where rounding cannot spoil it; else None."""
    # In reverse order, since a lower factor is then an upper one of the matrix itself.
    factor, failed = torch.linalg.cholesky_ex(precision.flip(0, 1))
    if int(failed) or not bool(factor.diagonal().min() > SMALLEST_PIVOT):
        return None
    identity = torch.eye(len(factor), dtype=factor.dtype)
    return torch.linalg.solve_triangular(factor, identity, upper=False).flip(0, 1).T
