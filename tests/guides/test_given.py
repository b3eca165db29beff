"""Guides as Pyro's tutorials write them: fresh objects, lists, easy ones, of any kind of model."""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.contrib.easyguide import EasyGuide, easy_guide
from pyro.infer import ReweightedWakeSleep, TraceMeanField_ELBO
from pyro.infer.autoguide import (
    AutoDiagonalNormal,
    AutoGuide,
    AutoGuideList,
    AutoMultivariateNormal,
    AutoNormal,
    AutoStructured,
)
from pyro.nn import PyroModule, PyroSample
from torch import Tensor

import pyrovi as vi

GENERATOR = torch.Generator().manual_seed(0)
X = 1 + torch.randn(30, generator=GENERATOR)
Y = torch.randn(40, generator=GENERATOR) - 2


def model(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 10.0))
    b = pyro.sample("b", dist.Normal(0.0, 10.0))
    with pyro.plate("one", len(x)):
        pyro.sample("x", dist.Normal(a, 1.0), obs=x)
    with pyro.plate("other", len(y)):
        pyro.sample("y", dist.Normal(b, 1.0), obs=y)


class Module(PyroModule):
    """The same model as a module, in float32 as torch makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.a = PyroSample(dist.Normal(0.0, 10.0))
        self.b = PyroSample(dist.Normal(0.0, 10.0))
        self.register_buffer("weight", torch.zeros(1, 1))

    def forward(self, x: Tensor, y: Tensor) -> None:
        nothing = torch.nn.functional.linear(x[:, None], self.weight)[:, 0]  # of one dtype
        a: Any = self.a
        b: Any = self.b
        with pyro.plate("one", len(x)):
            pyro.sample("x", dist.Normal(a + nothing, 1.0), obs=x)
        with pyro.plate("other", len(y)):
            pyro.sample("y", dist.Normal(b, 1.0), obs=y)


MODULE = Module()


def listed(of: Callable[..., Any]) -> AutoGuideList:
    guide = AutoGuideList(of)
    guide.append(AutoNormal(poutine.block(of, expose=["a"])))
    guide.append(AutoMultivariateNormal(poutine.block(of, expose=["b"])))
    return guide


class Easy(EasyGuide):
    """Sites in one group."""

    def guide(self, x: Tensor, y: Tensor) -> None:
        group = self.group(match="[ab]")
        loc = pyro.param("both_loc", torch.zeros(group.event_shape))
        scale = pyro.param(
            "both_scale", torch.ones(group.event_shape), constraint=dist.constraints.positive
        )
        group.sample("both", dist.Normal(loc, scale).to_event(1))


@easy_guide(model)
def easy(self: Any, x: Tensor, y: Tensor) -> None:
    Easy.guide(self, x, y)


GUIDES: dict[str, tuple[Callable[..., Any], Any]] = {
    "AutoNormal": (model, lambda: AutoNormal(model)),
    "AutoDiagonalNormal": (model, lambda: AutoDiagonalNormal(model)),
    "AutoMultivariateNormal": (model, lambda: AutoMultivariateNormal(model)),
    "AutoStructured": (
        model,
        lambda: AutoStructured(model, conditionals="normal", dependencies="linear"),
    ),
    "AutoGuideList": (model, lambda: listed(model)),
    "of a handled model": (model, lambda: AutoNormal(poutine.scale(model, scale=1.0))),
    "of a lambda": (model, lambda: AutoNormal(lambda x, y: model(x, y))),  # noqa: PLW0108  that is the case
    "of a module": (MODULE, lambda: AutoNormal(MODULE)),
    "a list of a module": (MODULE, lambda: listed(MODULE)),
    "EasyGuide": (model, lambda: Easy(model)),
    "easy_guide": (model, lambda: easy),
}


def assert_right(tree: Any) -> None:
    """Closed form of each of the two."""
    for name, data in (("a", X.double()), ("b", Y.double())):
        precision = len(data) + 0.01
        drawn = tree["posterior"][name].to_numpy()
        assert drawn.mean() == pytest.approx(
            float(data.sum()) / precision, abs=0.5 * len(data) ** -0.5
        )
        assert drawn.std() == pytest.approx(precision**-0.5, rel=0.4)


@pytest.mark.parametrize("name", GUIDES)
def test_a_fresh_guide_finds_the_posterior_and_is_left_fresh(name: str) -> None:
    fitted, make = GUIDES[name]
    guide = make()
    before = guide.model
    steps = 400 if isinstance(guide, AutoGuide) else 1200  # of one particle
    engine = vi.SVI(guide=guide, step_size=0.1, max_steps=steps)
    fit = vi.fit(fitted, {"x": X, "y": Y}, engine, seed=0)
    assert_right(vi.draw(fit, draws=1000))
    assert guide.model is before
    assert guide.prototype_trace is None
    assert not list(guide.parameters())
    if isinstance(guide, AutoGuide):
        parts: list[Any] = [*guide.children()]
        assert all(part.master() is guide for part in parts)


def test_restarts_of_a_guide_share_nothing() -> None:
    engine = vi.SVI(guide=listed(model), max_steps=300)
    fit = vi.fit(model, {"x": X, "y": Y}, engine, seed=0, restarts=2)
    kept: list[Any] = [run.approximation for run in fit.restarts]
    first, second = (each.guide for each in kept)
    assert {id(p) for p in first.parameters()}.isdisjoint(id(p) for p in second.parameters())


def test_discrete_sites_are_none_of_a_fresh_guides() -> None:
    """A mixture of two known parts; by quadrature over the share of the second."""

    def mixture(y: Tensor) -> None:
        share = pyro.sample("share", dist.Beta(1.0, 1.0))
        with pyro.plate("row", len(y)):
            z = pyro.sample("z", dist.Bernoulli(share))
            pyro.sample("y", dist.Normal(3 * z, 1.0), obs=y)

    y = torch.cat([X - 1, Y[:10] + 5])
    engine = vi.SVI(guide=AutoNormal(mixture), max_steps=800)
    tree: Any = vi.draw(vi.fit(mixture, {"y": y}, engine, seed=0), draws=1000)
    grid = torch.linspace(0.0005, 0.9995, 1000)
    parts = torch.stack([dist.Normal(0.0, 1.0).log_prob(y), dist.Normal(3.0, 1.0).log_prob(y)])
    logs = torch.stack([(1 - grid).log(), grid.log()])
    weight = (logs[:, :, None] + parts[:, None]).logsumexp(0).sum(-1).softmax(0)
    mean = float((weight * grid).sum())
    assert float(tree["posterior"]["share"].mean()) == pytest.approx(mean, abs=0.03)


@pytest.mark.parametrize(
    "elbo",
    [ReweightedWakeSleep(num_particles=8), TraceMeanField_ELBO()],
    ids=["RWS", "mean field"],
)
def test_other_objectives_of_pyros_find_the_posterior(elbo: Any) -> None:
    guides = [AutoNormal(model)] if isinstance(elbo, TraceMeanField_ELBO) else ["mean_field"]
    for guide in guides:
        engine = vi.SVI(guide=guide, elbo=elbo, step_size=0.1, max_steps=500)
        fit = vi.fit(model, {"x": X, "y": Y}, engine, seed=0)
        assert_right(vi.draw(fit, draws=1000))
        assert fit.loss.size
