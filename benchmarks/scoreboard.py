"""The scoreboard: every zoo entry that has a reference, by every engine.

    python benchmarks/scoreboard.py                                   all of them (minutes)
    python benchmarks/scoreboard.py --entry eight_schools:centered    one; may be repeated
    python benchmarks/scoreboard.py --engines auto,dadvi --seed 3     with these engines
    python benchmarks/scoreboard.py --out scoreboard.csv              the table as a file too

*error* is the largest difference of a mean, in reference standard deviations; *sd ratio* the
range of the ratio of standard deviations; *ELBO* in nats; *k-hat* that of the joint weights;
*seconds* those of the fit alone, warm: imports and the first trace are paid before the first
engine; *verdict* the worst status of the checks that judge the fit. A quantity is outside if its
mean is off by more than 0.1 reference sd or its sd by more than 10%. It is *named* if the verdict
finds fault with it or with the whole fit; else the verdict says that it *cannot tell*, or it is
*SILENT*.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

import pyrovi as vi
from pyrovi.errors import DataError, PyroviError
from pyrovi.models import ZOO, ZooModel
from pyrovi.studies import HEAD, Comparison, Reference, reference_of


def entries() -> dict[str, tuple[ZooModel, Reference]]:
    """The zoo's entries and variants whose posterior the shelf knows, by name."""
    found = {}
    for entry in ZOO.values():
        for variant in entry.variants or [""]:
            own = entry.variant(variant) if variant else entry
            reference = reference_of(own)
            if reference is not None:
                found[own.name] = own, reference
    return found


def scored(
    names: list[str], engines: list[str] | None, seed: int, seconds: float
) -> dict[str, Comparison]:
    """One comparison after the other; each is printed as it ends."""
    there = entries()
    unknown = [name for name in names if name not in there]
    if unknown:
        raise DataError(f"No reference for {unknown[0]!r}. There is: {', '.join(there)}.")
    found = {}
    print(HEAD)
    for name in names or there:
        entry, reference = there[name]
        found[name] = vi.compare(
            entry.model,
            entry.load(reference.data or None) if entry.datasets else entry.simulate(0),
            engines,
            reference,
            seed=seed,
            max_seconds=seconds,
        )
        print(
            "\n".join(["", f"{name}, against {reference.about}", *found[name].lines]), flush=True
        )
    return found


def summary(found: dict[str, Comparison]) -> str:
    """What was asked of the scoreboard, and whether it holds."""
    without = [name for name, each in found.items() if not each.right]
    rows = sum(len(each.table) for each in found.values())
    nothing = sum(bool(problem) for each in found.values() for problem in each.table["problem"])
    outside = sum(int((each.table["outside"] > 0).sum()) for each in found.values())
    unflagged = [
        f"{name} by {engine}" for name, each in found.items() for engine in each.unflagged
    ]
    partly = sum(len(each.silent) for each in found.values()) - len(unflagged)
    lines = [f"{name}: {note}" for name, each in found.items() for note in each.notes]
    lines += ["", f"{len(found)} entries, {rows} rows, {nothing} of them without an answer"]
    lines += [f"entries with no engine within: {', '.join(without) or 'none'}"]
    lines += [f"rows with a quantity outside: {outside}; of these"]
    lines += [f"- the verdict names some of it and is silent about the rest: {partly}"]
    lines += [f"- the verdict is silent about all of it: {len(unflagged)}"]
    lines += [f"  {each}" for each in unflagged]
    return "\n".join(lines)


def main() -> None:
    """Print the table and what it comes to."""
    parser = argparse.ArgumentParser(
        description="The zoo by every engine, against its references."
    )
    parser.add_argument("--entry", action="append", default=[], help="only this one")
    parser.add_argument("--engines", help="names with commas between")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-seconds", type=float, default=60.0, help="for each fit")
    parser.add_argument("--out", type=Path, help="a .csv file for the table")
    asked = parser.parse_args()
    engines = asked.engines.split(",") if asked.engines else None
    try:
        found = scored(asked.entry, engines, asked.seed, asked.max_seconds)
    except PyroviError as error:
        sys.exit(f"scoreboard: {error}")
    print(f"\n{summary(found)}")
    if asked.out is not None:
        tables = [each.table.assign(entry=name) for name, each in found.items()]
        pd.concat(tables).set_index("entry").to_csv(asked.out)


if __name__ == "__main__":
    main()
