"""Pareto-smoothed weights: those of ArviZ, without loading it."""

import math
import subprocess
import sys

import numpy as np
import pytest
from arviz_stats.base.array import array_stats

from pyrovi.evidence.weights import BLOCK, EVEN_SHAPE, as_rows, smooth, smooth_each

RATIOS = {
    "light": lambda rng, n: 0.3 * rng.normal(size=n),
    "heavy": lambda rng, n: 3.0 * rng.normal(size=n),
    "a Pareto": lambda rng, n: 0.9 * rng.exponential(size=n),
    "bounded": lambda rng, n: np.log(rng.uniform(size=n)),
    "shifted far": lambda rng, n: 1e4 + rng.standard_t(4, size=n),
}


# Below a hundred draws the two lines of ArviZ take tails of other lengths.
@pytest.mark.parametrize("count", [100, 226, 2000, 20_000])
@pytest.mark.parametrize("kind", RATIOS)
def test_the_smoothed_weights_and_k_are_those_of_arviz(kind: str, count: int) -> None:
    log_ratios = RATIOS[kind](np.random.default_rng(count), count)
    theirs, k = array_stats.psislw(-log_ratios)
    ours, own_k = smooth(log_ratios)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    assert own_k == pytest.approx(float(k), abs=1e-9)


@pytest.mark.parametrize("efficiency", [1.0, 0.2])
def test_each_of_many_series_is_smoothed_as_if_it_were_alone(efficiency: float) -> None:
    rng = np.random.default_rng(0)
    log_ratios = rng.normal(size=(BLOCK + 3, 1)) * rng.normal(size=(BLOCK + 3, 500))
    theirs, k = array_stats.psislw(-log_ratios, r_eff=efficiency)
    ours, own_k = smooth_each(log_ratios, efficiency)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(own_k, k, atol=1e-9)


def test_one_draw_with_all_the_weight_is_the_worst_tail() -> None:
    log_ratios = np.concatenate([np.random.default_rng(0).normal(size=999), [2000.0]])
    weights, k = smooth(log_ratios)
    assert k == np.inf
    assert np.exp(weights).max() == pytest.approx(1.0)


def test_a_tail_that_is_all_one_value_is_not_smoothed() -> None:
    rng = np.random.default_rng(0)
    tied = np.minimum(rng.normal(size=(3, 400)), 0.5)  # three in ten draws are the largest
    both = np.concatenate([tied, rng.normal(size=(3, 400))])
    log_weights, k = smooth_each(both)
    np.testing.assert_allclose(log_weights[:3], tied - np.log(np.exp(tied).sum(1))[:, None])
    assert (k[:3] == 0).all()
    assert (k[3:] != 0).all()


def test_weights_that_hardly_vary_have_no_tail_to_speak_of() -> None:
    """The textbook coin: Beta(12, 12) by its logit, beside a Gaussian of its mean and sd."""
    sd = math.sqrt(2 * (math.pi**2 / 6 - sum(1 / i**2 for i in range(1, 12))))  # 2 trigamma(12)
    x = sd * np.random.default_rng(0).normal(size=(20, 2000))
    log_ratios = -12 * (np.logaddexp(0, x) + np.logaddexp(0, -x)) + 0.5 * (x / sd) ** 2
    log_weights, k = smooth_each(log_ratios)
    effective = 1 / (2000 * np.exp(2 * log_weights).sum(1))
    assert effective.min() > 0.99
    assert array_stats.psislw(-log_ratios[0])[1] > 1.0
    assert (k <= EVEN_SHAPE).all()
    assert smooth(log_ratios[0])[1] == k[0]


def test_few_weights_far_above_the_average_keep_their_shape() -> None:
    """Nineteen in twenty draws are even, and the others a Pareto of shape 1.5."""
    rng = np.random.default_rng(0)
    log_ratios = np.where(np.arange(2000) % 20 == 0, 1.5 * rng.exponential(size=2000), 0.0)
    assert smooth(log_ratios)[1] > 1.0


def test_columns_are_taken_as_rows_once_and_in_order() -> None:
    matrix = np.arange(3.0 * 700).reshape(3, 700)
    parts = list(as_rows(matrix, -matrix))
    np.testing.assert_array_equal(np.concatenate([rows for _, (rows, _) in parts]), matrix.T)
    np.testing.assert_array_equal(np.concatenate([rows for _, (_, rows) in parts]), -matrix.T)
    places = np.concatenate([np.arange(700)[own] for own, _ in parts])
    np.testing.assert_array_equal(places, np.arange(700))


def test_a_fit_and_its_verdict_load_no_library_that_they_have_no_use_for() -> None:
    code = """if True:
        import sys, numpy as np, pyro, pyro.distributions as dist
        import pyrovi as vi
        def model(y):
            mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
            tau = pyro.sample("tau", dist.HalfCauchy(5.0))
            with pyro.plate("n", len(y)):
                pyro.sample("y", dist.Normal(mu, tau), obs=y)
        fit = vi.fit(model, {"y": np.arange(6.0)}, seed=0)
        vi.verdict(vi.check(vi.draw(fit)))
        heavy = {"arviz_stats", "sklearn", "matplotlib", "scipy.stats", "torch._dynamo"}
        print(*sorted({*heavy, "scipy.optimize"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
