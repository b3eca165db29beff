"""A transport map: a Gaussian bent by a triangular map of second order, fitted on fixed draws.

A Gaussian in a turned space (`DADVI(whiten=True)`) goes first. Then each entry of that space gets
a skew and a tail, by a sinh-arcsinh transform, and shifts and scales by those before it: the scale
of a funnel widens the rest, the square of one entry of a banana moves the other. A draw has a
density, for the map is triangular. Of the many terms that there could be, those are fitted that
scores show to be there (`pyrovi.optimise.terms_of`), so that a search takes a few quasi-Newton
steps. Which entries come before which matters where the bends are strong: the order of the model
and its reverse are tried with few draws. The better one is searched on with more, and what other
draws show to be no gain is left.

Reference: El Moselhy and Marzouk (2012), https://doi.org/10.1016/j.jcp.2012.07.022; Spantini,
Bigoni and Marzouk (2018), https://jmlr.org/papers/v19/17-747.html
"""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyrovi.approximations import CONSTANT, Gaussian, Transported, TriangularMap
from pyrovi.density import LogDensity
from pyrovi.errors import EngineError
from pyrovi.infer.engine import EXACTLY, Capabilities, Outcome
from pyrovi.infer.engines.dadvi import DADVI, DADVIState
from pyrovi.infer.settings import Settings, positive, whole
from pyrovi.optimise import QuasiNewton, TransportedDraws, fixed_noise, lower_factor, terms_of
from pyrovi.seeds import stream
from pyrovi.tree import INDEPENDENT

GAUSSIAN = DADVI(whiten=True)
TERM_DIM = 100  # above, entries have skew and tails alone: the terms are of the third power of it
FEWEST, MOST_PARTICLES = 256, 1024
FEWEST_A_DIM, LEAST_A_DIM = 8, 4  # draws; half as many mirrored pairs tell linear terms apart
FIT_WORK = 4_000_000  # numbers in one evaluation of all draws, if it is to be cheap
TERM_SHARE = 4  # times as many draws, from which the terms are read
ROUGH_SHARE, ROUGH = 2, 10  # so many times fewer draws, and a larger tolerance, to begin with
ROUGH_STEPS = 50  # of a search with few draws, which need not end
HELD_UP = 3  # steps in a row that go no further down, after which none will


@dataclass(frozen=True, kw_only=True, repr=False)
class TransportMap(Settings):
    """A Gaussian bent by a triangular map, fitted to a fixed set of draws.

    Attributes:
        around: The Gaussian that is bent; None to fit one.
        particles: How many fixed draws stand in for the expectation, an even number; None for as
            many as are cheap, 256 to 1024.
        tolerance: The largest gradient entry, in units in which the curvature is about one, at
            which the fit has converged: about the error of the optimum in standard deviations.
        max_steps: How many quasi-Newton iterations to take at the most, the Gaussian's included.
    """

    around: Gaussian | None = field(default=None, repr=False)
    particles: int | None = None
    tolerance: float = 0.01
    max_steps: int = 2000
    capabilities = Capabilities(draws=INDEPENDENT, recovers=EXACTLY)

    def __post_init__(self) -> None:
        whole(self, "particles", least=2, even=True)
        whole(self, "max_steps")
        positive(self, "tolerance")

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "TransportState":
        least = LEAST_A_DIM * min(density.dim, TERM_DIM)
        if self.particles is not None and self.particles < least:
            raise EngineError(
                f"TransportMap needs four fixed draws for each dimension at the least: "
                f"{density.dim} dimensions and particles={self.particles} came. Give {least} or "
                "more, or leave particles out."
            )
        state = TransportState(density, seed, self.particles or particles_for(density))
        if self.around is None:
            state.first = GAUSSIAN.init(density, start, seed)
        else:
            state.bend(self.around)
        return state

    def step(self, state: "TransportState") -> float:
        """Take a quasi-Newton iteration, and give minus the ELBO it reached."""
        if state.first is not None:
            return GAUSSIAN.step(state.first)
        return state.searches[-1].step()

    def converged(self, state: "TransportState") -> bool:
        """Whether the search with all draws has a small gradient, or goes no further down."""
        if state.first is not None:
            if GAUSSIAN.converged(state.first):
                state.bend(state.first.gaussian())
            return False
        return state.searches[-1].arrived(self.tolerance) and not state.go_on()

    def outcome(self, state: "TransportState") -> Outcome:
        """The best by other draws of the maps and the Gaussian that they bend."""
        if state.first is not None:
            return GAUSSIAN.outcome(state.first)
        best = state.best()
        return Outcome(approximation=state.gaussian if best is state.plain else best)


