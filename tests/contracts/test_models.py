"""What every entry of the zoo, in each of its variants, keeps to."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
import xarray as xr
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoDelta, AutoNormal

from pyrovi import models
from pyrovi.bound import bind
from pyrovi.models import ZOO, ZooModel
from pyrovi.models.entry import run_forward
from pyrovi.seeds import isolated
from pyrovi.structure import structure_of
from pyrovi.tree import METADATA

SHELF = Path(__file__).parents[2] / "models"
NAMES = [f"{name}:{variant}" for name in ZOO.members for variant in ZOO[name].variants]
LOADS = [(name, data) for name in NAMES for data in models.get(name).datasets]
DRAWS = 5

each_entry = pytest.mark.parametrize("entry", [*map(models.get, NAMES)], ids=NAMES)


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.clear_param_store()
    with isolated(0):
        yield
    pyro.clear_param_store()
    torch.set_default_dtype(torch.float32)


def arguments(entry: ZooModel, data: xr.DataTree) -> dict[str, Any]:
    return dict(bind(entry.model, data).kwargs)


def simulated(entry: ZooModel) -> dict[str, Any]:
    return arguments(entry, entry.simulate(1))


def trace_of(entry: ZooModel, given: dict[str, Any], values: dict[str, torch.Tensor]) -> Any:
    return poutine.trace(poutine.condition(entry.model, values)).get_trace(**given)


def sites_of(trace: Any) -> dict[str, Any]:
    """The random sites, without the plates' own and the deterministic ones."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample"
        and not poutine.util.site_is_subsample(site)
        and not site["infer"].get("_deterministic")
    }


def discrete(trace: Any) -> list[str]:
    sites = sites_of(trace).items()
    return [n for n, s in sites if not s["is_observed"] and s["fn"].support.is_discrete]


def nesting(trace: Any) -> int:
    return max(
        -frame.dim for site in sites_of(trace).values() for frame in site["cond_indep_stack"]
    )


def elbo(trace: Any, **options: Any) -> Any:
    kind = TraceEnum_ELBO if discrete(trace) else Trace_ELBO
    return kind(max_plate_nesting=nesting(trace), **options)


# ------------------------------------------------------------------------------ data


@pytest.mark.parametrize(("name", "data"), LOADS)
def test_real_data_are_finite_and_each_variable_is_an_argument_or_metadata(
    name: str, data: str
) -> None:
    entry = models.get(name)
    tree = entry.load(data)
    parameters = inspect.signature(entry.model).parameters
    needed = {p.name for p in parameters.values() if p.default is inspect.Parameter.empty}
    groups = [tree[group].to_dataset() for group in ("observed_data", "constant_data")]
    held = {name: variable for group in groups for name, variable in group.data_vars.items()}
    given = {name for name, variable in held.items() if METADATA not in variable.attrs}
    assert needed <= given <= set(parameters)
    for group in ("observed_data", "constant_data"):
        for variable in tree[group].data_vars.values():
            assert np.isfinite(variable).all()


@each_entry
def test_the_default_data_are_the_first_and_the_default_variant_is_the_model(
    entry: ZooModel,
) -> None:
    base = ZOO[entry.name.split(":")[0]]
    assert entry.load().identical(entry.load(entry.datasets[0]))
    assert base.model is next(iter(base.variants.values())).model


@each_entry
def test_a_seed_fixes_the_simulated_data_and_another_changes_them(entry: ZooModel) -> None:
    first, same, other = (entry.simulate(seed) for seed in (1, 1, 2))
    assert first.identical(same)
    assert not first["observed_data"].identical(other["observed_data"])
    assert list(first["truth"].data_vars)


@each_entry
def test_simulating_leaves_the_world_alone(entry: ZooModel) -> None:
    before = torch.get_rng_state()
    entry.simulate(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_default_dtype() == torch.float64


# ------------------------------------------------------------------------------ model


@each_entry
def test_the_model_observes_the_observed_data_and_draws_it_in_the_same_shape(
    entry: ZooModel,
) -> None:
    tree = entry.load()
    given = arguments(entry, tree)
    trace = trace_of(entry, given, {})
    observed = {name for name, site in sites_of(trace).items() if site["is_observed"]}
    assert observed == set(tree["observed_data"].data_vars)
    drawn = run_forward(entry.model, 0, given)
    for name in observed:
        assert drawn[name].shape == tree["observed_data"][name].shape
        assert not np.array_equal(drawn[name], tree["observed_data"][name])


@each_entry
def test_the_truth_is_a_value_of_the_sites(entry: ZooModel) -> None:
    tree = entry.simulate(1)
    given = arguments(entry, tree)
    drawn = run_forward(entry.model, 0, given)
    for name in set(tree["truth"].data_vars) & set(drawn):
        assert drawn[name].shape == tree["truth"][name].shape
    latent = {n for n, s in sites_of(trace_of(entry, given, {})).items() if not s["is_observed"]}
    assert set(tree["truth"].data_vars) & (latent | set(drawn))


@each_entry
def test_it_trains_under_nothing_but_pyro(entry: ZooModel) -> None:
    given = simulated(entry)
    trace = trace_of(entry, given, {})
    guide = AutoNormal(poutine.block(entry.model, hide=discrete(trace)))
    svi = SVI(entry.model, guide, pyro.optim.Adam({"lr": 0.01}), elbo(trace))
    assert np.isfinite([svi.step(**given) for _ in range(5)]).all()


@each_entry
def test_particles_all_at_once_give_the_loss_of_particles_one_by_one(entry: ZooModel) -> None:
    given = simulated(entry)
    trace = trace_of(entry, given, {})
    guide = AutoDelta(poutine.block(entry.model, hide=discrete(trace)))
    losses = [
        elbo(trace, num_particles=3, vectorize_particles=at_once).loss(entry.model, guide, **given)
        for at_once in (False, True)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-10)


def batch_of_draws(
    entry: ZooModel, given: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], list[dict[str, torch.Tensor]], int]:
    """Prior draws of every latent site: with a leading plate, and each on its own."""
    single = trace_of(entry, given, {})
    dim = -1 - nesting(single)
    with pyro.plate("draws", DRAWS, dim=dim):
        trace = trace_of(entry, given, {})
    latent = {n: s["value"] for n, s in sites_of(trace).items() if not s["is_observed"]}
    rows = [
        {n: value[i].reshape(single.nodes[n]["value"].shape) for n, value in latent.items()}
        for i in range(DRAWS)
    ]
    return latent, rows, dim


