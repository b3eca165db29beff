"""Claims: what is done at once is what was done one by one, and a loop costs what must wait."""

import random
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import config_enumerate
from torch import Tensor

from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity, folding, recording
from pyrovi.density.program import Program
from pyrovi.density.recording import record

Function = Callable[[Tensor], tuple[Tensor, ...]]


def independent(y: Tensor) -> None:
    """Steps that do not hang on each other; the first is another."""
    loc = pyro.sample("loc", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    for t, each in enumerate(y):
        noise = scale if t else 3 * scale
        pyro.sample(f"y_{t}", dist.Normal(loc[t % 3].tanh(), noise), obs=each)


def random_walk(y: Tensor) -> None:
    """A latent series, each value seen by its index."""
    step = pyro.sample("step", dist.HalfNormal(1.0))
    x = pyro.sample("x", dist.Normal(torch.zeros(len(y)), 1.0).to_event(1))
    for t, each in enumerate(y):
        pyro.sample(f"y_{t}", dist.StudentT(4.0, step * x[t] + x[t - 1], 0.5), obs=each)


def written_in_place(y: Tensor) -> None:
    """A recursion whose values are written into a tensor, and another that is cut and joined."""
    slope = pyro.sample("slope", dist.Normal(0.0, 0.5))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    mean, other = torch.zeros(len(y)), [torch.zeros(1)]
    for t in range(1, len(y)):
        mean[t] = slope * y[t - 1] + 0.1 * torch.sin(mean[t - 1].clone())
        other.append((scale * y[t - 1 : t]).exp().clamp(max=3.0) * other[-1].cos())
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Normal(mean + torch.cat(other), scale), obs=y)


def forward_algorithm(y: Tensor) -> None:
    """What is carried along is worked out one step after another."""
    with pyro.plate("state", 3):
        transition = pyro.sample("transition", dist.Dirichlet(torch.ones(3)))
        loc = pyro.sample("loc", dist.Normal(torch.tensor([-2.0, 0.0, 2.0]), 1.0))
    emission = dist.Normal(loc, 0.7).log_prob(y[:, None])
    ahead = emission[0]
    for t in range(1, len(y)):
        ahead = torch.logsumexp(ahead[:, None] + transition.log(), 0) + emission[t]
    pyro.factor("y", torch.logsumexp(ahead, 0))


@config_enumerate
def markov(y: Tensor) -> None:
    """The same by enumeration."""
    transition = pyro.sample("transition", dist.Dirichlet(torch.ones(3, 3)).to_event(1))
    loc = pyro.sample("loc", dist.Normal(torch.tensor([-2.0, 0.0, 2.0]), 1.0).to_event(1))
    x: Any = 0
    for t in pyro.markov(range(len(y))):
        x = pyro.sample(f"x_{t}", dist.Categorical(transition[x]))
        pyro.sample(f"y_{t}", dist.Normal(loc[x], 0.7), obs=y[t])


MODELS = (independent, random_walk, written_in_place, forward_algorithm, markov)


@pytest.fixture(autouse=True)
def however_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LONG", 0)


