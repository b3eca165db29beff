"""A deep ensemble: points of highest density, each from a start of its own.

What the members disagree about is taken for what is not known: a hard baseline for Bayesian neural
networks, and no posterior. The members differ by their starts alone. Within one mode they meet,
whatever the data; what those of the paper disagree about is in part what their training left
undone, and ``steps`` says when that ends. The paper's adversarial training is left out.

All members are evaluated in one vectorised run of the model. Each is taken to its mode by L-BFGS;
or is trained by Adam, on minibatches of its own where the model subsamples a plate.

Reference: Lakshminarayanan, Pritzel and Blundell (2017), https://arxiv.org/abs/1612.01474
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.approximations import Points
from pyrovi.bound import prior_draws
from pyrovi.density import LogDensity
from pyrovi.errors import EngineError
from pyrovi.infer.engine import MODE, Capabilities, Outcome
from pyrovi.infer.settings import Settings, positive, whole
from pyrovi.optimise import Asking, QuasiNewton
from pyrovi.seeds import stream
from pyrovi.tree import POINTS

WINDOW = 10  # iterations of a member in which it gains, or has arrived
FLAT = 1e-6  # nats per unit of the flat vector: the largest gradient entry at a mode
BATCH_STEPS = 4000  # where there are minibatches, and nobody says how many
MOST_STUCK = 2  # iterations in a row that gain nothing
MET = 1e-4  # of one and of an entry's size: members this near in all entries are at one place


@dataclass(frozen=True, kw_only=True, repr=False)
class Ensemble(Settings):
    """Points of highest unconstrained density, equally weighted, from starts drawn from the prior.

    As for Laplace, the density is that of the unconstrained vector: for a site that is positive it
    includes the Jacobian of the logarithm, which ``guides.map`` leaves out.

    Attributes:
        members: How many points.
        tolerance: The rise of a member's log density over ten iterations, in nats, below which it
            has arrived.
        steps: How many steps of Adam to train the members for; None for as many as it takes to
            their modes, by L-BFGS, or for 4000 where the model subsamples a plate.
        step_size: Adam's first, in units of the flat vector; it falls to nothing along half a
            cosine.
        max_steps: How many evaluations of all members to make at the most, either way.
    """

    members: int = 5
    tolerance: float = 1e-6
    steps: int | None = None
    step_size: float = 0.02
    max_steps: int = 20_000
    capabilities = Capabilities(own_start=True, draws=POINTS, recovers=MODE)

    def __post_init__(self) -> None:
        whole(self, "members", "steps", "max_steps")
        positive(self, "step_size")
        positive(self, "tolerance", or_zero=True)

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "Climbing | Trained":
        """Start each member at a draw from the prior; ``start`` is not used.

        Raises:
            EngineError: If a latent site stands in a plate that subsamples.
        """
        local = [site.name for site in density.model.latent if site.subsampled]
        if local:
            raise EngineError(
                f"Site {local[0]!r} stands in a plate that subsamples, so that a batch has but a "
                "part of it. Give all rows at once, or use SVI(guide='map')."
            )
        points = starts(density, self.members, seed)
        if density.model.subsampled or self.steps is not None:
            return Trained(self, density, points)
        return Climbing(self, density, points)

    def step(self, state: "Climbing | Trained") -> float:
        """Move all members, and give minus their mean log density, in nats."""
        return state.step()

    def converged(self, state: "Climbing | Trained") -> bool:
        return state.arrived()

    def outcome(self, state: "Climbing | Trained") -> Outcome:
        return Outcome(approximation=Points(state.density, state.points()), notes=state.notes)


def starts(density: LogDensity, members: int, seed: int) -> Float[Tensor, "member dim"]:
    """A flat vector for each member: a draw from the prior.

    Where the prior cannot be drawn from, or the density is not finite at what is drawn: the best
    of a few uniform draws from (-2, 2).
    """
    drawn = _from_the_prior(density, members, seed)
    for i in range(members):
        if i not in drawn:
            drawn[i] = density.start(stream(seed, "member", i), avoid_prior=True)
    return torch.stack([drawn[i] for i in range(members)])


def _from_the_prior(density: LogDensity, members: int, seed: int) -> dict[int, Tensor]:
    """Draws from the prior, of the members for which the density and its gradient are finite."""
    model = density.model
    if model.free or any(site.improper for site in model.latent):
        return {}
    try:
        drawn = prior_draws(model, members, stream(seed, "members"))
        flat = density.unconstrain({piece.site: drawn[piece.site] for piece in density.pieces})
    except (ValueError, RuntimeError, NotImplementedError):
        return {}
    value, gradient = density.value_and_gradient(flat)
    usable = value.isfinite() & gradient.isfinite().all(-1)
    return {i: flat[i] for i in usable.nonzero().flatten().tolist()}


class Climbing:
    """The members' searches for their modes, evaluated as one."""

    def __init__(self, engine: Ensemble, density: LogDensity, flat: Tensor) -> None:
        self.density = density
        self.climbs = [_Climb(density, row, engine.tolerance) for row in flat]

    def step(self) -> float:
        """Evaluate where every member asks for it that has not arrived."""
        going = [climb for climb in self.climbs if not climb.arrived]
        asked = torch.stack([climb.asked for climb in going])
        value, gradient = self.density.value_and_gradient(asked)
        for climb, height, slope in zip(going, value.tolist(), gradient, strict=True):
            climb.go_on(-height, -slope)
        return float(np.mean([climb.search.value for climb in self.climbs]))

    def arrived(self) -> bool:
        return all(climb.arrived for climb in self.climbs)

    def points(self) -> Float[Tensor, "member dim"]:
        """Where the members are; those that came to one place are at one point."""
        points = torch.stack([climb.search.point for climb in self.climbs])
        order = np.argsort([climb.search.value for climb in self.climbs], kind="stable")
        before: list[int] = []
        for index in order.tolist():
            same = next((i for i in before if _met(points[index], points[i])), index)
            points[index] = points[same]
            before.append(index)
        return points

    @property
    def notes(self) -> tuple[str, ...]:
        """At how many places the members ended, and how far apart in height."""
        heights = [-climb.search.value for climb in self.climbs]
        if not np.isfinite(heights).all():  # its time was spent before it began
            return ()
        places = len(torch.unique(self.points(), dim=0))
        said = (
            f"The {len(heights)} members ended at {places} points, whose log densities differ "
            f"by up to {max(heights) - min(heights):.3g} nats"
        )
        if places == 1:
            said = f"All {len(heights)} members ended at one point"
        return (f"{said}. An ensemble is these points, equally weighted: no posterior.",)


