"""Claims on transport maps, by closed-form moments, and against the Gaussian that they bend."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovi as vi
from infer.conjugate import Conjugate, model
from pyrovi.approximations import Approximation, Gaussian, Transported
from pyrovi.infer.engines.transport_map import TransportMap

DRAWS = 20_000


def banana() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(x * x, 0.3))


def banana_of_the_second() -> None:
    """The same with the names exchanged, so that the entry that moves the other comes last."""
    y = pyro.sample("x", dist.Normal(0.0, 100.0))
    x = pyro.sample("y", dist.Normal(0.0, 1.0))
    log_ratio = dist.Normal(x * x, 0.3).log_prob(y) - dist.Normal(0.0, 100.0).log_prob(y)
    pyro.factor("banana", log_ratio)


def funnel() -> None:
    v = pyro.sample("v", dist.Normal(0.0, 1.5))
    with pyro.plate("leaf", 5):
        pyro.sample("x", dist.Normal(0.0, torch.exp(v / 2)))


def skewed() -> None:
    with pyro.plate("row", 3):
        pyro.sample("g", dist.Gamma(torch.tensor([1.0, 4.0, 20.0]), 1.0))


def heavy() -> None:
    with pyro.plate("row", 3):
        pyro.sample("t", dist.StudentT(torch.tensor([5.0, 8.0, 20.0])))


CLOSED: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = {
    # the model; the means; the standard deviations
    "banana": (banana, {"x": 0, "y": 1}, {"x": 1, "y": (2 + 0.09) ** 0.5}),
    "second": (banana_of_the_second, {"y": 0, "x": 1}, {"y": 1, "x": (2 + 0.09) ** 0.5}),
    "funnel": (funnel, {"v": 0, "x": 0}, {"v": 1.5, "x": math.exp(1.5**2 / 4)}),
    "gamma": (skewed, {"g": [1, 4, 20]}, {"g": np.sqrt([1, 4, 20])}),
    "student": (heavy, {"t": 0}, {"t": np.sqrt([5 / 3, 8 / 6, 20 / 18])}),
}


def bound(made: Approximation) -> tuple[float, float]:
    """The ELBO by draws that no fit has seen, and its error."""
    drawn = made.draw(DRAWS, seed=9)
    assert drawn.log_guide is not None
    log_ratios = made.density.log_prob(drawn.flat).detach() - drawn.log_guide
    return float(log_ratios.mean()), float(log_ratios.std()) / DRAWS**0.5


@pytest.mark.parametrize("name", CLOSED)
def test_moments_are_those_of_the_closed_form_where_a_gaussian_is_far_off(name: str) -> None:
    target, means, sds = CLOSED[name]
    fit = vi.fit(target, {}, vi.TransportMap(), seed=0)
    (made,) = fit.approximations()
    assert isinstance(made, Transported)
    values = made.density.constrain(made.draw(DRAWS, seed=1).flat)
    for site, mean in means.items():
        sd, own = np.asarray(sds[site]), values[site].detach().numpy()
        # Of a funnel's leaf the kurtosis is 3 exp(1.5^2) = 28, the worst here.
        assert np.abs((own.mean(0) - mean) / sd).max() < 4.3 / DRAWS**0.5 + 0.02
        assert np.abs(np.log(own.std(0) / sd)).max() < 4.3 * (27 / 4 / DRAWS) ** 0.5 + 0.02
    gaussian = bound(vi.fit(target, {}, vi.DADVI(whiten=True), seed=0).approximations()[0])
    # These densities integrate to one, so that minus the bound is what is left to mend.
    assert bound(made)[0] > -0.025
    assert bound(made)[0] > gaussian[0] / 3


@pytest.mark.parametrize("particles", [24, None])
@pytest.mark.parametrize("name", CLOSED)
def test_the_bound_on_other_draws_is_never_below_the_gaussians(
    name: str, particles: int | None
) -> None:
    target = CLOSED[name][0]
    gaussian = vi.fit(target, {}, vi.DADVI(whiten=True), seed=0).approximations()[0]
    assert isinstance(gaussian, Gaussian)
    fit = vi.fit(target, {}, TransportMap(around=gaussian, particles=particles), seed=0)
    (value, error), (before, its) = bound(fit.approximations()[0]), bound(gaussian)
    assert value > before - 4.3 * math.hypot(error, its)


def test_what_other_draws_show_to_be_no_gain_is_left() -> None:
    gaussian = vi.fit(heavy, {}, vi.DADVI(whiten=True), seed=0).approximations()[0]
    assert isinstance(gaussian, Gaussian)
    engine = TransportMap(around=gaussian)
    state = engine.init(gaussian.density, gaussian.loc, 0)
    search = state.searches[0].search
    search.point = search.point + 1.0  # nowhere near
    assert engine.outcome(state).approximation is gaussian


def test_a_gaussian_posterior_is_left_as_it_is() -> None:
    exact = Conjugate()
    fit = vi.fit(model, exact.data, vi.TransportMap(), seed=0)
    drawn = fit.draw(DRAWS)[0].flat
    torch.testing.assert_close(drawn.mean(0), exact.mean, atol=4.3 / DRAWS**0.5, rtol=0.02)
    assert bound(fit.approximations()[0])[1] < 0.01 / DRAWS**0.5


def test_entries_of_many_dimensions_are_bent_each_by_itself() -> None:
    def many() -> None:
        with pyro.plate("row", 110):
            pyro.sample("g", dist.Gamma(2.0, 1.0))

    fit = vi.fit(many, {}, vi.TransportMap(), seed=0)
    (made,) = fit.approximations()
    assert isinstance(made, Transported)
    assert len(made.terms) == 0
    gaussian = bound(vi.fit(many, {}, vi.DADVI(whiten=True), seed=0).approximations()[0])
    assert bound(made)[0] > gaussian[0] / 4  # both are below zero


def test_draws_that_are_too_few_for_the_linear_terms_are_refused() -> None:
    expected = "needs four fixed draws for each dimension at the least: 6 dimensions and"
    with pytest.raises(vi.errors.EngineError, match=expected):
        vi.fit(funnel, {}, vi.TransportMap(particles=22), seed=0)


def test_a_map_of_one_entry_has_nothing_to_be_bent_by() -> None:
    def one() -> None:
        pyro.sample("g", dist.Gamma(2.0, 1.0))

    (made,) = vi.fit(one, {}, vi.TransportMap(), seed=0).approximations()
    assert bound(made)[0] > -0.01
