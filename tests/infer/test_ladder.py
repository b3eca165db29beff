"""Claims on the ladder's rungs, by engines whose every step is written down."""

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from infer.scripted import Scripted, density_of, gaussian
from pyrovi.density import LogDensity
from pyrovi.infer.ladder import auto, price
from pyrovi.infer.ladder.auto import Auto, AutoState, Plan
from pyrovi.infer.ladder.judge import price_of_chains
from pyrovi.infer.ladder.polish import Polish
from pyrovi.infer.ladder.price import Price

NAN = math.nan


def on(monkeypatch: pytest.MonkeyPatch, plan: Plan, density: LogDensity | None = None) -> Any:
    """A ladder that begins with a plan."""
    monkeypatch.setattr(auto, "first_rung", lambda *_: plan)
    return Auto().init(density or density_of(), torch.zeros(1, dtype=torch.float64), 0)


def climbed(state: AutoState) -> list[float]:
    losses = [Auto().step(state)]
    while not Auto().converged(state):
        losses.append(Auto().step(state))
    return losses


def test_a_first_step_that_is_lost_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    anew = Plan(engine=Scripted((2.0, 1.0)), why="anew")
    state = on(monkeypatch, Plan(engine=Scripted((NAN,)), why="first", otherwise=anew))
    assert climbed(state) == [0.0, 2.0, 1.0]
    (rung,) = state.outcome().rungs
    assert (rung.why, rung.steps, rung.status) == ("anew", 2, "ok")


def test_a_rung_that_may_be_left_out_makes_way_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = Plan(engine=Scripted((NAN,)), why="first", left_out=True)
    after = Plan(engine=Scripted((2.0, 1.0)), why="after")
    monkeypatch.setattr(AutoState, "_planned", lambda _: iter((first, after)))
    state = Auto().init(density_of(), torch.zeros(1, dtype=torch.float64), 0)
    assert climbed(state) == [0.0, 2.0, 1.0]
    assert [rung.why for rung in state.outcome().rungs] == ["after"]


def test_a_first_step_that_is_lost_with_nothing_else_to_try_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = on(monkeypatch, Plan(engine=Scripted((NAN,)), why="first"))
    assert math.isnan(Auto().step(state))


def test_a_rung_that_is_lost_on_its_way_ends_there(monkeypatch: pytest.MonkeyPatch) -> None:
    anew = Plan(engine=Scripted((9.0,)), why="anew")
    engine = Scripted((2.0, 1.5, NAN, 1.0), ends=False)
    state = on(monkeypatch, Plan(engine=engine, why="first", otherwise=anew))
    assert climbed(state) == [2.0, 1.5, 1.5]
    assert [rung.why for rung in state.outcome().rungs] == ["first"]


def test_what_nothing_can_judge_is_lost_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def learnable() -> None:
        pyro.sample("x", dist.Normal(pyro.param("loc", torch.zeros(()).double()), 1.0))

    anew = Plan(engine=Scripted((9.0,)), why="anew")
    first = Plan(engine=Scripted((2.0, NAN)), why="first", otherwise=anew)
    state = on(monkeypatch, first, density_of(learnable))
    assert Auto().step(state) == 2.0
    assert math.isnan(Auto().step(state))


def test_a_plan_may_allow_fewer_steps_than_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Scripted((2.0,), ends=False, max_steps=50)
    assert Plan(engine=engine, why="", max_steps=99).most_steps == 50
    state = on(monkeypatch, Plan(engine=engine, why="first", max_steps=3))
    assert len(climbed(state)) == 3


def test_the_losses_are_those_of_the_chosen_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    state = on(monkeypatch, Plan(engine=Scripted((4.0, 3.0), loc=4.0), why="first"))
    losses = climbed(state)
    outcome = state.outcome()
    first, *_, last = outcome.rungs
    assert (first.status, first.chosen, last.chosen) == ("unjudged", False, True)
    assert first.khat > 0.7
    assert outcome.losses.start == first.steps == 2
    assert len(losses[outcome.losses]) == last.steps
    assert outcome.judgement is not None
    assert outcome.judgement.passes


def test_what_weights_can_mend_is_resampled_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "MOST_ALONE", 0)  # as where importance sampling alone has no chance
    state = on(monkeypatch, Plan(engine=Scripted((4.0, 3.0), loc=0.8), why="first"))
    climbed(state)
    outcome = state.outcome()
    first, mended = outcome.rungs
    assert mended.engine == f"{first.engine}, resampled"
    assert (first.chosen, mended.chosen, mended.status) == (False, True, "ok")
    assert first.khat == pytest.approx(0.2, abs=0.3)
    assert outcome.approximation.kind == "resampled"


def test_chains_are_expected_to_take_what_their_evaluations_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By hand: 2,048 chains, of fifteen trajectories of eight steps and where they begin."""
    assert price_of_chains(density_of()) == Price(evaluations=121, points=2048)
    base = gaussian(density_of())
    polished = Polish(base=base, max_steps=2).price(density_of())
    assert polished == Price(evaluations=2 * (10 * 8 + 3), points=512)
    monkeypatch.setattr(price, "timed", lambda density, flat, points: points / 1024)
    assert polished.seconds(density_of(), torch.zeros(1)) == 83.0


def test_an_evaluation_is_timed_often_enough_to_be_recorded() -> None:
    density = density_of()
    assert price.timed(density, torch.zeros(1).double(), 3) > 0
    assert ("gradient", 3) in density.recordings.made


@pytest.mark.parametrize(("by_nuts", "notes"), [(0.0, 1), (math.inf, 0)])
def test_what_nuts_would_do_for_less_is_said_once(
    monkeypatch: pytest.MonkeyPatch, by_nuts: float, notes: int
) -> None:
    monkeypatch.setattr(auto, "of_nuts", lambda density, flat: by_nuts)
    monkeypatch.setattr(auto, "split_for", lambda density, start, seed: None)
    monkeypatch.setattr(auto.AutoState, "_bent", lambda state: iter(()))
    state = on(monkeypatch, Plan(engine=Scripted((4.0, 3.0), loc=4.0), why="first"))
    climbed(state)
    outcome = state.outcome()
    assert len(outcome.notes) == notes
    first, last = outcome.rungs
    assert (first.engine[:8], last.engine[:6]) == ("Scripted", "Polish")
    assert first.predicted > 0
    assert last.predicted > 0


def test_before_a_rung_is_finished_there_is_its_own_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = on(monkeypatch, Plan(engine=Scripted((2.0,), loc=0.7, ends=False), why="first"))
    Auto().step(state)
    outcome = state.outcome()
    assert float(outcome.approximation.loc) == pytest.approx(0.7)
    assert outcome.rungs == ()
    assert outcome.judgement is None
