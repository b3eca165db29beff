"""One problem, every side: the runs, each in a process of its own, and what is to be said of them.

A record is a dict, so that it can be kept in a file: the problem, the family, the side, whether it
reached the best bound within `WITHIN`, by which step size and in how many steps, its cold and warm
seconds, and its accuracy at that time.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from peers.clock import Gaussian
from peers.judge import Judge, Reference, constrained
from peers.problems import PROBLEMS, Data
from peers.threads import ONE_THREAD

__all__ = ["FAMILIES", "PEERS", "RATES", "SIDES", "WITHIN", "Bench", "Record", "measure"]

RATES = (0.001, 0.01, 0.1)  # the first is the default of Pyro's Adam and of PyMC
WITHIN = 0.1  # nats
AGREEMENT = 1e-6  # of log densities, relative
GIVEN_UP = 1800  # wall seconds, for what has no limit of its own, on a busy machine
OWN = ("pyrovi", "default")
FAMILIES = ("mean-field", "full-rank")
SIDES = ("numpyro", "pymc", "pyro")  # Pyro last: it stops once it is as good as the others
PEERS = (*SIDES, "pathfinder")

Record = dict[str, Any]


class Failed(RuntimeError):  # noqa: N818  not an error of the race: it goes on
    """A run that gave no answer."""


@dataclass(frozen=True)
class Bench:
    """What all runs of one problem share.

    Attributes:
        name: The problem.
        folder: Where its data are kept, and its reference.
        limit: CPU seconds a stochastic run may take.
        families: Which Gaussians; the default is held to the full-rank ones.
        sides: Of the other libraries, those that are run.
    """

    name: str
    folder: Path
    limit: float
    families: Sequence[str] = FAMILIES
    sides: Sequence[str] = PEERS

    def data(self) -> Data:
        """The data, which the runs read from a file, so that making them costs no side time."""
        data = PROBLEMS[self.name].data()
        self.folder.mkdir(parents=True, exist_ok=True)
        np.savez(self.folder / f"{self.name}.npz", **data)
        return data

    def run(self, task: str, **options: Any) -> dict[str, np.ndarray]:
        """One task in a fresh process, with one thread, and what it wrote."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.npz"
            asked = {"task": task, "name": self.name, "limit": self.limit, "out": str(out)}
            asked |= {"data": str(self.folder / f"{self.name}.npz"), **options}
            try:
                done = self._call(asked)
            except subprocess.TimeoutExpired as error:
                raise Failed(f"{task}: ended after {GIVEN_UP} s") from error
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no word"])[-1]
                raise Failed(f"{task}: {last[:150]}")
            with np.load(out, allow_pickle=False) as file:
                return dict(file)

    @staticmethod
    def _call(asked: Record) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "peers.worker", json.dumps(asked)],
            cwd=Path(__file__).parents[1],
            env=os.environ | ONE_THREAD,
            capture_output=True,
            check=False,
            text=True,
            timeout=GIVEN_UP,
        )


@dataclass(frozen=True)
class Course:
    """What one stochastic run passed through.

    Attributes:
        rate: Its step size.
        steps: At each checkpoint, how many steps it had taken.
        seconds: And how long it had taken, from the start of the process.
        gaussians: And its parameters.
        elbos: And their ELBO.
    """

    rate: float
    steps: np.ndarray
    seconds: np.ndarray
    gaussians: tuple[Gaussian, ...]
    elbos: np.ndarray

    @property
    def best(self) -> float:
        """The highest ELBO."""
        return float(self.elbos.max(initial=-np.inf))

    def reached(self, target: float) -> int | None:
        """The first checkpoint whose ELBO is at least ``target``."""
        places = np.flatnonzero(self.elbos >= target)
        return int(places[0]) if len(places) else None


def measure(bench: Bench, kept: Sequence[Record] = ()) -> Iterator[Record]:
    """A record for each family and side; first the densities are compared.

    Args:
        bench: The problem.
        kept: Records of an earlier race, whose step sizes and numbers of steps are taken as they
            are, so that all that arrived is timed again and nothing is searched for; without any,
            every side runs.
    """
    problem, data = PROBLEMS[bench.name], bench.data()
    judge = Judge(bench.name, data)
    agreed = agreement(bench, judge) if not kept else kept[0]["agreed"]
    reference = make_reference(bench, data)
    for family in bench.families:
        others = [each for each in kept if each["family"] == family and each["side"] not in OWN]
        about = {"problem": bench.name, "dim": problem.dim, "family": family}
        about |= {"limit": bench.limit, "agreed": agreed}
        for record in measure_family(bench, judge, reference, family, others):
            yield about | record


