import numpy as np
import pytest

from pyrovi.evidence import Difference, limits


def difference(shift=0.0, shift_error=0.0, ratio=1.0, ratio_error=0.0):
    return Difference(shift, shift_error, ratio, ratio_error, mean=0.0, sd=1.0)


@pytest.mark.parametrize(
    ("found", "status", "shown"),
    [
        (difference(shift=0.05, shift_error=0.01), "ok", True),
        (difference(shift=0.05, shift_error=0.04), "ok", False),
        (difference(shift=0.2, shift_error=0.1), "ok", False),
        (difference(shift=0.2, shift_error=0.05), "warn", False),
        (difference(shift=0.55, shift_error=0.05), "warn", False),
        (difference(shift=-0.7, shift_error=0.05), "fail", False),
        (difference(ratio=1.05, ratio_error=0.02), "ok", True),
        (difference(ratio=1.15, ratio_error=0.05), "ok", False),
        (difference(ratio=0.7, ratio_error=0.05), "warn", False),
        (difference(ratio=0.3, ratio_error=0.05), "fail", False),
        (difference(ratio=0.0), "fail", False),
    ],
)
def test_a_difference_is_judged_beyond_its_error(found, status, shown):
    assert found.status == status
    assert found.shown_within_limits == shown


def test_too_wide_and_too_narrow_are_judged_alike():
    for ratio in (1.2, 1.3, 1.9, 2.1):
        assert difference(ratio=ratio).status == difference(ratio=1 / ratio).status


def test_the_larger_of_the_two_effects_is_reported():
    assert difference(shift=0.3, ratio=1.1).value == 0.3
    assert difference(shift=0.01, ratio=0.5).value == 0.5
    assert difference(shift=0.01, ratio=0.5).limit is limits.SD_RATIO
    assert difference(shift=0.3, ratio=1.1).limit is limits.SHIFT


def test_an_effect_within_its_limit_but_near_it_is_beyond_a_share_of_it():
    near = Difference(0.09, 0.01, 1.0, 0.01, 0.0, 1.0)
    assert near.status == "ok"
    assert near.exceeds(0.75)
    assert not near.exceeds(1.0)
    noisy = Difference(0.09, 0.05, 1.0, 0.01, 0.0, 1.0)
    assert not noisy.exceeds(0.75)


def test_what_is_not_known_is_no_effect_and_not_ok() -> None:
    unknown = Difference(np.nan, np.nan, np.nan, np.nan, 0.0, 0.0)
    assert unknown.error_hides_failure
    assert unknown.share_of_limit == 1.0
    assert unknown.status == "ok"
    assert Difference(0.3, 0.01, 1.0, 0.01, 0.0, 1.0).share_of_limit > unknown.share_of_limit


@pytest.mark.parametrize(
    ("error", "despite", "usable", "hides"),
    [
        (0.04, True, True, False),
        (0.06, False, False, False),
        (0.17, False, False, False),
        (0.18, False, False, True),
    ],
)
def test_what_an_error_leaves_to_be_said_of_a_shift(error, despite, usable, hides):
    """Of a shift by 0.15 sd: the limits are 0.1 and 0.5, and two errors must lie within them."""
    found = Difference(0.15, error, 1.0, 0.0, mean=0.0, sd=1.0, errors=1.0)
    assert found.exceeds_limit_despite_error == despite
    assert found.error_within_limits == usable
    assert found.error_hides_failure == hides


def test_an_effect_that_is_noise_exceeds_nothing():
    assert not Difference(0.15, 0.04, 1.0, 0.0, 0.0, 1.0, errors=4.0).exceeds_limit_despite_error
