"""Means and sds of draws, and how far two of them differ beyond their Monte Carlo error."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from pyrovi.evidence import limits
from pyrovi.evidence.limits import CORRECTION_ERRORS, SD_RATIO, SHIFT, Limit, Status, first_case

REACH = 1.5
"""Ranges of 96 % of the draws, from the median: 6 sds of a Gaussian; one in 75 draws of a Cauchy.
A narrower range would lose the slab of a quantity that is mostly a spike."""
LEAST_SHARE = 0.01
"""Of a variance that chains have: what they head for has no less."""
LOG_SD_RATIO = math.log(SD_RATIO.high), math.log(SD_RATIO.fail_high)
AT_ONCE = 128
"""Quantities that are reweighted together."""


class Effect(NamedTuple):
    """How large a difference is, its error, and from where on it is too large."""

    size: float
    error: float
    warn: float
    fail: float


@dataclass(frozen=True)
class Difference:
    """How the draws of one quantity differ from another account of it, each with its error.

    Attributes:
        shift: (mean - other mean) / other sd.
        shift_error: Its Monte Carlo error.
        ratio: sd / other sd.
        ratio_error: The Monte Carlo error of its logarithm.
        mean: The other mean.
        sd: The other sd.
        errors: Monte Carlo errors that an effect must have: more where many are judged.
        kept: The share of the draws' differences that the other account still has.
    """

    shift: float
    shift_error: float
    ratio: float
    ratio_error: float
    mean: float
    sd: float
    errors: float = limits.WARN_ERRORS
    kept: float = 0.0

    @cached_property
    def effects(self) -> tuple[Effect, Effect]:
        """The shift, and the ratio on its log scale, where too wide and too narrow are alike."""
        spread = math.inf if self.ratio <= 0 else abs(math.log(self.ratio))
        return (
            Effect(abs(self.shift), self.shift_error, SHIFT.high, SHIFT.fail_high),
            Effect(spread, self.ratio_error, *LOG_SD_RATIO),
        )

    @property
    def status(self) -> Status:
        """``"warn"`` beyond the limits, ``"fail"`` far beyond; noise alone is neither."""
        far = any(e.size - CORRECTION_ERRORS * e.error > e.fail for e in self.effects)
        return first_case((far, "fail"), (self.exceeds(1.0), "warn"), otherwise="ok")

    def exceeds(self, share: float) -> bool:
        """Whether an effect, and no noise, is larger than a share of its limit."""
        return any(e.size > max(share * e.warn, self.errors * e.error) for e in self.effects)

    @property
    def exceeds_limit_despite_error(self) -> bool:
        """Whether an effect is beyond its limit even at the near end of its error."""
        return any(
            e.size - e.error > e.warn and e.size > self.errors * e.error for e in self.effects
        )

    @property
    def shown_within_limits(self) -> bool:
        """Whether the limits hold even at the far end of the error: ok is then shown."""
        return all(e.size + CORRECTION_ERRORS * e.error <= e.warn for e in self.effects)

    @property
    def known(self) -> bool:
        """Whether the mean is known to its limit, and the sd so that no failure hides.

        The sd of a quantity with a heavy tail is known to no better by any draws.
        """
        shift = self.effects[0]
        return CORRECTION_ERRORS * shift.error <= shift.warn and not self.error_hides_failure

    @property
    def error_within_limits(self) -> bool:
        """Whether the other account is good enough to be used instead."""
        return all(CORRECTION_ERRORS * e.error <= e.warn for e in self.effects)

    @property
    def error_hides_failure(self) -> bool:
        """Whether the other account is so uncertain that this could fail and read as ok."""
        return not all(e.size + CORRECTION_ERRORS * e.error <= e.fail for e in self.effects)

    @property
    def is_number(self) -> bool:
        """Whether both effects and their errors are known."""
        return all(np.isfinite((e.size, e.error)).all() for e in self.effects)

    @property
    def share_of_limit(self) -> float:
        """The larger of shift and ratio in units of its limit; 1 where it is not a number."""
        shares = [float(e.size / e.warn) for e in self.effects]
        return 1.0 if np.isnan(shares).any() else max(shares)

    @property
    def limit(self) -> Limit:
        """Of the effect that is larger, against its limit: the shift, or the ratio of the sds."""
        shift, ratio = self.effects
        by_shift = self.ratio > 0 and shift.size / SHIFT.high >= ratio.size / ratio.warn
        return SHIFT if by_shift else SD_RATIO

    @property
    def value(self) -> float:
        """The number that `limit` is of."""
        return abs(self.shift) if self.limit is SHIFT else self.ratio


def reweighted(draws: np.ndarray, weights: np.ndarray) -> list[Difference]:
    """Each quantity under the draws as they are, against the same draws under ``weights``.

    Both accounts use the same draws, so the error is that of their difference (by the delta
    method), which is far smaller than either's own.

    Args:
        draws: Shape (S, quantity).
        weights: Shape (S,), summing to one.
    """
    return _few_at_once(partial(_reweighted, weights=weights), draws)


def _few_at_once(
    judged: Callable[[np.ndarray], list[Difference]], draws: np.ndarray
) -> list[Difference]:
    """All quantities, so many together that what is made on the way stays in a cache."""
    parts = (draws[:, at : at + AT_ONCE] for at in range(0, draws.shape[1], AT_ONCE))
    return [each for part in parts for each in judged(part)]


def _reweighted(draws: np.ndarray, weights: np.ndarray) -> list[Difference]:
    size = len(weights)
    mean, mean_w = draws.mean(0), weights @ draws
    centred, centred_w = draws - mean, draws - mean_w
    var, var_w = (centred**2).mean(0), weights @ centred_w**2
    sd, sd_w = np.sqrt(var), np.sqrt(var_w)
    column = weights[:, None]
    shift_error = np.sqrt(((centred / size - column * centred_w) ** 2).sum(0)) / sd_w
    spread = (centred**2 / var - 1) / size - column * (centred_w**2 / var_w - 1)
    ratio_error = 0.5 * np.sqrt((spread**2).sum(0))
    columns = (mean - mean_w) / sd_w, shift_error, sd / sd_w, ratio_error, mean_w, sd_w
    return [Difference(*map(float, row)) for row in zip(*columns, strict=True)]


def reweighted_alone(draws: np.ndarray, weights: np.ndarray, times: int = 1) -> list[Difference]:
    """Each quantity under ``weights``, which sum to one: by how much these leave it open.

    ``times`` as many such draws leave it open by less.
    """
    return _few_at_once(partial(_open, weights=weights, shares=weights**2 / times), draws)


def resampled(draws: np.ndarray, weights: np.ndarray) -> list[Difference]:
    """Each quantity in draws that were taken by their weights: by how much these leave it open.

    Args:
        draws: Shape (S, quantity).
        weights: Shape (S,), of each draw the share that it had of all that were weighed; one of
            a large share stands for itself, and so for few.
    """
    even = np.full(len(draws), 1 / len(draws))
    return _few_at_once(partial(_open, weights=even, shares=weights / len(draws)), draws)


def _open(draws: np.ndarray, weights: np.ndarray, shares: np.ndarray) -> list[Difference]:
    """No difference, with the errors that squared deviations have if counted by ``shares``."""
    mean = weights @ draws
    squares = (draws - mean) ** 2
    var = weights @ squares
    shift_error = np.sqrt(shares @ squares / var)
    ratio_error = 0.5 * np.sqrt(shares @ (squares / var - 1) ** 2)
    columns = shift_error, ratio_error, mean, np.sqrt(var)
    return [
        Difference(0.0, shift, 1.0, ratio, middle, sd)
        for shift, ratio, middle, sd in zip(*(each.tolist() for each in columns), strict=True)
    ]


def moved(before: np.ndarray, start: np.ndarray, after: np.ndarray) -> list[Difference]:
    """Each quantity in draws of an approximation, against where Markov chains take some of them.

    Chains that went part of the way still show where they are heading: of what they started with
    they keep a share, which is measured, and the rest is of the posterior. The more they keep, the
    larger the errors. Of a quantity with tails too heavy for an sd, the body is compared.

    Args:
        before: Independent draws, shape (S, quantity).
        start: Those that the chains started from, shape (chain, quantity).
        after: States of the chains later, shape (chain, state, quantity); the errors are taken
            from how the chains differ, so the states of one chain may depend on each other.
    """
    before, start, after = _within_reach(before, start, after)
    mean, var = before.mean(0), before.var(0)
    sd = np.sqrt(var)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept, heading = _heading(start, after.mean(1))
        mean_a = heading.mean(0)
        kept_too, squares = _heading((start - mean_a) ** 2, ((after - mean_a) ** 2).mean(1))
        # An estimate by difference may fall below zero, where the error is as large as it is.
        var_a = np.maximum(squares.mean(0), LEAST_SHARE * after.var((0, 1)))
        sd_a = np.sqrt(var_a)
        shift_error = np.hypot(_error(before), _error(heading)) / sd_a
        spread = ((before - mean) / sd) ** 2
        ratio_error = 0.5 * np.hypot(_error(spread), _error(squares / var_a))
        columns = (mean - mean_a) / sd_a, shift_error, sd / sd_a, ratio_error, mean_a, sd_a
    needed = _errors_needed(2 * before.shape[1])
    kept = np.maximum(kept, kept_too)
    return [
        Difference(*map(float, row), errors=needed, kept=float(share))
        for share, *row in zip(kept, *columns, strict=True)
    ]


def _within_reach(*accounts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Values farther out than any of a quantity with moments, brought in to where these end.

    A scale under a half-Cauchy prior has no sd to be judged by; that far from the median, hardly a
    draw of anything else is changed.
    """
    flat = [each.reshape(-1, each.shape[-1]) for each in accounts]
    low, middle, high = np.stack(
        [np.quantile(each, (0.02, 0.5, 0.98), axis=0) for each in flat], 1
    )
    reach = REACH * np.max(high - low, axis=0)
    ends = np.min(middle, axis=0) - reach, np.max(middle, axis=0) + reach
    wide = reach > 0  # what is mostly one value has no width
    return tuple(np.where(wide, np.clip(each, *ends), each) for each in accounts)