def agreement(bench: Bench, judge: Judge) -> float:
    """The largest relative difference of the log densities at random points.

    Raises:
        Failed: If it is large: the sides would not be solving one problem.
    """
    flats = np.random.default_rng(1).normal(size=(3, judge.problem.dim)) * 0.5
    ours = judge.log_prob(flats)
    largest = 0.0
    for side in {"numpyro", "pymc"} & set(bench.sides):
        theirs = bench.run("density", side=side, flat=flats.tolist())["value"]
        worst = float((np.abs(theirs - ours) / np.abs(ours)).max())
        if not worst < AGREEMENT:
            raise Failed(f"The densities of {bench.name} differ: {side} {theirs}, {ours}.")
        largest = max(largest, worst)
    return largest


def make_reference(bench: Bench, data: Data) -> Reference:
    """Exact, or from a long run of NUTS, which is kept in a file for the next time."""
    problem = PROBLEMS[bench.name]
    if problem.exact is not None:
        return Reference(*problem.exact(data))
    file = bench.folder / f"{bench.name}_reference.npz"
    if not file.is_file():
        np.savez(file, **bench.run("reference"))
    with np.load(file) as kept:
        values = constrained(kept["flat"], problem.positive)
    return Reference(values.mean(0), values.std(0))


def measure_family(
    bench: Bench, judge: Judge, reference: Reference, family: str, kept: Sequence[Record]
) -> Iterator[Record]:
    """Every side on one family; the best bound of any Gaussian sets the target."""
    own = own_side(bench, judge, reference, "pyrovi", family)
    best = {"pyrovi": own["elbo"]}
    courses: dict[str, list[Course]] = {}
    for side in () if kept else (each for each in SIDES if each in bench.sides):
        target = max(best.values()) - WITHIN / 2
        courses[side] = [
            follow(bench, judge, side=side, family=family, rate=rate, target=target)
            for rate in RATES
        ]
        best[side] = max(course.best for course in courses[side])
    if kept and kept[0]["best"] > own["elbo"]:
        best = {kept[0]["best_by"]: kept[0]["best"]}
    top = max(best, key=lambda side: best[side])
    shared = {"best": best[top], "best_by": top}
    others = [timed_again(bench, moved(each, best[top])) for each in kept]
    for side, own_courses in courses.items():
        timed = time_course(bench, side, family, own_courses, best[top] - WITHIN)
        others.append({"side": side} | accuracy_of(timed, judge, reference))
    if family == "full-rank" and "pathfinder" in bench.sides and not kept:
        others.append(pathfinder(bench, judge, reference, best[top]))
    yield arrived(own, others, best[top]) | shared
    if family == "full-rank":
        default = own_side(bench, judge, reference, "default", family)
        yield arrived(default, others, best[top]) | shared
    for record in others:
        yield record | shared


def moved(kept: Record, best: float) -> Record:
    """A kept record beside a new best: where that is clearly higher, it was not there after all.

    Its seconds then stand as the least that it would need.
    """
    higher = best - kept["best"]
    still = kept["reached"] and higher <= WITHIN / 2
    return kept | {"gap": kept["gap"] + higher, "reached": still}


def timed_again(bench: Bench, kept: Record) -> Record:
    """A kept record with new times, if the side is there; as it is if not."""
    if not kept["reached"] or kept["side"] not in SIDES:
        return kept
    what = {key: kept[key] for key in ("side", "family", "rate", "steps")}
    timed = bench.run("timed", **what)
    return kept | {key: float(np.median(value)) for key, value in timed.items()}


