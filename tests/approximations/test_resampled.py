"""Resampling by importance weights mends a Gaussian, and repeats next to none of its draws."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovi.approximations import Gaussian, Points, Resampled
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity

DRAWS = 2000


def model() -> None:
    pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))


@pytest.fixture(scope="module")
def density() -> LogDensity:
    return LogDensity(bind_model(model, bind(model, {})))


def resampled(density: LogDensity, shift: float, scale: float) -> torch.Tensor:
    two = torch.ones(2).double()
    return Resampled(density, Gaussian(density, shift * two, scale * two)).draw(DRAWS, 0).flat


def test_draws_that_are_too_wide_and_aside_become_the_posteriors(density: LogDensity) -> None:
    flat = resampled(density, 0.3, 1.3)
    assert flat.mean(0).abs().max() < 4.3 / DRAWS**0.5
    assert (flat.std(0) - 1).abs().max() < 4.3 / DRAWS**0.5


def test_of_draws_that_weigh_alike_none_comes_twice(density: LogDensity) -> None:
    assert len(torch.unique(resampled(density, 0.0, 1.0), dim=0)) == DRAWS


def test_few_draws_come_twice_since_there_are_ten_to_choose_from(density: LogDensity) -> None:
    assert len(torch.unique(resampled(density, 0.3, 1.3), dim=0)) > 0.95 * DRAWS


def test_a_draw_outside_the_support_is_never_chosen() -> None:
    def half() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("wall", torch.where(x < 0, 0.0, -torch.inf))

    density = LogDensity(bind_model(half, bind(half, {})))
    base = Gaussian(density, torch.zeros(1).double(), torch.ones(1).double())
    assert (Resampled(density, base).draw(200, 0).flat < 0).all()


def test_what_has_no_density_is_left_as_it_is(density: LogDensity) -> None:
    rows = torch.arange(8.0).double().reshape(4, 2)
    flat = Resampled(density, Points(density, rows)).draw(40, 0).flat
    assert flat.shape == (40, 2)
    assert torch.equal(torch.unique(flat, dim=0), rows)
