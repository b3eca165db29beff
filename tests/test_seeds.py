"""One seed in, independent named streams out, and the global generators put back."""

import random

import numpy as np
import pytest
import torch
from scipy import stats

from pyrovi.errors import DataError
from pyrovi.seeds import SEED_BOUND, check_seed, isolated, stream


def draws() -> tuple[float, float, float]:
    """One draw of each global generator: Python's, NumPy's, torch's."""
    return random.random(), float(np.random.rand()), torch.rand(()).item()  # noqa: NPY002


def test_a_stream_is_the_same_on_every_machine_and_in_every_process() -> None:
    """The first bytes of SHA-256 of the text; were they others, saved seeds would mean others."""
    assert stream(7, "fit") == int("c6cb1fb7", 16) == stream(7, "fit")


def test_streams_of_other_names_seeds_and_orders_differ() -> None:
    names = [(7, "fit"), (8, "fit"), (7, "draw"), (7, "draw", 0), (7, "draw", 1), (7, 0, "draw")]
    assert len({stream(*name) for name in names}) == len(names)


def test_streams_of_consecutive_seeds_and_chains_are_spread_evenly() -> None:
    """Seeds that differ by one bit must not give seeds that do; and no two may meet."""
    found = np.array([stream(seed, "chain", chain) for seed in range(50) for chain in range(40)])
    assert len(set(found)) == 2000
    assert stats.kstest(found / SEED_BOUND, "uniform").pvalue > 2e-5


def test_within_isolated_the_seed_rules_and_after_it_nothing_has_happened() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = draws()
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    with isolated(5):
        first = draws()
    with isolated(5):
        again = draws()
    with isolated(6):
        other = draws()
    assert first == again
    assert not set(first) & set(other)
    assert draws() == expected


def test_the_generators_are_put_back_after_an_error_too() -> None:
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(2)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    with pytest.raises(ZeroDivisionError), isolated(5):
        _ = 1 / (0 * draws()[0])
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


def test_isolation_nests() -> None:
    with isolated(3):
        alone = [draws(), draws()]
    with isolated(3):
        first = draws()
        with isolated(4):
            draws()
        assert [first, draws()] == alone


@pytest.mark.parametrize("seed", [0, SEED_BOUND - 1, np.int64(3), np.uint8(3)])
def test_a_seed_from_numpy_is_a_seed_and_comes_back_as_an_int(seed: int) -> None:
    assert check_seed(seed) == seed
    assert type(check_seed(seed)) is int


@pytest.mark.parametrize("seed", [SEED_BOUND, -1])
def test_a_seed_out_of_range_is_told_the_range(seed: int) -> None:
    with pytest.raises(DataError, match=rf"between 0 and 2\*\*32 - 1, and {seed} came"):
        check_seed(seed)


def test_true_is_no_seed() -> None:
    with pytest.raises(DataError, match="must be an integer, and True came"):
        check_seed(True)


def test_a_missing_seed_is_fresh_and_does_not_hang_on_the_global_generators() -> None:
    with isolated(5):
        first = check_seed(None)
    with isolated(5):
        second = check_seed(None)
    assert first != second
    assert 0 <= second < SEED_BOUND
