"""What the default costs and how right it is, beside NumPyro's NUTS and SVI, in CPU seconds.

    python benchmarks/default.py                        every problem and side: hours
    python benchmarks/default.py --problem radon        one of them; may be repeated
    python benchmarks/default.py --hierarchies          those that nested Laplace is held to
    python benchmarks/default.py --side pyrovi          one side; may be repeated
    python benchmarks/default.py --rounds 1             processes for each number; 3 if unsaid
    python benchmarks/default.py --limit 400            CPU seconds after which a process is ended
    python benchmarks/default.py --source ../before     another checkout of pyrovi, beside this one
    python benchmarks/default.py --reference            the long runs of NUTS, where they lack
    python benchmarks/default.py --agree                whether both libraries have one density
    python benchmarks/default.py --table                what runs/default holds, printed again

Each problem is written twice, in Pyro and in NumPyro (`peers/default`). Every number is CPU
seconds of a process of its own, all threads together, and the median of such processes.

*pyrovi* is ``vi.fit(model, data, seed=0)``, ``vi.draw(fit)`` and ``vi.verdict(vi.check(tree))``,
in a process that has done nothing but import pyrovi and Pyro; *warm* is the three once more in
the same process. *NUTS* is four chains of 500 + 500, one after the other, by ``MCMC.run``, which
compiles its loops anew for each chain; *once* is with one chain's compiled by hand, compilation
included; *warm* is four more chains by that. *SVI* is ``svi.run``, 10,000 steps of Adam at 0.01
with ``AutoNormal``; *warm* is its loop compiled by hand and run again. NumPyro computes in
float32, its default; pyrovi in float64. What took over 100 s is not run warm.

Errors are in standard deviations of four chains of 4,000 draws of NUTS in float64: the largest
error of a mean, the range of the ratios of sds, and the largest error of a quantile at 5 or 95 %,
over every entry of every latent variable.
"""

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from peers import apart
from peers.apart import OWN, STAGES, Record, run_apart
from peers.default.problems import PROBLEMS, Problem

FOLDER = OWN / "runs" / "default"
NEEDED = ("numpyro",)
SIDES = {"pyrovi": "pyrovi", "before": "pyrovi", "nuts": "nuts", "svi": "svi"}  # and their tasks
LONGEST = 3600  # CPU seconds of a long run
AGREEMENT = 1e-9  # of log densities, relative


def run(task: str, problem: str, limit: float, source: Path) -> Record:
    """One task in a process of its own, and what it came to."""
    data = FOLDER / f"{problem}.npz"
    made: dict[str, Any] = PROBLEMS[problem].data()
    np.savez(data, **made)
    asked = {"task": task, "problem": problem, "data": str(data)}
    return run_apart("peers.default.worker", asked, limit, source)


def measure(problem: str, side: str, asked: argparse.Namespace) -> Record:
    """Rounds of one side; one alone where the first did not come back."""
    source = asked.source if side == "before" else OWN
    rounds: list[Record] = []
    while len(rounds) < asked.rounds and not (rounds and "ended" in rounds[0]):
        rounds.append(run(SIDES[side], problem, asked.limit, source))
    return {"problem": problem, "side": side, "limit": asked.limit, "rounds": rounds}


def seconds(record: Record | None, *parts: str) -> float:
    """The median over the rounds of the sum of the parts; NaN where one lacks."""
    return np.nan if record is None else apart.seconds(record["rounds"], *parts)


def whole(record: Record | None, *, warm: bool = False) -> float:
    """A side's seconds from the data to the answer."""
    stages = STAGES if record and SIDES[record["side"]] == "pyrovi" else STAGES[:1]
    return seconds(record, *((f"warm {each}" if warm else each) for each in stages))


def shown(record: Record | None, value: float, width: int = 8) -> str:
    """Seconds; the limit, where the side was not back by then."""
    ended = record["rounds"][0].get("ended", "") if record else ""
    return apart.shown(value, width, ended=ended, limit=record["limit"] if record else np.nan)


def least(record: Record | None, *, warm: bool = False) -> tuple[float, bool]:
    """A side's seconds, or the limit where it was not back; and whether these are too few."""
    value = whole(record, warm=warm)
    short = record is not None and np.isnan(value) and "ended" in record["rounds"][0] and not warm
    return (record["limit"] if record and short else value), short


def over(mine: Record | None, theirs: Record | None, *, warm: bool = False) -> str:
    """A ratio; a bound of it, where one of the two was not back."""
    (value, above), (other, below) = (least(each, warm=warm) for each in (mine, theirs))
    if np.isnan(value / other) or (above and below):
        return "-"
    return f"{'>' if above else '<' if below else ''}{value / other:.2f}"


