"""Deterministic ADVI: mean-field variational inference as one smooth optimisation problem.

The standard-normal draws are taken once and kept, so the objective is an ordinary function of the
variational parameters (`pyrovi.optimise.FixedDraws`), and convergence is a small gradient rather
than a loss curve that looks flat. The search starts at a mode, as wide as the curvature there
says, where there is one; goes the way with few draws; and ends with so many that others would move
the means by a small share of their standard deviations.

Mean field severs correlations. Two ways mend it:

- ``linear_response=True`` keeps the means and takes the covariance from how they would move if the
  posterior were tilted (Giordano, Broderick and Jordan 2018);
- ``whiten=True`` turns and stretches the space by the curvature at the mode, so that mean field
  is left with what is close to independent; without a usable mode (a funnel's density runs away),
  plain mean field goes first. Then the space is turned anew by the curvature averaged over the
  draws, as long as the bound gains: the fixed point is the best Gaussian of full rank (Opper and
  Archambeau 2009, https://doi.org/10.1162/neco.2008.08-07-592).

Reference: Giordano, Ingram and Broderick (2024), https://arxiv.org/abs/2304.05527
"""

import contextlib
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.approximations import Gaussian
from pyrovi.clock import OutOfTime
from pyrovi.density import LogDensity
from pyrovi.errors import EngineError
from pyrovi.infer.engine import EXACTLY, MEANS, Capabilities, Outcome
from pyrovi.infer.settings import Settings, positive, whole
from pyrovi.optimise import (
    FixedDraws,
    QuasiNewton,
    affordable,
    curvature_cholesky,
    find_modes,
    fixed_noise,
    lower_factor,
)
from pyrovi.tree import INDEPENDENT

START_LOG_SCALE = -2.0
HELD_UP = 5  # steps in a row that go no further down, after which none will
STUCK_TOLERANCES = 100  # how far off a fit may be, in tolerances, that cannot go further down
DENSE_DIM = 2_000  # above it, linear response is for chosen quantities: `pyrovi.linear_response`
MOST_PARTICLES = 1024
EXACT_DIM = 3_000  # above, so many draws as make second moments exact are too many
ROUGH = 0.1  # the tolerance with which the way there is gone, in standard deviations
ROUGH_STEPS = 12  # in one space, after which turning it may gain more than going on
NEWTON_EVERY, NEWTON_STEPS = 100, 20  # steps of L-BFGS, by which a search that is not slow arrives
MOST_TURNS = 8
NARROWER = 12  # times that a start is made narrower, by a factor of e, to stay in the domain
SMALLEST_GAIN = 0.01  # nats, for which the space is turned once more


