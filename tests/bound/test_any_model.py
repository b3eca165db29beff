"""Any Pyro model: as its users write it, not as the zoo does."""

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO
from pyro.nn import PyroModule, PyroSample
from torch import Tensor
from torch.distributions import constraints

import pyrovi as vi
from pyrovi.errors import EngineError, GuideError

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(30, 2, generator=GENERATOR)
Y = X @ torch.tensor([1.0, -2.0]) + 0.3 * torch.randn(30, generator=GENERATOR)


def normal(y: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


# The exact posterior of `normal` given Y.
SD = (30 + 0.01) ** -0.5
MEAN = SD**2 * float(Y.double().sum())


def all_stages(fit: vi.Fit, draws: int = 400) -> tuple[np.ndarray, str]:
    tree = vi.draw(fit, draws=draws)
    page = vi.report(vi.check(tree)).html
    first = next(iter(tree["posterior"].data_vars.values()))
    return first.to_numpy(), page


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (normal, {"y": Y}),
        (normal, {"y": Y.tolist()}),
        (normal, pd.DataFrame({"y": Y.numpy()})),
        (normal, Y.numpy()),
        (normal, (Y,)),
        (lambda: normal(Y), {}),
        (lambda record: normal(torch.as_tensor(record["values"])), {"values": Y, "label": "a"}),
    ],
    ids=["dict", "list", "frame", "array", "tuple", "closure", "takes a dict"],
)
def test_the_form_of_the_data_does_not_matter(model: object, data: object) -> None:
    drawn, _ = all_stages(vi.fit(model, data, seed=0), draws=2000)  # pyright: ignore[reportArgumentType]
    assert drawn.mean() == pytest.approx(MEAN, abs=4.5 * SD / 2000**0.5)
    assert drawn.std() == pytest.approx(SD, rel=0.1)


