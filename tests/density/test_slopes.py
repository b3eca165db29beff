"""A density whose gradient is not its slope is refused at once; one that is right never is.

Which sites are cut off is known from how each model is written: a value that leaves torch has no
gradient, by what automatic differentiation is.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyrovi as vi
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.errors import ModelError

Y = torch.tensor(np.random.default_rng(0).normal(1.5, 1.0, 30))


def normals(loc: Callable[[Tensor, Tensor], Any], y: Tensor, scale: float = 1.0) -> None:
    """Two latent sites, and a location made of them."""
    a, b = (pyro.sample(name, dist.Normal(0.0, 3.0)) for name in "ab")
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc(a, b), scale), obs=y)


def density_of(model: Callable[..., Any], **data: Any) -> LogDensity:
    return LogDensity(bind_model(model, bind(model, data)))


def through_numpy(a: Tensor, b: Tensor) -> Any:
    solved = np.linalg.solve(np.eye(2), np.asarray([float(a.detach()), float(b.detach())]))
    return torch.as_tensor(solved.sum())


def without_grad(a: Tensor, b: Tensor) -> Tensor:
    with torch.no_grad():
        return a + b


def through_its_data(a: Tensor, b: Tensor) -> Tensor:
    return a.data + b


CUT = {
    "item": (lambda a, b: a.item() + b.item(), "'a', 'b'"),
    "item of one": (lambda a, b: a.item() + b, "'a':"),
    "torch.tensor": (lambda a, b: torch.tensor([a.item(), b]).sum(), "'a', 'b'"),
    "float": (lambda a, b: a + float(b.detach()), "'b':"),
    "detach": (lambda a, b: a.detach() * b, "'a':"),
    "numpy": (through_numpy, "'a', 'b'"),
    "no_grad": (without_grad, "'a', 'b'"),
    "data": (through_its_data, "'a':"),
    "asarray": (lambda a, b: torch.as_tensor(np.asarray(a)) + b, "'a', 'b'"),
    "numpy()": (lambda a, b: float(a.numpy()) + b, "'a', 'b'"),
}


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
@pytest.mark.filterwarnings("ignore:To copy construct")
@pytest.mark.parametrize("way", CUT)
def test_what_leaves_torch_is_refused_in_a_sentence_that_names_the_sites(way: str) -> None:
    loc, sites = CUT[way]
    with pytest.raises(ModelError, match="gradient") as refused:
        vi.fit(partial(normals, loc), {"y": Y}, seed=0)
    assert sites in str(refused.value)


def test_a_latent_that_all_of_the_density_lost_is_refused_too() -> None:
    def model(y: Tensor) -> None:
        flat = dist.ImproperUniform(dist.constraints.real, (), ())
        a = pyro.sample("a", flat)
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(a.item(), 1.0), obs=y)

    with pytest.raises(ModelError, match=r"gradient.*'a'"):
        vi.fit(model, {"y": Y}, seed=0)


def test_one_site_of_many_is_found() -> None:
    def model(y: Tensor) -> None:
        sites = [pyro.sample(f"a_{i}", dist.Normal(0.0, 1.0)) for i in range(30)]
        loc = torch.stack([*sites[:17], sites[17].detach(), *sites[18:]]).sum()
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    density = density_of(model, y=Y)
    with pytest.raises(ModelError, match=r"sites 'a_17':"):
        density.check_gradient(density.start(0))


def step(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(a > 0, b, -b)


class Noisy:
    """A density that is another each time."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b + 0.1 * torch.randn(())


RIGHT = {
    "plain": (lambda a, b: a + b, 1.0),
    "steep": (lambda a, b: a + b, 1e-5),
    "curved": (lambda a, b: (10 * a).sin() * b.exp() ** 2, 0.01),
    "a branch": (step, 1.0),
    "a branch in Python": (lambda a, b: b if a > 0 else -b, 1.0),
    "a kink at the origin": (lambda a, b: a.relu() + b.abs(), 0.1),
    "noise": (Noisy(), 0.3),
    "infinite nearby": (lambda a, b: torch.where(a.abs() < 1e-3, a + b, torch.inf), 1.0),
    "far": (lambda a, b: 1e6 * a + b, 1e-3),
}


@pytest.mark.parametrize("kind", RIGHT)
@pytest.mark.parametrize("seed", range(5))
def test_what_is_right_almost_everywhere_is_never_refused(kind: str, seed: int) -> None:
    loc, scale = RIGHT[kind]
    density = density_of(partial(normals, loc, scale=scale), y=Y)
    density.check_gradient(torch.zeros(2, dtype=torch.float64))
    density.check_gradient(density.start(seed))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_single_precision_is_no_fault(scale: float) -> None:
    loadings = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))

    def model(y: Tensor) -> None:
        a = pyro.sample("a", dist.Normal(0.0, 3.0).expand([2]).to_event(1))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(loadings @ a, scale), obs=y)

    density = density_of(model, y=Y)
    assert density.model.dtype is torch.float32
    for seed in range(5):
        density.check_gradient(density.start(seed))


def test_it_costs_a_few_evaluations() -> None:
    density = density_of(partial(normals, lambda a, b: a + b), y=Y)
    start = density.start(0)
    before = density.evaluations
    density.check_gradient(start)
    assert density.evaluations - before <= 9


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
def test_a_guide_that_goes_by_the_score_needs_no_gradient() -> None:
    """The posterior of the mean, by a guide without a path derivative."""

    def model(y: Tensor) -> None:
        a = pyro.sample("a", dist.Normal(0.0, 3.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(a.item(), 1.0), obs=y)

    class Scored(dist.Normal):
        has_rsample = False

    def guide(y: Tensor) -> None:
        pyro.sample("a", Scored(pyro.param("loc", torch.tensor(1.0)), 1 / math.sqrt(30)))

    fit = vi.fit(model, {"y": Y}, vi.SVI(guide=guide, max_steps=300, particles=10), seed=0)
    assert float(fit.parameters["loc"]) == pytest.approx(float(Y.mean()), abs=0.3)
