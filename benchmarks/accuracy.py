"""`vi.fit` as it comes, on every posterior of posteriordb at hand, against its reference draws.

    python benchmarks/accuracy.py                              all of ../shared/posteriordb
    python benchmarks/accuracy.py --posterior nes1972-nes      one of them; may be repeated
    python benchmarks/accuracy.py --folder elsewhere           another folder of the same layout
    python benchmarks/accuracy.py --peers                      plain Pyro SVI and NUTS beside it

Each fit has a process of its own. *Cold* is the wall time from the start of that process to the
end of the first fit, imports and all; *warm* is a second fit in it; *check* is draws, diagnostics
and verdict; *evals* counts the points at which the first fit evaluated the density.

Errors are in standard deviations of the reference: of means (largest and mean over the
quantities), of the 5 and 95% quantiles (largest), and the Wasserstein-1 distance to the reference
draws (largest). A posterior counts as right if every mean is within 0.1 sd and every ratio of
standard deviations within 0.9 and 1.1. The verdict is that on the fit; *names* counts the
quantities it flags among the wrong ones and among the right ones, and lists what else it flags.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wasserstein_distance

from pyrovi.evidence import limits

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from gold import FOLDER, Posterior, names, read

MEAN_WITHIN = limits.SHIFT.high  # reference standard deviations
RATIO_WITHIN = limits.REFERENCE_RATIO.low, limits.REFERENCE_RATIO.high
DRAWS = 10_000  # as many as the reference has: 0.01 sd of noise in a mean
GIVEN_UP = 900  # seconds after which a process is ended
PEER_STEPS, PEER_STEP_SIZE = 10_000, 0.01
NUTS_DRAWS = 1000  # and as many to warm up: Pyro's own defaults in its examples
FEWEST_NUTS_DRAWS = 100

Record = dict[str, Any]
Draws = Mapping[str, np.ndarray]


# One fit, in a process of its own


def by_pyrovi(posterior: Posterior, began: float, _limit: float) -> Record:
    """The fit with no tuning, and what the verdict says of it."""
    import pyrovi as vi
    from pyrovi.tree import quantities

    fit = vi.fit(posterior.model, {"data": posterior.data}, seed=0)
    cold = time.perf_counter() - began
    evaluations = getattr(fit.density, "evaluations", None)
    again = time.perf_counter()
    vi.fit(posterior.model, {"data": posterior.data}, seed=0)
    warm = time.perf_counter() - again
    again = time.perf_counter()
    tree = vi.check(vi.draw(fit))
    verdict = vi.verdict(tree)
    check = time.perf_counter() - again
    judge = {n for n, each in tree["diagnostics"].children.items() if _about(each) == "fit"}
    flagged = verdict.table["status"].ne("ok") & verdict.table["check"].isin(judge)
    rows = verdict.table[flagged]
    values = vi.draw(fit, draws=DRAWS)["posterior"].to_dataset()
    return {
        "cold": cold,
        "warm": warm,
        "check": check,
        "evaluations": evaluations,
        "status": fit.status.value,
        "engine": repr(fit.engine),
        "verdict": verdict.fit_status,
        "flagged": _flagged(posterior, set(rows["quantity"])),
        "by": sorted(set(rows["check"])),
        **errors(posterior, {_from_one(n): v.ravel() for n, v in quantities(values)}),
    }


def _about(diagnostic: Any) -> str:
    return diagnostic.to_dataset().attrs["about"]


def _flagged(posterior: Posterior, labels: set[str]) -> list[str]:
    """What is flagged, by the reference's names; a flagged site stands for all its entries."""
    found = {_from_one(label) for label in labels}
    whole = {name for name in posterior.names if name.split("[")[0] in labels}
    return sorted((found | whole) - {name.split("[")[0] for name in whole - found})


def _from_one(label: str) -> str:
    """A label of the tree, which counts from zero, as the reference has it: from one."""
    return re.sub(r"\d+(?=[\d,]*\]$)", lambda found: str(int(found[0]) + 1), label)


def by_pyro_svi(guide: str) -> Callable[[Posterior, float, float], Record]:
    """Plain Pyro: Adam at one step size, and as many steps as it is given time for."""

    def run(posterior: Posterior, began: float, limit: float) -> Record:
        import pyro
        import torch
        from pyro.infer import SVI, Predictive, Trace_ELBO, autoguide

        torch.set_default_dtype(torch.float64)
        pyro.set_rng_seed(0)
        made = getattr(autoguide, guide)(posterior.model)
        adam = pyro.optim.Adam({"lr": PEER_STEP_SIZE})
        svi = SVI(posterior.model, made, adam, Trace_ELBO())
        steps = 0
        again = time.perf_counter()
        while steps < PEER_STEPS and time.perf_counter() - again < limit:
            svi.step(posterior.data)
            steps += 1
        seconds = time.perf_counter() - began
        drawn = Predictive(posterior.model, guide=made, num_samples=DRAWS, parallel=True)(
            posterior.data
        )
        found = errors(posterior, _by_quantity(posterior, drawn))
        return {"cold": seconds, "how": f"{steps} steps", **found}

    return run


