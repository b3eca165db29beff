"""`engine="auto"`: a ladder that climbs only while it pays, and says what it did on each rung.

1. Nested Laplace (`nested_laplace`), where a few entries make the shape of the posterior and the
   rest comes in small blocks, as in hierarchies.
2. Searches from all over for modes (`survey_modes`), and a Gaussian in each that counts
   (`modes`); where it is one, in a space turned by the curvature there (`dadvi`), or what
   `first_rung` says instead.
3. Adaptive importance sampling (`nested_laplace` without a rest), where all entries are few.
4. The Gaussian bent by a triangular map (`transport_map`), where it is no single answer.
5. The draws of the best polished by many short Markov chains (`polish`), where the density is
   vectorised.
6. A flow that starts as the Gaussian, where there are few enough dimensions.

What leaves such modes out is not judged, since nothing that starts from its draws could see them.
Each other rung is held against the posterior, quantity by quantity (`judge`): by its importance
weights, and where their tail is light its draws are resampled by them. Markov chains judge the
best of the first four where no weights are enough, and what comes after. The first that passes is
the answer, else the one that is least far off, as the verdict will say.
What the ladder must know of a rung stands in its `Plan`: any engine can be one.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pyrovi.approximations import Draws, Gaussian, Resampled, Split
from pyrovi.clock import OutOfTime
from pyrovi.density import LogDensity
from pyrovi.evidence import EVEN_SHAPE
from pyrovi.guides import FAMILIES, Family
from pyrovi.infer.engine import Capabilities, Engine, Outcome, first_of
from pyrovi.infer.engines.dadvi import DADVI
from pyrovi.infer.engines.nested_laplace import FEWEST_ROUNDS, NestedLaplace, rows_for
from pyrovi.infer.engines.pathfinder import Pathfinder
from pyrovi.infer.engines.svi import SVI
from pyrovi.infer.engines.transport_map import TransportMap
from pyrovi.infer.ladder.judge import (
    ByWeights,
    Judgement,
    Known,
    importance_khat,
    judge,
    judge_by_weights,
    price_of_chains,
)
from pyrovi.infer.ladder.modes import Modes, mixture_of
from pyrovi.infer.ladder.polish import Polish
from pyrovi.infer.ladder.price import NUTS_CALL, Price, of_nuts
from pyrovi.infer.run import Rung
from pyrovi.optimise import (
    FEWEST_CHAINS,
    MOST_ALONE,
    Survey,
    affordable,
    all_few,
    mark_held,
    split_of,
    survey_modes,
)
from pyrovi.seeds import stream
from pyrovi.words import count

SURE_POOL = 4  # draws weighed for one that is taken; where more are needed, all are drawn to see
RESAMPLED = "The tail of the importance weights is light enough to resample by them."
MIXTURE_STARTS = 32
MOST_STEPS = 500  # of the first rung: what takes more will not be mended by still more
DEAR_ENTRIES = 20_000_000  # numbers in one evaluation of all fixed draws: a minute for the search
SVI_STEPS = 5_000
DEAR_CHAINS = 1_000_000  # numbers in one evaluation of the fewest chains: minutes for the polish
FLOW_DIM, FLOW_STEPS, FLOW_DRAWS = 50, 3_000, 32
MOST_MODES, MOST_COMPONENTS = 8, 32  # that each get a Gaussian, or one t distribution
JUDGED_DRAWS = 2_000
MANY_JUDGED_DRAWS, CHEAP_WORK = 4_000, 1_000  # where they cost next to nothing
FEW_JUDGED_DRAWS, DEAR_WORK = 1_000, 20_000  # numbers in one, above which few may tell
UNJUDGED = Judgement((), (), math.nan)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A rung to come.

    Attributes:
        engine: What runs there.
        why: Why it is tried.
        prices: What it will take, where that is much.
        max_steps: How many of its steps to take at the most, if fewer than it would by itself.
        begun: How many of the modes it has from the beginning.
        laid_over: The Gaussian that its guide starts as, where it is a flow.
        otherwise: What to begin with instead, where its very first step already is lost.
        left_out: Whether what follows takes its place then.
    """

    engine: Engine
    why: str
    prices: tuple[Price, ...] = ()
    max_steps: int | None = None
    begun: int = 0
    laid_over: Gaussian | None = None
    otherwise: "Plan | None" = None
    left_out: bool = False

    @property
    def most_steps(self) -> int:
        return min(self.engine.max_steps, self.max_steps or self.engine.max_steps)


