import numpy as np
import pytest
import xarray as xr
from scipy import stats

import trees
from pyrovi.diagnostics.checks.predictive import pit_values, predictive, uniformity
from pyrovi.errors import DiagnosticError
from pyrovi.tree import grow


def statuses(found):
    names = found["quantity"].values.tolist()
    return dict(zip(names, found["status"].values.tolist(), strict=True))


def replicated(observed, draws, name="y", dims=("n",)):
    """A tree of data and replications alone; ``draws`` has shape (S, *observed.shape)."""
    return grow(
        xr.DataTree(),
        posterior=xr.Dataset({"a": (("chain", "draw"), np.zeros((1, len(draws))))}),
        observed_data=xr.Dataset({name: (dims, observed)}),
        posterior_predictive=xr.Dataset({name: (("chain", "draw", *dims), draws[None])}),
    )


@pytest.mark.parametrize("seed", range(10))
def test_data_from_the_model_pass(seed):
    model = trees.LinearGaussian(seed=seed)
    found = predictive(trees.linear_gaussian_tree(seed=seed, model=model))
    assert list(statuses(found)) == ["mean(y)", "sd(y)", "min(y)", "max(y)", "PIT(y)"]
    assert set(statuses(found).values()) == {"ok"}


def test_the_mean_of_centred_data_reads_as_zero():
    rng = np.random.default_rng(0)
    y = rng.normal(size=31)
    found = predictive(replicated(y - y.mean(), rng.normal(size=(500, 31))))
    assert str(found["why"].sel(quantity="mean(y)").item()).startswith("0 in the data")


def test_outliers_are_seen_where_they_are():
    found = statuses(predictive(trees.linear_gaussian_tree(misfit=6.0)))
    assert found["max(y)"] == found["PIT(y)"] == "warn"
    assert found["min(y)"] == "ok"


def test_the_side_on_which_the_model_errs_is_named():
    found = predictive(trees.linear_gaussian_tree(misfit=6.0)).sel(quantity="max(y)")
    assert float(found["value"]) < 0.01
    assert "the model's is smaller" in str(found["why"].values)


def test_a_misfit_is_never_a_failure():
    found = predictive(trees.linear_gaussian_tree(misfit=100.0))
    assert set(statuses(found).values()) == {"ok", "warn"}
    assert all(found["action"].values[found["status"].values == "warn"])
    assert found.attrs["about"] == "model"


def test_counts_have_their_zeros_judged():
    rng = np.random.default_rng(0)
    draws = rng.poisson(3.0, size=(1000, 200))
    assert set(statuses(predictive(replicated(rng.poisson(3.0, 200), draws))).values()) == {"ok"}
    inflated = rng.poisson(3.0, 200) * (rng.uniform(size=200) > 0.3)
    assert statuses(predictive(replicated(inflated, draws)))["zeros(y)"] == "warn"


def test_yes_and_no_have_their_share_judged_alone():
    rng = np.random.default_rng(0)
    draws = rng.integers(0, 2, size=(1000, 100))
    found = predictive(replicated(rng.integers(0, 2, 100), draws))
    assert statuses(found) == {"mean(y)": "ok", "PIT(y)": "ok"}
    found = predictive(replicated((rng.uniform(size=100) > 0.1).astype(bool), draws))
    assert statuses(found)["mean(y)"] == "warn"


def test_missing_observations_are_left_out():
    tree = trees.linear_gaussian_tree()
    y = tree["observed_data"]["y"].copy(deep=True)
    y[3:9] = np.nan
    found = predictive(grow(tree, observed_data=y.to_dataset()))
    assert found["pit_y"].size == 34
    assert np.isfinite(found["value"]).all()
    assert set(statuses(found).values()) == {"ok"}


@pytest.mark.parametrize("hide", [True, False])
def test_what_a_mask_hides_is_left_out(hide):
    tree = trees.linear_gaussian_tree()
    y = tree["observed_data"]["y"].copy(deep=True)
    y[3:9] = 50.0
    masked = xr.zeros_like(y, dtype=bool)
    masked[3:9] = hide
    masked.attrs["selected"] = 0
    found = predictive(grow(tree, observed_data=y.to_dataset(), masked=masked.to_dataset()))
    assert found["pit_y"].size == (34 if hide else 40)
    assert (set(statuses(found).values()) == {"ok"}) == hide


def test_what_is_left_of_censored_data_is_not_compared():
    tree = trees.linear_gaussian_tree()
    y = tree["observed_data"]["y"]
    masked = (y > 1.0).assign_attrs(selected=1)
    with pytest.raises(DiagnosticError, match="chosen by their values"):
        predictive(grow(tree, masked=masked.to_dataset()))


