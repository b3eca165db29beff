"""Pareto-smoothed importance weights of draws from an approximation, and the shape of their tail.

Each draw is weighted by w = p(data, theta) / q(theta). The shape k of the largest weights says how
many draws an average needs: with k above 0.7 no number of them is enough.

Reference: Vehtari, Simpson, Gelman, Yao and Gabry (2024), JMLR 25(72); the threshold is its
min(1 - 1/log10 S, 0.7)
"""

import math

import numpy as np

from pyrovi.evidence.limits import KHAT

EXACT_SPREAD = 0.01
"""Log weights within this of one another, in nats, leave no expectation changed by 1 %."""
LARGEST, EVEN_SHAPE = 30.0, 0.5
"""Averages that no weight is beyond where most draws are effective, and the largest k that then
can be: that of weights whose variance is finite."""
MIN_DRAWS = 25
"""The tail then has five draws, the fewest that a Pareto can be fitted to."""
BLOCK = 32
"""Series whose weights are smoothed at once: few enough to stay in a processor's cache."""


def threshold(draws: int) -> float:
    """The largest k at which ``draws`` draws can be reweighted, min(1 - 1/log10 S, 0.7).

    >>> round(threshold(1000), 3), round(threshold(4000), 3), threshold(1)
    (0.667, 0.7, -inf)
    """
    if draws < 2:
        return -math.inf
    return min(1.0 - 1.0 / math.log10(draws), KHAT.high)


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
    log_ratios = np.asarray(log_ratios, dtype=float)
    if np.ptp(log_ratios) <= EXACT_SPREAD or tied_tail(log_ratios):
        return log_ratios - _log_sum_exp(log_ratios), 0.0
    log_weights, k = smooth_each(log_ratios[None])
    shape = float(k[0])
    raw = log_ratios - log_ratios.max()
    return log_weights[0], min(shape, EVEN_SHAPE) if shape > EVEN_SHAPE and _even(raw) else shape


def _even(log_weights: np.ndarray) -> bool:
    """Whether half of the draws are effective, and no weight is far above the average.

    A Pareto fitted to the few largest of such weights may be of any shape. Of a shape of 0.7 the
    largest of a thousand is about forty averages, and a third of the draws are effective.
    """
    weights = np.exp(log_weights)
    effective = weights.sum() ** 2 / (weights**2).sum()
    return bool(effective > len(weights) / 2 and weights.max() < LARGEST * weights.mean())


def smooth_each(log_ratios: np.ndarray, efficiency: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed log weights of many series that each sum to one, shape (n, S), and their k's (n,).

    The same as ``arviz_stats``' ``psislw`` to rounding, without the second that its import takes,
    nor a call for each series. Beyond 745 nats the weights underflow and the fitted tail is not a
    number: in truth one draw has all the weight. The log weights are then as they came, and k is
    infinite, the worst there is.

    Args:
        log_ratios: Finite, shape (n, S), in the natural order; no tail may be all one value.
        efficiency: Effective draws per draw, of a Markov chain.
    """
    tail = _tail_length(log_ratios.shape[1], efficiency)
    log_weights, k = np.empty_like(log_ratios), np.empty(len(log_ratios))
    for at in range(0, len(log_ratios), BLOCK):
        part = slice(at, at + BLOCK)
        with np.errstate(all="ignore"):
            log_weights[part], k[part] = _smooth_tails(log_ratios[part], tail)
    return log_weights, k


def _smooth_tails(log_ratios: np.ndarray, tail: int) -> tuple[np.ndarray, np.ndarray]:
    """Log weights, the largest replaced by the quantiles of a Pareto fitted to them, and k."""
    log_ratios = log_ratios - log_ratios.max(1, keepdims=True)
    last = log_ratios.shape[1] - tail
    order = np.argpartition(log_ratios, (last - 1, last), axis=1)[:, last - 1 :]
    values = np.take_along_axis(log_ratios, order, axis=1)
    cutoff, largest = np.exp(values[:, :1]), order[:, 1:]
    ranks = np.argsort(values[:, 1:], axis=1)
    largest = np.take_along_axis(largest, ranks, axis=1)
    excess = np.exp(np.take_along_axis(log_ratios, largest, axis=1)) - cutoff
    shape, scale = _fit_paretos(excess)
    level = np.arange(0.5, tail) / tail
    quantile = cutoff + scale * np.expm1(-shape * np.log1p(-level)) / shape
    smoothed = np.minimum(np.log(quantile), 0.0)
    fits = np.isfinite(shape[:, 0]) & ~np.isnan(smoothed).any(1)
    at = np.arange(len(largest))[fits, None]
    log_ratios[at, largest[fits]] = smoothed[fits]
    log_weights = log_ratios - np.log(np.exp(log_ratios).sum(1, keepdims=True))
    return log_weights, np.where(fits, shape[:, 0], np.inf)


def _fit_paretos(excess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shape and scale of a generalised Pareto for each row of sorted values above its cutoff.

    Zhang and Stephens (2009, https://doi.org/10.1198/tech.2009.08017), the shape drawn to 0.5 as
    if by ten more values (Vehtari et al. 2024, appendix G).
    """
    count = excess.shape[1]
    places = 30 + int(count**0.5)
    first_quartile = excess[:, int(count / 4 + 0.5) - 1, None]
    rate = (1 - np.sqrt(places / (np.arange(1, places + 1) - 0.5))) / (3 * first_quartile)
    rate = rate + 1 / excess[:, -1:]
    shapes = np.log1p(-rate[..., None] * excess[:, None]).mean(2)
    profile = count * (np.log(-rate / shapes) - shapes - 1)
    weight = np.exp(profile - profile.max(1, keepdims=True))
    weight /= weight.sum(1, keepdims=True)
    weight[weight < 10 * np.finfo(float).eps] = 0.0
    mean_rate = (rate * weight).sum(1, keepdims=True) / weight.sum(1, keepdims=True)
    shape = np.log1p(-mean_rate * excess).mean(1, keepdims=True)
    return (count * shape + 10 * 0.5) / (count + 10), -shape / mean_rate


def _log_sum_exp(values: np.ndarray) -> float:
    largest = values.max()
    return float(largest + np.log(np.exp(values - largest).sum()))


def _tail_length(size: int, efficiency: float = 1.0) -> int:
    return int(3 * (size / efficiency) ** 0.5) if size * efficiency > 225 else size // 5


def tied_tail(log_ratios: np.ndarray) -> np.ndarray:
    """Whether the largest ratios, over the last axis, are all equal: no tail to fit."""
    size = log_ratios.shape[-1]
    tail = _tail_length(size)
    largest = np.partition(log_ratios, size - tail, axis=-1)[..., size - tail :]
    return np.asarray(np.ptp(largest, axis=-1) < 1e-12)
