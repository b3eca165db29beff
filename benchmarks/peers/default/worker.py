"""One task in a process of its own: ``python -m peers.default.worker '{"task": ..., ...}'``.

It imports one side's library and no other.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from peers.apart import Notes, said, stages
from peers.default.problems import PROBLEMS, Draws, compared

__all__: list[str] = []

LONG = 100.0  # CPU seconds; what takes longer is not run again
POINTS = 3  # where densities are compared


def pyrovi(name: str, data: Any, notes: Notes) -> None:
    """Fit, draw and judge, twice."""
    with notes.clock("start"):
        import pyrovi  # noqa: F401  which counts as the start
        from peers.default.with_pyro import model_of

        model = model_of(name)
    fit, tree, verdict = stages(model, data, notes)
    posterior = tree["posterior"]
    draws = {
        site: posterior[site].to_numpy().reshape(-1, *posterior[site].shape[2:])
        for site in PROBLEMS[name].sites
    }
    notes.others |= said(fit, verdict) | {"summary": summary(name, draws)}
    notes.write()
    if _short(notes):
        stages(model, data, notes, "warm ")


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