@dataclass(frozen=True, repr=False)
class Auto:
    """The ladder of engines."""

    max_steps: int = 100_000  # of all rungs together
    capabilities = Capabilities(learns_parameters=True, expected=lambda state: state.expected)

    def __repr__(self) -> str:
        return "auto"

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "AutoState":
        return AutoState(density, start, seed)

    def step(self, state: "AutoState") -> float:
        return state.step()

    def converged(self, state: "AutoState") -> bool:
        return state.rung_is_done() and not state.climb()

    def outcome(self, state: "AutoState") -> Outcome:
        return state.outcome()


@dataclass(frozen=True)
class Tried:
    """A finished rung: what it came to, with its judgement and which of the steps it took."""

    rung: Rung
    outcome: Outcome
    misses_modes: bool = False  # which no judgement of it can see

    @property
    def passes(self) -> bool:
        return bool(self.outcome.judgement and self.outcome.judgement.passes)

    @property
    def rank(self) -> tuple[Any, ...]:
        """What orders rungs of which none passes, the best first.

        What misses the least comes first, where all miss modes. Last come those of which there is
        no evidence, or not yet; then by the status; within
        one, what is not a number is farthest off; and the tail of the weights decides between
        equals.
        """
        judged, survey = self.outcome.judgement or UNJUDGED, self.outcome.survey
        missed = survey.missed if survey is not None and self.misses_modes else 0.0
        return missed, *judged.rank, math.inf if math.isnan(self.rung.khat) else self.rung.khat

    @property
    def pool(self) -> int:
        """How many draws it takes to give one."""
        approximation = self.outcome.approximation
        return approximation.pool if isinstance(approximation, Resampled) else 1

    @property
    def cost(self) -> tuple[int, float, int]:
        """What orders rungs that pass: draws as they are first, then of few the lightest tail."""
        return (self.pool > 1) + (self.pool > SURE_POOL), self.rung.khat, self.pool