class _Climb:
    """One member on its way: what it asks to be evaluated, and whether it has arrived."""

    def __init__(self, density: LogDensity, start: Tensor, tolerance: float) -> None:
        self.search, self.tolerance = QuasiNewton(density.descent, start), tolerance
        self.losses: list[float] = []
        self.arrived = False
        self._iteration: Asking = self.search.asking()
        self.asked = next(self._iteration)

    def go_on(self, loss: float, gradient: Tensor) -> None:
        """Tell it the loss and the gradient where it asked; it asks anew, or has arrived."""
        asked = _next(self._iteration, (loss, gradient))
        while asked is None:  # the iteration is over, and one that finds no step asks nothing
            self.losses.append(self.search.value)
            if self._at_a_mode():
                self.arrived = True
                return
            self._iteration = self.search.asking()
            asked = _next(self._iteration)
        self.asked = asked

    def _at_a_mode(self) -> bool:
        recent = self.losses[-1 - WINDOW :]
        gained = recent[0] - recent[-1] if len(recent) > WINDOW else np.inf
        flat = float(self.search.gradient.abs().max()) < FLAT
        return flat or self.search.stuck_for >= MOST_STUCK or gained < self.tolerance


class Trained:
    """The members under Adam, each with minibatches of its own where there are any."""

    def __init__(self, engine: Ensemble, density: LogDensity, flat: Tensor) -> None:
        self.density, self.flat = density, flat.clone().requires_grad_()
        self.left = engine.steps or BATCH_STEPS
        self.optimizer = torch.optim.Adam([self.flat], lr=engine.step_size)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, self.left)

    def step(self) -> float:
        """Take one step; a member whose gradient is not finite stays where it is."""
        if self.density.model.subsampled:
            height = self.density.on_a_batch(self.flat)
            (slope,) = torch.autograd.grad(height.sum(), self.flat)
        else:
            height, slope = self.density.value_and_gradient(self.flat)
        self.flat.grad = -slope.nan_to_num(0.0, 0.0, 0.0)
        self.optimizer.step()
        self.schedule.step()
        self.left -= 1
        return -float(height.detach().mean())

    def arrived(self) -> bool:
        return not self.left

    def points(self) -> Float[Tensor, "member dim"]:
        return self.flat.detach()

    @property
    def notes(self) -> tuple[str, ...]:
        return (f"An ensemble is {len(self.flat)} points, equally weighted: no posterior.",)


def _next(asking: Asking, told: Any = None) -> Tensor | None:
    try:
        return asking.send(told)
    except StopIteration:
        return None


def _met(one: Tensor, other: Tensor) -> bool:
    return bool(((one - other).abs() <= MET * (1 + other.abs())).all())
