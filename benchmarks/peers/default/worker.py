"""One task in a process of its own: ``python -m peers.default.worker '{"task": ..., ...}'``.

It imports one side's library and no other. After each part it writes what is known so far to the
file ``out``, so that a process that is ended leaves what it had.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from peers.default.problems import PROBLEMS, Draws, compared

__all__: list[str] = []

LONG = 100.0  # CPU seconds; what takes longer is not run again
POINTS = 3  # where densities are compared


class Notes:
    """What was measured, kept in a file as it grows."""

    def __init__(self, out: str) -> None:
        self.file = Path(out)
        self.seconds: dict[str, float] = {}
        self.others: dict[str, Any] = {}

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
        self.file.write_text(json.dumps(record))


def pyrovi(name: str, data: Any, notes: Notes) -> None:
    """Fit, draw and judge, twice."""
    with notes.clock("start"):
        import pyrovi as vi
        from peers.default.with_pyro import model_of

        model = model_of(name)
    notes.others["module"] = vi.__file__

    def run(prefix: str) -> tuple[Any, Any, Any]:
        with notes.clock(f"{prefix}fit"):
            fit = vi.fit(model, data, seed=0)
        with notes.clock(f"{prefix}draw"):
            tree = vi.draw(fit)
        with notes.clock(f"{prefix}verdict"):
            verdict = vi.verdict(vi.check(tree))
        return fit, tree, verdict

    fit, tree, verdict = run("")
    posterior = tree["posterior"]
    draws = {
        site: posterior[site].to_numpy().reshape(-1, *posterior[site].shape[2:])
        for site in PROBLEMS[name].sites
    }
    notes.others |= {
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
        "summary": summary(name, draws),
    }
    notes.write()
    if _short(notes):
        run("warm ")


def nuts(name: str, data: Any, notes: Notes) -> None:
    """NumPyro's NUTS."""
    _numpyro("Nuts", name, data, notes)


def svi(name: str, data: Any, notes: Notes) -> None:
    """NumPyro's SVI."""
    _numpyro("Svi", name, data, notes)


def _numpyro(method: str, name: str, data: Any, notes: Notes) -> None:
    """As it is documented; then compiled by hand once, and what was compiled again."""
    with notes.clock("start"):
        from peers.default import with_numpyro

        given = with_numpyro.arrays(data)
    with notes.clock("fit"):
        side = getattr(with_numpyro, method)(name)
        draws = side.cold(given)
    notes.others["summary"] = summary(name, draws)
    notes.write()
    if _short(notes):
        with notes.clock("once fit"):
            again = side.kept(given)
            again(1)
        with notes.clock("warm fit"):
            again(2)


def reference(name: str, data: Any, notes: Notes) -> None:
    """The long run."""
    import jax

    jax.config.update("jax_enable_x64", val=True)
    from peers.default.with_numpyro import reference as long_run

    with notes.clock("fit"):
        found = long_run(name, data)
    notes.others |= {
        "summary": _summary(found["values"]),
        "rhat": float(np.max(found["rhat"])),
        "ess": float(np.min(found["ess"])),
        "divergent": int(found["divergent"]),
    }
    notes.write()


def densities(name: str, data: Any, notes: Notes) -> None:
    """The log densities of both sides at draws from the prior."""
    import jax

    jax.config.update("jax_enable_x64", val=True)
    from peers.default import with_numpyro, with_pyro

    places = with_numpyro.points(name, data, POINTS)
    notes.others = {
        "pyro": [with_pyro.log_joint(name, data, each) for each in places],
        "numpyro": [with_numpyro.log_joint(name, data, each) for each in places],
    }
    notes.write()


def summary(name: str, draws: Draws) -> dict[str, list[float]]:
    """Moments and quantiles of every compared entry."""
    return _summary(compared(PROBLEMS[name], draws))


def _summary(values: np.ndarray) -> dict[str, list[float]]:
    low, high = np.quantile(values, [0.05, 0.95], axis=0)
    parts = {"mean": values.mean(0), "sd": values.std(0), "low": low, "high": high}
    return {part: [float(f"{each:.6g}") for each in value] for part, value in parts.items()}


def _short(notes: Notes) -> bool:
    return sum(v for part, v in notes.seconds.items() if part != "start") < LONG


TASKS = {each.__name__: each for each in (pyrovi, nuts, svi, reference, densities)}


def main() -> None:
    """Run the task that the command line describes."""
    task: Mapping[str, Any] = json.loads(sys.argv[1])
    with np.load(task["data"]) as file:
        data = {name: value if value.ndim else value.item() for name, value in file.items()}
    TASKS[task["task"]](task["problem"], data, Notes(task["out"]))


if __name__ == "__main__":
    main()
