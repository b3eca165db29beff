"""Gravity inversion: the kernel, what an affine map holds, where flows earn their keep, and scale.

    python benchmarks/gravity.py                     all of it (more than an hour)
    python benchmarks/gravity.py --only scale        one: kernel, affine, svi, flows, bodies,
                                                     checks or scale

Times are of one thread. ``bodies`` takes most of it: its four chains run on four cores.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
import xarray as xr
from arviz_stats.base import array_stats
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from torch import Tensor
from torch.nn.functional import softplus

import pyrovi as vi
from pyrovi.bound import bind
from pyrovi.guides import AutoFlow, Family
from pyrovi.infer.ladder.polish import Polish
from pyrovi.models import get
from pyrovi.models.gravity_inversion import Exact, survey_checks
from pyrovi.models.gravity_inversion.model import SHARPNESS, whitened
from pyrovi.models.gravity_inversion.prisms import MGAL, Mesh, prism_gravity, sensitivity
from pyrovi.models.gravity_inversion.smooth_field import mode_scale, to_cells
from pyrovi.seeds import stream
from pyrovi.studies import HEAD
from pyrovi.tree import grow

ENTRY = get("gravity_inversion")
SECTION = {"cells": (20, 1, 20), "stations": 40}
SMALL = {"cells": (5, 1, 10), "stations": 16, "sigma": 0.2}
REFERENCE = Path(__file__).parents[1] / "models" / "gravity_inversion" / "reference.json"
CHAINS, WARMUP, DRAWS = 4, 300, 1000


# ------------------------------------------------------------------------------ kernel


def kernel() -> None:
    from choclo.prism import gravity_u

    chance = np.random.default_rng(0)
    mesh = Mesh(
        easting=np.linspace(-800.0, 800.0, 17),
        northing=np.linspace(-600.0, 600.0, 13),
        depth=np.linspace(20.0, 620.0, 9),
    )
    places = *chance.uniform(-1000, 1000, (2, 25)), chance.uniform(0, 60, 25)
    up = [
        [gravity_u(*place, *p[:4], -p[5], -p[4], 1.0) for p in mesh.prisms]
        for place in zip(*places, strict=True)
    ]
    expected = -MGAL * np.array(up)
    apart = np.abs(sensitivity(*places, mesh).reshape(25, -1) / expected - 1).max()
    print(f"\n{expected.size} pairs of prism and station, largest relative difference from choclo")
    print(f"  on a mesh   {apart:.1e}")
    apart = np.abs(prism_gravity(*places, mesh.prisms) / expected - 1).max()
    print(f"  one by one  {apart:.1e}")


# ------------------------------------------------------------------------------ affine


def affine() -> None:
    data = ENTRY.simulate(3, **SECTION)
    exact = Exact.of(data)
    print(f"\n20 x 20 cells, 40 stations; log evidence {exact.log_evidence:.4f}")
    print(f"{'':35}KL (nats)   exact sd / sd of the fit, over cells")
    print(f"{'':44}{'least':>9}{'median':>9}{'most':>9}{'s':>8}")
    engines = {
        "full rank": vi.DADVI(whiten=True),
        "mean field": vi.DADVI(),
        "linear response": vi.DADVI(linear_response=True),
        "auto": "auto",
    }
    for name, engine in engines.items():
        began = time.perf_counter()
        fit = vi.fit(ENTRY.model, data, engine, seed=0, progress=False)
        took = time.perf_counter() - began
        loc, factor = _gaussian(fit)
        columns = exact.field.colour(factor.T.unflatten(1, exact.mean.shape)).flatten(1)
        divergence, sd = exact.kl_from(loc, factor), columns.square().sum(0).sqrt().numpy()
        print(
            f"{'whitened, ' + name:34}{divergence:10.2e}{_ratios(exact, sd)}{took:8.1f}",
            flush=True,
        )
    # The best mean-field Gaussian of a Gaussian has the diagonal of its precision.
    covariance = exact.covariance()
    sd = 1 / np.sqrt(np.diag(np.linalg.inv(covariance)))
    divergence = 0.5 * (2 * np.log(1 / sd).sum() + np.linalg.slogdet(covariance)[1])
    name = "centered, mean field (closed form)"
    print(f"{name:34}{divergence:10.2e}{_ratios(exact, sd)}")


def _ratios(exact: Exact, sd: np.ndarray) -> str:
    ratio = exact.sd.ravel() / sd
    return "".join(f"{n:9.3f}" for n in (ratio.min(), np.median(ratio), ratio.max()))


def _gaussian(fit: Any) -> tuple[Tensor, Tensor]:
    found = fit.approximations()[0]
    return found.loc, found.scale_tril if found.scale_tril.ndim > 1 else found.scale_tril.diag()


# ------------------------------------------------------------------------------ plain SVI


class Balanced(dist.Normal):
    """Points in place of standard normals, of mean exactly zero and covariance exactly one.

    A quadratic log density is then averaged without error, and so is its gradient.
    """

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        size = shape[-1]
        rows = torch.eye(size, dtype=self.loc.dtype) * size**0.5
        return torch.cat([rows, -rows]).reshape(shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Balanced":
        return Balanced(self.loc.expand(batch_shape), self.scale.expand(batch_shape))


SVI_CELLS = (6, 1, 12)


def svi(steps: int = 6000) -> None:
    """One learned affine transform of a standard normal, by nothing but Pyro."""
    torch.set_default_dtype(torch.float64)
    data = ENTRY.simulate(3, cells=SVI_CELLS, stations=20, sigma=0.2)
    exact, size = Exact.of(data), int(np.prod(SVI_CELLS))
    arguments = bind(whitened, data).kwargs
    positive = dist.constraints.softplus_lower_cholesky

    def guide(*_args: Any, **_kwargs: Any) -> None:
        loc = pyro.param("loc", torch.zeros(size))
        tril = pyro.param("tril", torch.eye(size), constraint=positive)
        base = Balanced(torch.zeros(size), torch.ones(size)).to_event(1)
        steps_ = [
            dist.transforms.LowerCholeskyAffine(loc, tril, cache_size=1),
            dist.transforms.ReshapeTransform((size,), SVI_CELLS, cache_size=1),
        ]
        pyro.sample("field", dist.TransformedDistribution(base, steps_))

    schedule = pyro.optim.ExponentialLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.3}, "gamma": 1e-3 ** (1 / steps)}
    )
    loss = Trace_ELBO(num_particles=2 * size, vectorize_particles=True, max_plate_nesting=1)
    plain = SVI(whitened, guide, schedule, loss)
    began = time.perf_counter()
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    print(f"\naffine flow of {size} cells under pyro.infer.SVI")
    for step in range(1, steps + 1):
        plain.step(**arguments)
        schedule.step()
        if step % (steps // 5) == 0:
            loc, tril = (pyro.param(name).detach() for name in ("loc", "tril"))
            took = time.perf_counter() - began
            print(
                f"  {step:5} steps  KL {exact.kl_from(loc, tril):10.3e}  {took:6.0f} s", flush=True
            )
    torch.set_default_dtype(torch.float32)


# ------------------------------------------------------------------------------ flows


def density_of(variant: str, given: dict[str, Tensor], field: Tensor) -> Tensor:
    """Densities by the model's definition, written again."""
    weight = given["weight"][:, None, None]
    if variant == "sparse":
        return field * given["strength"] / weight
    shape = field.shape[-3], field.shape[-2], field.shape[-1]
    scale = mode_scale(shape, given["reach"], torch.ones((), dtype=field.dtype))
    smooth = to_cells(field, scale, torch.ones_like(given["weight"]))
    return softplus(smooth, beta=SHARPNESS) * given["strength"] / weight


