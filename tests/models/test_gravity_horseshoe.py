"""Ground of a few bodies: the horseshoe prior against closed forms, and what it finds."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyro
import pytest
import torch
import xarray as xr
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.optim import ClippedAdam  # pyright: ignore[reportAttributeAccessIssue]
from scipy import stats

import pyrovi as vi
from pyrovi.bound import bind
from pyrovi.errors import ModelError
from pyrovi.models import get
from pyrovi.models.gravity_inversion import Exact, survey_checks
from pyrovi.models.gravity_inversion.data import STRENGTH, buried_block, simulate
from pyrovi.models.gravity_inversion.horseshoe import (
    few_bodies,
    global_scale_for,
    regularised,
)
from pyrovi.models.gravity_inversion.model import sparse
from pyrovi.seeds import isolated
from pyrovi.structure import structure_of
from pyrovi.tree import grow, quantities

ENTRY = get("gravity_inversion").variant("horseshoe")
SMALL: dict[str, Any] = {"cells": (5, 1, 10), "stations": 16, "sigma": 0.1}
FALSE_ALARM = 2e-5
CONTRAST = 400.0


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.clear_param_store()
    with isolated(7):
        yield
    pyro.clear_param_store()
    torch.set_default_dtype(torch.float32)


# ------------------------------------------------------------------------------ prior


def drawn(model: Any = ENTRY.model, count: int = 400, **held: float) -> dict[str, np.ndarray]:
    """Sites ``(draw, ...)`` of the prior with some held, under one unit of depth weight."""
    arguments = dict(bind(ENTRY.model, ENTRY.simulate(0, **SMALL)).kwargs)
    arguments["weight"] = torch.ones_like(arguments["weight"])
    values: dict[str, Any] = {name: torch.tensor(value) for name, value in held.items()}
    model = pyro.poutine.uncondition(pyro.poutine.do(model, data=values))
    with torch.no_grad(), pyro.plate("draws", count, dim=-2):
        trace = pyro.poutine.trace(model).get_trace(**arguments)
    nodes: dict[str, Any] = dict(trace.nodes)
    names = ("density", "field", "local_scale", "global_scale")
    return {name: nodes[name]["value"].numpy() for name in names if name in nodes}


def shares(ratio: float) -> np.ndarray:
    """Of the slab's variance, that each of 20,000 cells has at this global scale."""
    found = drawn(global_scale=ratio, slab_precision=1.0)
    return ((found["density"] / found["field"] / STRENGTH) ** 2).ravel()


def test_the_shares_of_the_slab_are_a_horseshoe() -> None:
    """Beta(1/2, 1/2) where global scale and slab are one: as often nothing as all of it."""
    assert stats.kstest(shares(1.0), stats.beta(0.5, 0.5).cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_share_that_is_asked_for_is_the_one_that_is_drawn(share: float) -> None:
    scale = global_scale_for(share)
    found = shares(scale)
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean() - share) < 4.3 * error


def test_no_density_leaves_the_slab_which_makes_it_a_t_distribution() -> None:
    """All cells in the slab: contrasts are a t of the freedom asked for, in units of the slab.

    One cell of each draw, since the cells of a draw share their slab.
    """
    model = few_bodies(contrast=350.0, freedom=5.0)
    found = drawn(model, count=4000, global_scale=1e9)["density"].reshape(4000, -1)[:, 17]
    assert stats.kstest(found / 350.0, stats.t(5.0).cdf).pvalue > FALSE_ALARM


def test_the_slab_bounds_the_widest_of_scales_at_every_depth() -> None:
    arguments = bind(ENTRY.model, ENTRY.simulate(0, **SMALL)).kwargs
    shape = tuple(arguments["sensitivity"].shape[1:])
    held: dict[str, Any] = {
        "global_scale": torch.tensor(1.0),
        "slab_precision": torch.tensor(0.25),
        "local_scale": torch.full(shape, 1e12),
        "field": torch.ones(shape),
    }
    trace = pyro.poutine.trace(pyro.poutine.do(ENTRY.model, data=held)).get_trace(**arguments)
    node: Any = trace.nodes["density"]
    np.testing.assert_allclose(node["value"], 2.0 * STRENGTH, rtol=1e-9)


