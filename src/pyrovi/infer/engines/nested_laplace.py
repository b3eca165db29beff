"""Nested Laplace: a few entries by the evidence the rest leaves, the rest Gaussian given them.

In a hierarchy a few scales and correlations make the shape of the posterior, and given them the
rest is Gaussian or nearly so. The density of the few is the model's with the rest summed out by
Laplace's method at its mode. A mixture of t distributions is fitted to it by importance sampling,
round by round. A draw is one of the few, and then one of the rest given it: it has a density, so
that importance weights tell how good it is, and correct it. Where all entries are few there is no
rest, and the method is adaptive importance sampling.

Reference: Rue, Martino and Chopin (2009), https://doi.org/10.1111/j.1467-9868.2008.00700.x. The
rounds are those of Cappe, Douc, Guillin, Marin and Robert (2008),
https://doi.org/10.1007/s11222-008-9059-x, with the weights of Cornuet, Marin, Mira and Robert
(2012), https://doi.org/10.1111/j.1467-9469.2011.00756.x
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.approximations import (
    CLOSE,
    Conditional,
    Gaussian,
    Nested,
    Polynomials,
    Rest,
    Split,
    StudentMixture,
    smooth_rest,
    terms_of,
    together,
)
from pyrovi.density import LogDensity
from pyrovi.errors import EngineError
from pyrovi.infer.engine import EXACTLY, Capabilities, Outcome
from pyrovi.infer.settings import Settings, whole
from pyrovi.optimise import (
    QuasiNewton,
    Survey,
    find_modes,
    log_evidence,
    split_of,
    survey_rest,
)
from pyrovi.seeds import stream
from pyrovi.tree import INDEPENDENT

DIFFERENCE = 0.02  # over which the evidence is differentiated, before widths are known
GAIN = 1e-3  # nats that a step gains, below which the search is at an end
MOST_TRIALS = 15  # of one step; where more lead nowhere, the evidence jumps from mode to mode
FIRST_WIDTH, WIDEST = 0.1, 2.0  # over which the curvature of the evidence is taken
LEAST_CURVATURE = 0.1  # of the evidence, in units of its widths
WIDTHS_AGREE, MOST_WIDTHS = 0.3, 3  # on the log scale; times that they are worked out
FEWEST_ROWS = 100  # of each round, for every entry of the few
ROWS_WITHOUT_REST = 200  # where a row needs no search
CHEAP_WORK, CHEAP_ROWS = 1_000, 3_200  # numbers in one, below which so many show tails for little
DEAR_WORK, DEAR_ROWS = 20_000, 60  # numbers in an evaluation, above which rows are saved
ENOUGH = 0.5  # of a round's rows are effective: another would gain little
HEAVIEST = 5.0  # average weights, above which a tail was missed
FEWEST_ROUNDS = 2  # the first, from a guess, may not have seen the tails
FEWEST_STALLED = 4  # rounds, sooner than which it is too soon to tell
STALLED = 1.1  # times the effective rows of any before, which neither of the last two has
MORE = 4  # components that a mixture is widened by
NARROWER = 0.5  # their covariance, as a share of the whole
TINY = 1e-12
NEAR_DEGREES = (1, 2, 3)  # of the polynomials that say about where a mode is
HELD, DEAR_HELD = 32, 8  # draws at which what is smooth is tried, and where rows are saved
MOST_OFF = 2.0  # nats that it may be off at one of them
SEARCHES, DEAR_SEARCHES = 16, 8  # for other modes of the rest, and where rows are saved
MOST_PLACES, PLACE_ENTRIES = 100, 4_000_000  # of modes that are kept


@dataclass(frozen=True, kw_only=True, repr=False)
class NestedLaplace(Settings):
    """A mixture over a few entries, and a Gaussian of the rest given them.

    Attributes:
        split: Which entries are the few; None to find out.
        modes: Where to start if there is no rest; none to search for them.
        rows: How many values of the few to take in each round; None for a hundred for each of
            their entries, sixty where these are dear; two hundred where there is no rest, and
            3,200 in all if an evaluation is cheap.
        rounds: How many rounds to take at the most.
        max_steps: How many steps to take at the most, of the search and the rounds together.
    """

    split: Split | None = field(default=None, repr=False)
    modes: tuple[Gaussian, ...] = field(default=(), repr=False)
    rows: int | None = None
    rounds: int = 8
    max_steps: int = 200
    capabilities = Capabilities(draws=INDEPENDENT, recovers=EXACTLY)

    def __post_init__(self) -> None:
        whole(self, "rows", least=50)
        whole(self, "rounds", "max_steps")

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "NestedState":
        split = self.split or split_of(density, start, seed)
        if split is None:
            raise EngineError(
                "NestedLaplace needs a few entries that make the shape, scales mostly, and of the "
                f"others curvature in small blocks; {density.model.name!r} does not have both. "
                "Use DADVI(whiten=True)."
            )
        rows = self.rows or rows_for(density, split)
        search = Search(Rest(density, split), start[split.few], start[split.rest])
        return NestedState(search, rows, seed, self.modes)

    def step(self, state: "NestedState") -> float:
        """Take a step of the search, which gives minus the log evidence there, or a round.

        Of a round it is minus the log evidence of all, by importance weights.
        """
        return state.seek() if state.mixture is None else state.sample(state.mixture)

    def converged(self, state: "NestedState") -> bool:
        """Whether the rounds are at an end: the last one suffices, or they stall."""
        if len(state.rounds) < FEWEST_ROUNDS:
            return False
        effective = [each.effective for each in state.rounds]
        before, last = max(effective[:-2], default=0.0), max(effective[-2:])
        stalled = len(effective) >= FEWEST_STALLED and last < STALLED * before
        ended = state.rounds[-1].suffices or stalled or len(effective) == self.rounds
        if ended:
            state.look_around()
        return ended

    def outcome(self, state: "NestedState") -> Outcome:
        return Outcome(approximation=state.approximation(), modes=state.modes, survey=state.survey)


def rows_for(density: LogDensity, split: Split) -> int:
    """Of a round: fewer where each takes long, more where none needs a search."""
    if len(split.rest):
        return len(split.few) * (DEAR_ROWS if density.work > DEAR_WORK else FEWEST_ROWS)
    least = CHEAP_ROWS if density.work <= CHEAP_WORK else 0
    return max(least, len(split.few) * ROWS_WITHOUT_REST)


class Search:
    """For the few with the most evidence, and how widely it is spread about them.

    Attributes:
        rest: The rest, and how to search for its mode.
        few: The best values of the few so far.
        mode: The mode of the rest there.
        near: About where the modes are for other values of the few; None if not known.
    """

    near: Polynomials | None = None

    def __init__(self, rest: Rest, few: Tensor, mode: Tensor) -> None:
        self.rest, self.few, self.mode = rest, few, mode
        self._search = QuasiNewton(self._descent, few, most_trials=MOST_TRIALS)
        self._last = math.inf

    def step(self) -> tuple[float, bool]:
        """Minus the log evidence after a step, and whether it was the last one.

        It is not a number where the evidence jumps: the rest is not nearly Gaussian then.
        """
        value = self._search.step()
        gained = self._last - value
        if self._search.trials == MOST_TRIALS and gained > GAIN:
            return math.nan, True
        ended = gained < GAIN or self._search.stuck_for > 1
        self._last, self.few = value, self._search.point
        return value, ended

    def given(self, few: Float[Tensor, "row few"]) -> Conditional:
        """The Gaussians of the rest, sought from the mode at the best few."""
        return self.rest.given(few, self.mode.expand(len(few), -1))

    def bent(self, few: Float[Tensor, "row few"]) -> Conditional:
        """The same, with what the blocks have beyond a Gaussian."""
        return self.rest.bent(few, self.rest.given(few, self._start(few), CLOSE))

    def learn(
        self,
        few: Float[Tensor, "row few"],
        modes: Float[Tensor, "row rest"],
        weights: Float[Tensor, "row"],
    ) -> None:
        """Where modes are, from which other modes are sought."""
        if self.rest.split.gaussian or not len(self.mode):
            return  # one step reaches a mode from anywhere
        degree = max(
            d for d in NEAR_DEGREES if d == 1 or 2 * terms_of(few.shape[1], d) <= len(few)
        )
        self.near = Polynomials.fitted(few, modes, weights, degree)

    def _start(self, few: Tensor) -> Tensor:
        """About where the modes are, by what was learnt, where it is better than the best one."""
        mode = self.mode.expand(len(few), -1)
        if self.near is None:
            return mode
        near, density = self.near(few), self.rest.density
        flat = [self.rest.split.flat(few, each) for each in (near, mode)]
        value, other = (density.log_prob(each).detach() for each in flat)
        return torch.where((value > other)[:, None], near, mode)

    def _descent(self, few: Tensor) -> tuple[float, Tensor]:
        """Minus the log evidence, and its gradient by differences."""
        steps = DIFFERENCE * torch.eye(len(few), dtype=few.dtype)
        given = self.given(torch.cat([few[None], few + steps, few - steps]))
        value, ahead, behind = given.log_evidence.split((1, len(few), len(few)))
        if math.isfinite(float(value)):
            self.mode = given.loc[0]
        return -float(value), -(ahead - behind) / (2 * DIFFERENCE)

    def guess(self) -> StudentMixture:
        """A narrow one where the search stands, of which nothing else is known."""
        one, width = torch.ones(1, dtype=torch.float64), torch.full_like(self.few, FIRST_WIDTH)
        return StudentMixture.heavy(one, self.few[None], torch.diag(width)[None])

    def mixture(self) -> StudentMixture:
        """A t distribution as wide as the evidence is curved, over about that width."""
        widths = torch.full_like(self.few, FIRST_WIDTH)
        curvature = self._curvature(widths)
        for _ in range(MOST_WIDTHS):
            before, widths = widths, curvature.diagonal().clamp(min=WIDEST**-2).rsqrt()
            if float((widths / before).log().abs().max()) < WIDTHS_AGREE:
                break
            curvature = self._curvature(widths)
        values, vectors = torch.linalg.eigh(widths[:, None] * curvature * widths)
        root = widths[:, None] * vectors * values.clamp(min=LEAST_CURVATURE).rsqrt()
        one = torch.ones(1, dtype=torch.float64)
        factor = torch.linalg.cholesky(root @ root.T)
        return StudentMixture.heavy(one, self.few[None], factor[None])

    def _curvature(self, widths: Float[Tensor, "few"]) -> Float[Tensor, "few few"]:
        """Minus the second differences of the log evidence over ``widths``."""
        size, steps = len(widths), torch.diag(widths)
        row, column = torch.tril_indices(size, size)
        # along each entry, and along the sum of each two
        moves = torch.where((row == column)[:, None], steps[row], steps[row] + steps[column])
        ends = self.few + torch.cat([moves, -moves, torch.zeros_like(moves[:1])])
        given = self.given(ends)
        self.learn(ends, given.loc, torch.ones(len(ends), dtype=torch.float64))
        ahead, behind, here = given.log_evidence.split((len(moves), len(moves), 1))
        lost = (2 * here - ahead - behind).nan_to_num(0.0, 0.0, 0.0)
        whole = torch.zeros_like(steps)
        whole[row, column] = whole[column, row] = lost
        alone = whole.diagonal()
        crossed = (whole - alone - alone[:, None]) / 2
        return torch.where(steps > 0, whole, crossed) / widths / widths[:, None]


@dataclass(frozen=True)
class Round:
    """Values of the few from one mixture, and what was worked out at each.

    Attributes:
        mixture: Where they come from.
        few: The values.
        given: The rest given each.
    """

    mixture: StudentMixture
    few: Float[Tensor, "row few"]
    given: Conditional

    @property
    def log_evidence(self) -> Float[Tensor, "row"]:
        """Of each row."""
        return self.given.log_evidence

    @property
    def log_weights(self) -> Float[Tensor, "row"]:
        log_weights = self.log_evidence - self.mixture.log_prob(self.few)
        return log_weights.nan_to_num(-torch.inf, -torch.inf)

    @property
    def effective(self) -> float:
        """The share of the rows that are effective."""
        return float(1 / torch.softmax(self.log_weights, 0).square().sum()) / len(self.few)

    @property
    def suffices(self) -> bool:
        """Whether a share of the rows is effective, and none has far more than its share."""
        heaviest = float(torch.softmax(self.log_weights, 0).max()) * len(self.few)
        return self.effective >= ENOUGH and heaviest <= HEAVIEST


class NestedState:
    """The search, and then the rounds.

    Attributes:
        mixture: Of the few; None as long as the search goes on.
        rounds: Those that are done.
        modes: The modes, where there is no rest.
        survey: Whether the rest has other modes; None as long as nothing looked, or it has one.
    """

    survey: Survey | None = None

    def __init__(self, search: Search, rows: int, seed: int, modes: tuple[Gaussian, ...]) -> None:
        self.search, self.rows, self.seed, self.modes = search, rows, seed, modes
        self.mixture: StudentMixture | None = None
        self.rounds: list[Round] = []

    def seek(self) -> float:
        """A step of the search for the few; the modes at once, where all entries are few."""
        if not len(self.search.mode):
            return self._seek_modes()
        loss, ended = self.search.step()
        if ended:
            self.mixture = self.search.mixture()
        return loss

    def _seek_modes(self) -> float:
        density = self.search.rest.density
        searched = self.modes or find_modes(density, self.search.few, None, self.seed)
        self.modes = tuple(searched)
        if not self.modes:
            return math.nan
        heights = torch.tensor([log_evidence(mode) for mode in self.modes], dtype=torch.float64)
        self.mixture = StudentMixture.heavy(
            torch.softmax(heights, 0),
            torch.stack([mode.loc for mode in self.modes]),
            torch.stack([mode.scale_tril for mode in self.modes]),
        )
        return -float(heights.max())

    def sample(self, mixture: StudentMixture) -> float:
        """Take a round, and fit the mixture to all rows so far."""
        few = mixture.spread(self.rows, stream(self.seed, "round", len(self.rounds)))
        self.rounds.append(Round(mixture, few, self.search.bent(few)))
        few, weights, average = self._rows()
        self.search.learn(few, torch.cat([each.given.loc for each in self.rounds]), weights)
        if not self.rounds[-1].suffices:
            seed = stream(self.seed, "components", len(self.rounds))
            wider = widened(mixture, few, weights, torch.Generator().manual_seed(seed))
            mixture = better((mixture, wider), few, weights, average)
        self.mixture = mixture.fitted(few, weights, average)
        return -float(self.rounds[-1].log_weights.logsumexp(0) - math.log(self.rows))

    def _rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """All rows so far, their weights, and the log of the average of all mixtures there."""
        few = torch.cat([each.few for each in self.rounds])
        log_evidence = torch.cat([each.log_evidence for each in self.rounds])
        average = torch.stack([each.mixture.log_prob(few) for each in self.rounds])
        average = average.logsumexp(0) - math.log(len(average))
        log_weights = (log_evidence - average).nan_to_num(-torch.inf, -torch.inf)
        return few, torch.softmax(log_weights, 0), average

    def approximation(self) -> Nested:
        """What the rounds came to."""
        rest, mixture = self.search.rest, self._tried_mixture()
        few, modes = self.search.few[None], self.search.mode[None]
        if self.rounds:
            few, modes = self.rounds[-1].few, self.rounds[-1].given.loc
        polynomials = self._polynomials() or Polynomials.none(few.shape[1])
        kept = max(1, min(MOST_PLACES, PLACE_ENTRIES // max(1, modes.shape[1])))
        return Nested(
            rest.density,
            rest.split.few,
            rest.split.border,
            rest.split.blocks,
            mixture.weights,
            mixture.locs,
            mixture.scale_trils,
            mixture.freedoms,
            polynomials.centre,
            polynomials.sides,
            polynomials.coefficients,
            torch.tensor(not rest.split.gaussian),
            few[:kept],
            modes[:kept],
        )

    def look_around(self) -> None:
        """Look for other modes of the rest, which only what is not Gaussian can have."""
        rest = self.search.rest
        if rest.split.gaussian or not len(self.search.mode):
            return
        few, weights, _ = self._rows()
        generator = torch.Generator().manual_seed(stream(self.seed, "survey"))
        count = DEAR_SEARCHES if self._dear else SEARCHES
        few = few[torch.multinomial(weights, count, replacement=True, generator=generator)]
        seed = stream(self.seed, "survey starts")
        self.survey = survey_rest(rest, few, self.search.given(few), seed)

    @property
    def _dear(self) -> bool:
        """Whether rows are to be saved."""
        return self.search.rest.density.work > DEAR_WORK

    def _tried_mixture(self) -> StudentMixture:
        """The mixture of which most rows were effective; the last one where none was tried."""
        fitted = self.rounds[1:]
        if fitted:
            return max(fitted, key=lambda each: each.effective).mixture
        return self.mixture or self.search.guess()

    def _polynomials(self) -> Polynomials | None:
        if not self.rounds or not len(self.search.mode):
            return None
        few, weights, _ = self._rows()
        given = together([each.given for each in self.rounds])
        generator = torch.Generator().manual_seed(stream(self.seed, "smooth"))
        split = self.search.rest.split
        polynomials = smooth_rest(split, few, given, weights, generator)
        if polynomials is None or self._farthest_off(polynomials, generator) > MOST_OFF:
            return None
        return polynomials

    def _farthest_off(self, polynomials: Polynomials, generator: torch.Generator) -> float:
        """By how many nats polynomials miss the log density of the rest, at the worst of draws."""
        few = self._tried_mixture().draw(DEAR_HELD if self._dear else HELD, generator)
        few = few[polynomials.covers(few)]
        if not len(few):
            return math.inf
        size = len(few), len(self.search.mode)
        noise = torch.randn(size, generator=generator, dtype=torch.float64)
        split = self.search.rest.split
        drawn, log_prob = split.conditional(polynomials(few)).draw(noise)
        lost = log_prob - self.search.bent(few).log_prob(drawn)
        return float(lost.abs().nan_to_num(math.inf).max())


def better(
    mixtures: Sequence[StudentMixture],
    rows: Float[Tensor, "row few"],
    weights: Float[Tensor, "row"],
    log_drawn: Float[Tensor, "row"],
) -> StudentMixture:
    """The mixture which, fitted to every other row, is nearest to the rows between."""

    def unevenness(mixture: StudentMixture) -> float:
        fitted = mixture.fitted(rows[::2], weights[::2], log_drawn[::2])
        return fitted.unevenness(rows[1::2], weights[1::2], log_drawn[1::2])

    return min(mixtures, key=unevenness)


def widened(
    mixture: StudentMixture,
    rows: Float[Tensor, "row few"],
    weights: Float[Tensor, "row"],
    generator: torch.Generator,
) -> StudentMixture:
    """With more components, at some of the weighted rows, for the fit to choose of."""
    apart = (rows - weights @ rows) * weights.sqrt()[:, None]
    factor, failed = torch.linalg.cholesky_ex(NARROWER * apart.T @ apart)
    if int(failed):
        return mixture
    chosen = torch.multinomial(weights + TINY, MORE, replacement=False, generator=generator)
    locs = torch.cat([mixture.locs, rows[chosen]])
    factors = torch.cat([mixture.scale_trils, factor.expand(MORE, -1, -1)])
    return StudentMixture.heavy(locs.new_full((len(locs),), 1 / len(locs)), locs, factors)
