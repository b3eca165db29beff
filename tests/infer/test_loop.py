"""Claims on the one loop: how runs end, and what is recorded of them."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from infer.scripted import Scripted, density_of
from pyrovi.clock import OutOfTime, seconds_left
from pyrovi.errors import EngineError
from pyrovi.infer import Capabilities, Run, Status
from pyrovi.infer.engines import NUTS
from pyrovi.infer.loop import run_once

NAN = math.nan
SINGULAR = torch.linalg.LinAlgError("no factor")


def ran(engine: Scripted, **options: Any) -> Run:
    density = density_of()
    return run_once(engine, density, torch.zeros(1, dtype=torch.float64), seed=0, **options)


@pytest.mark.parametrize(
    ("engine", "status", "why", "taken"),
    [
        (Scripted((3.0, 2.0)), "converged", "it converged after 2 steps", 2),
        (Scripted((3.0,), ends=False, max_steps=4), "stopped", "took its 4 steps without", 4),
        (Scripted((3.0, NAN, 1.0)), "diverged", "the loss became nan at step 2", 2),
        (Scripted((3.0, -math.inf)), "diverged", "the loss became -inf at step 2", 2),
        (Scripted((3.0, OutOfTime())), "stopped", "its time was spent after 1 steps", 1),
        (Scripted((3.0, KeyboardInterrupt())), "stopped", "interrupted after 1 steps", 1),
        (Scripted((3.0, SINGULAR)), "diverged", "a matrix had no factor after 1 steps", 1),
        (Scripted((np.linalg.LinAlgError(),)), "diverged", "no factor after 0 steps", 0),
    ],
)
def test_a_run_ends_as_its_losses_say(engine: Scripted, status: str, why: str, taken: int) -> None:
    run = ran(engine)
    assert run.status.value == status
    assert why in run.why
    assert len(run.loss) == taken
    assert run.approximation is not None


def test_an_engine_that_cannot_begin_is_a_divergence_without_an_approximation() -> None:
    class Singular(Scripted):
        def init(self, *_: Any) -> Any:
            raise SINGULAR

    run = ran(Singular())
    assert run.status is Status.DIVERGED
    assert run.approximation is None


def test_a_sampler_that_is_stopped_before_its_first_draw_has_none() -> None:
    class Late(NUTS):
        def step(self, state: Any) -> float:
            raise OutOfTime

    run = run_once(Late(), density_of(), torch.zeros(1, dtype=torch.float64), seed=0)
    assert run.status is Status.STOPPED
    assert run.approximation is None


def test_an_interruption_before_there_is_anything_goes_on_to_the_caller() -> None:
    class Late(NUTS):
        def step(self, state: Any) -> float:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_once(Late(), density_of(), torch.zeros(1, dtype=torch.float64), seed=0)


def test_an_engine_that_evaluates_nothing_itself_keeps_its_time() -> None:
    engine = Scripted((2.0,), ends=False, max_steps=10**9)
    run = ran(engine, deadline=0.0)  # long ago, on any clock
    assert run.status is Status.STOPPED
    assert "its time was spent after 0 steps" in run.why


def test_a_covariance_that_is_none_is_a_divergence_without_an_approximation() -> None:
    run = ran(Scripted(says={"error": SINGULAR}))
    assert run.status is Status.DIVERGED
    assert run.approximation is None
    assert np.array_equal(run.loss, [1.0])


def test_time_is_limited_while_an_engine_runs_and_no_longer() -> None:
    density = density_of()
    engine = Scripted((2.0, 1.0))
    states = []

    class Watched(Scripted):
        def init(self, *given: Any) -> Any:
            states.append(super().init(*given))
            return states[-1]

    run_once(Watched(engine.losses), density, torch.zeros(1), seed=0, deadline=1e12)
    assert len(states[0].left) == 2
    assert all(0.0 < left < 1e12 for left in states[0].left)
    assert math.isinf(seconds_left())


def test_losses_are_those_of_the_outcome_by_their_names() -> None:
    run = ran(
        Scripted(({"a": 1.0, "b": 2.0}, {"a": 3.0}, {"a": 5.0}), says={"losses": slice(1, 3)})
    )
    assert list(run.losses) == ["a"]
    assert np.array_equal(run.loss, [3.0, 5.0])
    whole = ran(Scripted(({"a": 1.0}, {"a": 3.0, "b": 2.0})))
    np.testing.assert_array_equal(whole.losses["b"], [NAN, 2.0])
    assert list(ran(Scripted((1.0,))).losses) == ["loss"]


def test_what_an_outcome_says_is_in_the_run() -> None:
    run = ran(Scripted(says={"bound": -3.5, "notes": ("a note",), "errors": torch.ones(1)}))
    assert run.bound is not None
    assert (run.bound.value, run.bound.error) == (-3.5, 0.0)
    assert run.notes == ("a note",)
    assert run.errors is not None
    assert not run.passes


def test_an_engine_is_held_to_the_draws_that_it_declares() -> None:
    class Sampler(Scripted):
        capabilities = Capabilities(draws="chains")

    said = "Sampler declares that its draws are 'chains', and its .* Gaussian, gives 'independent'"
    with pytest.raises(EngineError, match=said):
        ran(Sampler())


def test_an_engine_that_converged_is_held_to_the_exact_bound_that_it_declares() -> None:
    class Exact(Scripted):
        capabilities = Capabilities(exact_bound=True)

    with pytest.raises(EngineError, match="Exact declares an exact bound, and its outcome has"):
        ran(Exact())
    assert ran(Exact(says={"bound": -1.0})).bound is not None
    assert ran(Exact(ends=False, max_steps=2)).bound is None  # it was stopped before it had one
