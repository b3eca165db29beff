"""The quasi-Newton search, at the edges of what it is given."""

import torch
from torch import Tensor

from pyrovi.optimise.quasi_newton import QuasiNewton


def saddle(point: Tensor) -> tuple[float, Tensor]:
    """(x^2 - 1)^2, which is flat at its local maximum at zero."""
    value = (point.square() - 1).square().sum()
    return float(value), 4 * point * (point.square() - 1)


def test_a_start_where_the_gradient_is_exactly_zero_is_a_place_it_cannot_leave() -> None:
    search = QuasiNewton(saddle, torch.zeros(2, dtype=torch.float64))
    assert search.step() == 2.0
    assert search.stuck
    assert torch.equal(search.point, torch.zeros(2, dtype=torch.float64))


def test_from_beside_it_a_minimum_is_found() -> None:
    search = QuasiNewton(saddle, torch.tensor([1e-6, -1e-6], dtype=torch.float64))
    for _ in range(60):
        search.step()
    torch.testing.assert_close(search.point, torch.tensor([1.0, -1.0], dtype=torch.float64))


def test_units_make_a_badly_scaled_bowl_as_easy_as_a_round_one() -> None:
    units = torch.tensor([1e-5, 1.0, 1e5], dtype=torch.float64)

    def bowl(point: Tensor) -> tuple[float, Tensor]:
        scaled = point / units
        return float(0.5 * scaled.square().sum()), scaled / units

    search = QuasiNewton(bowl, 0.9 * units, units)
    search.step()
    assert search.value < 1e-20
    blind = QuasiNewton(bowl, 0.9 * units)
    blind.step()
    assert blind.value > 0.1
