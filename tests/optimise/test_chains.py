"""Hamiltonian transitions: their step shrinks with the dimension, and their mass is the draws'."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.optimise.chains import DRAWS_PER_DIM, chains_for, mass_factor, move


def normals(dim: int) -> LogDensity:
    def model() -> None:
        pyro.sample("x", dist.Normal(torch.zeros(dim), 1.0).to_event(1))

    return LogDensity(bind_model(model, bind(model, {})))


def draws(count: int, dim: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def test_as_many_steps_are_accepted_in_many_dimensions_as_in_few() -> None:
    """The error of a leapfrog step adds up over dimensions, which a step by dim^-1/4 undoes.

    Beskos et al. (2013), https://doi.org/10.3150/12-BEJ414: the acceptance has a limit.
    """
    accepted = []
    for dim in (4, 400):
        chains = move(
            normals(dim), draws(500, dim), torch.ones(dim).double(), transitions=4, kept=1, seed=0
        )
        accepted.append(float(chains.acceptance.mean()))
    assert accepted[1] == pytest.approx(accepted[0], abs=0.05)
    assert min(accepted) > 0.8


def test_the_step_is_in_units_of_the_mass() -> None:
    """A posterior and its mass, both stretched, take the same steps: the same are accepted."""

    def wide() -> None:
        pyro.sample("x", dist.Normal(torch.zeros(3), 1e4).to_event(1))

    stretched = LogDensity(bind_model(wide, bind(wide, {})))
    start = draws(100, 3)
    plain = move(normals(3), start, torch.ones(3).double(), transitions=3, kept=2, seed=1)
    for mass in (torch.full((3,), 1e4).double(), 1e4 * torch.eye(3).double()):
        moved = move(stretched, 1e4 * start, mass, transitions=3, kept=2, seed=1)
        torch.testing.assert_close(moved.states / 1e4, plain.states)
        torch.testing.assert_close(moved.acceptance, plain.acceptance)


def test_no_step_is_so_long_that_every_trajectory_comes_back_to_where_it_began() -> None:
    """Eight leapfrogs of 2 sin(pi / 8) are one turn about a normal, if each is as long."""
    start, one_turn = draws(2000, 1), 2 * math.sin(math.pi / 8)
    chains = move(
        normals(1),
        start,
        torch.ones(1).double(),
        transitions=5,
        kept=1,
        seed=0,
        step_size=one_turn,
    )
    both = torch.corrcoef(torch.cat([start, chains.states[:, -1]], dim=1).T)
    assert abs(float(both[0, 1])) < 0.5


def test_a_trajectory_into_nowhere_is_rejected_and_the_chain_stays() -> None:
    def half() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("wall", torch.where(x > -1e9, torch.where(x < 1e-6, 0.0, torch.nan), 0.0))

    density = LogDensity(bind_model(half, bind(half, {})))
    start = -1e-3 * torch.ones(200, 1).double()
    chains = move(density, start, torch.ones(1).double(), transitions=5, kept=5, seed=0)
    assert chains.states.isfinite().all()
    assert (chains.states < 1e-6).all()
    assert 0 < float(chains.acceptance.mean()) < 1


def test_the_mass_of_enough_draws_is_their_covariance_and_of_few_their_scales() -> None:
    factor = torch.tensor([[1e-4, 0.0], [50.0, 100.0]], dtype=torch.float64)
    many = draws(500, 2) @ factor.T
    mass = mass_factor(many)
    torch.testing.assert_close(mass @ mass.T, torch.cov(many.T), rtol=1e-5, atol=0.0)
    few = many[: DRAWS_PER_DIM * 2 - 1]
    assert torch.equal(mass_factor(few), few.std(0))


def test_the_chains_are_as_many_as_the_work_allows_within_bounds() -> None:
    density = normals(10)
    assert chains_for(density, most=512, entries=100 * density.work) == 100
    assert chains_for(density, most=80, entries=100 * density.work) == 80
    assert chains_for(density, most=512, entries=1) == 64
