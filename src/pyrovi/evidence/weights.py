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
MIN_DRAWS = 25
"""The tail then has five draws, the fewest that a Pareto can be fitted to."""


def threshold(draws: int) -> float:
    """The largest k at which ``draws`` draws can be reweighted, min(1 - 1/log10 S, 0.7).

    >>> round(threshold(1000), 3), round(threshold(4000), 3)
    (0.667, 0.7)
    """
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
    raw = log_ratios - _log_sum_exp(log_ratios)
    if np.ptp(log_ratios) <= EXACT_SPREAD or tied_tail(log_ratios):
        return raw, 0.0
    with np.errstate(all="ignore"):
        smoothed, shape = _smooth_tail(log_ratios - log_ratios.max())
    # Beyond 745 nats the weights underflow and the fitted tail is not a number: in truth one draw
    # has all the weight, the worst tail there is.
    fits = np.isfinite(shape) and not np.isnan(smoothed).any()
    return (smoothed, shape) if fits else (raw, np.inf)


def _smooth_tail(log_ratios: np.ndarray) -> tuple[np.ndarray, float]:
    """Log weights, the largest replaced by the quantiles of a Pareto fitted to them, and k.

    The same as ``arviz_stats``' ``psislw`` to rounding, without the second that its import takes.
    """
    size = len(log_ratios)
    tail = _tail_length(size)
    order = np.argsort(log_ratios)
    largest, cutoff = order[size - tail :], np.exp(log_ratios[order[size - tail - 1]])
    shape, scale = _fit_pareto(np.exp(log_ratios[largest]) - cutoff)
    smoothed = log_ratios.copy()
    if np.isfinite(shape):
        level = np.arange(0.5, tail) / tail
        quantile = cutoff + scale * np.expm1(-shape * np.log1p(-level)) / shape
        smoothed[largest] = np.minimum(np.log(quantile), log_ratios[largest[-1]])
    return smoothed - _log_sum_exp(smoothed), float(shape)


def _fit_pareto(excess: np.ndarray) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto, from sorted values above the cutoff.

    Zhang and Stephens (2009, https://doi.org/10.1198/tech.2009.08017), the shape drawn to 0.5 as
    if by ten more values (Vehtari et al. 2024, appendix G).
    """
    count = len(excess)
    places = 30 + int(count**0.5)
    first_quartile = excess[int(count / 4 + 0.5) - 1]
    rate = (1 - np.sqrt(places / (np.arange(1, places + 1) - 0.5))) / (3 * first_quartile)
    rate = rate + 1 / excess[-1]
    shapes = np.log1p(-rate[:, None] * excess).mean(1)
    profile = count * (np.log(-rate / shapes) - shapes - 1)
    weight = np.exp(profile - _log_sum_exp(profile))
    weight[weight < 10 * np.finfo(float).eps] = 0.0
    mean_rate = (rate * weight).sum() / weight.sum()
    shape = np.log1p(-mean_rate * excess).mean()
    return (count * shape + 10 * 0.5) / (count + 10), -shape / mean_rate


def _log_sum_exp(values: np.ndarray) -> float:
    largest = values.max()
    return float(largest + np.log(np.exp(values - largest).sum()))


def _tail_length(size: int) -> int:
    return int(3 * size**0.5) if size > 225 else size // 5


def tied_tail(log_ratios: np.ndarray) -> np.ndarray:
    """Whether the largest ratios, over the last axis, are all equal: no tail to fit."""
    size = log_ratios.shape[-1]
    tail = _tail_length(size)
    largest = np.partition(log_ratios, size - tail, axis=-1)[..., size - tail :]
    return np.asarray(np.ptp(largest, axis=-1) < 1e-12)
