import numpy as np
import pytest
import xarray as xr

import trees
from pyrovi.diagnostics import check, verdict
from pyrovi.diagnostics.checks.convergence import convergence
from pyrovi.errors import DiagnosticError
from pyrovi.tree import CHAINS, DRAWS, INDEPENDENT, draw_kind, grow


def statuses(found):
    names = found["quantity"].values.tolist()
    return dict(zip(names, found["status"].values.tolist(), strict=True))


def with_loss(*curves):
    longest = max(map(len, curves))
    padded = [
        np.pad(np.asarray(c, float), (0, longest - len(c)), constant_values=np.nan) for c in curves
    ]
    stats = xr.Dataset({"loss": (("chain", "step"), np.array(padded))}, attrs={DRAWS: INDEPENDENT})
    return grow(trees.linear_gaussian_tree(draws=50, chains=len(curves)), sample_stats=stats)


def noisy(trend, seed, steps=2000, noise=2.0):
    return trend(np.arange(steps)) + noise * np.random.default_rng(seed).normal(size=steps)


@pytest.mark.parametrize(
    ("status", "judged"), [("converged", "ok"), ("stopped", "warn"), ("diverged", "fail")]
)
def test_the_status_of_a_fit_is_judged(status, judged):
    found = convergence(trees.linear_gaussian_tree(draws=50, status=status))
    assert statuses(found)["status"] == judged
    assert bool(found["action"].sel(quantity="status").values) == (judged != "ok")


def test_each_restart_is_judged_by_itself():
    found = convergence(trees.linear_gaussian_tree(draws=50, chains=2))
    assert set(statuses(found)) == {
        "status of restart 0",
        "loss of restart 0",
        "status of restart 1",
        "loss of restart 1",
    }


def test_level_noisy_curves_pass():
    """Of 300 level curves, at a rate of 1e-4 each, more than one false alarm has chance 4e-4."""
    curves = [noisy(lambda t: 0.0 * t, seed) for seed in range(300)]
    assert list(convergence(with_loss(*curves))["status"].values).count("warn") <= 1


def test_curves_that_level_off_pass():
    curves = [noisy(lambda t: 500 * np.exp(-t / 100), seed) for seed in range(20)]
    assert set(statuses(convergence(with_loss(*curves))).values()) == {"ok"}


@pytest.mark.parametrize("slope", [-0.01, -0.03])
def test_curves_that_still_fall_are_seen(slope):
    curves = [noisy(lambda t: slope * t, seed, noise=0.5) for seed in range(20)]
    found = convergence(with_loss(*curves))
    assert set(statuses(found).values()) == {"warn"}
    assert "still falling" in str(found["why"].values[0])
    assert found["action"].values[0] == "Fit for longer."


def test_a_curve_that_rises_is_told_from_one_that_falls():
    found = convergence(with_loss(noisy(lambda t: 0.03 * t, 0, noise=0.5)))
    assert "still rising" in str(found["why"].values[0])


def test_a_quasi_newton_curve_without_noise_passes_once_it_is_level():
    found = convergence(with_loss(100 * np.exp(-np.arange(40) / 2.0)))
    assert statuses(found) == {"loss": "ok"}


def test_a_quasi_newton_curve_that_was_cut_short_is_seen():
    assert statuses(convergence(with_loss(100 * np.exp(-np.arange(12) / 5.0)))) == {"loss": "warn"}


def test_padding_is_no_fault():
    long, short = noisy(lambda t: 0.0 * t, 0), noisy(lambda t: 0.0 * t, 1, steps=500)
    assert set(statuses(convergence(with_loss(long, short))).values()) == {"ok"}


@pytest.mark.parametrize(
    "curve", [[1.0, np.inf], [np.nan, np.nan], [1.0] * 50 + [np.inf] * 10 + [1.0]]
)
def test_a_loss_that_was_not_finite_fails(curve):
    assert statuses(convergence(with_loss(curve))) == {"loss": "fail"}


@pytest.mark.parametrize("curve", [[3.0], [3.0, 2.0], [5.0] * 8])
def test_a_short_curve_is_not_judged_by_its_trend(curve):
    assert statuses(convergence(with_loss(curve))) == {"loss": "ok"}


def test_a_tree_without_history_is_not_judged():
    tree = grow(xr.DataTree(), posterior=trees.linear_gaussian_tree()["posterior"].to_dataset())
    with pytest.raises(DiagnosticError, match="no status"):
        convergence(tree)


# NUTS


def nuts(draws, diverging=0):
    """A tree of Markov chains, shape (chain, draw)."""
    flags = np.arange(draws.size).reshape(draws.shape) < diverging
    return grow(
        xr.DataTree(),
        posterior=xr.Dataset({"a": (("chain", "draw"), draws)}),
        sample_stats=xr.Dataset(
            {"diverging": (("chain", "draw"), flags)}, attrs={"engine": "NUTS(chains=4)"}
        ),
    )


