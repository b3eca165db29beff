"""Claims: a posterior from elsewhere is judged as one of our own; what does not fit is said."""

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from pyro.optim import Adam
from torch import Tensor

import pyrovi as vi

Y = torch.tensor([1.0, 2.0, 0.5, 1.5])
DATA = {"y": Y}
MEAN, SD = float(Y.sum()) / (4 + 1 / 9), (4 + 1 / 9) ** -0.5


def normal(y: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 3.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


def regression(x: Tensor, y: Tensor) -> None:
    slopes = pyro.sample("slopes", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(x @ slopes, scale), obs=y)


def exact(chains: int = 4, draws: int = 1000, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    return MEAN + shift + SD * rng.normal(size=(chains, draws))


def test_a_dict_of_exact_draws_is_ok_and_has_every_group() -> None:
    tree = vi.check(vi.tree_of({"loc": exact()}, normal, DATA, seed=0))
    assert {"posterior", "log_likelihood", "posterior_predictive"} <= set(tree.children)
    assert tree["posterior"].sizes == {"chain": 4, "draw": 1000}
    verdict = vi.verdict(tree)
    assert verdict.fit_status == "ok", verdict
    assert {"convergence", "loo", "predictive"} <= set(verdict.table["check"])
    pointwise = tree["log_likelihood"]["y"].sel(chain=0, draw=0)
    drawn = torch.as_tensor(tree["posterior"]["loc"].sel(chain=0, draw=0).to_numpy())
    np.testing.assert_allclose(pointwise, dist.Normal(drawn, 1.0).log_prob(Y).numpy(), rtol=1e-6)


def test_chains_that_disagree_are_flagged() -> None:
    draws = exact()
    draws[0] += 3.0
    verdict = vi.verdict(vi.check(vi.tree_of({"loc": draws}, normal, DATA, seed=0)))
    rows = verdict.table.query("check == 'convergence' and quantity == 'loc'")
    assert "fail" in set(rows["status"])


def test_one_chain_of_wrong_draws_is_flagged_by_where_short_chains_go() -> None:
    tree = vi.tree_of({"loc": exact(1, shift=1.0)[0]}, normal, DATA, seed=0)
    assert vi.verdict(vi.check(tree)).fit_status == "fail"


def test_pyros_own_sampler_is_read_and_predicted_from() -> None:
    rng = np.random.default_rng(1)
    x = torch.as_tensor(rng.normal(size=(40, 2))).float()
    y = x @ torch.tensor([1.0, -1.0]) + 0.3 * torch.as_tensor(rng.normal(size=40)).float()
    pyro.set_rng_seed(0)
    sampler = MCMC(NUTS(regression), 300, 200, num_chains=1, disable_progbar=True)
    sampler.run(x, y)
    fit = vi.infer.fit_of(sampler, regression, {"x": x, "y": y}, seed=0)
    assert fit.method == "pyro's NUTS"
    tree = vi.check(vi.draw(fit))
    np.testing.assert_array_equal(
        tree["posterior"]["slopes"].to_numpy()[0], sampler.get_samples()["slopes"].numpy()
    )
    predicted = vi.predict(fit, {"x": np.eye(2)})["predictions"]["y"].mean(("chain", "draw"))
    np.testing.assert_allclose(predicted, [1.0, -1.0], atol=0.25)


@pytest.mark.parametrize("kind", [AutoNormal, AutoMultivariateNormal])
def test_a_guide_that_pyro_trained_is_judged_by_its_weights(kind: Any) -> None:
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    guide = kind(normal)
    svi = SVI(normal, guide, Adam({"lr": 0.05}), Trace_ELBO(num_particles=8))
    for _ in range(300):
        svi.step(Y)
    before = {n: v.detach().clone() for n, v in pyro.get_param_store().items()}
    tree = vi.check(vi.tree_of(guide, normal, DATA, draws=2000, seed=0))
    drawn = tree["posterior"]["loc"]
    assert float(drawn.mean()) == pytest.approx(MEAN, abs=0.15 * SD + 0.02)
    assert float(drawn.std()) == pytest.approx(SD, rel=0.15)
    table = vi.verdict(tree).table
    assert float(table.query("check == 'psis' and quantity == 'joint'")["value"].iloc[0]) < 0.7
    for name, value in before.items():
        torch.testing.assert_close(pyro.param(name).detach(), value)


def test_a_numpyro_guide_with_its_parameters_is_judged() -> None:
    numpyro = pytest.importorskip("numpyro", reason="NumPyro comes with the extra `bench`")
    infer, key = numpyro.infer, pytest.importorskip("jax").random.PRNGKey(0)

    def written_for_jax() -> None:
        loc = numpyro.sample("loc", numpyro.distributions.Normal(0.0, 3.0))
        numpyro.sample("y", numpyro.distributions.Normal(loc, 1.0), obs=Y.numpy())

    guide = infer.autoguide.AutoNormal(written_for_jax)
    svi = infer.SVI(written_for_jax, guide, numpyro.optim.Adam(0.01), infer.Trace_ELBO(10))
    trained = svi.run(key, 2_000, progress_bar=False)
    tree = vi.tree_of((guide, trained.params), normal, DATA, seed=0)
    drawn = tree["posterior"].to_dataset()["loc"].to_numpy()
    assert drawn.mean() == pytest.approx(MEAN, abs=0.1 * SD)
    assert drawn.std() == pytest.approx(SD, rel=0.1)
    assert vi.verdict(vi.check(tree)).status == "ok"


def test_a_tree_and_a_dataset_are_read_by_the_names_of_their_dims() -> None:
    draws = exact()
    group = xr.Dataset({"loc": (("draw", "chain"), draws.T), "derived": ("draw", np.zeros(1000))})
    of_tree = vi.tree_of(xr.DataTree.from_dict({"posterior": group}), normal, DATA, seed=0)
    of_group = vi.tree_of(group, normal, DATA, seed=0)
    for tree in (of_tree, of_group):
        np.testing.assert_allclose(tree["posterior"]["loc"], draws)


@pytest.mark.parametrize(
    ("posterior", "says"),
    [
        ({"mu": np.zeros((4, 10))}, "lacks loc, which 'normal' has; it has mu"),
        ({"loc": np.zeros((4, 10, 2))}, "its draws are of shape"),
        ({"loc": np.full((4, 10), np.nan)}, "not all finite"),
        (3, "a int came"),
    ],
)
def test_what_does_not_fit_the_model_is_said(posterior: Any, says: str) -> None:
    with pytest.raises(vi.errors.DataError, match=says):
        vi.tree_of(posterior, normal, DATA)


def test_a_pyro_guide_in_a_pair_is_told_to_come_alone() -> None:
    with pytest.raises(vi.errors.DataError, match="A Pyro guide is given alone"):
        vi.tree_of((AutoNormal(normal), {}), normal, DATA)


def test_draws_outside_of_the_supports_are_refused() -> None:
    rows = {"slopes": np.zeros((20, 2)), "scale": np.linspace(-1, 1, 20)}
    data = {"x": torch.zeros(3, 2).double(), "y": torch.zeros(3).double()}
    with pytest.raises(vi.errors.DataError, match="outside of the model's supports"):
        vi.tree_of(rows, regression, data)
    with pytest.raises(vi.errors.DataError, match="as many chains and draws"):
        vi.tree_of({**rows, "scale": np.ones(19)}, regression, data)