class AutoState:
    """The rung that stands, and those that were climbed."""

    def __init__(self, density: LogDensity, start: Tensor, seed: int) -> None:
        self.density, self.start, self.seed = density, start, seed
        self.tried: list[Tried] = []
        self.gaussian_at = -1  # where the Gaussian is among them; not tried
        self.modes: list[Gaussian] = []  # that were met, the one with most evidence first
        self.survey: Survey | None = None  # of all of them, once it was made
        self.cheap = True  # as long as chains are put off
        self.waiting: dict[int, tuple[Draws, Known | None]] = {}  # left open by weights
        self.taken, self.last_loss = 0, math.inf
        self.notes: dict[str, str] = {}  # by what they are about
        self._rungs = self._planned()
        self._begin(next(self._rungs))

    def step(self) -> float:
        self.taken += 1
        self.rung_taken += 1
        loss = first_of(self.plan.engine.step(self.inner))
        if not math.isfinite(loss):
            return self._lose(loss)
        self.last_loss = loss
        return loss

    def _lose(self, loss: float) -> float:
        """End a rung that is lost; the first begins anew, if it has come to nothing.

        Where nothing can be judged, nothing would see that what there is so far is wrong.
        """
        if not self._judgeable:
            return loss
        if self.tried or math.isfinite(self.last_loss):
            self.lost = True
            return self.last_loss
        instead = next(self._rungs) if self.plan.left_out else self.plan.otherwise
        if instead is None:
            return loss
        self._begin(instead)
        return 0.0

    @property
    def expected(self) -> int:
        """How many steps there are with those of this rung, unless it needs fewer."""
        return self.taken - self.rung_taken + self.plan.most_steps

    def rung_is_done(self) -> bool:
        """Whether the rung's engine has converged, used its steps, or lost its way."""
        spent = self.rung_taken >= self.plan.most_steps
        return self.lost or self.plan.engine.converged(self.inner) or spent

    def climb(self) -> bool:
        """Judge the rung; whether there is another to go to."""
        outcome = self.plan.engine.outcome(self.inner)
        self.density = outcome.approximation.density
        self._judge(outcome)
        following = next(self._rungs, None)
        if following is not None:
            self._begin(following)
        return following is not None

    def outcome(self) -> Outcome:
        """The best of the finished rungs; the unfinished first one where there is none."""
        if not self.tried:
            return self.plan.engine.outcome(self.inner)
        best = self._best
        rungs = tuple(replace(each.rung, chosen=each is best) for each in self.tried)
        notes = (*best.outcome.notes, *self.notes.values())
        return replace(best.outcome, rungs=rungs, notes=notes, survey=self._survey_of(best))

    def _survey_of(self, best: Tried) -> Survey | None:
        """Which modes were met; those of the rest that nested Laplace met, where no other did."""
        own = best.outcome.survey
        if own is not None and len(own.found) > 1:
            return own
        missed = (each.outcome.survey for each in self.tried if each.misses_modes)
        return next(missed, own)

    @property
    def _best(self) -> Tried:
        candidates = [each for each in self.tried if not each.misses_modes] or self.tried
        passed = [each for each in candidates if each.passes]
        if passed:
            return min(passed, key=lambda each: each.cost)
        return min(candidates, key=lambda each: each.rank)

    def _begin(self, plan: Plan) -> None:
        self.plan = plan
        self.rung_taken, self.lost, self.began = 0, False, time.perf_counter()
        self.predicted = self._expect(plan.prices) if plan.prices else math.nan
        self.inner: Any = plan.engine.init(self.density, self.start, self.seed)
        if plan.laid_over is not None:
            lay_over(self.inner.guide, plan.laid_over)

    @property
    def _judgeable(self) -> bool:
        model = self.density.model
        return not (model.subsampled or model.parameters)

    @property
    def _judged_draws(self) -> int:
        return MANY_JUDGED_DRAWS if self.density.work <= CHEAP_WORK else JUDGED_DRAWS

    def _judge(self, outcome: Outcome) -> None:
        """Judge a rung by its weights, resample by them, or send chains out: the cheapest."""
        name, why = repr(self.plan.engine), self.plan.why
        if not self._judgeable:
            self._keep(name, why, outcome, None)
            return
        dear = self.density.work > DEAR_WORK
        drawn = self._drawn(outcome, FEW_JUDGED_DRAWS if dear else self._judged_draws)
        outcome = self._looked_around(outcome, drawn)
        if outcome.survey is not None and outcome.survey.misses:
            self._keep(name, why, outcome, None, misses_modes=True)
            return
        known, weighed = self._weighed(outcome, drawn)
        if dear and not (weighed and weighed.as_drawn.passes):
            drawn = self._drawn(outcome, self._judged_draws)
            known, weighed = self._weighed(outcome, drawn)
        resampled = self._resampled(outcome, weighed)
        if weighed is not None and (weighed.as_drawn.passes or resampled is not None):
            self._keep(name, why, outcome, weighed.as_drawn)
            if resampled is not None:
                why = f"{why} {RESAMPLED}"
                self._keep(f"{name}, resampled", why, resampled, resampled.judgement, of=name)
        elif self.cheap and outcome.approximation.has_density:
            self.waiting[len(self.tried)] = drawn, known
            khat = importance_khat(self.density, drawn, known)
            self._keep(name, why, outcome, None, khat=khat)
        else:
            if not self.plan.prices:
                self.predicted = time.perf_counter() - self.began + self._expect_chains()
            judged = judge(self.density, drawn, stream(self.seed, "judge chains"), known=known)
            self._keep(name, why, outcome, judged)

    def _drawn(self, outcome: Outcome, draws: int) -> Draws:
        """Draws to judge by; where several modes were met, with the one that each is about."""
        drawn = outcome.approximation.draw(draws, stream(self.seed, "judge"))
        if drawn.mode is not None or len(self.modes) < 2:
            return drawn
        modes = mixture_of(self.modes, torch.ones(len(self.modes)) / len(self.modes))
        return replace(drawn, mode=modes.component_log_prob(drawn.flat).argmax(-1))

    def _weighed(self, outcome: Outcome, drawn: Draws) -> tuple[Known | None, ByWeights | None]:
        """What is known of draws, and what their weights say."""
        known = Known.of(self.density, drawn) if outcome.approximation.has_density else None
        return known, judge_by_weights(self.density, drawn, known)

    def _looked_around(self, outcome: Outcome, drawn: Draws) -> Outcome:
        """With the modes that searches came to, and whether its draws hold them."""
        if self.survey is None:
            return outcome
        survey = mark_held(self.survey, self.modes, drawn.flat, self.plan.begun)
        return replace(outcome, survey=survey)

    def _resampled(self, outcome: Outcome, weighed: ByWeights | None) -> Outcome | None:
        """The draws resampled, where they are not good enough as they are, and are so then."""
        if weighed is None or weighed.as_drawn.passes or not weighed.resampled.passes:
            return None
        approximation = Resampled(self.density, outcome.approximation, weighed.pool)
        judged = weighed.resampled
        # Few were effective, or k-hat was taken down: a larger pool may have a heavier tail.
        if weighed.pool > SURE_POOL or weighed.as_drawn.khat == EVEN_SHAPE:
            drawn = approximation.draw(self._judged_draws, stream(self.seed, "pool"))
            pooled = judge_by_weights(self.density, drawn)
            if pooled is None or not pooled.as_drawn.passes:
                return None
            judged = pooled.as_drawn
        return replace(outcome, approximation=approximation, judgement=judged)

    def _settle(self) -> None:
        """Send Markov chains out from the best of the rungs that the weights left open."""
        if not self.waiting:
            return
        index = min(self.waiting, key=lambda i: self.tried[i].rank)
        began, waiting = time.perf_counter(), self.tried[index]
        predicted = waiting.rung.seconds + self._expect_chains()
        drawn, known = self.waiting[index]
        judged = judge(self.density, drawn, stream(self.seed, "judge chains"), known=known)
        seconds = waiting.rung.seconds + time.perf_counter() - began
        held = _as_it_held(judged)
        rung = replace(waiting.rung, seconds=seconds, predicted=predicted, **held)
        self.tried[index] = Tried(rung, replace(waiting.outcome, judgement=judged))

    def _expect_chains(self) -> float:
        """The seconds that chains will take to judge; 0 where none can."""
        chains = price_of_chains(self.density)
        return self._expect((chains,)) if self.density.vectorised else 0.0

    def _expect(self, prices: tuple[Price, ...]) -> float:
        """The seconds that what is to come will take, with a note where NUTS would take fewer."""
        seconds = sum(price.seconds(self.density, self.start) for price in prices)
        if seconds > self._by_nuts:
            self.notes.setdefault("nuts", cheaper_by_nuts(seconds, self._by_nuts))
        return seconds

    @cached_property
    def _by_nuts(self) -> float:
        return of_nuts(self.density, self.start)

    def _keep(
        self,
        name: str,
        why: str,
        outcome: Outcome,
        judged: Judgement | None,
        khat: float = math.nan,
        *,
        misses_modes: bool = False,
        of: str = "",
    ) -> Tried:
        began, self.began = self.began, time.perf_counter()
        held: dict[str, Any] = {"khat": khat} if judged is None else _as_it_held(judged)
        held["predicted"], self.predicted = self.predicted, math.nan
        rung = Rung(name, why, self.rung_taken, self.began - began, **held, of=of)
        steps = slice(self.taken - self.rung_taken, self.taken)
        outcome = replace(outcome, judgement=judged, losses=steps)
        self.tried.append(Tried(rung, outcome, misses_modes))
        return self.tried[-1]

    def _planned(self) -> Iterator[Plan]:
        """The rungs in turn; they end where an approximation passes.

        Those that importance weights can judge go first, and Markov chains judge one of them
        where the weights cannot.
        """
        split = split_for(self.density, self.start, self.seed)
        # With discrete sites summed out, what is left given a few has modes, and is no Gaussian.
        if split is not None and len(split.rest) and not self.density.model.discrete:
            yield replace(nested(split), left_out=True)
        if self._near():
            return
        self._look_around()
        rivals = self._rivals()
        few = split is not None and self.density.dim <= MOST_ALONE
        few = few and len(rivals) <= MOST_COMPONENTS
        # Gaussians in several modes seldom are enough by themselves: where they cost, they wait.
        at_once = few and self._first_misses and self.density.work > CHEAP_WORK
        if at_once:
            yield nested(all_few(self.density), rivals)
        if not (at_once and self._passed()):
            yield self._gaussians(rivals)
        if few and not at_once and not self._sure():
            yield nested(all_few(self.density), rivals)
        yield from self._bent()
        self.cheap = False
        if not self._passed():
            self._settle()
        for following in (self._polish, self._flow):
            if self._passed() or not self._told():
                return
            yield from following()

    def _gaussians(self, rivals: tuple[Gaussian, ...]) -> Plan:
        """A Gaussian in each mode where the first alone would leave out too much, else one."""
        if self._first_misses and len(rivals) <= MOST_MODES:
            return in_each(rivals)
        self.gaussian_at = len(self.tried)
        return first_rung(self.density, rivals)

    def _look_around(self) -> None:
        """Search for modes from all over, where that is affordable."""
        density = self.density
        if not (self._judgeable and density.vectorised and affordable(density)):
            return
        with contextlib.suppress(OutOfTime):  # the next step will say so
            found = survey_modes(density, stream(self.seed, "survey"), start=self.start)
            self.modes, self.survey = found or ([], None)

    def _passed(self) -> bool:
        """Whether some rung is good enough, or nothing can judge any."""
        return bool(self.tried) and (not self._judgeable or self._best.passes)

    def _near(self) -> bool:
        """Whether few draws of one that is good enough make one of the posterior.

        Weights of which few decide look lighter in some draws than in others.
        """
        return self._passed() and self._best.pool <= SURE_POOL

    def _sure(self) -> bool:
        """Whether adaptive importance sampling would be for nothing.

        Draws that are good enough as they are need no weights, of which rare ones may be heavy;
        where it would take more than all that was done, it is enough to be near.
        """
        rounds = FEWEST_ROUNDS * rows_for(self.density, all_few(self.density))
        its = rounds + self._judged_draws
        if self.density.work > CHEAP_WORK and its > self.density.evaluations:
            return self._near()
        return self._passed() and self._best.pool == 1

    def _told(self) -> bool:
        """Whether there was any evidence on the best of them."""
        judged = self._best.outcome.judgement
        return judged is not None and judged.could_tell

    def _rivals(self) -> tuple[Gaussian, ...]:
        """The modes that count; none where they were not surveyed."""
        return tuple(self.modes[: self.survey.needed]) if self.survey else ()

    @property
    def _first_misses(self) -> bool:
        """Whether a Gaussian in the first of the modes alone would leave out too much."""
        if self.survey is None:
            return False
        return replace(self.survey, held=tuple(i == 0 for i in range(len(self.modes)))).misses

    @property
    def _gaussian(self) -> Gaussian | None:
        """The Gaussian of one mode; None if there is none, or it leaves out others that count."""
        if self.gaussian_at < 0 or self.tried[self.gaussian_at].misses_modes:
            return None
        first = self.tried[self.gaussian_at].outcome.approximation
        return first if isinstance(first, Gaussian) else None

    def _bent(self) -> Iterator[Plan]:
        """The Gaussian bent, where few draws are near the posterior, if there is one mode."""
        gaussian = self._gaussian
        if gaussian is None or self._near():
            return
        if self.density.vectorised and affordable(self.density):
            why = "Few draws of the others are near the posterior; bent, the Gaussian may be."
            yield Plan(engine=TransportMap(around=gaussian), why=why, max_steps=MOST_STEPS)

    def _polish(self) -> Iterator[Plan]:
        if self.density.vectorised and FEWEST_CHAINS * self.density.work <= DEAR_CHAINS:
            engine = Polish(base=self._best.outcome.approximation)
            price = engine.price(self.density)
            why = (
                f"{self._best.rung.worst} is off, and {price.points:,} Markov chains from the "
                f"draws mend that by some {price.evaluations:,} evaluations of each."
            )
            yield Plan(engine=engine, why=why, prices=(price, price_of_chains(self.density)))

    def _flow(self) -> Iterator[Plan]:
        gaussian = self._gaussian  # a flow that starts in one mode stays there
        # Where a guide was the first, the density is dear, and a flow's many steps dearer still.
        if gaussian is not None and self.density.dim <= FLOW_DIM:
            why = f"{self._best.rung.worst} is still off; a flow bends where a Gaussian cannot."
            engine = SVI(guide=turned_flow(), particles=FLOW_DRAWS, max_steps=FLOW_STEPS)
            prices = Price(FLOW_STEPS, FLOW_DRAWS), price_of_chains(self.density)
            yield Plan(engine=engine, why=why, prices=prices, laid_over=gaussian)


