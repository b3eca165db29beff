"""With how many threads of torch a model is evaluated fastest."""

import contextlib
import timeit
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pyrovi.density.log_density import LogDensity

MEASURED_WORK = 5_000  # numbers in one evaluation, below which more threads never help
SHARED_WORK = 100_000  # numbers in one evaluation, from which threads have something to share out
SHARED_SECONDS = 2e-3  # of one evaluation, below which asking would cost more than it saves
WORTH_IT = 0.8  # of the seconds with one thread


@contextlib.contextmanager
def fitting_threads(density: LogDensity) -> Iterator[int]:
    """Within this, torch uses the threads that were measured, or one for little work."""
    default = torch.get_num_threads()
    threads = density.threads or (1 if density.work < SHARED_WORK else default)
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(default)


def faster_threads(density: LogDensity, flat: Tensor) -> int:
    """One, or torch's default, whichever is faster at several points at once.

    On small tensors many threads can be ten times slower than one, on a busy machine above all.
    """
    default = torch.get_num_threads()
    if default == 1 or density.work < MEASURED_WORK:
        return 1
    rows = flat.expand(8, -1)
    try:
        alone = _seconds(density, rows, 1)
        together = _seconds(density, rows, default) if alone > SHARED_SECONDS else np.inf
    finally:
        torch.set_num_threads(default)
    return default if together < WORTH_IT * alone else 1


def _seconds(density: LogDensity, rows: Tensor, threads: int) -> float:
    torch.set_num_threads(threads)
    return min(timeit.repeat(lambda: density.value_and_gradient(rows), repeat=3, number=1))
