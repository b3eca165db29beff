"""One task in a process of its own: ``python -m peers.worker '{"task": ..., ...}'``.

It imports one side's library and no other, and writes what it found to the file ``out``.
"""

import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from peers.clock import Clock, Gaussian, cpu_seconds

__all__: list[str] = []

Found = dict[str, Any]
REPEATS = 3
LONG = 20.0  # seconds; what takes longer is repeated once


def _fit(task: Any, data: Any) -> Found:
    """A search: parameters at checkpoints, each with when it was reached."""
    side = import_module(f"peers.with_{task['side']}")
    clock = Clock(task["limit"])
    options = {"judge": _stops_at(task, data)} if task["side"] == "pyro" else {}
    try:
        side.fit(task["name"], data, task["family"], task["rate"], clock, **options)
    except (FloatingPointError, ValueError) as error:  # it diverged, which what was noted shows
        print(error, file=sys.stderr)
    return {
        "steps": [step for step, _, _ in clock.noted],
        "seconds": [seconds for _, seconds, _ in clock.noted],
        "loc": [found.loc for _, _, found in clock.noted],
        "scale": [found.scale for _, _, found in clock.noted],
    }


def _stops_at(task: Any, data: Any) -> Callable[[Gaussian], bool]:
    """Whether a Gaussian is as good as any found before, so that going on shows nothing more."""
    judges: list[Any] = []

    def enough(found: Gaussian) -> bool:
        if not judges:
            from peers.judge import Judge

            judges.append(Judge(task["name"], data))
        return judges[0].elbo(found) > task["target"]

    return enough


def _timed(task: Any, data: Any) -> Found:
    """So many steps in one go: cold, then warm."""
    side = import_module(f"peers.with_{task['side']}")
    what = (task["name"], data, task["family"], task["rate"], task["steps"])
    found = {"cold": _cold(lambda: side.timed(*what))}
    found["warm"] = _warm(lambda: side.timed(*what), found["cold"])
    if task["side"] == "numpyro":
        again = side.kept(*what)
        again()  # which compiles it
        found["kept"] = _warm(again, found["cold"])
    return found


def _pyrovi(task: Any, data: Any) -> Found:
    """A fit by pyrovi, which stops by itself."""
    from peers import with_pyrovi

    fits: list[Any] = []
    what = (task["name"], data, task["family"])
    cold = _cold(lambda: fits.append(with_pyrovi.fit(*what)))
    warm = _warm(lambda: fits.append(with_pyrovi.fit(*what)), cold)
    first = fits[0]
    found: Found = {"cold": cold, "warm": warm, "engine": repr(first.engine)}
    found["evaluations"] = getattr(first.density, "evaluations", 0)
    gaussian = with_pyrovi.gaussian(first)
    if gaussian is not None:
        return found | {"loc": gaussian.loc, "scale": gaussian.scale}
    drawn = first.approximations()[0].draw(4096, 1)
    missing = np.full(len(drawn.flat), np.nan)
    log_guide = missing if drawn.log_guide is None else drawn.log_guide.detach().numpy()
    return found | {"flat": drawn.flat.detach().numpy(), "log_guide": log_guide}


def _pathfinder(task: Any, data: Any) -> Found:
    """Multi-path Pathfinder, which stops by itself."""
    from peers import with_pymc

    drawn: list[np.ndarray] = []
    cold = _cold(lambda: drawn.append(with_pymc.pathfinder(task["name"], data)))
    warm = _warm(lambda: drawn.append(with_pymc.pathfinder(task["name"], data)), cold)
    elbo = with_pymc.pathfinder_elbo(task["name"], data)
    return {"cold": cold, "warm": warm, "flat": drawn[0], "elbo": elbo}


def _density(task: Any, data: Any) -> Found:
    """The log density at given flat vectors."""
    side = import_module(f"peers.with_{task['side']}")
    return {"value": side.density(task["name"], data, np.array(task["flat"]))}


def _reference(task: Any, data: Any) -> Found:
    """A long run of NUTS."""
    from peers import with_numpyro

    return {"flat": with_numpyro.reference(task["name"], data)}


def _cold(run: Callable[[], object]) -> float:
    run()
    return cpu_seconds()


def _warm(run: Callable[[], object], cold: float) -> list[float]:
    seconds = []
    for _ in range(1 if cold > LONG else REPEATS):
        began = cpu_seconds()
        run()
        seconds.append(cpu_seconds() - began)
    return seconds


TASKS: dict[str, Callable[[Any, Any], Found]] = {
    "fit": _fit,
    "timed": _timed,
    "pyrovi": _pyrovi,
    "pathfinder": _pathfinder,
    "density": _density,
    "reference": _reference,
}


def main() -> None:
    """Run the task that the command line describes."""
    task = json.loads(sys.argv[1])
    with np.load(task["data"]) as file:
        data = dict(file)
    np.savez(task["out"], **TASKS[task["task"]](task, data))


if __name__ == "__main__":
    main()
