"""Scores pass on predictions that are right, and see the ones that are too sure or too wide."""

import numpy as np
import pytest
import scoringrules
from scipy import stats
from sklearn.metrics import brier_score_loss, log_loss

from pyrovi.diagnostics.checks.predictive import uniformity
from pyrovi.diagnostics.scores import (
    class_scores,
    coverage,
    mixture_crps,
    mixture_log_density,
    mixture_pit,
    number_scores,
    reliability,
)
from pyrovi.errors import DiagnosticError

N = 1000
TAIL = 1e-5


def normal_case(stated: float, spread: float = 0.5) -> tuple[np.ndarray, np.ndarray, float]:
    """Observations of sd 1 (with ``spread`` of the mean) and predictions that state another."""
    rng = np.random.default_rng(0)
    centre = rng.normal(0.0, 3.0, N)
    mean = centre + spread * rng.standard_normal((100, N))
    observed = centre + rng.normal(0.0, np.sqrt(1 + spread**2), N)
    return observed, mean, stated


# ------------------------------------------------------------------------------ numbers


def test_right_predictions_cover_what_they_say() -> None:
    scores = number_scores(*normal_case(stated=1.0))
    assert (scores["covered"] >= scores["low"]).all()
    assert (scores["covered"] <= scores["high"]).all()
    assert uniformity(scores["pit"].to_numpy()) > 1e-3


@pytest.mark.parametrize(("stated", "side"), [(0.2, -1), (3.0, 1)])
def test_too_sure_covers_too_little_and_too_wide_too_much(stated: float, side: int) -> None:
    scores = number_scores(*normal_case(stated=stated))
    outside = scores["low"] if side < 0 else scores["high"]
    assert (side * (scores["covered"] - outside) > 0).all()
    assert uniformity(scores["pit"].to_numpy()) < TAIL
    right = number_scores(*normal_case(stated=1.0))
    assert scores["log_density"] < right["log_density"]
    assert scores["crps"] > right["crps"]


def test_the_band_of_the_coverage_is_the_binomial_s() -> None:
    found = coverage(np.linspace(0.001, 0.999, 50), levels=(0.9,))
    low, high = (found[name].item() for name in ("low", "high"))
    inside = stats.binom.cdf(high * 50, 50, 0.9) - stats.binom.cdf(low * 50 - 1, 50, 0.9)
    assert 0.99 <= inside < 0.999


def test_the_log_density_of_a_mixture_is_that_of_the_paper() -> None:
    """Gal & Ghahramani (2016), eq. 8: constants, precision and units included."""
    rng = np.random.default_rng(1)
    passes, observed, precision, unit = (
        rng.standard_normal((7, 3)),
        rng.standard_normal(3),
        2.5,
        4.0,
    )
    inner = np.exp(-0.5 * precision * (observed - passes) ** 2).sum(0)
    paper = np.log(inner) - np.log(7) - 0.5 * np.log(2 * np.pi) + 0.5 * np.log(precision)
    found = mixture_log_density(observed, passes, precision**-0.5)
    np.testing.assert_allclose(found, paper, rtol=1e-12)
    rescaled = mixture_log_density(unit * observed, unit * passes, unit * precision**-0.5)
    np.testing.assert_allclose(rescaled, paper - np.log(unit), rtol=1e-12)


def test_of_one_gaussian_every_score_is_its_closed_form() -> None:
    observed, mean, sd = np.array([0.3, -2.0]), np.array([[0.5, 1.0]]), np.array([[0.7, 2.0]])
    one = stats.norm(mean[0], sd[0])
    np.testing.assert_allclose(mixture_pit(observed, mean, sd), one.cdf(observed))
    np.testing.assert_allclose(mixture_log_density(observed, mean, sd), one.logpdf(observed))
    exact = scoringrules.crps_normal(observed, mean[0], sd[0])
    np.testing.assert_allclose(mixture_crps(observed, mean, sd), exact, rtol=1e-10)


