"""`vi.fit` as it comes, on models that others wrote: what it costs, and how right it is.

    python benchmarks/accuracy.py                       both sets of models
    python benchmarks/accuracy.py --set posteriordb     one of them: posteriordb or foreign
    python benchmarks/accuracy.py --model nes1972-nes   one model; may be repeated
    python benchmarks/accuracy.py --source ../before    another checkout of pyrovi, beside this one
    python benchmarks/accuracy.py --side NUTS           one side; may be repeated
    python benchmarks/accuracy.py --rounds 3            processes for each number; 1 if unsaid
    python benchmarks/accuracy.py --limit 400           CPU seconds after which one is ended
    python benchmarks/accuracy.py --folder elsewhere    another folder laid out as posteriordb
    python benchmarks/accuracy.py --table               what runs/accuracy holds, printed again

*posteriordb* is every posterior of ../shared/posteriordb, each with 10,000 reference draws;
*foreign* models of Pyro's own examples, tutorials and tests, and of others (`tests/foreign`).

Each fit has a process of its own, on one thread, and every number is CPU seconds: *start* until
the libraries and the model are there, ``vi.fit(model, data, seed=0)``, ``vi.draw(fit)`` and
``vi.verdict(vi.check(tree))``. *evals* counts the points at which the density was evaluated. The
sides are *pyrovi*, *before* (the checkout of ``--source``) and, where asked for, plain Pyro:
*AutoNormal* and *AutoMultivariateNormal* by 10,000 steps of Adam at 0.01, and *NUTS*, one chain of
1,000 + 1,000; what these have by 80 % of the limit is taken.

Errors are in standard deviations of the reference: of means (largest and mean over the
quantities), of the 5 and 95 % quantiles (largest), and the Wasserstein-1 distance to the reference
draws (largest). A posterior counts as right if every mean is within 0.1 sd and every ratio of
standard deviations within 0.9 and 1.1. The verdict is that on the fit; *names* counts the
quantities it flags among the wrong ones and among the right ones, and lists what else it flags.
Of foreign models closed forms and long runs give means and standard deviations: right is within
0.2 sd, and 0.8 to 1.25. Where two sides differ by as much, the quantities are listed too.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peers import apart
from peers.apart import OWN, STAGES, Record, run_apart

from pyrovi.evidence import limits

sys.path.append(str(OWN / "tests"))
from foreign import FOREIGN
from gold import FOLDER, names

KEPT = OWN / "runs" / "accuracy"
# of a mean in reference standard deviations, and of the ratio of standard deviations
ASKED = limits.SHIFT.high, limits.REFERENCE_RATIO.low, limits.REFERENCE_RATIO.high
OURS = ("pyrovi", "before")
PEERS = ("AutoNormal", "AutoMultivariateNormal", "NUTS")
SIDES = OURS + PEERS
LISTED = 6  # quantities, where sides differ

Records = Mapping[str, Record]  # by model


def measure(name: str, side: str, asked: argparse.Namespace) -> Record:
    """Rounds of one side; one alone where the first did not come back."""
    source = asked.source if side == "before" else OWN
    task = {"name": name, "side": "pyrovi" if side in OURS else side, "limit": asked.limit}
    task |= {"folder": str(asked.folder)}
    rounds: list[Record] = []
    while len(rounds) < asked.rounds and not (rounds and "ended" in rounds[0]):
        rounds.append(run_apart("peers.accuracy", task, asked.limit, source))
    return {"name": name, "side": side, "limit": asked.limit, "rounds": rounds}


def seconds(record: Record, *parts: str) -> float:
    return apart.seconds(record["rounds"], *parts)


def cost(record: Record) -> float:
    """CPU seconds of fit, draws and verdict; the limit, where it was not back by then."""
    value = seconds(record, *STAGES)
    return record["limit"] if np.isnan(value) and late(record) else value


def late(record: Record) -> bool:
    return record["rounds"][0].get("ended", "").startswith("not back")


def back(record: Record) -> bool:
    return "ended" not in record["rounds"][0]


# One line


HEAD = (
    f"{'':44}{'start':>7}{'fit':>8}{'draw':>7}{'verdict':>8}{'sum':>8}{'evals':>9}"
    f"{'d':>5}{'mean':>7}{'avg':>6}{'sd ratio':>12}{'5-95%':>7}{'W1':>7}  "
)


def line(label: str, record: Record) -> str:
    """One row of the table."""
    one = record["rounds"][0]
    ended = one.get("ended", "")
    parts = (("start", 7), ("fit", 8), ("draw", 7), ("verdict", 8))
    text = f"{label:44}" + "".join(_shown(record, ended, w, part) for part, w in parts)
    text += _shown(record, ended, 8, *STAGES) + f"{one.get('evaluations') or '-':>9}"
    text += _errors(one) if one.get("names") else f"{'':44}"
    said = f"{one['verdict_of_fit']:5}{rung(one)}" if "verdict" in one else one.get("method", "")
    return f"{text}  {ended or said}  {naming(one) if 'flagged' in one else ''}".rstrip()


def _shown(record: Record, ended: str, width: int, *parts: str) -> str:
    return apart.shown(seconds(record, *parts), width, ended=ended, limit=record["limit"])


def _errors(one: Record) -> str:
    mean, ratio = np.abs(one["mean"]), one["ratio"]
    text = f"{len(mean):5}{mean.max():7.3f}{mean.mean():6.3f}{min(ratio):7.2f} -{max(ratio):5.2f}"
    whole = "wasserstein" in one
    text += f"{max(one['quantile']):6.3f}{max(one['wasserstein']):7.3f}" if whole else " " * 13
    return f"{text} {'WRONG' if wrong(one) else 'right'}"


def wrong(one: Record) -> list[str]:
    """The quantities that are off."""
    entries = zip(one["names"], one["mean"], one["ratio"], strict=True)
    asked = one.get("within", ASKED)
    return [name for name, mean, ratio in entries if not within(mean, ratio, asked)]


def within(mean: float, ratio: float, asked: Sequence[float] = ASKED) -> bool:
    """Whether an error is small; one that is not a number is not."""
    return abs(mean) <= asked[0] and asked[1] <= ratio <= asked[2]


def naming(one: Record) -> str:
    """What the verdict flags, and whether it is what is wrong."""
    flagged, by = set(one["flagged"]), " ".join(one["by"])
    if "wasserstein" not in one:
        return f"flags {len(flagged)} ({by})" if flagged else ""
    off = set(wrong(one))
    if not off and not flagged:
        return ""
    rest = flagged - set(one["names"])
    text = f"names {len(off & flagged)} of {len(off)} wrong"
    text += f", {len(flagged - off - rest)} of {len(one['names']) - len(off)} right"
    text += f", {' '.join(sorted(rest))}" if rest else ""
    return f"{text} ({by})"


def rung(one: Record) -> str:
    """The engine that the answer came from, without its settings."""
    chosen = [each["engine"] for each in one["rungs"] if each["chosen"]]
    name = (chosen or [one["method"].removeprefix("auto: ")])[0]
    return re.sub(r"\(.*\)", "", name)


def alone(one: Record) -> str:
    """Why a model is run draw by draw, in its fit's words."""
    return next((note for note in one["notes"] if "draw by draw" in note), "no note")


