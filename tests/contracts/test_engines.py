"""What is true of every engine, over `ENGINES`."""

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovi as vi
from infer.conjugate import Conjugate, model
from infer.declared import line, line_data, line_posterior
from pyrovi.infer import ENGINES, RECOVERIES
from pyrovi.infer.engine import BY_DRAWS, EXACTLY, MEANS, MODE
from pyrovi.infer.loop import run_once
from pyrovi.tree import draw_kind

EXACT = Conjugate()
QUICK: dict[str, Callable[[], Any]] = {
    "svi": lambda: vi.SVI(guide="full_rank", max_steps=200),
    "dadvi": vi.DADVI,
    "laplace": vi.Laplace,
    "nested_laplace": vi.NestedLaplace,
    "transport_map": vi.TransportMap,
    "pathfinder": vi.Pathfinder,
    "batch_and_match": vi.BatchAndMatch,
    "ensemble": vi.Ensemble,
    "cavi": vi.CAVI,
    "gibbs": lambda: vi.Gibbs(draws=30, warmup=30),
    "nuts": lambda: vi.NUTS(draws=30, warmup=30),
}
BY_CLOSED_FORMS = {name for name in ENGINES if ENGINES[name]().capabilities.closed_forms}
LONG_ENOUGH: dict[str, Callable[[], Any]] = {
    "svi": lambda: vi.SVI(max_steps=1500),
    "gibbs": lambda: vi.Gibbs(draws=1000, warmup=100),
    "nuts": lambda: vi.NUTS(draws=300, warmup=200),
}
DRAWS = 4000
ALARM = 4.3  # errors that chance alone makes in one of 50,000 Gaussian quantities
INDEPENDENT_AMONG = {"gibbs": 150, "nuts": 100}  # draws of a chain: the least that these have


def given(name: str) -> tuple[Callable[..., None], dict[str, torch.Tensor]]:
    """A model that the engine called ``name`` can take, and its data."""
    return (line, line_data()) if name in BY_CLOSED_FORMS else (model, EXACT.data)