def _heading(start: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What share each chain keeps of its start, and values whose mean is where they all head for.

    Under the posterior p, E[f(after) | start] = kept * f(start) + (1 - kept) * E_p[f], to the
    first order, so that the mean of f follows; it is NaN where the start is kept.
    """
    kept = np.clip(np.nan_to_num(_slope(start, after)), 0.0, 1.0)
    gone = np.where(kept > limits.MOST_KEPT, np.nan, 1 - kept)
    return kept, (after - kept * start) / gone


def _slope(start: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Of ``after`` on ``start``, column by column, by ranks: one far chain must not decide it."""
    ranks = [_ranks(each) for each in (start, after)]
    centred = [each - each.mean(0) for each in ranks]
    covariance = (centred[0] * centred[1]).mean(0)
    correlation = covariance / np.sqrt((centred[0] ** 2).mean(0) * (centred[1] ** 2).mean(0))
    widths = [np.subtract(*np.quantile(each, (0.75, 0.25), axis=0)) for each in (start, after)]
    return correlation * widths[1] / widths[0]


def _ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value in its column; equal ones share the mean of theirs.

    >>> _ranks(np.array([[3.0], [1.0], [3.0]])).ravel()
    array([2.5, 1. , 2.5])
    """
    order = np.argsort(values, axis=0)
    ordered = np.take_along_axis(values, order, axis=0)
    place = np.broadcast_to(np.arange(len(values))[:, None], values.shape)
    edge = np.ones((1, values.shape[1]), bool)
    changes = ordered[1:] != ordered[:-1]
    first = np.maximum.accumulate(np.where(np.concatenate([edge, changes]), place, 0))
    last = np.where(np.concatenate([changes, edge]), place, len(values))
    last = np.minimum.accumulate(last[::-1])[::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=0)
    return ranks


def _errors_needed(effects: int) -> float:
    """Monte Carlo errors by which one of many effects is rarely off by chance (Bonferroni).

    >>> round(_errors_needed(2), 2), round(_errors_needed(200), 2)
    (3.0, 4.06)
    """
    by_chance = limits.FALSE_ALARMS / (2 * max(effects, 1))
    return max(limits.WARN_ERRORS, NormalDist().inv_cdf(1 - by_chance))


def _error(independent: np.ndarray) -> np.ndarray:
    """The standard error of the mean over the first axis."""
    return independent.std(0, ddof=1) / np.sqrt(len(independent))


def farthest_chains(draws: np.ndarray) -> list[Difference]:
    """Each quantity in the two chains that differ most about it.

    Args:
        draws: Shape (chain, draw, quantity), independent within a chain.
    """
    mean, var = draws.mean(1), draws.var(1)
    size = draws.shape[1]
    # The kurtosis gives the error of a variance: heavy tails must not look like disagreement.
    fourth = ((draws - mean[:, None]) ** 4).mean(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_sd_error = 0.5 * np.sqrt(np.maximum(fourth / var**2 - 1, 0) / size)
    return [
        _farthest(mean[:, i], np.sqrt(var[:, i]), log_sd_error[:, i], size)
        for i in range(draws.shape[2])
    ]


def _farthest(mean: np.ndarray, sd: np.ndarray, log_sd_error: np.ndarray, size: int) -> Difference:
    pooled = float(np.sqrt((sd**2).mean()))
    if pooled == 0.0:  # each chain is a point, and the points differ
        return Difference(np.inf, 0.0, 1.0, 0.0, float(mean.min()), 0.0)
    narrow, wide = int(sd.argmin()), int(sd.argmax())
    ratio = float(sd[narrow] / sd[wide])
    error = float(np.hypot(log_sd_error[narrow], log_sd_error[wide])) if ratio > 0 else 0.0
    shift = float(np.ptp(mean)) / pooled
    return Difference(shift, float(np.sqrt(2 / size)), ratio, error, float(mean.min()), pooled)
