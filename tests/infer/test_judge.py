"""Claims: chains leave the posterior alone and move all else, and the judge tells them apart."""

from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from infer.conjugate import Conjugate, model
from pyrovi.approximations import Draws, Gaussian, GaussianMixture, Resampled
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.evidence import Difference, limits, threshold
from pyrovi.infer.ladder.judge import Judgement, judge, send_out
from pyrovi.infer.ladder.polish import Polish
from pyrovi.optimise import FEWEST_CHAINS, Chains, mass_factor, move

EXACT = Conjugate()


@pytest.fixture(scope="module")
def density() -> LogDensity:
    return LogDensity(bind_model(model, bind(model, EXACT.data)))


def gaussian(density: LogDensity, shift: float = 0.0, scale: float = 1.0) -> Gaussian:
    factor = torch.linalg.cholesky(EXACT.cov)
    return Gaussian(density, EXACT.mean + shift * EXACT.sd, scale * factor)


def test_transitions_leave_the_posterior_as_it_is(density: LogDensity) -> None:
    start = gaussian(density).draw(4000, 0).flat
    chains = move(density, start, mass_factor(start), transitions=10, kept=1, seed=1)
    after = chains.states[:, -1]
    error = 4.3 / np.sqrt(4000)  # a false alarm in 50,000
    assert ((after.mean(0) - EXACT.mean) / EXACT.sd).abs().max() < error
    assert (after.std(0) / EXACT.sd - 1).abs().max() < error
    assert float(chains.acceptance.mean()) > 0.8
    # And they do move: what is left of the start is nothing.
    both = torch.corrcoef(torch.stack([start[:, 0], after[:, 0]]))
    assert abs(float(both[0, 1])) < 4.3 / np.sqrt(4000) + 0.02


def test_chains_come_to_the_posterior_from_elsewhere(density: LogDensity) -> None:
    start = gaussian(density, shift=1.0, scale=0.5).draw(2000, 0).flat
    chains = move(density, start, mass_factor(start), transitions=60, kept=1, seed=1)
    after = chains.states[:, -1]
    assert ((after.mean(0) - EXACT.mean) / EXACT.sd).abs().max() < 0.1
    assert (after.std(0) / EXACT.sd - 1).abs().max() < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_the_posterior_passes_by_its_weights_alone(density: LogDensity, seed: int) -> None:
    found = judge(density, gaussian(density).draw(2000, seed), seed)
    assert found.status == "ok"
    assert found.chains is None
    assert found.khat == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_the_posterior_passes_by_chains_where_there_are_no_weights(
    density: LogDensity, seed: int
) -> None:
    found = judge(density, Draws(gaussian(density).draw(2000, seed).flat), seed)
    assert found.chains is not None
    assert found.status == "ok"


@pytest.mark.parametrize(
    ("shift", "scale"), [(0.3, 1.0), (-0.3, 1.0), (0.0, 0.6), (0.0, 1.6), (1.0, 0.3)]
)
@pytest.mark.parametrize("weights", [True, False])
def test_what_is_not_the_posterior_does_not_pass(
    density: LogDensity, shift: float, scale: float, weights: bool
) -> None:
    drawn = gaussian(density, shift, scale).draw(2000, 0)
    found = judge(density, drawn if weights else Draws(drawn.flat), 0)
    assert found.status != "ok"


def test_one_wrong_quantity_is_named() -> None:
    def two() -> None:
        pyro.sample("right", dist.Normal(0.0, 1.0))
        pyro.sample("wrong", dist.Normal(0.0, 1.0))

    density = LogDensity(bind_model(two, bind(two, {})))
    off = Gaussian(density, torch.tensor([0.0, 0.8]).double(), torch.ones(2).double())
    found = judge(density, Draws(off.draw(2000, 0).flat), 0)
    worst = found.worst
    assert worst is not None
    assert worst[0] == "wrong"
    assert found.differences[0].status == "ok"