def potential(variant: str, given: dict[str, Tensor], field: Tensor) -> Tensor:
    """Minus the log joint density of the sites, up to a constant, without Pyro."""
    density = density_of(variant, given, field).flatten(-3)
    residual = (given["gravity"] - density @ given["sensitivity"].flatten(1).T) / given["sigma"]
    prior = field.abs().sum() * 2**0.5 if variant == "sparse" else 0.5 * field.square().sum()
    return 0.5 * residual.square().sum() + prior


def by_nuts(variant: str, data: xr.DataTree, turn: tuple[Tensor, Tensor]) -> np.ndarray:
    """Densities (chain, draw, cell) by Pyro's NUTS, in coordinates turned by a Gaussian.

    The turn makes trajectories short; it leaves the posterior as it is.
    """
    given, (loc, factor) = dict(bind(ENTRY.model, data).kwargs), turn
    shape = given["sensitivity"].shape[1:]

    def turned(at: dict[str, Tensor]) -> Tensor:
        return potential(variant, given, (loc + factor @ at["z"]).unflatten(0, shape))

    torch.set_default_dtype(torch.float64)
    chains = []
    for chain in range(CHAINS):
        pyro.set_rng_seed(stream(0, variant, chain))
        sampler = MCMC(
            NUTS(potential_fn=turned, target_accept_prob=0.85),
            num_samples=DRAWS,
            warmup_steps=WARMUP,
            initial_params={"z": torch.randn(len(loc))},
            disable_progbar=True,
        )
        sampler.run()
        flat = loc + sampler.get_samples()["z"] @ factor.T
        chains.append(density_of(variant, given, flat.unflatten(1, shape)).flatten(1))
    torch.set_default_dtype(torch.float32)
    return torch.stack(chains).numpy()


