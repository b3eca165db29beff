"""Claims: of several restarts, those that reached the best bound are kept, the best first."""

import subprocess
import sys
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovi as vi
from infer.scripted import Scripted, density_of, gaussian, normal
from pyrovi.evidence import Difference
from pyrovi.infer import Bound, Judgement, Run, Status, fitting
from pyrovi.infer.fitting import _reached_the_best

DENSITY = density_of()
FINE = Judgement(("x",), (Difference(0.0, 0.01, 1.0, 0.01, 0.0, 1.0),), 0.1)
OFF = Judgement(("x",), (Difference(1.0, 0.01, 1.0, 0.01, 0.0, 1.0),), 0.1)


def run(value: float | None, error: float = 0.0, **other: Any) -> Run:
    bound = None if value is None else Bound(value, error)
    given = {"status": Status.CONVERGED, "approximation": gaussian(DENSITY), **other}
    losses = {"loss": np.zeros(1)}
    return Run(why="", seconds=0.0, losses=losses, density=DENSITY, bound=bound, **given)


@pytest.mark.parametrize(
    ("runs", "kept"),
    [
        ([run(-3.0), run(-2.7), run(-9.0)], (1, 0)),
        ([run(-3.0), run(-2.0)], (1,)),
        # Noise of 0.3 in each bound hides a difference of 4 * 0.42 nats, and 0.5 more.
        ([run(-4.1, 0.3), run(-2.0, 0.3)], (1, 0)),
        ([run(-4.3, 0.3), run(-2.0, 0.3)], (1,)),
        ([run(-3.0), run(0.0, status=Status.DIVERGED)], (0,)),
        ([run(float("nan")), run(-3.0)], (1,)),
        ([run(-3.0, status=Status.DIVERGED), run(-2.9, status=Status.DIVERGED)], (1, 0)),
        ([run(None), run(None)], (0, 1)),
        ([run(None, approximation=None), run(None)], (1,)),
        ([run(-3.0, judgement=OFF), run(None, judgement=FINE)], (1,)),
        ([run(-3.0, judgement=FINE), run(None, judgement=FINE)], (0,)),
        ([run(None, approximation=None)], ()),
    ],
)
def test_the_runs_that_are_kept(runs: list[Run], kept: tuple[int, ...]) -> None:
    assert _reached_the_best(runs) == kept


def test_threads_are_measured_once_for_all_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def once(*_: Any) -> int:
        measured.append(1)
        return 1

    monkeypatch.setattr(fitting, "faster_threads", once)
    fitting.fit(normal, {}, Scripted(), seed=0, restarts=3)
    assert measured == [1]


@pytest.mark.parametrize("guide", ["mean_field", "full_rank", "maf"])
def test_a_guide_starts_where_plates_lie_left_of_others(guide: str) -> None:
    def groups(y: torch.Tensor) -> None:
        with pyro.plate("group", 5, dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("row", 3, dim=-1):
                pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    fit = vi.fit(groups, {"y": torch.ones(5, 3)}, vi.SVI(guide=guide, max_steps=3), seed=0)
    assert fit.draw(4)[0].flat.shape == (4, 5)


def test_an_interruption_gives_the_fit_so_far_and_begins_no_other_restart() -> None:
    """In a process of its own, with a signal, as Ctrl-C in a notebook sends it."""
    code = (
        "import os, signal, torch, pyro, pyro.distributions as dist, pyrovi as vi\n"
        "from pyro.infer import Trace_ELBO\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # jobs may ignore it
        "runs = []\n"
        "def model(y):\n"
        "    x = pyro.sample('x', dist.Normal(0.0, 1.0))\n"
        "    pyro.sample('y', dist.Normal(x, 1.0), obs=y)\n"
        "    runs.append(1)\n"
        "    if len(runs) == 1000:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "engine = vi.SVI(elbo=Trace_ELBO(), max_steps=10**8, tolerance=1e-12)\n"
        "fit = vi.fit(model, {'y': torch.tensor(1.0)}, engine, seed=0, restarts=3)\n"
        "print(fit.status.value, len(fit.restarts), fit.best.why)\n"
        "print(float(vi.draw(fit, 500)['posterior']['x'].mean()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    said, mean = done.stdout.splitlines()
    assert said.startswith("stopped 1 it was interrupted after")
    assert abs(float(mean) - 0.5) < 0.3