def test_no_scale_is_so_wide_or_narrow_that_its_gradient_is_lost() -> None:
    scale = torch.logspace(-200, 200, 41).requires_grad_()
    held = regularised(scale, torch.tensor(3.0))
    (gradient,) = torch.autograd.grad(held.sum(), scale)
    assert ((held > 0) & (held <= 3.0 * (1 + 1e-12))).all()
    assert torch.isfinite(gradient).all()
    small = scale[scale < 1e-9].detach()
    np.testing.assert_allclose(held[: len(small)].detach(), small, rtol=1e-12)


def test_most_cells_are_near_nothing_and_some_few_are_not() -> None:
    """Against a normal of the same variance, which has 8% and, beyond three sd, 0.3%."""
    found = drawn()["density"].ravel()
    scaled = np.abs(found) / found.std()
    assert (scaled < 0.1).mean() > 0.5
    assert (scaled > 3).mean() > 0.015


# ------------------------------------------------------------------------------ record


def test_its_sites_are_labelled_by_cell_and_its_truth_is_kept() -> None:
    truth = ENTRY.simulate(2, **SMALL)["truth"]
    for name in ("field", "local_scale", "density"):
        assert truth[name].dims == ("depth", "northing", "easting")
    assert structure_of(ENTRY.model).name == "gravity_inversion:horseshoe"
    assert structure_of(sparse).dims["field"] == ("depth", "northing", "easting")
    assert ENTRY.load("buried_block").equals(buried_block())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0.0}, "share is of the cells, between 0 and 1, and 0.0 came"),
        ({"share": 5.0}, "share is of the cells, between 0 and 1, and 5.0 came"),
        ({"share": float("nan")}, "between 0 and 1, and nan came"),
        ({"contrast": -300.0}, "contrast: expected a finite number above 0, and -300.0 came"),
        ({"freedom": float("inf")}, "freedom: expected a finite number above 0, and inf came"),
    ],
)
def test_a_bad_prior_gets_one_clear_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError) as found:
        few_bodies(**options)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_the_checks_replicate_other_ground_with_the_scales_that_were_drawn() -> None:
    """Wider scales make ground with more in it, and larger surveys."""
    tree = ENTRY.simulate(2, **SMALL)
    density = tree["truth"]["density"].expand_dims(chain=1, draw=200).copy(deep=True).to_dataset()
    above = {}
    for scale in (0.001, 0.5):
        held = {"global_scale": scale, "slab_precision": 1.0}
        sites = {n: (("chain", "draw"), np.full((1, 200), value)) for n, value in held.items()}
        table = survey_checks(grow(tree, posterior=density.assign(sites)), ENTRY.model)
        above[scale] = float(table["above"].to_dict()["size"])
    assert above[0.001] < 0.01
    assert above[0.5] > 0.5


# ------------------------------------------------------------------------------ fits


def over_body(seed: int, depth: slice, easting: slice) -> tuple[xr.DataTree, np.ndarray]:
    """A survey over one body in ground that is nothing else, and that ground."""
    tree = simulate(seed, **SMALL)
    given, ground = tree["constant_data"].to_dataset(), np.zeros(SMALL["cells"])
    ground[depth, 0, easting] = CONTRAST
    noise = SMALL["sigma"] * np.random.default_rng(seed).standard_normal(SMALL["stations"])
    kernel = given["sensitivity"].to_numpy()
    seen = np.einsum("sdne,dne->s", kernel, ground) + noise
    observed = tree["observed_data"].to_dataset().assign(gravity=("station", seen))
    return grow(xr.DataTree(), observed_data=observed, constant_data=given), ground


def error(found: np.ndarray, ground: np.ndarray) -> float:
    """Root mean square over cells, in kg/m3."""
    return float(np.sqrt(np.mean((found - ground) ** 2)))


def mean_density(tree: xr.DataTree, engine: Any, **options: Any) -> np.ndarray:
    fit = vi.fit(ENTRY.model, tree, engine, seed=0, progress=False, **options)
    return vi.draw(fit, draws=1000)["posterior"]["density"].to_numpy()[0].mean(0)


