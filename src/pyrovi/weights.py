"""Pareto-smoothed importance weights of draws from an approximation, and the shape of their tail.

Each draw is weighted by w = p(data, theta) / q(theta). The shape k of the largest weights says how
many draws an average needs: with k above 0.7 no number of them is enough.

Reference: Vehtari, Simpson, Gelman, Yao and Gabry (2024), JMLR 25(72); the threshold is its
min(1 - 1/log10 S, 0.7)
"""

import math
import warnings

import numpy as np

__all__ = [
    "EXACT_SPREAD",
    "K_FAIL",
    "K_USABLE",
    "MIN_DRAWS",
    "khat",
    "smooth",
    "threshold",
    "tied_tail",
]

K_USABLE = 0.7
"""Largest k at which weighted averages converge in practice (Vehtari et al. 2024)."""
K_FAIL = 1.0
"""From here on the weights have no finite mean (Vehtari et al. 2024)."""
EXACT_SPREAD = 0.01
"""Log weights within this of one another, in nats, leave no expectation changed by 1 %."""
MIN_DRAWS = 25
"""The tail then has five draws, the fewest that a Pareto can be fitted to."""


def threshold(draws: int) -> float:
    """The largest k at which ``draws`` draws can be reweighted, min(1 - 1/log10 S, 0.7).

    >>> round(threshold(1000), 3), round(threshold(4000), 3)
    (0.667, 0.7)
    """
    return min(1.0 - 1.0 / math.log10(draws), K_USABLE)


def khat(log_joint: np.ndarray, log_guide: np.ndarray) -> float:
    """The shape k of the importance weights of draws from a guide.

    Args:
        log_joint: log p(data, theta) at each draw, up to a constant.
        log_guide: log q(theta) at each draw, in the same space.

    Returns:
        k; 0.0 where the weights are constant, since the guide is then the posterior.

    >>> x = np.random.default_rng(0).normal(size=4000)
    >>> khat(-0.5 * x**2, -0.5 * x**2 + 3.0)
    0.0
    """
    return smooth(np.ravel(log_joint) - np.ravel(log_guide))[1]


def smooth(log_ratios: np.ndarray) -> tuple[np.ndarray, float]:
    """Smoothed log weights that sum to one, and k.

    Args:
        log_ratios: Finite log p - log q of each draw, up to a constant, in the natural order.
    """
    from scipy.special import logsumexp

    log_ratios = np.asarray(log_ratios, dtype=float)
    raw = log_ratios - logsumexp(log_ratios)
    if np.ptp(log_ratios) <= EXACT_SPREAD or tied_tail(log_ratios):
        return raw, 0.0
    from arviz_stats.base.array import array_stats  # almost a second the first time

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        # ArviZ takes the negative log ratios, as leave-one-out writes them. The other sign gives
        # plausible nonsense.
        smoothed, shape = array_stats.psislw(-log_ratios)
    # Beyond 745 nats the weights underflow, and ArviZ gives NaN weights with a small k: in truth
    # one draw has all the weight, the worst tail there is.
    fits = np.isfinite(shape) and not np.isnan(smoothed).any()
    return (smoothed, float(shape)) if fits else (raw, np.inf)


def tied_tail(log_ratios: np.ndarray) -> np.ndarray:
    """Whether the largest ratios, over the last axis, are all equal: no tail to fit."""
    size = log_ratios.shape[-1]
    tail = int(3 * size**0.5) if size > 225 else size // 5
    largest = np.partition(log_ratios, size - tail, axis=-1)[..., size - tail :]
    return np.asarray(np.ptp(largest, axis=-1) < 1e-12)
