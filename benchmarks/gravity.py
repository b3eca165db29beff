"""Gravity inversion: the kernel, what an affine map holds, where flows earn their keep, and scale.

    python benchmarks/gravity.py                     all of it (about ten minutes)
    python benchmarks/gravity.py --only scale        kernel, affine, svi, flows, scale or checks
    python benchmarks/gravity.py --draw              the card's figure

Times are of one thread.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pyro
import pyro.distributions as dist
import torch
import xarray as xr
from arviz_stats.base import array_stats
from matplotlib.figure import Figure
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from torch import Tensor
from torch.nn.functional import softplus

import pyrovi as vi
from pyrovi.models import gravity_inversion as gravity
from pyrovi.models._gravity_checks import survey_checks
from pyrovi.models._prisms import MGAL, Mesh, prism_gravity, sensitivity
from pyrovi.models._smooth_field import mode_scale, ripple
from pyrovi.models.gravity_inversion import Exact
from pyrovi.seeds import stream
from pyrovi.tensors import bind
from pyrovi.tree import grow

ENTRY = gravity.GRAVITY_INVERSION
SECTION = {"cells": (20, 1, 20), "stations": 40}
SMALL = {"cells": (5, 1, 10), "stations": 16}
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
    print(f"{'':34}KL (nats)   exact sd / sd of the fit, over cells")
    print(f"{'':44}{'least':>9}{'median':>9}{'most':>9}{'s':>8}")
    engines = {
        "full rank": vi.DADVI(whiten=True),
        "mean field": vi.DADVI(),
        "linear response": vi.DADVI(linear_response=True),
        "auto": "auto",
    }
    for variant in ("whitened", "centered"):
        for name, engine in engines.items():
            began = time.perf_counter()
            fit = vi.fit(ENTRY.variant(variant).model, data, engine, seed=0, progress=False)
            took = time.perf_counter() - began
            loc, factor = _gaussian(fit)
            divergence, sd = _against(exact, variant, loc, factor)
            ratio = exact.sd.ravel() / sd
            numbers = "".join(f"{n:9.3f}" for n in (ratio.min(), np.median(ratio), ratio.max()))
            print(f"{variant + ', ' + name:34}{divergence:10.2e}{numbers}{took:8.1f}", flush=True)


def _gaussian(fit: Any) -> tuple[Tensor, Tensor]:
    found = fit.approximations()[0]
    return found.loc, found.scale_tril if found.scale_tril.ndim > 1 else found.scale_tril.diag()


def _against(exact: Exact, variant: str, loc: Tensor, factor: Tensor) -> tuple[float, np.ndarray]:
    """KL to the exact posterior, and the sd of each cell's density."""
    shape = exact.sensitivity.shape[1:]
    if variant == "whitened":
        columns = exact.field.colour(factor.T.unflatten(1, shape)).flatten(1)
        return exact.kl_from(loc, factor), columns.square().sum(0).sqrt().numpy()
    # Densities, back to the sites of `whitened`: a linear map leaves the divergence as it is.
    forth = exact.field.colour(torch.eye(len(loc), dtype=loc.dtype).unflatten(1, shape)).flatten(1)
    back = torch.linalg.inv(forth.T)
    return exact.kl_from(back @ loc, back @ factor), factor.square().sum(1).sqrt().numpy()


# ------------------------------------------------------------------------------ plain SVI


