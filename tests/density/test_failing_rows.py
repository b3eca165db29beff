"""A point where the model fails spoils no other point of its batch, and costs no single runs."""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyrovi.bound import Arguments, bind_model
from pyrovi.density import LogDensity
from pyrovi.errors import ModelError


def density_of(likelihood: Callable[[Tensor], Tensor]) -> tuple[LogDensity, list[int]]:
    """A standard normal x and a factor, and the shapes of x in the runs of the model."""
    runs: list[int] = []

    def model() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        runs.append(1)
        pyro.factor("y", likelihood(x))

    return LogDensity(bind_model(model, Arguments())), runs


def by_cholesky(x: Tensor) -> Tensor:
    return torch.linalg.cholesky(torch.eye(2) * (1 - x)).diagonal().log().sum()


def by_inverse(x: Tensor) -> Tensor:
    return torch.linalg.inv(torch.eye(2) * (3 - x).clamp(min=0.0)).sum()


def by_solving(x: Tensor) -> Tensor:
    return torch.linalg.solve(torch.eye(2) * (3 - x).clamp(min=0.0), torch.ones(2)).sum()


def by_eigenvalues(x: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(torch.eye(3) * (1 - x).sqrt()).sum()


def by_inverse_method(x: Tensor) -> Tensor:
    return (torch.eye(2) * (3 - x).clamp(min=0.0)).inverse().sum()


FAILING = [by_cholesky, by_inverse, by_solving, by_eigenvalues, by_inverse_method]


def points(count: int, failing: tuple[int, ...]) -> Tensor:
    rows = torch.linspace(-2.0, 0.9, count, dtype=torch.float64)[:, None]
    rows[list(failing)] = 3.0
    return rows


@pytest.mark.parametrize("likelihood", FAILING, ids=lambda f: f.__name__)
def test_where_it_fails_the_density_is_zero_and_elsewhere_as_if_alone(
    likelihood: Callable[[Tensor], Tensor],
) -> None:
    density, _ = density_of(likelihood)
    rows = points(16, failing=(3, 10))
    value, gradient = density.value_and_gradient(rows)
    density.vectorised = False
    alone, slope = density.value_and_gradient(rows)
    torch.testing.assert_close(value, alone)
    good = value.isfinite()
    assert (~good).nonzero().flatten().tolist() == [3, 10]
    assert value[~good].tolist() == [-math.inf] * 2
    torch.testing.assert_close(gradient[good], slope[good])


@pytest.mark.parametrize("likelihood", FAILING[:3], ids=lambda f: f.__name__)
def test_a_factorisation_that_fails_costs_no_further_run(
    likelihood: Callable[[Tensor], Tensor],
) -> None:
    density, runs = density_of(likelihood)
    assert density.vectorised
    runs.clear()
    density.log_prob(points(64, failing=(3, 10, 40)))
    assert len(runs) == 1


def test_what_fails_as_a_whole_is_bisected() -> None:
    density, runs = density_of(by_eigenvalues)
    assert density.vectorised
    runs.clear()
    density.log_prob(points(64, failing=(10,)))
    assert len(runs) <= 2 * 6 + 2


def test_parts_of_a_failing_batch_are_not_numbers_there_alone() -> None:
    density, _ = density_of(by_cholesky)
    parts = density.explain(points(6, failing=(2,)))
    assert parts["log_joint"].isnan().tolist() == [False, False, True, False, False, False]


def test_a_looped_model_may_fail_by_arithmetic() -> None:
    density, _ = density_of(lambda x: torch.tensor(math.log(1 - x.item())))
    value = density.log_prob(torch.tensor([[0.0], [1.0], [0.5]], dtype=torch.float64))
    assert value.isfinite().tolist() == [True, False, True]
    density, _ = density_of(lambda x: x + 1 / int(x < 1))
    value = density.log_prob(torch.tensor([[0.0], [1.0], [0.5]], dtype=torch.float64))
    assert value.isfinite().tolist() == [True, False, True]


def narrow(x: Tensor) -> Tensor:
    """A factor that works between 4 and 6 alone, and is not one number at two points near 0."""
    return torch.linalg.eigvalsh(torch.eye(3) * (1 - (x - 5).square()).sqrt()).sum()


def test_a_model_that_fails_at_the_points_first_tried_is_vectorised_all_the_same() -> None:
    def model() -> None:
        x = pyro.sample("x", dist.Normal(5.0, 0.1))
        pyro.factor("y", narrow(x))

    density = LogDensity(bind_model(model, Arguments()))
    assert density.vectorised
    assert not density.notes


def test_a_model_that_works_elsewhere_alone_is_compared_there() -> None:
    """Near zero both ways give NaN; near the prior's own draws they differ."""
    runs = []

    def model() -> None:
        x = pyro.sample("x", dist.Normal(5.0, 0.1))
        runs.append(x)
        pyro.factor("y", (x - 4).sqrt() * len(runs))

    assert not LogDensity(bind_model(model, Arguments())).vectorised


@pytest.mark.parametrize("vectorised", [True, False])
def test_a_model_that_fails_everywhere_is_one_clear_error(vectorised: bool) -> None:
    """Of the first point, what the model says of itself."""
    shift = {"by": 0.0}

    def model() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        factor = torch.linalg.cholesky(torch.eye(2) * (100.0 + x - shift["by"]))
        pyro.factor("y", factor.sum())

    density = LogDensity(bind_model(model, Arguments()))
    shift["by"] = 1e9  # no later run works, as those did that told its sites
    density.vectorised = vectorised
    with pytest.raises(ModelError, match=r"at each of 100 starting points.*not positive-definite"):
        density.start(seed=0)
