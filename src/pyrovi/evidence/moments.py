"""Means and sds of draws, and how far two of them differ beyond their Monte Carlo error."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from scipy.stats import rankdata

__all__ = ["Difference", "Status", "farthest_chains", "moved", "reweighted"]

Status = Literal["ok", "warn", "fail"]

SHIFT_WARN, SHIFT_FAIL = 0.1, 0.5
"""Sds between two means. 0.1: what Dhaka et al. (2020) ask of the iterates; 0.5 misleads."""
RATIO_WARN, RATIO_FAIL = 1.1, 2.0
"""Ratio of two sds, either way round. 1.1 and 2 are conventions of this library."""

WARN_ERRORS = 3.0
"""Monte Carlo errors that an effect must have, to be one and not noise."""
FALSE_ALARMS = 0.01
"""Share of posteriors of which chance alone may call some quantity off."""
REACH = 1.5
"""Ranges of 96 % of the draws, from the median: 6 sds of a Gaussian; one in 75 draws of a Cauchy.
A narrower range would lose the slab of a quantity that is mostly a spike."""
MOST_KEPT = 0.995
"""Chains that keep more than this of where they started are heading nowhere."""
LEAST_SHARE = 0.01
"""Of a variance that chains have: what they head for has no less."""
FAIL_ERRORS = 2.0
"""Monte Carlo errors by which an effect must be beyond a limit, to be surely beyond it."""


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
        errors: Monte Carlo errors that an effect must have: more where many are looked at.
        kept: The share of the draws' differences that the other account still has.
    """

    shift: float
    shift_error: float
    ratio: float
    ratio_error: float
    mean: float
    sd: float
    errors: float = WARN_ERRORS
    kept: float = 0.0

    @property
    def effects(self) -> Iterator[tuple[float, float, float, float]]:
        """Size, error and both limits of the shift, and of the ratio on its log scale."""
        yield abs(self.shift), self.shift_error, SHIFT_WARN, SHIFT_FAIL
        spread = np.inf if self.ratio <= 0 else abs(np.log(self.ratio))
        yield spread, self.ratio_error, np.log(RATIO_WARN), np.log(RATIO_FAIL)

    @property
    def status(self) -> Status:
        """``"warn"`` beyond the limits, ``"fail"`` far beyond; noise alone is neither."""
        if any(size - FAIL_ERRORS * error > most for size, error, _, most in self.effects):
            return "fail"
        return "warn" if self.beyond(1.0) else "ok"

    def beyond(self, share: float) -> bool:
        """Whether an effect, and no noise, is larger than a share of its limit."""
        return any(
            size > max(share * most, self.errors * error) for size, error, most, _ in self.effects
        )

    @property
    def surely(self) -> bool:
        """Whether an effect is beyond its limit even at the near end of its error."""
        return any(
            size - error > most and size > self.errors * error
            for size, error, most, _ in self.effects
        )

    @property
    def clear(self) -> bool:
        """Whether the limits hold even at the far end of the error: ok is then shown."""
        return all(size + FAIL_ERRORS * error <= most for size, error, most, _ in self.effects)

    @property
    def known(self) -> bool:
        """Whether the other account is itself known to within the limits."""
        return all(FAIL_ERRORS * error <= most for _, error, most, _ in self.effects)

    @property
    def blind(self) -> bool:
        """Whether the other account is so little known that what fails could read as ok."""
        return not all(FAIL_ERRORS * error <= most for _, error, _, most in self.effects)

    @property
    def excess(self) -> float:
        """The effect in units of its limit, the larger of shift and ratio: above 1 is too much.

        Where the other account is not known at all, it is at the limit: nothing was found.
        """
        shares = [float(size / most) for size, _, most, _ in self.effects]
        return 1.0 if np.isnan(shares).any() else max(shares)

    @property
    def by_shift(self) -> bool:
        """Whether the means differ more, against their threshold, than the sds."""
        if self.ratio <= 0:
            return False
        return bool(abs(self.shift) / SHIFT_WARN >= abs(np.log(self.ratio)) / np.log(RATIO_WARN))

    @property
    def value(self) -> float:
        """The number that a row reports: the shift, or the ratio of the sds."""
        return abs(self.shift) if self.by_shift else self.ratio

    @property
    def threshold(self) -> str:
        """What is asked of `value`."""
        if self.by_shift:
            return f"< {SHIFT_WARN:g} sd"
        return f"in [{1 / RATIO_WARN:.2g}, {RATIO_WARN:g}]"


def reweighted(draws: np.ndarray, weights: np.ndarray) -> list[Difference]:
    """Each quantity under the draws as they are, against the same draws under ``weights``.

    Both accounts use the same draws, so the error is that of their difference (by the delta
    method), which is far smaller than either's own.

    Args:
        draws: Shape (S, quantity).
        weights: Shape (S,), summing to one.
    """
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


def moved(before: np.ndarray, start: np.ndarray, after: np.ndarray) -> list[Difference]:
    """Each quantity in draws of an approximation, against where Markov chains take some of them.

    Chains that went part of the way still show where they are heading: of what they started with
    they keep a share, which is measured, and the rest is of the posterior. The more they keep, the
    larger the errors. Of a quantity with tails too heavy for a sd, the body is compared.

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
    middle, width = [], []
    for each in accounts:
        low, median, high = np.quantile(
            each.reshape(-1, each.shape[-1]), (0.02, 0.5, 0.98), axis=0
        )
        middle.append(median)
        width.append(high - low)
    reach = REACH * np.max(width, axis=0)
    ends = np.min(middle, axis=0) - reach, np.max(middle, axis=0) + reach
    known = reach > 0  # what is mostly one value has no width
    return tuple(np.where(known, np.clip(each, *ends), each) for each in accounts)


def _heading(start: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What share each chain keeps of its start, and values whose mean is where they all head for.

    Under the posterior p, E[f(after) | start] = kept * f(start) + (1 - kept) * E_p[f], to the
    first order, so that the mean of f follows; it is NaN where the start is kept.
    """
    kept = np.clip(np.nan_to_num(_slope(start, after)), 0.0, 1.0)
    gone = np.where(kept > MOST_KEPT, np.nan, 1 - kept)
    return kept, (after - kept * start) / gone


def _slope(start: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Of ``after`` on ``start``, column by column, by ranks: one far chain must not decide it."""
    ranks = [rankdata(each, axis=0) for each in (start, after)]
    centred = [each - each.mean(0) for each in ranks]
    covariance = (centred[0] * centred[1]).mean(0)
    correlation = covariance / np.sqrt((centred[0] ** 2).mean(0) * (centred[1] ** 2).mean(0))
    widths = [np.subtract(*np.quantile(each, (0.75, 0.25), axis=0)) for each in (start, after)]
    return correlation * widths[1] / widths[0]


def _errors_needed(effects: int) -> float:
    """Monte Carlo errors by which one of many effects is rarely off by chance (Bonferroni).

    >>> round(_errors_needed(2), 2), round(_errors_needed(200), 2)
    (3.0, 4.06)
    """
    return max(WARN_ERRORS, NormalDist().inv_cdf(1 - FALSE_ALARMS / (2 * max(effects, 1))))


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
    # The kurtosis says how well a variance is known: heavy tails must not look like disagreement.
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
