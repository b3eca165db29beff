"""What is to come will take: so many evaluations of the density, one of which is timed.

Seconds are shown, and decide nothing: a fit must come out the same on a busy machine. What is
decided is decided by numbers of evaluations.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.density import LogDensity
from pyrovi.optimise import LEAPFROGS, move

REPEATS = 4  # of what is timed: most densities are recorded in the third, and faster in the last
DEAR_NUMBERS = 200_000  # in one evaluation, which then takes longer than all about it
TIMED_STEP = 1e-3  # of a trajectory, which may begin anywhere

NUTS_CHAINS, NUTS_TRANSITIONS = 4, 1000  # half of which adapt the sampler
NUTS_EVALUATIONS = 25
"""Of each transition, the median of 10 to 67: eight schools, both ways, the groups, ordinal
and Student-t problems of `benchmarks/default.py`, and posteriordb's arK."""
NUTS_OVERHEAD = 1.3e-3
"""Seconds of Pyro's own for each of them: the median of the same, on a busy machine."""
NUTS_CALL = "NUTS(draws=500, warmup=500), four restarts,"


@dataclass(frozen=True)
class Price:
    """Evaluations, of values and gradients.

    Attributes:
        evaluations: How many.
        points: At how many points each.
    """

    evaluations: int
    points: int

    def seconds(self, density: LogDensity, flat: Float[Tensor, "dim"]) -> float:
        """About how long they take, from one that is timed at a flat vector."""
        return self.evaluations * timed(density, flat, self.points)


def timed(density: LogDensity, flat: Float[Tensor, "dim"], points: int) -> float:
    """Seconds that one evaluation at so many points takes, the leapfrog step about it included."""
    rows = flat.repeat(points, 1)
    if density.recordings.long or points * density.work > DEAR_NUMBERS:
        return _seconds(partial(density.value_and_gradient, rows))
    factor = TIMED_STEP * torch.eye(density.dim, dtype=flat.dtype)
    trajectory = partial(move, density, rows, factor, transitions=1, kept=1, seed=0)
    return _seconds(trajectory) / (LEAPFROGS + 1)


def _seconds(function: Callable[[], object]) -> float:
    """The least of a few calls: others run on the machine as well."""
    ticks = [time.perf_counter()]
    for _ in range(REPEATS):
        function()
        ticks.append(time.perf_counter())
    return min(after - before for before, after in pairwise(ticks))


def of_nuts(density: LogDensity, flat: Float[Tensor, "dim"]) -> float:
    """About how many seconds `NUTS_CALL` takes."""
    evaluations = NUTS_CHAINS * NUTS_TRANSITIONS * NUTS_EVALUATIONS
    return evaluations * (timed(density, flat, 1) + NUTS_OVERHEAD)
