"""One fit of `benchmarks/accuracy.py` in a process of its own: ``python -m peers.accuracy {...}``.

It imports one side's library and no other.
"""

import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wasserstein_distance

from foreign import FOREIGN, MEAN_WITHIN, RATIO_WITHIN, ForeignModel, errors as errors_of
from gold import Posterior, read
from peers.apart import Notes, Record, said, stages

__all__: list[str] = []

DRAWS = 10_000  # as many as the reference has: 0.01 sd of noise in a mean
PEER_STEPS, PEER_STEP_SIZE = 10_000, 0.01
NUTS_DRAWS = 1000  # and as many to warm up: Pyro's own defaults in its examples
FEWEST_NUTS_DRAWS = 100
SHARE = 0.8  # of its process's seconds that a peer may fit for

Draws = Mapping[str, np.ndarray]  # by site: (draw, *shape)


@dataclass(frozen=True)
class Case:
    """A model, what it is called with, and the truth, where that is known.

    Attributes:
        model: The Pyro callable.
        data: What `pyrovi.fit` takes for it.
        args: Positional arguments.
        kwargs: Keyword arguments.
        max_plate_nesting: As Pyro's NUTS needs it to enumerate.
        gold: The posterior with its reference draws.
        foreign: The foreign model with its truth.
    """

    model: Callable[..., Any]
    data: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    max_plate_nesting: int | None = None
    gold: Posterior | None = None
    foreign: ForeignModel | None = None


def case_of(name: str, folder: Path) -> Case:
    """A foreign model of that name, else the posterior of the folder."""
    found = next((each for each in FOREIGN if each.name == name), None)
    if found is not None:
        nesting = found.max_plate_nesting
        return Case(found.model, found.data, found.args, found.kwargs, nesting, foreign=found)
    gold = read(name, folder)
    return Case(gold.model, {"data": gold.data}, (gold.data,), gold=gold)


# The sides


def by_pyrovi(case: Case, notes: Notes, _limit: float) -> None:
    """The fit with no settings, and what the verdict says of it."""
    import pyrovi as vi

    notes.seconds["start"] = time.process_time()
    fit, tree, verdict = stages(case.model, case.data, notes)
    judge = {n for n, each in tree["diagnostics"].children.items() if _about(each) == "fit"}
    flagged = verdict.table["status"].ne("ok") & verdict.table["check"].isin(judge)
    rows = verdict.table[flagged]
    labels = set(rows["quantity"])
    named = _flagged(case.gold, labels) if case.gold else sorted(labels)
    notes.others |= said(fit, verdict) | {"flagged": named, "by": sorted(set(rows["check"]))}
    notes.others["batched"] = fit.density.vectorised
    with notes.clock("report"):
        vi.report(tree)
    notes.write()
    drawn = vi.draw(fit, draws=DRAWS)["posterior"].to_dataset()
    values = {str(site): each.to_numpy() for site, each in drawn.data_vars.items()}
    flat = {site: v.reshape(-1, *v.shape[2:]) for site, v in values.items() if _number(v)}
    notes.others |= compared(case, flat)


def _about(diagnostic: Any) -> str:
    return diagnostic.to_dataset().attrs["about"]


def _number(values: np.ndarray) -> bool:
    return values.dtype.kind in "fiub"


def _flagged(gold: Posterior, labels: set[str]) -> list[str]:
    """What is flagged, by the reference's names; a flagged site stands for all its entries."""
    found = {_from_one(label) for label in labels}
    whole = {name for name in gold.names if name.split("[")[0] in labels}
    return sorted((found | whole) - {name.split("[")[0] for name in whole - found})


def _from_one(label: str) -> str:
    """A label of the tree, which counts from zero, as the reference has it: from one."""
    return re.sub(r"\d+(?=[\d,]*\]$)", lambda found: str(int(found[0]) + 1), label)


def by_pyro_svi(guide: str) -> Callable[[Case, Notes, float], None]:
    """Plain Pyro: Adam at one step size, and as many steps as it is given time for."""

    def run(case: Case, notes: Notes, limit: float) -> None:
        import pyro
        from pyro.infer import SVI, Predictive, Trace_ELBO, autoguide

        notes.seconds["start"] = time.process_time()
        pyro.set_rng_seed(0)
        made = getattr(autoguide, guide)(case.model)
        adam = pyro.optim.Adam({"lr": PEER_STEP_SIZE})
        svi = SVI(case.model, made, adam, Trace_ELBO())
        steps = 0
        with notes.clock("fit"):
            while steps < PEER_STEPS and time.process_time() < SHARE * limit:
                svi.step(*case.args, **case.kwargs)
                steps += 1
        drawing = Predictive(case.model, guide=made, num_samples=DRAWS, parallel=True)
        drawn = drawing(*case.args, **case.kwargs)
        notes.others |= {"method": f"{steps} steps", **compared(case, _arrays(drawn))}

    return run


