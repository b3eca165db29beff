"""Claims: a recording is the function at every point, and what cannot be one is refused."""

import random
import subprocess
import sys
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from posteriordb import POSTERIORS, posterior
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity, log_density, recording
from pyrovi.density.recording import EARLY, REPEATS, ROWS, VALUES, NotRecordableError, record


@pytest.mark.parametrize("name", POSTERIORS)
def test_the_recorded_density_is_the_density_to_the_last_bit(name: str) -> None:
    target = posterior(name)
    bound = bind_model(target.model, bind(target.model, {"data": target.data}))
    density, fresh = LogDensity(bound), LogDensity(bound)
    generator = torch.Generator().manual_seed(1)
    start = density.start(0)
    for _ in range(REPEATS + 2):
        rows = start + 0.1 * torch.randn(4, density.dim, generator=generator, dtype=start.dtype)
        value, gradient = density.value_and_gradient(rows)
        expected, expected_gradient = fresh._differentiated(rows)
        assert torch.equal(value, expected)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=0.0)
    # What is a long loop is recorded once for all small numbers of rows.
    assert {"gradient"} == {kind for kind, _ in density.recordings.made} - {"value"}


def test_a_function_that_draws_random_numbers_is_refused() -> None:
    with pytest.raises(NotRecordableError, match="random"):
        record(lambda x: (x + torch.rand(2),), torch.zeros(2), torch.ones(2))


def test_a_function_that_branches_on_its_input_is_refused() -> None:
    def branches(x: Tensor) -> tuple[Tensor]:
        return (x if float(x.sum()) < 1 else -x,)

    with pytest.raises(NotRecordableError):
        record(branches, torch.zeros(2), torch.ones(2))


def test_a_function_that_is_another_at_another_point_is_refused() -> None:
    calls = []

    def counts(x: Tensor) -> tuple[Tensor]:
        calls.append(x)
        return (x * len(calls),)

    with pytest.raises(NotRecordableError, match="another point"):
        record(counts, torch.ones(2), 2 * torch.ones(2))


def test_what_is_changed_in_place_is_no_constant() -> None:
    def counts(x: Tensor) -> tuple[Tensor]:
        held = torch.zeros(2)
        held.add_(x)
        return (held.clone(),)

    again = record(counts, torch.ones(2), 2 * torch.ones(2))
    first, second = again(torch.full((2,), 3.0)), again(torch.full((2,), 3.0))
    assert torch.equal(first[0], torch.full((2,), 3.0))
    assert torch.equal(first[0], second[0])


def recursion(y: Tensor) -> None:
    """An autoregression with a loop over time, as users write it."""
    slope = pyro.sample("slope", dist.Normal(0.0, 0.5))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    level, total = torch.tensor(0.0), torch.tensor(0.0)
    for each in y:
        level = 0.3 * level + slope * torch.tanh(each - level)
        total = total + dist.Normal(level, scale).log_prob(each)
    pyro.factor("likelihood", total)