# Many


def summaries(title: str, sides: Mapping[str, Records]) -> Iterator[str]:
    """What each side came to, and its seconds."""
    for side, records in sides.items():
        ran = {name: each["rounds"][0] for name, each in records.items() if back(each)}
        lost = len(records) - len(ran)
        yield f"{title}, {side}: {len(records)} models, {lost} without an answer"
        gold = {name: one for name, one in ran.items() if one.get("names")}
        if gold:
            yield from rightness(gold, said=side in OURS)
        if side in OURS:
            yield from ends(ran)
            yield from costs(list(records.values()))


def rightness(ran: Records, *, said: bool) -> Iterator[str]:
    """How many are right; and of ours, whether the verdict knows."""
    off = {name: wrong(one) for name, one in ran.items()}
    bad = [name for name, found in off.items() if found]
    mean, *ratio = next(iter(ran.values())).get("within", ASKED)
    asked = f"every mean within {mean} sd and every sd ratio within {ratio}"
    yield f"  {len(ran) - len(bad)} right ({asked}); wrong: {_listed(bad)}"
    if not said:
        far = sum(not np.all(np.abs(one["mean"]) <= 1) for one in ran.values())
        yield f"  a mean off by more than a whole sd: {far}"
        return
    silent = [name for name in bad if ran[name]["verdict_of_fit"] == "ok"]
    unnamed = [name for name in bad if not set(off[name]) <= set(ran[name]["flagged"])]
    yield f"  wrong and ok: {_listed(silent)}; not naming every wrong quantity: {_listed(unnamed)}"
    alarms = [name for name in ran if not off[name] and ran[name]["verdict_of_fit"] != "ok"]
    share = len(alarms) / max(len(ran) - len(bad), 1)
    yield f"  false alarms: {share:.1%}, {_listed(alarms)}"


def ends(ran: Records) -> Iterator[str]:
    """Where the ladder ended, and what was said of it."""
    for what, of in (("verdict on the fit", "verdict_of_fit"), ("verdict", "verdict")):
        found = Counter(one[of] for one in ran.values())
        yield f"  {what}: " + ", ".join(f"{each} {found[each]}" for each in ("ok", "warn", "fail"))
    single = [f"{name}: {alone(one)}" for name, one in ran.items() if not one.get("batched", True)]
    yield f"  not batched: {len(single)}"
    yield from (f"    {each}" for each in single)
    found = Counter(rung(one) for one in ran.values())
    yield "  ended on: " + ", ".join(f"{each} {n}" for each, n in found.most_common())


