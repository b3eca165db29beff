"""What a model does not condition on is said; whatever it uses, in whatever way, is not.

What each model uses is known from how it is written.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor

import pyrovi as vi
from pyrovi.bound import bind, bind_model
from pyrovi.tree import json_attr

X = np.linspace(0.0, 1.0, 20)
Y = 1 + 2 * X
GROUP = np.arange(20) % 4


def notes(model: Callable[..., Any], data: Any) -> list[str]:
    """Those on what the model does not condition on."""
    said = bind_model(model, bind(model, data)).notes
    return [note for note in said if "depends on" in note or "observes nothing" in note]


def line(x: Any = 0.0, scale: Any = 1.0) -> Tensor:
    a, b = (pyro.sample(name, dist.Normal(0.0, 3.0)) for name in "ab")
    return a + b * x * scale


def observed(loc: Tensor, y: Tensor, **options: Any) -> None:
    with pyro.plate("row", 20):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y, **options)


def forgotten(x: Tensor, y: Tensor) -> None:
    observed(line(x), y=None)


def blocked(x: Tensor, y: Tensor) -> None:
    loc = line(x)
    with poutine.block(hide=["y"]):
        observed(loc, y)


def no_data(x: Tensor, y: Tensor | None = None) -> None:
    observed(line(x), y)


def transformed_and_dropped(x: Tensor, y: Tensor) -> None:
    _ = y.log1p().mean()
    forgotten(x, y)


@pytest.mark.parametrize("model", [forgotten, blocked, transformed_and_dropped])
def test_a_model_that_observes_nothing_is_told(model: Callable[..., Any]) -> None:
    said = notes(model, {"x": X, "y": Y})
    assert len(said) == 2
    assert "'y'" in said[0]
    assert "observes nothing" in said[1]


def test_an_argument_that_is_none_is_no_data() -> None:
    (said,) = notes(no_data, {"x": X, "y": None})
    assert "observes nothing" in said


def test_the_verdict_warns_of_a_posterior_that_is_the_prior() -> None:
    fit = vi.fit(forgotten, {"x": X, "y": Y}, seed=0)
    tree = vi.check(vi.draw(fit, draws=200))
    assert any("observes nothing" in note for note in json_attr(tree, "notes"))
    verdict = vi.verdict(tree)
    assert verdict.status == "warn"
    worst = verdict.table.iloc[0]
    assert (worst["check"], worst["quantity"], worst["value"]) == ("conditioned", "sites", 0)


def test_a_factor_is_enough() -> None:
    def model(y: Tensor) -> None:
        a = pyro.sample("a", dist.Normal(0.0, 3.0))
        pyro.factor("data", dist.Normal(a, 1.0).log_prob(y).sum())

    assert notes(model, {"y": Y}) == []
    tree = vi.draw(vi.fit(model, {"y": Y}, seed=0), draws=200)
    assert vi.verdict(tree).table.query("check == 'conditioned'")["status"].tolist() == ["ok"]


def unused(x: Tensor, y: Tensor) -> None:
    observed(line(), y)


def masked(x: Tensor, y: Tensor) -> None:
    with poutine.mask(mask=torch.tensor(False)):
        observed(line(x), y)


def items(data: dict[str, Tensor]) -> None:
    observed(line(), data["y"])


@pytest.mark.parametrize(
    ("model", "data", "name"),
    [
        (unused, {"x": X, "y": Y}, "x"),
        (unused, {"x": GROUP, "y": Y}, "x"),
        (unused, {"x": X > 0.5, "y": Y}, "x"),
        (masked, {"x": X, "y": Y}, "y"),
        (items, {"data": {"x": torch.tensor(X), "y": torch.tensor(Y)}}, "x"),
    ],
)
def test_data_that_no_density_touches_are_named(model: Any, data: Any, name: str) -> None:
    said = notes(model, data)
    assert any(f"depends on {name!r}" in note for note in said)


def by_length(x: Tensor, y: Tensor) -> None:
    loc = line()
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


def by_group(x: Tensor, y: Tensor) -> None:
    with pyro.plate("group", int(x.max()) + 1):
        loc = pyro.sample("a", dist.Normal(0.0, 3.0))
    observed(loc[x], y)


def by_number_of_groups(x: Tensor, y: Tensor) -> None:
    with pyro.plate("group", int(x.max()) + 1):
        loc = pyro.sample("a", dist.Normal(0.0, 3.0))
    observed(loc.mean(), y)


def by_spread(x: Tensor, y: Tensor) -> None:
    observed(line(x.double().std()), y)


def in_a_prior(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(x.double().mean(), 3.0))
    observed(a, y)


def in_something_computed(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 3.0))
    observed(a, y)
    pyro.deterministic("at_x", a * x)


def as_a_mask(x: Tensor, y: Tensor) -> None:
    loc = line()
    with poutine.mask(mask=x > 0):
        observed(loc, y)


def through_numpy(x: Tensor, y: Tensor) -> None:
    observed(line(torch.as_tensor(np.sort(x.numpy()))), y)


def as_observed_by_loop(x: Tensor, y: Tensor) -> None:
    loc = line(x)
    for i in range(len(y)):
        pyro.sample(f"y_{i}", dist.Normal(loc[i], 1.0), obs=y[i])


def summed_out(x: Tensor, y: Tensor) -> None:
    loc = line(x)
    with pyro.plate("row", 20):
        z = pyro.sample("z", dist.Bernoulli(0.5))
        pyro.sample("y", dist.Normal(loc + z, 1.0), obs=y)


def with_minibatches(x: Tensor, y: Tensor) -> None:
    loc = line(x)
    with pyro.plate("row", 20, subsample_size=5) as rows:
        pyro.sample("y", dist.Normal(loc[rows], 1.0), obs=y[rows])


USES = (by_spread, in_a_prior, in_something_computed, as_a_mask, through_numpy)
USES += (as_observed_by_loop, by_length, summed_out, with_minibatches)


@pytest.mark.parametrize("model", USES)
@pytest.mark.parametrize("x", [X, GROUP, np.ones(20)], ids=["real", "whole", "constant"])
def test_whatever_is_used_is_not_named(model: Callable[..., Any], x: Any) -> None:
    assert notes(model, {"x": x, "y": Y}) == []


@pytest.mark.parametrize("model", [by_group, by_number_of_groups, by_length])
def test_codes_and_sizes_are_uses(model: Callable[..., Any]) -> None:
    assert notes(model, {"x": GROUP, "y": Y}) == []


def test_options_raise_no_note() -> None:
    def model(y: Tensor, count: int = 3, kind: str = "normal", width: float = 1.0) -> None:
        observed(line(), y)

    assert notes(model, {"y": Y, "count": 5, "kind": "other", "width": 2.0}) == []


def test_missing_values_are_no_fault() -> None:
    gaps = np.ma.masked_where(np.arange(20) % 3 == 0, Y)
    assert notes(no_data, {"x": X, "y": gaps}) == []


@pytest.mark.parametrize("name", vi.models.ZOO)
def test_no_entry_of_the_zoo_has_an_idle_argument(name: str) -> None:
    entry = vi.models.get(name)
    assert notes(entry.model, entry.simulate(seed=1)) == []
