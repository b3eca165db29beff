"""Three kinds of engine that pyrovi does not have, written as a third party would.

None knows the loop; each declares what it can do, and gives back one outcome.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pyrovi.approximations import Empirical, Gaussian
from pyrovi.density import LogDensity
from pyrovi.infer import Capabilities, Outcome
from pyrovi.optimise import mass_factor, move
from pyrovi.seeds import stream


@dataclass(frozen=True)
class MonteCarloEM:
    """Chains under the present parameters, then a step of the parameters up their mean density.

    Reference: Wei and Tanner (1990), https://doi.org/10.1080/01621459.1990.10474930
    """

    chains: int = 256
    rate: float = 0.3
    max_steps: int = 25
    capabilities = Capabilities(learns_parameters=True, draws="independent")

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "EMState":
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(self.chains, density.dim, generator=generator, dtype=torch.float64)
        return EMState(LogDensity(density.model.with_parameters()), start + noise, seed)

    def step(self, state: "EMState") -> float:
        seed = stream(state.seed, "move", state.taken)
        factor = mass_factor(state.flat)
        chains = move(state.density, state.flat, factor, transitions=1, kept=1, seed=seed)
        state.flat, state.taken = chains.states[:, -1], state.taken + 1
        parameters = list(state.density.model.params["params"].values())
        height = state.density.log_prob(state.flat).mean()
        slopes = torch.autograd.grad(height, parameters)
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.add_(self.rate * slope)
        return -height.item()

    def converged(self, state: "EMState") -> bool:
        return state.taken == self.max_steps

    def outcome(self, state: "EMState") -> Outcome:
        learnt = LogDensity(state.density.model.with_parameters())
        factor = torch.linalg.cholesky(torch.cov(state.flat.T))
        return Outcome(approximation=Gaussian(learnt, state.flat.mean(0), factor))


@dataclass
class EMState:
    density: LogDensity
    flat: Tensor
    seed: int
    taken: int = 0


@dataclass(frozen=True)
class ReweightedWakeSleep:
    """A mean-field Gaussian that learns from importance-weighted draws of its own.

    Its loss is a pair: minus the bound of many draws, and the cross-entropy of those by weight.
    Reference: Bornschein and Bengio (2015), https://arxiv.org/abs/1406.2751, section 3.3
    """

    particles: int = 200
    rate: float = 0.02
    max_steps: int = 600
    capabilities = Capabilities(draws="independent")

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "WakeState":
        both = torch.stack([start, torch.zeros_like(start)]).requires_grad_()
        optimiser = torch.optim.Adam([both], lr=self.rate)
        return WakeState(density, both, optimiser, torch.Generator().manual_seed(seed))

    def step(self, state: "WakeState") -> Mapping[str, float]:
        guide = torch.distributions.Normal(state.both[0], state.both[1].exp())
        shape = self.particles, state.density.dim
        noise = torch.randn(shape, generator=state.generator, dtype=torch.float64)
        flat = (guide.loc + guide.scale * noise).detach()
        log_guide = guide.log_prob(flat).sum(-1)
        log_weight = state.density.value_and_gradient(flat)[0] - log_guide.detach()
        wake = -(log_weight.softmax(0) * log_guide).sum()
        state.optimiser.zero_grad()
        wake.backward()
        state.optimiser.step()
        state.past.append(state.both.detach().clone())
        bound = float(log_weight.logsumexp(0)) - math.log(self.particles)
        return {"bound": -bound, "wake": wake.item()}

    def converged(self, state: "WakeState") -> bool:
        return len(state.past) == self.max_steps

    def outcome(self, state: "WakeState") -> Outcome:
        late = state.past[len(state.past) // 2 :] or [state.both.detach()]
        loc, log_scale = torch.stack(late).mean(0)
        return Outcome(approximation=Gaussian(state.density, loc, log_scale.exp()))


@dataclass
class WakeState:
    density: LogDensity
    both: Tensor
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    past: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Metropolis:
    """A random walk; the steps are of the size of the posterior."""

    scale: float
    max_steps: int = 1500
    capabilities = Capabilities(draws="chains")

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "Walk":
        height = float(density.log_prob(start))
        return Walk(density, start, height, torch.Generator().manual_seed(seed))

    def step(self, state: "Walk") -> float:
        noise = torch.randn(len(state.place), generator=state.generator, dtype=torch.float64)
        there = state.place + self.scale * noise
        height = float(state.density.value_and_gradient(there[None])[0])
        if math.log(float(torch.rand(1, generator=state.generator))) < height - state.height:
            state.place, state.height = there, height
        state.past.append(state.place)
        return -state.height

    def converged(self, state: "Walk") -> bool:
        return len(state.past) == self.max_steps

    def outcome(self, state: "Walk") -> Outcome:
        flat = torch.stack(state.past[len(state.past) // 5 :])
        return Outcome(approximation=Empirical(state.density, flat), notes=("A random walk.",))


@dataclass
class Walk:
    density: LogDensity
    place: Tensor
    height: float
    generator: torch.Generator
    past: list[Tensor] = field(default_factory=list)
