"""What drawing costs: a whole tree against the predictions alone by plain Pyro, in turn.

    python benchmarks/draw.py                 five rounds
    python benchmarks/draw.py --rounds 15

2,000 draws of a regression with 1,000 observations. Pyro's `Predictive`, given the same posterior
draws, makes one group (the predictions); `pyrovi.draw` makes all, densities and chains among them,
and `pyrovi.check` judges them. Ratios of medians: no machine is always free.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Predictive
from torch import Tensor

import pyrovi as vi

DRAWS, ROWS = 2000, 1000


def model(x: Tensor, y: Tensor) -> None:
    level = pyro.sample("level", dist.Normal(x.new_zeros(()), 1.0))
    slope = pyro.sample("slope", dist.Normal(x.new_zeros(()), 1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(level + slope * x, 1.0), obs=y)


def seconds(deed: Callable[[], Any]) -> float:
    began = time.perf_counter()
    deed()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_default_dtype(torch.float64)
    noise = np.random.default_rng(0)
    x, error = noise.normal(size=(2, ROWS))
    data = {"x": x, "y": 0.5 - x + error}
    fit = vi.fit(model, data, vi.Laplace(), seed=0)
    tree = vi.draw(fit, DRAWS)
    posterior = tree["posterior"].to_dataset().isel(chain=0)
    drawn = {str(n): torch.as_tensor(v.to_numpy())[:, None] for n, v in posterior.items()}
    given = vi.bind(model, data).kwargs
    unseen = pyro.poutine.uncondition(model)
    deeds = {
        "Predictive": lambda: Predictive(unseen, drawn, parallel=True)(**given),
        "draw": lambda: vi.draw(fit, DRAWS),
        "check": lambda: vi.check(tree),
    }
    taken = [{name: seconds(deed) for name, deed in deeds.items()} for _ in range(rounds)]
    medians = {name: median(each[name] for each in taken) for name in deeds}
    for name, value in medians.items():
        print(f"{name:12}{value:7.3f} s  {value / medians['Predictive']:6.1f} of Predictive")


if __name__ == "__main__":
    main()
