"""Claims on maps from the standard normal, by quadrature and by differentiation."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicHermiteSpline
from torch import Tensor

from pyrovi.approximations.base import log_normal
from pyrovi.approximations.bends import GRID, KNOTS, PLACES, Bends, _integrals, bends_of


def counted(count: float, loc: float, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """A normal effect seen by a Poisson count, in units about its mode.

    Its log density on a fine grid, the grid, and the slopes at the places.
    """
    z = torch.zeros((), dtype=torch.float64)
    for _ in range(50):
        rate = torch.exp(loc + scale * z)
        curvature = scale**2 * rate + 1
        z = z + ((scale * (count - rate) - z) / curvature).clamp(-1, 1)
    sd = float(curvature) ** -0.5

    def log_density(t: Tensor) -> Tensor:
        at = z + sd * t
        return count * scale * at - torch.exp(loc + scale * at) - at**2 / 2

    grid = torch.linspace(-14, 14, 40_001, dtype=torch.float64)
    there = PLACES.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(log_density(there).sum(), there)
    here = log_density(torch.zeros((), dtype=torch.float64))
    return log_density(grid) - here + float(log_normal(torch.zeros(()))), grid, slopes


CASES = [(27.0, 3.3, 0.5), (3.0, 1.3, 0.8), (0.0, 0.0, 0.8), (1.0, 0.3, 2.0)]


@pytest.mark.parametrize("case", CASES)
def test_knots_are_taken_to_quantiles_and_what_is_held_is_the_integral(
    case: tuple[float, float, float],
) -> None:
    log_density, grid, slopes = counted(*case)
    bends, held = bends_of(slopes[None, None])
    step = float(grid[1] - grid[0])
    density = log_density.exp()
    total = float(density.sum()) * step
    assert float(held) == pytest.approx(torch.tensor(total).log().item(), abs=5e-4)
    below = (density.cumsum(0) - density / 2) * step / total
    for knot, value, slope in zip(KNOTS[1:-1], *_first(bends), strict=True):
        at = int(torch.searchsorted(below, torch.special.ndtr(knot)))
        assert float(value) == pytest.approx(float(grid[at]), abs=0.02)
        exact = float(log_normal(knot).exp() * total / density[at])
        assert float(slope) == pytest.approx(exact, rel=0.05)


def _first(bends: Bends) -> tuple[Tensor, Tensor]:
    return bends.values[0, 0, 1:-1], bends.slopes[0, 0, 1:-1]


def test_a_standard_normal_is_left_as_it_is() -> None:
    bends, held = bends_of(-PLACES.expand(2, 3, -1))
    assert torch.allclose(bends.values, KNOTS.expand(2, 3, -1), atol=0.01)
    assert torch.allclose(bends.slopes, torch.ones(2, 3, len(KNOTS)).double(), atol=0.03)
    assert torch.allclose(held, torch.zeros(2, 3).double(), atol=1e-4)


def test_the_inverse_takes_back_and_slopes_are_those_of_autograd() -> None:
    slopes = torch.stack([counted(*case)[2] for case in CASES])[None]
    bends, _ = bends_of(slopes)
    noise = torch.linspace(-6, 6, 49, dtype=torch.float64)[:, None].repeat(1, len(CASES))
    rows = bends.rows(torch.zeros(len(noise), dtype=torch.long))
    noise.requires_grad_()
    value, log_slope = rows(noise)
    (slope,) = torch.autograd.grad(value.sum(), noise)
    back, log_slope_there = rows.inverse(value)
    assert torch.allclose(slope.log(), log_slope)
    assert torch.allclose(back, noise)
    assert torch.allclose(log_slope_there, log_slope)
    assert bool((value.diff(dim=0) > 0).all())


def test_parameters_make_the_same_maps() -> None:
    bends, _ = bends_of(torch.stack([counted(*case)[2] for case in CASES])[None])
    again = Bends.of(bends.parameters)
    assert torch.allclose(again.values, bends.values)
    assert torch.allclose(again.slopes, bends.slopes)


def test_slopes_that_are_no_numbers_and_walls_still_give_rising_maps() -> None:
    slopes = -PLACES.repeat(1, 2, 1)
    slopes[0, 0, -4:] = -torch.inf
    slopes[0, 1, :3] = torch.nan
    bends, held = bends_of(slopes)
    assert bool(bends.values.isfinite().all() & bends.slopes.isfinite().all())
    assert bool((bends.values.diff(dim=-1) > 0).all() & (bends.slopes > 0).all())
    assert bool(held.isfinite().all())
    assert float(bends.values.abs().max()) <= float(GRID[-1]) + 1e-3


def test_integrals_between_the_places_are_those_of_hermites_cubic() -> None:
    generator = np.random.default_rng(0)
    values, slopes = generator.normal(size=(2, len(PLACES)))
    whole = CubicHermiteSpline(PLACES.numpy(), values, slopes).antiderivative()
    by_value, by_slope = _integrals()
    ours = torch.as_tensor(values) @ by_value + torch.as_tensor(slopes) @ by_slope
    np.testing.assert_allclose(ours.numpy(), whole(GRID.numpy()) - whole(0.0), atol=1e-12)