def _as_it_held(judged: Judgement) -> dict[str, Any]:
    """What a rung says of how its approximation held against the posterior."""
    held: dict[str, Any] = {"khat": judged.khat, "status": judged.status}
    if judged.worst is None:
        return held
    name, off = judged.worst
    return {**held, "worst": name, "shift": off.shift, "ratio": off.ratio}


def cheaper_by_nuts(seconds: float, by_nuts: float) -> str:
    """That NUTS would have taken less than what was about to begin."""
    return (
        f"{NUTS_CALL} would take about {by_nuts:.0f} s; the rung that auto went on to was "
        f"expected to take about {seconds:.0f} s."
    )


def split_for(density: LogDensity, start: Tensor, seed: int) -> Split | None:
    """The few entries that make the shape, where there are few, and the others are in blocks."""
    model = density.model
    if model.subsampled or model.parameters or not density.vectorised:
        return None
    return split_of(density, start, seed)


def nested(split: Split, modes: tuple[Gaussian, ...] = ()) -> Plan:
    """Nested Laplace, or adaptive importance sampling where all entries are few."""
    few = count(len(split.few), "latent dimension")
    why = f"Adaptive importance sampling, since {few} can be covered by draws."
    if len(split.rest):
        rest = count(len(split.rest), "other")
        why = f"Nested Laplace, since {few} may make the shape, and {rest} be nearly Gaussian."
    return Plan(engine=NestedLaplace(split=split, modes=modes), why=why, begun=len(modes))


