"""One run of an engine: how it ended, what it came to, and by which rungs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from torch import Tensor

from pyrovi.approximations import Approximation
from pyrovi.density import LogDensity
from pyrovi.infer.ladder.judge import Judgement
from pyrovi.optimise import Survey


class Status(StrEnum):
    """How a fit ended."""

    CONVERGED = "converged"
    STOPPED = "stopped"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class Bound:
    """An evidence lower bound in nats, and its Monte Carlo standard error: 0 if it is exact."""

    value: float
    error: float


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
        predicted: The seconds that were expected, before what is dear of it began; NaN where
            nothing is.
        of: The engine whose draws these are, resampled; empty where they are its own. The time is
            then that of resampling alone.
    """

    engine: str
    why: str
    steps: int
    seconds: float
    khat: float = np.nan
    status: str = "unjudged"
    worst: str = ""
    shift: float = np.nan
    ratio: float = np.nan
    chosen: bool = False
    predicted: float = np.nan
    of: str = ""

    def __str__(self) -> str:
        off = f"{self.worst}: mean off by {self.shift:+.2f} sd, sd {self.ratio:.2f} of it"
        khat = "" if np.isnan(self.khat) else f", k-hat {self.khat:.2f}"
        judged = f"{self.status} ({off}{khat})" if self.worst else self.status
        expected = "" if np.isnan(self.predicted) else f" (about {self.predicted:.1f} expected)"
        took = f"{self.engine}, {self.steps} steps, {self.seconds:.1f} s{expected}"
        return f"{took}: {judged}. {self.why}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of an engine, from one start: how it ended, and its `Outcome`.

    Attributes:
        status: How it ended.
        why: The same as a sentence.
        seconds: Wall time.
        losses: Every loss by its name, after each step; the first is the one that was judged.
        density: The density that the approximation is of.
        approximation: None where the run ended before there was any.
        bound: Its evidence lower bound, where there is one.
        notes, errors, rungs, judgement, survey: As in `Outcome`.
        interrupted: Whether the user stopped it (Ctrl-C): no other is to be begun.
    """

    status: Status
    why: str
    seconds: float
    losses: Mapping[str, np.ndarray]
    density: LogDensity = field(repr=False)
    approximation: Approximation | None = None
    bound: Bound | None = None
    notes: tuple[str, ...] = ()
    errors: Tensor | None = field(default=None, repr=False)
    rungs: tuple[Rung, ...] = ()
    judgement: Judgement | None = field(default=None, repr=False)
    survey: Survey | None = field(default=None, repr=False)
    interrupted: bool = False

    @property
    def loss(self) -> np.ndarray:
        """The loss that was judged, after each step."""
        return next(iter(self.losses.values()))

    @property
    def passes(self) -> bool:
        """Whether the approximation was held against the posterior, and passed."""
        return self.judgement is not None and self.judgement.passes
