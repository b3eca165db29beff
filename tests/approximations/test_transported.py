"""Claims: a bent Gaussian has the density of its draws, by closed forms and by differentiation."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from infer.scripted import density_of
from pyrovi.approximations import Transported, TriangularMap, sinh_arcsinh, transported as module

TERMS = torch.tensor(
    [[1, 0, -1], [3, 2, -1], [1, 0, 0], [2, 1, 0], [3, 2, 2], [2, 2, 0], [3, 3, 1]]
)
SQUARE = TriangularMap(2, torch.tensor([[1, 0, 0]]))
SCALE = TriangularMap(2, torch.tensor([[1, 1, 0]]))


def four() -> None:
    pyro.sample("x", dist.Normal(torch.zeros(4), 1.0).to_event(1))


def bent() -> Transported:
    """One with every kind of term, in a space that is turned by no triangular matrix."""
    generator = torch.Generator().manual_seed(0)
    count = len(TriangularMap(4, TERMS).identity)
    parameters = 0.3 * torch.randn(count, generator=generator, dtype=torch.float64)
    turn = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    return Transported(density_of(four), turn[0], turn, TERMS, parameters)


def test_the_density_of_a_draw_is_that_of_the_noise_by_the_jacobian_of_the_way() -> None:
    made = bent()
    drawn = made.draw(20, seed=3)
    noise = torch.randn(20, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rows = []
    for each in noise:
        (jacobian,) = torch.autograd.functional.jacobian(
            lambda z: made.placed(made.parameters, z[None])[0][0], (each,)
        )
        normal = -0.5 * each.square().sum() - 2 * math.log(2 * math.pi)
        rows.append(normal - torch.linalg.slogdet(jacobian)[1])
    torch.testing.assert_close(drawn.log_guide, torch.stack(rows))


def test_an_entry_is_bent_by_itself_and_those_before_it_alone() -> None:
    made = bent()
    noise = torch.tensor([0.3, -1.2, 0.7, 2.0], dtype=torch.float64)
    (jacobian,) = torch.autograd.functional.jacobian(
        lambda z: made.map(made.parameters, z[None])[0][0], (noise,)
    )
    assert torch.equal(jacobian, jacobian.tril())
    assert bool((jacobian.diagonal() > 0).all())
    by = [[j for j in range(i) if jacobian[i, j] != 0] for i in range(4)]
    assert by == [[], [0], [0, 1], [1, 2]]  # as the terms say


def test_with_no_parameters_it_is_the_identity() -> None:
    noise = torch.randn(7, 4, dtype=torch.float64)
    whole = TriangularMap(4, TERMS)
    rows, log_stretch = whole(whole.identity, noise)
    torch.testing.assert_close(rows, noise)
    torch.testing.assert_close(log_stretch, torch.zeros(7, dtype=torch.float64))


def test_a_square_shifts_and_a_scale_widens_as_said() -> None:
    noise = torch.tensor([[2.0, 0.5]], dtype=torch.float64)
    coefficient = SQUARE.identity
    coefficient[-1] = 0.7
    shifted, none = SQUARE(coefficient, noise)
    widened, stretch = SCALE(coefficient, noise)
    torch.testing.assert_close(shifted, torch.tensor([[2.0, 0.5 + 0.7 * (2.0**2 - 1)]]).double())
    torch.testing.assert_close(none, torch.zeros(1).double())
    torch.testing.assert_close(widened[0, 1], 0.5 * torch.tensor(1.4, dtype=torch.float64).exp())
    torch.testing.assert_close(stretch, torch.tensor([1.4], dtype=torch.float64))


def test_tails_twice_as_heavy_are_those_of_the_double_angle() -> None:
    noise = torch.linspace(-5, 5, 11, dtype=torch.float64)[:, None]
    tail, none = torch.tensor([2.0]).double().log(), torch.zeros(1).double()
    value, log_slope = sinh_arcsinh(noise, none, tail)
    torch.testing.assert_close(value, noise * (1 + noise.square()).sqrt())
    slope = (1 + 2 * noise.square()) / (1 + noise.square()).sqrt()
    torch.testing.assert_close(log_slope, slope.log())


def test_skew_leaves_the_middle_where_it_is_and_makes_one_side_longer() -> None:
    noise = torch.tensor([[-3.0], [0.0], [3.0]], dtype=torch.float64)
    value, log_slope = sinh_arcsinh(noise, torch.full((1,), 0.4).double(), torch.zeros(1).double())
    assert float(value[1]) == 0.0
    assert abs(float(log_slope[1])) < 1e-12
    assert float(value[2]) > 3.0 > -float(value[0])


def test_draws_that_are_made_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bent().draw(50, seed=1)
    monkeypatch.setattr(module, "AT_ONCE", 100)
    parts = bent().draw(50, seed=1)
    torch.testing.assert_close(whole.flat, parts.flat)
    torch.testing.assert_close(whole.log_guide, parts.log_guide)
