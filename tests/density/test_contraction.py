"""Claims: chains of discrete sites are summed out as Pyro does, in far fewer operations."""

from itertools import pairwise
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity, contraction, log_density

STEPS = 24
Y = torch.randn(STEPS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
ENUMERATE: Any = {"enumerate": "parallel"}


def markov(y: Tensor) -> None:
    """A hidden Markov model of three states, one of which cannot be left."""
    chances = pyro.sample("chances", dist.Dirichlet(torch.ones(2, 3)).to_event(1))
    chances = torch.cat([chances, torch.tensor([[0.0, 0.0, 1.0]])])
    locs = pyro.sample("locs", dist.Normal(torch.arange(3.0), 1.0).to_event(1))
    state: Any = torch.tensor(0)
    for t in pyro.markov(range(len(y))):
        state = pyro.sample(f"state_{t}", dist.Categorical(chances[state]), infer=ENUMERATE)
        pyro.sample(f"y_{t}", dist.Normal(locs[state], 1.0), obs=y[t])


def in_a_plate(y: Tensor) -> None:
    """Four series, each with its own states, whose first state hangs on a state of its own."""
    stay = pyro.sample("stay", dist.Beta(2.0, 2.0))
    with pyro.plate("series", 4):
        state: Any = pyro.sample("start", dist.Bernoulli(0.5), infer=ENUMERATE)
        for t in pyro.markov(range(len(y))):
            chance = state * stay + (1 - state) * (1 - stay)
            state = pyro.sample(f"state_{t}", dist.Bernoulli(chance), infer=ENUMERATE)
            pyro.sample(f"y_{t}", dist.Normal(state, 1.0), obs=y[t] + torch.zeros(4))


def two_chains(y: Tensor) -> None:
    """Two chains that meet in each observation: no path."""
    stay = pyro.sample("stay", dist.Beta(2.0, 2.0))
    one: Any = torch.tensor(0.0)
    two: Any = torch.tensor(0.0)
    for t in pyro.markov(range(len(y) // 2)):
        one = pyro.sample(f"one_{t}", dist.Bernoulli(0.2 + 0.6 * one * stay), infer=ENUMERATE)
        two = pyro.sample(f"two_{t}", dist.Bernoulli(0.3 + 0.5 * two * stay), infer=ENUMERATE)
        pyro.sample(f"y_{t}", dist.Normal(one - two, 1.0), obs=y[t])


def density_of(model: Any) -> LogDensity:
    return LogDensity(bind_model(model, bind(model, {"y": Y})))


@pytest.mark.parametrize("scanned_entries", [0, 10**6])
@pytest.mark.parametrize("fewest_links", [1, 3, 8])
@pytest.mark.parametrize("model", [markov, in_a_plate, two_chains])
def test_a_chain_is_summed_out_as_pyro_does(
    model: Any, fewest_links: int, scanned_entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    density = density_of(model)
    rows = torch.randn(3, density.dim, generator=torch.Generator().manual_seed(1)).double()
    monkeypatch.setattr(contraction, "SCANNED_ENTRIES", scanned_entries)
    monkeypatch.setattr(contraction, "FEWEST_LINKS", fewest_links)
    ours = [*density._differentiated(rows), density.hessian_product(rows, torch.ones_like(rows))]
    monkeypatch.setattr(contraction, "MANY_STEPS", 1000)
    pyros = [*density._differentiated(rows), density.hessian_product(rows, torch.ones_like(rows))]
    for our, its in zip(ours, pyros, strict=True):
        assert its.isfinite().all()
        torch.testing.assert_close(our, its, rtol=1e-8, atol=1e-8)


def operations(density: LogDensity) -> int:
    """How many of autograd's operations one evaluation takes."""
    flat = torch.zeros(density.dim, dtype=torch.float64, requires_grad=True)
    with density.model.running():
        value = density._point.log_prob(flat)
    seen, ahead = set(), [value.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            ahead += [following for following, _ in node.next_functions]
    return len(seen)


def test_a_path_takes_a_third_fewer_operations_where_each_step_has_its_own_site(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    density = density_of(markov)
    ours = operations(density)
    monkeypatch.setattr(contraction, "MANY_STEPS", 1000)
    assert 3 * ours < 2 * operations(density)


@pytest.mark.parametrize("model", [markov, in_a_plate])
def test_a_chain_is_drawn_by_its_posterior(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chances of each state, and of each two that follow, beside Pyro's own draws."""
    density = density_of(model)
    rows = torch.full((1, density.dim), 0.3, dtype=torch.float64).expand(4000, -1)
    ours = density.discrete_draws(rows, seed=0)
    monkeypatch.setattr(log_density, "MANY_STEPS", 1000)
    pyros = density.discrete_draws(rows, seed=1)
    assert ours.keys() == pyros.keys()
    pairs = list(pairwise(f"state_{t}" for t in range(STEPS)))
    for one, two in pairs:
        assert ours[one].shape == pyros[one].shape
        moments = zip(
            *((d[one].double(), (d[one] * d[two]).double()) for d in (ours, pyros)), strict=True
        )
        for own, its in moments:
            error = ((own.var(0) + its.var(0)) / 4000).sqrt() + 1e-3
            assert bool(((own.mean(0) - its.mean(0)).abs() < 5 * error).all())


def test_what_is_no_path_is_drawn_by_pyro() -> None:
    density = density_of(two_chains)
    drawn = density.discrete_draws(torch.zeros(5, density.dim, dtype=torch.float64), seed=0)
    assert drawn["one_3"].shape == (5,)