def test_what_is_near_a_limit_is_ok_and_does_not_pass() -> None:
    """Independent draws, so that the shift is known; a mean 0.09 sd off of 0.1 that is allowed."""

    def one() -> None:
        pyro.sample("x", dist.Normal(0.0, 1.0))

    density = LogDensity(bind_model(one, bind(one, {})))
    for shift, passes in ((0.0, True), (0.09, False)):
        off = Gaussian(density, torch.tensor([shift]).double(), torch.ones(1).double())
        found = judge(density, off.draw(20_000, 1), 0)
        assert found.status == "ok"
        assert found.passes == passes


def test_uneven_weights_that_see_something_keep_it_from_passing(density: LogDensity) -> None:
    narrow = gaussian(density, shift=0.0, scale=0.62)
    drawn = narrow.draw(2000, 1)
    found = judge(density, drawn, 0)
    assert threshold(2000) < found.khat < 1
    assert found.suspect
    assert not found.passes


def test_resampling_by_weights_mends_a_guide_that_is_somewhat_off(density: LogDensity) -> None:
    wide = gaussian(density, shift=0.3, scale=1.3)
    drawn = Resampled(density, wide).draw(4000, 0)
    assert drawn.log_guide is None
    assert ((drawn.flat.mean(0) - EXACT.mean) / EXACT.sd).abs().max() < 0.1
    assert (drawn.flat.std(0) / EXACT.sd - 1).abs().max() < 0.07
    assert len(torch.unique(drawn.flat, dim=0)) > 3000


def test_polish_finds_a_posterior_that_its_start_is_far_from() -> None:
    def banana() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x * x, 0.3))

    density = LogDensity(bind_model(banana, bind(banana, {})))
    base = Gaussian(density, torch.zeros(2).double(), torch.full((2,), 0.3).double())
    engine = Polish(base=base)
    state = engine.init(density, torch.zeros(2).double(), seed=0)
    losses: list[float] = []
    while not engine.converged(state) and len(losses) < engine.max_steps:
        losses.append(engine.step(state))
    assert len(losses) < engine.max_steps
    flat: Tensor = engine.outcome(state).approximation.flat
    exact_mean, exact_sd = torch.tensor([0.0, 1.0]), torch.tensor([1.0, (2 + 0.09) ** 0.5])
    assert ((flat.mean(0) - exact_mean) / exact_sd).abs().max() < 0.15
    assert (flat.std(0) / exact_sd - 1).abs().max() < 0.12


def factorised(y: Tensor) -> None:
    """Counts whose log rate is a product: a little far out the rates are beyond all bounds."""
    u = pyro.sample("u", dist.Normal(0.0, 1.0).expand([6, 2]).to_event(2))
    v = pyro.sample("v", dist.Normal(0.0, 1.0).expand([5, 2]).to_event(2))
    pyro.sample("y", dist.Poisson((u @ v.mT).exp()).to_event(2), obs=y)


def test_chains_that_start_where_every_step_is_too_long_do_not_stay_there() -> None:
    """Counts of at most three: a rate of 60 has a likelihood of less than e^-45 of the best."""
    y = torch.tensor([[0, 1, 2, 3, 1], [1, 1, 0, 2, 0]]).double().repeat(3, 1)
    density = LogDensity(bind_model(factorised, bind(factorised, {"y": y})))
    wide = Gaussian(density, torch.zeros(22).double(), torch.full((22,), 1.8).double())
    engine = Polish(base=wide, chains=64)
    state = engine.init(density, torch.zeros(22).double(), seed=0)
    assert float(rates(density, state.flat).max()) > 1e5
    for _ in range(15):
        engine.step(state)
    assert float(rates(density, engine.outcome(state).approximation.flat).max()) < 60


def rates(density: LogDensity, flat: Tensor) -> Tensor:
    values = density.constrain(flat)
    return (values["u"] @ values["v"].mT).exp()


