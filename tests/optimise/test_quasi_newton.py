"""The quasi-Newton search arrives, and at the edges of what it is given does no harm."""

import numpy as np
import torch
from torch import Tensor

from pyrovi.optimise.quasi_newton import QuasiNewton


def test_the_search_minimises_rosenbrocks_valley() -> None:
    def valley(point: Tensor) -> tuple[float, Tensor]:
        at = point.clone().requires_grad_()
        value = 100 * (at[1] - at[0] ** 2) ** 2 + (1 - at[0]) ** 2
        return float(value.detach()), torch.autograd.grad(value, at)[0]

    search = QuasiNewton(valley, torch.tensor([-1.2, 1.0], dtype=torch.float64))
    losses = [search.step() for _ in range(60)]
    assert not search.walled
    assert losses == sorted(losses, reverse=True)
    torch.testing.assert_close(search.point, torch.ones(2, dtype=torch.float64))


def test_the_search_stays_where_the_loss_is_a_number() -> None:
    def walled(point: Tensor) -> tuple[float, Tensor]:
        at = point.clone().requires_grad_()
        value = torch.log(at).square().sum()  # not a number below zero
        return float(value.detach()), torch.autograd.grad(value, at)[0]

    search = QuasiNewton(walled, torch.tensor([60.0], dtype=torch.float64))
    met = []
    for _ in range(40):
        assert np.isfinite(search.step())
        met.append(search.walled)
    assert True in met  # the wall, on the way
    assert not met[-1]
    assert abs(float(search.point) - 1.0) < 1e-6


def test_a_search_that_starts_at_the_optimum_ends_there() -> None:
    search = QuasiNewton(lambda at: (float(at @ at), 2 * at), torch.zeros(3, dtype=torch.float64))
    assert search.step() == 0.0
    assert search.stuck


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
    without = QuasiNewton(bowl, 0.9 * units)
    without.step()
    assert without.value > 0.1
