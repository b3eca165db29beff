"""Many chains of Hamiltonian Monte Carlo, side by side, on the potential that Pyro's NUTS has.

Pyro evaluates a potential one point at a time, and NUTS as it comes takes a minute for a model
of ten numbers. Here Pyro's own potential with its gradient is recorded once (`make_fx`) and
mapped over the chains. The step size is found by dual averaging and the metric from the chains
themselves (Hoffman and Gelman, 2014; Hoffman and Sountsov, 2022), trajectories are of random
length up to `LENGTH` in units of the posterior's scale.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from pyro.infer.autoguide import init_to_sample
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

__all__ = ["sample"]

CHAINS = 32
WINDOWS = (30, 40, 50, 80)  # iterations of warm-up, each with the metric of the one before
LENGTH, MOST_STEPS = 2.0, 25
ACCEPTED = 0.9
WIDTH = 2.0  # starts lie between minus and plus this, as Stan's do
TRIES = 200
FAR = 3.0  # nats, beside the half nat of each dimension, three times which is far out


def sample(model: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *,
           nesting: int | None, draws: int, enough: Callable[[dict[str, np.ndarray]], bool],
           end: float) -> dict[str, np.ndarray]:  # fmt: skip
    """Draws (chain, draw, *shape) by site; of ``draws`` more at a time until they are enough.

    Raises:
        TimeoutError: If the warm-up is not over at ``end``, in CPU seconds of the process.
    """
    found = initialize_model(
        model, args, dict(kwargs), max_plate_nesting=nesting, init_strategy=init_to_sample
    )
    start, potential, transforms, _ = found
    target = Target(potential, start)
    chains = Chains(target, end)
    for count in WINDOWS:
        chains.adapt(count)
        chains.free()
    kept: list[Tensor] = []
    while True:
        kept += chains.run(draws)
        by_site = target.split(torch.stack(kept, 1))
        values = {n: _inverse(transforms.get(n), v).numpy() for n, v in by_site.items()}
        if enough(values) or time.process_time() > end:
            return values


def _inverse(transform: Any, values: Tensor) -> Tensor:
    return values if transform is None else transform.inv(values)


class Target:
    """A potential as a function of rows of the flat vector, with its gradient."""

    def __init__(self, potential: Callable[[dict[str, Tensor]], Tensor], start: Any) -> None:
        self.shapes = {name: value.shape for name, value in start.items()}
        self.sizes = [value.numel() for value in start.values()]
        point = torch.cat([value.detach().reshape(-1) for value in start.values()])
        self.start = point

        def both(x: Tensor) -> tuple[Tensor, Tensor]:
            x = x.detach().requires_grad_()
            value = potential({n: v[0] for n, v in self.split(x[None]).items()})
            return value.detach(), torch.autograd.grad(value, x)[0]

        recorded = make_fx(both)(point)
        recorded = make_fx(torch.func.functionalize(recorded))(point)  # nothing in place
        self.rows = torch.func.vmap(recorded)

    def split(self, rows: Tensor) -> dict[str, Tensor]:
        parts = rows.split(self.sizes, -1)
        shapes = self.shapes.items()
        return {
            n: p.reshape((*rows.shape[:-1], *s)) for (n, s), p in zip(shapes, parts, strict=True)
        }

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Potentials and gradients; where it is not finite, infinity and zeros."""
        value, gradient = self.rows(rows)
        good = value.isfinite() & gradient.isfinite().all(-1)
        value = torch.where(good, value, math.inf)
        return value, torch.where(good[:, None], gradient, 0.0)


class Chains:
    """Positions with their potentials and gradients, a metric and a step size."""

    def __init__(self, target: Target, end: float) -> None:
        self.target, self.end = target, end
        self.random = torch.Generator().manual_seed(0)
        self.at = self._starts()
        self.value, self.gradient = target(self.at)
        dim = self.at.shape[1]
        self.root = torch.eye(dim)  # Cholesky factor of the covariance
        self.step = 0.1

    def _starts(self) -> Tensor:
        dim, found = len(self.target.start), []
        for _ in range(TRIES):
            rows = torch.empty(CHAINS, dim).uniform_(-WIDTH, WIDTH, generator=self.random)
            found += list(rows[self.target(rows)[0].isfinite()])
            if len(found) >= CHAINS:
                return torch.stack(found[:CHAINS])
        raise ValueError("no finite starts")

    def adapt(self, count: int) -> None:
        """Dual averaging of the step size; then the covariance of what was visited."""
        centre, mean, log_mean = math.log(10 * self.step), 0.0, 0.0
        visited = []
        for t in range(1, count + 1):
            accepted = self._iterate()
            if time.process_time() > self.end:
                raise TimeoutError("not back in time")
            mean += (ACCEPTED - accepted - mean) / (t + 10)
            log_step = centre - math.sqrt(t) / 0.05 * mean
            log_mean += t**-0.75 * (log_step - log_mean)
            self.step = math.exp(log_step)
            visited.append(self.at.clone())
        self.step = math.exp(log_mean)
        rows = torch.cat(visited[count // 3 :])
        covariance = torch.atleast_2d(rows.T.cov())
        shrunk = 0.95 * covariance + 0.05 * covariance.diagonal().diag()
        scale = torch.linalg.cholesky(shrunk + 1e-9 * torch.eye(len(shrunk)))
        before = self.root.diagonal().log().mean()
        self.step *= float((before - scale.diagonal().log().mean()).exp().clamp(0.2, 5.0))
        self.root = scale

    def free(self) -> None:
        """Put chains that are still on their way in, or stuck there, where another one is."""
        out = self.value > self.value.median() + 3 * (self.at.shape[1] / 2 + FAR)
        others = torch.nonzero(~out)[:, 0]
        pick = others[torch.randint(len(others), (CHAINS,), generator=self.random)]
        self.at = torch.where(out[:, None], self.at[pick], self.at)
        self.value = torch.where(out, self.value[pick], self.value)
        self.gradient = torch.where(out[:, None], self.gradient[pick], self.gradient)

    def run(self, draws: int) -> list[Tensor]:
        found = []
        for _ in range(draws):
            self._iterate()
            found.append(self.at.clone())
            if time.process_time() > self.end:
                break
        return found

    def _iterate(self) -> float:
        """One trajectory of each chain; the mean chance of accepting."""
        share = float(torch.rand((), generator=self.random)) * 0.8 + 0.2
        steps = max(1, min(MOST_STEPS, round(share * LENGTH / self.step)))
        jitter = self.step * (0.8 + 0.4 * float(torch.rand((), generator=self.random)))
        push = torch.randn(self.at.shape, generator=self.random)  # whitened momentum
        before = self.value + 0.5 * push.square().sum(-1)
        at, value, gradient = self.at, self.value, self.gradient
        for _ in range(steps):
            push = push - 0.5 * jitter * gradient @ self.root
            at = at + jitter * push @ self.root.T
            value, gradient = self.target(at)
            push = push - 0.5 * jitter * gradient @ self.root
        after = value + 0.5 * push.square().sum(-1)
        chance = (before - after).nan_to_num(nan=-math.inf).exp().clamp(max=1.0)
        moved = torch.rand(CHAINS, generator=self.random) < chance
        self.at = torch.where(moved[:, None], at, self.at)
        self.value = torch.where(moved, value, self.value)
        self.gradient = torch.where(moved[:, None], gradient, self.gradient)
        return float(chance.mean())