def times(found: dict[tuple[str, str], Record]) -> list[str]:
    """Every problem's seconds, and those over NUTS's."""
    heads = ("fit", "draw", "verdict", "sum", "warm", "before", "warm")
    others = ("NUTS", "once", "warm", "SVI", "warm")
    head = f"{'':18}{'start':>7}" + "".join(f"{each:>8}" for each in heads) + " |"
    head += "".join(f"{each:>8}" for each in others) + f" |{'sum/NUTS':>9}{'warm':>7}{'bar':>6}"
    lines = [head]
    for name, problem in PROBLEMS.items():
        own, before, nuts, svi = (found.get((name, side)) for side in SIDES)
        if not any((own, before, nuts, svi)):
            continue
        line = f"{name:18}{shown(own, seconds(own, 'start'), 7)}"
        line += "".join(shown(own, seconds(own, stage)) for stage in STAGES)
        line += shown(own, whole(own)) + _warm(own)
        line += shown(before, whole(before)) + _warm(before) + " |"
        line += shown(nuts, whole(nuts)) + shown(None, seconds(nuts, "once fit")) + _warm(nuts)
        line += shown(svi, whole(svi)) + _warm(svi)
        line += f" |{over(own, nuts):>9}{over(own, nuts, warm=True):>7}"
        lines.append(line + _bar(problem, own))
    return lines


def _warm(record: Record | None) -> str:
    return shown(None, whole(record, warm=True))


def _bar(problem: Problem, own: Record | None) -> str:
    """The bar, and whether it is kept."""
    if problem.bar is None:
        return ""
    parts = {"fit": seconds(own, "fit"), "cold": whole(own), "warm": whole(own, warm=True)}
    kept = "ok" if parts[problem.of_bar] <= problem.bar else "over"
    return f"{problem.bar:6.0f} {problem.of_bar}: {kept if own else '-'}"


def medians(found: dict[tuple[str, str], Record]) -> list[str]:
    """The median and the worst ratio over all problems, cold; not back counts with its limit."""
    lines = []
    for side in ("pyrovi", "before"):
        for other in ("nuts", "svi"):
            pairs = [(found.get((name, side)), found.get((name, other))) for name in PROBLEMS]
            ratios = [least(mine)[0] / least(theirs)[0] for mine, theirs in pairs]
            known = [each for each in ratios if not np.isnan(each)]
            if known:
                lines.append(
                    f"{side} over NumPyro's {other.upper()}, cold: median "
                    f"{np.median(known):.2f}, worst {max(known):.2f}, of {len(known)} problems"
                )
    return lines


def accuracy(found: dict[tuple[str, str], Record], names: list[str]) -> list[str]:
    """Every side's errors against the long run, and what pyrovi says of itself."""
    heads = f"{'seconds':>9}{'mean':>7}{'sd ratios':>14}{'5, 95 %':>9}  verdict (of the fit)"
    lines = [f"{'':26}{heads}"]
    for name in names:
        kept = _reference(name)
        if kept:
            lines.append(
                f"{name:18}long run: R-hat {kept['rhat']:.3f}, fewest effective draws "
                f"{kept['ess']:.0f}, divergent {kept['divergent']}, {kept['seconds']['fit']:.0f} s"
            )
        for side in SIDES:
            record = found.get((name, side))
            if record is not None and "summary" in record["rounds"][0]:
                text = f"{'' if kept else name:18}{side:8}{shown(record, whole(record), 9)}"
                lines.append(text + _judged(record["rounds"][0], kept))
    return lines


def _judged(one: Record, kept: Record | None) -> str:
    text = f"{'':30}"
    if kept:
        off = errors(one["summary"], kept["summary"])
        ratios = f"{off['ratio low']:.2f} - {off['ratio high']:.2f}"
        text = f"{off['mean']:7.2f}{ratios:>14}{off['quantile']:9.2f}"
    if "verdict" not in one:
        return text
    climbed = ", ".join(
        f"{'*' if rung['chosen'] else ''}{rung['engine']} ({rung['status']})"
        for rung in one["rungs"]
    )
    return f"{text}  {one['verdict']} ({one['verdict_of_fit']}); {climbed or one['method']}"


