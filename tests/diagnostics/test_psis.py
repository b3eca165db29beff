import numpy as np
import pytest
import xarray as xr
from arviz_stats.base.array import array_stats

import trees
from pyrovi.diagnostics.checks.psis import psis
from pyrovi.errors import DiagnosticError
from pyrovi.evidence.moments import reweighted
from pyrovi.evidence.weights import khat, smooth, threshold
from pyrovi.tree import DRAWS, INDEPENDENT, grow


def mean_field(rho, draws=100_000, seed=0):
    """The exact mean-field optimum of a bivariate Gaussian of correlation rho."""
    cov = np.array([[1.0, rho], [rho, 1.0]])
    guide = np.diag(1 / np.diag(np.linalg.inv(cov)))
    return trees.gaussian_tree(guide, cov, draws=draws, seed=seed)


def statuses(found):
    return dict(
        zip(found["quantity"].values.tolist(), found["status"].values.tolist(), strict=True)
    )


def ratios(tree):
    stats = tree["sample_stats"]
    return stats["log_joint"].values.ravel(), stats["log_guide"].values.ravel()


# The estimator approaches k from below, by about 0.04 at 1e5 draws; its sd there is about 0.02
# (twenty seeds), and the band is 4.3 sds wide on either side.
BIAS, BAND = -0.035, 0.09


@pytest.mark.parametrize("rho", [0.5, 0.7, 0.9])
def test_mean_field_on_a_bivariate_gaussian_has_k_equal_to_its_correlation(rho):
    k = khat(*ratios(mean_field(rho)))
    assert abs(k - rho - BIAS) < BAND


@pytest.mark.parametrize("variance", [0.1, 0.3, 0.6])
def test_a_guide_that_is_too_narrow_has_k_of_one_minus_its_variance(variance):
    tree = trees.gaussian_tree(np.eye(1) * variance, np.eye(1), draws=100_000)
    assert abs(khat(*ratios(tree)) - (1 - variance) - BIAS) < BAND


@pytest.mark.parametrize("variance", [0.1, 0.3, 0.6])
def test_the_wrong_sign_would_be_seen(variance):
    """In one dimension the wrong sign gives bounded weights, so k falls below zero."""
    tree = trees.gaussian_tree(np.eye(1) * variance, np.eye(1), draws=100_000)
    log_joint, log_guide = ratios(tree)
    assert khat(log_guide, log_joint) < 0
    assert array_stats.psislw(log_joint - log_guide)[1] < 0  # ArviZ without the minus


def test_the_bivariate_anchor_alone_cannot_see_the_sign():
    """Its log weights are rho (u^2 - v^2) / 2, with u and v alike: either sign has the same k."""
    log_joint, log_guide = ratios(mean_field(0.7))
    assert abs(khat(log_guide, log_joint) - khat(log_joint, log_guide)) < BAND


def test_k_does_not_care_about_constants():
    log_joint, log_guide = ratios(mean_field(0.7, draws=4000))
    assert khat(log_joint - 1e4, log_guide + 7.0) == pytest.approx(khat(log_joint, log_guide))


@pytest.mark.parametrize("noise", [0.0, 1e-12, 1e-4])
def test_a_guide_that_is_the_posterior_is_called_exact(noise):
    tree = trees.linear_gaussian_tree()
    stats = tree["sample_stats"].to_dataset()
    wiggle = noise * np.random.default_rng(0).normal(size=stats["log_joint"].shape)
    found = psis(grow(tree, sample_stats=stats.assign(log_joint=stats["log_joint"] + wiggle)))
    joint = found.sel(quantity="joint")
    assert joint["value"] == 0.0
    assert joint["status"] == "ok"
    assert "exact" in str(joint["why"].values)
    assert set(statuses(found).values()) == {"ok"}