def test_more_chains_see_what_few_of_them_let_pass() -> None:
    """A mean 0.2 sd off, three errors of 64 chains; a model that is dear gets no more at first."""

    def dear(y: Tensor) -> None:
        pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)

    density = LogDensity(bind_model(dear, bind(dear, {"y": torch.zeros(12_000)})))
    asked = []
    for seed in range(4):
        off = Gaussian(density, torch.tensor([0.2]).double(), torch.ones(1).double())
        judged = judge(density, Draws(off.draw(1000, seed).flat), seed)
        assert judged.status != "ok"
        assert judged.chains is not None
        asked.append(len(judged.chains.start))
    assert max(asked) > min(asked) == FEWEST_CHAINS


def test_chains_that_hardly_move_fail_whatever_they_say(density: LogDensity) -> None:
    start = torch.zeros(2, 1).double()
    fine = Difference(0.0, 0.01, 1.0, 0.01, 0.0, 1.0)
    for acceptance, status in ((0.31, "ok"), (0.29, "fail")):
        chains = Chains(start, start[:, None], torch.full((2,), acceptance).double())
        assert Judgement(("x",), (fine,), 0.1, chains).status == status


def test_an_error_that_could_hide_a_failure_is_a_warning() -> None:
    hidden = Difference(0.0, 0.3, 1.0, 0.01, 0.0, 1.0)
    assert hidden.status == "ok"
    assert Judgement(("x",), (hidden,), 0.1).status == "warn"
    assert Judgement((), (), 0.1).status == "warn"
    assert not Judgement((), (), 0.1).could_tell


def test_an_effect_that_may_be_a_failure_is_no_pass() -> None:
    """A sd of more than twice what it should be, and noise that makes that no more than likely."""
    likely = Difference(0.0, 0.01, 2.3, 0.27, 0.0, 1.0, errors=3.7)
    assert likely.status == "ok"
    assert Judgement(("x",), (likely,), 0.1).status == "warn"


def test_chains_take_shorter_steps_where_they_could_not_move(density: LogDensity) -> None:
    drawn = Draws(gaussian(density, scale=6.0).draw(500, 0).flat)
    usual = move(density, drawn.flat, mass_factor(drawn.flat), transitions=15, kept=5, seed=0)
    assert float(usual.acceptance.mean()) < limits.ACCEPTED.low
    assert send_out(density, drawn, 0).acceptance.mean() > usual.acceptance.mean() + 0.2


def test_a_quantity_that_is_lost_in_the_chains_is_unknown(
    density: LogDensity, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = Draws(gaussian(density).draw(500, 0).flat)
    chains = send_out(density, drawn, 0)
    chains.states[0, 0, 0] = torch.inf
    lost = judge(density, drawn, 0, chains)
    assert not lost.could_tell
    assert lost.chains is chains


def test_what_uneven_weights_suspect_does_not_pass() -> None:
    fine = Difference(0.0, 0.01, 1.0, 0.01, 0.0, 1.0)
    for suspect in (False, True):
        judged = Judgement(("x",), (fine,), 0.9, suspect=suspect)
        assert judged.status == "ok"
        assert judged.passes != suspect


@pytest.mark.parametrize("scale", [0.7, 1.0])
def test_an_sd_that_is_wrong_within_modes_is_seen_though_that_of_all_is_right(
    scale: float,
) -> None:
    """Modes at -5 and 5 of sd 1: at 0.7 the whole sd is off by 1 %, and by 30 % within."""

    def two(y: Tensor) -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1e3))
        ends = torch.stack([x - 5.0, x + 5.0])
        pyro.factor("modes", torch.logsumexp(-0.5 * ends**2, 0))

    density = LogDensity(bind_model(two, bind(two, {"y": torch.zeros(())})))
    locs = torch.tensor([[-5.0], [5.0]], dtype=torch.float64)
    factors = torch.full((2, 1, 1), scale, dtype=torch.float64)
    halves = torch.full((2,), 0.5, dtype=torch.float64)
    mixture = GaussianMixture(density, locs, factors, halves)
    drawn = mixture.draw(2000, 0)
    assert judge(density, drawn, seed=1).passes == (scale == 1.0)
    unweighted = replace(drawn, log_guide=None)  # by chains alone
    assert judge(density, unweighted, seed=1).passes == (scale == 1.0)