def own_side(bench: Bench, judge: Judge, reference: Reference, side: str, family: str) -> Record:
    """A fit by pyrovi, its bound where it has one, and its accuracy."""
    try:
        found = bench.run("pyrovi", family=family if side == "pyrovi" else "default")
    except Failed as error:
        return {"side": side, "elbo": -np.inf} | failed(error)
    elbo, flat = judged(found, judge)
    return {
        "side": side,
        "engine": str(found["engine"]),
        "evaluations": int(found["evaluations"]),
        "elbo": elbo,
        "cold": float(found["cold"]),
        "warm": float(np.median(found["warm"])),
        **judge.accuracy(flat, reference),
    }


def arrived(own: Record, others: Sequence[Record], best: float) -> Record:
    """Whether pyrovi is there: by its bound, or, where draws have none, by its accuracy."""
    gap = best - own["elbo"]
    errors = [each["largest"] for each in others if each["reached"]]
    as_accurate = own.get("largest", np.inf) <= min(errors, default=np.inf)
    return own | {"gap": gap, "reached": bool(as_accurate if np.isnan(gap) else gap <= WITHIN)}


def failed(error: Failed) -> Record:
    """What is said of a side that gave no answer."""
    numbers = dict.fromkeys(("largest", "mean", "low", "high"), np.nan)
    return {"reached": False, "gap": np.inf, "engine": str(error), **numbers}


def judged(own: dict[str, np.ndarray], judge: Judge) -> tuple[float, np.ndarray]:
    """The ELBO of what pyrovi found, and draws of it; NaN for draws without a density."""
    if "loc" in own:
        found = Gaussian(own["loc"], own["scale"])
        return judge.elbo(found), judge.draws(found)
    return float((judge.log_prob(own["flat"]) - own["log_guide"]).mean()), own["flat"]


def follow(
    bench: Bench, judge: Judge, *, side: str, family: str, rate: float, target: float
) -> Course:
    """A stochastic run with its checkpoints, and the ELBO at each."""
    try:
        found = bench.run("fit", side=side, family=family, rate=rate, target=target)
    except Failed:
        return Course(rate, np.array([]), np.array([]), (), np.array([]))
    gaussians = tuple(map(Gaussian, found["loc"], found["scale"]))
    elbos = np.array([judge.elbo(each) for each in gaussians])
    return Course(rate, found["steps"], found["seconds"], gaussians, elbos)


def time_course(
    bench: Bench, side: str, family: str, courses: list[Course], target: float
) -> Record:
    """The step size that got there first, run again for as many steps, cold and warm."""
    there = [(course, at) for course in courses if (at := course.reached(target)) is not None]
    default = courses[0].reached(target)
    record: Record = {"default": None if default is None else float(courses[0].seconds[default])}
    if not there:
        course = max(courses, key=lambda each: each.best)
        if not len(course.elbos):
            return record | failed(Failed("no checkpoint within the limit"))
        at = int(course.elbos.argmax())
        record |= {"reached": False, "rate": course.rate, "steps": int(course.steps[-1])}
        return record | _where(course, at, target)
    course, at = min(there, key=lambda pair: pair[0].seconds[pair[1]])
    steps = int(course.steps[at])
    record |= {"reached": True, "rate": course.rate, "steps": steps}
    try:
        timed = bench.run("timed", side=side, family=family, rate=course.rate, steps=steps)
    except Failed as error:
        return record | failed(error)
    record |= {key: float(np.median(value)) for key, value in timed.items()}
    return record | _where(course, at, target)


def accuracy_of(timed: Record, judge: Judge, reference: Reference) -> Record:
    """The record, with the accuracy of the Gaussian in it in its place."""
    gaussian = timed.pop("gaussian", None)
    if gaussian is None:
        return timed
    return timed | judge.accuracy(judge.draws(gaussian), reference)


def _where(course: Course, at: int, target: float) -> Record:
    return {"gap": target + WITHIN - float(course.elbos[at]), "gaussian": course.gaussians[at]}


def pathfinder(bench: Bench, judge: Judge, reference: Reference, best: float) -> Record:
    """Pathfinder, which stops by itself: the ELBO is that of its best path before weighting."""
    try:
        found = bench.run("pathfinder")
    except Failed as error:
        return {"side": "pathfinder"} | failed(error)
    gap = best - float(found["elbo"])
    record = {"side": "pathfinder", "reached": gap <= WITHIN, "gap": gap}
    record |= {"cold": float(found["cold"]), "warm": float(np.median(found["warm"]))}
    return record | judge.accuracy(found["flat"], reference)
