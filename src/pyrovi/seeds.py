"""One seed in, independent named streams out; and the global generators put back.

>>> stream(7, "fit") == stream(7, "fit")
True
>>> stream(7, "fit") == stream(7, "draw")
False
"""

import contextlib
import hashlib
import random
import secrets
from collections.abc import Iterator

import numpy as np

from pyrovi.errors import DataError

SEED_BOUND = 2**32


def check_seed(seed: int | np.integer | None) -> int:
    """The seed to use: ``seed`` itself, or for ``None`` one from the operating system.

    Raises:
        DataError: If ``seed`` is not an integer from 0 to 2**32 - 1.
    """
    if seed is None:
        return secrets.randbelow(SEED_BOUND)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise DataError(f"seed must be an integer, and {seed!r} came. Pass e.g. seed=0.")
    if not 0 <= seed < SEED_BOUND:
        raise DataError(f"seed must lie between 0 and 2**32 - 1, and {seed} came.")
    return int(seed)


def stream(seed: int, *names: str | int) -> int:
    """The seed of the stream called ``names``, independent of every other name's."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


@contextlib.contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's global generators, and put all three back after."""
    import torch  # here, because diagnostics use `stream` and never need torch

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        try:
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            torch.manual_seed(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