class TransportState:
    """The searches: of the Gaussian, then of a map in each order, then of the better of these."""

    first: DADVIState | None = None
    gaussian: Gaussian
    plain: Transported  # the same Gaussian as a map

    def __init__(self, density: LogDensity, seed: int, particles: int) -> None:
        self.density, self.seed, self.particles = density, seed, particles
        self.searches: list[Bending] = []
        self.refined = False

    def bend(self, gaussian: Gaussian) -> None:
        """Search on from the identity, with the map in the order of the model."""
        self.first, self.gaussian = None, gaussian
        self.plain = self._turned(gaussian.factor)
        self._begin(self.plain)

    def go_on(self) -> bool:
        """Go on to the other order, and then to more draws; whether there was a way on."""
        if self.refined:
            return False
        if len(self.searches) == 1 and 1 < self.density.dim <= TERM_DIM:
            self._begin(self._turned(lower_factor(self.gaussian.factor.flip(0)).flip(0)))
            return True
        best, self.refined = self.best(), True
        if best is not self.plain:
            self.searches.append(self._search(best, self.particles, rough=False))
        return best is not self.plain

    def best(self) -> Transported:
        """The map with the best bound on other draws; it may be plain."""
        noise = self._noise(max(self.particles, particles_for(self.density)), "held out")
        maps = [self.plain, *(each.reached for each in self.searches)]
        return min(maps, key=lambda each: TransportedDraws(each, noise).loss())

    def _turned(self, turn: Float[Tensor, "dim dim"]) -> Transported:
        """The Gaussian, with the entries of the map turned so."""
        terms = linear_terms(len(turn)) if len(turn) <= TERM_DIM else torch.zeros(0, 3).long()
        identity = TriangularMap(len(turn), terms).identity
        return Transported(self.density, self.gaussian.loc, turn, terms, identity)

    def _begin(self, plain: Transported) -> None:
        few = self.particles // (2 * ROUGH_SHARE) * 2
        self.searches.append(self._search(plain, max(2, few), rough=True))

    def _search(self, base: Transported, particles: int, *, rough: bool) -> "Bending":
        """Search on from a map, with the terms that scores show to be left."""
        if self.density.dim <= TERM_DIM:
            base = with_terms(base, self._noise(TERM_SHARE * particles, "terms", rough))
        return Bending(TransportedDraws(base, self._noise(particles, "fit", rough)), rough=rough)

    def _noise(self, particles: int, *of: str | bool) -> Float[Tensor, "draw dim"]:
        return fixed_noise(particles, self.density.dim, stream(self.seed, "transport", *of))


class Bending:
    """One search for the parameters of a map; ``rough`` with few draws, which need not end."""

    def __init__(self, problem: TransportedDraws, *, rough: bool) -> None:
        self.problem, self.rough = problem, rough
        self.units = problem.base.map.units
        self.search = QuasiNewton(problem.evaluate, problem.base.parameters, self.units)
        self.taken = 0

    def step(self) -> float:
        """Take a quasi-Newton iteration, and give the loss it reached."""
        self.taken += 1
        return self.search.step()

    def arrived(self, tolerance: float) -> bool:
        """Whether every gradient entry is small, or no step makes the loss smaller."""
        largest = float((self.search.gradient * self.units).abs().max())
        enough = tolerance * (ROUGH if self.rough else 1)
        spent = self.rough and self.taken == ROUGH_STEPS
        return spent or largest < enough or self.search.stuck_for >= HELD_UP

    @property
    def reached(self) -> Transported:
        """The best map so far."""
        return replace(self.problem.base, parameters=self.search.point)


def particles_for(density: LogDensity) -> int:
    """As many draws as are cheap, an even number, and enough for the linear terms."""
    least = max(FEWEST, FEWEST_A_DIM * min(density.dim, TERM_DIM))
    return min(MOST_PARTICLES, max(least, FIT_WORK // density.work // 2 * 2))


def linear_terms(dim: int) -> Int[Tensor, "term 3"]:
    """The terms by which each entry is shifted by a multiple of each one before it."""
    later, earlier = torch.tril_indices(dim, dim, offset=-1)
    return torch.stack([later, earlier, torch.full_like(later, CONSTANT)], dim=1)


def with_terms(base: Transported, noise: Float[Tensor, "draw dim"]) -> Transported:
    """The same map, with room for the terms that scores on some draws show to be there."""
    found = terms_of(TransportedDraws(base, noise).scores(), noise)
    there = set(map(tuple, base.terms.tolist()))
    new = found[[term not in there for term in map(tuple, found.tolist())]]
    parameters = torch.cat([base.parameters, torch.zeros(len(new), dtype=noise.dtype)])
    return replace(base, terms=torch.cat([base.terms, new]), parameters=parameters)
