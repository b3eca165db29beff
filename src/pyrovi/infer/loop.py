"""The one loop: budgets, non-finite losses, progress and status, for every engine alike."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovi.clock import OutOfTime, check_time, until
from pyrovi.density import LogDensity
from pyrovi.errors import EngineError
from pyrovi.infer.engine import Engine, Loss, NothingYet, Outcome, first_of
from pyrovi.infer.run import Bound, Run, Status
from pyrovi.progress import bar, shown

TORCHS: Any = torch.linalg  # whose stub lacks the error
SINGULAR = (TORCHS.LinAlgError, np.linalg.LinAlgError)


def run_once(
    engine: Engine,
    density: LogDensity,
    start: Tensor,
    *,
    seed: int,
    deadline: float | None = None,
    progress: bool | None = None,
    label: str = "",
) -> Run:
    """Run an engine from ``start`` until it converges, or a budget is spent, or it diverges.

    The caller has seeded the global generators; ``seed`` is for whatever the engine draws itself.
    An interruption (Ctrl-C) stops it, with what there is so far; where that is nothing, it goes on
    to the caller.
    ``deadline`` is on the clock of `time.perf_counter`; ``label`` is that of the progress bar.
    """
    began = time.perf_counter()
    losses: list[Loss] = []
    state, interrupted = None, None
    try:
        with until(deadline), shown(progress), bar(engine.max_steps, label) as steps:
            state = engine.init(density, start, seed)
            status, why = _steps(engine, state, losses, steps)
    except OutOfTime:
        status, why = Status.STOPPED, f"its time was spent after {len(losses)} steps"
    except KeyboardInterrupt as asked:
        status, why = Status.STOPPED, f"it was interrupted after {len(losses)} steps"
        interrupted = asked
    except SINGULAR:
        status, why = Status.DIVERGED, f"a matrix had no factor after {len(losses)} steps"
    outcome = None
    if state is not None:
        try:
            outcome = engine.outcome(state)
        except NothingYet:
            pass
        except SINGULAR:
            status, why = Status.DIVERGED, "its covariance is not positive definite"
    if outcome is None and interrupted is not None:
        raise interrupted
    ended: Any = {"status": status, "why": why, "seconds": time.perf_counter() - began}
    ended["interrupted"] = interrupted is not None
    if outcome is None:
        return Run(losses=_by_name(losses), density=density, **ended)
    _hold(engine, outcome, status)
    return Run(
        losses=_by_name(losses[outcome.losses or slice(None)]),
        density=outcome.approximation.density,
        approximation=outcome.approximation,
        bound=None if outcome.bound is None else Bound(outcome.bound, 0.0),
        notes=outcome.notes,
        errors=outcome.errors,
        rungs=outcome.rungs,
        judgement=outcome.judgement,
        survey=outcome.survey,
        **ended,
    )


def _hold(engine: Engine, outcome: Outcome, status: Status) -> None:
    """Hold an engine to what it declares.

    Raises:
        EngineError: If what it came to is something else.
    """
    declared, name = engine.capabilities, type(engine).__name__
    kind = outcome.approximation.draw_kind
    if declared.draws not in (None, kind):
        raise EngineError(
            f"{name} declares that its draws are {declared.draws!r}, and its approximation, a "
            f"{type(outcome.approximation).__name__}, gives {kind!r}. Make one of them say what "
            "the other does."
        )
    if declared.exact_bound and status is Status.CONVERGED and outcome.bound is None:
        raise EngineError(
            f"{name} declares an exact bound, and its outcome has none. Give Outcome a bound, or "
            "declare exact_bound=False."
        )


def _by_name(losses: list[Loss]) -> dict[str, np.ndarray]:
    """Every loss by its name, NaN at steps that did not give it; one alone is ``"loss"``."""
    rows = [each if isinstance(each, Mapping) else {"loss": each} for each in losses]
    names = dict.fromkeys(name for row in rows for name in row) or ("loss",)
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}


def _steps(engine: Engine, state: Any, losses: list[Loss], steps: Any) -> tuple[Status, str]:
    """Step until the engine has converged or diverged or used its steps; note each loss."""
    expected = engine.capabilities.expected
    for taken in range(1, engine.max_steps + 1):
        if expected is not None:
            steps.total = expected(state)
        check_time()  # of engines that do not evaluate the density themselves
        losses.append(engine.step(state))
        loss = first_of(losses[-1])
        if not np.isfinite(loss):
            return Status.DIVERGED, f"the loss became {loss} at step {taken}"
        steps.set_postfix(loss=f"{loss:.4g}", refresh=False)
        steps.update()
        if engine.converged(state):
            return Status.CONVERGED, f"it converged after {taken} steps"
    return Status.STOPPED, f"it took its {engine.max_steps} steps without converging"
