"""How long until the best bound: pyrovi, Pyro SVI, NumPyro SVI, PyMC's ADVI and Pathfinder.

    python benchmarks/speed.py                     all six problems: an hour; needs extra `bench`
    python benchmarks/speed.py --problem gp        one of them; may be repeated
    python benchmarks/speed.py --family full-rank  one of the two, which is the default's
    python benchmarks/speed.py --side numpyro      pyrovi beside this one; may be repeated
    python benchmarks/speed.py --limit 20          seconds a stochastic run may take; 60 if unsaid
    python benchmarks/speed.py --again             time all anew, without the searches for steps
    python benchmarks/speed.py --table             what runs/speed holds, printed again

Six problems, each written for Pyro, NumPyro and PyMC; that their log densities agree, constants
and Jacobians included, is checked first. Two families: mean-field and full-rank Gaussians over the
same unconstrained vector. What counts is the time until the ELBO is within 0.1 nats of the best
that any side reached for that family; every ELBO is computed by the same function from the side's
parameters, off the clock.

*Cold* is CPU seconds of a fresh process, with imports and compilation; *warm* is the median of
three more fits in it. A stochastic side first runs with checkpoints, at step sizes
0.001, 0.01 and 0.1. The one that is there first is run again for exactly so many steps, and that
is timed: nobody knows the number beforehand, so these are the least seconds a user could see.
*0.001* is the cold time with that step size, the default of Pyro's Adam and of PyMC. pyrovi and
Pathfinder stop by themselves.

pyrovi's mean field is ``DADVI()``, its full rank ``DADVI(whiten=True)``. *Default* is
``vi.fit(model, data)``, with its draws and its verdict: a ladder, which also judges what it found,
and may end in something other than a Gaussian; where that is draws without a bound, it counts as
there if its largest error of a mean is no larger than that of any side that is.

One thread for every side. NumPyro and Pyro compute in float32, PyMC and pyrovi in float64: their
defaults. NumPyro's ``svi.run`` compiles its loop whenever it is called; *kept* is that loop
compiled once and kept by hand. PyTensor's cache of compiled code on disk is used as it is found.
The errors are in standard deviations of a long NUTS run (or exact), of what a side had found at
that time: the largest and the mean error of a posterior mean, and the range of the ratios of
standard deviations.
"""

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[1] / "runs" / "speed"
NAMES = {
    "pyrovi": "pyrovi",
    "default": "pyrovi, default",
    "numpyro": "NumPyro SVI",
    "pymc": "PyMC ADVI",
    "pyro": "Pyro SVI",
    "pathfinder": "Pathfinder",
}

PEERS = ("numpyro", "pymc", "pyro", "pathfinder")
NEEDED = {
    "numpyro": ("numpyro",),
    "pymc": ("numpyro", "pymc"),
    "pyro": ("numpyro",),
    "pathfinder": ("numpyro", "pymc", "pymc_extras"),
}  # by all sides NumPyro, for the long runs

Record = dict[str, object]

HEAD = (
    f"{'':25}{'cold':>7}{'warm':>8}{'kept':>8}{'0.001':>8}{'size':>7}{'steps':>8}"
    f"{'gap':>9}{'mean':>8}{'avg':>7}   sd ratio"
)


def line(record: Record) -> str:
    """One side on one family."""
    cold, warm = _seconds(record, "cold"), _seconds(record, "warm")
    kept = _seconds(record, "kept") if "kept" in record else "-"
    default = _seconds(record, "default") if "default" in record else "-"
    size, steps = record.get("rate", "-"), record.get("steps") or record.get("evaluations", "-")
    text = f"{NAMES[record['side']]:25}{cold:>7}{warm:>8}{kept:>8}{default:>8}"
    text += f"{size:>7}{steps:>8}{record['gap']:9.2f}{record['largest']:8.3f}"
    text += f"{record['mean']:7.3f}   {record['low']:.2f} - {record['high']:.2f}"
    return text + (f"   {record['engine']}" if "engine" in record else "")


def _seconds(record: Record, key: str) -> str:
    """Seconds; for a side that is not there, the limit, or its own time in brackets."""
    if record["reached"] and record.get(key) is not None:
        return f"{record[key]:.2f}"
    if record.get(key) is not None:
        return f"({record[key]:.2f})"
    return f">{record['limit']:.0f}"


def ratios(records: list[Record], own: str, side: str, key: str) -> list[tuple[float, str]]:
    """A side's seconds over those of pyrovi's side ``own``, where both were run.

    A side that never got there counts with its limit, or with the seconds after which it stopped
    by itself, which makes the ratio a lower bound. Pyrovi where it did not get there and the other
    did counts as 0; where neither did there is no ratio.
    """
    found = []
    mine = {_place(r): r for r in records if r["side"] == own}
    for record in (r for r in records if r["side"] == side and _place(r) in mine):
        pyrovi = mine[_place(record)]
        there = record["reached"] and record.get(key) is not None
        if pyrovi["reached"]:
            seconds = record.get(key) or record["limit"]
            found.append((seconds / pyrovi[_own_key(key)], "" if there else ">"))
        elif there:
            found.append((0.0, ""))
    return found