@pytest.mark.parametrize("chains", [1, 4])
def test_chains_that_mix_pass(chains):
    draws = np.random.default_rng(0).normal(size=(chains, 4000 // chains))
    found = convergence(nuts(draws))
    assert statuses(found) == {"a": "ok", "divergences": "ok"}
    assert found["rhat"].sel(quantity="a") < 1.01


def test_chains_in_different_places_fail():
    draws = np.random.default_rng(0).normal(size=(4, 1000)) + np.arange(4)[:, None]
    assert statuses(convergence(nuts(draws)))["a"] == "fail"


def test_one_chain_that_drifts_is_seen():
    draws = np.random.default_rng(0).normal(size=(1, 2000)) + np.linspace(0, 2, 2000)
    assert statuses(convergence(nuts(draws)))["a"] == "fail"


def test_sticky_chains_are_seen_by_their_effective_size():
    rng = np.random.default_rng(0)
    draws = np.repeat(rng.normal(size=(4, 60)), 20, axis=1)
    found = convergence(nuts(draws))
    assert statuses(found)["a"] in {"warn", "fail"}
    assert found["ess"].sel(quantity="a") < 400


def test_chains_that_agree_but_are_short_are_seen():
    draws = np.random.default_rng(0).normal(size=(4, 80))
    found = convergence(nuts(draws))
    assert found["rhat"].sel(quantity="a") <= 1.01
    assert statuses(found)["a"] == "warn"
    row = found.sel(quantity="a")
    assert (float(row["low"]), str(row["unit"].item())) == (400, "effective draws")
    assert str(row["why"].item()).startswith("Too few effective draws: R-hat")


def test_divergences_are_counted():
    found = convergence(nuts(np.random.default_rng(0).normal(size=(4, 1000)), diverging=3))
    assert statuses(found)["divergences"] == "warn"
    assert found["value"].sel(quantity="divergences") == 3


def test_rhat_is_never_shown_for_a_variational_fit():
    found = convergence(trees.linear_gaussian_tree(chains=2))
    assert "rhat" not in found
    assert not any("R-hat" in why for why in found["why"].values)


# Draws of which nothing says what they are


def bare(draws, **stats):
    """Chains of another program, with what else it wrote of them."""
    dims = ("chain", "draw")
    tree = grow(xr.DataTree(), posterior=xr.Dataset({"a": (dims, draws)}))
    written = xr.Dataset({name: (dims, values) for name, values in stats.items()})
    return grow(tree, sample_stats=written) if stats else tree


def autoregressive(chains=4, draws=4000, rho=0.9, seed=0):
    rng = np.random.default_rng(seed)
    noise = np.sqrt(1 - rho**2) * rng.normal(size=(chains, draws))
    noise[:, 0] = rng.normal(size=chains)
    for i in range(1, draws):
        noise[:, i] += rho * noise[:, i - 1]
    return noise


def metropolis(chains, draws=4000, step=2.4, seed=0):
    """Of a standard Gaussian: draws, log density and what was accepted."""
    rng = np.random.default_rng(seed)
    states, accepted = np.zeros((chains, draws)), np.zeros((chains, draws), bool)
    now = rng.normal(size=chains)
    for i in range(draws):
        there = now + step * rng.normal(size=chains)
        accepted[:, i] = np.log(rng.uniform(size=chains)) < (now**2 - there**2) / 2
        now = np.where(accepted[:, i], there, now)
        states[:, i] = now
    return states, {"lp": -0.5 * states**2, "accepted": accepted}


def test_good_chains_of_which_nothing_says_so_are_ok_and_it_is_said_how_they_were_read():
    tree = bare(autoregressive())
    assert draw_kind(tree) == ""
    found = convergence(tree)
    assert statuses(found) == {"a": "ok"}
    assert found["rhat"].sel(quantity="a") < 1.01
    assert 'sample_stats.attrs["draws"] = "chains"' in str(found["why"].values[0])
    judged = verdict(check(tree))
    assert 'attrs["draws"] = "chains"' in judged.skipped["restarts"]
    assert judged.table.query("check != 'psis'")["status"].tolist() == ["ok"]


def test_said_to_be_chains_they_are_ok_altogether():
    tree = bare(autoregressive(), lp=np.zeros((4, 4000)))
    tree["sample_stats"].attrs[DRAWS] = CHAINS
    assert verdict(check(tree)).status == "ok"


def test_chains_in_different_places_fail_of_which_nothing_says_what_they_are():
    tree = bare(autoregressive() + np.arange(4)[:, None])
    assert statuses(convergence(tree)) == {"a": "fail"}


@pytest.mark.parametrize("chains", [1, 4])
def test_a_correct_metropolis_run_is_not_failed_for_its_rejections(chains):
    draws, stats = metropolis(chains)
    for tree in (bare(draws), bare(draws, **stats)):
        found = verdict(check(tree))
        assert found.fit_status == "warn"
        assert set(found.table["status"]) <= {"ok", "warn"}
        assert "points" not in str(found)
        assert 'attrs["draws"] = "chains"' in str(found)


def test_one_chain_of_which_nothing_says_what_it_is_is_not_judged():
    with pytest.raises(DiagnosticError, match=r'attrs\["draws"\] = "chains"'):
        convergence(bare(autoregressive(chains=1)))
