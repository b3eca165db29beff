"""Pareto-smoothed weights: those of ArviZ, without loading it."""

import subprocess
import sys

import numpy as np
import pytest
from arviz_stats.base.array import array_stats

from pyrovi.evidence.weights import BLOCK, smooth, smooth_each

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
