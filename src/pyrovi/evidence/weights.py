"""Pareto-smoothed importance weights of draws from an approximation, and the shape of their tail.

Each draw is weighted by w = p(data, theta) / q(theta). The shape k of the largest weights says how
many draws an average needs: with k above 0.7 no number of them is enough.

Reference: Vehtari, Simpson, Gelman, Yao and Gabry (2024), JMLR 25(72); the threshold is its
min(1 - 1/log10 S, 0.7)
"""

import math
from collections.abc import Iterator

import numpy as np

from pyrovi.clock import check_time
from pyrovi.evidence.limits import KHAT

EXACT_SPREAD = 0.01
"""Log weights within this of one another, in nats, leave no expectation changed by 1 %."""
LARGEST, EVEN_SHAPE = 30.0, 0.5
"""Averages that no weight is beyond where most draws are effective, and the largest k that then
can be: that of weights whose variance is finite."""
TIED = 1e-12
"""Log weights within this of one another, in nats, are the same."""
MIN_DRAWS = 25
"""The tail then has five draws, the fewest that a Pareto can be fitted to."""
BLOCK = 32
"""Series whose weights are smoothed at once: few enough to stay in a processor's cache."""
TURNED, TILE = 256, 128
"""Columns that are made rows at once, and how many entries of each: few enough to stay in a cache,
and enough to use all of a page of memory."""


def threshold(draws: int) -> float:
    """The largest k at which ``draws`` draws can be reweighted, min(1 - 1/log10 S, 0.7).

    >>> round(threshold(1000), 3), round(threshold(4000), 3), threshold(1)
    (0.667, 0.7, -inf)
    """
    if draws < 2:
        return -math.inf
    return min(1.0 - 1.0 / math.log10(draws), KHAT.high)


def khat_error(k: np.ndarray, draws: int) -> np.ndarray:
    """The Monte Carlo error of k, estimated from the tail of ``draws`` independent draws.

    That of the largest likelihood, (1 + k) over the root of the tail's length (Smith 1985,
    Biometrika 72(1)).

    >>> khat_error(np.array([0.7]), 4000).round(2)
    array([0.12])
    """
    return (1 + k) / math.sqrt(_tail_length(draws))


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
    if np.ptp(log_ratios) <= EXACT_SPREAD:
        return log_ratios - _log_sum_exp(log_ratios), 0.0
    log_weights, k = smooth_each(log_ratios[None])
    return log_weights[0], float(k[0])


def _even(log_weights: np.ndarray) -> np.ndarray:
    """Of rows of weights, in which half are effective and none is far above the average.

    A Pareto fitted to the few largest of such weights may be of any shape. Of a shape of 0.7 the
    largest of a thousand is about forty averages, and a third of the draws are effective.
    """
    weights = np.exp(log_weights - log_weights.max(1, keepdims=True))
    mean = weights.mean(1)
    return (mean**2 > 0.5 * (weights**2).mean(1)) & (LARGEST * mean > 1.0)


def as_rows(*matrices: np.ndarray) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """Few columns of matrices ``(S, n)`` at once, as rows that a processor's cache holds.

    >>> [(own.start, rows.shape) for own, [rows] in as_rows(np.zeros((5, 40)))]
    [(0, (32, 5)), (32, (8, 5))]
    """
    count = matrices[0].shape[1]
    for start in range(0, count, TURNED):
        turned = [_turned(each[:, start : start + TURNED]) for each in matrices]
        for at in range(0, min(TURNED, count - start), BLOCK):
            check_time()
            own = slice(start + at, start + at + BLOCK)
            yield own, [rows[at : at + BLOCK] for rows in turned]


def _turned(columns: np.ndarray) -> np.ndarray:
    """A matrix's columns as rows, copied tile by tile: many times as fast as all at once."""
    rows = np.empty(columns.shape[::-1], columns.dtype)
    for at in range(0, len(columns), TILE):
        rows[:, at : at + TILE] = columns[at : at + TILE].T
    return rows