def test_the_sites_of_a_loop_are_judged_as_one_plate():
    whole = trees.linear_gaussian_tree(misfit=6.0)
    one, of_loop = predictive(whole), predictive(trees.in_a_loop(whole))
    labels = [f"{name}(y_0...y_39)" for name in ("mean", "sd", "min", "max", "PIT")]
    assert of_loop["quantity"].values.tolist() == labels
    np.testing.assert_allclose(of_loop["value"], one["value"])
    assert statuses(of_loop)["PIT(y_0...y_39)"] == "warn"


def test_sites_that_differ_in_kind_are_judged_apart():
    tree = trees.in_a_loop(trees.linear_gaussian_tree(), kinds=("Normal", "StudentT"))
    assert {"PIT(y_0...y_38)", "PIT(y_1...y_39)"} <= set(statuses(predictive(tree)))
    few = trees.in_a_loop(trees.linear_gaussian_tree(model=trees.LinearGaussian(size=4)))
    assert list(statuses(predictive(few))) == [f"mean(y_{i})" for i in range(4)]


def test_a_scalar_and_a_table_of_observations_are_judged():
    rng = np.random.default_rng(0)
    tree = replicated(np.array(0.3), rng.normal(size=(500,)), dims=())
    assert statuses(predictive(tree)) == {"mean(y)": "ok"}
    tree = replicated(rng.normal(size=(8, 3)), rng.normal(size=(500, 8, 3)), dims=("n", "k"))
    assert predictive(tree)["pit_y"].size == 24


def test_one_likelihood_for_several_elements_serves_them_all():
    """A multivariate normal has one log likelihood per row of a table."""
    rng = np.random.default_rng(0)
    tree = replicated(rng.normal(size=(30, 3)), rng.normal(size=(500, 30, 3)), dims=("n", "k"))
    rows = xr.Dataset({"y": (("chain", "draw", "n"), rng.normal(size=(1, 500, 30)))})
    assert predictive(grow(tree, log_likelihood=rows))["pit_y"].size == 90


def test_without_replications_it_does_not_apply():
    tree = trees.linear_gaussian_tree(draws=50)
    del tree["posterior_predictive"]
    with pytest.raises(DiagnosticError, match="no observed variable"):
        predictive(tree)


def test_elements_of_one_observation_are_not_many():
    """A Gaussian process likelihood is one for all: its elements hang together."""
    rng = np.random.default_rng(0)
    tree = replicated(
        np.full(30, 1.5), rng.normal(size=(500, 1)) + 0.1 * rng.normal(size=(500, 30))
    )
    one = xr.Dataset({"y": (("chain", "draw"), rng.normal(size=(1, 500)))})
    assert "PIT(y)" in statuses(predictive(tree))
    assert "PIT(y)" not in statuses(predictive(grow(tree, log_likelihood=one)))


# What a model declares


def declared(above, n=2000):
    """A tree with a statistic whose replications lie above the data's in that share."""
    group = xr.Dataset(
        {
            "data": (("statistic", "replication"), np.zeros((1, n))),
            "replicated": (("statistic", "replication"), [np.arange(n) < above * n]),
            "smaller": ("statistic", ["Too small: do this."]),
            "larger": ("statistic", ["Too large: do that."]),
        },
        coords={"statistic": ["tilt"]},
    )
    group["replicated"] = 2.0 * group["replicated"] - 1.0
    return grow(
        replicated(np.zeros(3), np.random.default_rng(0).normal(size=(500, 3))),
        discrepancies=group,
    )


@pytest.mark.parametrize(
    ("above", "status", "act"),
    [(0.5, "ok", ""), (0.006, "ok", ""), (0.004, "warn", "that"), (0.996, "warn", "this")],
)
def test_a_statistic_that_the_model_declares_is_judged(above, status, act):
    found = predictive(declared(above))
    row = found.sel(quantity="tilt")
    assert str(row["status"].item()) == status
    assert float(row["value"]) == pytest.approx(above)
    assert act in str(row["action"].item())


# PIT


@pytest.mark.parametrize("kind", ["normal", "poisson"])
def test_pit_values_of_the_right_model_are_uniform(kind):
    """400 sets at a level of 0.01: more than 16 rejections has chance 2e-6."""
    rng = np.random.default_rng(0)
    draw = rng.normal if kind == "normal" else lambda size: rng.poisson(2.0, size)
    p = [uniformity(pit_values(draw(size=50), draw(size=(500, 50)))) for _ in range(400)]
    assert np.mean(np.array(p) < 0.01) <= 0.04


@pytest.mark.parametrize("wrong", [lambda y: 2.5 * y, lambda y: y + 1.0, lambda y: 0.3 * y])
def test_pit_values_of_a_wrong_model_are_not(wrong):
    rng = np.random.default_rng(0)
    p = [
        uniformity(pit_values(wrong(rng.normal(size=100)), rng.normal(size=(500, 100))))
        for _ in range(50)
    ]
    assert max(p) < 0.01


