"""What is to come will take: so many evaluations of the density, one of which is timed.

Seconds are shown, and decide nothing: a fit must come out the same on a busy machine. What is
decided is decided by numbers of evaluations.
"""

import time
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from pyrovi.density import LogDensity

REPEATS, DEAR_REPEATS = 22, 3  # evaluations to time one: with them most densities are recorded
DEAR_NUMBERS = 200_000  # in one evaluation, of which few are made only to be timed

NUTS_CHAINS, NUTS_TRANSITIONS = 4, 1000  # half of which adapt the sampler
NUTS_EVALUATIONS = 25
"""Of each transition, the median of 10 to 67: eight schools, both ways, the groups, ordinal
and Student-t problems of `benchmarks/default.py`, and posteriordb's arK."""
NUTS_OVERHEAD = 1.3e-3
"""Seconds of Pyro's own for each evaluation: the median of the same, on a busy machine."""
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
    """Seconds that one evaluation at so many points takes, once it is recorded."""
    rows = flat.repeat(points, 1)
    repeats = DEAR_REPEATS if points * density.work > DEAR_NUMBERS else REPEATS
    return min(_seconds(density, rows) for _ in range(repeats))


def _seconds(density: LogDensity, rows: Float[Tensor, "draw dim"]) -> float:
    began = time.perf_counter()
    density.value_and_gradient(rows)
    return time.perf_counter() - began


def of_nuts(density: LogDensity, flat: Float[Tensor, "dim"]) -> float:
    """About how many seconds `NUTS_CALL` takes."""
    evaluations = NUTS_CHAINS * NUTS_TRANSITIONS * NUTS_EVALUATIONS
    return evaluations * (timed(density, flat, 1) + NUTS_OVERHEAD)
