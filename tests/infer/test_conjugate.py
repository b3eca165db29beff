"""Engines against a posterior and an evidence known in closed form."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovi as vi
from infer.conjugate import Conjugate, model
from pyrovi.approximations import Gaussian, GuideDraws

EXACT = Conjugate()
SD, NATS = 0.01, 0.02


def moments(fit: vi.Fit) -> tuple[torch.Tensor, torch.Tensor]:
    """The exact mean and variances of a fitted Gaussian, not those of draws from it."""
    (found,) = fit.approximations()
    if isinstance(found, Gaussian):
        return found.loc, found.scale**2
    assert isinstance(found, GuideDraws)
    assert found.family is not None
    assert found.family.flat is not None
    with torch.no_grad(), fit.model.running():
        flat = found.family.flat(found.guide)
        return flat.mean, flat.variance


@pytest.mark.parametrize(
    "engine",
    [vi.SVI(guide="full_rank"), vi.DADVI(whiten=True), vi.Laplace(), "auto"],
    ids=["SVI full rank", "DADVI whitened", "Laplace", "auto"],
)
def test_a_full_rank_fit_is_the_exact_posterior(engine: object) -> None:
    fit = vi.fit(model, EXACT.data, engine, seed=0)
    mean, variance = moments(fit)
    assert fit.status is vi.Status.CONVERGED
    assert ((mean - EXACT.mean) / EXACT.sd).abs().max() < SD
    torch.testing.assert_close(variance.sqrt(), EXACT.sd, rtol=0.01, atol=0.0)
    assert fit.elbo is not None
    assert fit.elbo.value == pytest.approx(EXACT.log_evidence, abs=NATS)


@pytest.mark.parametrize(
    ("engine", "sd"),
    [(vi.DADVI(), SD), (vi.SVI(guide="mean_field"), 0.05)],
    ids=["DADVI", "SVI mean field"],
)
def test_mean_field_has_the_exact_mean_and_the_conditional_variances(
    engine: object, sd: float
) -> None:
    fit = vi.fit(model, EXACT.data, engine, seed=0)
    mean, variance = moments(fit)
    assert fit.status is vi.Status.CONVERGED
    assert ((mean - EXACT.mean) / EXACT.sd).abs().max() < sd
    torch.testing.assert_close(variance, 1 / EXACT.precision.diagonal(), rtol=0.02, atol=0.0)


def test_the_bound_of_mean_field_falls_short_by_the_divergence_in_closed_form() -> None:
    """Half the log of det(Sigma) prod(Lambda_ii); see test_total_correlation for what it is."""
    fit = vi.fit(model, EXACT.data, vi.DADVI(), seed=0)
    gap = 0.5 * (EXACT.precision.diagonal().log().sum() + torch.logdet(EXACT.cov))
    assert fit.elbo is not None
    assert EXACT.log_evidence - fit.elbo.value == pytest.approx(float(gap), abs=4 * fit.elbo.error)
    assert EXACT.log_evidence + fit.loss[-1] == pytest.approx(float(gap), abs=1e-3)


def test_nuts_agrees_with_the_exact_posterior() -> None:
    fit = vi.fit(model, EXACT.data, vi.NUTS(draws=600, warmup=300), seed=0)
    tree = vi.draw(fit, draws=600)
    draws = torch.as_tensor(tree["posterior"]["coefficient"].values[0])
    assert ((draws.mean(0) - EXACT.mean) / EXACT.sd).abs().max() < 0.25
    torch.testing.assert_close(draws.std(0), EXACT.sd, rtol=0.2, atol=0.0)
    assert "log_guide" not in tree["sample_stats"]
    assert tree["sample_stats"]["diverging"].shape == (1, 600)


def test_the_bound_of_an_exact_fit_is_the_evidence_to_the_last_digits() -> None:
    """Of 1,000 dimensions, a constant in single precision would cost 1e-5 nats."""

    def one_each(y: torch.Tensor) -> None:
        with pyro.plate("n", len(y)):
            x = pyro.sample("x", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(x, 1.0), obs=y)

    fit = vi.fit(one_each, {"y": torch.zeros(1000).double()}, vi.Laplace(), seed=0)
    assert fit.elbo is not None
    assert fit.elbo.value == pytest.approx(-500 * np.log(4 * np.pi), abs=1e-9)
