"""Laplace: a Gaussian at the mode, as wide as the curvature there says.

It is purely local, and costs one optimisation and one Hessian. Where the Hessian is not positive
definite, its eigenvalues are held above a small share of the largest, and a note names the
entries they concern.
"""

from dataclasses import dataclass

from torch import Tensor

from pyrovi.approximations import Gaussian
from pyrovi.density import LogDensity
from pyrovi.infer.engine import EXACTLY, Capabilities, Outcome
from pyrovi.infer.settings import Settings, positive, whole
from pyrovi.optimise import QuasiNewton, curvature_cholesky
from pyrovi.tree import INDEPENDENT


@dataclass(frozen=True, kw_only=True, repr=False)
class Laplace(Settings):
    """A Gaussian at the mode of the unconstrained density.

    Attributes:
        tolerance: The largest gradient entry, in nats per unit of the flat vector, scaled by
            the curvature met on the way, at which the search ends.
        max_steps: How many quasi-Newton iterations to take at the most.
    """

    tolerance: float = 1e-5
    max_steps: int = 2000
    capabilities = Capabilities(draws=INDEPENDENT, recovers=EXACTLY)

    def __post_init__(self) -> None:
        """Check the settings."""
        positive(self, "tolerance")
        whole(self, "max_steps")

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

    def outcome(self, state: "LaplaceState") -> Outcome:
        """The Gaussian at the mode."""
        loc = state.search.point.clone()
        precision = -state.density.hessian(loc[None])[0]
        scale_tril, clipped = curvature_cholesky(precision)
        return Outcome(
            approximation=Gaussian(state.density, loc, scale_tril),
            notes=_held_above_zero(clipped, state.density),
        )


class LaplaceState:
    """The search for the mode."""

    def __init__(self, density: LogDensity, start: Tensor) -> None:
        self.density = density
        self.search = QuasiNewton(density.descent, start)


def _held_above_zero(clipped: list[int], density: LogDensity) -> tuple[str, ...]:
    """A note on directions in which the curvature is not positive, by their entries."""
    names = density.labels()
    note = (
        f"The curvature at the mode is not positive in {len(clipped)} direction(s), "
        f"mostly of {', '.join(names[i] for i in clipped[:3])}; it was held above zero."
    )
    return (note,) if clipped else ()