def smooth_each(log_ratios: np.ndarray, efficiency: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed log weights of many series that each sum to one, shape (n, S), and their k's (n,).

    The same as ``arviz_stats``' ``psislw`` to rounding, without the second that its import takes,
    nor a call for each series. Where the largest weight is more than 170 nats above others of the
    tail, it is beyond what a Pareto is fitted to in double precision: in truth one draw has all
    the weight. The log weights are then as they came, and k is infinite, the worst there is. They
    are so too where the tail is all one value, and k is zero: there is nothing to smooth. Of
    weights that hardly vary k is at most `EVEN_SHAPE`, as ArviZ's need not be.

    Args:
        log_ratios: Finite, shape (n, S), in the natural order.
        efficiency: Effective draws per draw, of a Markov chain.
    """
    tail = _tail_length(log_ratios.shape[1], efficiency)
    log_weights, k = np.empty_like(log_ratios), np.empty(len(log_ratios))
    for at in range(0, len(log_ratios), BLOCK):
        part = slice(at, at + BLOCK)
        with np.errstate(all="ignore"):
            log_weights[part], k[part] = _smooth_tails(log_ratios[part], tail)
    large = np.flatnonzero(k > EVEN_SHAPE)
    k[large[_even(log_ratios[large])]] = EVEN_SHAPE
    return log_weights, k


def _smooth_tails(log_ratios: np.ndarray, tail: int) -> tuple[np.ndarray, np.ndarray]:
    """Log weights, the largest replaced by the quantiles of a Pareto fitted to them, and k."""
    below = log_ratios.shape[1] - tail - 1
    order = np.argpartition(log_ratios, below, axis=1)[:, below:]
    values = np.take_along_axis(log_ratios, order, axis=1)
    ranks = 1 + np.argsort(values[:, 1:], axis=1)
    largest = np.take_along_axis(order, ranks, axis=1)
    largest_values = np.take_along_axis(values, ranks, axis=1)
    top, spread = largest_values[:, -1:], np.ptp(largest_values, axis=1)
    smoothed, k = _as_paretos(np.exp(values[:, :1] - top), np.exp(largest_values - top))
    tied = spread < TIED
    fits = np.isfinite(k) & ~np.isnan(smoothed).any(1) & ~tied
    log_weights = log_ratios - top
    log_weights[np.flatnonzero(fits)[:, None], largest[fits]] = smoothed[fits]
    log_weights -= np.log(np.exp(log_weights).sum(1, keepdims=True))
    return log_weights, np.where(fits, k, np.where(tied, 0.0, np.inf))


def _as_paretos(cutoff: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The log quantiles of a Pareto fitted to each row of sorted weights, none above 1, and k."""
    shape, scale = _fit_paretos(weights - cutoff)
    level = np.arange(0.5, weights.shape[1]) / weights.shape[1]
    quantile = cutoff + scale * np.expm1(-shape * np.log1p(-level)) / shape
    return np.minimum(np.log(quantile), 0.0), shape[:, 0]


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
    shapes = _mean_logs(rate, excess)
    profile = count * (np.log(-rate / shapes) - shapes - 1)
    weight = np.exp(profile - profile.max(1, keepdims=True))
    weight /= weight.sum(1, keepdims=True)
    weight[weight < 10 * np.finfo(float).eps] = 0.0
    mean_rate = (rate * weight).sum(1, keepdims=True) / weight.sum(1, keepdims=True)
    shape = np.log1p(-mean_rate * excess).mean(1, keepdims=True)
    return (count * shape + 10 * 0.5) / (count + 10), -shape / mean_rate


def _mean_logs(rate: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """The mean over the values of log(1 - rate * value), for each row and rate.

    Four terms share a logarithm, that of their product.
    """
    values = np.stack([np.ones_like(excess), excess], axis=2)
    terms = values @ np.stack([np.ones_like(rate), -rate], axis=1)
    count = excess.shape[1]
    for _ in range(2):
        half = count // 2
        terms[:, :half] *= terms[:, count - half : count]
        count -= half
    return np.log(terms[:, :count]).sum(1) / excess.shape[1]


def _log_sum_exp(values: np.ndarray) -> float:
    largest = values.max()
    return float(largest + np.log(np.exp(values - largest).sum()))


def _tail_length(size: int, efficiency: float = 1.0) -> int:
    return int(3 * (size / efficiency) ** 0.5) if size * efficiency > 225 else size // 5