def exact(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviations of the posterior of `given`, which is Gaussian."""
    if name not in BY_CLOSED_FORMS:
        return EXACT.mean.numpy(), EXACT.sd.numpy()
    return line_posterior()


@cache
def fitted(name: str) -> vi.Fit:
    """A fit that had time enough."""
    return vi.fit(*given(name), LONG_ENOUGH.get(name, ENGINES[name])(), seed=0)


def test_every_engine_is_held_to_this_contract() -> None:
    assert set(QUICK) == set(ENGINES)


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_gives_the_same_fit_for_the_same_seed_and_another_for_another(name: str) -> None:
    one, same, other = (
        vi.fit(*given(name), QUICK[name](), seed=seed).draw(20)[0].flat for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_leaves_the_world_as_it_was(name: str) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads, default = torch.get_num_threads(), torch.get_default_dtype()
    validated = torch.distributions.Distribution._validate_args
    vi.draw(vi.fit(*given(name), QUICK[name](), seed=0), draws=10)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, default)
    assert torch.distributions.Distribution._validate_args == validated
    assert len(pyro.get_param_store()) == 0


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_stops_when_its_time_is_spent(name: str) -> None:
    fit = vi.fit(*given(name), QUICK[name](), seed=0, max_seconds=1e-6)
    assert fit.status is not vi.Status.CONVERGED
    assert "time was spent" in fit.restarts[0].why


@pytest.mark.parametrize("name", ENGINES)
def test_an_engines_repr_is_what_makes_it(name: str) -> None:
    engine = ENGINES[name]()
    assert repr(engine).startswith(type(engine).__name__ + "(")
    namespace = {type(engine).__name__: type(engine)}
    assert eval(repr(engine), namespace) == engine


@pytest.mark.parametrize("name", sorted(BY_CLOSED_FORMS))
def test_an_engine_that_needs_closed_forms_says_so_where_there_are_none(name: str) -> None:
    expected = "needs closed-form updates, and 'model' declares none. Use SVI or DADVI, or give"
    with pytest.raises(vi.errors.EngineError, match=expected):
        vi.fit(model, EXACT.data, QUICK[name](), seed=0)


@pytest.mark.parametrize("name", ["svi", "dadvi"])
def test_a_density_that_turns_to_nan_is_a_divergence_and_says_so(name: str) -> None:
    def trap() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        # Fine where the search starts, and not a number where the optimum is.
        pyro.factor("trap", torch.where(x.abs() < 0.6, torch.nan, -10 * x.abs()))

    engines = {
        "svi": vi.SVI(guide="mean_field", max_steps=2000, step_size=0.2),
        "dadvi": vi.DADVI(),
    }
    fit = vi.fit(trap, {}, engines[name], seed=0)
    assert fit.status is vi.Status.DIVERGED
    assert "the loss became" in fit.restarts[0].why


def test_restarts_that_reach_the_best_bound_are_the_chains_and_the_others_are_told() -> None:
    def two_humps() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 10.0))
        humps = torch.stack([-0.5 * (x - 6) ** 2, -0.5 * (x + 2) ** 2 - 5.0])
        pyro.factor("humps", humps.logsumexp(0))

    fit = vi.fit(two_humps, {}, vi.Laplace(), seed=0, restarts=6)
    tree = vi.draw(fit, draws=200)
    elbo = tree["sample_stats"]["restart_elbo"].values
    assert len(elbo) == 6
    assert 0 < tree["posterior"].sizes["chain"] < 6
    kept = tree["sample_stats"]["restart_index"].values
    assert elbo[kept].min() > elbo.max() - 1.0
    assert (tree["posterior"]["x"].mean("draw") > 3).all()


def test_auto_says_what_it_picked_and_why() -> None:
    fit = vi.fit(model, EXACT.data, seed=0)
    assert repr(fit.engine) == "auto"
    assert fit.method == "auto: DADVI(whiten=True)"
    assert "whitened" in fit.engine_reason


# ------------------------------------------------------------------ what engines declare


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_recovers_of_a_gaussian_posterior_what_it_promises(name: str) -> None:
    promise = ENGINES[name]().capabilities.recovers
    assert promise in RECOVERIES
    flat = fitted(name).draw(DRAWS)[0].flat.numpy()
    mean, sd = exact(name)
    count = INDEPENDENT_AMONG.get(name, DRAWS)
    # An optimum is known to 0.05 sd beside the Monte Carlo error of the draws.
    assert np.abs((flat.mean(0) - mean) / sd).max() < ALARM / count**0.5 + 0.05
    ratio = np.log(flat.std(0).clip(1e-9) / sd)
    error = ALARM / (2 * count) ** 0.5 + 0.05
    if promise in (EXACTLY, BY_DRAWS):
        assert np.abs(ratio).max() < error
    if promise == MEANS:  # mean field has the conditional sds, which are smaller
        assert ratio.max() < error
    if promise == MODE:
        assert ratio.max() < -3


@pytest.mark.parametrize("name", ENGINES)
def test_the_draws_are_what_the_engine_declares(name: str) -> None:
    fit = fitted(name)
    declared = ENGINES[name]().capabilities.draws
    kind = draw_kind(vi.draw(fit, draws=100))
    assert kind == fit.approximations()[0].draw_kind
    assert declared in (kind, None)


@pytest.mark.parametrize("name", ENGINES)
def test_a_bound_is_exact_where_the_engine_declares_it(name: str) -> None:
    density = fitted(name).density
    run = run_once(QUICK[name](), density, density.start(0), seed=0)
    assert (run.bound is not None) == ENGINES[name]().capabilities.exact_bound


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_that_makes_its_own_start_does_not_use_another(name: str) -> None:
    density, engine = fitted(name).density, QUICK[name]()
    starts = [torch.full((density.dim,), value, dtype=torch.float64) for value in (0.0, 0.7)]
    runs = [run_once(engine, density, start, seed=0) for start in starts]
    # Others may come to the same as well, where all starts lead to one mode.
    assert np.array_equal(*(run.loss for run in runs)) or not engine.capabilities.own_start


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_takes_a_guide_where_it_declares_it(name: str) -> None:
    settings = {each.name for each in fields(ENGINES[name])}
    assert ("guide" in settings) == ENGINES[name]().capabilities.guide


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_that_learns_no_parameters_refuses_a_model_that_has_some(name: str) -> None:
    def learnable(y: torch.Tensor) -> None:
        scale = pyro.param("scale", torch.tensor(1.0, dtype=torch.float64))
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x, scale.exp()).expand(y.shape).to_event(1), obs=y)

    data = {"y": torch.tensor([1.0, 5.0, -3.0], dtype=torch.float64)}
    if ENGINES[name]().capabilities.learns_parameters:
        fit = vi.fit(learnable, data, QUICK[name](), seed=0)
        assert float(fit.density.model.params["params"]["scale"].detach()) != 1.0
        return
    with pytest.raises(vi.errors.EngineError, match="learnable parameters of its own"):
        vi.fit(learnable, data, QUICK[name](), seed=0)