def by_pyro_nuts(posterior: Posterior, began: float, limit: float) -> Record:
    """Plain Pyro's NUTS, cut off when its time is spent."""
    import pyro
    import torch
    from pyro.infer import MCMC, NUTS, Predictive

    torch.set_default_dtype(torch.float64)
    pyro.set_rng_seed(0)
    kept: list[dict[str, Any]] = []
    again = time.perf_counter()

    def keep(_kernel: Any, flat: dict[str, Any], stage: str, _index: int) -> None:
        if time.perf_counter() - again > limit:
            raise TimeoutError
        if not stage.startswith("Warmup"):
            kept.append({name: value.detach().clone() for name, value in flat.items()})

    kernel = NUTS(posterior.model)
    run = MCMC(kernel, NUTS_DRAWS, NUTS_DRAWS, hook_fn=keep, disable_progbar=True)
    with contextlib.suppress(TimeoutError):
        run.run(posterior.data)
    seconds = time.perf_counter() - began
    if len(kept) < FEWEST_NUTS_DRAWS:
        return {"error": f"{len(kept)} draws after warm-up in {limit:.0f} s"}
    stacked = {name: torch.stack([each[name] for each in kept]) for name in kept[0]}
    latent = {
        name: kernel.transforms[name].inv(value) if name in kernel.transforms else value
        for name, value in stacked.items()
    }
    drawn = Predictive(posterior.model, latent, parallel=True)(posterior.data)
    found = errors(posterior, _by_quantity(posterior, latent | drawn))
    return {"cold": seconds, "how": f"{len(kept)} draws", **found}


def _by_quantity(posterior: Posterior, drawn: Mapping[str, Any]) -> dict[str, np.ndarray]:
    found = {}
    for name in {label.split("[")[0] for label in posterior.names}:
        array = drawn[name].detach().numpy()
        array = array.reshape(len(array), *(n for n in array.shape[1:] if n > 1))
        for index in np.ndindex(array.shape[1:]):
            label = f"{name}[{','.join(str(i + 1) for i in index)}]" if index else name
            found[label] = array[(slice(None), *index)]
    return found


SIDES: dict[str, Callable[[Posterior, float, float], Record]] = {
    "pyrovi": by_pyrovi,
    "AutoNormal": by_pyro_svi("AutoNormal"),
    "AutoMultivariateNormal": by_pyro_svi("AutoMultivariateNormal"),
    "NUTS": by_pyro_nuts,
}


def errors(posterior: Posterior, draws: Draws) -> Record:
    """How far draws are from the reference, quantity by quantity, in its standard deviations."""
    file = posterior.draws()
    reference = file["draws"].reshape(-1, file["draws"].shape[-1])
    columns = dict(zip(file["names"].tolist(), reference.T, strict=True))
    found: dict[str, list[float]] = {"mean": [], "ratio": [], "quantile": [], "wasserstein": []}
    for name, mean, sd in zip(posterior.names, posterior.mean, posterior.sd, strict=True):
        own, gold = draws[name], columns[name]
        ends = np.quantile(own, [0.05, 0.95]) - np.quantile(gold, [0.05, 0.95])
        found["mean"].append((own.mean() - mean) / sd)
        found["ratio"].append(own.std() / sd)
        found["quantile"].append(np.abs(ends).max() / sd)
        found["wasserstein"].append(
            wasserstein_distance(own, gold) / sd if np.isfinite(own).all() else np.inf
        )
    low, high = RATIO_WITHIN
    wrong = [
        name
        for name, mean, ratio in zip(posterior.names, found["mean"], found["ratio"], strict=True)
        if not (abs(mean) <= MEAN_WITHIN and low <= ratio <= high)  # so that nan is wrong
    ]
    return found | {"names": list(posterior.names), "wrong": wrong}


# Many, one after the other


def run_apart(name: str, side: str, folder: Path, limit: float) -> Record:
    """One fit in a fresh process; a record with an ``error`` where it fails."""
    began = time.perf_counter()  # on Linux one clock for all processes
    command = [sys.executable, __file__, "--one", name, "--side", side, "--folder", str(folder)]
    command += ["--began", repr(began), "--limit", str(limit)]
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, text=True, timeout=GIVEN_UP
        )
    except subprocess.TimeoutExpired:
        return {"error": f"ended after {GIVEN_UP} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no word"])[-1][:150]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def line(record: Record) -> str:
    """One row of the table."""
    if "error" in record:
        return f"  -- {record['error']}"
    mean, ratio = np.abs(record["mean"]), record["ratio"]
    text = f"{len(mean):4d}{_seconds(record, 'cold')}{_seconds(record, 'warm')}"
    text += f"{_seconds(record, 'check')}{record.get('evaluations') or '-':>8}"
    text += f"{mean.max():8.3f}{mean.mean():7.3f}   {min(ratio):5.2f} -{max(ratio):5.2f}"
    text += f"{max(record['quantile']):8.3f}{max(record['wasserstein']):8.3f}"
    text += f"  {'WRONG' if record['wrong'] else 'right':6}"
    if "verdict" not in record:
        return text + record["how"]
    return text + f"{record['verdict']:5}{naming(record)}"


