"""Claims about the drift of Markov chains: exact draws stay, and each wrong quantity is named."""

import numpy as np
import pytest

import trees
from pyrovi.diagnostics import check, verdict
from pyrovi.diagnostics.checks.drift import drift
from pyrovi.errors import DiagnosticError
from pyrovi.evidence.moments import moved


def by_quantity(tree):
    found = drift(tree)
    return dict(zip(found["quantity"].values, found["status"].values, strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_exact_draws_pass(seed):
    assert set(by_quantity(trees.linear_gaussian_tree(drift=True, seed=seed)).values()) == {"ok"}


@pytest.mark.parametrize(("shift", "scale"), [(0.4, 1.0), (-0.4, 1.0), (0.0, 0.6), (0.0, 1.7)])
def test_draws_that_are_off_are_flagged(shift, scale):
    found = by_quantity(trees.linear_gaussian_tree(drift=True, shift=shift, scale=scale))
    each = {found[name] for name in ("alpha", "beta[slope]", "beta[curve]")}
    assert each <= {"warn", "fail"}
    assert found["joint"] == ("fail" if "fail" in each else "ok")


def test_one_quantity_that_is_far_off_speaks_for_those_that_may_lean_on_it():
    tree = trees.linear_gaussian_tree(drift=True)
    tree["posterior"]["alpha"] = tree["posterior"]["alpha"] + 1.0
    found = drift(tree)
    joint = found["status"].sel(quantity="joint").item()
    assert joint == "fail"
    assert "alpha moved far" in found["why"].sel(quantity="joint").item()
    assert by_quantity(tree)["beta[slope]"] == "ok"


def test_mean_field_is_flagged_where_its_sds_fall_short():
    model = trees.LinearGaussian()
    short = model.mean_field_sd / np.diag(model.cov) ** 0.5
    found = by_quantity(trees.linear_gaussian_tree(drift=True, mean_field=True, model=model))
    for name, ratio in zip(("alpha", "beta[slope]", "beta[curve]"), short, strict=True):
        assert found[name] != "ok" or ratio > 0.75
        assert found[name] == "ok" or ratio < 0.85


def test_the_numbers_are_those_of_the_shift_and_the_scale():
    found = drift(trees.linear_gaussian_tree(drift=True, shift=0.5, scale=1.5, draws=20_000))
    rows = found.isel(quantity=slice(1, None))
    assert (abs(rows["shift"] - 0.5) < 5 * rows["shift_error"]).all()
    assert (abs(np.log(rows["ratio"] / 1.5)) < 5 * rows["ratio_error"]).all()


def test_chains_that_cannot_move_say_so():
    tree = trees.linear_gaussian_tree(drift=True)
    tree["drift"]["acceptance_rate"][:] = 0.1
    assert by_quantity(tree)["joint"] == "fail"


@pytest.mark.parametrize("kept", [0.4, 0.7])
def test_how_far_it_is_off_is_seen_by_chains_that_went_part_of_the_way(kept):
    tree = trees.linear_gaussian_tree(drift=True, kept=kept, shift=0.5, scale=1.5, draws=20_000)
    rows = drift(tree).isel(quantity=slice(1, None))
    assert (abs(rows["shift"] - 0.5) < 5 * rows["shift_error"]).all()
    assert (abs(np.log(rows["ratio"] / 1.5)) < 5 * rows["ratio_error"]).all()


def test_exact_draws_pass_where_chains_went_part_of_the_way():
    trees_of = (trees.linear_gaussian_tree(drift=True, kept=0.6, seed=s) for s in range(100))
    flagged = [set(by_quantity(tree).values()) != {"ok"} for tree in trees_of]
    assert sum(flagged) <= 5  # one in a hundred is what chance may call off


def test_the_errors_are_those_of_chains_that_went_part_of_the_way():
    rows = [
        drift(trees.linear_gaussian_tree(drift=True, kept=0.6, seed=seed)).isel(
            quantity=slice(1, None)
        )
        for seed in range(60)
    ]
    for name, error in (("shift", "shift_error"), ("ratio", "ratio_error")):
        found = np.array([row[name].values for row in rows])
        found = np.log(found) if name == "ratio" else found
        said = np.array([row[error].values for row in rows]).mean(0)
        assert (abs(found.std(0) / said - 1) < 0.35).all()


@pytest.mark.parametrize("kept", [0.99, 1.0])
def test_of_a_quantity_that_chains_did_not_move_nothing_can_be_told(kept):
    tree = trees.linear_gaussian_tree(drift=True, kept=kept, shift=0.5)
    found = drift(tree).isel(quantity=slice(1, None))
    assert set(found["status"].values) == {"warn"}
    assert "cannot tell" in set(found["kind"].values)


def test_without_chains_there_is_nothing_to_judge():
    with pytest.raises(DiagnosticError, match="no Markov chains were sent out from these draws"):
        drift(trees.linear_gaussian_tree())


def test_weights_too_uneven_to_use_are_no_fault_where_chains_judge():
    # Twenty sds away in the likelihood of nothing: what is shifted is the density, not the draws.
    tree = trees.linear_gaussian_tree(drift=True)
    tree["sample_stats"]["log_guide"] = tree["sample_stats"]["log_guide"] - np.random.default_rng(
        0
    ).standard_t(1.3, size=tree["sample_stats"]["log_guide"].shape)
    bare = tree.copy()
    del bare["drift"]
    assert verdict(check(bare)).fit_status != "ok"
    psis = check(tree)["diagnostics/psis"]
    assert list(psis["quantity"].values) == ["joint"]
    assert "drift" in str(psis["why"].values[0])


def test_a_quantity_without_moments_is_judged_by_its_body():
    """Exact draws of Cauchies, moved to other exact draws: 40 of them, none called far off."""
    rng = np.random.default_rng(0)
    before, start, after = (rng.standard_cauchy((n, 40)) for n in (4000, 2048, 2048))
    same = moved(before, start, after[:, None])
    assert not [each for each in same if each.status == "fail"]
    assert sum(each.status == "warn" for each in same) <= 1
    wider = moved(3 * before, start, after[:, None])
    assert sum(each.status != "ok" for each in wider) >= 36