@dataclass(frozen=True, kw_only=True, repr=False)
class DADVI(Settings):
    """Mean-field Gaussian fitted to a fixed set of draws.

    Attributes:
        particles: How many fixed draws stand in for the expectation, an even number; None for
            four times the dimension within 64 and 512, at the least twice that of mean field up to
            3,000 dimensions; doubled up to 1024 until ``error`` is met.
        whiten: Whether to turn the space by the curvature, and so carry correlations.
        linear_response: Whether to take the covariance from linear response.
        starts: From how many places a mode is sought; the one with the most evidence about it
            goes on. None for three, and many more where these disagree.
        modes: Those that are known, the one to start at first; none to search for them.
        matched: Whether the draws are antithetic and moved to exact moments; else they are
            independent, and the error of the optimum is nominal rather than an upper bound.
        error: The largest error of a mean, in standard deviations, that the choice of the draws
            may leave.
        tolerance: The largest gradient entry, in units of the approximation's own scales, at
            which the fit has converged: about the error of the optimum in standard deviations.
        max_steps: How many quasi-Newton iterations to take at the most.
    """

    particles: int | None = None
    whiten: bool = False
    linear_response: bool = False
    starts: int | None = None
    modes: tuple[Gaussian, ...] = field(default=(), repr=False)
    matched: bool = True
    error: float = 0.05
    tolerance: float = 1e-3
    max_steps: int = 2000

    def __post_init__(self) -> None:
        whole(self, "particles", least=2, even=True)
        whole(self, "starts", "max_steps")
        positive(self, "error", "tolerance")

    @property
    def capabilities(self) -> Capabilities:
        """A Gaussian: of full rank where the space is turned or the covariance mended."""
        full_rank = self.whiten or self.linear_response
        return Capabilities(draws=INDEPENDENT, recovers=EXACTLY if full_rank else MEANS)

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "DADVIState":
        self._check(density)
        state = self._state(density, seed)
        state.modes = self.modes
        with contextlib.suppress(OutOfTime):  # the first step will say so, and `start` is kept
            if not self.modes and (self.whiten or affordable(density)):
                modes = find_modes(density, start, self.starts, seed, insist=self.whiten)
                state.modes = tuple(modes)
        if not state.modes:
            state.begin(torch.cat([start, torch.full_like(start, START_LOG_SCALE)]))
        elif self.whiten:
            state.begin_turned(state.modes[0])
        else:
            state.begin_around(state.modes[0])
        return state

    def begin_at(self, density: LogDensity, mode: Gaussian, seed: int) -> "DADVIState":
        """Fix the draws, and start as a Gaussian that is given, in a space turned by it."""
        state = self._state(density, seed)
        state.begin_turned(mode)
        return state

    def _state(self, density: LogDensity, seed: int) -> "DADVIState":
        """With few draws for the way there: so many that their second moments are exact."""
        dim, enough = density.dim, self._enough(density.dim)
        few = min(enough, 2 * max(8, dim + dim // 4)) if self.particles is None else enough
        problem = FixedDraws(density, self.noise(few, dim, seed), paired=self.matched)
        return DADVIState(problem, seed, rough=few < enough)

    def _enough(self, dim: int) -> int:
        """Draws for the optimum: four to a dimension, or the two that make second moments exact.

        In a turned space these matter less: what curvature is left meets single entries alone.
        """
        if self.particles is not None:
            return self.particles
        bounded = min(512, max(64, 4 * dim))
        return bounded if self.whiten or dim > EXACT_DIM else max(bounded, 2 * dim)

    def noise(self, particles: int, dim: int, seed: int) -> Float[Tensor, "draw dim"]:
        if self.matched:
            return fixed_noise(particles, dim, seed)
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(particles, dim, generator=generator, dtype=torch.float64)

    def _check(self, density: LogDensity) -> None:
        if self.whiten and self.particles is not None and self.particles <= density.dim:
            raise EngineError(
                f"DADVI(whiten=True) fits a Gaussian of full rank, which needs more fixed draws "
                f"than dimensions: {density.dim} dimensions and particles={self.particles} came. "
                f"Give {4 * density.dim} or more, or leave particles out."
            )
        if self.linear_response and density.dim > DENSE_DIM:
            raise EngineError(
                f"The linear-response covariance of all {density.dim} dimensions would be dense, "
                f"and is offered up to {DENSE_DIM}. Fit without, and ask for chosen quantities: "
                "pyrovi.linear_response(fit, of=...)."
            )

    def step(self, state: "DADVIState") -> float:
        """Take a quasi-Newton iteration, or once in a while Newton's; minus the ELBO it reached.

        It is not a number once the search is held up by places where the density is none.
        """
        state.taken += 1
        state.in_space += 1
        loss = state.search.step() if state.taken % NEWTON_EVERY else state.newton(self.tolerance)
        return math.nan if state.search.stuck_for >= HELD_UP and state.search.walled else loss

    def converged(self, state: "DADVIState") -> bool:
        """Whether every gradient entry is small, or no step makes the loss smaller.

        With few draws at first, and roughly, as long as the space is turned or the way is far.
        """
        tolerance = ROUGH if state.rough else self.tolerance
        gradient_loc, gradient_log_scale = state.search.gradient.chunk(2)
        scaled = gradient_loc * state.log_scale.exp()
        largest = torch.cat([scaled, gradient_log_scale]).abs().max().item()
        arrived = largest < tolerance
        arrived |= state.search.stuck and largest < STUCK_TOLERANCES * tolerance
        arrived |= state.search.stuck_for >= HELD_UP
        slow = self.whiten and state.rough and state.in_space % ROUGH_STEPS == 0
        turned = self.whiten and (arrived or slow) and state.turn_again()
        if not arrived or turned:
            return False
        more = self._more(state)
        if more is not None:
            state.renew(self.noise(more, state.problem.density.dim, state.seed))
        return more is None

    def _more(self, state: "DADVIState") -> int | None:
        """How many draws to go on with: twice as many, if others would move the means too far."""
        if state.rough:
            return self._enough(state.problem.density.dim)
        if self.particles is not None:
            return None
        state.errors = state.problem.error(state.search.point, state.seed)
        more = 2 * len(state.problem.noise)
        return more if float(state.errors.max()) > self.error and more <= MOST_PARTICLES else None

    def outcome(self, state: "DADVIState") -> Outcome:
        """The Gaussian at the optimum: mean field, turned back where the space was turned."""
        gaussian = state.gaussian()
        if self.linear_response:
            covariance, _ = state.problem.linear_response(state.search.point)
            gaussian = replace(gaussian, scale_tril=torch.linalg.cholesky(covariance))
        notes, modes = tuple(state.notes), state.modes
        return Outcome(approximation=gaussian, notes=notes, errors=state.errors, modes=modes)


def length_units(log_scale: Float[Tensor, "dim"]) -> Float[Tensor, "parameter"]:
    """Units in which the curvature is near one: the scales, and one for their logarithms."""
    return torch.cat([log_scale.exp(), torch.full((len(log_scale),), 0.5**0.5)])


def gain_of_a_turn(curvature: Float[Tensor, "dim dim"]) -> float:
    """About how many nats a Gaussian of this precision gains on its best mean field.

    It is infinite if the precision is not positive definite.
    """
    factor, failed = torch.linalg.cholesky_ex(curvature)
    if int(failed):
        return math.inf
    return float(0.5 * curvature.diagonal().log().sum() - factor.diagonal().log().sum())


class DADVIState:
    """The search over means and log scales in a turned space; ``rough`` with few draws yet."""

    def __init__(self, problem: FixedDraws, seed: int, *, rough: bool) -> None:
        self.problem, self.seed, self.rough = problem, seed, rough
        self.notes: list[str] = []
        self.turns = self.taken = self.in_space = 0  # the last of them since the space was turned
        self.modes: tuple[Gaussian, ...] = ()
        self.errors: Tensor | None = None
        self.best: tuple[float, Gaussian] | None = None

    def begin(self, parameters: Float[Tensor, "parameter"], *, known_scales: bool = False) -> None:
        """Search on from means and log scales, narrower where a draw would leave the domain.

        Scales that are known to be about those of the optimum are units of length for the search.
        """
        loc, log_scale = parameters.chunk(2)
        narrower = torch.cat([torch.zeros_like(loc), torch.ones_like(log_scale)])
        half = torch.full_like(loc, 0.5**0.5)
        units = torch.cat([log_scale.exp(), half]) if known_scales else None
        self.in_space = 0
        self.search = QuasiNewton(self.problem.evaluate, parameters, units)
        with contextlib.suppress(OutOfTime):
            for _ in range(NARROWER):
                value, gradient = self.problem.evaluate(parameters)
                if math.isfinite(value) and bool(gradient.isfinite().all()):
                    self.search.go_to(parameters, value, gradient)
                    return
                parameters = parameters - narrower
        self.search.point = parameters

    def begin_around(self, mode: Gaussian) -> None:
        """Search on from a mode, with the scales that are best if it is Gaussian there."""
        identity = torch.eye(len(mode.loc), dtype=mode.loc.dtype)
        root = torch.linalg.solve_triangular(mode.scale_tril, identity, upper=False)
        log_scale = -0.5 * root.square().sum(0).log()
        self.begin(torch.cat([mode.loc, log_scale]), known_scales=True)

    def begin_turned(self, gaussian: Gaussian) -> None:
        """Search on in a space whose standard normal is the Gaussian given."""
        old, loc = self.problem, gaussian.loc
        turned: Any = {"paired": old.paired, "turn": gaussian.factor, "centre": loc}
        self.problem = FixedDraws(old.density, old.noise, **turned)
        self.begin(torch.zeros(2 * len(loc), dtype=loc.dtype), known_scales=True)

    def newton(self, tolerance: float) -> float:
        """Some iterations of a trust-region Newton method, and minus the ELBO they reached.

        A narrow valley, on which quasi-Newton steps are many and small, takes a few of them.
        """
        from scipy.optimize import minimize

        start, units = self.search.point, length_units(self.log_scale)

        def place(moved: np.ndarray) -> Tensor:
            return start + units * torch.as_tensor(moved)

        def loss(moved: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self.problem.evaluate(place(moved))
            return value, (units * gradient).numpy()

        def product(moved: np.ndarray, along: np.ndarray) -> np.ndarray:
            direction = units * torch.as_tensor(along)
            return (units * self.problem.hessian_product(place(moved), direction)).numpy()

        ends: Any = {"gtol": tolerance / 10, "maxiter": NEWTON_STEPS}
        here = np.zeros(len(start))
        better = minimize(loss, here, jac=True, hessp=product, method="trust-ncg", options=ends)
        if better.fun < self.search.value:
            point = place(better.x)
            self.search.go_to(point, *self.problem.evaluate(point))
        return self.search.value

    def renew(self, noise: Float[Tensor, "draw dim"]) -> None:
        """Search on with other draws: after the rough way, in the space of the best so far."""
        self.problem.noise = noise
        if self.rough and self.problem.turn is not None:
            self.begin_turned(self.gaussian())
        else:
            self.begin(self.search.point, known_scales=True)
        self.rough, self.best = False, None

    def gaussian(self) -> Gaussian:
        """The best Gaussian so far: mean field, turned back where the space was turned."""
        if self.best is not None and self.best[0] <= self.search.value:
            return self.best[1]
        density, turn, scale = self.problem.density, self.problem.turn, self.log_scale.exp()
        spread = scale if turn is None else turn * scale
        return Gaussian(density, self.problem.flat(self.loc), spread)

    def turn_again(self) -> bool:
        """Turn the space by the average curvature over the Gaussian, if that may still gain."""
        gained = (torch.inf if self.best is None else self.best[0]) - self.search.value
        if gained > 0:
            self.best = (self.search.value, self.gaussian())
        if self.turns == MOST_TURNS or gained < SMALLEST_GAIN:
            return False
        curvature = self.problem.average_curvature(self.search.point, self.seed)
        if not bool(curvature.isfinite().all()) or gain_of_a_turn(curvature) < SMALLEST_GAIN:
            return False
        factor, raised = curvature_cholesky(curvature)
        if raised and self.problem.turn is not None:
            return False
        if raised:
            self.notes.append(
                f"The average curvature was not positive in {len(raised)} direction(s), where "
                "it was held above zero."
            )
        self.turns += 1
        loc, stretched = self.problem.flat(self.loc), self.log_scale.exp()[:, None] * factor
        turn = stretched if self.problem.turn is None else self.problem.turn @ stretched
        self.begin_turned(Gaussian(self.problem.density, loc, lower_factor(turn)))
        return True

    @property
    def loss(self) -> float:
        """Minus the ELBO of the best Gaussian so far, in nats."""
        here = self.search.value
        return here if self.best is None else min(here, self.best[0])

    @property
    def loc(self) -> Tensor:
        return self.search.point.chunk(2)[0]

    @property
    def log_scale(self) -> Tensor:
        return self.search.point.chunk(2)[1]
