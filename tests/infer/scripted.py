"""An engine whose every step is written down, and a density of one standard normal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovi.approximations import Gaussian
from pyrovi.bound import bind, bind_model
from pyrovi.clock import seconds_left
from pyrovi.density import LogDensity
from pyrovi.infer import Capabilities, Outcome


def normal() -> None:
    pyro.sample("x", dist.Normal(0.0, 1.0))


def density_of(model: Callable[..., Any] = normal, data: Any = None) -> LogDensity:
    return LogDensity(bind_model(model, bind(model, data or {})))


def gaussian(density: LogDensity, loc: float = 0.0, scale: float = 1.0) -> Gaussian:
    return Gaussian(density, *(torch.tensor([each]).double() for each in (loc, scale)))


@dataclass(frozen=True)
class Scripted:
    """Gives ``losses`` in turn, or raises them; ends with them, and comes to a Gaussian."""

    losses: Sequence[Any] = (1.0,)
    loc: float = 0.0
    max_steps: int = 100
    says: dict[str, Any] = field(default_factory=dict)
    ends: bool = True
    capabilities = Capabilities()

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "Script":
        return Script(density)

    def step(self, state: "Script") -> Any:
        loss = self.losses[min(state.taken, len(self.losses) - 1)]
        state.taken += 1
        state.left.append(seconds_left())
        if isinstance(loss, BaseException):
            raise loss
        return loss

    def converged(self, state: "Script") -> bool:
        return self.ends and state.taken >= len(self.losses)

    def outcome(self, state: "Script") -> Outcome:
        if isinstance(self.says.get("error"), Exception):
            raise self.says["error"]
        return Outcome(approximation=gaussian(state.density, self.loc), **self.says)


@dataclass
class Script:
    density: LogDensity
    taken: int = 0
    left: list[float] = field(default_factory=list)
