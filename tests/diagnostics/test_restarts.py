import numpy as np
import pytest
import xarray as xr

import trees
from pyrovi.diagnostics import check, verdict
from pyrovi.diagnostics.checks.restarts import restarts
from pyrovi.errors import DiagnosticError
from pyrovi.evidence.moments import farthest_chains
from pyrovi.tree import DRAWS, POINTS, grow


def statuses(found):
    names = found["quantity"].values.tolist()
    return dict(zip(names, found["status"].values.tolist(), strict=True))


def with_elbos(*elbos):
    stats = xr.Dataset({"restart_elbo": ("restart", np.array(elbos))})
    return grow(trees.linear_gaussian_tree(draws=50), sample_stats=stats)


def apart(shift=0.0, scale=1.0, draws=2000, seed=0):
    """Two chains of which the second is moved by sds and stretched."""
    tree = trees.linear_gaussian_tree(chains=2, restarts=4, draws=draws, seed=seed)
    sd = np.diag(trees.LinearGaussian().cov)[0] ** 0.5
    posterior = tree["posterior"].to_dataset().copy(deep=True)
    mean = posterior["alpha"][1].mean()
    posterior["alpha"][1] = (posterior["alpha"][1] - mean) * scale + mean + shift * sd
    return grow(tree, posterior=posterior)


@pytest.mark.parametrize("seed", range(10))
def test_restarts_that_agree_pass(seed):
    assert set(statuses(restarts(apart(seed=seed))).values()) == {"ok"}


@pytest.mark.parametrize("draws", [100, 1000])
def test_few_draws_are_not_taken_for_disagreement(draws):
    found = [restarts(apart(draws=draws, seed=seed)) for seed in range(20)]
    warned = sum("warn" in statuses(each).values() for each in found)
    # 60 quantities at a rate below 0.003 each: more than three has chance 4e-5.
    assert warned <= 3


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"shift": 0.3}, "warn"),
        ({"shift": 1.0}, "fail"),
        ({"scale": 1.5}, "warn"),
        ({"scale": 3.0}, "fail"),
    ],
)
def test_a_quantity_that_restarts_disagree_on_is_seen_alone(wrong, status):
    rows = statuses(restarts(apart(**wrong)))
    assert rows.pop("alpha") == status
    assert set(rows.values()) == {"ok"}


@pytest.mark.parametrize(
    ("elbos", "status", "words"),
    [
        ((-10.0, -10.1, -10.2), "ok", "3 of 3 restarts reached the best optimum."),
        ((-10.0, -10.1, -30.0, -50.0), "ok", "of 3 that were found"),
        ((-10.0, -30.0, -30.1), "warn", "Only 1 of 3"),
        ((-10.0, np.nan, -np.inf), "warn", "2 ended without an ELBO"),
        ((np.nan, -np.inf), "fail", "None of 2"),
    ],
)
def test_restarts_at_the_best_optimum_are_counted(elbos, status, words):
    found = restarts(with_elbos(*elbos))
    assert statuses(found) == {"best optimum": status}
    assert words in str(found["why"].values[0])


def test_the_farthest_pair_of_chains_is_found():
    draws = np.random.default_rng(0).normal(size=(5, 4000, 1))
    draws[3] += 2.0
    (found,) = farthest_chains(draws)
    assert found.shift == pytest.approx(2.0, abs=0.12)


def test_one_restart_says_what_to_do():
    with pytest.raises(DiagnosticError, match="restarts=4"):
        restarts(trees.linear_gaussian_tree())


@pytest.mark.parametrize(
    ("engine", "said"),
    [("NUTS(warmup=100)", "chains of NUTS"), ("Gibbs()", "chains of Gibbs"), ("", "of a sampler")],
)
def test_a_sampler_s_chains_are_left_to_r_hat_and_the_sampler_is_named(engine, said):
    tree = trees.linear_gaussian_tree(chains=2, draws=50)
    stats = xr.Dataset({"diverging": (("chain", "draw"), np.zeros((2, 50), bool))})
    stats.attrs["engine"] = engine
    with pytest.raises(DiagnosticError, match=said):
        restarts(grow(tree, sample_stats=stats))


def test_points_that_differ_fail():
    posterior = xr.Dataset({"a": (("chain", "draw"), np.repeat([[0.0], [1.0]], 50, axis=1))})
    stats = xr.Dataset(attrs={DRAWS: POINTS})
    groups = {"posterior": posterior, "sample_stats": stats}
    assert statuses(restarts(xr.DataTree.from_dict(groups))) == {"a": "fail"}


def test_chains_of_which_nothing_says_what_they_are_are_not_taken_for_independent():
    posterior = xr.Dataset({"a": (("chain", "draw"), np.repeat([[0.0], [1.0]], 50, axis=1))})
    with pytest.raises(DiagnosticError, match=r'attrs\["draws"\] = "chains"'):
        restarts(grow(xr.DataTree(), posterior=posterior))


def test_chains_without_a_bound_are_held_against_each_other():
    """Of four polished restarts none has an ELBO; all four are chains, and agree or do not."""
    tree = trees.linear_gaussian_tree(chains=4, restarts=4)
    stats = tree["sample_stats"].to_dataset().copy(deep=True)
    stats["restart_elbo"][:] = np.nan
    rows = statuses(restarts(grow(tree, sample_stats=stats)))
    assert "best optimum" not in rows
    assert set(rows.values()) == {"ok"}


def test_ok_does_not_hide_that_no_check_could_have_seen_another_mode():
    alone = verdict(check(trees.linear_gaussian_tree()))
    assert alone.status == "ok"
    for said in (str(alone), alone.summary(), alone.unseen):
        assert "other modes was not judged" in " ".join(said.split())
    for seen in ({"chains": 3, "restarts": 3}, {"modes": (True,)}):
        assert not verdict(check(trees.linear_gaussian_tree(**seen))).unseen