def test_equal_draws_are_a_point_and_not_exact():
    tree = trees.linear_gaussian_tree(draws=100)
    point = tree["posterior"].to_dataset()
    still = point.map(lambda v: v * 0 + 1.0)
    stats = tree["sample_stats"].to_dataset()
    stats = stats.assign(log_joint=stats["log_joint"] * 0, log_guide=stats["log_guide"] * 0)
    found = psis(grow(tree, posterior=still, sample_stats=stats))
    assert statuses(found) == {"joint": "fail"}
    assert "one point" in str(found["why"].values[0])


def test_the_threshold_is_that_of_the_paper():
    assert threshold(100) == pytest.approx(0.5)
    assert threshold(1500) == pytest.approx(1 - 1 / np.log10(1500))
    assert threshold(10**6) == 0.7


def test_smoothed_weights_sum_to_one():
    weights, _ = smooth(np.random.default_rng(0).normal(size=2000))
    assert np.exp(weights).sum() == pytest.approx(1.0)


# The good, and the bad


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [1.0, 1.05])
def test_a_guide_that_is_right_passes(seed, scale):
    found = psis(trees.linear_gaussian_tree(scale=scale, shift=0.02, seed=seed, draws=4000))
    assert set(statuses(found).values()) == {"ok"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("wrong", "severity"),
    [
        ({"shift": 0.25}, {"warn"}),
        ({"shift": 0.8}, {"warn", "fail"}),
        ({"scale": 0.6}, {"warn", "fail"}),
        ({"scale": 1.4}, {"warn"}),
        ({"scale": 2.5}, {"fail"}),
    ],
)
def test_every_quantity_that_is_wrong_is_seen(wrong, severity, seed):
    found = psis(trees.linear_gaussian_tree(**wrong, seed=seed, draws=4000))
    rows = statuses(found)
    if rows.pop("joint") == "ok":
        assert set(rows) == {"alpha", "beta[slope]", "beta[curve]"}
        assert set(rows.values()) <= severity
    else:
        assert set(rows) == {"alpha", "beta"}
        assert "ok" not in rows.values()


@pytest.mark.parametrize("seed", range(10))
def test_the_sds_that_mean_field_underestimates_never_pass_as_a_whole(seed):
    found = psis(trees.linear_gaussian_tree(mean_field=True, seed=seed))
    assert "ok" not in {s for q, s in statuses(found).items() if q == "beta[curve]"}
    assert {"warn", "fail"} & set(statuses(found).values())


def test_a_guide_far_from_the_posterior_fails():
    found = psis(trees.linear_gaussian_tree(shift=6.0))
    assert statuses(found) == {"joint": "fail", "alpha": "warn", "beta": "warn"}
    assert list(found["kind"].values) == ["judged", "cannot tell", "cannot tell"]
    assert all(found["action"].values)


def test_one_quantity_that_is_wrong_is_told_from_those_that_are_right():
    cov = np.eye(3)
    tree = trees.gaussian_tree(np.diag([1.0, 1.69, 1.0]), cov, draws=4000)
    assert statuses(psis(tree)) == {
        "joint": "ok",
        "theta[0]": "ok",
        "theta[1]": "warn",
        "theta[2]": "ok",
    }


def test_the_reweighted_moments_are_those_of_the_posterior():
    model = trees.LinearGaussian()
    found = psis(trees.linear_gaussian_tree(scale=1.4, draws=20_000)).isel(quantity=slice(1, None))
    sd = np.diag(model.cov) ** 0.5
    # 20 000 draws leave an error of about 0.01 sd; 0.05 is 4.3 times that.
    np.testing.assert_allclose((found["mean"] - model.mean) / sd, 0.0, atol=0.05)
    np.testing.assert_allclose(found["sd"] / sd, 1.0, atol=0.05)
    np.testing.assert_allclose(found["ratio"], 1.4, atol=0.06)


