import numpy as np
import pytest
import xarray as xr
from arviz_stats.loo import loo as arviz_loo, loo_approximate_posterior
from scipy import linalg, special, stats

import trees
from pyrovi.diagnostics.checks.loo import loo
from pyrovi.errors import DiagnosticError
from pyrovi.tree import grow

MODEL = trees.LinearGaussian()


def exact_elpd(model):
    """Leave-one-out predictive density of a linear-Gaussian model, by Bayes' rule for each row."""
    total = 0.0
    for i in range(model.size):
        keep = np.arange(model.size) != i
        precision = model.design[keep].T @ model.design[keep] / model.sigma**2
        cov = np.linalg.inv(precision + np.diag(model.prior_sd**-2))
        mean = cov @ model.design[keep].T @ model.y[keep] / model.sigma**2
        row = model.design[i]
        total += stats.norm(row @ mean, np.sqrt(row @ cov @ row + model.sigma**2)).logpdf(
            model.y[i]
        )
    return total


def rows(found):
    names = found["quantity"].values.tolist()
    return dict(zip(names, found["status"].values.tolist(), strict=True))


def with_likelihood(**variables):
    tree = trees.linear_gaussian_tree(draws=400)
    return grow(tree, log_likelihood=xr.Dataset(variables))


@pytest.mark.parametrize("scale", [1.0, 1.2])
def test_elpd_is_that_of_refitting_without_each_observation(scale):
    found = loo(trees.linear_gaussian_tree(draws=20_000, scale=scale))
    # The Monte Carlo error is 0.015 nats for these draws (twenty seeds).
    assert float(found["elpd"][0]) == pytest.approx(exact_elpd(MODEL), abs=0.065)
    assert rows(found) == {"elpd(y)": "ok"}


@pytest.mark.parametrize("weighed", [True, False])
def test_the_scores_are_those_of_arviz(weighed):
    tree = trees.linear_gaussian_tree(draws=1000, scale=1.3)
    stats_group = tree["sample_stats"].to_dataset()
    kept = stats_group if weighed else stats_group.drop_vars("log_guide")
    found = loo(grow(tree, sample_stats=kept))
    if weighed:
        densities = stats_group["log_joint"], stats_group["log_guide"]
        theirs = loo_approximate_posterior(tree, *densities, var_name="y", pointwise=True)
    else:
        theirs = arviz_loo(tree, var_name="y", pointwise=True, reff=1.0)
    ours = [float(found[name][0]) for name in ("elpd", "se", "p_loo")]
    np.testing.assert_allclose(ours, [theirs.elpd, theirs.se, theirs.p], rtol=1e-9)
    np.testing.assert_allclose(found["k_y"], theirs.pareto_k, atol=1e-9)


def test_a_guide_that_is_wrong_is_corrected_for():
    """A guide 20 % too wide: without the correction the elpd of its draws is another."""
    tree = trees.linear_gaussian_tree(draws=20_000, scale=1.4)
    found = float(loo(tree)["elpd"][0])
    plain = tree["sample_stats"].to_dataset().drop_vars("log_guide")
    naive = float(loo(grow(tree, sample_stats=plain))["elpd"][0])
    exact = exact_elpd(MODEL)
    assert abs(found - exact) < 0.1 < abs(naive - exact)


def test_observations_that_cannot_be_left_out_are_seen():
    """A tenth have a parameter of their own each: leaving one out leaves only the prior."""
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(1, 2000, 20)) * 0.1
    ordinary = 0.1 * rng.normal(size=(1, 2000, 180))
    log_likelihood = np.concatenate([-0.5 * (theta / 0.1) ** 2, ordinary], -1)
    tree = grow(
        xr.DataTree(),
        posterior=xr.Dataset({"theta": (("chain", "draw", "n"), theta)}),
        log_likelihood=xr.Dataset({"y": (("chain", "draw", "n"), log_likelihood)}),
    )
    found = loo(tree)
    assert rows(found) == {"elpd(y)": "warn"}
    assert found.attrs["about"] == "model"


def test_a_bad_guide_is_blamed_on_the_fit():
    found = loo(trees.linear_gaussian_tree(shift=4.0))
    assert rows(found) == {"elpd(y)": "warn"}
    assert found.attrs["about"] == "fit"
    assert "guide" in str(found["why"].values[0])


