"""Gold-standard posteriors for tests, where ``../shared/posteriordb`` lies beside the repository.

`POSTERIORS` is empty where it does not, so tests over it collect nothing; `posterior` skips.
"""

from functools import cache

import pytest

from gold import FOLDER, Posterior, names, read

__all__ = ["FOLDER", "POSTERIORS", "Posterior", "needs_posteriordb", "posterior"]

POSTERIORS = names(FOLDER)

needs_posteriordb = pytest.mark.skipif(not POSTERIORS, reason=f"no posteriordb at {FOLDER}")


@cache
def posterior(name: str) -> Posterior:
    """The posterior called ``name``; the test that asks is skipped where there is none."""
    if name not in POSTERIORS:
        pytest.skip(f"no posteriordb posterior {name!r} at {FOLDER}")
    return read(name, FOLDER)