def test_an_observation_beyond_all_draws_of_many_is_not_proof():
    """With 2000 observations and 1000 draws, some lie beyond every draw of the right model."""
    rng = np.random.default_rng(1)
    p = [
        uniformity(pit_values(rng.normal(size=2000), rng.normal(size=(1000, 2000))))
        for _ in range(10)
    ]
    assert np.median(p) > 0.01


def test_leaving_one_out_gives_the_predictive_of_the_others():
    """The exact leave-one-out PIT of a linear-Gaussian model, by Bayes' rule for each row."""
    model = trees.LinearGaussian(size=12)
    tree = trees.linear_gaussian_tree(model=model, draws=20_000)
    draws, log_likelihood = (
        tree[group]["y"].to_numpy()[0] for group in ("posterior_predictive", "log_likelihood")
    )
    exact = []
    for i in range(model.size):
        row, others = model.design[i], np.delete(model.design, i, axis=0)
        cov = np.linalg.inv(others.T @ others / model.sigma**2 + np.diag(model.prior_sd**-2))
        mean = cov @ others.T @ np.delete(model.y, i) / model.sigma**2
        predicted = stats.norm(row @ mean, np.sqrt(row @ cov @ row + model.sigma**2))
        exact.append(predicted.cdf(model.y[i]))
    error = np.abs(pit_values(model.y, draws, log_likelihood) - exact)
    # A share of 20 000 draws is known to 0.0035; four times that, and a little for the weights.
    assert error.max() < 0.025
    assert error.mean() < np.abs(pit_values(model.y, draws) - exact).mean() / 3


@pytest.mark.parametrize(("stretched", "status"), [(1.0, "ok"), (3.0, "warn")])
def test_data_that_helped_to_predict_themselves_may_crowd_in_the_middle(stretched, status):
    """y ~ N(z, 1), z ~ N(0, 1): of exact draws of z given y, the right model's crowd."""
    rng = np.random.default_rng(0)
    y = stretched * rng.normal(scale=np.sqrt(2), size=300)
    z = y / 2 + rng.normal(size=(1000, 300)) / np.sqrt(2)
    found = predictive(replicated(y, z + rng.normal(size=z.shape)))
    assert statuses(found)["PIT(y)"] == status
    assert float(found["value"].sel(quantity="PIT(y)")) < 0.001


@pytest.mark.parametrize(("length", "judged"), [(0.02, False), (0.4, True)])
def test_a_model_that_bends_to_every_observation_is_not_called_uneven(length, judged):
    """A Gaussian process, exact draws. At 0.02 it spends 24 parameters on 25 observations."""
    x = np.linspace(0, 1, 25)
    kernel = 25 * np.exp(-0.5 * ((x[:, None] - x) / length) ** 2) + 1e-9 * np.eye(25)
    hat = kernel @ np.linalg.inv(kernel + np.eye(25))
    root, root_post = np.linalg.cholesky(kernel), np.linalg.cholesky(hat + 1e-6 * np.eye(25))
    found, uneven = [], 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        y = root @ rng.normal(size=25) + rng.normal(size=25)
        f = hat @ y + rng.normal(size=(1000, 25)) @ root_post.T
        log_lik = -0.5 * (y - f) ** 2
        pointwise = xr.Dataset({"y": (("chain", "draw", "n"), log_lik[None])})
        tree = grow(replicated(y, f + rng.normal(size=f.shape)), log_likelihood=pointwise)
        status = statuses(predictive(tree))
        found.append("PIT(y)" in status)
        uneven += status.get("PIT(y)") == "warn"
    assert np.mean(found) == judged
    assert uneven <= 2


def test_pit_values_lie_strictly_inside():
    draws = np.random.default_rng(0).normal(size=(100, 3))
    pit = pit_values(np.array([-1e9, 0.0, 1e9]), draws)
    assert pit[0] > 0
    assert pit[2] < 1


def test_a_constant_likelihood_leaves_the_draws_as_they_are():
    rng = np.random.default_rng(0)
    y, draws = rng.normal(size=20), rng.normal(size=(500, 20))
    np.testing.assert_allclose(pit_values(y, draws, np.zeros((500, 20))), pit_values(y, draws))


def test_replications_of_some_draws_are_weighed_by_the_likelihood_of_these():
    whole = trees.linear_gaussian_tree(seed=0, model=trees.LinearGaussian(seed=0))
    count = whole["posterior"].sizes["draw"]
    some = np.arange(0, count, 3)
    groups = {
        name: whole[name].to_dataset().assign_coords(draw=np.arange(count)).isel(draw=some)
        for name in ("posterior_predictive", "log_likelihood")
    }
    both = grow(whole, **groups)
    labelled = whole["log_likelihood"].to_dataset().assign_coords(draw=np.arange(count))
    one = grow(both, log_likelihood=labelled)
    np.testing.assert_array_equal(predictive(one)["pit_y"], predictive(both)["pit_y"])
