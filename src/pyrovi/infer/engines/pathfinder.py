"""Pathfinder: the best of the Gaussians that an optimiser passes on its way to the mode.

Each point of a quasi-Newton path has a Gaussian of its own: its mean is a Newton step further on,
its covariance the inverse Hessian that the last few steps of the path imply. The path crosses the
body of the posterior before it comes to the mode, which may lie outside it; so the Gaussian with
the best evidence lower bound is taken, and not the last one.

Several paths from several starts give a mixture of their Gaussians, weighted so that the mixture's
own bound is best: a mode is weighed by the mass it holds, not by how many paths came to it.

Reference: Zhang, Carpenter, Gelman and Vehtari (2022), https://jmlr.org/papers/v23/21-0889.html;
there the draws of all paths are pooled alike, and importance resampling makes up for it.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.approximations import Gaussian, GaussianMixture
from pyrovi.density import LogDensity
from pyrovi.errors import EngineError, ModelError
from pyrovi.infer.engine import EXACTLY, Capabilities, Outcome
from pyrovi.infer.settings import Settings, positive, whole
from pyrovi.optimise import PathGaussians, QuasiNewton, gaussians_along
from pyrovi.seeds import stream
from pyrovi.tree import INDEPENDENT

WINDOW = 3  # steps in which a path that has not arrived gains
BOUND_EVERY = 50  # steps after which the bounds are worked out
ENTRIES = 5_000_000  # of the draws evaluated at once, a bound on memory
DENSE_DIM = 4_000  # a covariance of more dimensions is gigabytes with what is made of it
POOLED = 200  # draws from each path, by which they are weighed
ASCENT_STEPS = 200
SMALLEST_WEIGHT = 1e-4  # of a component that is kept


@dataclass(frozen=True, kw_only=True, repr=False)
class Pathfinder(Settings):
    """The best Gaussian along a quasi-Newton path, or a mixture of those of several paths.

    Attributes:
        paths: How many paths, each from a start of its own.
        draws_per_elbo: From how many draws the bound at each point of a path is estimated.
        history: How many past steps the inverse Hessian is made of; the paper takes 6, and more
            cost no evaluation.
        tolerance: What a path gains in three steps, in nats, at which it has arrived.
        max_steps: How many quasi-Newton iterations to take at the most, all paths together; each
            has an equal share.
    """

    paths: int = 1
    draws_per_elbo: int = 25
    history: int = 20
    tolerance: float = 1e-6
    max_steps: int = 2000
    capabilities = Capabilities(draws=INDEPENDENT, recovers=EXACTLY)

    def __post_init__(self) -> None:
        whole(self, "paths", "draws_per_elbo", "history", "max_steps")
        positive(self, "tolerance")
        if self.max_steps < self.paths:
            raise EngineError(
                f"Pathfinder shares max_steps between its paths, and {self.max_steps} steps for "
                f"{self.paths} paths came. Give at least 100 steps a path."
            )

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "PathfinderState":
        if density.dim > DENSE_DIM:
            raise EngineError(
                f"Pathfinder keeps a dense covariance, up to {DENSE_DIM} dimensions, and "
                f"{density.dim} came. Use DADVI()."
            )
        return PathfinderState(density, start, seed)

    def step(self, state: "PathfinderState") -> float:
        """Take one iteration on the current path, and give minus the log density it reached.

        At the end of a path that has no finite bound it is not a number.
        """
        path = state.paths[-1]
        loss = path.step()
        share = self.max_steps // self.paths
        path.ended = path.arrived(self.tolerance) or (self.paths > 1 and path.taken == share)
        if path.ended or path.taken % BOUND_EVERY == 0:
            self._bound(state, path)
        if path.ended:
            state.best += path.best
            if len(state.paths) < self.paths:
                state.begin_another()
            elif not state.best:
                return math.nan
        return loss

    def converged(self, state: "PathfinderState") -> bool:
        return len(state.paths) == self.paths and state.paths[-1].ended

    def outcome(self, state: "PathfinderState") -> Outcome:
        """The Gaussian with the best bound along the path; of several paths, their mixture.

        A path that was cut short counts as far as it came. Where no bound is finite it is a
        standard normal at the last point, of a fit that diverged.
        """
        path, gaussians = state.paths[-1], [*state.best]
        if not path.ended:
            self._bound(state, path)
            gaussians += path.best
        last = path.points[-1]
        best = gaussians[0] if gaussians else Gaussian(state.density, last, torch.ones_like(last))
        if gaussians and self.paths > 1:
            best = weighed(gaussians, stream(state.seed, "weights"))
        return Outcome(approximation=best)

    def _bound(self, state: "PathfinderState", path: "Path") -> None:
        """Find the point with the best bound, and end a path whose bounds have stopped to rise."""
        if len(path.points) == len(path.bounds) + 1:
            return
        local = gaussians_along(
            torch.stack(path.points), torch.stack(path.gradients), self.history
        )
        generator = torch.Generator().manual_seed(stream(state.seed, "bounds"))
        shape = (self.draws_per_elbo, state.density.dim)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        seen = len(path.bounds)
        path.bounds = torch.cat([path.bounds, elbos(state.density, local.after(seen), noise)])
        best = int(path.bounds.argmax())
        path.ended |= best < seen
        if bool(path.bounds[best].isfinite()):
            loc, scale_tril = local.loc[best].clone(), local.scale_tril(best)
            path.best = [Gaussian(state.density, loc, scale_tril)]


class PathfinderState:
    """The paths so far, of which the last is being walked, and what the others gave."""

    def __init__(self, density: LogDensity, start: Tensor, seed: int) -> None:
        self.density, self.seed = density, seed
        self.best: list[Gaussian] = []
        # Beside `start`: a path along an axis of symmetry sees no curvature across it.
        generator = torch.Generator().manual_seed(stream(seed, "beside"))
        other = start + 2 * torch.rand(len(start), generator=generator, dtype=torch.float64) - 1
        value, gradient = density.descent(other)
        usable = math.isfinite(value) and bool(gradient.isfinite().all())
        self.paths = [Path(density, other if usable else start)]

    def begin_another(self) -> None:
        """Begin a path at another start."""
        own = stream(self.seed, "path", len(self.paths))
        try:
            start = self.density.start(own, avoid_prior=True)
        except ModelError:  # no uniform draw is in the domain, but the first start was
            start = self.paths[0].points[0]
        self.paths.append(Path(self.density, start))


class Path:
    """Where one search has been.

    Attributes:
        points: The flat vectors, from the start on.
        gradients: Of minus the log density, at each.
        losses: Minus the log density after each step, and at the start, in nats.
        bounds: The evidence lower bound at each point but the first, as far as worked out.
        best: The Gaussian with the best of them, if one is finite.
    """

    def __init__(self, density: LogDensity, start: Tensor) -> None:
        self.search = QuasiNewton(density.descent, start)
        loss, gradient = density.descent(start)
        self.points, self.gradients, self.losses = [start.clone()], [gradient], [loss]
        self.bounds = start.new_empty(0)
        self.best: list[Gaussian] = []
        self.ended = False

    @property
    def taken(self) -> int:
        return len(self.losses) - 1

    def step(self) -> float:
        loss = self.search.step()
        if not self.search.stuck:
            self.points.append(self.search.point)
            self.gradients.append(self.search.gradient)
        self.losses.append(loss)
        return loss

    def arrived(self, tolerance: float) -> bool:
        """Whether the last few steps gained next to nothing."""
        return self.taken >= WINDOW and self.losses[-1 - WINDOW] - self.losses[-1] < tolerance


def best_of_a_path(density: LogDensity, start: Tensor, seed: int) -> Gaussian | None:
    """The best Gaussian along a path from ``start``; None where no bound is finite."""
    engine = Pathfinder()
    state = engine.init(density, start, seed)
    for _ in range(engine.max_steps):
        if not math.isfinite(engine.step(state)) or engine.converged(state):
            break
    return next(iter(state.paths[0].best), None)


def elbos(
    density: LogDensity, local: PathGaussians, noise: Float[Tensor, "draw dim"]
) -> Float[Tensor, "point"]:
    """The evidence lower bound of each point's Gaussian, in nats, from the same noise for all."""
    parts = []
    for part in local.split(max(1, ENTRIES // noise.numel())):
        flat, log_guide = part.draw(noise)
        log_joint = density.log_prob(flat).detach()
        parts.append((log_joint - log_guide).mean(-1))
    bounds = torch.cat(parts)
    return torch.where(bounds.isfinite(), bounds, -torch.inf)


def weighed(components: list[Gaussian], seed: int) -> GaussianMixture:
    """The mixture of Gaussians with the weights of the best evidence lower bound."""
    density, count = components[0].density, len(components)
    equal = GaussianMixture(
        density,
        torch.stack([each.loc for each in components]),
        torch.stack([each.scale_tril for each in components]),
        torch.full((count,), 1 / count, dtype=torch.float64),
    )
    drawn = [each.draw(POOLED, stream(seed, str(i))).flat for i, each in enumerate(components)]
    flat = torch.cat(drawn)
    weights = best_weights(
        density.log_prob(flat).detach().reshape(count, POOLED),
        equal.component_log_prob(flat).reshape(count, POOLED, count),
    )
    kept = weights > SMALLEST_WEIGHT
    return GaussianMixture(
        density, equal.locs[kept], equal.scale_trils[kept], weights[kept] / weights[kept].sum()
    )


def best_weights(
    log_joint: Float[Tensor, "component draw"], log_guide: Float[Tensor, "component draw other"]
) -> Float[Tensor, "component"]:
    """The weights of the mixture with the best bound, from draws of each component.

    The bound is concave in the weights, and mirror ascent with a step of one never lowers it.

    Args:
        log_joint: The log density of the model at each draw.
        log_guide: That of every component there.

    >>> apart = torch.tensor([[[0.0, -99.0]], [[-99.0, 0.0]]])
    >>> best_weights(torch.tensor([[0.0], [1.0]]).log1p(), apart)
    tensor([0.3333, 0.6667])
    """
    log_weights = torch.full_like(log_guide[0, 0], -math.log(len(log_joint)))
    for _ in range(ASCENT_STEPS):
        gain = (log_joint - (log_guide + log_weights).logsumexp(-1)).mean(-1)
        gain = torch.where(gain.isfinite(), gain, -torch.inf)
        log_weights = (log_weights + gain).log_softmax(0)
    return log_weights.exp()
