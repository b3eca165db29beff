"""Arrow matrices do what dense ones do."""

import pytest
import torch
from torch import Tensor

from pyrovi.approximations.arrow import Arrow


def arrow_and_dense(border: int, blocks: int, size: int) -> tuple[Arrow, Tensor]:
    """Three positive definite arrow matrices, and the same as dense ones."""
    generator = torch.Generator().manual_seed(1)
    dim = border + blocks * size
    dense = torch.randn(3, dim, dim, generator=generator, dtype=torch.float64)
    dense = dense @ dense.mT + dim * torch.eye(dim, dtype=torch.float64)
    for block in range(blocks):
        own = slice(border + block * size, border + (block + 1) * size)
        others = torch.ones(dim, dtype=torch.bool)
        others[:border], others[own] = False, False
        dense[:, own, others] = 0.0
        dense[:, others, own] = 0.0
    corner = dense[:, border:, border:].reshape(3, blocks, size, blocks, size)
    own_blocks = corner.diagonal(dim1=1, dim2=3).movedim(-1, 1)
    cross = dense[:, border:, :border].reshape(3, blocks, size, border)
    return Arrow(dense[:, :border, :border], cross, own_blocks), dense


SHAPES = [(2, 5, 1), (3, 4, 2), (0, 6, 1), (4, 0, 0)]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_arrow_is_the_dense_matrix(shape: tuple[int, int, int]) -> None:
    arrow, dense = arrow_and_dense(*shape)
    factor, vector = arrow.factor(), torch.randn(3, dense.shape[-1], dtype=torch.float64)
    times = (dense @ vector[..., None])[..., 0]
    assert factor.usable.all()
    assert torch.allclose(arrow.times(vector), times)
    assert torch.allclose(factor.log_det, torch.logdet(dense))
    assert torch.allclose(factor.solve(times), vector)


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_is_spread_with_the_matrix_for_its_precision(shape: tuple[int, int, int]) -> None:
    arrow, dense = arrow_and_dense(*shape)
    factor, noise = arrow.factor(), torch.randn(3, dense.shape[-1], dtype=torch.float64)
    spread = factor.spread(noise)
    squares = torch.einsum("ri,rij,rj->r", spread, dense, spread)
    assert torch.allclose(squares, noise.square().sum(-1))
    assert torch.allclose(factor.whiten(spread), noise)


def test_a_matrix_that_is_not_positive_definite_is_raised_and_named() -> None:
    arrow, _ = arrow_and_dense(2, 5, 1)
    arrow.blocks[1, 3] = -1.0
    factor = arrow.factor()
    assert factor.usable.tolist() == [True, False, True]
    assert factor.log_det.isfinite().all()


def test_what_is_not_finite_is_factored_as_the_unit_matrix() -> None:
    whole = torch.full((1, 5, 5), torch.nan, dtype=torch.float64)
    border, cross, blocks = (
        whole[:, :1, :1],
        whole[:, 1:, :1].reshape(1, 2, 2, 1),
        whole[:, :2, :2],
    )
    factor = Arrow(border, cross, blocks[:, None].expand(1, 2, 2, 2)).factor()
    noise = torch.arange(5.0, dtype=torch.float64)[None]
    assert not bool(factor.usable)
    assert torch.equal(factor.spread(noise), noise)
    assert float(factor.log_det) == 0.0
