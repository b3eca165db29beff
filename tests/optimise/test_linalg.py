"""Factors of covariances hold at any scale, and say where a curvature was mended."""

import pytest
import torch

from pyrovi.optimise.linalg import curvature_cholesky, lower_factor, scaled_eigh


def test_a_root_and_its_lower_factor_have_one_product() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    factor = lower_factor(root)
    torch.testing.assert_close(factor, torch.linalg.cholesky(root @ root.T))


def test_a_lower_factor_keeps_digits_that_the_product_loses() -> None:
    """Of 1 and 1e-9 the squares are 1e-18 apart, which a product of the root has no place for."""
    root = torch.tensor([[1.0, 0.0], [1.0, 1e-9]], dtype=torch.float64)
    factor = lower_factor(root.flip(1))
    torch.testing.assert_close(factor[1, 1], root[1, 1], rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_the_cholesky_factor_of_a_curvature_is_that_of_its_inverse(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    units = scale ** torch.linspace(0, 1, 6, dtype=torch.float64)
    precision = units[:, None] * (rows.T @ rows) * units
    factor, raised = curvature_cholesky(precision)
    assert not raised
    exact = torch.linalg.cholesky(torch.linalg.inv(rows.T @ rows)) / units[:, None]
    torch.testing.assert_close(
        factor / exact.abs().clamp(min=1e-300),
        exact / exact.abs().clamp(min=1e-300),
        rtol=1e-6,
        atol=1e-6,
    )
    assert (factor.diagonal() > 0).all()


def test_a_direction_that_is_not_curved_down_is_named() -> None:
    factor, raised = curvature_cholesky(torch.diag(torch.tensor([1.0, -2.0]).double()))
    assert raised == [1]
    assert float(factor[1, 1]) == pytest.approx(2**-0.5)  # as wide as if it were curved so
    assert factor.isfinite().all()


def test_a_direction_that_is_hardly_curved_is_named_though_its_factor_could_be_had() -> None:
    almost = 1 - 1e-13
    precision = torch.tensor([[1.0, almost], [almost, 1.0]], dtype=torch.float64)
    factor, raised = curvature_cholesky(precision)
    assert len(raised) == 1
    assert float((factor @ factor.T).diagonal().max()) < 1e11


def test_a_scaled_matrix_is_its_eigenvectors_in_its_units() -> None:
    precision = torch.tensor([[4e12, 1e3], [1e3, 9e-6]], dtype=torch.float64)
    units, values, vectors = scaled_eigh(precision)
    scaled = vectors @ torch.diag(values) @ vectors.T
    torch.testing.assert_close(scaled.diagonal(), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(scaled / units[:, None] / units, precision)
