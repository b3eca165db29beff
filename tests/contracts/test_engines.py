"""What is true of every engine, over `ENGINES`."""

from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovi as vi
from infer.conjugate import Conjugate, model
from infer.declared import line, line_data
from pyrovi.infer import ENGINES

EXACT = Conjugate()
QUICK: dict[str, Callable[[], object]] = {
    "svi": lambda: vi.SVI(guide="full_rank", max_steps=200),
    "dadvi": vi.DADVI,
    "laplace": vi.Laplace,
    "pathfinder": vi.Pathfinder,
    "batch_and_match": vi.BatchAndMatch,
    "ensemble": vi.Ensemble,
    "cavi": vi.CAVI,
    "gibbs": lambda: vi.Gibbs(draws=30, warmup=30),
    "nuts": lambda: vi.NUTS(draws=30, warmup=30),
}
# Engines that take no model but one that declares its closed forms.
BY_CLOSED_FORMS = {"cavi", "gibbs"}


def given(name: str) -> tuple[Callable[..., None], dict[str, torch.Tensor]]:
    """A model that the engine called ``name`` can take, and its data."""
    return (line, line_data()) if name in BY_CLOSED_FORMS else (model, EXACT.data)


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