def in_each(modes: tuple[Gaussian, ...]) -> Plan:
    """A Gaussian in each of the modes."""
    met = count(len(modes), "mode")
    why = f"A Gaussian in each of {met} that count, of those that searches from all over met."
    return Plan(engine=Modes(modes=modes), why=why, begun=len(modes))


def first_rung(density: LogDensity, modes: tuple[Gaussian, ...] = ()) -> Plan:
    """What the ladder begins with, or goes on with: the first whose condition holds."""
    model, dim = density.model, density.dim
    dims = count(dim, "latent dimension")
    if model.subsampled:
        return _svi("SVI, since the model subsamples a plate.")
    if model.parameters:
        return _svi("SVI, since the model learns parameters of its own.")
    if not affordable(density) and 2 * dim * density.work > DEAR_ENTRIES:
        return _svi(
            f"SVI with few draws a step, since two for each of {dims}, as DADVI needs, "
            "would work through too many numbers.",
            max_steps=SVI_STEPS,
        )
    if not affordable(density):
        return _dadvi(
            f"DADVI, a mean-field Gaussian, since the curvature of {dims} would cost "
            "more than it mends."
        )
    if model.discrete and not modes:
        return _dadvi(
            f"DADVI in a space whitened by the curvature, from the best of {MIXTURE_STARTS} "
            "starts, since summing discrete sites out tends to leave several modes.",
            whiten=True,
            starts=MIXTURE_STARTS,
        )
    return _dadvi(
        f"DADVI in a space whitened by the curvature, since {dims} {'is' if dim == 1 else 'are'} "
        "few enough to carry every correlation.",
        whiten=True,
        modes=modes,
    )


def _svi(why: str, **settings: Any) -> Plan:
    return Plan(engine=SVI(guide="mean_field", **settings), why=why, otherwise=ANEW)


def _dadvi(why: str, **settings: Any) -> Plan:
    return Plan(engine=DADVI(**settings), why=why, max_steps=MOST_STEPS, otherwise=ANEW)


# A path from another place keeps to where the density is finite.
ANEW = Plan(engine=Pathfinder(paths=8), why="The first engine lost its way.")


def turned_flow() -> Family:
    """A flow behind an affine map, which can be laid over a Gaussian."""
    return FAMILIES["maf"].with_options(turned=True, init_scale=1.0)


def lay_over(guide: Any, gaussian: Gaussian) -> None:
    """Set a `turned_flow` so that it starts as a fitted Gaussian."""
    with torch.no_grad():
        guide.loc.copy_(gaussian.loc)
        guide.turn.copy_(gaussian.factor)