def test_the_crps_of_the_mixture_is_that_of_its_draws() -> None:
    rng = np.random.default_rng(2)
    observed, mean = np.array([0.4]), np.array([[-1.0], [1.5], [0.2]])
    draws = mean[rng.integers(0, 3, 20_000)] + 0.5 * rng.standard_normal((20_000, 1))
    ensemble = scoringrules.crps_ensemble(observed, draws.T)
    np.testing.assert_allclose(mixture_crps(observed, mean, 0.5), ensemble, atol=0.02)


# ------------------------------------------------------------------------------ classes


def labelled(power: float) -> tuple[np.ndarray, np.ndarray]:
    """Classes drawn by true probabilities, and stated ones: those to a power."""
    rng = np.random.default_rng(3)
    true = rng.dirichlet([1.0, 1.0, 1.0], size=N)
    seen = (rng.uniform(size=(N, 1)) > true.cumsum(1)).sum(1)
    stated = true**power
    return seen, stated / stated.sum(1, keepdims=True)


def test_right_probabilities_score_well_and_sure_or_shy_ones_are_seen() -> None:
    right, sure, shy = (class_scores(*labelled(power)) for power in (1.0, 3.0, 0.3))
    assert right["ece"] < 0.03
    for wrong in (sure, shy):
        assert wrong["ece"] > 0.1
        assert wrong["brier"] > right["brier"]
        assert wrong["log_density"] < right["log_density"]
        assert wrong["accuracy"] == right["accuracy"]
    gap = (sure["confidence"] - sure["correct"])[sure["count"] > 50]
    assert (gap > 0).all()


def test_brier_and_log_score_are_scikit_learn_s() -> None:
    seen, stated = labelled(1.0)
    found = class_scores(seen, stated)
    assert found["log_density"].item() == pytest.approx(-log_loss(seen, stated))
    two = stated[:, :1] / stated[:, :2].sum(1, keepdims=True)
    binary = (seen == 0).astype(int)
    both = class_scores(1 - binary, np.concatenate([two, 1 - two], axis=1))
    assert both["brier"].item() == pytest.approx(2 * brier_score_loss(binary, two[:, 0]))


def test_the_ece_of_two_bins_is_by_hand() -> None:
    stated = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    found = class_scores(np.array([0, 1, 1, 1]), stated)
    assert found["ece"].item() == pytest.approx(0.5 * abs(0.9 - 0.5) + 0.5 * abs(0.6 - 1.0))


def test_the_reliability_curve_lies_on_the_diagonal_of_right_probabilities_alone() -> None:
    seen, right = labelled(1.0)
    _, sure = labelled(3.0)
    first, second = (reliability((seen == 0).astype(int), each[:, 0]) for each in (right, sure))
    assert first["miscalibration"] < 0.005
    assert second["miscalibration"] > 0.02
    assert (np.diff(first["frequency"]) >= 0).all()


def test_the_parts_of_the_brier_score_add_up() -> None:
    seen, stated = labelled(3.0)
    binary = (seen == 0).astype(int)
    parts = reliability(binary, stated[:, 0])
    total = parts["miscalibration"] - parts["discrimination"] + parts["uncertainty"]
    assert total.item() == pytest.approx(brier_score_loss(binary, stated[:, 0]))


def test_what_cannot_be_scored_is_named() -> None:
    with pytest.raises(DiagnosticError, match="from 0 to 1"):
        coverage(np.array([0.5, 1.5]))
    with pytest.raises(DiagnosticError, match=r"\(draw, observation\)"):
        number_scores(np.zeros(3), np.zeros((5, 4)), 1.0)
    with pytest.raises(DiagnosticError, match="above 0"):
        number_scores(np.zeros(3), np.zeros((5, 3)), 0.0)
    with pytest.raises(DiagnosticError, match="sum to 1"):
        class_scores(np.array([0]), np.array([[0.5, 0.2]]))
    with pytest.raises(DiagnosticError, match="from 0 to 1, and 2"):
        class_scores(np.array([2]), np.array([[0.5, 0.5]]))
    with pytest.raises(DiagnosticError, match="2 observations and 1 rows"):
        class_scores(np.array([0, 1]), np.array([[0.5, 0.5]]))
    with pytest.raises(DiagnosticError, match="a 0 or a 1"):
        reliability(np.array([0, 2]), np.array([0.5, 0.5]))