def by_pyro_nuts(case: Case, notes: Notes, limit: float) -> None:
    """Plain Pyro's NUTS, cut off when its time is spent."""
    import pyro
    import torch
    from pyro.infer import MCMC, NUTS, Predictive

    notes.seconds["start"] = time.process_time()
    pyro.set_rng_seed(0)
    kept: list[dict[str, Any]] = []

    def keep(_kernel: Any, flat: dict[str, Any], stage: str, _index: int) -> None:
        if time.process_time() > SHARE * limit:
            raise TimeoutError
        if not stage.startswith("Warmup"):
            kept.append({name: value.detach().clone() for name, value in flat.items()})

    kernel = NUTS(case.model, max_plate_nesting=case.max_plate_nesting)
    run = MCMC(kernel, NUTS_DRAWS, NUTS_DRAWS, hook_fn=keep, disable_progbar=True)
    with notes.clock("fit"), contextlib.suppress(TimeoutError):
        run.run(*case.args, **case.kwargs)
    if len(kept) < FEWEST_NUTS_DRAWS:
        raise TimeoutError(f"{len(kept)} draws after warm-up in {SHARE * limit:.0f} s")
    stacked = {name: torch.stack([each[name] for each in kept]) for name in kept[0]}
    latent = {
        name: kernel.transforms[name].inv(value) if name in kernel.transforms else value
        for name, value in stacked.items()
    }
    drawn = dict(latent)
    if case.gold is not None:  # some of its quantities are computed
        drawn |= Predictive(case.model, latent, parallel=True)(*case.args, **case.kwargs)
    notes.others |= {"method": f"{len(kept)} draws", **compared(case, _arrays(drawn))}


def _arrays(drawn: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {site: value.detach().numpy() for site, value in drawn.items()}


SIDES: dict[str, Callable[[Case, Notes, float], None]] = {
    "pyrovi": by_pyrovi,
    "AutoNormal": by_pyro_svi("AutoNormal"),
    "AutoMultivariateNormal": by_pyro_svi("AutoMultivariateNormal"),
    "NUTS": by_pyro_nuts,
}


# What is kept of draws


def compared(case: Case, draws: Draws) -> Record:
    """Moments of every entry, by site; or the errors, where there is a reference."""
    if case.gold is not None:
        return errors(case.gold, _by_quantity(case.gold, draws))
    flat = {site: values.reshape(len(values), -1) for site, values in draws.items()}
    moments = {
        site: {"mean": v.mean(0).tolist(), "sd": v.std(0).tolist()} for site, v in flat.items()
    }
    found = list(errors_of(case.foreign, draws)) if case.foreign else []
    return {
        "moments": moments,
        "names": [each.quantity for each in found],
        "mean": [each.mean for each in found],
        "ratio": [each.ratio for each in found],
        "within": [MEAN_WITHIN, *RATIO_WITHIN],
    }


def _by_quantity(gold: Posterior, draws: Draws) -> Draws:
    found = {}
    for name in {label.split("[")[0] for label in gold.names}:
        array = draws[name]
        array = array.reshape(len(array), *(n for n in array.shape[1:] if n > 1))
        for index in np.ndindex(array.shape[1:]):
            label = f"{name}[{','.join(str(i + 1) for i in index)}]" if index else name
            found[label] = array[(slice(None), *index)]
    return found


def errors(gold: Posterior, draws: Draws) -> Record:
    """How far draws are from the reference, quantity by quantity, in its standard deviations."""
    file = gold.draws()
    reference = file["draws"].reshape(-1, file["draws"].shape[-1])
    columns = dict(zip(file["names"].tolist(), reference.T, strict=True))
    found: dict[str, list[float]] = {"mean": [], "ratio": [], "quantile": [], "wasserstein": []}
    for name, mean, sd in zip(gold.names, gold.mean, gold.sd, strict=True):
        own, theirs = draws[name], columns[name]
        ends = np.quantile(own, [0.05, 0.95]) - np.quantile(theirs, [0.05, 0.95])
        found["mean"].append((own.mean() - mean) / sd)
        found["ratio"].append(own.std() / sd)
        found["quantile"].append(np.abs(ends).max() / sd)
        found["wasserstein"].append(
            wasserstein_distance(own, theirs) / sd if np.isfinite(own).all() else np.inf
        )
    return found | {"names": list(gold.names)}


def main() -> None:
    """Run the task that the command line describes."""
    asked = json.loads(sys.argv[1])
    import torch

    torch.set_default_dtype(torch.float64)
    case, notes = case_of(asked["name"], Path(asked["folder"])), Notes(asked["out"])
    SIDES[asked["side"]](case, notes, asked["limit"])
    notes.write()


if __name__ == "__main__":
    main()
