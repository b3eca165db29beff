"""Many draws in one run are those of as many runs, or the model is run draw by draw."""

from typing import Any

import numpy as np
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
    discrete_draws,
    predictions,
    prior_draws,
    runs as runs_of_models,
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


@pytest.mark.parametrize("entries", [1, 8, 12])
def test_predictions_of_draws_that_do_not_fit_one_run_are_in_order(
    entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        runs_of_models, "OF_A_SITE", entries
    )  # one, two or three draws of four rows
    bound = bind_model(made_for_many, Arguments(kwargs={"y": Y}))
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


# ------------------------------------------------------------------------- carried by vmap


def counted(model: Any) -> tuple[Any, list[int]]:
    """The model, and a list that grows by one at each of its runs."""
    runs: list[int] = []

    def run(**kwargs: Any) -> None:
        runs.append(1)
        model(**kwargs)

    return run, runs


def transposes(y: Tensor) -> None:
    """Indexed by its first axis, as if there were one draw; its priors are drawn in place."""
    chances = pyro.sample("chances", dist.Dirichlet(torch.ones(3, 3)).to_event(1))
    scale = pyro.sample("scale", dist.HalfCauchy(1.0))
    pyro.sample("rate", dist.Exponential(2.0))
    pyro.sample("shift", dist.Laplace(3.0, 2.0))
    state = pyro.sample("state", dist.Categorical(torch.ones(3)))
    pyro.sample("next", dist.Categorical(chances[state]))
    pyro.deterministic("row", chances[state])
    pyro.sample("y", dist.Normal(torch.zeros(4), scale).to_event(1), obs=y)


def test_what_fits_no_plate_of_draws_is_carried_through_few_runs() -> None:
    model, runs = counted(transposes)
    bound = bind_model(model, Arguments(kwargs={"y": Y}))
    assert bound.prototype is not None
    runs.clear()
    drawn = prior_draws(bound, 2000, seed=0)
    assert len(runs) < 20
    torch.testing.assert_close(drawn["row"], drawn["chances"][torch.arange(2000), drawn["state"]])
    # Medians of a half Cauchy, an exponential of rate 2, a Laplace; each within 5 standard errors.
    assert abs(float((drawn["scale"] < 1.0).double().mean()) - 0.5) < 0.06
    assert abs(float((drawn["rate"] < 0.5 * np.log(2)).double().mean()) - 0.5) < 0.06
    assert abs(float((drawn["shift"] < 3 - 2 * np.log(2)).double().mean()) - 0.25) < 0.05


def test_discrete_sites_of_such_a_model_are_drawn_given_the_data() -> None:
    def mixture(y: Tensor) -> None:
        locs = pyro.sample("locs", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        state = pyro.sample("state", dist.Categorical(torch.ones(3)))
        pyro.sample("y", dist.Normal(locs[state], 1.0), obs=y)

    model, runs = counted(mixture)
    bound = bind_model(model, Arguments(kwargs={"y": torch.tensor(1.0, dtype=torch.float64)}))
    locs = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64).repeat(4000, 1)
    runs.clear()
    drawn = discrete_draws(bound, {"locs": locs}, seed=0)["state"]
    assert len(runs) < 20
    shares = torch.bincount(drawn, minlength=3) / 4000
    # exp(-2) : 1 : 1, by Bayes' rule; five standard errors of a share are 0.04
    torch.testing.assert_close(
        shares, torch.tensor([np.exp(-2), 1, 1]).float() / (2 + np.exp(-2)), atol=0.04, rtol=0.0
    )


def test_draws_that_would_fill_memory_end_before_they_do() -> None:
    def chain(steps: int) -> None:
        chances = pyro.sample("chances", dist.Dirichlet(torch.ones(2, 2)).to_event(1))
        state: Any = 0
        for step in range(steps):  # in a plate of two draws, twice as many states at each step
            state = pyro.sample(f"state_{step}", dist.Categorical(chances[state]))

    bound = bind_model(chain, Arguments(kwargs={"steps": 40}))
    drawn = prior_draws(bound, 50, seed=0)
    assert drawn["state_39"].shape == (50,)


def test_a_model_of_which_nothing_is_asked_is_not_run() -> None:
    def factor(y: Tensor) -> None:
        pyro.factor("likelihood", -pyro.sample("x", dist.Normal(0.0, 1.0)).square())

    model, runs = counted(factor)
    bound = bind_model(model, Arguments(kwargs={"y": Y}))
    runs.clear()
    assert predictions(bound, {"x": torch.zeros(5, dtype=torch.float64)}, seed=0) == {}
    assert not runs


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