def test_several_variables_of_any_shape_are_scored():
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.normal(size=(1, 400, *shape)) * 0.1

    sample = ("chain", "draw")
    found = loo(
        with_likelihood(
            scalar=(sample, draw()),
            table=((*sample, "n", "k"), draw(6, 2)),
            one=((*sample, "m"), draw(1)),
        )
    )
    assert rows(found) == {"elpd(scalar)": "ok", "elpd(table)": "ok", "elpd(one)": "ok"}
    assert np.isnan(found["se"].sel(variable="scalar"))
    assert found["k_table"].size == 12


def test_missing_observations_are_left_out_silently():
    tree = trees.linear_gaussian_tree()
    whole = tree["log_likelihood"]["y"]
    holed = whole.where(whole["station"] != "S03")
    found = loo(grow(tree, log_likelihood=holed.to_dataset()))
    assert rows(found) == {"elpd(y)": "ok"}
    assert np.isnan(found["k_y"].values).tolist() == [i == 3 for i in range(40)]
    rest = loo(grow(tree, log_likelihood=whole.drop_sel(station="S03").to_dataset()))
    assert float(found["elpd"][0]) == pytest.approx(float(rest["elpd"][0]))


def test_what_a_mask_hides_is_left_out():
    tree = trees.linear_gaussian_tree()
    masked = xr.DataArray(np.arange(40) == 3, dims="station", attrs={"selected": 0})
    found = loo(grow(tree, masked=xr.Dataset({"y": masked})))
    rest = tree["log_likelihood"].to_dataset().drop_sel(station="S03")
    of_rest = loo(grow(tree, log_likelihood=rest))
    assert float(found["elpd"][0]) == pytest.approx(float(of_rest["elpd"][0]))
    assert np.isnan(found["k_y"].values).tolist() == [i == 3 for i in range(40)]


def test_the_sites_of_a_loop_are_scored_as_one_plate():
    whole = trees.linear_gaussian_tree()
    one, of_loop = loo(whole), loo(trees.in_a_loop(whole))
    assert rows(of_loop) == {"elpd(y_0...y_39)": "ok"}
    for name in ("elpd", "se", "p_loo"):
        np.testing.assert_allclose(of_loop[name], one[name])
    np.testing.assert_allclose(of_loop["k_y_0...y_39"], one["k_y"])


def test_an_observation_that_some_draws_rule_out_is_named():
    tree = trees.linear_gaussian_tree()
    broken = tree["log_likelihood"].to_dataset().copy(deep=True)
    broken["y"][0, 7, 3] = -np.inf
    found = loo(grow(tree, log_likelihood=broken))
    assert rows(found) == {"elpd(y)": "warn"}
    assert "1 observation" in str(found["why"].values[0])


@pytest.mark.parametrize("exact", [True, False])
def test_a_likelihood_that_does_not_depend_on_the_draws_is_no_obstacle(exact):
    tree = trees.linear_gaussian_tree(draws=500, scale=1.0 if exact else 1.2)
    still = xr.Dataset({"y": (("chain", "draw", "n"), np.full((1, 500, 4), -1.5))})
    found = loo(grow(tree, log_likelihood=still))
    assert float(found["elpd"][0]) == pytest.approx(-6.0, abs=1e-6)


@pytest.mark.parametrize(("sd", "said"), [(5.0, "flexible"), (0.1, "ok")])
def test_a_model_that_bends_to_every_observation_is_no_fault_of_it(sd, said):
    """A mean of its own for each of 25 observations, under a wide or a narrow prior."""
    rng = np.random.default_rng(0)
    share = sd**2 / (1 + sd**2)
    y = rng.normal(size=25) * np.sqrt(1 + sd**2)
    f = share * y + np.sqrt(share) * rng.normal(size=(1000, 25))
    pointwise = xr.Dataset({"y": (("chain", "draw", "n"), -0.5 * (y - f)[None] ** 2)})
    tree = grow(trees.linear_gaussian_tree(draws=1000), log_likelihood=pointwise)
    if said == "ok":
        assert rows(loo(tree)) == {"elpd(y)": "ok"}
    else:
        with pytest.raises(DiagnosticError, match="draws cannot leave one out: compare"):
            loo(tree)


def test_nothing_finite_is_seen():
    still = xr.Dataset({"y": (("chain", "draw", "n"), np.full((1, 400, 4), np.nan))})
    tree = grow(trees.linear_gaussian_tree(draws=400), log_likelihood=still)
    assert rows(loo(tree)) == {"elpd(y)": "warn"}


