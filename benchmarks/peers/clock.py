"""The clock of one run: when a checkpoint is due, when to stop, and what was noted."""

import resource
import time
from dataclasses import dataclass, field

import numpy as np

__all__ = ["CHUNK", "Clock", "Gaussian", "cpu_seconds"]

CHUNK = 100  # steps between two looks: as many as are compiled into one loop
GROWTH = 1.15  # of the steps from one checkpoint to the next
MOST_STEPS = 100_000


def cpu_seconds() -> float:
    """Of all threads since the process was started, compilers that it called included."""
    called = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + called.ru_utime + called.ru_stime


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian over the flat vector.

    Attributes:
        loc: Its mean.
        scale: Its standard deviations, or the lower triangle of its covariance's root.
    """

    loc: np.ndarray
    scale: np.ndarray


@dataclass
class Clock:
    """Counts from the start of the process, so that imports and compilation count too.

    Attributes:
        limit: Seconds after which to stop.
        steps: Stop after so many exactly, and note nothing before; None to go on to the limit.
    """

    limit: float
    steps: int | None = None
    noted: list[tuple[int, float, Gaussian]] = field(default_factory=list)
    paused: float = 0.0
    enough: bool = False
    _next: float = CHUNK

    def seconds(self) -> float:
        """CPU seconds since the process was started, without pauses."""
        return cpu_seconds() - self.paused

    def over(self, step: int) -> bool:
        """Whether to stop after ``step`` steps."""
        if self.steps is not None:
            return step >= self.steps
        return self.enough or step >= MOST_STEPS or self.seconds() > self.limit

    def due(self, step: int) -> bool:
        """Whether to note the parameters after ``step`` steps."""
        return self.steps is None and step % CHUNK == 0 and step >= self._next

    def note(self, step: int, found: Gaussian) -> None:
        """Keep the parameters, and when they were reached."""
        self.noted.append((step, self.seconds(), found))
        self._next = GROWTH * step