def costs(records: Sequence[Record]) -> Iterator[str]:
    """Sums and medians of the seconds; what was not back counts with its limit in the sum."""
    total = [cost(each) for each in records]
    bound = ">" if any(map(late, records)) else ""
    each = {stage: [seconds(record, stage) for record in records] for stage in STAGES}
    shares = np.divide(each["verdict"], each["fit"])
    yield (
        f"  CPU seconds: sum {bound}{np.nansum(total):.0f}, median {np.nanmedian(total):.2f}, "
        f"most {bound}{np.nanmax(total):.0f}; medians: "
        + ", ".join(f"{stage} {np.nanmedian(values):.2f}" for stage, values in each.items())
        + f", verdict / fit {np.nanmedian(shares):.2f}"
    )


def _listed(found: list[str]) -> str:
    return f"{len(found)} ({', '.join(found)})" if found else "none"


def disagreements(sides: Mapping[str, Records]) -> Iterator[str]:
    """Where two sides of a model without a reference differ by more than one that is right may."""
    pairs = [(a, b) for a in ("pyrovi", "before") for b in ("before", "NUTS") if a != b]
    for mine, theirs in ((a, b) for a, b in pairs if a in sides and b in sides):
        for name in sides[mine]:
            found = [sides[side].get(name, {}).get("rounds", [{}])[0] for side in (mine, theirs)]
            if all("moments" in one for one in found):
                off = list(differing(*(one["moments"] for one in found)))
                rest = f" and {len(off) - LISTED} more" if len(off) > LISTED else ""
                if off:
                    yield f"  {name}, {mine} against {theirs}: {'; '.join(off[:LISTED])}{rest}"


def differing(mine: Record, theirs: Record) -> Iterator[str]:
    """Each entry whose mean or sd differs, with both, the largest distance first."""
    found: list[tuple[float, str]] = []
    for site in mine.keys() & theirs.keys():
        columns = (
            np.array(side[site][part]) for side in (mine, theirs) for part in ("mean", "sd")
        )
        for index, (m, s, n, t) in enumerate(zip(*columns, strict=True)):
            scale = max(t, s)
            if scale > 0 and not within((m - n) / scale, s / t if t else np.inf):
                text = f"{site}[{index}] {m:.3g} ± {s:.3g} against {n:.3g} ± {t:.3g}"
                found.append((abs(m - n) / scale, text))
    return (text for _, text in sorted(found, reverse=True))


# All


def table(models: Mapping[str, str]) -> Iterator[str]:
    """A line a record, and the summaries of each set."""
    found = {side: {name: _read(name, side) for name in models} for side in SIDES}
    kept = {side: {n: r for n, r in of.items() if r} for side, of in found.items()}
    yield HEAD
    for name in models:
        for side in (each for each in SIDES if name in kept[each]):
            yield line(name if side == "pyrovi" else f"    {side}", kept[side][name])
    for group in dict.fromkeys(models.values()):
        own = {s: {n: r for n, r in of.items() if models[n] == group} for s, of in kept.items()}
        yield ""
        yield from summaries(group, {side: of for side, of in own.items() if of})
    yield from ["", "differences:", *disagreements(kept)]


def _read(name: str, side: str) -> Record | None:
    file = _file(name, side)
    return json.loads(file.read_text()) if file.is_file() else None


def _file(name: str, side: str) -> Path:
    return KEPT / f"{name}_{side}.json"


def main() -> None:
    """Measure, keep the records, print a line as each fit ends, and the summaries."""
    asked = _arguments()
    models = dict.fromkeys(names(asked.folder), "posteriordb")
    models |= dict.fromkeys((each.name for each in FOREIGN), "foreign")
    unknown = set(asked.model) - set(models)
    if unknown:
        sys.exit(f"No model {', '.join(sorted(unknown))}; there are {', '.join(models)}.")
    chosen = {
        name: group
        for name, group in models.items()
        if group in asked.set and (name in asked.model or not asked.model)
    }
    KEPT.mkdir(parents=True, exist_ok=True)
    sides = asked.side or (OURS if asked.source else OURS[:1])
    for name in () if asked.table else chosen:
        for side in sides:
            record = measure(name, side, asked)
            _file(name, side).write_text(json.dumps(record) + "\n")
            print(line(f"{name} {side}", record), flush=True)
    print("\n".join(table(chosen)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The default fit on models that others wrote.")
    sets = ("posteriordb", "foreign")
    parser.add_argument("--set", action="append", choices=sets, help="only this one")
    parser.add_argument("--model", action="append", default=[], help="only this one")
    parser.add_argument("--side", action="append", default=[], choices=SIDES, help="only this one")
    parser.add_argument("--source", type=Path, help="another checkout of pyrovi: the side before")
    parser.add_argument("--rounds", type=int, default=1, help="processes for each number")
    parser.add_argument("--limit", type=float, default=600.0, help="CPU seconds of a process")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the posteriors are")
    parser.add_argument("--table", action="store_true", help="print what runs/accuracy holds")
    asked: Any = parser.parse_args()
    asked.set = asked.set or sets
    asked.source = asked.source and asked.source.resolve()
    if "before" in asked.side and not asked.source:
        parser.error("the side before needs --source")
    return asked


if __name__ == "__main__":
    main()
