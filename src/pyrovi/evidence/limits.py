"""Every threshold that a judgement rests on, once, with its source."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf, nan
from typing import Any, Literal, TypeVar

import numpy as np

Status = Literal["ok", "warn", "fail"]
SEVERITY: dict[str, int] = {"ok": 0, "warn": 1, "fail": 2}

Outcome = TypeVar("Outcome")


def worst(statuses: Iterable[str]) -> Status:
    """The most severe of ``statuses``; ``"ok"`` if there is none."""
    most: Any = max(statuses, key=SEVERITY.__getitem__, default="ok")
    return most


def first_case(*cases: tuple[object, Outcome], otherwise: Outcome) -> Outcome:
    """What a table of cases says, read from the top: the outcome of the first one that holds.

    >>> first_case((False, "fail"), (True, "warn"), otherwise="ok")
    'warn'
    """
    return next((outcome for holds, outcome in cases if holds), otherwise)


@dataclass(frozen=True)
class Limit:
    """What is asked of a number.

    Attributes:
        of: What the number is.
        source: Whose advice it is.
        low: The least that is well.
        high: The most that is well.
        fail_low: Below this it fails.
        fail_high: Above this it fails; both are infinite where the worst is a warning.
        unit: Of the number.
    """

    of: str
    source: str
    low: float = -inf
    high: float = inf
    fail_low: float = -inf
    fail_high: float = inf
    unit: str = ""

    def status(self, value: float) -> Status:
        """How ``value`` stands; what is not a number is within no limit.

        >>> RHAT.status(1.0), RHAT.status(1.05), RHAT.status(float("nan"))
        ('ok', 'warn', 'fail')
        """
        return first_case(
            (not self.fail_low <= value <= self.fail_high, "fail"),
            (not self.low <= value <= self.high, "warn"),
            otherwise="ok",
        )

    def between(self, low: float = -inf, high: float = inf) -> "Limit":
        """The same where it is well between other numbers, as these draws or this noise ask."""
        return replace(self, low=low, high=high)


# Whose advice it is
DHAKA = "Dhaka et al. (2020), NeurIPS, of iterates"
FIXED_DRAWS = "Giordano, Ingram & Broderick (2024), arXiv:2304.05527"
LEFT_OUT = "Vehtari, Gelman & Gabry (2017), Statistics and Computing 27(5)"
LIBRARY = "a convention of this library"
MIXING = "Vehtari, Gelman, Simpson, Carpenter & Buerkner (2021), Bayesian Analysis 16(2)"
REPLICATED = "Gelman, Meng & Stern (1996), Statistica Sinica 6(4)"
SMOOTHED = "Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25(72)"
UNSEEN = "Good (1953), Biometrika 40(3-4)"
UNIFORM = "Tesso & Vehtari (2026), arXiv:2603.02928"

NO_LIMIT = Limit("what is no number", LIBRARY, low=nan, high=nan)

# Draws held against the posterior. An effect must be beyond its limit and beyond its noise.
SHIFT = Limit("the distance of two means", DHAKA, high=0.1, fail_high=0.5, unit="sd")
SD_RATIO = Limit("the ratio of two sds", LIBRARY, 1 / 1.1, 1.1, 1 / 2, 2.0)
REFERENCE_RATIO = Limit("the ratio of an sd to its reference", LIBRARY, 0.9, 1.1)
WARN_ERRORS = 3.0
"""Monte Carlo errors that an effect must have, to be one and not noise."""
CORRECTION_ERRORS = 2.0
"""Monte Carlo errors by which an effect is beyond a limit, or within it, where that is shown."""
FALSE_ALARMS = 0.01
"""Share of posteriors of which chance alone may call some quantity off."""
KHAT = Limit("the shape of the tail of importance weights", SMOOTHED, high=0.7, fail_high=1.0)
"""Averages converge in practice up to 0.7; from 1 on the weights have no finite mean."""
ACCEPTED = Limit("the share of transitions that are accepted", LIBRARY, low=0.6, fail_low=0.3)
"""Chains that are mostly rejected move nothing, and so say nothing."""
FAR_OFF = Limit("what chains moved far", LIBRARY, 0.0, 0.0, fail_high=0.0, unit="quantities")
NONFINITE_DRAWS = Limit(
    "the share without a density", LIBRARY, high=0.0, fail_high=0.05, unit="of the draws"
)
POINTS_APART = Limit("how many points the draws are", LIBRARY, low=2.0, unit="points")
REPEATS_OF_POINTS = 4
"""How often each draw comes, on average, where all are a few points: a convention of this library;
rejections repeat fewer."""
CROWDED_QUANTITIES = 50
"""Quantities beyond which the joint k is above 0.7 for almost every guide (Dhaka et al. 2021)."""
MOST_KEPT = 0.995
"""Chains that keep more than this of where they started are heading nowhere: a convention of this
library."""
JUDGED_MARGIN = 0.75
"""Share of a limit beyond which the ladder climbs on: a convention of this library."""
ELBO_ERROR = Limit("the error of an ELBO", LIBRARY, high=1.0, unit="nats of Monte Carlo error")
"""More hides differences between models that would count as evidence."""

CONDITIONED = Limit("what conditions the posterior", LIBRARY, low=1.0, unit="sites")
"""Without any, the posterior is the prior."""

# How a fit ended
LOSS_TREND = Limit("the change of a loss at the end", LIBRARY, -0.1, 0.1, unit="nats")
"""The KL of a mean that is 0.45 sd off."""
TREND_WINDOW = 0.1
"""The last part of the run, in which the loss should be level: a convention of this library."""
TREND_LEVEL = 1e-4
"""Share of level, noisy curves that would be called falling: a convention of this library."""
FEW_STEPS_ERRORS = 4.0
"""Standard errors of a trend over few steps, as quasi-Newton takes, which have little noise: a
convention of this library."""
NONFINITE_STEPS = Limit(
    "the share without a finite loss", LIBRARY, high=0.05, fail_high=0.05, unit="of the steps"
)
OPTIMUM_ERROR = Limit("how far other draws move a mean", FIXED_DRAWS, high=0.1, unit="sd")
"""An upper bound where the draws are moved to match moments."""
RHAT = Limit("R-hat by ranks, of split chains", MIXING, high=1.01, fail_high=1.1)
"""1.1 is the older bound of Gelman & Rubin (1992)."""
EFFECTIVE_DRAWS = Limit(
    "the bulk effective sample size", MIXING, low=400.0, fail_low=100.0, unit="effective draws"
)
"""100 for each of four chains."""
DIVERGENCES = Limit("what diverged", "Betancourt (2017)", 0.0, 0.0, unit="transitions")
RESTARTS_AT_BEST = Limit(
    "how many reached the best optimum", LIBRARY, low=2.0, fail_low=1.0, unit="restarts"
)
RARE_DRAWS = 20
"""Draws that a mode should have, below which they do not tell whether it is held."""
RARE_ERROR = 0.1
"""The error of an sd, as a share of it, above which rare modes are said to make it: a convention
of this library."""
MODES_MISSED = Limit(
    "the share in modes without a draw", LIBRARY, high=0.02, fail_high=0.2, unit="of the posterior"
)
"""A share of 0.02 that is far off may move a mean by a tenth of the sd that it makes."""
MODES_ONCE = Limit(
    "the share in modes met once", UNSEEN, high=0.05, unit="of the posterior that was found"
)
"""Of modes that are as hard to meet, about as many were missed."""
MODES_UNSEEN = Limit(
    "the chance that one more search meets a new mode", UNSEEN, high=0.25, unit="of the searches"
)
SAME_OPTIMUM_NATS = 0.5
"""ELBOs this close are one optimum: the factor between their evidences is then below 1.7."""
SAME_OPTIMUM_ERRORS = 4.0
"""And so are ELBOs that are apart by this many Monte Carlo errors of their difference more."""


def optimum_tolerance(error: float, other_error: float) -> float:
    """Nats by which two ELBOs with these Monte Carlo errors may differ at one optimum.

    >>> optimum_tolerance(0.0, 0.0), optimum_tolerance(0.3, 0.4)
    (0.5, 2.5)
    """
    return SAME_OPTIMUM_NATS + SAME_OPTIMUM_ERRORS * float(np.hypot(error, other_error))


# The model beside its data
TAIL = Limit("the share above the data's", REPLICATED, 0.01, 1 - 0.01, unit="of the replications")
DECLARED_TAIL = TAIL.between(0.005, 1 - 0.005)
"""Of statistics that a model declares of its own: they are several, and sharper."""
PIT_P = Limit("the p-value that PIT values are uniform", UNIFORM, low=0.01)
PIT_OBSERVATIONS = 5
"""Below so many observations PIT values say nothing: a convention of this library."""
HARD_TO_PREDICT = Limit("the share of observations with k > 0.7", LIBRARY, high=0.2)
"""From here on PIT values are those of data used twice: they crowd at 1/2 under a right model."""
HARD_OBSERVATIONS = Limit(
    "the same beyond the noise of k, where their sum is used",
    LEFT_OUT,
    high=0.01,
    unit="of the observations, k beyond 0.7",
)
IMPOSSIBLE = Limit("what some draws rule out", LIBRARY, high=0.0, unit="observations")
FLEXIBLE = Limit("effective parameters per observation", "Vehtari's CV-FAQ", 0.2, 1.0)
"""From 0.2 on, at the observations that can be left out, large k come of a model that bends to its
data; more parameters than observations speak of a wrong model instead."""