def as_if_normal(data: xr.DataTree) -> tuple[Tensor, Tensor]:
    """Mean and factor of the posterior of ``sparse``, were its prior a normal of equal variance.

    A Laplace prior has no curvature to turn by.
    """
    given = dict(bind(ENTRY.model, data).kwargs)
    scaled = given["sensitivity"] * given["strength"] / given["weight"][:, None, None]
    rows = scaled.flatten(1) / given["sigma"][:, None]
    precision = torch.eye(rows.shape[1], dtype=rows.dtype) + rows.T @ rows
    covariance = torch.linalg.inv(precision)
    mean = covariance @ rows.T @ (given["gravity"] / given["sigma"])
    return mean, torch.linalg.cholesky(covariance)


CURVED = ("positive", "sparse")
FULL_RANK = vi.DADVI(whiten=True)
FLOW = {"max_steps": 4000, "particles": 32}


def families(base: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """Engines by name; one of the flows is laid over the Gaussian given."""
    return {
        "mean field": vi.DADVI(),
        "full rank": FULL_RANK,
        "full rank, SVI": vi.SVI(guide="full_rank", max_steps=8000),
        "nsf": vi.SVI(guide="nsf", **FLOW),
        "nsf, turned": vi.SVI(guide=laid_over(base, "nsf"), **FLOW),
        "auto": "auto",
    }


def laid_over(base: tuple[Tensor, Tensor], network: str) -> Family:
    """A family of flows that start as the Gaussian given."""

    class Laid(AutoFlow):
        def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
            super()._setup_prototype(*args, **kwargs)
            with torch.no_grad():
                self.loc.copy_(base[0])
                self.get_buffer("turn").copy_(base[1])

    def make(model: Callable[..., Any], **_options: Any) -> Laid:
        return Laid(model, network=network, turned=True, init_scale=1.0)

    return Family(network, make, lambda guide: guide.get_posterior())


def flows() -> None:
    for variant in CURVED:
        entry = ENTRY.variant(variant)
        data = entry.simulate(3, **SMALL)
        base = as_if_normal(data)
        if variant == "positive":
            base = _gaussian(vi.fit(entry.model, data, FULL_RANK, seed=0, progress=False))
        began = time.perf_counter()
        chains = by_nuts(variant, data, base)
        took = time.perf_counter() - began
        cells = chains.shape[-1]
        rhat = max(array_stats.rhat(chains[..., i]) for i in range(cells))
        ess = min(array_stats.ess(chains[..., i], method="bulk") for i in range(cells))
        print(f"\n{variant}: {cells} cells, {SMALL['stations']} stations; against NUTS, ", end="")
        print(f"{CHAINS} x {DRAWS} draws, R-hat {rhat:.3f}, ESS {ess:.0f}, {took:.0f} s")
        print(f"{'':15}{'ELBO':>9}{'error of means (sd)':>22}{'ratio of sds':>22}", end="")
        print(f"{'error of 90% ends (sd)':>24}{'s':>7}")
        print(
            f"{'':23}{'median':>13}{'most':>9}{'least':>13}{'most':>9}{'median':>14}{'most':>10}"
        )
        for name, engine in families(base).items():
            began = time.perf_counter()
            fit = vi.fit(entry.model, data, engine, seed=0, progress=False)
            took = time.perf_counter() - began
            print(f"{name:15}{_row(fit, chains.reshape(-1, cells))}{took:7.0f}", flush=True)


def _row(fit: Any, reference: np.ndarray) -> str:
    tree = vi.draw(fit, draws=4000)
    drawn = tree["posterior"]["density"].to_numpy().reshape(4000, -1)
    sd, ends = reference.std(0), np.quantile(reference, [0.05, 0.95], axis=0)
    mean = np.abs(drawn.mean(0) - reference.mean(0)) / sd
    ratio = drawn.std(0) / sd
    end = np.abs(np.quantile(drawn, [0.05, 0.95], axis=0) - ends) / sd
    stats = tree["sample_stats"] if "sample_stats" in tree.children else None
    bound = float("nan")
    if stats is not None and "log_guide" in stats:
        bound = float((stats["log_joint"] - stats["log_guide"]).mean())
    return (
        f"{bound:9.2f}{np.median(mean):13.3f}{mean.max():9.3f}{ratio.min():13.2f}{ratio.max():9.2f}"
        f"{np.median(end):14.3f}{end.max():10.3f}"
    )


# ------------------------------------------------------------------------------ few bodies

BODIES = ENTRY.variant("horseshoe")
TWO_BODIES = 1
"""A seed of which two cells of the section stand out."""
LONG = vi.NUTS(warmup=1000, draws=2000, target_accept=0.9)
SHORT = vi.NUTS(warmup=300, draws=300, target_accept=0.9)
UNKNOWNS = ("density", "global_scale", "slab_precision")


def chain(data: xr.DataTree, engine: vi.NUTS, seed: int) -> xr.DataTree:
    """One chain of NUTS on the horseshoe, in a process of its own."""
    torch.set_num_threads(1)
    fit = vi.fit(BODIES.model, data, engine, seed=seed, progress=False)
    return vi.draw(fit, draws=engine.draws)


def chains_of(data: xr.DataTree, engine: vi.NUTS, seeds: Sequence[int]) -> xr.DataTree:
    """Chains beside each other."""
    with ProcessPoolExecutor(len(seeds)) as pool:
        drawn = list(pool.map(chain, [data] * len(seeds), [engine] * len(seeds), seeds))
    groups = {
        name: xr.concat([tree[name].to_dataset() for tree in drawn], "chain")
        for name in ("posterior", "sample_stats")
    }
    return xr.DataTree.from_dict(groups)


def mixed(tree: xr.DataTree) -> str:
    """How well the chains mixed, the worst over cells and scales."""
    rhat, ess = [], []
    for name in UNKNOWNS:
        values = tree["posterior"][name].to_numpy()
        for each in np.moveaxis(values.reshape(*values.shape[:2], -1), -1, 0):
            rhat.append(array_stats.rhat(each))
            ess.append(array_stats.ess(each, method="bulk"))
    stats = tree["sample_stats"]
    return (
        f"{stats.sizes['chain']} chains of {stats.sizes['draw']}, R-hat at most {max(rhat):.3f}, "
        f"bulk ESS at least {min(ess):.0f}, {int(stats['diverging'].sum())} divergences, "
        f"{float(stats['seconds'].max()):.0f} s for the slowest"
    )


def bodies() -> None:
    """The horseshoe: engines against long chains, and what it finds of bodies."""
    data = BODIES.simulate(TWO_BODIES, **SMALL)
    reference = chains_of(data, LONG, range(100, 104))
    print(f"\nhorseshoe: 50 cells, {SMALL['stations']} stations; against NUTS, {mixed(reference)}")
    against(data, reference)
    print("\nerror of the mean over cells (root mean square, kg/m3), bodies of 400 kg/m3")
    print(f"{'body, cells':14}{'nothing':>9}{'smooth':>9}{'Laplace':>9}{'horseshoe by':>14}")
    print(f"{'':41}{'full rank':>14}{'NUTS':>8}  mixing")
    for size in SIZES:
        print(recovery(size), flush=True)


CONTRAST = 400.0  # kg/m3
SIZES = ((1, 1), (1, 2), (2, 1), (2, 2))
"""Of bodies, in cells: how high and how wide."""


def over_body(size: tuple[int, int], top: int = 1) -> tuple[xr.DataTree, np.ndarray]:
    """A survey over one body in ground that is nothing else, and that ground."""
    tree = ENTRY.simulate(0, **{**SMALL, "sigma": 0.1})
    ground = np.zeros(SMALL["cells"])
    ground[top : top + size[0], 0, 4 : 4 + size[1]] = CONTRAST
    given = tree["constant_data"].to_dataset()
    noise = given["sigma"].to_numpy() * np.random.default_rng(0).standard_normal(
        len(given["sigma"])
    )
    seen = np.einsum("sdne,dne->s", given["sensitivity"].to_numpy(), ground) + noise
    observed = tree["observed_data"].to_dataset().assign(gravity=("station", seen))
    return grow(xr.DataTree(), observed_data=observed, constant_data=given), ground


def recovery(size: tuple[int, int]) -> str:
    """One row: how far means are off the ground, by prior and engine."""
    data, ground = over_body(size)
    chains = chains_of(data, SHORT, range(100, 102))
    found = {
        "nothing": 0 * ground,
        "smooth": Exact.of(data).mean,
        "Laplace": _mean(ENTRY.variant("sparse").model, data, "auto"),
        "full rank": _mean(BODIES.model, data, FULL_RANK),
        "NUTS": chains["posterior"]["density"].mean(("chain", "draw")).to_numpy(),
    }
    off = [np.sqrt(np.mean((mean - ground) ** 2)) for mean in found.values()]
    cells = "{:.1f}{:9.1f}{:9.1f}{:14.1f}{:8.1f}".format(*off)
    return f"{size[0]} x {size[1]:<8}{cells:>50}  {mixed(chains)}"


def _mean(model: Callable[..., None], data: xr.DataTree, engine: Any) -> np.ndarray:
    fit = vi.fit(model, data, engine, seed=0, progress=False)
    return vi.draw(fit, draws=2000)["posterior"]["density"].mean(("chain", "draw")).to_numpy()


def against(data: xr.DataTree, reference: xr.DataTree) -> None:
    """One row an engine, over the density of the cells."""
    cells = xr.DataTree.from_dict({"posterior": reference["posterior"].to_dataset()[["density"]]})
    base = vi.fit(BODIES.model, data, FULL_RANK, seed=0, progress=False).approximations()[0]
    engines = {
        "mean field": vi.DADVI(),
        "full rank": FULL_RANK,
        "polished": Polish(base=base),
        "linear response": vi.DADVI(linear_response=True),
        "nsf": vi.SVI(guide="nsf", **FLOW),
        "iaf": vi.SVI(guide="iaf", **FLOW),
        "pathfinder": "pathfinder",
        "auto": "auto",
    }
    for name, engine in engines.items():
        found = vi.compare(
            BODIES.model, data, {name: engine}, cells, seed=0, max_seconds=900.0, progress=False
        )
        if name == "mean field":
            print(HEAD)
        print("\n".join(found.lines), flush=True)


# ------------------------------------------------------------------------------ checks

SURVEYS = 20


def checks() -> None:
    """How often each statistic speaks up, over surveys of 40 stations above 12 x 24 cells."""
    right = [_survey(seed) for seed in range(SURVEYS)]
    flat, steep = (_weights(right[0], exponent) for exponent in (0.0, 4.0))
    cases = {
        "nothing wrong": right,
        "noise is 2 x sigma": [_with(t, sigma=t["constant_data"]["sigma"] / 2) for t in right],
        "noise is 3 x sigma": [_with(t, sigma=t["constant_data"]["sigma"] / 3) for t in right],
        "noise is sigma / 4": [_with(t, sigma=t["constant_data"]["sigma"] * 4) for t in right],
        "trend of 4 sd of the anomaly": [_tilted(t, 4.0) for t in right],
        "deep ground, no weighting": [
            _with(_survey(seed, exponent=4.0), weight=flat) for seed in range(SURVEYS)
        ],
        "shallow ground, far too much": [
            _with(_survey(seed, exponent=0.0), weight=steep) for seed in range(SURVEYS)
        ],
    }
    print(f"\nchecks that are not quiet, of {SURVEYS} surveys")
    for row, (name, trees) in enumerate(cases.items()):
        tables = [survey_checks(_drawn(tree), ENTRY.model, seed=i) for i, tree in enumerate(trees)]
        if not row:
            print(f"{'':30}" + "".join(f"{n:>25}" for n in tables[0].index) + f"{'any':>6}")
        loud = np.array([~table["quiet"].to_numpy(dtype=bool) for table in tables])
        print(f"{name:30}" + "".join(f"{n:25d}" for n in loud.sum(0)) + f"{loud.any(1).sum():6d}")


def _survey(seed: int, **options: Any) -> xr.DataTree:
    return ENTRY.simulate(seed, cells=(12, 1, 24), stations=40, **options)


def _with(tree: xr.DataTree, **values: Any) -> xr.DataTree:
    constant = tree["constant_data"].to_dataset().assign(values)
    observed = tree["observed_data"].to_dataset()
    return grow(xr.DataTree(), observed_data=observed, constant_data=constant)


def _weights(tree: xr.DataTree, exponent: float) -> xr.DataArray:
    inverse = (tree["constant_data"]["depth"] + 1.0) ** (exponent / 2)
    return np.sqrt((inverse**2).mean()) / inverse


def _tilted(tree: xr.DataTree, times: float) -> xr.DataTree:
    gravity_ = tree["observed_data"]["gravity"]
    easting = tree["constant_data"]["position"].sel(coordinate="easting") / 1000.0 - 1.0
    observed = tree["observed_data"].to_dataset()
    trend = times * float(gravity_.std()) * easting.drop_vars("coordinate")
    constant = tree["constant_data"].to_dataset()
    tilted = observed.assign(gravity=gravity_ + trend)
    return grow(xr.DataTree(), observed_data=tilted, constant_data=constant)


def _drawn(tree: xr.DataTree) -> xr.DataTree:
    """The data with draws of the exact posterior."""
    dims = ("chain", "draw", "depth", "northing", "easting")
    density = Exact.of(tree).draws(1000, seed=0)[None]
    return grow(tree, posterior=xr.Dataset({"density": (dims, density)}))


# ------------------------------------------------------------------------------ scale

SCALE = {"cells": (20, 20, 50), "stations": 400, "width": 5000.0, "depth": 1500.0}


def scale() -> None:
    """In a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--only", "scale-here"]
    subprocess.run(command, check=True)


def scale_here() -> None:
    import gc

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    before, began = peak(), time.perf_counter()
    data = ENTRY.simulate(1, **SCALE)
    marks = {"mesh, kernel and simulated survey": time.perf_counter()}
    exact = Exact.of(data)
    mean = exact.mean
    marks["posterior mean"] = time.perf_counter()
    sd = exact.sd
    marks["sd of every cell"] = time.perf_counter()
    drawn = exact.draws(100, seed=0)
    marks["100 draws"] = time.perf_counter()
    resolution = exact.resolution
    marks["resolution of every cell"] = time.perf_counter()
    evidence = exact.log_evidence
    gc.collect()
    shape = " x ".join(map(str, mean.shape))
    print(f"\n{SCALE['stations']} stations, {mean.size} prisms ({shape})")
    for name, mark in marks.items():
        print(f"  {name:36}{mark - began:8.2f} s")
        began = mark
    print(f"  peak memory {peak():.0f} MB, of which {before:.0f} MB before")
    print(
        f"  a dense {mean.size} x {mean.size} matrix alone would be {mean.size**2 * 8e-6:.0f} MB"
    )
    truth = data["truth"]["density"].to_numpy()
    z = (truth - mean) / sd
    print(f"  truth within 2 sd: {np.mean(np.abs(z) < 2):.3f} of cells (0.954); ", end="")
    ratio = drawn.std(0) / sd
    print(f"sd of draws over sd: {ratio.mean():.3f}; log evidence {evidence:.1f}")
    print(f"  trace of the resolution {resolution.sum():.1f} of at most {SCALE['stations']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", choices=[*PARTS, "scale-here"], help="this part alone")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.only == "scale-here":
        scale_here()
        return
    for name, part in PARTS.items():
        if asked.only in (None, name):
            part()


PARTS: dict[str, Callable[[], None]] = {
    "kernel": kernel,
    "affine": affine,
    "svi": svi,
    "flows": flows,
    "bodies": bodies,
    "checks": checks,
    "scale": scale,
}

if __name__ == "__main__":
    main()
