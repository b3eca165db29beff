"""How often right models are warned of, and whether wrong ones are seen.

Five kinds of model, as people write them; the data come from the model itself (right), or from
another one that its checks should see (wrong). At the levels of `limits`, 0.01 and 0.02 a
statistic, chance alone warns of a few right ones in a hundred.

    python benchmarks/alarms.py 40     # data sets of each kind: 200 in all that are right
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch

import pyrovi as vi

Data = dict[str, Any]
DRAWS, SECONDS = 1000, 20.0  # of each data set; of a fit, at most


@dataclass(frozen=True)
class Kind:
    """A model, and data that it made or that something else did."""

    model: Callable[..., None]
    data: Callable[[np.random.Generator, bool], Data]  # the flag: whether the model is wrong
    fault: str


def linear(x: torch.Tensor, y: torch.Tensor) -> None:
    a, b = pyro.sample("a", dist.Normal(0.0, 3.0)), pyro.sample("b", dist.Normal(0.0, 3.0))
    noise = pyro.sample("noise", dist.HalfNormal(2.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(a + b * x, noise), obs=y)


def linear_data(rng: np.random.Generator, wrong: bool) -> Data:
    x = rng.normal(size=40)
    outlying = 6.0 * (np.arange(40) % 13 == 0) * wrong
    return {"x": x, "y": 1 + 0.5 * x + 0.7 * rng.normal(size=40) + outlying}


def counts(x: torch.Tensor, y: torch.Tensor) -> None:
    a, b = pyro.sample("a", dist.Normal(0.0, 2.0)), pyro.sample("b", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Poisson((a + b * x).exp()), obs=y)


def counts_data(rng: np.random.Generator, wrong: bool) -> Data:
    x = rng.normal(size=60)
    crowding = rng.gamma(1.5, 1 / 1.5, size=60) if wrong else 1.0
    return {"x": x, "y": rng.poisson(np.exp(1.2 + 0.4 * x) * crowding).astype(float)}


def shares(x: torch.Tensor, y: torch.Tensor) -> None:
    a, b = pyro.sample("a", dist.Normal(0.0, 3.0)), pyro.sample("b", dist.Normal(0.0, 3.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Binomial(30, logits=a + b * x), obs=y)


def shares_data(rng: np.random.Generator, wrong: bool) -> Data:
    x = rng.uniform(-3, 3, size=60)
    logistic, cauchit = 1 / (1 + np.exp(-0.3 - x)), 0.5 + np.arctan(3 * x) / np.pi
    return {"x": x, "y": rng.binomial(30, cauchit if wrong else logistic).astype(float)}


def groups(group: torch.Tensor, y: torch.Tensor) -> None:
    mean, tau = (
        pyro.sample("mean", dist.Normal(0.0, 2.0)),
        pyro.sample("tau", dist.HalfNormal(1.0)),
    )
    with pyro.plate("groups", 12):
        effect = pyro.sample("effect", dist.Normal(mean, tau))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Poisson(effect[group].exp()), obs=y)


def groups_data(rng: np.random.Generator, wrong: bool) -> Data:
    # Within a group, what the model says is one rate are four: an effect that is missing.
    group, batch = np.repeat(np.arange(12), 8), np.arange(96) // 2
    missing = rng.normal(0, 0.8, size=48)[batch] if wrong else 0.0
    effect = rng.normal(1.5, 0.5, size=12)[group]
    return {"group": group, "y": rng.poisson(np.exp(effect + missing)).astype(float)}


def level(y: torch.Tensor) -> None:
    step = pyro.sample("step", dist.HalfNormal(1.0))
    noise = pyro.sample("noise", dist.HalfNormal(1.0))
    state = pyro.sample("state_0", dist.Normal(0.0, 2.0))
    for t in range(len(y)):
        state = pyro.sample(f"state_{t + 1}", dist.Normal(state, step))
        pyro.sample(f"y_{t}", dist.Normal(state, noise), obs=y[t])


def level_data(rng: np.random.Generator, wrong: bool) -> Data:
    outlying = 6.0 * (np.arange(60) % 17 == 8) * wrong
    state = np.cumsum(0.3 * rng.normal(size=60))
    return {"y": state + 0.6 * rng.normal(size=60) + outlying}


KINDS = {
    "linear regression": Kind(linear, linear_data, "outliers"),
    "Poisson regression": Kind(counts, counts_data, "overdispersion"),
    "logistic regression": Kind(shares, shares_data, "another link"),
    "groups": Kind(groups, groups_data, "a group effect is missing"),
    "state space, in a loop": Kind(level, level_data, "outliers"),
}


def tree_of(kind: Kind, seed: int, *, wrong: bool) -> Any:
    """The tree of one data set, with its draws and not yet checked."""
    rng = np.random.default_rng([seed, wrong])
    fit = vi.fit(kind.model, kind.data(rng, wrong), seed=seed, max_seconds=SECONDS)
    return vi.draw(fit, draws=DRAWS)


def alarms(verdict: vi.Verdict) -> Iterator[str]:
    """What a verdict warns of: the checks that judge the model, and LOO whatever it blames."""
    for row in verdict.records:
        if row["status"] != "ok" and row["check"] in ("predictive", "loo"):
            yield row["check"]


def main(count: int) -> None:
    """Print the shares of right models that are warned of, and of wrong ones."""
    for wrong in (False, True):
        for name, kind in KINDS.items():
            warned: Counter[str] = Counter()
            for seed in range(count):
                found = set(alarms(vi.verdict(vi.check(tree_of(kind, seed, wrong=wrong)))))
                warned.update(found | ({"either"} if found else set()))
            said = ", ".join(f"{key} {warned[key]}" for key in ("loo", "predictive", "either"))
            print(f"{name:24} {kind.fault if wrong else 'right':26} {said} of {count}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
