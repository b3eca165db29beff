"""Many draws in one run are those of as many runs, or the model is run draw by draw."""

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch import Tensor

from pyrovi.bound import (
    Arguments,
    at_once_or_each,
    bind_model,
    carries_draws,
    predictions,
    prior_draws,
)
from pyrovi.bound.noise import OwnNoise
from pyrovi.bound.runs import _Runs
from pyrovi.seeds import isolated

Y = torch.zeros(4, dtype=torch.float64)
WEIGHTS = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def made_for_many(y: Tensor) -> None:
    weights = pyro.sample("weights", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    total = pyro.deterministic("total", weights.sum(-1), event_dim=0)
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(total, 1e-3), obs=y)


def made_for_one(y: Tensor) -> None:
    """Its sum is over all draws at once, where there are many: no error, and wrong."""
    weights = pyro.sample("weights", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    total = pyro.deterministic("total", weights.sum())
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(total, 1e-3), obs=y)


@pytest.mark.parametrize("model", [made_for_many, made_for_one])
def test_predictions_are_each_draws_own(model: Any) -> None:
    bound = bind_model(model, Arguments(kwargs={"y": Y}))
    drawn = predictions(bound, {"weights": WEIGHTS}, seed=0)
    torch.testing.assert_close(drawn["total"], WEIGHTS.sum(-1))
    torch.testing.assert_close(drawn["y"].mean(-1), WEIGHTS.sum(-1), atol=0.01, rtol=0.0)


def regression(x: Tensor, y: Tensor) -> None:
    """As users write it: draws left of all plates do not multiply with ``x``."""
    slopes = pyro.sample("slopes", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(x @ slopes, 1e-3), obs=y)


def regression_and_noise(x: Tensor, y: Tensor) -> None:
    """A tensor that is filled in place is one for all draws under vmap."""
    noise = torch.empty(2, dtype=torch.float64)
    noise.normal_()
    slopes = pyro.sample("slopes", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(x @ slopes + 1e-6 * noise.sum(), 1e-3), obs=y)


@pytest.mark.parametrize(("model", "at_once"), [(regression, True), (regression_and_noise, False)])
def test_a_model_that_multiplies_matrices_is_run_for_all_draws_at_once(
    model: Any, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    alone = _Runs._alone
    monkeypatch.setattr(_Runs, "_alone", lambda *given: taken.append(1) or alone(*given))
    x = torch.randn(7, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    bound = bind_model(model, Arguments(kwargs={"x": x, "y": torch.zeros(7).double()}))
    slopes = WEIGHTS.repeat(4, 1)
    drawn = predictions(bound, {"slopes": slopes}, seed=0)["y"]
    error = drawn - slopes @ x.T
    assert error.abs().max() < 6e-3
    assert len(error.unique()) == error.numel()
    prior = prior_draws(bound, 20, seed=0)
    assert (prior["y"] - prior["slopes"] @ x.T).abs().max() < 6e-3
    assert len(prior["slopes"].unique()) == 40
    assert (len(taken) < 20) == at_once


def test_noise_that_fills_a_tensor_is_of_the_same_distribution_for_each_row() -> None:
    fresh = lambda: torch.empty(3, dtype=torch.float64)  # noqa: E731
    fills = {
        "norm": lambda _: fresh().normal_(),
        "uniform": lambda _: fresh().uniform_(),
        "expon": lambda _: fresh().exponential_(),
        "cauchy": lambda _: fresh().cauchy_(),
    }
    for name, fill in fills.items():
        with isolated(0), OwnNoise():
            noise = torch.func.vmap(fill, randomness="different")(torch.arange(2000))
        assert len(noise.unique()) == 6000
        assert stats.kstest(noise.ravel().numpy(), name).pvalue > 2e-5


@pytest.mark.parametrize("model", [made_for_many, made_for_one])
def test_prior_draws_hang_together(model: Any) -> None:
    drawn = prior_draws(bind_model(model, Arguments(kwargs={"y": Y})), 6, seed=0)
    torch.testing.assert_close(drawn["total"], drawn["weights"].sum(-1))
    assert len(drawn["total"].unique()) == 6


def test_a_model_that_sums_over_its_draws_carries_no_others() -> None:
    many, one = (bind_model(m, Arguments(kwargs={"y": Y})) for m in (made_for_many, made_for_one))
    assert carries_draws(many)
    assert not carries_draws(one)


# ------------------------------------------------------------------------- at once, or each


def each(row: int) -> dict[str, Tensor]:
    return {"row": torch.tensor(row)}


def test_rows_are_taken_at_once_where_that_works() -> None:
    both = at_once_or_each(lambda: {"row": torch.tensor([7, 8])}, each, range(2))
    assert both["row"].tolist() == [7, 8]


@pytest.mark.parametrize("together", [None, lambda: None, lambda: {}["row"]])
def test_rows_are_taken_one_by_one_where_it_does_not(together: Any) -> None:
    rows = at_once_or_each(together, each, range(3), failures=KeyError)
    assert rows["row"].tolist() == [0, 1, 2]


def test_an_error_that_was_not_to_be_expected_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        at_once_or_each(lambda: each(1 // 0), each, range(3), failures=KeyError)