@each_entry
def test_draws_under_a_leading_plate_have_the_densities_of_the_draws(entry: ZooModel) -> None:
    given = simulated(entry)
    batch, rows, dim = batch_of_draws(entry, given)
    with pyro.plate("draws", DRAWS, dim=dim):
        trace = trace_of(entry, given, batch)
    trace.compute_log_prob()
    parts = [site["log_prob"].reshape(DRAWS, -1).sum(-1) for site in sites_of(trace).values()]
    alone = torch.stack([trace_of(entry, given, row).log_prob_sum() for row in rows])
    torch.testing.assert_close(torch.stack(parts).sum(0), alone, rtol=1e-10, atol=1e-8)


@each_entry
def test_the_density_can_be_vmapped_with_validation_off(entry: ZooModel) -> None:
    given = simulated(entry)
    _, rows, _ = batch_of_draws(entry, given)
    stacked = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    with pyro.validation_enabled(False):
        together = torch.func.vmap(lambda row: trace_of(entry, given, row).log_prob_sum())(stacked)
    alone = torch.stack([trace_of(entry, given, row).log_prob_sum() for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-8)


# ------------------------------------------------------------------------------ structure


def dims_of(site: Any, declared: tuple[str, ...]) -> tuple[str, ...]:
    frames = sorted(site["cond_indep_stack"], key=lambda frame: frame.dim)
    return (*(frame.name for frame in frames), *declared)


@each_entry
def test_declared_dims_name_each_event_axis_once(entry: ZooModel) -> None:
    sites = sites_of(trace_of(entry, simulated(entry), {}))
    for name, dims in structure_of(entry.model).dims.items():
        if name in sites:
            assert len(dims) == sites[name]["fn"].event_dim
            assert len(set(dims_of(sites[name], dims))) == sites[name]["value"].ndim


@each_entry
def test_what_is_declared_exchangeable_may_be_renamed(entry: ZooModel) -> None:
    """Permuting the indices, and the labels with them, leaves the joint density as it was."""
    structure = structure_of(entry.model)
    given = simulated(entry)
    trace = trace_of(entry, given, {})
    for exchangeable in structure.exchangeable:
        size = trace.nodes[exchangeable.plate]["fn"].size
        order = torch.arange(size).roll(1)
        renamed = {}
        for name, site in sites_of(trace).items():
            if site["is_observed"]:
                continue
            dims, value = dims_of(site, structure.dims.get(name, ())), site["value"]
            if name in exchangeable.labels:
                value = order.argsort()[value]
            elif exchangeable.plate in dims:
                value = value.index_select(dims.index(exchangeable.plate), order)
            renamed[name] = value
        changed = [n for n in renamed if not torch.equal(renamed[n], trace.nodes[n]["value"])]
        assert changed
        same = trace_of(entry, given, renamed).log_prob_sum()
        torch.testing.assert_close(same, trace.log_prob_sum(), rtol=1e-10, atol=1e-8)


# ------------------------------------------------------------------------------ shelf


def card(name: str) -> dict[str, str]:
    """The flat ``key: value`` lines of the card's front matter."""
    _, front, _ = (SHELF / name / "README.md").read_text().split("---\n", 2)
    lines = (line.split(":", 1) for line in front.splitlines() if not line.startswith((" ", "-")))
    return {key: value.strip() for key, value in lines}


@pytest.mark.parametrize("name", ZOO.members)
def test_the_card_says_what_the_registry_says(name: str) -> None:
    front = card(name)
    assert front["name"] == name
    assert front["title"] == f'"{ZOO[name].title}"'
    for key in ("data", "data_licence", "references", "claims", "label_switching"):
        assert key in front
    text = (SHELF / name / "README.md").read_text()
    for known in (*ZOO[name].variants, *ZOO[name].datasets):
        assert f"`{known}`" in text


@pytest.mark.parametrize("name", ZOO.members)
def test_the_figures_on_the_shelf_are_small(name: str) -> None:
    figures = [*(SHELF / name).glob("*.svg"), *(SHELF / name).glob("*.png")]
    assert figures
    assert all(figure.stat().st_size < 150_000 for figure in figures)
