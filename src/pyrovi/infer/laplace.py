"""Laplace: a Gaussian at the mode, as wide as the curvature there says.

It is purely local, and costs one optimisation and one Hessian. Where the Hessian is not positive
definite, its eigenvalues are held above a small share of the largest, and a note names the
entries they concern.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.infer._approximation import Gaussian
from pyrovi.infer._density import LogDensity
from pyrovi.infer._loop import settings_that_differ
from pyrovi.infer._quasi_newton import QuasiNewton

__all__ = ["Laplace", "curvature_cholesky", "find_mode"]

MODE_STEPS = 300
MODE_WINDOW = 10  # steps in which a search that is still going gains
MODE_GAIN = 0.01  # nats
SMALLEST_EIGENVALUE = 1e-10  # as a share of the largest


@dataclass(frozen=True, kw_only=True)
class Laplace:
    """A Gaussian at the mode of the unconstrained density.

    Attributes:
        tolerance: The largest gradient entry, in nats per unit of the flat vector, scaled by
            the curvature met on the way, at which the mode is found.
        max_steps: How many quasi-Newton iterations to take at the most.
    """

    tolerance: float = 1e-5
    max_steps: int = 2000

    def __repr__(self) -> str:
        """The settings that differ from the defaults, by which the fit can be repeated."""
        return settings_that_differ(self)

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "LaplaceState":
        """Start the search for the mode."""
        return LaplaceState(density, start)

    def step(self, state: "LaplaceState") -> float:
        """Take one quasi-Newton iteration, and give minus the log density it reached."""
        return state.search.step()

    def converged(self, state: "LaplaceState") -> bool:
        """Whether the gradient is small beside the value, or no step goes further down."""
        largest = state.search.gradient.abs().max().item()
        return largest < self.tolerance or (state.search.stuck and largest < 1.0)

    def approximation(self, state: "LaplaceState") -> Gaussian:
        """The Gaussian at the mode."""
        loc = state.search.point.clone()
        precision = -state.density.hessian(loc)
        scale_tril, clipped = curvature_cholesky(precision)
        if clipped:
            names = state.density.labels()
            state.notes.append(
                f"The curvature at the mode is not positive in {len(clipped)} direction(s), "
                f"mostly of {', '.join(names[i] for i in clipped[:3])}; it was held above zero."
            )
        return Gaussian(state.density, loc, scale_tril)


class LaplaceState:
    """The search for the mode."""

    def __init__(self, density: LogDensity, start: Tensor) -> None:
        self.density = density
        self.notes: list[str] = []
        self.search = QuasiNewton(lambda flat: -density.log_prob(flat), start)


def find_mode(density: LogDensity, start: Tensor) -> Gaussian | None:
    """The Gaussian near the mode next to ``start``; None where there is none to stand on.

    That is where the search does not arrive, or the curvature there is not positive definite. The
    search ends when it no longer gains, which does not depend on how the space is scaled.
    """
    engine = Laplace()
    state = engine.init(density, start, seed=0)
    losses = [torch.inf]
    for _ in range(MODE_STEPS):
        losses.append(engine.step(state))
        if not np.isfinite(losses[-1]):
            return None
        if len(losses) > MODE_WINDOW and losses[-1 - MODE_WINDOW] - losses[-1] < MODE_GAIN:
            found = engine.approximation(state)
            return None if state.notes else found
    return None


def curvature_cholesky(
    precision: Float[Tensor, "dim dim"],
) -> tuple[Float[Tensor, "dim dim"], list[int]]:
    """The Cholesky factor of the inverse of ``precision``, made positive definite.

    Returns:
        The lower factor of the covariance, and for each eigenvalue that had to be raised the
        index of the entry that its eigenvector mostly points to.
    """
    values, vectors = torch.linalg.eigh(precision)
    floor = SMALLEST_EIGENVALUE * values.abs().max()
    raised = [int(vectors[:, i].abs().argmax()) for i in torch.nonzero(values < floor).flatten()]
    covariance = (vectors / torch.where(values < floor, values.abs().clamp(min=floor), values)) @ (
        vectors.T
    )
    return torch.linalg.cholesky((covariance + covariance.T) / 2), raised