def test_a_body_of_one_cell_is_found_where_the_smooth_prior_smears_it() -> None:
    """Off by a few kg/m3 where the exact posterior of the smooth prior is off by about 50.

    Full rank is surer of the one cell than the posterior is, whose mean is off by some 20.
    """
    tree, ground = over_body(1, slice(1, 2), slice(4, 5))
    smooth = error(Exact.of(tree).mean, ground)
    few = error(mean_density(tree, vi.DADVI(whiten=True)), ground)
    assert smooth > 45
    assert few < smooth / 10


@pytest.mark.parametrize("guide", ["mean field", "flow"])
def test_it_trains_under_plain_svi(guide: str) -> None:
    """Nothing of pyrovi but the model, and the family: what is left of the data is noise."""
    tree, _ = over_body(1, slice(1, 3), slice(4, 6))
    arguments = bind(ENTRY.model, tree).kwargs
    torch.manual_seed(0)
    family: Any = AutoNormal if guide == "mean field" else vi.guides.maf
    trained = family(ENTRY.model)
    loss = Trace_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    falling = ClippedAdam({"lr": 0.05, "lrd": 0.01 ** (1 / 250)})
    svi = SVI(ENTRY.model, trained, falling, loss)
    losses = np.array([svi.step(**arguments) for _ in range(250)])
    assert np.isfinite(losses).all()
    found = Predictive(ENTRY.model, guide=trained, num_samples=200, return_sites=["density"])
    density = found(**arguments)["density"].reshape(200, -1).mean(0)
    left = arguments["gravity"] - arguments["sensitivity"].flatten(1) @ density
    assert float(left.square().mean().sqrt()) < 2.5 * SMALL["sigma"]
    assert float(arguments["gravity"].square().mean().sqrt()) > 10 * SMALL["sigma"]


def monte_carlo_errors(draws: np.ndarray) -> tuple[float, float]:
    """Of a mean, in standard deviations, and of the logarithm of a sd: both of dependent draws."""
    effective = float(vi.az.ess(draws))
    kurtosis = float((((draws - draws.mean()) / draws.std()) ** 4).mean())
    return effective**-0.5, 0.5 * ((kurtosis - 1) / effective) ** 0.5


@pytest.mark.slow
def test_engines_that_are_off_the_long_run_say_so_and_the_flow_is_nearest() -> None:
    """Against NUTS on 18 cells: no engine is silent about a cell it has wrong.

    Wrong is beyond the limits by more than the long run's own Monte Carlo error, which is large
    where a cell is mostly a spike: the sd of a heavy tail takes many draws. Which cells make a
    body is a choice between many grounds, that no Gaussian holds; a flow holds more of them, by
    its bound.
    """
    tree = ENTRY.simulate(1, cells=(3, 1, 6), stations=10, sigma=0.2)
    long = vi.NUTS(warmup=400, draws=800, target_accept=0.9)
    fit = vi.fit(ENTRY.model, tree, long, seed=0, progress=False)
    drawn = vi.draw(fit)
    assert drawn["sample_stats"]["diverging"].to_numpy().sum() < 15
    density = drawn["posterior"].to_dataset()[["density"]]
    engines = {
        "mean field": vi.DADVI(),
        "full rank": vi.DADVI(whiten=True),
        "flow": vi.SVI(guide="iaf", max_steps=3000, particles=16),
        "auto": "auto",
    }
    reference = xr.DataTree.from_dict({"posterior": density})
    assert float(vi.az.ess(reference)["density"].min()) > 150
    errors = {name: monte_carlo_errors(draws) for name, draws in quantities(density)}
    found = vi.compare(
        ENTRY.model, tree, engines, reference, seed=0, max_seconds=None, progress=False
    )
    for engine in found.silent:
        own = found.quantities.sel(engine=engine)
        for name in own["quantity"].to_numpy()[own["mark"].to_numpy() == "silent"]:
            off = abs(float(own["error"].sel(quantity=name)))
            spread = abs(np.log(float(own["ratio"].sel(quantity=name))))
            of_mean, of_sd = errors[str(name)]
            assert off < 0.1 + 3 * of_mean, (engine, name)
            assert spread < np.log(1.1) + 3 * of_sd, (engine, name)
    table = found.table.set_index("engine")
    assert table.loc["flow", "elbo"] > table.loc["full rank", "elbo"] + 0.1
    assert table.loc["full rank", "elbo"] > table.loc["mean field", "elbo"] + 0.5
    assert table.loc["auto", "error"] < 0.25
