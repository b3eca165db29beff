"""The ways in which models are written: modules, handlers, forms of data, kinds of callables."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.contrib.autoname import scope
from pyro.infer.reparam import TransformReparam
from pyro.nn import PyroModule, PyroParam, PyroSample, pyro_method
from scipy import stats
from torch import Tensor
from torch.distributions import constraints

from foreign.record import Collection, noise, numbers
from foreign.truths import Moments, beta, gamma, on_grid, pooled, ridge

__all__ = ["IDIOMS"]

IDIOMS = Collection()
TUTORIAL, FORUM, TESTS = "tutorial/source/", "forum.pyro.ai: ", "tests/"
Y = 1.5 + noise(12, seed=80)
X = noise(20, 2, seed=81)
Z = X @ numbers([1.0, -2.0]) + 0.3 * noise(20, seed=82)
HEADS = numbers([1, 0, 1, 1, 1, 0, 1, 1])


def _loc(prior: float = 2.0, y: Any = Y) -> Moments:
    return {"loc": pooled(y, prior)}


def _weights() -> Moments:
    """Of two covariates and an intercept: N(0, 1) before, noise 0.3."""
    mean, sd = ridge(np.column_stack([X, np.ones(20)]), Z, 1.0, 0.3)
    return {"weight": (mean[:2], sd[:2]), "bias": (mean[2:], sd[2:])}


# --- modules ----------------------------------------------------------------------------------


class Linear(PyroModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = PyroSample(dist.Normal(torch.zeros(1, 2), 1.0).to_event(2))
        self.bias = PyroSample(dist.Normal(torch.zeros(1), 1.0).to_event(1))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        mean = (x @ self.weight.T + self.bias).squeeze(-1)
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Normal(mean, 0.3), obs=y)
        return mean


class Scaled(PyroModule):
    """A prior that depends on another attribute, as a lambda."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = PyroSample(dist.HalfNormal(1.0))
        self.loc = PyroSample(lambda self: dist.Normal(0.0, self.scale + 0.1))

    def forward(self, y: Tensor) -> None:
        loc = self.loc
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


class Nested(PyroModule):
    """A module in a module; its sites have dots in their names."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Linear()

    def forward(self, x: Tensor, y: Tensor) -> None:
        self.inner(x, y)


class Noise(PyroModule):
    """A learnt parameter beside a latent: its method is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.sd = PyroParam(torch.tensor(1.0), constraint=constraints.positive)

    @pyro_method
    def generate(self, y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 100.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(loc, self.sd), obs=y)


def _scaled() -> Moments:
    def log_density(scale: np.ndarray, loc: np.ndarray) -> np.ndarray:
        total = -0.5 * scale**2 + stats.norm.logpdf(loc, 0, scale + 0.1)
        return total + sum(stats.norm.logpdf(y, loc) for y in Y.numpy())

    return on_grid(log_density, scale=(0, 6, 400), loc=(-1, 4, 500))


def _learnt_noise() -> Moments:
    """The scale that the evidence is highest at, and the mean of data of that scale."""
    y = Y.numpy()
    grid = np.linspace(0.3, 3, 5000)
    squares = y.var() * len(y)
    evidence = -(len(y) - 1) * np.log(grid) - 0.5 * squares / grid**2  # flat prior of the mean
    return {"loc": pooled(y, 100.0, grid[evidence.argmax()])}


IDIOMS.add(TUTORIAL + "modules.ipynb", X, Z, name="pyro_module", truth=_weights)(Linear())
IDIOMS.add(TUTORIAL + "modules.ipynb: PyroSample of a lambda", Y, name="dependent_priors",
           truth=_scaled)(Scaled())  # fmt: skip
IDIOMS.add(
    TUTORIAL + "modules.ipynb: nested", X, Z, name="nested_modules",
    truth=lambda: {f"inner.{k}": v for k, v in _weights().items()},
)(Nested())  # fmt: skip
IDIOMS.add(TUTORIAL + "modules.ipynb: pyro_method", Y, name="method_with_a_parameter",
           truth=_learnt_noise)(Noise().generate)  # fmt: skip


def _best_line() -> np.ndarray:
    design = np.column_stack([X, np.ones(20)])
    return design @ np.linalg.lstsq(design, Z.numpy(), rcond=None)[0]


def _about_the_best_line() -> Moments:
    """Any scale of the noise has its highest evidence at the least squares, which are learnt."""
    squares = ((Z.numpy() - _best_line()) ** 2).sum()
    return on_grid(
        lambda s: -0.5 * np.log(s) ** 2 - np.log(s) - 20 * np.log(s) - 0.5 * squares / s**2,
        s=(0.01, 3, 6000),
    )


NET = torch.nn.Linear(2, 1, dtype=torch.float64)