def density_of(model: Callable[..., None], steps: int) -> LogDensity:
    y = torch.randn(steps, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    density = LogDensity(bind_model(model, bind(model, {"y": y})))
    assert density.vectorised
    return density


def rows_of(count: int, dim: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(count, dim, generator=generator, dtype=torch.float64)


def recorded(density: LogDensity, count: int = 4) -> Program:
    rows = rows_of(count, density.dim)
    return record(density._differentiated, rows, rows + 0.1)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("model", MODELS)
def test_a_folded_loop_is_the_loop(model: Callable[..., None], count: int) -> None:
    density = density_of(model, 16)
    program = recorded(density, count)
    rows = rows_of(count, density.dim, seed=2)
    expected = density._differentiated(rows)
    for ours, its in zip(program(rows), expected, strict=True):
        torch.testing.assert_close(ours, its, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("model", MODELS)
def test_second_derivatives_of_a_folded_loop_are_those_of_the_loop(
    model: Callable[..., None],
) -> None:
    density = density_of(model, 10)
    axes = rows_of(1, density.dim).repeat(density.dim, 1)
    program = record(density._hessian_rows, axes, axes + 0.1)
    rows = axes - 0.2
    torch.testing.assert_close(program(rows), density._hessian_rows(rows), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", [independent, random_walk])
def test_steps_that_do_not_wait_for_each_other_cost_no_operation_each(
    model: Callable[..., None],
) -> None:
    short, long = (recorded(density_of(model, steps)) for steps in (24, 48))
    assert len(long.steps) - len(short.steps) < 24  # it was more than twenty a step


def test_a_loop_costs_the_operations_that_wait_for_each_other() -> None:
    short, long = (recorded(density_of(forward_algorithm, steps)) for steps in (24, 48))
    # Forth: a sum, its log-sum-exp, another sum. Back: a product, its sum, another sum.
    assert len(long.steps) - len(short.steps) <= 6 * 24


def test_what_a_gradient_puts_at_each_index_costs_no_more_than_it_holds() -> None:
    short, long = (recorded(density_of(random_walk, steps)) for steps in (24, 48))
    assert long.work < 2.2 * short.work  # as dense matrices of zeros it was the square


@pytest.mark.parametrize("model", MODELS)
def test_a_folded_loop_takes_no_more_memory_than_is_bounded(model: Callable[..., None]) -> None:
    program = recorded(density_of(model, 16))
    assert program.size <= program.noted


def test_what_would_hold_too_much_if_folded_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    density = density_of(independent, 16)

    def refused(*_: Any) -> Any:
        raise recording.NotRecordableError

    folded = recorded(density)
    monkeypatch.setattr(folding.Folded, "__call__", refused)
    plain = recorded(density)
    assert len(plain.steps) > 2 * len(folded.steps)
    rows = rows_of(4, density.dim, seed=2)
    torch.testing.assert_close(plain(rows), folded(rows), rtol=1e-10, atol=1e-10)


def repeated_at_random(seed: int) -> Function:
    """Many steps, in each of which the same random operations are done to what came before."""

    def function(x: Tensor) -> tuple[Tensor, ...]:
        generator = random.Random(seed)
        recipe = [
            (generator.randrange(9), generator.random(), generator.random()) for _ in range(9)
        ]
        carried, seen = x[:, :3] * 0.5, [x[:, :3]]
        for step in range(20):
            held = [carried, x[:, step % 5, None].expand(-1, 3), x[:, :3] * (step + 1.0)]
            for what, one, other in recipe:
                first, second = held[int(one * len(held))], held[int(other * len(held))]
                held.append(_one_of(what, first, second, step))
            carried = carried * 0.9 + held[-1].tanh() if seed % 2 else held[0]
            seen.append(held[-1].tanh())
        summed = sum(seen[1:], seen[0])
        return summed, torch.stack(seen, 1)[:, ::2], carried + seen[7]

    return function


def _one_of(what: int, one: Tensor, other: Tensor, step: int) -> Tensor:
    if what < 4:
        return (one + other, one * other, one - other, one / (2 + other**2))[what]
    if what == 4:
        return torch.stack([one, other, one])[step % 3].flip(1)
    if what == 5:
        return one.exp().clamp(max=3.0).T.T
    if what == 6:
        fresh = one.clone()
        fresh[:, step % 2] += other[:, 0]
        return fresh
    if what == 7:
        return one.clone().mul_(other).add_(1.0)
    return torch.cat([one[:, 1:], other[:, :1]], 1)


@pytest.mark.parametrize("cached", [folding.CACHED, 12 * 9])
@pytest.mark.parametrize("seed", range(20))
def test_what_is_folded_is_the_function_it_was_recorded_from(
    seed: int, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "CACHED", cached)  # twenty steps, or nine of them, at once
    function = repeated_at_random(seed)
    one, other, third = (rows_of(4, 5, seed=seed + k) for k in range(3))
    program = record(function, one, other)
    for ours, its in zip(program(third), function(third), strict=True):
        torch.testing.assert_close(ours, its, rtol=1e-10, atol=1e-10)
