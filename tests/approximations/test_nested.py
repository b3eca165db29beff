"""Claims on what is smooth in the few: where polynomials may stand for it."""

import numpy as np
import pytest
import torch
from numpy.polynomial.chebyshev import Chebyshev

from pyrovi.approximations.nested import GROWN, Polynomials


@pytest.mark.parametrize("degree", range(1, 6))
def test_outside_the_box_they_cover_what_misses_at_most_three_times_as_much(degree: int) -> None:
    box = torch.linspace(-1, 1, 2001, dtype=torch.float64)[:, None]
    # Chebyshev's polynomial of the next degree: the best fit of this one misses all of it.
    next_one = Chebyshev.basis(degree + 1)
    values = torch.as_tensor(next_one(box.numpy()))
    even = torch.ones(len(box), dtype=torch.float64)
    fitted = Polynomials.fitted(box, values, even, degree)
    far = torch.linspace(-3, 3, 60_001, dtype=torch.float64)[:, None]
    covered = far[fitted.covers(far)].numpy()
    assert covered.max() > 1.01
    assert np.abs(next_one(covered)).max() == pytest.approx(GROWN, rel=0.02)


def test_none_cover_nothing() -> None:
    assert not bool(Polynomials.none(2).covers(torch.zeros(3, 2, dtype=torch.float64)).any())
