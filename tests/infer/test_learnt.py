"""Whatever Pyro registers is learnt, saved, and found: modules and parameters, wherever made.

The right answers are those of least squares, which do not depend on the scale of the noise.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import Tensor
from torch.distributions import constraints

import pyrovi as vi
from pyrovi.infer.ladder.auto import Auto

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=30)
Y = 2 * X + 0.5 + 0.3 * GENERATOR.normal(size=30)
SLOPE, INTERCEPT = np.polyfit(X, Y, 1)
ENGINE = vi.SVI(max_steps=400, particles=2)


def line() -> Any:
    torch.manual_seed(1)
    return torch.nn.Linear(1, 1)


def observed(loc: Tensor, y: Tensor) -> None:
    scale = pyro.sample("s", dist.LogNormal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, scale), obs=y)


def fitted(model: Callable[..., Any], engine: Any = ENGINE, **options: Any) -> vi.Fit:
    return vi.fit(model, {"x": X, "y": Y}, engine, seed=0, **options)


def module_in_a_function() -> Callable[..., Any]:
    net = line()

    def model(x: Tensor, y: Tensor) -> None:
        observed(pyro.module("net", net)(x[:, None])[:, 0], y)

    return model


def module_within_a_module() -> Callable[..., Any]:
    net = torch.nn.Sequential(torch.nn.Sequential(line()))

    def model(x: Tensor, y: Tensor) -> None:
        observed(pyro.module("net", net)(x[:, None])[:, 0], y)

    return model


def method_of_a_module() -> Callable[..., Any]:
    class Regression(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = line()

        def model(self, x: Tensor, y: Tensor) -> None:
            pyro.module("line", self.line)
            observed(self.line(x[:, None])[:, 0], y)

    return Regression().model


class Line(PyroModule):
    def __init__(self) -> None:
        super().__init__()
        self.slope = PyroParam(torch.tensor(1.0), constraint=constraints.positive)
        self.intercept = torch.nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.slope * x + self.intercept


def pyro_module_in_a_function() -> Callable[..., Any]:
    part = Line()

    def model(x: Tensor, y: Tensor) -> None:
        observed(part(x), y)

    return model


def pyro_module_as_the_model() -> Callable[..., Any]:
    class Regression(PyroModule):
        def __init__(self) -> None:
            super().__init__()
            self.line = Line()

        def forward(self, x: Tensor, y: Tensor) -> None:
            observed(self.line(x), y)

    return Regression()


def parameter_in_a_pyro_module() -> Callable[..., Any]:
    class Regression(PyroModule):
        def forward(self, x: Tensor, y: Tensor) -> None:
            slope = pyro.param("slope", torch.tensor(1.0), constraint=constraints.positive)
            observed(slope * x + pyro.param("intercept", torch.tensor(0.0)), y)

    return Regression()


def converted_module() -> Callable[..., Any]:
    net: Any = PyroModule[torch.nn.Linear](1, 1)
    net.weight = PyroSample(dist.Normal(0.0, 5.0).expand([1, 1]).to_event(2))

    def model(x: Tensor, y: Tensor) -> None:
        observed(net(x[:, None])[:, 0], y)

    return model


REGISTERING = (
    module_in_a_function,
    module_within_a_module,
    method_of_a_module,
    pyro_module_in_a_function,
    pyro_module_as_the_model,
    parameter_in_a_pyro_module,
    converted_module,
)


def least_squares(learnt: dict[str, np.ndarray]) -> None:
    """Each of what was learnt is the slope or the intercept, as its name says."""
    for name, value in learnt.items():
        slope = name.endswith(("slope", "weight"))
        np.testing.assert_allclose(value, SLOPE if slope else INTERCEPT, atol=0.1, err_msg=name)


@pytest.mark.parametrize("make", REGISTERING, ids=lambda make: make.__name__)
def test_whatever_is_registered_is_learnt_found_saved_and_read(
    make: Callable[..., Any], tmp_path: Any
) -> None:
    model = make()
    fit = fitted(model)
    learnt = {name: value.numpy() for name, value in fit.parameters.items()}
    assert len(learnt) == (1 if make is converted_module else 2)
    least_squares(learnt)
    tree = vi.draw(fit, draws=200)
    assert {n: v.to_numpy()[0].tolist() for n, v in tree["learnt"].data_vars.items()} == {
        name: value.tolist() for name, value in learnt.items()
    }
    fit.save(tmp_path)
    again = vi.Fit.open(tmp_path, make(), {"x": X, "y": Y})
    assert {n: v.tolist() for n, v in again.parameters.items()} == {
        name: value.tolist() for name, value in learnt.items()
    }
    for group in ("posterior", "log_likelihood"):
        np.testing.assert_array_equal(
            *(each[group].to_dataset().to_array() for each in (tree, vi.draw(again, draws=200)))
        )


def test_the_tree_says_the_support_of_what_was_learnt() -> None:
    fit = fitted(pyro_module_in_a_function(), vi.SVI(max_steps=50), restarts=2)
    group = vi.draw(fit, draws=50)["learnt"]
    supports = {name: value.attrs["support"] for name, value in group.data_vars.items()}
    assert supports == {"slope": "above 0", "intercept": "real"}
    assert group["slope"].dims == ("chain",)


def test_the_users_module_is_left_as_it_was_and_restarts_do_not_share_it() -> None:
    net = line()
    before = net.weight

    def model(x: Tensor, y: Tensor) -> None:
        observed(pyro.module("net", net)(x[:, None])[:, 0], y)

    fit = fitted(model, vi.SVI(max_steps=100), restarts=2)
    assert net.weight is before
    assert before.item() == line().weight.item()
    first, second = (run.density.model.learnt["net$$$weight"].item() for run in fit.restarts)
    assert len({first, second, before.item()}) == 3


def test_auto_learns_a_module_too() -> None:
    fit = fitted(module_in_a_function(), Auto(max_steps=400))
    least_squares({name: value.numpy() for name, value in fit.parameters.items()})


def test_a_guide_learns_its_module_and_its_parameters() -> None:
    """The posterior of the mean of a normal with known scale, whose guide is a network of one."""
    net = torch.nn.Linear(1, 1)

    def model(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(loc, 0.3), obs=y)

    def guide(y: Tensor) -> None:
        encoder = pyro.module("encoder", net)
        scale = pyro.param("scale", torch.tensor(0.1), constraint=constraints.positive)
        pyro.sample("loc", dist.Normal(encoder(torch.ones(1).to(net.weight))[0], scale))

    net.double()
    before = net.bias.item()
    fit = vi.fit(
        model, {"y": Y}, vi.SVI(guide=guide, max_steps=600, particles=4), seed=0, restarts=2
    )
    sd = 1 / np.sqrt(30 / 0.3**2 + 1 / 100)
    mean = sd**2 * Y.sum() / 0.3**2
    draws = vi.draw(fit, draws=2000)["posterior"]["loc"]
    assert float(draws.mean()) == pytest.approx(mean, abs=0.3 * sd)
    assert float(fit.parameters["scale"]) == pytest.approx(sd, rel=0.2)
    assert {"encoder$$$weight", "encoder$$$bias", "scale"} == set(fit.parameters)
    assert net.bias.item() == before


def test_what_model_and_guide_share_is_one_parameter() -> None:
    net = line().double()

    def model(x: Tensor, y: Tensor) -> None:
        observed(pyro.module("net", net)(x[:, None])[:, 0], y)

    def guide(x: Tensor, y: Tensor) -> None:
        shared = pyro.module("net", net)
        loc = pyro.param("loc", torch.tensor(0.0)) + 0 * shared.bias[0]
        scale = pyro.param("scale", torch.tensor(0.1), constraint=constraints.positive)
        pyro.sample("s", dist.LogNormal(loc, scale))

    fit = fitted(model, vi.SVI(guide=guide, max_steps=400, particles=2))
    learnt = {name: value.numpy() for name, value in fit.parameters.items() if "net" in name}
    assert len(learnt) == 2
    least_squares(learnt)


def test_a_guide_of_the_users_that_is_a_module_learns_what_it_registers() -> None:
    class Guide(PyroModule):
        def __init__(self) -> None:
            super().__init__()
            self.scale = PyroParam(torch.tensor(0.5), constraint=constraints.positive)

        def forward(self, y: Tensor) -> None:
            loc = pyro.param("center", torch.tensor(0.0))
            pyro.sample("loc", dist.Normal(loc, self.scale))

    def model(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(loc, 0.3), obs=y)

    fit = vi.fit(model, {"y": Y}, vi.SVI(guide=Guide(), max_steps=600, particles=4), seed=0)
    assert float(fit.parameters["center"]) == pytest.approx(Y.mean(), abs=0.02)
    assert float(fit.parameters["scale"]) == pytest.approx(0.3 / np.sqrt(30), rel=0.2)


@pytest.mark.filterwarnings("ignore:The `random_module` primitive is deprecated")
def test_random_module_draws_its_weights_and_learns_the_others() -> None:
    net = line()

    def model(x: Tensor, y: Tensor) -> None:
        prior = {"weight": dist.Normal(torch.zeros(1, 1), 5.0).to_event(2)}
        lifted = pyro.random_module("net", net, prior)()
        observed(lifted(x[:, None])[:, 0], y)

    fit = fitted(model)
    posterior = vi.draw(fit, draws=500)["posterior"]
    assert float(posterior["net$$$weight"].mean()) == pytest.approx(SLOPE, abs=0.05)
    least_squares({name: value.numpy() for name, value in fit.parameters.items()})


def test_a_module_trains_with_minibatches() -> None:
    net = line()

    def model(x: Tensor, y: Tensor) -> None:
        pyro.module("net", net)
        scale = pyro.sample("s", dist.LogNormal(0.0, 1.0))
        with pyro.plate("row", len(y), subsample_size=20) as rows:
            pyro.sample("y", dist.Normal(net(x[rows, None])[:, 0], scale), obs=y[rows])

    fit = fitted(model)
    least_squares({name: value.numpy() for name, value in fit.parameters.items()})


def test_an_autoguide_adds_nothing_to_what_is_learnt() -> None:
    fit = fitted(module_in_a_function(), vi.SVI(guide=AutoNormal, max_steps=20))
    assert set(fit.parameters) == {"net$$$weight", "net$$$bias"}