def test_the_error_of_a_shift_is_the_scatter_of_shifts():
    rng = np.random.default_rng(0)

    def one():
        draws = rng.normal(0.0, 1.2, size=(1000, 1))
        log_weights = -0.5 * draws[:, 0] ** 2 * (1 - 1 / 1.44)
        weights = np.exp(log_weights)
        (found,) = reweighted(draws, weights / weights.sum())
        return found.shift, found.shift_error, np.log(found.ratio), found.ratio_error

    shift, shift_error, ratio, ratio_error = np.array([one() for _ in range(400)]).T
    # The sd of 400 values is known to 3.5 %; 15 % is 4.3 times that.
    assert np.mean(shift_error) / np.std(shift) == pytest.approx(1.0, abs=0.15)
    assert np.mean(ratio_error) / np.std(ratio) == pytest.approx(1.0, abs=0.15)


# What the densities may be


def test_draws_without_a_density_are_counted_and_left_out():
    tree = trees.linear_gaussian_tree(scale=1.2, draws=4000)
    stats = tree["sample_stats"].to_dataset()
    joint = stats["log_joint"].values.copy()
    joint[0, :40] = np.nan
    found = psis(grow(tree, sample_stats=stats.assign(log_joint=(("chain", "draw"), joint))))
    assert found["status"].sel(quantity="joint") == "warn"
    assert "1.0%" in str(found["why"].sel(quantity="joint").values)
    assert np.isfinite(found["value"]).all()
    assert np.isnan(found["log_weight"].values).sum() == 40