def long_densities() -> tuple[LogDensity, LogDensity]:
    """Twice the density of the same long loop."""
    y = torch.randn(150, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    bound = bind_model(recursion, bind(recursion, {"y": y}))
    return LogDensity(bound), LogDensity(bound)


def test_a_recording_of_one_row_is_not_run_for_each_of_many() -> None:
    recordings = recording.Recordings(lambda: 10_000)
    recordings.made = {("gradient", size): object() for size in (1, 64)}  # pyright: ignore[reportAttributeAccessIssue]
    assert recordings._nearest("gradient", 512) == 64  # and not 512 times one
    assert recordings._nearest("gradient", 5) == 1
    assert recordings._nearest("gradient", 10_000) == 0
    del recordings.made["gradient", 64]
    assert recordings._nearest("gradient", 512) == 0


def normals(count: int) -> Tensor:
    """So many rows."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 2, generator=generator, dtype=torch.float64)


def test_one_recording_of_a_long_loop_serves_any_few_rows() -> None:
    density, fresh = long_densities()
    generator = torch.Generator().manual_seed(1)
    for count in (8, 1, 64, 3, 100):
        rows = torch.randn(count, 2, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(
            density.value_and_gradient(rows), fresh._differentiated(rows), rtol=1e-10, atol=1e-10
        )
        torch.testing.assert_close(density.log_prob(rows), fresh._values(rows))
    assert list(density.recordings.made) == [
        (kind, size) for size in ROWS for kind in ("gradient", "value")
    ]


def test_points_that_a_recording_takes_do_not_count_as_evaluated() -> None:
    density, _ = long_densities()  # a search for a mode ends after so many evaluations
    for _ in range(EARLY + 3):
        density.value_and_gradient(torch.zeros(1, 2, dtype=torch.float64))
    assert density.recordings.made
    assert density.evaluations == EARLY + 3


def of_counts() -> tuple[LogDensity, LogDensity]:
    """Twice the density of a hierarchy of counts, which is short."""

    def counts(y: Tensor) -> None:
        mu, tau = (
            pyro.sample("mu", dist.Normal(0.0, 2.0)),
            pyro.sample("tau", dist.HalfNormal(1.0)),
        )
        with pyro.plate("group", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Poisson(torch.exp(mu + tau * z)), obs=y)

    bound = bind_model(counts, bind(counts, {"y": torch.tensor([0.0, 1.0, 4.0, 2.0])}))
    return LogDensity(bound), LogDensity(bound)


@pytest.mark.parametrize(("rows", "served"), [(1, False), (2, True), (5, True), (7, True)])
def test_a_recording_serves_other_numbers_of_rows_where_few_are_for_nothing(
    rows: int, served: bool
) -> None:
    density, fresh = of_counts()
    many = torch.randn(7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for _ in range(REPEATS):
        density.value_and_gradient(many[:4])
    before = density.recordings.of("gradient", density._differentiated, many[:rows])
    assert (before is not None) == served
    for ours, expected in zip(
        density.value_and_gradient(many[:rows]), fresh._differentiated(many[:rows]), strict=True
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    assert list(density.recordings.made) == [("gradient", 4)]


def test_recorded_products_and_terms_are_those_of_the_density() -> None:
    density, fresh = of_counts()
    entries, draws = torch.tensor([0, 2, 3, 4, 5]), torch.Generator().manual_seed(2)
    directions = torch.randn(3, 5, generator=draws, dtype=torch.float64)
    for _ in range(REPEATS + 2):
        rows = torch.randn(6, 6, generator=draws, dtype=torch.float64)
        products = density.hessian_products(rows, entries, directions)
        terms = density.explain(rows)
    own = fresh.hessian(rows)[:, entries][:, :, entries]
    torch.testing.assert_close(products, directions @ own, rtol=1e-10, atol=1e-10)
    expected = fresh.explain(rows)
    assert terms.keys() == expected.keys()
    assert all(torch.allclose(terms[key], expected[key], rtol=1e-12) for key in terms)
    kinds = {kind if isinstance(kind, str) else kind[0] for kind, _ in density.recordings.made}  # pyright: ignore[reportIndexIssue]
    assert kinds == {"products", "explain"}


def test_more_rows_than_fit_go_through_a_long_recording_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    density, fresh = long_densities()
    monkeypatch.setattr(log_density, "RECORDED_ENTRIES", 150 * density.entries)
    rows = normals(250)
    for _ in range(2 * EARLY + 1):
        density.value_and_gradient(rows)
    assert ("gradient", 150) in density.recordings.made
    torch.testing.assert_close(density.value_and_gradient(rows), fresh._differentiated(rows))


def test_rows_that_would_hold_too_much_are_recorded_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    density, fresh = long_densities()
    few = normals(5)
    for _ in range(EARLY + 1):
        density.value_and_gradient(few)
    held = density.recordings.made["gradient", ROWS[0]].noted
    # nine times as many rows, and no more
    monkeypatch.setattr(recording, "RECORDED_BYTES", 9 * held + 1)
    rows = few.repeat(54, 1)
    for _ in range(EARLY + 1):
        density.value_and_gradient(rows)
    assert ("gradient", 9 * ROWS[0]) in density.recordings.made
    torch.testing.assert_close(density.value_and_gradient(rows), fresh._differentiated(rows))


def test_second_derivatives_of_a_long_loop_are_differences_of_its_recorded_gradient() -> None:
    density, fresh = long_densities()
    rows = normals(3)
    for _ in range(EARLY):
        density.value_and_gradient(rows)
    ours, its = density.hessian(rows), fresh.hessian(rows)
    assert "hessian" not in {kind for kind, _ in density.recordings.made}
    torch.testing.assert_close(ours, its, rtol=1e-5, atol=1e-5)


def test_values_of_a_long_loop_are_recorded_with_its_gradient_and_take_less_work() -> None:
    density, fresh = long_densities()
    rows = normals(ROWS[0])
    for _ in range(EARLY):
        density.value_and_gradient(rows)
    made = density.recordings.made
    assert list(made) == [("gradient", ROWS[0]), ("value", ROWS[0])]
    assert made["value", ROWS[0]].work < made["gradient", ROWS[0]].work / 2
    torch.testing.assert_close(density.log_prob(rows), fresh._values(rows))


def test_a_gradient_that_is_recorded_where_values_are_asked_for_is_no_zero() -> None:
    density, fresh = long_densities()
    rows = normals(4)
    density.value_and_gradient(rows)
    density.check_gradient(rows[0])  # asks for values, without differentiating
    with torch.no_grad():
        for _ in range(EARLY):
            density.log_prob(rows)
    assert ("gradient", ROWS[0]) in density.recordings.made
    torch.testing.assert_close(density.value_and_gradient(rows), fresh._differentiated(rows))


def test_what_cannot_be_recorded_for_many_rows_goes_through_the_recording_of_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    density, fresh = long_densities()
    rows = normals(60)
    for _ in range(EARLY + 1):
        density.value_and_gradient(rows[:3])

    def refused(*_: Any) -> None:
        raise NotRecordableError

    monkeypatch.setattr(density.recordings, "_make", refused)
    for _ in range(EARLY):
        density.value_and_gradient(rows)
    monkeypatch.setattr(density, "_differentiated", refused)  # each operation by itself
    torch.testing.assert_close(density.value_and_gradient(rows), fresh._differentiated(rows))


def test_values_are_recorded_for_more_rows_than_gradients_once_many_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    density, fresh = long_densities()
    rows = normals(600)
    for _ in range(EARLY):
        density.value_and_gradient(rows[: ROWS[0]])
    held = density.recordings.made["gradient", ROWS[0]].noted
    monkeypatch.setattr(recording, "RECORDED_BYTES", 2 * held)  # of gradients, twice as many rows
    for _ in range(EARLY):
        density.log_prob(rows)
    assert {size for _, size in density.recordings.made} == {ROWS[0], 2 * ROWS[0]}
    for _ in range(VALUES):
        density.log_prob(rows[: ROWS[0]])
    torch.testing.assert_close(density.log_prob(rows), fresh._values(rows))
    assert max(size for kind, size in density.recordings.made if kind == "value") > 2 * ROWS[0]


def at_random(seed: int) -> Any:
    """A function of views, doubles, things unused and things changed in place, at random."""

    def function(x: Tensor) -> tuple[Tensor, ...]:
        generator = random.Random(seed)
        held, constant = [x, x * 2, x * 2], torch.linspace(0, 1, x.shape[1], dtype=x.dtype)
        for _ in range(60):
            one, other = generator.choice(held), generator.choice(held)
            what = generator.randrange(8)
            if what < 4:
                held.append((one + other, one * other, one - constant, one / (2 + other**2))[what])
            elif what == 4:
                held.append(torch.stack([one, other, one])[generator.randrange(3)].flip(1))
            elif what == 5:
                held.append(one.exp().clamp(max=3.0).T.T)
            elif what == 6:
                fresh = one.clone()
                fresh[:, generator.randrange(2)] += other[:, 0]
                held.append(fresh)
            else:
                held.append(torch.where(one > other, one.sum(0), other).tanh())
        return held[-1], held[generator.randrange(3, len(held))]

    return function


@pytest.mark.parametrize("seed", range(25))
def test_a_program_is_the_function_it_was_recorded_from(seed: int) -> None:
    function, generator = at_random(seed), torch.Generator().manual_seed(seed)
    one, other, third = torch.randn(3, 5, 3, generator=generator, dtype=torch.float64).unbind(0)
    program = record(function, one, other)
    for point in (third, one, third):
        for ours, its in zip(program(point), function(point), strict=True):
            torch.testing.assert_close(ours, its, rtol=0.0, atol=0.0, equal_nan=True)


def test_what_is_worked_out_twice_or_for_nothing_is_done_once_or_not() -> None:
    def wasteful(x: Tensor) -> tuple[Tensor]:
        _ = x.exp()
        return ((x * 3).T + (x * torch.tensor(3.0, dtype=x.dtype)).T * (x * 3).T,)

    program = record(wasteful, torch.ones(2, 2).double(), torch.zeros(2, 2).double())
    assert len(program.steps) == 4  # the product by a number, by a tensor, their product, the sum


def test_the_memory_of_what_is_done_is_taken_again() -> None:
    def chain(x: Tensor) -> tuple[Tensor]:
        for _ in range(500):
            x = (x * 0.9).T.contiguous() + 0.1
        return (x,)

    point = torch.ones(10, 10, dtype=torch.float64)
    program = record(chain, point, 2 * point)
    assert program.size <= 5 * point.nbytes


def test_what_is_stacked_is_written_where_it_is_to_lie() -> None:
    def carried(x: Tensor) -> tuple[Tensor, ...]:
        each = [x.exp()]
        for _ in range(11):
            each.append((each[-1] * 1.5).tanh())
        stacked = torch.stack([*each, x])
        return stacked.cos(), each[3] + each[-1], torch.stack(each[::2])

    one, other, third = (torch.full((5,), value).double() for value in (0.2, 0.5, -1.0))
    program = record(carried, one, other)
    # 23 of the loop, a copy of what is no result, the cosine, the sum, and a stack of its own.
    assert len(program.steps) == 27
    for point in (third, one):
        for ours, its in zip(program(point), carried(point), strict=True):
            assert torch.equal(ours, its)


def test_memory_that_torch_would_move_stays_where_it_is() -> None:
    place = record(lambda x: (x + 1.0,), torch.ones(2).double(), torch.zeros(2).double())._outputs[
        0
    ]
    with pytest.raises(RuntimeError, match="resiz"):
        torch.cumsum(torch.ones(100, dtype=torch.float64), 0, out=place)


def test_what_holds_too_much_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "RECORDED_BYTES", 1000)
    with pytest.raises(NotRecordableError, match="1000 bytes"):
        record(lambda x: (x.exp().sum(),), torch.ones(400), torch.zeros(400))


def test_a_fit_never_loads_torchs_compiler() -> None:
    # A second of a first fit's time, where it was met before: torch.optim and dispatch modes; and
    # most of one for SymPy, by gradients along directions that are given to torch.
    code = """
import sys, torch, pyro, pyro.distributions as dist, pyrovi as vi
def model(y):
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    with pyro.plate("group", len(y)):
        x = pyro.sample("x", dist.Normal(0.0, tau))
        pyro.sample("y", dist.Poisson(torch.exp(x)), obs=y)
fit = vi.fit(model, {"y": torch.arange(12.0)}, seed=0)
assert fit.rungs[0].engine == "NestedLaplace()"
sys.exit(not {"torch._dynamo", "sympy", "scipy.interpolate"}.isdisjoint(sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
