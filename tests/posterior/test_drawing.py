"""From a fit to the tree: what is drawn, from what, and under which names."""

import json
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro import poutine
from scipy import stats
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

import pyrovi as vi
from infer.conjugate import Conjugate, model as regression
from pyrovi import az
from pyrovi.infer import Judgement, send_out
from pyrovi.posterior import drawing, drifting, groups
from pyrovi.structure import Discrepancy, declare
from pyrovi.tree import json_attr, validate

EXACT = Conjugate()


def two_kinds(y: Tensor) -> None:
    """A mixture with known parts: the kind of each row has a posterior in closed form."""
    share = pyro.sample("share", dist.Beta(50.0, 50.0))
    with pyro.plate("row", len(y)):
        kind = pyro.sample("kind", dist.Bernoulli(share))
        pyro.sample("y", dist.Normal(4.0 * kind - 2.0, 1.0), obs=y)


def plated(y: Tensor, sigma: Tensor) -> None:
    """As users write it: a deterministic site inside a plate, with nothing said of its axes."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfNormal(5.0))
    with pyro.plate("school", len(y)):
        raw = pyro.sample("raw", dist.Normal(0.0, 1.0))
        theta = pyro.deterministic("theta", mu + tau * raw)
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


@pytest.fixture(scope="module")
def schools() -> xr.DataTree:
    entry = vi.models.get("eight_schools")
    return vi.draw(vi.fit(entry.model, entry.load(), seed=0), draws=1000)


@pytest.fixture(scope="module")
def irises() -> xr.DataTree:
    entry = vi.models.get("gaussian_mixture")
    return vi.draw(vi.fit(entry.model, entry.load("iris"), seed=0), draws=1000)


def test_the_tree_keeps_the_contract_of_every_later_stage(
    schools: xr.DataTree, irises: xr.DataTree
) -> None:
    for tree in (schools, irises):
        validate(tree)
        expected = {"posterior", "posterior_predictive", "log_likelihood", "log_prior", "prior"}
        assert expected < set(tree.children)


def test_a_plate_is_a_dim_with_the_labels_of_the_data(schools: xr.DataTree) -> None:
    theta = schools["posterior"]["theta"]
    assert theta.dims == ("chain", "draw", "school")
    assert list(theta["school"].values) == list("ABCDEFGH")
    mu, tau, raw = (schools["posterior"][name] for name in ("mu", "tau", "theta_trans"))
    xr.testing.assert_allclose(theta, (mu + tau * raw).transpose(*theta.dims))


def test_the_mixture_finds_the_species_with_assignments_drawn_from_their_posterior(
    irises: xr.DataTree,
) -> None:
    assignment = irises["posterior"]["assignment"]
    mode = stats.mode(assignment.values.reshape(-1, 150)).mode
    assert adjusted_rand_score(irises["truth"]["species"].values, mode) >= 0.85


def test_discrete_sites_are_drawn_from_their_posterior_and_not_from_the_prior() -> None:
    y = torch.tensor([-2.0, -0.4, 0.0, 0.7, 2.5])
    tree = vi.draw(vi.fit(two_kinds, {"y": y}, seed=0), draws=4000)
    share = tree["posterior"]["share"].values.ravel()[:, None]
    high = share * stats.norm(2, 1).pdf(y.numpy())
    low = (1 - share) * stats.norm(-2, 1).pdf(y.numpy())
    expected = (high / (high + low)).mean(0)
    drawn = tree["posterior"]["kind"].values.reshape(-1, 5).mean(0)
    error = np.sqrt(expected * (1 - expected) / 4000)
    assert (np.abs(drawn - expected) < 4.5 * error + 1e-3).all()


@pytest.mark.parametrize("count", [1, 5])
def test_the_pointwise_log_likelihood_of_a_mixture_sums_its_discrete_sites_out(count: int) -> None:
    y = torch.tensor([-2.0, -0.4, 0.0, 0.7, 2.5][:count])
    tree = vi.draw(vi.fit(two_kinds, {"y": y}, seed=0), draws=50)
    share = tree["posterior"]["share"].values[..., None]
    mixed = share * stats.norm(2, 1).pdf(y.numpy()) + (1 - share) * stats.norm(-2, 1).pdf(
        y.numpy()
    )
    found = tree["log_likelihood"]["y"]
    assert found.dims == ("chain", "draw", "row")
    np.testing.assert_allclose(found.values, np.log(mixed), rtol=1e-9)


def test_predictions_have_the_moments_of_the_exact_predictive_distribution() -> None:
    tree = vi.draw(vi.fit(regression, EXACT.data, seed=0), draws=8000)
    predicted = tree["posterior_predictive"]["y"].values[0]
    mean = (EXACT.x @ EXACT.mean).numpy()
    sd = (EXACT.x @ EXACT.cov @ EXACT.x.T).diagonal().add(1).sqrt().numpy()
    error = sd / np.sqrt(8000)
    assert (np.abs(predicted.mean(0) - mean) < 4.5 * error).all()
    np.testing.assert_allclose(predicted.std(0), sd, rtol=0.06)


def test_the_densities_of_the_draws_add_up_and_their_mean_difference_is_the_bound() -> None:
    fit = vi.fit(regression, EXACT.data, seed=0)
    tree = vi.draw(fit, draws=500)
    stats_group = tree["sample_stats"]
    parts = tree["log_likelihood"]["y"].sum("row") + tree["log_prior"]["coefficient"]
    np.testing.assert_allclose(stats_group["log_joint"].values, parts.values)
    bound = (stats_group["log_joint"] - stats_group["log_guide"]).mean()
    assert float(bound) == pytest.approx(EXACT.log_evidence, abs=1e-3)


def test_a_deterministic_site_inside_a_plate_has_the_plates_axis_once() -> None:
    y, sigma = torch.tensor([28.0, 8.0, -3.0]), torch.tensor([15.0, 10.0, 16.0])
    tree = vi.draw(vi.fit(plated, {"y": y, "sigma": sigma}, seed=0), draws=100)
    for group in ("posterior", "prior"):
        assert tree[group]["theta"].dims == ("chain", "draw", "school")


def test_masked_values_are_left_out_of_the_fit_and_predicted() -> None:
    y = np.ma.masked_array(EXACT.y.numpy().copy(), mask=np.arange(40) % 4 == 0)
    kept = np.arange(40) % 4 != 0
    y.data[~kept] = 1e6  # whatever stands there has no effect
    masked = vi.fit(regression, {"x": EXACT.x, "y": y}, vi.Laplace(), seed=0)
    without = vi.fit(regression, {"x": EXACT.x[kept], "y": EXACT.y[kept]}, vi.Laplace(), seed=0)
    one, other = masked.approximations()[0], without.approximations()[0]
    torch.testing.assert_close(one.loc, other.loc, rtol=1e-5, atol=1e-5)  # pyright: ignore[reportAttributeAccessIssue]
    tree = vi.draw(masked, draws=200)
    assert np.isnan(tree["observed_data"]["y"].values[~kept]).all()
    assert np.abs(tree["posterior_predictive"]["y"].values).max() < 1e3


def test_there_are_fewer_prior_draws_where_each_is_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fit = vi.fit(regression, EXACT.data, vi.Laplace(), seed=0)
    assert vi.draw(fit, draws=3)["prior"].sizes["draw"] == 500
    monkeypatch.setattr(groups, "PRIOR_ENTRIES", 45 * 100)  # 40 rows and 5 coefficients
    assert vi.draw(fit, draws=3)["prior"].sizes["draw"] == 100
    monkeypatch.setattr(groups, "PRIOR_ENTRIES", 1)
    assert vi.draw(fit, draws=3)["prior"].sizes["draw"] == 50


def test_large_data_are_replicated_for_some_of_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"y": torch.linspace(-8.0, 8.0, 8), "sigma": torch.full((8,), 5.0)}
    fit = vi.fit(plated, data, vi.Laplace(), seed=0)
    monkeypatch.setattr("pyrovi.posterior.chain.MIN_REPLICATIONS", 50)
    whole = vi.draw(fit, draws=1000)
    monkeypatch.setattr("pyrovi.posterior.chain.REPLICATED_ENTRIES", 8 * 250)
    tree = vi.check(vi.draw(fit, draws=1000))
    some = tree["posterior_predictive"]
    assert some["draw"].to_numpy().tolist() == list(range(0, 1000, 4))
    for group in ("posterior", "log_likelihood"):
        xr.testing.assert_equal(tree[group].to_dataset(), whole[group].to_dataset())
    # Each is of the draw whose number it has: what it misses theta by is noise of the known sd.
    theta = tree["posterior"]["theta"].sel(draw=some["draw"])
    noise = (some["y"] - theta).to_numpy() / 5.0
    assert stats.kstest(noise.ravel(), "norm").pvalue > 2e-5
    assert "mean(y)" in tree["diagnostics/predictive"]["quantity"].to_numpy()
    monkeypatch.setattr("pyrovi.posterior.chain.REPLICATED_ENTRIES", 1)
    assert vi.draw(fit, draws=1000)["posterior_predictive"].sizes["draw"] == 50


def test_an_improper_prior_is_told_and_not_drawn_from() -> None:
    def flat(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0).mask(False))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    y = torch.tensor([4.0, 5.0, 6.0])
    tree = vi.draw(vi.fit(flat, {"y": y}, seed=0), draws=2000)
    assert "prior" not in tree.children
    assert any("improper" in note for note in json_attr(tree, "notes"))
    assert float(tree["posterior"]["loc"].mean()) == pytest.approx(5.0, abs=0.06)


def test_label_switched_chains_are_aligned_to_one_another() -> None:
    entry = vi.models.get("gaussian_mixture:unit")
    fit = vi.fit(entry.model, entry.simulate(seed=3), seed=1, restarts=3)
    tree = vi.draw(fit, draws=300)
    loc = tree["posterior"]["loc"]
    assert tree["posterior"].sizes["chain"] >= 2
    spread_between = loc.mean("draw").std("chain")
    assert float(spread_between.max()) < 3 * float(loc.std(("chain", "draw")).max())
    # A component's rows are those assigned to it, chain by chain.
    y = tree["observed_data"]["y"]
    for component in range(tree["posterior"].sizes["component"]):
        own = tree["posterior"]["assignment"] == component
        centre = y.where(own).mean(("observation", "draw"))
        found = loc.sel(component=component).mean("draw")
        assert float(np.abs(centre - found).max()) < 0.3


def test_what_is_computed_from_components_is_relabelled_with_them() -> None:
    """Chains were sent out from the draws, and know nothing of what is computed."""
    entry = vi.models.get("gaussian_mixture:conjugate")
    fit = vi.fit(entry.model, entry.simulate(seed=2, K=3, D=1, n=60), vi.CAVI(), seed=1)
    tree = vi.draw(fit, draws=300)
    assert "drift" in tree
    scale = 1 / tree["posterior"]["whitening_diagonal"].to_numpy()[..., 0]
    cov = tree["posterior"]["cov"].to_numpy()[..., 0, 0]
    np.testing.assert_allclose(cov, scale**2, rtol=1e-9)


def test_what_was_done_can_be_read_off_the_tree(schools: xr.DataTree) -> None:
    attrs = schools["sample_stats"].attrs
    assert attrs["model"] == "eight_schools"
    assert attrs["engine"].startswith("auto: ")
    assert json.loads(attrs["rungs"])[0]["engine"] == "NestedLaplace()"
    assert attrs["seed"] == 0
    assert attrs["status"] == "converged"
    assert set(json.loads(attrs["versions"])) >= {"pyrovi", "torch", "pyro-ppl", "python"}
    sites = {site["name"]: site for site in json.loads(attrs["sites"])}
    assert sites["tau"]["kind"] == "latent"
    assert sites["y"]["dims"] == ["school"]


@pytest.mark.parametrize("name", ["schools", "irises"])
def test_arviz_takes_the_tree_as_it_is(name: str, request: Any) -> None:
    tree = request.getfixturevalue(name)
    summary = az.summary(tree, kind="stats")
    assert np.isfinite(summary.select_dtypes("number").to_numpy()).all()
    assert az.extract(tree).sizes["sample"] == 1000
    with np.errstate(all="ignore"):
        elpd = _quietly(lambda: az.loo(tree, reff=1.0))
    assert np.isfinite(elpd.elpd)
    _quietly(lambda: az.plot_ppc_dist(tree, num_samples=20, backend="none"))
    if name == "schools":
        _quietly(lambda: az.plot_loo_pit(tree, backend="none"))


def _quietly(call: Any) -> Any:
    """ArviZ warns of high Pareto k and of few observations; here only whether it runs counts."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def by_event(y: Tensor) -> None:
    """A deterministic site inside a plate, each of whose values is a vector."""
    with pyro.plate("school", len(y)):
        raw = pyro.sample("raw", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.deterministic("pair", raw, event_dim=1)
        pyro.sample("y", dist.Normal(raw.sum(-1), 1.0), obs=y)


def test_a_deterministic_vector_inside_a_plate_has_the_plate_s_name_on_its_first_axis() -> None:
    tree = vi.draw(vi.fit(by_event, {"y": np.arange(3.0)}, vi.Laplace(), seed=0), draws=10)
    assert tree["posterior"]["pair"].dims == ("chain", "draw", "school", "pair_dim_1")


def test_draws_resampled_by_their_weights_are_closer_to_the_posterior() -> None:
    def correlated() -> None:  # at 0.5, of which mean field leaves x 0.87 of its sd
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x / 3**0.5, 1.0))

    fit = vi.fit(correlated, {}, vi.DADVI(), seed=0)
    plain, tree = (vi.draw(fit, 4000, resample=each) for each in (False, True))
    assert abs(float(plain["posterior"]["x"].std()) - 0.75**0.5) < 0.04
    assert abs(float(tree["posterior"]["x"].std()) - 1.0) < 0.06
    both = np.corrcoef(
        tree["posterior"]["x"].values.ravel(), tree["posterior"]["y"].values.ravel()
    )
    assert abs(both[0, 1] - 0.5) < 0.08
    assert "log_guide" not in tree["sample_stats"]


