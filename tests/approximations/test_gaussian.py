"""Gaussians and their mixtures against torch's own, and closed forms of their moments."""

from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

import pyrovi as vi
from pyrovi.approximations import Gaussian, GaussianMixture, Resampled
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.optimise import mass_factor

LOC = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
FACTOR = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-1.0, 0.3, 0.1]], dtype=torch.float64)
APART = torch.tensor([[-10.0, 0.0, 0.0], [10.0, 0.0, 0.0]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)


def model() -> None:
    pyro.sample("one", dist.Normal(0.0, 1.0))
    pyro.sample("two", dist.Normal(torch.zeros(2), 1.0).to_event(1))


@pytest.fixture(scope="module")
def density() -> LogDensity:
    return LogDensity(bind_model(model, bind(model, {})))


def mixture(density: LogDensity) -> GaussianMixture:
    return GaussianMixture(density, APART, torch.stack([FACTOR, 0.5 * FACTOR]), WEIGHTS)


def covariances() -> tuple[Tensor, Tensor]:
    """Within a component on average, and of all draws."""
    within = (0.3 + 0.7 * 0.25) * FACTOR @ FACTOR.T
    return within, within + torch.diag(torch.tensor([4 * 0.3 * 0.7 * 100, 0.0, 0.0]).double())


def test_a_gaussians_density_is_that_of_torch(density: LogDensity) -> None:
    drawn = Gaussian(density, LOC, FACTOR).draw(20, seed=0)
    exact = MultivariateNormal(LOC, scale_tril=FACTOR)
    torch.testing.assert_close(drawn.log_guide, exact.log_prob(drawn.flat))
    assert drawn.by_site is None


def test_a_diagonal_gaussian_gives_each_site_its_part_of_the_density(density: LogDensity) -> None:
    scale = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)
    gaussian = Gaussian(density, LOC, scale)
    drawn = gaussian.draw(20, seed=0)
    each = torch.distributions.Normal(LOC, scale).log_prob(drawn.flat)
    assert drawn.by_site is not None
    torch.testing.assert_close(drawn.by_site["one"], each[:, 0])
    torch.testing.assert_close(drawn.by_site["two"], each[:, 1:].sum(-1))
    torch.testing.assert_close(drawn.log_guide, each.sum(-1))
    assert torch.equal(gaussian.factor, torch.diag(scale))


def test_the_scale_of_a_gaussian_is_its_marginal_one(density: LogDensity) -> None:
    exact = MultivariateNormal(LOC, scale_tril=FACTOR)
    torch.testing.assert_close(Gaussian(density, LOC, FACTOR).scale, exact.stddev)


def test_a_mixtures_density_is_that_of_torch_and_survives_a_file(tmp_path: Path) -> None:
    fit = vi.fit(model, {}, vi.Pathfinder(paths=6), seed=0)
    (made,) = fit.approximations()
    assert isinstance(made, GaussianMixture)
    normals = MultivariateNormal(made.locs, scale_tril=made.scale_trils)
    drawn = made.draw(50, seed=1)
    expected = MixtureSameFamily(Categorical(made.weights), normals).log_prob(drawn.flat)
    torch.testing.assert_close(drawn.log_guide, expected)
    fit.save(tmp_path)
    again = vi.Fit.open(tmp_path, model, {}).draw(50)[0]
    assert torch.equal(again.flat, fit.draw(50)[0].flat)


def test_a_mixtures_draws_have_its_moments(density: LogDensity) -> None:
    count = 20_000
    drawn = mixture(density).draw(count, seed=0).flat
    right = float((drawn[:, 0] > 0).double().mean())
    assert right == pytest.approx(0.7, abs=4.3 * (0.21 / count) ** 0.5)
    sd = covariances()[1].diagonal().sqrt()
    mean = WEIGHTS @ APART
    assert ((drawn.mean(0) - mean) / sd).abs().max() < 4.3 / count**0.5


def test_chains_from_a_mixture_move_by_the_width_within_a_mode(density: LogDensity) -> None:
    """Not by that of all draws, twenty times the width of a mode: no step would be accepted."""
    drawn = mixture(density).draw(2000, seed=0)
    within, total = covariances()
    assert drawn.within is not None
    torch.testing.assert_close(drawn.within @ drawn.within.T, within)
    of_draws = mass_factor(drawn.flat)
    torch.testing.assert_close(of_draws @ of_draws.T, total, rtol=0.2, atol=0.2)


def test_resampling_a_mixture_keeps_the_width_within_a_mode(density: LogDensity) -> None:
    base = mixture(density)
    own, resampled = base.draw(1, seed=0).within, Resampled(density, base).draw(200, seed=0).within
    assert own is not None
    assert resampled is not None
    assert torch.equal(resampled, own)
