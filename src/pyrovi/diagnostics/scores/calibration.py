"""Do stated probabilities come true? Scores of predictions against what was then seen.

Best for observations that were held out: those that the fit has learned from come out too well.
A number is predicted by a mixture, of one Gaussian a draw of the posterior. `arviz_plots` draws
the PIT (`plot_ppc_pit`) and the reliability curve (`plot_ppc_pava`).

References: Gneiting, Balabdaoui and Raftery (2007), https://doi.org/10.1111/j.1467-9868.2007.00587.x;
Dimitriadis, Gneiting and Jordan (2021), https://doi.org/10.1073/pnas.2016191118 (PAVA);
Guo et al. (2017), https://arxiv.org/abs/1706.04599 (ECE)
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.special import logsumexp, ndtr
from scipy.stats import binom
from sklearn.isotonic import IsotonicRegression

from pyrovi.diagnostics.scores.decomposition import SUM_TOLERANCE
from pyrovi.errors import DiagnosticError

LEVELS = (0.5, 0.9, 0.95)
BINS = 15
"""Of the ECE, as Guo et al. (2017) have them."""
CRPS_DRAWS = 100
PAIRS = 4_000_000  # of draws in memory at once: tens of megabytes
EVIDENCE = 0.99
"""Of the band that the share covered would lie in, were the predictions right."""


Each = Float[np.ndarray, "n"]
Means = Float[np.ndarray, "draw n"]
Sds = Float[np.ndarray, "#draw #n"] | float


# Numbers


def mixture_pit(observed: Each, mean: Means, sd: Sds) -> Each:
    """Where each observation lies in the mixture of a Gaussian for each draw: P(y <= observed).

    >>> mixture_pit(np.array([0.0]), np.array([[-1.0], [1.0]]), 1.0)
    array([0.5])
    """
    return ndtr((observed - mean) / sd).mean(axis=0)


def mixture_log_density(observed: Each, mean: Means, sd: Sds) -> Each:
    r"""The log density of each observation, in nats: :math:`\log \frac1T \sum_t N(y; m_t, s_t)`.

    >>> mixture_log_density(np.array([0.0]), np.zeros((3, 1)), 1.0).round(4)
    array([-0.9189])
    """
    z = (observed - mean) / sd
    terms = -0.5 * z**2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
    return logsumexp(terms, axis=0) - np.log(len(mean))


def mixture_crps(observed: Each, mean: Means, sd: Sds) -> Each:
    """The continuous ranked probability score, in the units of the outcome; smaller is better.

    It is the absolute error where the prediction is a point. All pairs of draws are compared, so
    of many draws `CRPS_DRAWS` are taken, evenly.
    """
    import scoringrules  # which takes seconds, to compile

    step = -(-len(mean) // CRPS_DRAWS)
    centre, spread = (v[::step].T for v in (mean, np.broadcast_to(sd, mean.shape)))
    rows = max(1, PAIRS // centre.shape[1] ** 2)
    scores = [
        scoringrules.crps_mixnorm(observed[part], centre[part], spread[part])
        for part in (slice(i, i + rows) for i in range(0, len(observed), rows))
    ]
    return np.concatenate([np.asarray(each, dtype=float).reshape(-1) for each in scores])


def coverage(pit: Each, levels: Sequence[float] = LEVELS) -> xr.Dataset:
    """The share of observations in the central interval of each level.

    Args:
        pit: Where each lies in its predictive distribution, from 0 to 1.
        levels: The levels of the intervals.

    Returns:
        ``covered``; and ``low`` and ``high``, between which it lies for 99 % of right predictions
        of as many independent observations.

    Raises:
        DiagnosticError: If there are no observations, or a PIT value is not from 0 to 1.

    >>> coverage((np.arange(100) + 0.5) / 100)["covered"].values
    array([0.5 , 0.9 , 0.96])
    """
    if not (pit.size and (pit >= 0).all() and (pit <= 1).all()):
        raise DiagnosticError("coverage needs PIT values from 0 to 1, one for each observation")
    asked = np.asarray(levels, dtype=float)
    inside = np.abs(pit[:, None] - 0.5) <= asked / 2
    tail = (1 - EVIDENCE) / 2
    shares = {
        "covered": inside.sum(axis=0) / pit.size,
        "low": binom.ppf(tail, pit.size, asked) / pit.size,
        "high": binom.ppf(1 - tail, pit.size, asked) / pit.size,
    }
    return xr.Dataset(
        {name: ("level", share) for name, share in shares.items()}, coords={"level": asked}
    )


def number_scores(
    observed: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray | float,
    *,
    levels: Sequence[float] = LEVELS,
) -> xr.Dataset:
    """Every score of predictions of numbers.

    Args:
        observed: What was seen, ``(observation,)``.
        mean: The mean given each draw, ``(draw, observation)``.
        sd: The standard deviation given each draw, of a shape that broadcasts to that.
        levels: Of the intervals whose coverage is counted.

    Returns:
        ``rmse`` of the mean prediction, ``log_density`` and ``crps``, means over the observations;
        ``covered``, ``low`` and ``high`` by ``level``; and ``pit`` by ``observation``.

    Raises:
        DiagnosticError: If the shapes do not agree, or a standard deviation is not positive.
    """
    if mean.ndim != 2 or observed.shape != mean.shape[1:]:
        raise DiagnosticError(
            f"expected means (draw, observation) for {observed.shape} observations, and "
            f"{mean.shape} came"
        )
    if not np.all(np.asarray(sd) > 0):
        raise DiagnosticError("standard deviations must be above 0")
    pit = mixture_pit(observed, mean, sd)
    error = mean.mean(axis=0) - observed
    return coverage(pit, levels).assign(
        rmse=np.sqrt(np.mean(error**2)),
        log_density=mixture_log_density(observed, mean, sd).mean(),
        crps=mixture_crps(observed, mean, sd).mean(),
        pit=("observation", pit),
    )


# Classes


def class_scores(observed: np.ndarray, probability: np.ndarray, *, bins: int = BINS) -> xr.Dataset:
    """Every score of predictions of classes.

    Args:
        observed: The class that was seen, from 0, ``(observation,)``.
        probability: Of each class, ``(observation, class)``: the mean over the draws.
        bins: Of the most probable class's probability, for the ECE.

    Returns:
        ``accuracy`` of the most probable class; ``log_density``, the mean log probability of the
        class seen, in nats; ``brier``, the mean squared distance of the probabilities from what
        was seen, from 0 to 2; ``ece``; and by ``bin``, ``confidence``, ``correct`` and ``count``,
        NaN where a bin is empty.

    Raises:
        DiagnosticError: If the shapes do not agree, or the probabilities do not sum to 1.

    >>> seen, said = np.array([0, 1]), np.array([[0.8, 0.2], [0.4, 0.6]])
    >>> round(float(class_scores(seen, said)["brier"]), 2)
    0.2
    """
    _require_probabilities(observed, probability)
    confidence = probability.max(axis=1)
    hit = probability.argmax(axis=1) == observed
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    empty = np.where(count, count, np.nan)
    average = np.bincount(index, confidence, minlength=bins) / empty
    correct = np.bincount(index, hit, minlength=bins) / empty
    gap = np.nansum(count * np.abs(average - correct)) / len(observed)
    of_seen = probability[np.arange(len(observed)), observed]
    seen = np.eye(probability.shape[1])[observed]
    with np.errstate(divide="ignore"):
        log_density = np.log(of_seen).mean()
    return xr.Dataset(
        {
            "accuracy": hit.mean(),
            "log_density": log_density,
            "brier": ((probability - seen) ** 2).sum(axis=1).mean(),
            "ece": gap,
            "confidence": ("bin", average),
            "correct": ("bin", correct),
            "count": ("bin", count),
        },
        coords={"bin": (np.arange(bins) + 0.5) / bins},
    )


def reliability(observed: np.ndarray, probability: np.ndarray) -> xr.Dataset:
    """How often it happened, by how probable it was said to be: the CORP reliability curve.

    Returns:
        ``frequency`` by ``probability``, sorted: the isotonic regression of what was seen (0 or 1)
        on what was said. The Brier score is ``miscalibration``, by how much it falls if what was
        said is replaced by the frequency, less ``discrimination``, what that gains over always
        saying the overall frequency, plus ``uncertainty``, the score of saying so.

    Raises:
        DiagnosticError: If there is anything but 0 and 1 among what was seen.

    >>> parts = reliability(np.array([0, 0, 1, 1]), np.array([0.1, 0.1, 0.9, 0.9]))
    >>> round(float(parts["miscalibration"]), 4)
    0.01
    """
    if observed.shape != probability.shape or not np.isin(observed, (0, 1)).all():
        raise DiagnosticError(
            "reliability needs a 0 or a 1 for each probability; see class_scores"
        )
    order = np.argsort(probability, kind="stable")
    said, seen = probability[order], observed[order].astype(float)
    frequency = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(said, seen)
    overall = np.mean((seen.mean() - seen) ** 2)
    best = np.mean((frequency - seen) ** 2)
    return xr.Dataset(
        {
            "frequency": ("observation", frequency),
            "miscalibration": np.mean((said - seen) ** 2) - best,
            "discrimination": overall - best,
            "uncertainty": overall,
        },
        coords={"probability": ("observation", said)},
    )


def _require_probabilities(observed: np.ndarray, probability: np.ndarray) -> None:
    if len(observed) != len(probability):
        raise DiagnosticError(
            f"{len(observed)} observations and {len(probability)} rows of probabilities came"
        )
    if not (np.abs(probability.sum(axis=1) - 1) < SUM_TOLERANCE).all() or (probability < 0).any():
        raise DiagnosticError("the probabilities of a row must be from 0 up and sum to 1")
    if observed.min() < 0 or observed.max() >= probability.shape[1]:
        raise DiagnosticError(
            f"classes are numbered from 0 to {probability.shape[1] - 1}, and "
            f"{observed.min()} to {observed.max()} came"
        )