def _seconds(record: Record, key: str) -> str:
    return f"{record[key]:7.2f}" if key in record else f"{'-':>7}"


def naming(record: Record) -> str:
    """Whether the verdict names what is wrong."""
    wrong, flagged = set(record["wrong"]), set(record["flagged"])
    if not wrong and not flagged:
        return ""
    rest = flagged - set(record["names"])
    text = f"names {len(wrong & flagged)} of {len(wrong)} wrong"
    text += f", {len(flagged - wrong - rest)} of {len(record['names']) - len(wrong)} right"
    text += f", {' '.join(sorted(rest))}" if rest else ""
    return f"{text} ({' '.join(record['by'])})"


HEAD = (
    f"{'posterior':46}{'d':>4}{'cold':>7}{'warm':>7}{'check':>7}{'evals':>8}{'mean':>8}{'avg':>7}"
    f"   {'sd ratio':12}{'5-95%':>8}{'W1':>8}  {'':6}verdict on the fit"
)


def summarise(records: Mapping[str, Record]) -> str:
    """What the default fit did, in five lines."""
    ran = {name: each for name, each in records.items() if "error" not in each}
    wrong = [name for name, each in ran.items() if each["wrong"]]
    right = [name for name in ran if name not in wrong]
    silent = [name for name in wrong if ran[name]["verdict"] == "ok"]
    misnamed = [n for n in wrong if not set(ran[n]["wrong"]) <= set(ran[n]["flagged"])]
    alarms = {s: [n for n in right if ran[n]["verdict"] == s] for s in ("fail", "warn")}
    low, high = RATIO_WITHIN
    count = f"{len(right)} right, {len(wrong)} wrong, {len(records) - len(ran)} without an answer"
    asked = f"every mean within {MEAN_WITHIN} sd and every sd ratio within {low} and {high}"
    lines = [
        f"{len(records)} posteriors: {count}; right is {asked}",
        f"wrong: {_listed(wrong)}; of these not naming every wrong quantity: {_listed(misnamed)}",
        f"wrong and ok: {_listed(silent)}",
        f"false alarms: fail {_listed(alarms['fail'])}; warn {_listed(alarms['warn'])}",
    ]
    if ran:
        medians = {k: np.median([each[k] for each in ran.values()]) for k in TIMES}
        lines.append("median seconds: " + ", ".join(f"{k} {v:.2f}" for k, v in medians.items()))
    return "\n".join(lines)


TIMES = ("cold", "warm", "check")


def summarise_peer(side: str, records: Mapping[str, Record]) -> str:
    """What a peer did, in one line."""
    ran = [each for each in records.values() if "error" not in each]
    right = sum(not each["wrong"] for each in ran)
    means = sum(bool(np.all(np.abs(each["mean"]) <= MEAN_WITHIN)) for each in ran)
    far = sum(not np.all(np.abs(each["mean"]) <= 1) for each in ran)
    seconds = f"{np.median([each['cold'] for each in ran]):.1f} s" if ran else "-"
    return (
        f"{side}: {right} of {len(records)} right, {means} with every mean within "
        f"{MEAN_WITHIN} sd, {far} off by more than a whole sd, {len(records) - len(ran)} without "
        f"an answer; median {seconds}"
    )


def _listed(found: list[str]) -> str:
    return f"{len(found)} ({', '.join(found)})" if found else "none"


def main() -> None:
    """Print the table, a line as each fit ends, and the summary."""
    asked = _arguments()
    if asked.one:
        posterior = read(asked.one, asked.folder)
        record = SIDES[asked.side](posterior, asked.began, asked.limit)
        print(json.dumps(record, default=float))
        return
    there = names(asked.folder)
    if not there:
        print(f"Skipped: there is no posterior at {asked.folder}, so nothing to compare with.")
        return
    unknown = set(asked.posterior) - set(there)
    if unknown:
        sys.exit(f"No posterior {', '.join(sorted(unknown))} at {asked.folder}.")
    sides = list(SIDES) if asked.peers else ["pyrovi"]
    found: dict[str, dict[str, Record]] = {side: {} for side in sides}
    threads = os.environ.get("OMP_NUM_THREADS", "as torch chooses")
    print(f"threads: {threads}; peers have {asked.limit:.0f} s each, besides imports\n\n{HEAD}")
    for name in asked.posterior or there:
        for side in sides:
            record = found[side][name] = run_apart(name, side, asked.folder, asked.limit)
            label = name if side == "pyrovi" else f"    {side}"
            print(f"{label:46}{line(record)}", flush=True)
    print(f"\n{summarise(found['pyrovi'])}")
    for side in sides[1:]:
        print(summarise_peer(side, found[side]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Accuracy of the default fit on posteriordb.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the posteriors are")
    parser.add_argument("--posterior", action="append", default=[], help="only this one")
    parser.add_argument("--peers", action="store_true", help="plain Pyro SVI and NUTS too")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for each peer")
    for own in ("--one", "--side"):
        parser.add_argument(own, help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
