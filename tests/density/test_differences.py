"""Claims: differences of a gradient are its derivatives, however wide or narrow the axes are."""

import torch
from torch import Tensor

from pyrovi.density.differences import second_derivatives


def test_the_curvature_is_right_on_axes_of_any_scale() -> None:
    # The log density is -log cosh of each axis in units of its scale, less half its squared sum.
    scale = torch.tensor([1e-5, 1e-2, 1.0, 1e2], dtype=torch.float64)

    def gradient(rows: Tensor) -> Tensor:
        units = rows / scale
        return -(units.tanh() + units.sum(-1, keepdim=True)) / scale

    rows = torch.tensor([[0.3, -0.5, 0.0, 1.0], [0.0, 0.2, -0.4, 0.1]]).double() * scale
    ours = second_derivatives(gradient, rows) * scale * scale[:, None]
    curved = torch.diag_embed(1 - (rows / scale).tanh().square())
    torch.testing.assert_close(ours, -(curved + 1), rtol=1e-5, atol=1e-5)


def test_a_gradient_that_is_no_number_gives_no_curvature() -> None:
    def gradient(rows: Tensor) -> Tensor:
        return torch.where(rows[:, :1] > 1, torch.nan, -rows)

    ours = second_derivatives(gradient, torch.tensor([[0.0, 0.0], [2.0, 0.0]]).double())
    torch.testing.assert_close(ours[0], -torch.eye(2, dtype=torch.float64))
    assert ours[1].isnan().all()
