"""Laplace: a Gaussian at the mode, as wide as the curvature there says.

It is purely local, and costs one optimisation and one Hessian. Eigenvalues that are not positive
are held above a small share of the largest, and a note names the entries they concern.
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
        tolerance: The largest gradient entry, in nats per unit of the flat vector, at which the
            search ends.
        max_steps: How many quasi-Newton iterations to take at the most.
    """

    tolerance: float = 1e-5
    max_steps: int = 2000
    capabilities = Capabilities(draws=INDEPENDENT, recovers=EXACTLY)

    def __post_init__(self) -> None:
        positive(self, "tolerance")
        whole(self, "max_steps")

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "LaplaceState":
        return LaplaceState(density, QuasiNewton(density.descent, start))

    def step(self, state: "LaplaceState") -> float:
        """Take one quasi-Newton iteration, and give minus the log density it reached."""
        return state.search.step()

    def converged(self, state: "LaplaceState") -> bool:
        """Whether the gradient is small beside the value, or no step goes further down."""
        largest = state.search.gradient.abs().max().item()
        return largest < self.tolerance or (state.search.stuck and largest < 1.0)

    def outcome(self, state: "LaplaceState") -> Outcome:
        """The Gaussian at the mode, with a note on directions of no positive curvature."""
        density, loc = state.density, state.search.point.clone()
        scale_tril, raised = curvature_cholesky(-density.hessian(loc[None])[0])
        names = density.labels()
        note = (
            f"The curvature at the mode is not positive in {len(raised)} direction(s), "
            f"mostly of {', '.join(names[i] for i in raised[:3])}; it was held above zero."
        )
        notes = (note,) if raised else ()
        return Outcome(approximation=Gaussian(density, loc, scale_tril), notes=notes)


@dataclass
class LaplaceState:
    """The search for the mode."""

    density: LogDensity
    search: QuasiNewton