@IDIOMS.add("examples/vae: pyro.module of a network", X, Z, truth=_about_the_best_line)
def network_by_pyro_module(x: Tensor, y: Tensor) -> None:
    net = pyro.module("net", NET)
    s = pyro.sample("s", dist.LogNormal(0.0, 1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(net(x)[:, 0], s), obs=y)


def _empirical_bayes() -> Moments:
    """y_i ~ N(theta_i, 1), theta_i ~ N(m, t^2): m is the mean, t^2 the variance beyond 1."""
    y = 2 * Y.numpy()
    m, t2 = y.mean(), max(y.var() - 1, 0)
    share = t2 / (t2 + 1)
    return {"theta": (m + share * (y - m), np.sqrt(share) * np.ones(12))}


@IDIOMS.add(TUTORIAL + "svi_part_i.ipynb: pyro.param of a prior", 2 * Y, truth=_empirical_bayes)
def empirical_bayes(y: Tensor) -> None:
    m = pyro.param("m", torch.tensor(0.0))
    t = pyro.param("t", torch.tensor(1.0), constraint=constraints.positive)
    with pyro.plate("row", len(y)):
        theta = pyro.sample("theta", dist.Normal(m, t))
        pyro.sample("y", dist.Normal(theta, 1.0), obs=y)


# --- handlers ---------------------------------------------------------------------------------


def generative(n: int = 12) -> Tensor:
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", n):
        return pyro.sample("y", dist.Normal(loc, 1.0))


IDIOMS.add(TUTORIAL + "intro_part_i.ipynb: pyro.condition", name="conditioned",
           truth=_loc)(pyro.condition(generative, data={"y": Y}))  # fmt: skip


def _two_sites() -> Moments:
    return {"loc": (0.0, 2.0), "other": pooled(Y, 3.0)}


def _with_other(y: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    middle = pyro.sample("middle", dist.Normal(loc, 1.0))
    other = pyro.sample("other", dist.Normal(middle, 3.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(other, 1.0), obs=y)


IDIOMS.add(
    TESTS + "poutine: do cuts a site from its parents", Y, name="intervened", truth=_two_sites
)(poutine.do(_with_other, data={"middle": torch.tensor(0.0)}))


def _nuisance(y: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)
        pyro.sample("copy", dist.Normal(loc, 1.0), obs=y)


IDIOMS.add(TESTS + "poutine: block hides an observed site", Y, name="blocked",
           truth=_loc)(poutine.block(_nuisance, hide=["copy"]))  # fmt: skip


@IDIOMS.add(
    TESTS + "poutine: scale of the likelihood",
    HEADS,
    truth=lambda: {"p": beta(1 + 0.5 * 6, 1 + 0.5 * 2)},
)
def power_posterior(heads: Tensor) -> None:
    p = pyro.sample("p", dist.Beta(1.0, 1.0))
    with poutine.scale(scale=0.5), pyro.plate("toss", len(heads)):
        pyro.sample("heads", dist.Bernoulli(p), obs=heads)


def _coin(heads: Tensor) -> None:
    p = pyro.sample("p", dist.Beta(2.0, 3.0))
    with pyro.plate("toss", len(heads)):
        pyro.sample("heads", dist.Bernoulli(p), obs=heads)


IDIOMS.add(
    TESTS + "poutine: scale as a wrapper of the whole model",
    HEADS,
    name="scaled_whole",
    truth=lambda: {"p": beta(1 + 2 * (1 + 6), 1 + 2 * (2 + 2))},
)(poutine.scale(_coin, scale=2.0))


EVERY_OTHER = torch.arange(12) % 2 == 0


@IDIOMS.add(
    FORUM + "rows of padding left out by .mask", Y, EVERY_OTHER,
    truth=lambda: _loc(2.0, Y[EVERY_OTHER]),
)  # fmt: skip
def masked_by_the_distribution(y: Tensor, seen: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0).mask(seen), obs=y)


def _log_normal(y: Tensor) -> None:
    size = pyro.sample("size", dist.LogNormal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(size.log(), 1.0), obs=y)


def _size() -> Moments:
    mean, sd = pooled(Y, 1.0)
    of = stats.lognorm(sd, scale=np.exp(mean))
    return {"size": (of.mean(), of.std())}


IDIOMS.add(
    TESTS + "infer/reparam/test_transform.py", Y, name="log_normal_reparametrised", truth=_size,
    compared=lambda draws: {
        "size": draws["size"] if "size" in draws else np.exp(draws["size_base"])
    },
)(poutine.reparam(_log_normal, config={"size": TransformReparam()}))  # fmt: skip


@IDIOMS.add(FORUM + "a prior by pyro.factor, no data", truth=lambda: {
    "x": (0.0, 1.0), "y": (1.0, np.sqrt(2 + 0.25))})  # fmt: skip
def banana() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    y = pyro.sample("y", dist.Normal(0.0, 10.0).mask(False))
    pyro.factor("bend", dist.Normal(x**2, 0.5).log_prob(y))


@IDIOMS.add(FORUM + "an improper prior", Y, truth=lambda: {
    "loc": (float(Y.mean()), 12**-0.5)})  # fmt: skip
def improper(y: Tensor) -> None:
    loc = pyro.sample("loc", dist.ImproperUniform(constraints.real, (), ()))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


@IDIOMS.add(FORUM + "a fixed site as a Delta", Y, truth=_loc)
def fixed_by_delta(y: Tensor) -> None:
    sigma = pyro.sample("sigma", dist.Delta(torch.tensor(1.0)))
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, sigma), obs=y)


