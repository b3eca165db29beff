"""Tasks that have a process of their own, on one thread: how they are run, and how they answer.

The process reads its task from the command line, and after each part of it writes what is known
so far to a file, so that a process that is ended leaves what it had.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from peers.threads import ONE_THREAD

__all__ = ["OWN", "STAGES", "Notes", "Record", "run_apart", "said", "seconds", "shown", "stages"]

Record = dict[str, Any]

HERE = Path(__file__).parents[1]
OWN = HERE.parent  # this checkout
STAGES = ("fit", "draw", "verdict")
WAITING = 6  # wall seconds to a CPU second, on a busy machine
ENDED = {-24, -9}  # what a process past its CPU seconds comes back with


# The side that asks


def run_apart(module: str, asked: Record, limit: float, source: Path = OWN) -> Record:
    """What one task came to; ``ended`` says why, where it did not end by itself.

    Args:
        module: What is run, by its name from this folder's parent.
        asked: The task, as JSON can hold it.
        limit: CPU seconds after which the process is ended.
        source: The checkout of pyrovi that is imported.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        ended = _call(module, asked | {"out": str(out)}, limit, source)
        record = json.loads(out.read_text()) if out.is_file() else {"seconds": {}}
    return record | ({"ended": ended} if ended else {})


def _call(module: str, asked: Record, limit: float, source: Path) -> str:
    whole = int(limit)
    path = os.pathsep.join(map(str, (source / "src", OWN / "tests")))
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, json.dumps(asked)],
            cwd=HERE,
            env=os.environ | ONE_THREAD | {"PYTHONPATH": path},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 5)),
            capture_output=True,
            check=False,
            text=True,
            timeout=WAITING * limit,
        )
    except subprocess.TimeoutExpired:
        return f"not back in {limit:.0f} s"
    if done.returncode < 0:
        return f"not back in {limit:.0f} s" if done.returncode in ENDED else "crashed"
    return (done.stderr.strip().splitlines() or ["no word"])[-1][:200] if done.returncode else ""


def seconds(rounds: Sequence[Record], *parts: str) -> float:
    """The median over the rounds of the sum of the parts; NaN where one lacks."""
    return float(np.median([sum(r["seconds"].get(p, np.nan) for p in parts) for r in rounds]))


def shown(value: float, width: int = 8, *, ended: str = "", limit: float = np.nan) -> str:
    """Seconds; the limit, where the process was not back by then."""
    if not np.isnan(value):
        return f"{value:{width}.1f}"
    text = f">{limit:.0f}" if ended.startswith("not back") else "failed" if ended else "-"
    return f"{text:>{width}}"


# The side that answers


class Notes:
    """What was measured, kept in a file as it grows."""

    def __init__(self, out: str) -> None:
        self.file = Path(out)
        self.seconds: dict[str, float] = {}
        self.others: Record = {}

    @contextmanager
    def clock(self, part: str) -> Iterator[None]:
        """CPU seconds of all threads of the process."""
        began = time.process_time()
        yield
        self.seconds[part] = time.process_time() - began
        self.write()

    def write(self) -> None:
        """Replace the file."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        record = {"seconds": self.seconds, **self.others, "peak": round(peak)}
        self.file.write_text(json.dumps(record, default=float))


def stages(model: Any, data: Any, notes: Notes, prefix: str = "") -> tuple[Any, Any, Any]:
    """From the data to the verdict with no settings: the fit, the checked tree, the verdict."""
    import pyrovi as vi

    with notes.clock(f"{prefix}fit"):
        fit = vi.fit(model, data, seed=0)
    with notes.clock(f"{prefix}draw"):
        tree = vi.draw(fit)
    with notes.clock(f"{prefix}verdict"):
        tree = vi.check(tree)
        verdict = vi.verdict(tree)
    return fit, tree, verdict


def said(fit: Any, verdict: Any) -> Record:
    """What a fit and its verdict say of themselves."""
    return {
        "module": sys.modules["pyrovi"].__file__,
        "method": fit.method,
        "status": fit.status.value,
        "rungs": [
            {"engine": r.engine, "status": r.status, "seconds": r.seconds, "chosen": r.chosen}
            for r in fit.rungs
        ],
        "verdict": verdict.status,
        "verdict_of_fit": verdict.fit_status,
        "evaluations": getattr(fit.density, "evaluations", None),
        "notes": list(fit.notes),
    }
