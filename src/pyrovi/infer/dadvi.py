"""Deterministic ADVI: mean-field variational inference as one smooth optimisation problem.

The standard-normal draws are taken once and kept, so the objective is an ordinary function of the
variational parameters. A quasi-Newton method minimises it, and convergence is a small gradient
rather than a loss curve that looks flat.

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
from pyrovi.infer._quasi_newton import QuasiNewton
from pyrovi.infer.objectives import fixed_draws_loss

__all__ = ["DADVI", "fixed_noise"]

MAX_SOBOL_DIM = torch.quasirandom.SobolEngine.MAXDIM
START_LOG_SCALE = -2.0


@dataclass(frozen=True, kw_only=True)
class DADVI:
    """Mean-field Gaussian fitted to a fixed set of draws.

    Attributes:
        particles: How many fixed draws stand in for the expectation; an even number.
        tolerance: The largest gradient entry, in units of the approximation's own scales, at
            which the fit has converged: about the error of the optimum in standard deviations.
        max_steps: How many quasi-Newton iterations to take at the most.
    """

    particles: int = 64
    tolerance: float = 1e-4
    max_steps: int = 2000

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.particles < 2 or self.particles % 2:
            raise EngineError(
                f"DADVI takes an even number of particles, at least 2, and {self.particles} came. "
                "Try 64."
            )

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "DADVIState":
        """Fix the draws; start narrow, at ``start``."""
        return DADVIState(density, start, fixed_noise(self.particles, density.dim, seed))

    def step(self, state: "DADVIState") -> float:
        """Take one quasi-Newton iteration, and give minus the ELBO it reached."""
        return state.search.step()

    def converged(self, state: "DADVIState") -> bool:
        """Whether every gradient entry is small, or no step makes the loss smaller."""
        gradient_loc, gradient_log_scale = state.search.gradient.chunk(2)
        scaled = gradient_loc * state.log_scale.exp()
        largest = torch.cat([scaled, gradient_log_scale]).abs().max().item()
        return largest < self.tolerance or (state.search.stuck and largest < 100 * self.tolerance)

    def approximation(self, state: "DADVIState") -> Gaussian:
        """The mean-field Gaussian at the optimum."""
        return Gaussian(state.density, state.loc.clone(), state.log_scale.exp())


class DADVIState:
    """The fixed draws, and the search over means and log scales."""

    def __init__(self, density: LogDensity, start: Tensor, noise: Tensor) -> None:
        self.density, self.noise = density, noise
        narrow = torch.full_like(start, START_LOG_SCALE)
        self.search = QuasiNewton(self._loss, torch.cat([start, narrow]))

    def _loss(self, parameters: Tensor) -> Tensor:
        loc, log_scale = parameters.chunk(2)
        return fixed_draws_loss(self.density, loc, log_scale, self.noise)

    @property
    def loc(self) -> Tensor:
        """The means."""
        return self.search.point.chunk(2)[0]

    @property
    def log_scale(self) -> Tensor:
        """The logarithms of the scales."""
        return self.search.point.chunk(2)[1]


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