class Network(PyroModule):
    """Made by the user in float32, as torch does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = PyroModule[torch.nn.Linear](2, 1)
        self.layer.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))
        self.layer.bias = PyroSample(dist.Normal(0.0, 1.0).expand([1]).to_event(1))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        mean = self.layer(x).squeeze(-1)
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Normal(mean, 0.3), obs=y)
        return mean


def test_a_module_made_in_single_precision_is_fitted_in_double_and_left_alone() -> None:
    network = Network()
    fit = vi.fit(network, {"x": X, "y": Y}, seed=0)
    assert fit.model.dtype is torch.float64
    assert next(iter(network.parameters()), torch.zeros(1)).dtype is torch.float32
    tree = vi.draw(fit, draws=1000)
    weight = tree["posterior"]["layer.weight"].mean(("chain", "draw")).to_numpy().ravel()
    np.testing.assert_allclose(weight, [1.0, -2.0], atol=0.25)


def test_a_model_that_closes_over_single_precision_is_computed_in_it_and_says_so() -> None:
    def model(y: Tensor) -> None:
        slope = pyro.sample("slope", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(X @ slope, 0.3), obs=y)

    fit = vi.fit(model, {"y": Y}, seed=0)
    assert fit.model.dtype is torch.float32
    assert any("float32" in note for note in fit.notes)
    drawn, _ = all_stages(fit)
    np.testing.assert_allclose(drawn.mean((0, 1)), [1.0, -2.0], atol=0.25)


def test_minibatches_through_a_plate_find_the_posterior_of_the_whole_data() -> None:
    def model(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
        with pyro.plate("row", len(y), subsample_size=10) as index:
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y[index])

    fit = vi.fit(model, {"y": Y}, vi.SVI(max_steps=4000), seed=0)
    drawn, _ = all_stages(fit, draws=2000)
    assert drawn.mean() == pytest.approx(MEAN, abs=0.3 * SD)
    assert drawn.std() == pytest.approx(SD, rel=0.2)


def local(y: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y), subsample_size=10) as index:
        own = pyro.sample("own", dist.Normal(loc, 1.0))
        pyro.sample("y", dist.Normal(own, 0.1), obs=y[index])


def test_local_latents_of_a_subsampled_plate_are_all_there() -> None:
    fit = vi.fit(local, {"y": Y}, vi.SVI(max_steps=3000), seed=0)
    own = vi.draw(fit, draws=200)["posterior"]["own"]
    assert own.sizes["row"] == 30
    np.testing.assert_allclose(own.mean(("chain", "draw")), Y.numpy(), atol=0.2)


def test_a_joint_guide_refuses_local_latents_of_a_subsampled_plate() -> None:
    with pytest.raises(GuideError, match=r"'own'.*subsamples.*'full_rank'.*mean_field"):
        vi.fit(local, {"y": Y}, vi.SVI(guide="full_rank"), seed=0)


def own_guide(y: Tensor) -> None:
    loc = pyro.param("guide_loc", torch.tensor(0.0))
    scale = pyro.param("guide_scale", torch.tensor(1.0), constraint=constraints.positive)
    pyro.sample("loc", dist.Normal(loc, scale))


def test_a_guide_of_the_users_own_finds_the_posterior() -> None:
    fit = vi.fit(normal, {"y": Y}, vi.SVI(guide=own_guide, max_steps=4000), seed=0)
    drawn, page = all_stages(fit, draws=2000)
    assert drawn.mean() == pytest.approx(MEAN, abs=0.4 * SD)
    assert drawn.std() == pytest.approx(SD, rel=0.25)
    assert "own_guide" in page
    assert len(pyro.get_param_store()) == 0


@pytest.mark.parametrize(
    ("name", "message"), [("other", "no site 'loc'"), ("loc", "site 'more'.*Drop it")]
)
def test_a_guide_must_have_the_sites_of_the_model(name: str, message: str) -> None:
    def guide(y: Tensor) -> None:
        scale = pyro.param("scale", torch.tensor(1.0))
        pyro.sample(name, dist.Normal(0.0, scale))
        pyro.sample("more", dist.Normal(0.0, scale))

    with pytest.raises(GuideError, match=message):
        vi.fit(normal, {"y": Y}, vi.SVI(guide=guide), seed=0)


def test_another_elbo_of_pyros_is_taken_and_refused_where_it_is_no_bound() -> None:
    renyi = RenyiELBO(alpha=0.5, num_particles=2)
    fit = vi.fit(normal, {"y": Y}, vi.SVI(elbo=renyi, max_steps=1500), seed=0)
    drawn, _ = all_stages(fit, draws=2000)
    assert drawn.mean() == pytest.approx(MEAN, abs=0.4 * SD)
    with pytest.raises(EngineError, match="RenyiELBO is no bound"):
        vi.fit(local, {"y": Y}, vi.SVI(elbo=renyi), seed=0)


def test_parameters_of_the_model_are_learnt_and_restarts_do_not_share_them() -> None:
    def model(y: Tensor) -> None:
        scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
        loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(loc, scale), obs=y)

    fit = vi.fit(model, {"y": Y}, vi.SVI(max_steps=2000), seed=0, restarts=2)
    densities = [run.density for run in fit.restarts]
    learnt = [density.model.params["params"]["scale"].exp().item() for density in densities]
    assert learnt[0] != learnt[1]
    assert learnt == pytest.approx([float(Y.std())] * 2, rel=0.05)
    predicted = vi.draw(fit, draws=500)["posterior_predictive"]["y"]
    assert float(predicted.std()) == pytest.approx(float(Y.std()), rel=0.1)
    with pytest.raises(EngineError, match="learnable parameters"):
        vi.fit(model, {"y": Y}, vi.DADVI(), seed=0)


def test_a_markov_chain_of_discrete_sites_is_drawn_from_its_posterior() -> None:
    y = torch.tensor([-1.0, -1.1, -0.9, 1.0, 1.2, 0.8, 1.1, -1.0, -1.0])

    def model(y: Tensor) -> None:
        stay = pyro.sample("stay", dist.Beta(8.0, 2.0))
        state = pyro.sample("state_0", dist.Bernoulli(0.5))
        pyro.sample("y_0", dist.Normal(2 * state - 1, 0.3), obs=y[0])
        for t in pyro.markov(range(1, len(y))):
            state = pyro.sample(
                f"state_{t}", dist.Bernoulli(state * stay + (1 - state) * (1 - stay))
            )
            pyro.sample(f"y_{t}", dist.Normal(2 * state - 1, 0.3), obs=y[t])

    tree = vi.draw(vi.fit(model, {"y": y}, seed=0), draws=100)
    means = [float(tree["posterior"][f"state_{t}"].mean()) for t in range(len(y))]
    np.testing.assert_allclose(means, (y > 0).double().numpy(), atol=0.05)
