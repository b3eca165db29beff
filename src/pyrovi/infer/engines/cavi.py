r"""CAVI: coordinate ascent, each factor of *q* set to its optimum while the others are held.

The optimum has a closed form where the model is conditionally conjugate:
:math:`\log q_j(z_j) = E_{-j}[\log p(z_j \mid z_{-j}, y)] + \text{const}`, the complete conditional
at the expected statistics of the others, as the model's `pyrovi.structure.CoordinateUpdates`
declare it. The ELBO is computed exactly after each sweep, and cannot fall; restarts are how its
local optima are met.

Reference: Blei, Kucukelbir and McAuliffe (2017), https://arxiv.org/abs/1601.00670, section 2.4
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pyrovi.approximations import Factors, Sweeper
from pyrovi.clock import check_time
from pyrovi.density import LogDensity
from pyrovi.errors import ModelError
from pyrovi.infer.engine import MEANS, Capabilities, Outcome
from pyrovi.infer.settings import Settings, positive, whole
from pyrovi.tree import INDEPENDENT

ROUNDING = 1e-10  # of the terms that the ELBO sums: a fall by more is not rounding
STILL = 1e-14  # of the same: a rise by less cannot be told from none


@dataclass(frozen=True, kw_only=True, repr=False)
class CAVI(Settings):
    """Coordinate ascent variational inference, by a model's own closed forms.

    Attributes:
        tolerance: The rise of the ELBO over one sweep, in nats, below which it has converged.
        max_steps: How many sweeps to make at the most.
        start: The expected statistics of some coordinates to start at, by name; None for a
            start of the model's own, from the seed.
    """

    tolerance: float = 1e-8
    max_steps: int = 5000
    start: Mapping[str, Any] | None = None
    capabilities = Capabilities(
        closed_forms=True, own_start=True, exact_bound=True, draws=INDEPENDENT, recovers=MEANS
    )

    def __post_init__(self) -> None:
        positive(self, "tolerance", or_zero=True)
        whole(self, "max_steps")

    def _shown(self) -> dict[str, str]:
        """Of a start its coordinates alone."""
        if self.start is None:
            return {}
        return {"start": f"{{{', '.join(f'{name!r}: ...' for name in self.start)}}}"}

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "CAVIState":
        """Start where the model says, or at ``self.start``; ``start`` is not used.

        It raises what `Sweeper.at_start` raises.
        """
        return self.begin(Sweeper.at_start(density, "CAVI", seed, self.start))

    def begin(self, sweeper: Sweeper) -> "CAVIState":
        """Update the coordinates that the start leaves out."""
        state = CAVIState(sweeper)
        state.update(sweeper.waiting)
        return state

    def step(self, state: "CAVIState") -> float:
        """Update every coordinate once, and give minus the ELBO."""
        check_time()
        before = state.elbo
        state.update(state.sweeper.updates.coordinates)
        state.elbo, state.size = elbo(state.sweeper)
        state.rise = state.elbo - before
        if state.rise < -ROUNDING * state.size:
            raise ModelError(_it_fell(state))
        return -state.elbo

    def converged(self, state: "CAVIState") -> bool:
        """Whether the last sweep raised the ELBO by no more than the tolerance."""
        return state.rise <= max(self.tolerance, STILL * state.size)

    def outcome(self, state: "CAVIState") -> Outcome:
        """The factors of the continuous coordinates."""
        sweeper = state.sweeper
        coordinates = sweeper.updates.coordinates
        state.update([name for name in coordinates if name not in sweeper.factors])
        own = [name for name, each in coordinates.items() if each.sites]
        return Outcome(
            approximation=Factors(sweeper.density, {name: sweeper.factors[name] for name in own}),
            bound=state.elbo if np.isfinite(state.elbo) else None,
            notes=state.notes,
        )


def elbo(sweeper: Sweeper) -> tuple[float, float]:
    """The ELBO of the factors, exactly: the expected log joint and the factors' entropies.

    Returns:
        The ELBO in nats, and the sum of its terms without their signs, by which to tell rounding.
    """
    terms = [sweeper.log_joint(), *(float(each.entropy()) for each in sweeper.factors.values())]
    return sum(terms), float(np.abs(terms).sum())


class CAVIState:
    """The factors, their statistics, and the ELBO that they reach."""

    def __init__(self, sweeper: Sweeper) -> None:
        self.sweeper = sweeper
        self.elbo, self.rise, self.size = -np.inf, np.inf, 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """What the bound counts, where there are discrete sites."""
        names = ", ".join(site.name for site in self.sweeper.density.model.discrete)
        note = (
            f"The fit's ELBO, minus the loss, counts the factor of {names}: it is a lower "
            f"bound of the ELBO of the draws, in which {names} is summed out."
        )
        return (note,) if names else ()

    def update(self, names: Iterable[str]) -> None:
        """Set each of some factors to its optimum, in turn."""
        for name in names:
            factor = self.sweeper.conditional(name)
            self.sweeper.factors[name] = factor
            self.sweeper.statistics[name] = factor.expected()


def _it_fell(state: CAVIState) -> str:
    """What to tell of an ELBO that fell: by how much, and through which coordinate.

    One more sweep is made, with the ELBO worked out after each coordinate.
    """
    falls, last = {}, elbo(state.sweeper)[0]
    for name in state.sweeper.updates.coordinates:
        state.update([name])
        reached = elbo(state.sweeper)[0]
        falls[name], last = last - reached, reached
    worst = max(falls, key=lambda name: falls[name])
    return (
        f"The ELBO of {state.sweeper.density.model.name!r} fell by {-state.rise:.3g} nats in a "
        f"sweep, which exact updates cannot do. The update of {worst!r} is the likeliest to be "
        "wrong, or the log joint. Check them against each other in the model's CoordinateUpdates."
    )
