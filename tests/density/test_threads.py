"""Torch's threads are those that suit the model, and the user's own again afterwards."""

import contextlib

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovi.bound import Arguments, bind_model
from pyrovi.density import LogDensity, faster_threads, fitting_threads


def small() -> None:
    pyro.sample("x", dist.Normal(0.0, 1.0))


@pytest.fixture
def density() -> LogDensity:
    return LogDensity(bind_model(small, Arguments()))


def test_a_small_model_is_fitted_by_one_thread(density: LogDensity) -> None:
    assert faster_threads(density, torch.zeros(1, dtype=torch.float64)) == 1
    with fitting_threads(density) as threads:
        assert threads == torch.get_num_threads() == 1


def test_threads_are_put_back_after_an_error(density: LogDensity) -> None:
    before = torch.get_num_threads()
    density.threads = before + 1
    with contextlib.suppress(ZeroDivisionError), fitting_threads(density):
        assert torch.get_num_threads() == before + 1
        _ = 1 // 0
    assert torch.get_num_threads() == before