def errors(mine: Record, long_run: Record) -> dict[str, float]:
    """The errors that the table shows; entries that cannot move are left out."""
    mean, sd, low, high = (np.array(mine[part]) for part in ("mean", "sd", "low", "high"))
    true = {part: np.array(value) for part, value in long_run.items()}
    moving = true["sd"] > 1e-9
    scale = np.where(moving, true["sd"], 1.0)
    quantiles = np.maximum(abs(low - true["low"]), abs(high - true["high"]))[moving]
    return {
        "mean": float((abs(mean - true["mean"])[moving] / scale[moving]).max()),
        "ratio low": float((sd / scale)[moving].min()),
        "ratio high": float((sd / scale)[moving].max()),
        "quantile": float((quantiles / scale[moving]).max()),
    }


def make_reference(name: str) -> None:
    """The long run of one problem, where it is not there yet and is cheap enough."""
    file = _reference_file(name)
    if PROBLEMS[name].twin or not PROBLEMS[name].reference or file.is_file():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    made = run("reference", name, LONGEST, OWN)
    if "ended" in made:
        print(f"{name}: no long run: {made['ended']}", flush=True)
        return
    file.write_text(json.dumps(made) + "\n")
    print(f"{name}: R-hat {made['rhat']:.3f}, effective draws {made['ess']:.0f}", flush=True)


def _reference_file(name: str) -> Path:
    return FOLDER / "reference" / f"{PROBLEMS[name].twin or name}.json"


def _reference(name: str) -> Record | None:
    file = _reference_file(name)
    return json.loads(file.read_text()) if file.is_file() else None


def agree(name: str) -> None:
    """Print whether the log densities of both sides differ by a constant alone."""
    made = run("densities", name, LONGEST, OWN)
    if "ended" in made:
        print(f"{name:18}{made['ended']}", flush=True)
        return
    pyro, numpyro = (np.array(made[side]) for side in ("pyro", "numpyro"))
    off = float(np.ptp(pyro - numpyro) / abs(pyro).max())
    said = "agree" if off < AGREEMENT else "DIFFER"
    print(f"{name:18}{said}, by {off:.0e} of {abs(pyro).max():.3g}", flush=True)


def kept() -> dict[tuple[str, str], Record]:
    """Every record in the folder, by problem and side."""
    places = [(name, side) for name in PROBLEMS for side in SIDES]
    files = {place: _file(*place) for place in places}
    return {place: json.loads(file.read_text()) for place, file in files.items() if file.is_file()}


def _file(name: str, side: str) -> Path:
    theirs = side in {"nuts", "svi"} and PROBLEMS[name].twin
    return FOLDER / f"{theirs or name}_{side}.json"


def main() -> None:
    """Measure, keep the records, print the tables."""
    asked = _arguments()
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing and not asked.table:
        print(f"Skipped: {missing[0]} is not here; install the extra: pip install .[bench]")
        return
    every = [each.name for each in PROBLEMS.values() if each.hierarchy or not asked.hierarchies]
    names = asked.problem or every
    unknown = set(names) - set(PROBLEMS)
    if unknown:
        sys.exit(f"No problem {', '.join(sorted(unknown))}; there are {', '.join(PROBLEMS)}.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    only = asked.reference or asked.agree
    for name in () if asked.table else names:
        if asked.agree:
            agree(name)
        if asked.reference or not (asked.agree or asked.side):
            make_reference(name)
        for side in () if only else _sides(name, asked):
            record = measure(name, side, asked)
            _file(name, side).write_text(json.dumps(record) + "\n")
            print(f"{name:18}{side:8}{shown(record, whole(record))}{_warm(record)}", flush=True)
    if not asked.agree:
        found = {place: each for place, each in kept().items() if place[0] in names}
        print("\n".join([*times(found), "", *medians(found), "", *accuracy(found, names)]))


def _sides(name: str, asked: argparse.Namespace) -> list[str]:
    before = ("before",) if asked.source else ()
    theirs = () if PROBLEMS[name].twin else ("nuts", "svi")
    every = ("pyrovi", *before, *theirs)
    return [side for side in every if side in (asked.side or every)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The default, beside NUTS and SVI.")
    parser.add_argument("--problem", action="append", default=[], help="only this one")
    parser.add_argument("--hierarchies", action="store_true", help="only the hierarchies")
    parser.add_argument("--side", action="append", default=[], choices=SIDES, help="only this one")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each number")
    parser.add_argument("--limit", type=float, default=600.0, help="CPU seconds of a process")
    parser.add_argument("--source", type=Path, help="another checkout of pyrovi: the side before")
    parser.add_argument("--reference", action="store_true", help="make the long runs alone")
    parser.add_argument("--agree", action="store_true", help="compare the log densities alone")
    parser.add_argument("--table", action="store_true", help="print what runs/default holds")
    asked = parser.parse_args()
    if asked.source is not None:
        asked.source = asked.source.resolve()
    return asked


if __name__ == "__main__":
    main()