def test_without_a_likelihood_or_with_few_draws_it_does_not_apply():
    with pytest.raises(DiagnosticError, match="too few"):
        loo(trees.linear_gaussian_tree(draws=10))
    tree = trees.linear_gaussian_tree(draws=50)
    del tree["log_likelihood"]
    with pytest.raises(DiagnosticError, match="log likelihood"):
        loo(tree)


# Right models that are seen through a Gaussian


def regression_tree(seed, draws=2000, size=40, off=0.0):
    """A line under p(a, b, sigma) = 1 / sigma, seen through a Gaussian of a, b and log sigma.

    One row is far from the others, and ``off`` the line by so much.
    """
    rng = np.random.default_rng(seed)
    design = np.column_stack([np.ones(size), rng.normal(size=size)])
    design[0, 1] = 6.0 if off else design[0, 1]
    y = design @ [1.0, 0.5] + 0.7 * rng.normal(size=size) + off * (np.arange(size) == 0)
    inverse, left = np.linalg.inv(design.T @ design), size - 2
    ab = inverse @ design.T @ y
    squares = ((y - design @ ab) ** 2).sum()
    # log sigma is half of log squares less that of a chi-square: its cumulants are polygammas.
    loc = 0.5 * (np.log(squares / 2) - special.digamma(left / 2))
    sd = 0.5 * special.polygamma(1, left / 2) ** 0.5
    guide = stats.multivariate_normal(
        [*ab, loc], linalg.block_diag(inverse * squares / (left - 2), sd**2)
    )
    theta = guide.rvs(size=draws, random_state=rng)
    each = stats.norm(theta[:, :2] @ design.T, np.exp(theta[:, 2:])).logpdf(y)
    sample = ("chain", "draw")
    return grow(
        xr.DataTree(),
        posterior=xr.Dataset({n: (sample, theta[None, :, i]) for i, n in enumerate("abs")}),
        log_likelihood=xr.Dataset({"y": ((*sample, "n"), each[None])}),
        sample_stats=xr.Dataset(
            {
                "log_joint": (sample, each.sum(1)[None]),
                "log_guide": (sample, guide.logpdf(theta)[None]),
            }
        ),
    ), exact_of_regression(design, y)


def exact_of_regression(design, y):
    """Without one row, its prediction is a t distribution of n - 3 degrees of freedom."""
    total = 0.0
    for i in range(len(y)):
        rest, row = np.delete(design, i, axis=0), design[i]
        inverse = np.linalg.inv(rest.T @ rest)
        ab = inverse @ rest.T @ np.delete(y, i)
        variance = ((np.delete(y, i) - rest @ ab) ** 2).sum() / (len(y) - 3)
        scale = np.sqrt(variance * (1 + row @ inverse @ row))
        total += stats.t(len(y) - 3, row @ ab, scale).logpdf(y[i])
    return total


def test_the_tail_of_a_guide_is_not_taken_for_the_models():
    """Weights that leave out and correct at once have a heavy tail where neither alone has one."""
    blamed = []
    for seed in range(30):
        tree, exact = regression_tree(seed)
        found = loo(tree)
        if rows(found)["elpd(y)"] != "ok":
            blamed.append(found.attrs["about"])
        # Corrected, 0.08 nats off on average (sd of a hundred seeds); as drawn, 0.3.
        assert float(found["elpd"][0]) == pytest.approx(exact, abs=0.6)
    assert set(blamed) <= {"fit"}  # where the weights of the whole fit warn of it too
    assert len(blamed) <= 1


def test_a_row_that_draws_the_line_to_itself_is_seen():
    for seed in range(10):
        found = loo(regression_tree(seed, off=6.0)[0])
        assert rows(found) == {"elpd(y)": "warn"}
        assert int(found["k_y"].values.argmax()) == 0


def test_draws_are_taken_as_they_are_where_they_are_the_better_of_the_two():
    """Of this set, correcting leaves seven hard, and nothing says that the draws are off."""
    tree, _ = regression_tree(22)
    as_drawn = tree["sample_stats"].to_dataset().drop_vars("log_guide")
    found, plain = loo(tree), loo(grow(tree, sample_stats=as_drawn))
    assert rows(found) == {"elpd(y)": "ok"}
    np.testing.assert_allclose(found["k_y"], plain["k_y"])
