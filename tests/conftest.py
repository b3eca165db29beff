"""What every test starts from."""

import os
import sys
from collections.abc import Iterator

import pytest

# Before anything imports torch: on small tensors one thread is up to ten times faster than four,
# and the tests already share the cores between processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _no_parameters_are_left() -> Iterator[None]:
    """Pyro keeps parameters in one store for the whole process."""
    yield
    if "pyro" in sys.modules:
        sys.modules["pyro"].clear_param_store()
