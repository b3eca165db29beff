"""Pathfinder against Gaussians in closed form, two humps, and gold-standard draws."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import wasserstein_distance

import pyrovi as vi
from infer.conjugate import Conjugate, model
from posteriordb import needs_posteriordb, posterior
from pyrovi.approximations import Gaussian, GaussianMixture
from pyrovi.errors import EngineError
from pyrovi.evidence.weights import smooth
from pyrovi.infer.engines.pathfinder import best_weights

EXACT = Conjugate()


# ------------------------------------------------------------------ Gaussian posteriors


def test_an_isotropic_gaussian_is_met_exactly() -> None:
    """One step tells the one scale there is, and a Newton step from anywhere ends at the mean."""

    def ball() -> None:
        pyro.sample("x", dist.Normal(torch.full((10,), 4.0), 0.3).to_event(1))

    (found,) = vi.fit(ball, {}, vi.Pathfinder(), seed=0).approximations()
    assert isinstance(found, Gaussian)
    torch.testing.assert_close(found.loc, torch.full_like(found.loc, 4.0), rtol=1e-7, atol=0)
    torch.testing.assert_close(found.scale, torch.full_like(found.loc, 0.3), rtol=1e-6, atol=0)


def test_a_correlated_gaussian_has_its_mean_and_nearly_its_covariance() -> None:
    """An inexact line search leaves BFGS near the inverse Hessian, not at it."""
    fit = vi.fit(model, EXACT.data, vi.Pathfinder(), seed=0)
    (found,) = fit.approximations()
    assert isinstance(found, Gaussian)
    assert fit.status is vi.Status.CONVERGED
    assert ((found.loc - EXACT.mean) / EXACT.sd).abs().max() < 1e-3
    torch.testing.assert_close(found.scale, EXACT.sd, rtol=0.05, atol=0)
    assert fit.elbo is not None
    assert fit.elbo.value == pytest.approx(EXACT.log_evidence, abs=0.02)


def test_a_start_at_the_mode_itself_is_no_dead_end() -> None:
    def prior() -> None:
        pyro.sample("x", dist.Normal(torch.zeros(3), 2.0).to_event(1))

    fit = vi.fit(prior, {}, vi.Pathfinder(), seed=0)
    (found,) = fit.approximations()
    assert isinstance(found, Gaussian)
    torch.testing.assert_close(found.scale, torch.full_like(found.loc, 2.0), rtol=1e-6, atol=0)


# ------------------------------------------------------------------ the best point, and its end


def funnel() -> None:
    width = pyro.sample("width", dist.Normal(0.0, 3.0))
    pyro.sample("x", dist.Normal(torch.zeros(9), torch.exp(width / 2)).to_event(1))


def test_the_body_of_a_funnel_is_taken_and_not_its_mode() -> None:
    """The density is highest at width = -9 * 9 / 2, 13 standard deviations below the mean."""
    path = vi.fit(funnel, {}, vi.Pathfinder(), seed=0)
    mode = vi.fit(funnel, {}, vi.Laplace(), seed=0)
    assert path.elbo is not None
    assert mode.elbo is not None
    width = path.draw(500)[0].flat[:, 0].mean()
    assert abs(width) < 6
    assert path.elbo.value > mode.elbo.value + 2


@needs_posteriordb
def test_a_density_that_runs_away_ends_the_path_once_the_bounds_fall() -> None:
    """The centred eight schools has no mode: the search goes on for 2,000 steps and more."""
    reference = posterior("eight_schools-eight_schools_centered")
    fit = vi.fit(reference.model, {"data": reference.data}, vi.Pathfinder(), seed=0)
    assert fit.status is vi.Status.CONVERGED
    assert len(fit.loss) <= 200


def test_a_path_that_is_cut_short_counts_as_far_as_it_came() -> None:
    fit = vi.fit(model, EXACT.data, vi.Pathfinder(max_steps=6), seed=0)
    (found,) = fit.approximations()
    assert fit.status is vi.Status.STOPPED
    assert isinstance(found, Gaussian)
    assert ((found.loc - EXACT.mean) / EXACT.sd).abs().max() < 2
    assert not found.diagonal


def test_no_finite_bound_is_a_divergence() -> None:
    def ledge() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("ledge", torch.where(x > 1e-3, -1e4 * x, -torch.inf))

    fit = vi.fit(ledge, {}, vi.Pathfinder(), seed=0)
    assert fit.status is vi.Status.DIVERGED


# ------------------------------------------------------------------ several paths


def two_humps() -> None:
    """A quarter of the mass is around -4 and three quarters around 4, in two dimensions."""
    x = pyro.sample("x", dist.Normal(torch.zeros(2), 50.0).to_event(1))
    far = torch.stack([-0.5 * ((x - 4) ** 2).sum(), -0.5 * ((x + 4) ** 2).sum() - math.log(3)])
    pyro.factor("humps", far.logsumexp(0))


def test_several_paths_find_both_modes_and_weigh_them_by_their_mass() -> None:
    fit = vi.fit(two_humps, {}, vi.Pathfinder(paths=12), seed=0)
    (found,) = fit.approximations()
    assert isinstance(found, GaussianMixture)
    right = found.locs[:, 0] > 0
    assert found.weights[right].sum() == pytest.approx(0.75, abs=0.02)
    draws = fit.draw(4000)[0].flat
    assert (draws[:, 0] > 0).double().mean() == pytest.approx(0.75, abs=0.03)
    for side, centre in ((draws[draws[:, 0] > 0], 4.0), (draws[draws[:, 0] < 0], -4.0)):
        torch.testing.assert_close(
            side.mean(0), torch.full((2,), centre).double(), atol=0.1, rtol=0
        )
        torch.testing.assert_close(side.std(0), torch.ones(2).double(), atol=0.1, rtol=0)


def test_one_path_finds_one_of_them() -> None:
    draws = vi.fit(two_humps, {}, vi.Pathfinder(), seed=0).draw(500)[0].flat
    assert (draws[:, 0] > 0).all() or (draws[:, 0] < 0).all()


def test_components_that_share_a_mode_share_its_weight() -> None:
    """Three copies where a fifth of the mass is, and one where the rest is."""
    apart = torch.full((4, 1, 4), -math.inf, dtype=torch.float64)
    apart[:3, :, :3] = 0.0
    apart[3, :, 3] = 0.0
    log_joint = torch.tensor([[0.2], [0.2], [0.2], [0.8]], dtype=torch.float64).log()
    weights = best_weights(log_joint, apart)
    assert weights[:3].sum() == pytest.approx(0.2, abs=1e-9)
    assert weights[3] == pytest.approx(0.8, abs=1e-9)


def test_a_component_outside_the_support_gets_no_weight() -> None:
    log_joint = torch.tensor([[0.0], [-math.inf]], dtype=torch.float64)
    weights = best_weights(log_joint, torch.zeros(2, 1, 2, dtype=torch.float64))
    assert weights.tolist() == [1.0, 0.0]


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"paths": 0}, "paths of Pathfinder must be a whole number from 1, and 0 came"),
        ({"paths": True}, "paths of Pathfinder must be a whole number from 1, and True came"),
        ({"draws_per_elbo": 0}, "draws_per_elbo of Pathfinder must be a whole number from 1"),
        ({"tolerance": 0.0}, "tolerance of Pathfinder must be a positive number"),
        ({"paths": 8, "max_steps": 4}, "4 steps for 8 paths"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        vi.Pathfinder(**settings)  # pyright: ignore[reportArgumentType]


def test_more_dimensions_than_a_dense_covariance_is_for_are_refused() -> None:
    def large() -> None:
        pyro.sample("x", dist.Normal(torch.zeros(4001), 1.0).to_event(1))

    with pytest.raises(EngineError, match=r"dense covariance.* up to 4000 dimensions, and 4001"):
        vi.fit(large, {}, vi.Pathfinder(), seed=0)


# ------------------------------------------------------------------ gold-standard posteriors


def errors(name: str, engine: vi.Pathfinder, *, resampled: bool = False) -> tuple[float, float]:
    """The largest error of a mean and Wasserstein-1 distance, in reference sds."""
    reference = posterior(name)
    fit = vi.fit(reference.model, {"data": reference.data}, engine, seed=0)
    tree = vi.draw(fit, draws=4000)
    weights = np.full(4000, 1 / 4000)
    if resampled:
        stats = tree["sample_stats"]
        log_weights, _ = smooth(np.ravel(stats["log_joint"] - stats["log_guide"]))
        weights = np.exp(log_weights)
    off, apart = [], []
    gold = reference.draws()
    names = list(gold["names"]) if "names" in gold else list(reference.names)
    for quantity, mean, sd in zip(reference.names, reference.mean, reference.sd, strict=True):
        base, _, index = quantity.partition("[")
        values = tree["posterior"][base].values.reshape(4000, -1)
        values = values[:, int(index[:-1]) - 1 if index else 0]
        off.append(abs(weights @ values - mean) / sd)
        draws = gold["draws"][..., names.index(quantity)].ravel()
        apart.append(wasserstein_distance(values, draws, u_weights=weights) / sd)
    return max(off), max(apart)


@needs_posteriordb
@pytest.mark.parametrize(
    ("name", "single", "several"),
    [
        ("kidiq-kidscore_interaction", 0.25, 0.25),
        ("arK-arK", 0.45, 0.45),
        ("gp_pois_regr-gp_regr", 0.15, 0.15),
        ("eight_schools-eight_schools_noncentered", 1.5, 1.2),
    ],
)
def test_gold_standard_means_are_met_within_what_a_local_gaussian_can(
    name: str, single: float, several: float
) -> None:
    off, apart = errors(name, vi.Pathfinder())
    assert off < single
    assert apart < single
    off, apart = errors(name, vi.Pathfinder(paths=8))
    assert off < several
    assert apart < several


@needs_posteriordb
@pytest.mark.parametrize(
    "name",
    [
        "kidiq-kidscore_interaction",
        "arK-arK",
        "gp_pois_regr-gp_regr",
        "mesquite-logmesquite_logva",
    ],
)
def test_importance_weights_mend_several_paths(name: str) -> None:
    off, apart = errors(name, vi.Pathfinder(paths=8), resampled=True)
    assert off < 0.1
    assert apart < 0.1