def test_weights_too_uneven_to_resample_by_are_refused() -> None:
    def banana() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 3.0))
        pyro.sample("y", dist.Normal(x * x, 0.1))

    fit = vi.fit(banana, {}, vi.DADVI(), seed=0)
    with pytest.raises(vi.errors.EngineError, match=r"cannot be resampled: .* k-hat"):
        vi.draw(fit, 1000, resample=True)
    sampled = vi.fit(skewless, {}, vi.NUTS(warmup=20, draws=100), seed=0)
    with pytest.raises(vi.errors.EngineError, match="are not known"):
        vi.draw(sampled, 100, resample=True)


def skewless() -> None:
    pyro.sample("x", dist.Normal(0.0, 1.0))


def test_what_the_model_computes_drifts_with_what_it_is_computed_from() -> None:
    entry = vi.models.get("eight_schools")
    narrow = vi.fit(entry.model, entry.load(), vi.Pathfinder(paths=1), seed=0)
    tree = vi.draw(narrow, draws=2000)
    states = tree["drift"].to_dataset()
    assert "theta" in states
    own = states["mu"] + states["tau"] * states["theta_trans"]
    xr.testing.assert_allclose(states["theta"], own.transpose(*states["theta"].dims))


@pytest.mark.parametrize("few", [None, 100])
def test_of_each_restart_as_many_chains_are_kept(
    few: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One restart may be judged by more chains than another, or by its weights alone."""
    fit = vi.fit(skewless, {}, vi.DADVI(), seed=0, restarts=2)
    assert len(fit.chains) == 2
    sent = []

    def judge(density: Any, drawn: Any, seed: int) -> Judgement:
        count = 150 if sent else few
        chains = count and send_out(density, drawn, seed, slice(count))
        sent.append(chains)
        return Judgement((), (), np.nan, chains or None)

    monkeypatch.setattr(drifting, "judge", judge)
    states = vi.draw(fit, draws=200)["drift"].to_dataset()
    assert states["x"].shape == (2, 150, 6)
    assert states["acceptance_rate"].shape == (2, 150)
    for chain, kept in enumerate(sent):
        known = kept.states[:, -1, 0] if kept else torch.empty(0)
        np.testing.assert_allclose(states["x"].values[chain, : len(known), -1], known)


def test_a_site_may_be_called_what_chains_are_asked() -> None:
    def model(y: Tensor) -> None:
        rate = pyro.sample("acceptance_rate", dist.Exponential(1.0))
        with pyro.plate("n", len(y)):
            pyro.sample("y", dist.StudentT(3.0, rate, 3.0), obs=y)

    fit = vi.fit(model, {"y": np.arange(3.0)}, vi.DADVI(), seed=0)
    tree = vi.draw(fit, draws=250)
    assert tree["drift"]["acceptance_rate_"].shape[:2] == tree["drift"]["acceptance_rate"].shape
    judged = vi.verdict(tree).table
    of_site = judged[judged["quantity"] == "acceptance_rate_"]
    assert "drift" in set(of_site["check"])


@pytest.mark.parametrize("draws", [1, 30])
def test_a_few_draws_are_resampled_from_as_many_as_can_be_weighed(draws: int) -> None:
    fit = vi.fit(skewless, {}, vi.DADVI(), seed=0)
    tree = vi.draw(fit, draws=draws, resample=True)
    assert tree["posterior"].sizes["draw"] == draws


def test_a_point_estimate_is_not_called_ok() -> None:
    entry = vi.models.get("eight_schools")
    point = vi.fit(entry.model, entry.load(), vi.SVI(guide="map", max_steps=300), seed=0)
    found = vi.verdict(vi.draw(point, draws=500))
    assert found.fit_status == "fail"


def mean_of_noise(tree: xr.DataTree, _model: Any, seed: int) -> dict[str, Discrepancy]:
    """The mean of y against that of standard normals."""
    y = tree["observed_data"]["y"].to_numpy()
    noise = np.random.default_rng(seed).normal(size=(500, len(y)))
    both = np.repeat(y.mean(), 500), noise.mean(1)
    return {"mean of y": Discrepancy(*both, "The model's is larger.", "The model's is smaller.")}


@pytest.mark.parametrize(("shift", "status"), [(0.0, "ok"), (5.0, "warn")])
def test_what_a_model_declares_is_drawn_and_judged(shift: float, status: str) -> None:
    @declare(discrepancies=mean_of_noise)
    def model(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("n", len(y)):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    y = torch.linspace(-1.0, 1.0, 9, dtype=torch.float64) + shift
    tree = vi.draw(vi.fit(model, {"y": y}, vi.Laplace(), seed=0), draws=1000)
    assert tree["discrepancies"]["data"].shape == (1, 500)
    table = vi.verdict(tree).table.set_index("quantity")
    assert table.loc["mean of y", "status"] == status
    assert table.loc["mean of y", "action"] == ("The model's is smaller." if shift else "")


@pytest.mark.parametrize("engine", ["laplace", "auto"])
def test_small_work_is_done_by_one_thread_and_the_users_number_is_put_back(engine: str) -> None:
    """Many threads on little work wait for each other: 100 times slower on a busy machine."""
    seen = set()

    def model(y: Tensor) -> None:
        seen.add(torch.get_num_threads())
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("n", len(y)):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        fit = vi.fit(model, {"y": torch.zeros(5)}, engine, seed=0)
        assert torch.get_num_threads() == 3
        seen.clear()
        vi.draw(fit, draws=300)
        assert seen == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_what_is_no_fit_is_refused_in_one_line() -> None:
    said = r"Expected what pyrovi.fit returned, and a DataTree came. Pass the fit"
    with pytest.raises(vi.errors.FitError, match=said):
        drawing.check_fit(xr.DataTree())  # as `draw` itself, whose types the tests check first


def test_a_plate_may_be_called_state() -> None:
    def model(y: Tensor) -> None:
        with pyro.plate("state", len(y)):
            rate = pyro.sample("rate", dist.Exponential(1.0))
            pyro.sample("y", dist.StudentT(3.0, rate, 3.0), obs=y)

    tree = vi.draw(vi.fit(model, {"y": np.arange(3.0)}, vi.DADVI(), seed=0), draws=250)
    assert tree["drift"]["rate"].dims == ("chain", "draw", "drift_state", "state")
    assert "drift" in set(vi.verdict(tree).table["check"])


def test_what_masks_hide_is_told_in_the_tree_and_censored_data_are_not_compared() -> None:
    """Weibull times above 9 are hidden, and known to be above: the right model of them."""
    rng = np.random.default_rng(2)
    full = 8 * rng.weibull(1.5, 60)

    def times(t: Tensor, seen: Tensor) -> None:
        scale = pyro.sample("scale", dist.LogNormal(2.0, 1.0))
        with pyro.plate("row", len(t)):
            with poutine.mask(mask=seen):
                pyro.sample("time", dist.Weibull(scale, 1.5), obs=t)
            with poutine.mask(mask=~seen):
                pyro.factor("above", -((t / scale) ** 1.5))

    data = {"t": np.minimum(full, 9.0), "seen": full < 9.0}
    tree = vi.check(vi.draw(vi.fit(times, data, "laplace", seed=0), draws=200))
    np.testing.assert_array_equal(tree["masked"]["time"], full >= 9.0)
    k = tree["diagnostics/loo"]["k_time"]
    np.testing.assert_array_equal(np.isnan(k), full >= 9.0)
    assert "predictive" in vi.verdict(tree).skipped
    assert any("time" in note for note in json.loads(tree["sample_stats"].attrs["notes"]))


@pytest.mark.parametrize("by_value", [True, False])
def test_a_mask_that_hangs_on_a_latent_value_hides_nothing_for_good(by_value: bool) -> None:
    def model(y: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        seen = y < mean.detach() + 1.0 if by_value else torch.arange(len(y)) > 1
        with pyro.plate("row", len(y)), poutine.mask(mask=seen):
            pyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    y = np.linspace(-1.0, 2.0, 12)
    tree = vi.draw(vi.fit(model, {"y": y}, "svi:mean_field", seed=0), draws=100)
    hidden = tree["masked"]["y"].to_numpy() if "masked" in tree else np.zeros(12, bool)
    never = (tree["log_likelihood"]["y"] == 0).all(("chain", "draw"))
    np.testing.assert_array_equal(hidden, never)
    assert by_value or hidden.tolist() == [True, True, *[False] * 10]
