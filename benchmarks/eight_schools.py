"""Every engine on eight schools, non-centred, against the reference draws of posteriordb.

Prints, for each engine, the error of each mean in reference standard deviations and the ratio of
the standard deviations. Reads ``../shared/posteriordb``, and says so where it is not there.

    python benchmarks/eight_schools.py
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

import pyrovi as vi

REFERENCE = (
    Path(__file__).parents[2] / "shared/posteriordb/eight_schools-eight_schools_noncentered"
)
ENGINES = {
    "auto": "auto",
    "DADVI": vi.DADVI(),
    "Laplace": vi.Laplace(),
    "SVI mean_field": vi.SVI(guide="mean_field"),
    "SVI full_rank": vi.SVI(guide="full_rank"),
    "SVI maf": vi.SVI(guide="maf"),
    "NUTS": vi.NUTS(),
}
DRAWS = 20_000


def moments(engine: object) -> tuple[str, dict[str, np.ndarray], float, str]:
    """The fit in a word, draws of each quantity, seconds and the verdict."""
    entry = vi.models.get("eight_schools")
    began = time.perf_counter()
    fit = vi.fit(entry.model, entry.load(), engine, seed=0)
    seconds = time.perf_counter() - began
    tree = vi.draw(fit, draws=DRAWS)
    posterior = tree["posterior"]
    draws = {f"theta[{i + 1}]": posterior["theta"].values[..., i].ravel() for i in range(8)}
    draws |= {name: posterior[name].values.ravel() for name in ("mu", "tau")}
    return fit.status.value, draws, seconds, vi.verdict(tree).fit_status


def main() -> None:
    """Print the two tables."""
    if not REFERENCE.is_dir():
        sys.exit(f"{REFERENCE} is not there, so there is nothing to compare with.")
    torch.set_num_threads(1)
    reference = json.loads((REFERENCE / "reference.json").read_text())
    names = reference["names"]
    mean, sd = (np.array(reference[key]) for key in ("mean", "sd"))
    print("(mean - reference) / reference sd, and sd / reference sd, of each quantity")
    print(f"{'':16}" + "".join(f"{name:>9}" for name in names) + "   seconds  status     verdict")
    for label, engine in ENGINES.items():
        status, draws, seconds, verdict = moments(engine)
        error = [(draws[n].mean() - m) / s for n, m, s in zip(names, mean, sd, strict=True)]
        ratio = [draws[n].std() / s for n, s in zip(names, sd, strict=True)]
        print(f"{label:16}" + "".join(f"{e:9.2f}" for e in error), end="")
        print(f"{seconds:10.1f}  {status:10} {verdict}")
        print(f"{'':16}" + "".join(f"{r:9.2f}" for r in ratio))


if __name__ == "__main__":
    main()