def test_draws_that_the_posterior_rules_out_have_weight_zero():
    """A half-normal target under a normal guide: the mean must be pulled from 0 to 0.80."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 8000))
    log_guide = -0.5 * x**2
    tree = grow(
        xr.DataTree(),
        posterior=xr.Dataset({"x": (("chain", "draw"), x)}),
        sample_stats=xr.Dataset(
            {
                "log_joint": (("chain", "draw"), np.where(x > 0, log_guide, -np.inf)),
                "log_guide": (("chain", "draw"), log_guide),
            }
        ),
    )
    found = psis(tree)
    assert float(found["mean"].sel(quantity="x")) == pytest.approx(np.sqrt(2 / np.pi), abs=0.05)
    assert statuses(found)["x"] == "fail"
    assert statuses(found)["joint"] == "fail"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_density_at_all_fails(value):
    tree = trees.linear_gaussian_tree(draws=100)
    stats = tree["sample_stats"].to_dataset()
    found = psis(grow(tree, sample_stats=stats.assign(log_joint=stats["log_joint"] * 0 + value)))
    assert statuses(found) == {"joint": "fail"}


def test_one_draw_with_all_the_weight_fails():
    tree = trees.linear_gaussian_tree(scale=1.2, draws=1000)
    stats = tree["sample_stats"].to_dataset()
    joint = stats["log_joint"].values.copy()
    joint[0, 17] += 1e5
    found = psis(grow(tree, sample_stats=stats.assign(log_joint=(("chain", "draw"), joint))))
    assert statuses(found)["joint"] == "fail"


@pytest.mark.parametrize("spread", [100.0, 500.0, 1e5])
def test_weights_that_underflow_are_the_worst_and_not_the_best(spread):
    log_weights, k = smooth(spread * np.random.default_rng(0).normal(size=2000))
    assert k > 1
    assert np.exp(log_weights).sum() == pytest.approx(1.0)


def test_a_bad_restart_shows_in_its_own_k():
    found = psis(trees.one_bad_restart())
    assert found["khat_chain"].values[0] < 0.5
    assert found["khat_chain"].values[1] > 1.0
    assert statuses(found)["joint of restart 1"] == "fail"
    assert "joint of restart 0" not in statuses(found)
    assert {statuses(found)["alpha"], statuses(found)["beta[slope]"]} <= {"warn", "fail"}


@pytest.mark.parametrize("missing", ["log_joint", "log_guide"])
def test_without_both_densities_it_does_not_apply(missing):
    tree = trees.linear_gaussian_tree(draws=100)
    stats = tree["sample_stats"].to_dataset().drop_vars(missing)
    with pytest.raises(DiagnosticError, match="without log_joint and log_guide"):
        psis(grow(tree, sample_stats=stats))


def test_too_few_draws_are_refused():
    with pytest.raises(DiagnosticError, match="too few"):
        psis(trees.linear_gaussian_tree(draws=10))


@pytest.mark.parametrize("shift", [0.0, 6.0])
def test_discrete_and_constant_variables_have_no_rows(shift):
    tree = trees.linear_gaussian_tree(scale=1.2, shift=shift)
    extra = {
        "z": (("chain", "draw"), np.random.default_rng(0).integers(0, 2, (1, 2000))),
        "fixed": (("chain", "draw"), np.ones((1, 2000), dtype=int)),
    }
    posterior = tree["posterior"].to_dataset()
    with_them = psis(grow(tree, posterior=posterior.assign(extra)))
    assert statuses(with_them) == statuses(psis(tree))


def test_equal_draws_without_a_density_are_a_point_too():
    """As a point estimate (SVI(guide="map")) leaves them; without densities it was called ok."""
    tree = trees.linear_gaussian_tree()
    still = tree["posterior"].to_dataset().map(lambda v: v * 0 + 1.0)
    stats = tree["sample_stats"].to_dataset().drop_vars(["log_joint", "log_guide"])
    found = psis(xr.DataTree.from_dict({"posterior": still, "sample_stats": stats}))
    assert found["status"].values.tolist() == ["fail"]
    assert "one point" in str(found["why"].values[0])


def repeated(times: int, kind: str = INDEPENDENT) -> xr.DataTree:
    """Draws without a density, each of which comes so many times."""
    tree = trees.linear_gaussian_tree(draws=2000)
    posterior = tree["posterior"].to_dataset()
    few = posterior.isel(draw=np.arange(2000) // times)
    stats = tree["sample_stats"].to_dataset().drop_vars(["log_joint", "log_guide"])
    return xr.DataTree.from_dict(
        {"posterior": few, "sample_stats": stats.assign_attrs({DRAWS: kind})}
    )


def test_draws_of_a_few_points_are_called_that():
    found = psis(repeated(400))
    assert found["status"].values.tolist() == ["fail"]
    assert found["value"].values.tolist() == [5]
    assert "one of 5 points" in str(found["why"].values[0])


def test_a_chain_that_rejects_now_and_then_is_not_taken_for_points():
    with pytest.raises(DiagnosticError, match="without log_joint"):
        psis(repeated(2))


def test_a_few_points_of_which_nothing_says_what_they_are_are_not_judged():
    with pytest.raises(DiagnosticError, match=r'attrs\["draws"\] = "chains"'):
        psis(repeated(8, kind=""))


def test_discrete_sites_alone_are_not_taken_for_a_point():
    tree = trees.linear_gaussian_tree(draws=100)
    z = np.random.default_rng(0).integers(0, 2, (1, 100))
    with pytest.raises(DiagnosticError, match="no continuous"):
        psis(grow(tree, posterior=xr.Dataset({"z": (("chain", "draw"), z)})))


def _taken_by_weights(khat: float, share: float):
    """A good tree whose draws were resampled, each with a share of all weights."""
    tree = trees.linear_gaussian_tree()
    stats = tree["sample_stats"].to_dataset()
    shape = stats["log_joint"].shape
    each = {"pool_weight": np.full(shape, share), "pool_khat": np.full(shape, khat)}
    added = stats.drop_vars("log_guide").assign(
        {n: (("chain", "draw"), v) for n, v in each.items()}
    )
    tree["sample_stats"] = xr.DataTree(added)
    return tree


def test_draws_taken_by_even_weights_are_known_and_by_few_large_ones_are_not():
    good = psis(_taken_by_weights(khat=0.3, share=1e-4))
    assert set(good["status"].values) == {"ok"}
    few = psis(_taken_by_weights(khat=0.3, share=0.05))  # twenty draws' worth
    assert set(few["status"].values[1:]) == {"warn"}
    heavy = psis(_taken_by_weights(khat=0.9, share=1e-4))
    assert heavy["status"].values[0] == "warn"
