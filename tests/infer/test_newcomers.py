"""Claims: engines of kinds that pyrovi does not have are fitted, drawn and kept like its own."""

from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyrovi as vi
from infer.declared import line, line_data, line_posterior
from infer.newcomers import Metropolis, MonteCarloEM, ReweightedWakeSleep
from pyrovi.tree import CHAINS, INDEPENDENT, draw_kind

Y = torch.tensor([0.4, 1.9, 3.1, 4.2], dtype=torch.float64)


def schools(y: Tensor) -> None:
    """Given the mean, which is learnt, ``theta`` is normal about half way from it to ``y``."""
    mean = pyro.param("mean", torch.tensor(0.0, dtype=torch.float64))
    with pyro.plate("school", len(y)):
        theta = pyro.sample("theta", dist.Normal(mean, 1.0))
        pyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def of_line(fit: vi.Fit) -> np.ndarray:
    """Draws of intercept and slope, ``(draw, 2)``."""
    posterior = vi.draw(fit, draws=3000)["posterior"]
    return np.stack([posterior[name].to_numpy()[0] for name in ("intercept", "slope")], axis=1)


def test_monte_carlo_em_learns_a_parameter_and_draws_under_it() -> None:
    fit = vi.fit(schools, {"y": Y}, MonteCarloEM(), seed=0)
    # The likelihood of the mean, theta integrated out, is normal about the average of y.
    learnt = float(fit.density.model.params["params"]["mean"].detach())
    # 256 chains give a gradient an error of sqrt(4 / 2 / 256) = 0.09, of which a step takes 0.3
    # and keeps 0.4 of what is left of the one before: five errors are 0.15.
    assert learnt == pytest.approx(float(Y.mean()), abs=0.15)
    theta = vi.draw(fit, draws=3000)["posterior"]["theta"].to_numpy()[0]
    assert theta.mean(0) == pytest.approx((learnt + Y.numpy()) / 2, abs=5 * (0.5 / 256) ** 0.5)
    assert theta.std(0) == pytest.approx(0.5**0.5, rel=5 / (2 * 256) ** 0.5)
    # With the parameter the bound is that of the likelihood, at its maximum.
    marginal = dist.Normal(Y.mean(), 2**0.5).log_prob(Y).sum()
    assert fit.elbo is not None
    assert fit.elbo.value == pytest.approx(float(marginal), abs=0.2)


def test_what_was_learnt_comes_back_from_a_file(tmp_path: Path) -> None:
    fit = vi.fit(schools, {"y": Y}, MonteCarloEM(max_steps=5), seed=0)
    again = vi.Fit.open(fit.save(tmp_path), schools, {"y": Y})
    assert torch.equal(again.draw(10)[0].flat, fit.draw(10)[0].flat)
    both = [each.density.model.params["params"]["mean"] for each in (fit, again)]
    assert torch.equal(*both)


def test_wake_sleep_has_a_pair_of_losses_and_the_marginals_of_the_posterior() -> None:
    fit = vi.fit(line, line_data(), ReweightedWakeSleep(), seed=0)
    mean, sd = line_posterior()
    drawn = of_line(fit)
    assert (drawn.mean(0) - mean) / sd == pytest.approx(0.0, abs=0.1)
    assert drawn.std(0) / sd == pytest.approx(1.0, abs=0.12)  # mean field by the ELBO has 0.4
    assert list(fit.losses) == ["bound", "wake"]
    assert {len(each) for each in fit.losses.values()} == {600}
    assert np.array_equal(fit.loss, fit.losses["bound"])


def test_named_losses_come_back_from_a_file(tmp_path: Path) -> None:
    fit = vi.fit(line, line_data(), ReweightedWakeSleep(max_steps=20), seed=0)
    again = vi.Fit.open(fit.save(tmp_path), line, line_data())
    assert list(again.losses) == list(fit.losses)
    for name, loss in fit.losses.items():
        assert np.array_equal(again.losses[name], loss)


def test_the_first_of_several_losses_is_the_one_that_is_judged() -> None:
    class Lost(ReweightedWakeSleep):
        def step(self, state: object) -> dict[str, float]:
            return {"wake": float("nan"), "bound": 1.0}

    class Unheard(ReweightedWakeSleep):
        def step(self, state: object) -> dict[str, float]:
            super().step(state)
            return {"bound": 1.0, "wake": float("nan")}

    lost = vi.fit(line, line_data(), Lost(max_steps=3), seed=0).restarts[0]
    assert lost.status is vi.Status.DIVERGED
    assert list(lost.losses) == ["wake", "bound"]
    assert vi.fit(line, line_data(), Unheard(max_steps=3), seed=0).status is vi.Status.CONVERGED


def test_a_sampler_of_another_kind_gives_chains() -> None:
    fit = vi.fit(line, line_data(), Metropolis(scale=0.4), seed=0, restarts=2)
    tree = vi.draw(fit, draws=1000)
    assert draw_kind(tree) == CHAINS
    assert "A random walk." in fit.notes
    assert fit.elbo is None
    assert tree["posterior"].sizes["chain"] == 2
    mean, sd = line_posterior()
    both = np.stack([tree["posterior"][name].to_numpy() for name in ("intercept", "slope")], -1)
    # Autocorrelation leaves about a fiftieth of 2400 draws: an error of 0.15 sd.
    assert (both.mean((0, 1)) - mean) / sd == pytest.approx(0.0, abs=0.7)


def test_a_guide_of_another_kind_gives_independent_draws() -> None:
    fit = vi.fit(line, line_data(), ReweightedWakeSleep(max_steps=20), seed=0)
    assert draw_kind(vi.draw(fit, draws=300)) == INDEPENDENT


@pytest.mark.parametrize("engine", [ReweightedWakeSleep(), Metropolis(scale=0.4)])
def test_an_engine_that_declares_no_learning_is_not_given_parameters(engine: object) -> None:
    with pytest.raises(vi.errors.EngineError, match="learnable parameters of its own"):
        vi.fit(schools, {"y": Y}, engine, seed=0)
