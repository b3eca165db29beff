"""Models as people write them are run for many points at once, or a note says what to write."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyrovi.bound import Arguments, bind_model
from pyrovi.density import LogDensity

Y = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64)
SEEN = torch.tensor([True, False, True, True, False, True])
GROUP = torch.tensor([0, 0, 1, 1, 2, 2])
Idiom = Callable[[Tensor], Tensor]  # from three latent numbers to six means


def transposed(x: Tensor) -> Tensor:
    matrix = torch.stack([x, x * 2])
    return (matrix.T @ matrix).reshape(-1)[:6]


def scalars_joined(x: Tensor) -> Tensor:
    return torch.cat([x[0].reshape(1), x[1].unsqueeze(0), torch.zeros(1)])[GROUP]


def selected_by_data(x: Tensor) -> Tensor:
    return torch.cat([x[GROUP][SEEN], x[:2]])


def written_where_data_say(x: Tensor) -> Tensor:
    mean = torch.zeros(6)
    mean[SEEN] = x[0]
    mean[~SEEN] = x[1:]
    return mean


def written_group_by_group(x: Tensor) -> Tensor:
    mean = torch.zeros(6)
    for group in range(3):
        mean[group == GROUP] += x[group]
    return mean


def imputed(x: Tensor) -> Tensor:
    values = Y.clone()
    values[~SEEN] = x[:2]
    return values


def written_where_latent_values_say(x: Tensor) -> Tensor:
    mean = x.clone()
    mean[x < 0] = 0.0
    mean[x > 0.1] = x.sum()
    return mean[GROUP]


def filled_in_a_loop(x: Tensor) -> Tensor:
    mean = torch.empty(6)
    mean[0] = x[0]
    for step in range(1, 6):
        mean[step] = 0.5 * mean[step - 1] + x[1]
    return mean


def filled_through_a_view(x: Tensor) -> Tensor:
    table = torch.zeros(2, 3)
    for row in range(2):
        for column in range(3):
            table[row][column] = x[column] * row
    return table.reshape(-1)


def summed_in_place(x: Tensor) -> Tensor:
    total, mean = torch.tensor(0.0), torch.zeros(6)
    for each in x:
        total += each
    mean += x[GROUP]
    mean *= 2
    return mean + total


def residual_in_place(x: Tensor) -> Tensor:
    residual = Y * 2.0
    residual -= x[GROUP]
    return residual


def added_by_index(x: Tensor) -> Tensor:
    total = torch.zeros(3)
    total.scatter_add_(0, GROUP, x[GROUP])
    return total[GROUP]


def integrated(x: Tensor) -> Tensor:
    state, seen = torch.tensor([1.0, 0.0]), torch.zeros(6)
    for step in range(6):
        slope = torch.zeros(2)
        slope[0] = -x[0].exp() * state[0]
        slope[1] = x[0].exp() * state[0] - x[1].exp() * state[1]
        state = state + 0.1 * slope
        seen[step] = state[1]
    return seen


def branched(x: Tensor) -> Tensor:
    return (x[1] if x[0] > 0 else x[2]).expand(6)


def counted(x: Tensor) -> Tensor:
    total = x[1]
    for _ in range(int(x[0].abs() * 9)):
        total = total + x[2]
    return total.expand(6)


def larger_of_two(x: Tensor) -> Tensor:
    return max(x[0], x[1]).expand(6)


def asserted(x: Tensor) -> Tensor:
    assert (x.exp() > 0).all()
    return x[GROUP]


def sign_taken_out(x: Tensor) -> Tensor:
    return x[GROUP] * (x[0] > 0).item()


def data_attribute(x: Tensor) -> Tensor:
    return (x / (1 + x.data.abs().max()))[GROUP]


def covariance_filled(x: Tensor) -> Tensor:
    cov = torch.eye(2)
    cov[0, 1] = cov[1, 0] = x[0].tanh() / 2
    return torch.linalg.cholesky(cov).reshape(-1)[[0, 0, 2, 2, 3, 3]]


WORK: list[Idiom] = [
    transposed,
    scalars_joined,
    selected_by_data,
    written_where_data_say,
    written_group_by_group,
    imputed,
    written_where_latent_values_say,
    filled_in_a_loop,
    filled_through_a_view,
    summed_in_place,
    residual_in_place,
    added_by_index,
    integrated,
    branched,
    counted,
    larger_of_two,
    asserted,
    sign_taken_out,
    data_attribute,
    covariance_filled,
]


def density_of(idiom: Idiom) -> tuple[LogDensity, list[int]]:
    """The density of a model, and a list that grows with its runs."""
    runs: list[int] = []

    def model() -> None:
        runs.append(1)
        x = pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("y", dist.Normal(idiom(x), 1.0).to_event(1), obs=Y)

    return LogDensity(bind_model(model, Arguments())), runs


def points(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("idiom", WORK, ids=lambda f: f.__name__)
def test_at_many_points_at_once_it_is_what_it_is_at_each(idiom: Idiom) -> None:
    density, runs = density_of(idiom)
    assert density.vectorised
    assert not density.notes
    density.value_and_gradient(points(40))
    runs.clear()
    together = density.value_and_gradient(points(40))
    assert len(runs) < 40
    density.vectorised = False
    looped = density.value_and_gradient(points(40))
    torch.testing.assert_close(together, looped, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("idiom", [branched, counted, larger_of_two], ids=lambda f: f.__name__)
def test_points_that_take_different_ways_are_never_replayed_as_one(idiom: Idiom) -> None:
    density, _ = density_of(idiom)
    for _ in range(25):  # what is asked for often is recorded, if it can be
        value, _ = density.value_and_gradient(points(2))
        density.value_and_gradient(-points(2))
    density.vectorised = False
    torch.testing.assert_close(value, density.value_and_gradient(points(2))[0])


def test_two_ways_are_three_runs() -> None:
    density, runs = density_of(branched)
    assert density.vectorised
    runs.clear()
    density.log_prob(points(500))
    assert len(runs) == 3  # the first finds out that there are two


def test_points_that_all_take_ways_of_their_own_go_one_by_one() -> None:
    def scattering(x: Tensor) -> Tensor:
        total = x[0] * 0
        for step in range(10):
            total = total + (x[1] if torch.sin(2**step * x[0]) > 0 else x[2])
        return total.expand(6)

    density, runs = density_of(scattering)
    assert density.vectorised
    runs.clear()
    value = density.log_prob(points(80))
    assert len(runs) < 160
    density.vectorised = False
    torch.testing.assert_close(value, density.log_prob(points(80)))


def test_the_hessian_and_the_parts_follow_the_ways_too() -> None:
    density, _ = density_of(branched)
    hessian, parts = density.hessian(points(4)), density.explain(points(4))
    density.vectorised = False
    torch.testing.assert_close(hessian, density.hessian(points(4)))
    torch.testing.assert_close(parts, density.explain(points(4)))


def test_a_point_that_the_model_refuses_spoils_no_other() -> None:
    def refusing(x: Tensor) -> Tensor:
        if torch.any(x > 1):
            raise ValueError("too large")
        return x[GROUP]

    density, _ = density_of(refusing)
    assert density.vectorised
    value = density.log_prob(points(40))
    assert torch.equal(value.isneginf(), (points(40) > 1).any(-1))


def test_only_where_it_is_written_to_is_a_tensor_made_for_each_point() -> None:
    """A large one that is the same for all stays one."""
    sizes = []

    def frugal(x: Tensor) -> Tensor:
        same = torch.ones(1000)
        mean = torch.zeros(6)
        mean[:3] = x
        sizes.append(torch.func.debug_unwrap(same * 2).numel())
        return mean

    density, _ = density_of(frugal)
    assert density.vectorised
    density.log_prob(points(40))
    assert sizes[-1] == 1000


# ------------------------------------------------------------------------------- notes


def number_taken_out(x: Tensor) -> Tensor:
    scale = x[0].item()
    return x[GROUP] * scale


def by_math(x: Tensor) -> Tensor:
    return x[GROUP] * math.exp(x[0])


def by_numpy(x: Tensor) -> Tensor:
    return x[GROUP] * float(np.exp(x[0].detach().numpy()))


def copied(x: Tensor) -> Tensor:
    return torch.tensor([x[0], x[1], x[2]])[GROUP]


def selected_by_latent_values(x: Tensor) -> Tensor:
    return x[x > 0].sum().expand(6)


OUTSIDE = torch.zeros(6, dtype=torch.float64)


def written_into_data(x: Tensor) -> Tensor:
    OUTSIDE[:3] = x
    return OUTSIDE.clone()


def random(x: Tensor) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return x[GROUP] + torch.randn(6)


NOTES: list[tuple[Idiom, str, str]] = [
    (number_taken_out, "scale = x[0].item()", "torch's functions"),
    (by_math, "return x[GROUP] * math.exp(x[0])", "torch's functions"),
    (by_numpy, "return x[GROUP] * float(np.exp(x[0].detach().numpy()))", ".numpy()"),
    (copied, "return torch.tensor([x[0], x[1], x[2]])[GROUP]", "torch.stack"),
    (selected_by_latent_values, "return x[x > 0].sum().expand(6)", "torch.where"),
    (written_into_data, "OUTSIDE[:3] = x", ".clone()"),
    (random, "return x[GROUP] + torch.randn(6)", "before the model"),
]


@pytest.mark.parametrize(
    ("idiom", "code", "advice"), NOTES, ids=lambda f: getattr(f, "__name__", "")
)
def test_what_nothing_helps_with_is_named_with_its_line_and_what_to_write(
    idiom: Any, code: str, advice: str
) -> None:
    density, _ = density_of(idiom)
    assert not density.vectorised
    (note,) = density.notes
    line = f"{idiom.__code__.co_filename.rpartition('/')[2]}:"
    assert line in note
    assert f"({code})" in note
    assert advice in note
    assert "vmap" not in note


def test_where_the_line_is_none_of_the_users_the_note_names_the_site() -> None:
    class OneByOne(dist.Normal):
        def log_prob(self, value: Tensor) -> Tensor:
            return torch.linalg.eig(self.loc.expand(2, 2))[0].real.sum() * float(self.loc)

    OneByOne.log_prob.__code__ = OneByOne.log_prob.__code__.replace(
        co_filename=torch.__file__  # as if it were a library's
    )

    def model() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", OneByOne(x, 1.0), obs=torch.tensor(0.5))

    density = LogDensity(bind_model(model, Arguments()))
    assert not density.vectorised
    assert any("the density of site 'y' (OneByOne)" in note for note in density.notes)