class Balanced(dist.Normal):
    """Standard normals in a plate, whose mean is exactly zero and covariance exactly one."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        size = shape[-1]
        turn, _ = torch.linalg.qr(torch.randn(size, size, dtype=self.loc.dtype))
        rows = torch.cat([turn, -turn]) * size**0.5
        return rows.reshape(shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Balanced":
        return Balanced(self.loc.expand(batch_shape), self.scale.expand(batch_shape))


def svi(steps: int = 1500) -> None:
    """One learned affine transform of a standard normal, by nothing but Pyro."""
    torch.set_default_dtype(torch.float64)
    data = ENTRY.simulate(3, **SECTION)
    exact, size = Exact.of(data), int(np.prod(SECTION["cells"]))
    arguments = bind(gravity.whitened, data).kwargs
    positive = dist.constraints.softplus_lower_cholesky

    def guide(*_args: Any, **_kwargs: Any) -> None:
        loc = pyro.param("loc", torch.zeros(size))
        tril = pyro.param("tril", torch.eye(size), constraint=positive)
        base = Balanced(torch.zeros(size), torch.ones(size)).to_event(1)
        steps_ = [
            dist.transforms.LowerCholeskyAffine(loc, tril),
            dist.transforms.ReshapeTransform((size,), SECTION["cells"]),
        ]
        pyro.sample("field", dist.TransformedDistribution(base, steps_))

    schedule = pyro.optim.ExponentialLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.03}, "gamma": 0.01 ** (1 / steps)}
    )
    loss = Trace_ELBO(num_particles=2 * size, vectorize_particles=True, max_plate_nesting=1)
    plain = SVI(gravity.whitened, guide, schedule, loss)
    began = time.perf_counter()
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    print("\naffine flow of 400 cells under pyro.infer.SVI")
    for step in range(1, steps + 1):
        plain.step(**arguments)
        schedule.step()
        if step % (steps // 5) == 0:
            loc, tril = (pyro.param(name).detach() for name in ("loc", "tril"))
            took = time.perf_counter() - began
            print(f"  {step:5} steps  KL {exact.kl_from(loc, tril):10.3e}  {took:6.0f} s", flush=True)
    torch.set_default_dtype(torch.float32)


# ------------------------------------------------------------------------------ flows


def density_of(variant: str, given: dict[str, Tensor], field: Tensor) -> Tensor:
    """Densities by the model's definition, written again."""
    weight = given["weight"][:, None, None]
    if variant == "sparse":
        return field * given["strength"] / weight
    shape = field.shape[-3], field.shape[-2], field.shape[-1]
    scale = mode_scale(shape, given["reach"], torch.ones((), dtype=field.dtype))
    smooth = ripple(field, scale, torch.ones_like(given["weight"]))
    return softplus(smooth, beta=gravity.SHARPNESS) * given["strength"] / weight


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


FAMILIES: dict[str, Any] = {
    "mean field": vi.DADVI(),
    "Laplace": vi.Laplace(),
    "full rank": vi.DADVI(whiten=True),
    "flow, nsf": vi.SVI(guide="nsf", max_steps=4000),
    "flow, maf": vi.SVI(guide="maf", max_steps=4000),
    "auto": "auto",
}


def flows() -> None:
    for variant in ("positive", "sparse"):
        entry = ENTRY.variant(variant)
        data = entry.simulate(3, **SMALL)
        base = vi.fit(entry.model, data, FAMILIES["full rank"], seed=0, progress=False)
        began = time.perf_counter()
        chains = by_nuts(variant, data, _gaussian(base))
        took = time.perf_counter() - began
        cells = chains.shape[-1]
        rhat = max(array_stats.rhat(chains[..., i]) for i in range(cells))
        ess = min(array_stats.ess(chains[..., i], method="bulk") for i in range(cells))
        print(f"\n{variant}: {cells} cells, {SMALL['stations']} stations; against NUTS, ", end="")
        print(f"{CHAINS} x {DRAWS} draws, R-hat {rhat:.3f}, ESS {ess:.0f}, {took:.0f} s")
        print(f"{'':14}{'ELBO':>9}{'error of means (sd)':>22}{'ratio of sds':>22}", end="")
        print(f"{'error of 90% ends (sd)':>24}{'s':>7}")
        print(f"{'':23}{'median':>13}{'most':>9}{'least':>13}{'most':>9}{'median':>14}{'most':>10}")
        for name, engine in FAMILIES.items():
            began = time.perf_counter()
            fit = vi.fit(entry.model, data, engine, seed=0, progress=False)
            took = time.perf_counter() - began
            print(f"{name:14}{_row(fit, chains.reshape(-1, cells))}{took:7.0f}", flush=True)


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
    print(f"  a dense {mean.size} x {mean.size} matrix alone would be {mean.size**2 * 8e-6:.0f} MB")
    truth = data["truth"]["density"].to_numpy()
    z = (truth - mean) / sd
    print(f"  truth within 2 sd: {np.mean(np.abs(z) < 2):.3f} of cells (0.954); ", end="")
    ratio = drawn.std(0) / sd
    print(f"sd of draws over sd: {ratio.mean():.3f}; log evidence {evidence:.1f}")
    print(f"  trace of the resolution {resolution.sum():.1f} of at most {SCALE['stations']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", choices=[*PARTS, "scale-here"])
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
    "scale": scale,
}

if __name__ == "__main__":
    main()