def _own_key(key: str) -> str:
    return "cold" if key == "cold" else "warm"


def table(records: list[Record]) -> str:
    """Every side, and then the ratios."""
    lines = []
    for place in dict.fromkeys((r["problem"], r["family"]) for r in records):
        here = [r for r in records if (r["problem"], r["family"]) == place]
        best = f"best ELBO {here[0]['best']:.2f}, by {NAMES[here[0]['best_by']]}"
        lines += ["", f"{place[0]}, {place[1]}, {here[0]['dim']} dimensions; {best}", HEAD]
        lines += [f"  {line(record)[:23]}{line(record)[25:]}" for record in here]
    return "\n".join([*lines, "", *ratio_table(records), "", *losses(records)])


def ratio_table(records: list[Record]) -> list[str]:
    """Medians over the problems of a side's seconds over pyrovi's."""
    lines = []
    for own, family in (
        ("pyrovi", "mean-field"),
        ("pyrovi", "full-rank"),
        ("pyrovi", "both families"),
        ("default", "full-rank"),
    ):
        here = [r for r in records if family in {"both families", r["family"]}]
        lines.append(f"seconds over those of {NAMES[own]}, {family}: median over problems (each)")
        for side in PEERS:
            for key in ("cold", "warm", "kept") if side == "numpyro" else ("cold", "warm"):
                if found := ratios(here, own, side, key):
                    each = " ".join(f"{bound}{ratio:.3g}" for ratio, bound in found)
                    median = np.median([ratio for ratio, _ in found])
                    lines.append(f"  {NAMES[side]:12} {key:5}{median:9.1f}   ({each})")
    return [*lines, "  0: pyrovi did not arrive; >: the other never did within its limit"]


def losses(records: list[Record]) -> list[str]:
    """Where pyrovi loses, and what its time went into."""
    lines = []
    for own in (r for r in records if r["side"] in {"pyrovi", "default"}):
        here = [r for r in records if _place(r) == _place(own) and r["side"] in PEERS]
        beaten = [
            b for r in here for key in ("cold", "warm", "kept") if (b := _beats(r, own, key))
        ]
        if not own["reached"]:
            short = f"{own['gap']:.2f} nats short of the best"
            short = "less accurate than the best" if np.isnan(own["gap"]) else short
            lines.append(f"{_place(own)}: {NAMES[own['side']]} ends {short}")
        if beaten and own.get("warm"):
            cost = 1e3 * own["warm"] / max(1, own["evaluations"])
            lines.append(
                f"{_place(own)}: {NAMES[own['side']]} behind {'; '.join(beaten)}: warm, it takes "
                f"{own['evaluations']} evaluations at {cost:.3f} ms each, overhead and all"
            )
    return ["where pyrovi loses:", *(f"  {each}" for each in lines or ["nowhere"])]


def _place(record: Record) -> str:
    return f"{record['problem']}, {record['family']}"


def _beats(record: Record, own: Record, key: str) -> str:
    seconds = record.get(key)
    if not record["reached"] or seconds is None:
        return ""
    mine = own.get(_own_key(key), np.inf)
    if own["reached"] and mine <= seconds:
        return ""
    return f"{NAMES[record['side']]} {key} ({seconds:.2f} s against {mine:.2f} s)"


def main() -> None:
    """Measure, keep the records, print the table."""
    asked = _arguments()
    if asked.table:
        files = sorted(FOLDER.glob("*.json"))
        print(table([record for file in files for record in json.loads(file.read_text())]))
        return
    sides = asked.side or PEERS
    needed = dict.fromkeys(part for side in sides for part in NEEDED[side])
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        print(
            f"Skipped: {', '.join(missing)} is not here; install the extra: pip install .[bench]"
        )
        return
    from peers.problems import PROBLEMS
    from peers.race import FAMILIES, Bench, measure

    unknown = set(asked.problem) - set(PROBLEMS)
    if unknown:
        sys.exit(f"No problem {', '.join(sorted(unknown))}; there are {', '.join(PROBLEMS)}.")
    records: list[Record] = []
    for name in asked.problem or PROBLEMS:
        print(f"{name}: {PROBLEMS[name].about}\n{HEAD}", flush=True)
        own = []
        file = FOLDER / f"{name}.json"
        kept = json.loads(file.read_text()) if asked.again and file.is_file() else []
        bench = Bench(name, FOLDER, asked.limit, asked.family or FAMILIES, sides)
        for record in measure(bench, kept):
            own.append(record)
            print(f"{record['family']:>12} {line(record)}", flush=True)
        file.write_text(json.dumps(own, indent=1, default=_plain) + "\n")
        records += own
    print(table(records))


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else str(value)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Seconds to the best bound, side by side.")
    parser.add_argument("--problem", action="append", default=[], help="only this one")
    families = ("mean-field", "full-rank")
    parser.add_argument("--family", action="append", choices=families, help="only this one")
    parser.add_argument("--side", action="append", choices=PEERS, help="only this one")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for a stochastic run")
    parser.add_argument(
        "--again", action="store_true", help="with the step sizes and numbers of steps as kept"
    )
    parser.add_argument("--table", action="store_true", help="print what runs/speed holds")
    return parser.parse_args()


if __name__ == "__main__":
    main()
