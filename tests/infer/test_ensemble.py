"""Claims: members are modes, each from its own start; they are points, and never read as more."""

from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyrovi as vi
from infer.conjugate import FEATURES, Conjugate, model
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.errors import EngineError
from pyrovi.infer.engines.ensemble import starts
from pyrovi.optimise.quasi_newton import QuasiNewton

EXACT = Conjugate()
APART = 4.0


def two_humps() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 10.0))
    pyro.factor("humps", torch.logaddexp(-2 * (x - APART) ** 2, -2 * (x + APART) ** 2))


def members(fit: vi.Fit) -> Tensor:
    return fit.approximations()[0].tensors()["flat"]


def test_with_one_mode_every_member_is_the_exact_posterior_mean() -> None:
    fit = vi.fit(model, EXACT.data, vi.Ensemble(members=4), seed=0)
    assert fit.status is vi.Status.CONVERGED
    assert members(fit).shape == (4, FEATURES)
    torch.testing.assert_close(members(fit), EXACT.mean.expand(4, -1), rtol=0.0, atol=1e-6)
    assert "All 4 members ended at one point" in fit.notes[-1]


def test_members_end_in_different_modes_and_draws_pick_each_as_often() -> None:
    fit = vi.fit(two_humps, {}, vi.Ensemble(members=8), seed=0)
    ends = members(fit)[:, 0]
    # At the mode (x - 4) * 4 = -x / 100: the prior pulls it in by a quarter of a percent.
    mode = APART / (1 + 1 / 400)
    torch.testing.assert_close(ends.abs(), torch.full_like(ends, mode), rtol=0.0, atol=1e-6)
    assert len(ends.unique()) == 2
    drawn = vi.draw(fit, draws=800)["posterior"]["x"].to_numpy().ravel()
    assert sorted(np.unique(drawn)) == sorted(ends.unique().tolist())
    share = float((ends > 0).double().mean())
    assert (drawn > 0).mean() == share


def test_a_member_is_what_a_fit_of_it_alone_finds() -> None:
    """The members share an evaluation and nothing else."""
    density = LogDensity(bind_model(model, bind(model, EXACT.data)))
    engine, seed = vi.Ensemble(members=3), 7
    state = engine.init(density, torch.zeros(FEATURES), seed)
    while not engine.converged(state):
        engine.step(state)
    together = state.points()
    for index, start in enumerate(starts(density, 3, seed)):
        alone = QuasiNewton(density.descent, start)
        while float(alone.gradient.abs().max()) > 1e-6:
            alone.step()
        torch.testing.assert_close(together[index], alone.point, rtol=0.0, atol=1e-7)


def test_members_start_at_draws_from_the_prior() -> None:
    def positive() -> None:
        pyro.sample("scale", dist.LogNormal(3.0, 0.5))

    density = LogDensity(bind_model(positive, bind(positive, {})))
    flat = starts(density, 4000, 0)[:, 0]
    assert abs(float(flat.mean()) - 3.0) < 4.3 * 0.5 / 4000**0.5
    assert abs(float(flat.std()) / 0.5 - 1) < 4.3 / 8000**0.5


def test_members_start_elsewhere_where_the_prior_gives_no_start() -> None:
    def improper() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0).mask(False))
        pyro.factor("data", -0.5 * (x - 1.5) ** 2)

    def rarely_finite() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1e200))
        pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(1.5))

    for each in (improper, rarely_finite):
        fit = vi.fit(each, {}, vi.Ensemble(members=3), seed=0)
        torch.testing.assert_close(
            members(fit), torch.full((3, 1), 1.5).double(), rtol=0, atol=1e-6
        )


def test_steps_of_adam_come_to_the_mode_too() -> None:
    fit = vi.fit(model, EXACT.data, vi.Ensemble(members=2, steps=1500, step_size=0.2), seed=0)
    assert len(fit.loss) == 1500
    torch.testing.assert_close(members(fit), EXACT.mean.expand(2, -1), rtol=0.0, atol=1e-3)


def test_minibatches_come_to_the_mode_of_all_rows() -> None:
    def batched(x: Tensor, y: Tensor, batch: int) -> None:
        loc = x.new_zeros(x.shape[-1])
        coefficient = pyro.sample("coefficient", dist.Normal(loc, 2.0).to_event(1))
        with pyro.plate("row", len(y), subsample_size=batch) as rows:
            pyro.sample("y", dist.Normal(x[rows] @ coefficient, 1.0), obs=y[rows])

    engine = vi.Ensemble(members=3, steps=2000, step_size=0.1)
    fit = vi.fit(batched, {**EXACT.data, "batch": 20}, engine, seed=0)
    assert fit.status is vi.Status.CONVERGED
    off = (members(fit) - EXACT.mean) / EXACT.sd
    assert 0 < off.abs().max() < 0.35
    assert len(members(fit).unique(dim=0)) == 3


def test_a_latent_site_on_a_minibatch_is_refused() -> None:
    def local(y: Tensor) -> None:
        with pyro.plate("row", len(y), subsample_size=5) as rows:
            effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(effect, 1.0), obs=y[rows])

    with pytest.raises(EngineError, match="'effect' stands in a plate that subsamples"):
        vi.fit(local, {"y": EXACT.y}, vi.Ensemble(), seed=0)


@pytest.mark.parametrize("members", [0, -1, True])
def test_a_number_of_members_that_is_none_is_refused(members: int) -> None:
    with pytest.raises(EngineError, match="members of Ensemble must be a whole number"):
        vi.Ensemble(members=members)


@pytest.mark.parametrize("setting", [{"step_size": 0.0}, {"steps": 0}, {"tolerance": -1.0}])
def test_settings_that_cannot_be_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match=next(iter(setting))):
        vi.Ensemble(**setting)


def test_an_ensemble_has_no_bound_no_weights_and_never_reads_ok() -> None:
    for made, data in ((two_humps, {}), (model, EXACT.data)):
        fit = vi.fit(made, data, vi.Ensemble(members=6), seed=0)
        assert fit.elbo is None
        tree = vi.check(vi.draw(fit, draws=1000))
        assert "log_guide" not in tree["sample_stats"]
        found = vi.verdict(tree)
        assert found.fit_status == "fail"
        assert "elbo" in found.skipped
        text = str(found)
        assert "All draws are one point" in text or "All draws are one of 2 points" in text


def test_a_saved_ensemble_has_the_same_members(tmp_path: Path) -> None:
    fit = vi.fit(two_humps, {}, vi.Ensemble(members=4), seed=3)
    fit.save(tmp_path)
    again = vi.Fit.open(tmp_path, two_humps, {})
    assert torch.equal(members(again), members(fit))
    assert torch.equal(again.draw(9)[0].flat, fit.draw(9)[0].flat)
