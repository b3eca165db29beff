"""What separate modes do to means and sds, each mode a normal of its own; and how many lack."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

COUNTS = 1e-4  # the least share of a mode that counts


def mixture_moments(
    share: Float[np.ndarray, "mode"],
    loc: Float[np.ndarray, "mode entry"],
    scale: Float[np.ndarray, "mode entry"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean, the sd and the kurtosis of each entry of a mixture of normals.

    >>> one = np.ones((1, 1))
    >>> [each.item() for each in mixture_moments(one[0], one, one)]
    [1.0, 1.0, 3.0]
    """
    mean = share @ loc
    squared, away = scale**2, (loc - mean) ** 2
    variance = share @ (squared + away)
    fourth = share @ (3 * squared**2 + 6 * squared * away + away**2)
    return mean, np.sqrt(variance), fourth / variance**2


def off_without(
    share: Float[np.ndarray, "mode"],
    loc: Float[np.ndarray, "mode entry"],
    scale: Float[np.ndarray, "mode entry"],
    held: Bool[np.ndarray, "mode"],
) -> tuple[float, float]:
    """How far the worst mean is off, in sds, and the worst ratio of sds, by the modes held alone.

    >>> two = np.array([0.5, 0.5]), np.array([[-3.0], [3.0]]), np.ones((2, 1))
    >>> [round(each, 2) for each in off_without(*two, np.array([True, False]))]
    [0.95, 0.32]
    """
    if not held.any():
        return np.inf, 0.0
    mean, sd, _ = mixture_moments(share, loc, scale)
    own = share[held] / share[held].sum()
    mean_of_held, sd_of_held, _ = mixture_moments(own, loc[held], scale[held])
    shift, ratio = np.abs(mean_of_held - mean) / sd, sd_of_held / sd
    return float(shift.max(initial=0.0)), float(ratio.min(initial=1.0))


def unseen(found: Sequence[int] | np.ndarray, shares: np.ndarray, searches: int) -> float:
    """The chance that one more search ends in a mode that counts and was not met before.

    Good and Turing's estimate: the share of the searches that alone met such a mode. Modes of next
    to no share of what was found are one to it: landscapes have tens of them.

    Args:
        found: How often each mode was met.
        shares: The share of the posterior about each.
        searches: How many searches ended, somewhere.

    >>> unseen([3, 1, 1], np.array([0.7, 0.3, 0.0]), 10)
    0.1
    """
    alone = (np.asarray(found) == 1) & (shares >= COUNTS)
    return float(alone.sum()) / max(1, searches)
