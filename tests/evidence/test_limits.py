"""Claims about the thresholds: they are those of their sources, and both sides are told apart."""

import math

import pytest

from pyrovi.evidence import Limit, limits, worst

# ok, then a warning, then a failure where there is one
CASES = [
    (limits.RHAT, 1.009, 1.02, 1.11),  # Vehtari et al. (2021); Gelman & Rubin (1992)
    (limits.EFFECTIVE_DRAWS, 401, 399, 99),
    (limits.KHAT, 0.69, 0.71, 1.01),  # Vehtari et al. (2024)
    (limits.SHIFT, 0.09, 0.11, 0.51),
    (limits.SD_RATIO, 1.09, 1.11, 2.1),
    (limits.SD_RATIO, 0.92, 0.9, 0.49),
    (limits.REFERENCE_RATIO, 0.91, 0.89),
    (limits.ACCEPTED, 0.61, 0.59, 0.29),
    (limits.OPTIMUM_ERROR, 0.09, 0.11),
    (limits.LOSS_TREND, -0.09, -0.11),
    (limits.LOSS_TREND, 0.09, 0.11),
    (limits.RESTARTS_AT_BEST, 2, 1, 0),
    (limits.DIVERGENCES, 0, 1),
    (limits.ELBO_ERROR, 0.9, 1.1),
    (limits.TAIL, 0.011, 0.009),
    (limits.TAIL, 0.989, 0.991),
    (limits.DECLARED_TAIL, 0.006, 0.004),
    (limits.DECLARED_TAIL, 0.994, 0.996),
    (limits.PIT_P, 0.02, 0.005),
    (limits.HARD_OBSERVATIONS, 0.009, 0.011),
    (limits.HARD_TO_PREDICT, 0.19, 0.21),
    (limits.NONFINITE_DRAWS, 0.0, 0.04, 0.06),
]


@pytest.mark.parametrize(("limit", "values"), [(limit, values) for limit, *values in CASES])
def test_each_side_of_a_limit_is_told(limit: Limit, values: list[float]) -> None:
    said = [limit.status(float(value)) for value in values]
    assert said == ["ok", "warn", "fail"][: len(values)]


def test_too_many_steps_without_a_loss_fail_at_once() -> None:
    assert [limits.NONFINITE_STEPS.status(share) for share in (0.04, 0.06)] == ["ok", "fail"]


@pytest.mark.parametrize("limit", [each for each, *_ in CASES])
def test_a_limit_names_its_source_and_what_is_no_number_is_not_ok(limit: Limit) -> None:
    assert limit.of
    assert limit.source
    assert limit.status(math.nan) != "ok"


def test_every_limit_is_given_once() -> None:
    every = [each for each in vars(limits).values() if isinstance(each, Limit)]
    assert len(set(map(id, every))) == len(every)


def test_the_worst_of_statuses_is_the_most_severe() -> None:
    assert worst(["ok", "fail", "warn"]) == "fail"
    assert worst([]) == "ok"
