"""Deterministic ADVI: mean-field variational inference as one smooth optimisation problem.

The standard-normal draws are taken once and kept, so the objective is an ordinary function of the
variational parameters. A quasi-Newton method minimises it, and convergence is a small gradient
rather than a loss curve that looks flat.

Mean field severs correlations. With ``whiten=True`` the space is first turned and stretched by the
curvature at the mode, so that correlations are carried by the turn and what is left for mean field
is close to independent; where there is no usable mode (a funnel's density runs away), plain mean
field goes first. Then the space is turned anew by the curvature averaged over the draws, as long
as the bound gains: its fixed point, where the precision equals the average curvature, is the best
Gaussian of full rank (Opper and Archambeau 2009, https://doi.org/10.1162/neco.2008.08-07-592).

The draws are antithetic, scrambled Sobol points, moved so that their mean is exactly zero and
their second moments exactly the identity where there are enough of them: a Gaussian posterior is
then met by its best mean-field Gaussian with no Monte Carlo error at all.

Reference: Giordano, Ingram and Broderick (2024), https://arxiv.org/abs/2304.05527
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.errors import EngineError
from pyrovi.infer._approximation import Gaussian
from pyrovi.infer._density import LogDensity
from pyrovi.infer._loop import settings_that_differ
from pyrovi.infer._quasi_newton import QuasiNewton
from pyrovi.infer.laplace import curvature_cholesky, find_mode
from pyrovi.infer.objectives import fixed_draws_loss
from pyrovi.seeds import stream

__all__ = ["DADVI", "fixed_noise"]

MAX_SOBOL_DIM = torch.quasirandom.SobolEngine.MAXDIM
START_LOG_SCALE = -2.0
STUCK_TOLERANCES = 100  # how far off a fit may be, in tolerances, that cannot go further down
CURVATURE_ROWS = 20_000  # rows of Hessians in an average curvature, a bound on its cost
SCOUT_STEPS = 150
SCOUT_STEP_SIZE = 0.1
SAME_HEIGHT = 0.5  # nats
FINALISTS = 3  # scouts from whose places a mode is sought in earnest
MOST_TURNS = 5
SMALLEST_GAIN = 0.01  # nats, for which the space is turned once more


@dataclass(frozen=True, kw_only=True)
class DADVI:
    """Mean-field Gaussian fitted to a fixed set of draws.

    Attributes:
        particles: How many fixed draws stand in for the expectation, an even number; None for
            four times the dimension, so that their second moments are exact, within 64 and 512.
        whiten: Whether to turn the space by the curvature, and so carry correlations.
        starts: With ``whiten``, from how many places a mode is sought; the one with the most
            evidence about it goes on.
        tolerance: The largest gradient entry, in units of the approximation's own scales, at
            which the fit has converged: about the error of the optimum in standard deviations.
        max_steps: How many quasi-Newton iterations to take at the most.
    """

    particles: int | None = None
    whiten: bool = False
    starts: int = 1
    tolerance: float = 1e-4
    max_steps: int = 2000

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.particles is not None and (self.particles < 2 or self.particles % 2):
            raise EngineError(
                f"DADVI takes an even number of particles, at least 2, and {self.particles} came. "
                "Try 64."
            )
        if self.starts < 1:
            raise EngineError(f"DADVI takes starts from 1 up, and {self.starts} came.")

    def __repr__(self) -> str:
        """The settings that differ from the defaults, by which the fit can be repeated."""
        return settings_that_differ(self)

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "DADVIState":
        """Fix the draws; start narrow at ``start``, or whitened at the mode."""
        particles = self.particles or min(512, max(64, 4 * density.dim))
        noise = fixed_noise(particles, density.dim, seed)
        mode = self._best_mode(density, start, seed) if self.whiten else None
        if mode is not None:
            return DADVIState(density, mode.loc, noise, turn=mode.scale_tril)
        return DADVIState(density, start, noise)

    def _best_mode(self, density: LogDensity, start: Tensor, seed: int) -> Gaussian | None:
        best = [start]
        if self.starts > 1:
            generator = torch.Generator().manual_seed(stream(seed, "scouts"))
            around = torch.rand(self.starts, density.dim, generator=generator, dtype=torch.float64)
            best = list(scout(density, start + 2 * around - 1)[:FINALISTS])
        found = [find_mode(density, each) for each in best]
        usable = [(_laplace_evidence(density, mode), mode) for mode in found if mode is not None]
        return max(usable, key=lambda pair: pair[0])[1] if usable else None

    def step(self, state: "DADVIState") -> float:
        """Take one quasi-Newton iteration, and give minus the ELBO it reached."""
        return state.search.step()

    def converged(self, state: "DADVIState") -> bool:
        """Whether every gradient entry is small, or no step makes the loss smaller."""
        gradient_loc, gradient_log_scale = state.search.gradient.chunk(2)
        scaled = gradient_loc * state.log_scale.exp()
        largest = torch.cat([scaled, gradient_log_scale]).abs().max().item()
        found = largest < self.tolerance
        found |= state.search.stuck and largest < STUCK_TOLERANCES * self.tolerance
        return found and not (self.whiten and state.turn_again())

    def approximation(self, state: "DADVIState") -> Gaussian:
        """The Gaussian at the optimum: mean field, turned back where the space was turned."""
        return state.found()


class DADVIState:
    """The fixed draws, and the search over means and log scales, in a space that may be turned.

    Attributes:
        turn: The lower triangular matrix by which the space is turned; None for not at all.
        centre: What the origin of the turned space is, in the flat space.
    """

    def __init__(
        self, density: LogDensity, start: Tensor, noise: Tensor, turn: Tensor | None = None
    ) -> None:
        self.density, self.noise, self.turn = density, noise, turn
        self.notes: list[str] = []
        self.turns = 0
        self.best: tuple[float, Gaussian] | None = None
        self.centre = start if turn is not None else torch.zeros_like(start)
        first = torch.zeros_like(start) if turn is not None else start
        log_scale = 0.0 if turn is not None else START_LOG_SCALE
        self._begin(first, torch.full_like(start, log_scale))

    def _begin(self, loc: Tensor, log_scale: Tensor) -> None:
        self.search = QuasiNewton(self._loss, torch.cat([loc, log_scale]))

    def _loss(self, parameters: Tensor) -> Tensor:
        loc, log_scale = parameters.chunk(2)
        return fixed_draws_loss(self._log_prob, loc, log_scale, self.noise)

    def _log_prob(self, flat: Tensor) -> Tensor:
        if self.turn is None:
            return self.density.log_prob(flat)
        stretched = self.turn.diagonal().abs().log().sum()
        return self.density.log_prob(self.centre + flat @ self.turn.T) + stretched

    def found(self) -> Gaussian:
        """The Gaussian found: mean field, turned back where the space was turned."""
        if self.best is not None and self.best[0] <= self.search.value:
            return self.best[1]
        scale = self.log_scale.exp()
        if self.turn is None:
            return Gaussian(self.density, self.loc.clone(), scale)
        return Gaussian(self.density, self.centre + self.turn @ self.loc, self.turn * scale)

    def turn_again(self) -> bool:
        """Turn the space by the average curvature of what was found, if that may still gain."""
        before = torch.inf if self.best is None else self.best[0]
        gained = before - self.search.value
        if gained > 0:
            self.best = (self.search.value, self.found())
        if self.turns == MOST_TURNS or gained < SMALLEST_GAIN:
            return False
        turn, raised = curvature_cholesky(self._average_curvature())
        if raised and self.turn is not None:
            return False
        if raised:
            self.notes.append(
                f"The average curvature was not positive in {len(raised)} direction(s), where "
                "it was held above zero."
            )
        self.centre, self.turn = self.found().loc, turn
        self.turns += 1
        self._begin(torch.zeros_like(self.centre), torch.zeros_like(self.centre))
        return True

    def _average_curvature(self) -> Tensor:
        gaussian, dim = self.found(), self.density.dim
        count = max(2, min(len(self.noise), CURVATURE_ROWS // dim))
        noise = fixed_noise(count - count % 2, dim, seed=0)
        if gaussian.diagonal:
            rows = gaussian.loc + noise * gaussian.scale_tril
        else:
            rows = gaussian.loc + noise @ gaussian.scale_tril.T
        return -torch.stack([self.density.hessian(row) for row in rows]).mean(0)

    @property
    def loc(self) -> Tensor:
        """The means."""
        return self.search.point.chunk(2)[0]

    @property
    def log_scale(self) -> Tensor:
        """The logarithms of the scales."""
        return self.search.point.chunk(2)[1]


def scout(density: LogDensity, rows: Float[Tensor, "start dim"]) -> Float[Tensor, "place dim"]:
    """Climb from many starts at once, a little way, to distinct places, the highest first.

    One vectorised evaluation moves all of them, so that many cost hardly more than one.
    """
    flat = rows.clone()
    optimizer = torch.optim.Adam([flat], lr=SCOUT_STEP_SIZE)
    best, best_value = flat.clone(), torch.full((len(flat),), -torch.inf, dtype=torch.float64)
    for _ in range(SCOUT_STEPS):
        value, gradient = density.value_and_gradient(flat)
        higher = value > best_value
        best[higher], best_value[higher] = flat[higher], value[higher]
        flat.grad = -gradient.nan_to_num(0.0)
        optimizer.step()
    return best[_distinct(best_value)]


def _distinct(value: Float[Tensor, "start"]) -> list[int]:
    """The highest places, leaving out what is as high as one before: the same place, likely."""
    chosen: list[int] = []
    for index in value.argsort(descending=True).tolist():
        if not chosen or value[chosen[-1]] - value[index] > SAME_HEIGHT:
            chosen.append(index)
    return chosen


def _laplace_evidence(density: LogDensity, mode: Gaussian) -> float:
    """The log evidence if the density were the Gaussian at its mode, less a shared constant."""
    log_det = mode.scale_tril.diagonal().log().sum()
    return float(density.log_prob(mode.loc).detach() + log_det)


def fixed_noise(particles: int, dim: int, seed: int) -> Float[Tensor, "draw dim"]:
    """Antithetic standard-normal points whose first two moments are exact where they can be.

    Args:
        particles: How many points; half of them mirror the other half, so the mean is zero.
        dim: Their dimension.
        seed: Scrambles the Sobol sequence.

    Returns:
        Points whose mean is zero; whose second moment matrix is the identity if there are at
        least twice as many points as dimensions, and has a unit diagonal otherwise.
    """
    half = particles // 2
    if dim <= MAX_SOBOL_DIM:
        sobol = torch.quasirandom.SobolEngine(dim, scramble=True, seed=seed)
        uniform = sobol.draw(half, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
        points = torch.special.ndtri(uniform)
    else:
        generator = torch.Generator().manual_seed(seed)
        points = torch.randn(half, dim, generator=generator, dtype=torch.float64)
    if half >= 2 * dim:
        moments = torch.linalg.cholesky(points.T @ points / half)
        points = torch.linalg.solve_triangular(moments, points.T, upper=False).T
    else:
        points = points / points.square().mean(0).sqrt()
    return torch.cat([points, -points])
