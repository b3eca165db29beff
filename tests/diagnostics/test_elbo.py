import numpy as np
import pytest

import trees
from pyrovi.diagnostics.checks.elbo import elbo
from pyrovi.errors import DiagnosticError
from pyrovi.tree import grow

MODEL = trees.LinearGaussian()


def kl(mean, cov, prior_sd):
    """KL of a Gaussian from a centred one with independent coordinates."""
    precision = np.diag(prior_sd**-2.0)
    logdet = 2 * np.log(prior_sd).sum() - np.linalg.slogdet(cov)[1]
    return 0.5 * (np.trace(precision @ cov) + mean @ precision @ mean - len(mean) + logdet)


def test_the_elbo_of_the_exact_posterior_is_the_log_evidence():
    found = elbo(trees.linear_gaussian_tree(draws=100))
    assert float(found["elbo"]) == pytest.approx(MODEL.log_evidence, abs=1e-9)
    assert float(found["elbo_error"]) < 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_the_complexity_is_the_divergence_from_the_prior(seed):
    found = elbo(trees.linear_gaussian_tree(draws=20_000, seed=seed))
    exact = kl(MODEL.mean, MODEL.cov, MODEL.prior_sd)
    assert abs(float(found["complexity"]) - exact) < 4.3 * float(found["complexity_error"])


def test_both_forms_are_the_elbo():
    found = elbo(trees.linear_gaussian_tree(scale=1.3, shift=0.2))
    value = float(found["elbo"])
    assert float(found["accuracy"] - found["complexity"]) == pytest.approx(value)
    assert float(found["expected_log_joint"] + found["entropy"]) == pytest.approx(value)


def test_accuracy_is_the_expected_log_likelihood():
    found = elbo(trees.linear_gaussian_tree(scale=1.3))
    assert float(found["observed_log_likelihood"].sel(observed="y")) == pytest.approx(
        float(found["accuracy"])
    )


def test_the_complexities_of_the_sites_add_up_under_mean_field():
    found = elbo(trees.linear_gaussian_tree(mean_field=True))
    assert float(found["site_complexity"].sum()) == pytest.approx(float(found["complexity"]))
    model_kl = kl(MODEL.mean[:1], np.diag(MODEL.mean_field_sd[:1] ** 2), MODEL.prior_sd[:1])
    assert float(found["site_complexity"].sel(site="alpha")) == pytest.approx(model_kl, abs=0.1)


def test_a_guide_that_does_not_factorise_has_no_complexity_per_site():
    found = elbo(trees.linear_gaussian_tree())
    assert "site_log_prior" in found
    assert "site_complexity" not in found


def test_the_error_is_the_scatter_of_the_elbo():
    runs = [
        elbo(trees.linear_gaussian_tree(scale=1.3, seed=seed, draws=500)) for seed in range(200)
    ]
    scatter = np.std([float(run["elbo"]) for run in runs])
    error = np.mean([float(run["elbo_error"]) for run in runs])
    assert error / scatter == pytest.approx(1.0, abs=0.22)  # 200 values: 5 %, times 4.3


def test_a_known_elbo_passes():
    assert elbo(trees.linear_gaussian_tree(scale=1.2))["status"].values.tolist() == ["ok"]


@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_an_elbo_that_is_not_finite_fails(value):
    tree = trees.linear_gaussian_tree(draws=100)
    stats = tree["sample_stats"].to_dataset()
    joint = stats["log_joint"].values.copy()
    joint[0, 0] = value
    found = elbo(grow(tree, sample_stats=stats.assign(log_joint=(("chain", "draw"), joint))))
    assert found["status"].values.tolist() == ["fail"]


def test_an_elbo_that_is_hardly_known_is_seen():
    found = elbo(trees.linear_gaussian_tree(draws=50, shift=10.0))
    assert found["status"].values.tolist() == ["warn"]
    assert found["action"].values[0]


def test_without_the_guide_s_density_there_is_none():
    tree = trees.linear_gaussian_tree(draws=50)
    stats = tree["sample_stats"].to_dataset().drop_vars("log_guide")
    with pytest.raises(DiagnosticError):
        elbo(grow(tree, sample_stats=stats))