@scope(prefix="part")
def _part() -> Tensor:
    return pyro.sample("loc", dist.Normal(0.0, 2.0))


@IDIOMS.add(TESTS + "contrib/autoname/test_scoping.py: names with slashes", Y,
            truth=lambda: {"part/loc": pooled(Y, 2.0)})  # fmt: skip
def scoped(y: Tensor) -> None:
    loc = _part()
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


# --- forms of data ----------------------------------------------------------------------------


@IDIOMS.add(FORUM + "all data in a dict", {"y": Y, "sd": 1.0, "note": "ours"}, truth=_loc)
def data_in_a_dict(data: Mapping[str, Any]) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(data["y"])):
        pyro.sample("y", dist.Normal(loc, data["sd"]), obs=data["y"])


@IDIOMS.add(FORUM + "arguments by keyword alone", kwargs={"y": Y, "sd": 1.0}, truth=_loc)
def keywords_alone(*, y: Tensor, sd: float) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, sd), obs=y)


@IDIOMS.add(FORUM + "an argument that is None", Y, None, truth=_loc)
def nothing_for_an_argument(y: Tensor, sd: Tensor | None = None) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0 if sd is None else sd), obs=y)


@IDIOMS.add(FORUM + "data in single precision", Y.float(), truth=_loc)
def single_precision(y: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


@IDIOMS.add(FORUM + "counts as integers", torch.tensor([2, 0, 3, 1, 4]),
            truth=lambda: {"rate": gamma(2.0 + 10, 1.0 + 5)})  # fmt: skip
def integers(y: Tensor) -> None:
    rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Poisson(rate), obs=y)


@IDIOMS.add(FORUM + "answers as booleans", HEADS.bool(), truth=lambda: {"p": beta(7.0, 3.0)})
def booleans(y: Tensor) -> None:
    p = pyro.sample("p", dist.Beta(1.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Bernoulli(p), obs=y.float())


@IDIOMS.add(FORUM + "a list of numbers, made a tensor inside", Y.tolist(), truth=_loc)
def list_of_numbers(y: Any) -> None:
    values = torch.as_tensor(y)
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(values)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=values)


@IDIOMS.add(FORUM + "a generator of batches of unequal length", (Y[:3], Y[3:4], Y[4:]), truth=_loc)
def ragged(batches: tuple[Tensor, ...]) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    for i, batch in enumerate(batches):
        with pyro.plate(f"row_{i}", len(batch)):
            pyro.sample(f"y_{i}", dist.Normal(loc, 1.0), obs=batch)


@IDIOMS.add(FORUM + "a count as an argument", 12, Y, truth=_loc)
def number_for_an_argument(n: int, y: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", n):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


FRAME = pd.DataFrame({"y": Y.numpy(), "group": ["a", "b", "c"] * 4})


def _codes() -> Moments:
    parts = [pooled(FRAME["y"][FRAME["group"] == name], 2.0) for name in "abc"]
    return {"loc": tuple(np.array(parts).T)}


@IDIOMS.add(FORUM + "a frame that the model closes over", truth=_codes)
def closure_over_a_frame() -> None:
    codes = torch.tensor(FRAME["group"].astype("category").cat.codes.to_numpy().astype(int))
    y = torch.tensor(FRAME["y"].to_numpy())
    with pyro.plate("group", 3):
        loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc[codes], 1.0), obs=y)


# --- kinds of callables -----------------------------------------------------------------------


def _of_prior(width: float, y: Tensor) -> Tensor:
    loc = pyro.sample("loc", dist.Normal(0.0, width))
    with pyro.plate("row", len(y)):
        return pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


class Study:
    """Holds its settings; its method and its call are models."""

    def __init__(self, width: float) -> None:
        self.width = width

    def model(self, y: Tensor) -> dict[str, Any]:
        return {"y": _of_prior(self.width, y), "width": self.width}

    def __call__(self, y: Tensor) -> None:
        self.model(y)

    @staticmethod
    def still(y: Tensor) -> None:
        _of_prior(2.0, y)


def made_for(width: float) -> Any:
    """A function that makes a model."""

    def model(*args: Tensor, **kwargs: Any) -> None:
        _of_prior(width, *args, **kwargs)

    return model


IDIOMS.add(FORUM + "functools.partial", Y, name="partial", truth=_loc)(partial(_of_prior, 2.0))
IDIOMS.add(FORUM + "a method", Y, name="method", truth=_loc)(Study(2.0).model)
IDIOMS.add(FORUM + "an object that is called", Y, name="callable_object", truth=_loc)(Study(2.0))
IDIOMS.add(FORUM + "a static method", Y, name="static_method", truth=_loc)(Study.still)
IDIOMS.add(FORUM + "*args of a closure", Y, name="closure", truth=_loc)(made_for(2.0))
IDIOMS.add(FORUM + "a lambda", Y, name="lambda", truth=_loc)(lambda y: _of_prior(2.0, y))
