"""Claims: modes are found through bad scales and from several starts, or not claimed at all."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.optimise.mode_search import find_mode, find_modes


def density_of(model: Callable[[], None]) -> LogDensity:
    return LogDensity(bind_model(model, bind(model, {})))


def test_scales_from_a_millionth_to_a_million_do_not_hide_the_mode() -> None:
    sds = torch.tensor([1e-6, 1.0, 1e6], dtype=torch.float64)
    where = torch.tensor([3e-6, 2.0, -5e6], dtype=torch.float64)

    def model() -> None:
        pyro.sample("x", dist.Normal(where, sds).to_event(1))

    density = density_of(model)
    mode = find_mode(density, torch.zeros(3, dtype=torch.float64))
    assert mode is not None
    assert ((mode.loc - where) / sds).abs().max() < 1e-3
    torch.testing.assert_close(mode.scale, sds)


def test_a_funnel_has_no_mode_to_stand_on() -> None:
    def funnel() -> None:
        log_scale = pyro.sample("log_scale", dist.Normal(0.0, 3.0))
        with pyro.plate("point", 9):
            pyro.sample("x", dist.Normal(0.0, (log_scale / 2).exp()))

    found = find_mode(density_of(funnel), torch.full((10,), 0.5, dtype=torch.float64))
    # Its one maximum is at x = 0 and log_scale = -40.5, where no draw of it ever is.
    assert found is None or float(found.loc[0]) < -20


def test_of_two_modes_the_one_with_most_evidence_comes_first() -> None:
    def two() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 50.0))
        low = torch.tensor(0.1).log() + dist.Normal(-4.0, 0.3).log_prob(x)
        high = torch.tensor(0.9).log() + dist.Normal(4.0, 0.3).log_prob(x)
        pyro.factor("humps", torch.logaddexp(low, high))

    density = density_of(two)
    nearby = torch.tensor([-3.0], dtype=torch.float64)
    assert float(find_modes(density, nearby, 1, seed=0)[0].loc) < -3.9
    between = torch.tensor([0.0], dtype=torch.float64)
    modes = find_modes(density, between, 32, seed=0)
    assert float(modes[0].loc) > 3.9
    assert float(modes[-1].loc) < -3.9


def test_a_search_that_leads_to_a_known_mode_is_not_followed_to_its_end() -> None:
    def valley() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x**2, 0.1))

    density = density_of(valley)
    mode = find_mode(density, torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert mode is not None
    elsewhere = torch.tensor([-1.5, 2.0], dtype=torch.float64)
    before = density.evaluations
    assert find_mode(density, elsewhere, [mode]) is mode
    short = density.evaluations - before
    again = find_mode(density, elsewhere)
    assert again is not None
    assert again is not mode
    torch.testing.assert_close(again.loc, mode.loc, rtol=0.0, atol=1e-3)
    assert density.evaluations - before > 2 * short


def test_a_search_that_leads_elsewhere_is_not_taken_for_a_known_mode() -> None:
    def two() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 50.0))
        low = dist.Normal(-4.0, 1.5).log_prob(x)
        pyro.factor("humps", torch.logaddexp(low, dist.Normal(4.0, 1.5).log_prob(x)))

    density = density_of(two)
    high = find_mode(density, torch.tensor([5.0], dtype=torch.float64))
    assert high is not None
    low = find_mode(density, torch.tensor([-1.0], dtype=torch.float64), [high])
    assert low is not None
    assert float(low.loc) < -3


@pytest.mark.parametrize("seed", range(3, 7))  # of which 4 and 6 start on the side of the first
def test_an_even_density_has_the_mirror_image_of_its_mode(seed: int) -> None:
    def square() -> None:
        x = pyro.sample("x", dist.Normal(torch.zeros(2), 50.0).to_event(1))
        pyro.sample("y", dist.Normal(x.square().sum(), 0.5), obs=torch.tensor(9.0))
        pyro.sample("z", dist.Normal(x[0] - x[1], 0.1), obs=torch.tensor(0.0))

    modes = find_modes(density_of(square), torch.ones(2, dtype=torch.float64), None, seed)
    assert len(modes) == 2
    torch.testing.assert_close(modes[0].loc, -modes[1].loc, rtol=0.0, atol=1e-3)


def test_a_place_that_a_search_was_cut_short_at_is_not_called_a_mode() -> None:
    """Of so many dimensions no Newton's method goes on to the end."""
    sds = torch.logspace(-4, 4, 501, dtype=torch.float64)

    def model() -> None:
        pyro.sample("x", dist.Normal(torch.zeros(501), sds).to_event(1))

    mode = find_mode(density_of(model), torch.ones(501, dtype=torch.float64))
    assert mode is None or (mode.loc / sds).abs().max() < 0.1
