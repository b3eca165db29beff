"""Symmetric matrices that are blocks but for a border: the curvature of a hierarchy.

With the border first, such a matrix and its factor are::

    [ E  C' ]      with  A = L L',  W = L^-1 C  and  E - W' W = S S'
    [ C  A  ]

where ``A`` holds small blocks along its diagonal. A dense matrix is all border.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FIRST_DAMPING, DAMPINGS = 1e-3, 12  # shares of the diagonal, each ten times the last


@dataclass(frozen=True)
class Arrow:
    """A batch of symmetric arrow matrices.

    Attributes:
        border: The border's own entries.
        cross: Those between each block and the border.
        blocks: The blocks.
    """

    border: Float[Tensor, "row border border"]
    cross: Float[Tensor, "row block entry border"]
    blocks: Float[Tensor, "row block entry entry"]

    def factor(self) -> "ArrowFactor":
        """Factored; where one is not positive definite, its diagonal is raised until it is.

        Where nothing helps, numbers that are not finite, it is that of the unit matrix.
        """
        damping = self.border.new_zeros(len(self.border))
        factor = first = self._factor(damping)
        for _ in range(DAMPINGS):
            if bool(factor.usable.all()):
                break
            damping = torch.where(factor.usable, damping, (10 * damping).clamp(min=FIRST_DAMPING))
            factor = self._factor(damping)
        lost = ~factor.usable
        border, blocks = (
            torch.where(_of_rows(lost, part), torch.eye(part.shape[-1], dtype=part.dtype), part)
            for part in (factor.border, factor.blocks)
        )
        cross = torch.where(_of_rows(lost, factor.cross), 0.0, factor.cross)
        return ArrowFactor(border, cross, blocks, first.usable)

    def times(self, vector: Float[Tensor, "row dim"]) -> Float[Tensor, "row dim"]:
        """Each matrix times a vector, the border first."""
        size = self.border.shape[-1]
        border, blocks = vector[:, :size], vector[:, size:]
        blocks = blocks.reshape(len(vector), *self.blocks.shape[1:3])
        above = torch.einsum("rde,re->rd", self.border, border)
        above = above + torch.einsum("rbed,rbe->rd", self.cross, blocks)
        below = (self.blocks @ blocks[..., None] + self.cross @ border[:, None, :, None])[..., 0]
        return torch.cat([above, below.reshape(len(vector), -1)], dim=-1)

    def _factor(self, damping: Float[Tensor, "row"]) -> "ArrowFactor":
        border = _raised(self.border, damping)
        blocks, sound = _cholesky(_raised(self.blocks, damping[:, None]))
        cross = _solve(blocks, self.cross)
        schur = border - torch.einsum("rbed,rbef->rdf", cross, cross)
        corner, also = _cholesky(schur)
        return ArrowFactor(corner, cross, blocks, sound.all(-1) & also)


@dataclass(frozen=True)
class ArrowFactor:
    """The factors of a batch of arrow matrices; vectors have the border first.

    Attributes:
        border: ``S`` of the module's docstring.
        cross: ``W``.
        blocks: ``L``.
        usable: Whether each matrix was positive definite as it stood.
    """

    border: Float[Tensor, "row border border"]
    cross: Float[Tensor, "row block entry border"]
    blocks: Float[Tensor, "row block entry entry"]
    usable: Bool[Tensor, "row"]

    @property
    def log_det(self) -> Float[Tensor, "row"]:
        """The log determinant of each matrix."""
        own = self.blocks.diagonal(dim1=-2, dim2=-1).log().sum((-1, -2))
        return 2 * (own + self.border.diagonal(dim1=-2, dim2=-1).log().sum(-1))

    @property
    def scale(self) -> Float[Tensor, "row dim"]:
        """The sd of each entry given all others; of the border, with the blocks summed out."""
        parts = self.border.flatten(1, -2), self.blocks.flatten(1, -2)
        return torch.cat([part.square().sum(-1).rsqrt() for part in parts], dim=1)

    def solve(self, vector: Float[Tensor, "row dim"]) -> Float[Tensor, "row dim"]:
        """Each matrix's inverse times a vector."""
        border, blocks = self._parts(vector)
        blocks = _solve(self.blocks, blocks[..., None])
        border = border - torch.einsum("rbed,rbe->rd", self.cross, blocks[..., 0])
        border = _solve(self.border, border[..., None])
        return self._back(border, blocks)

    def spread(self, noise: Float[Tensor, "row dim"]) -> Float[Tensor, "row dim"]:
        """Standard normal noise as noise whose precision each matrix is."""
        border, blocks = self._parts(noise)
        return self._back(border[..., None], blocks[..., None])

    def axis(self, entry: int) -> Float[Tensor, "row dim"]:
        """What `spread` takes noise of one in this entry of every block to."""
        rows, count, size, border = self.cross.shape
        noise = self.cross.new_zeros(rows, count, size)
        noise[:, :, entry] = 1.0
        return self.spread(torch.cat([noise.new_zeros(rows, border), noise.flatten(1)], dim=1))

    def whiten(self, vector: Float[Tensor, "row dim"]) -> Float[Tensor, "row dim"]:
        """What `spread` takes to each vector."""
        border, blocks = self._parts(vector)
        corner = (self.border.mT @ border[..., None])[..., 0]
        own = self.blocks.mT @ blocks[..., None] + self.cross @ border[:, None, :, None]
        return torch.cat([corner, own.reshape(len(vector), -1)], dim=-1)

    def _parts(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        size = self.border.shape[-1]
        return vector[:, :size], vector[:, size:].reshape(len(vector), *self.blocks.shape[1:3])

    def _back(self, border: Tensor, blocks: Tensor) -> Tensor:
        """The triangular solve that comes second, the border first."""
        border = _solve(self.border, border, transposed=True)
        blocks = _solve(self.blocks, blocks - self.cross @ border[:, None], transposed=True)
        return torch.cat([border[..., 0], blocks.reshape(len(border), -1)], dim=-1)


def _of_rows(rows: Tensor, part: Tensor) -> Tensor:
    """One number a row, for all entries of a part."""
    return rows.reshape(-1, *(1,) * (part.dim() - 1))


def _raised(matrix: Tensor, share: Tensor) -> Tensor:
    size = matrix.diagonal(dim1=-2, dim2=-1).abs()
    return matrix + torch.diag_embed(size * share[..., None])


def _cholesky(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Lower factors, and where there is one; matrices of one entry need no LAPACK."""
    if matrix.shape[-1] == 1:
        sound = matrix[..., 0, 0] > 0
        return matrix.clamp(min=0).sqrt(), sound
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return factor, (failed == 0) & factor.isfinite().all(-1).all(-1)


def _solve(factor: Tensor, columns: Tensor, *, transposed: bool = False) -> Tensor:
    if factor.shape[-1] == 1:
        return columns / factor
    matrix = factor.mT if transposed else factor
    return torch.linalg.solve_triangular(matrix, columns, upper=transposed)
