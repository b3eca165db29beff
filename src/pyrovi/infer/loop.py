"""The one loop: budgets, non-finite losses, progress and status, for every engine alike."""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from pyrovi.approximations import Approximation
from pyrovi.density import LogDensity, OutOfTime

__all__ = [
    "Engine",
    "Recorded",
    "Run",
    "Rung",
    "Status",
    "run",
    "settings_that_differ",
]

PROGRESS_INTERVAL = 0.2  # seconds between two looks at the progress bar


class Status(StrEnum):
    """How a fit ended."""

    CONVERGED = "converged"
    STOPPED = "stopped"
    DIVERGED = "diverged"


@runtime_checkable
class Engine(Protocol):
    """An inference algorithm: frozen settings, and what the loop calls in turn.

    ``init`` makes the state, ``step`` advances it once and gives the loss reached (minus the
    ELBO in nats, or minus the log density where there is none), ``converged`` says whether to
    stop, ``approximation`` reads the result off the state.
    """

    @property
    def max_steps(self) -> int:
        """How many steps to take at the most."""
        ...

    def init(self, density: LogDensity, start: Tensor, seed: int) -> Any:
        """The state before the first step, at the flat vector ``start``."""
        ...

    def step(self, state: Any) -> float:
        """Advance ``state`` by one step, and give the loss."""
        ...

    def converged(self, state: Any) -> bool:
        """Whether ``state`` is as good as this engine will make it."""
        ...

    def approximation(self, state: Any) -> Approximation:
        """What the engine found."""
        ...


@dataclass(frozen=True)
class Recorded:
    """The engine of a fit that was read from a file: what it was, not something to run.

    Attributes:
        text: As the engine itself was shown.
    """

    text: str

    def __repr__(self) -> str:
        """As the engine itself was shown."""
        return self.text


@dataclass(frozen=True)
class Rung:
    """What one engine of several came to, within one run.

    Attributes:
        engine: The engine, as it was set.
        why: Why it was tried.
        steps: How many it took.
        seconds: Wall time, judging included.
        khat: The shape of its importance weights; NaN where it has none.
        status: ``ok``, ``warn``, ``fail`` or ``unjudged``: how it held against the posterior.
        worst: The quantity that is farthest off.
        shift: By how many sds the mean of that is off.
        ratio: Its sd, in sds of the posterior.
        chosen: Whether it is the answer.
    """

    engine: str
    why: str
    steps: int
    seconds: float
    khat: float
    status: str
    worst: str
    shift: float
    ratio: float
    chosen: bool = False

    def __str__(self) -> str:
        """One line."""
        found = f"{self.worst}: mean off by {self.shift:+.2f} sd, sd {self.ratio:.2f} of it"
        khat = "" if np.isnan(self.khat) else f", k-hat {self.khat:.2f}"
        judged = f"{self.status} ({found}{khat})" if self.worst else self.status
        return f"{self.engine}, {self.steps} steps, {self.seconds:.1f} s: {judged}. {self.why}"


@dataclass(frozen=True)
class Run:
    """One run of an engine, from one start.

    Attributes:
        approximation: What it found; None where it diverged before there was anything.
        status: How it ended.
        why: The same as a sentence.
        loss: Minus the ELBO at each step, in nats.
        seconds: Wall time.
        notes: What the engine has to say about the result.
        rungs: What each engine came to, where several were tried.
        judgement: What they found of the approximation.
        errors: How far other fixed draws would move each flat mean, in its sds; None where the
            engine has none.
    """

    approximation: Approximation | None
    status: Status
    why: str
    loss: np.ndarray
    seconds: float
    notes: tuple[str, ...] = field(default=())
    rungs: tuple[Rung, ...] = field(default=())
    judgement: Any = field(default=None, repr=False)
    errors: Tensor | None = field(default=None, repr=False)


def run(
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

    Args:
        engine: The engine.
        density: The density to approximate.
        start: The flat vector to start at.
        seed: Seeds whatever the engine draws; the caller has seeded the global generators.
        deadline: On the clock of `time.perf_counter`, when to stop.
        progress: Whether to show a bar; None for only in a terminal or a notebook.
        label: What the bar is called.
    """
    began = time.perf_counter()
    losses: list[float] = []
    state = None
    density.deadline = deadline
    try:
        state = engine.init(density, start, seed)
        with _bar(engine.max_steps, label, progress) as bar:
            status, why = _steps(engine, state, losses, bar)
    except OutOfTime:
        status, why = Status.STOPPED, f"its time was spent after {len(losses)} steps"
    density.deadline = None
    approximation = None
    if state is not None:
        try:
            approximation = engine.approximation(state)
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            status, why = Status.DIVERGED, "its covariance is not positive definite"
    seconds = time.perf_counter() - began
    return Run(
        approximation=approximation,
        status=status,
        why=why,
        loss=np.array(losses)[getattr(state, "losses", slice(None))],
        seconds=seconds,
        notes=tuple(getattr(state, "notes", ())),
        rungs=getattr(state, "rungs", ()),
        judgement=getattr(state, "judgement", None),
        errors=getattr(state, "errors", None),
    )


def _steps(engine: Engine, state: Any, losses: list[float], bar: Any) -> tuple[Status, str]:
    """Step until the engine has converged or diverged or used its steps; note each loss."""
    for taken in range(1, engine.max_steps + 1):
        loss = engine.step(state)
        losses.append(loss)
        if not np.isfinite(loss):
            return Status.DIVERGED, f"the loss became {loss} at step {taken}"
        bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
        bar.update()
        if engine.converged(state):
            return Status.CONVERGED, f"it converged after {taken} steps"
    return Status.STOPPED, f"it took its {engine.max_steps} steps without converging"


def settings_that_differ(engine: Any, /, **shown: str) -> str:
    """An engine's repr: its settings that are not the defaults, and those in ``shown`` as given.

    >>> from pyrovi.infer import DADVI
    >>> DADVI(whiten=True)
    DADVI(whiten=True)
    """
    parts = dict(shown)
    for each in fields(engine):
        value = getattr(engine, each.name)
        if each.name not in shown and value != each.default:
            parts[each.name] = repr(value)
    return f"{type(engine).__name__}({', '.join(f'{k}={v}' for k, v in parts.items())})"


@contextlib.contextmanager
def _bar(total: int, label: str, progress: bool | None) -> Iterator[Any]:
    shown = _watched() if progress is None else progress
    with tqdm(
        total=total, desc=label, disable=not shown, leave=False, mininterval=PROGRESS_INTERVAL
    ) as bar:
        yield bar


def _watched() -> bool:
    """Whether anybody can see a progress bar: a terminal, or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules
