"""The zoo's references and its cards' figures, a file an entry.

    python benchmarks/zoo                            print what the shelf holds
    python benchmarks/zoo eight_schools              of one
    python benchmarks/zoo eight_schools --make       make its reference again, and the figure
    python benchmarks/zoo eight_schools --draw       draw the figure again

A run of NUTS takes minutes to an hour; quadrature and closed forms take seconds.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch

HERE = Path(__file__).parent
SHELF = HERE.parents[1] / "models"
NAMES = sorted(path.stem for path in HERE.glob("*.py") if (SHELF / path.stem).is_dir())


def make(name: str) -> None:
    """The reference, anew."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    text = json.dumps(file_of(name).reference(), indent=1)
    (SHELF / name / "reference.json").write_text(text + "\n")


def draw(name: str) -> None:
    """The card's figure, without a date in it: the same numbers are the same file."""
    with plt.rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.size": 9}):
        drawn = file_of(name).figure(kept(name))
        drawn.savefig(SHELF / name / f"{name}.svg", metadata={"Date": None})
    plt.close(drawn)


def file_of(name: str) -> ModuleType:
    """The entry's own: ``reference()`` and ``figure(kept)``."""
    sys.path.append(str(HERE.parent))  # benchmarks that share their study with a card
    return importlib.import_module(name)


def kept(name: str) -> dict[str, Any]:
    return json.loads((SHELF / name / "reference.json").read_text())


def show(reference: dict[str, Any]) -> None:
    """The table of each variant."""
    for variant, part in reference["variants"].items():
        how, rows = part["how"], part["quantities"]
        about = f"\n{reference['model']}:{variant} on {reference['data']}"
        if "method" in how:
            print(f"{about}: {how['method']}, {how['points']} points")
            for label, row in rows.items():
                print(f"{label:<28}{row['mean']:>10.3f}{row['sd']:>10.3f}")
            continue
        print(
            f"{about}: {how['chains']} chains of {how['draws']} draws, "
            f"{how['divergences']} divergences, {how['seconds']} s"
        )
        print(f"{'quantity':<28}{'mean':>10}{'sd':>10}{'mcse':>10}{'R-hat':>8}{'ESS':>8}")
        for label, row in rows.items():
            print(
                f"{label:<28}{row['mean']:>10.3f}{row['sd']:>10.3f}{row['mcse_mean']:>10.4f}"
                f"{row['rhat']:>8.3f}{row['ess_bulk']:>8.0f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="The zoo's references and figures.")
    parser.add_argument("name", nargs="?", choices=NAMES, help="of this entry alone")
    parser.add_argument("--make", action="store_true", help="make the reference again")
    parser.add_argument("--draw", action="store_true", help="draw the figure again")
    asked = parser.parse_args()
    if asked.make and asked.name is None:
        parser.error("--make is of one entry: name it")
    mpl.use("agg")
    for name in [asked.name] if asked.name else NAMES:
        if asked.make:
            make(name)
        if asked.make or asked.draw:
            draw(name)
        show(kept(name))


if __name__ == "__main__":
    main()
