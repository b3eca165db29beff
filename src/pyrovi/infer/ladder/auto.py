"""`engine="auto"`: a ladder that climbs only while it pays, and says what it did on each rung.

1. A Gaussian in a space turned by the curvature (`dadvi`), from many starts where three disagree.
   What subsamples or learns parameters of its own goes to SVI instead, and no further; what would
   be dear with two fixed draws a dimension goes there too. Where the starts end in different modes
   of about the same evidence, a Gaussian in each of them (`modes`).
2. Its draws resampled by their importance weights, where their tail is light.
3. Its draws polished by many short Markov chains (`polish`), where the density is vectorised.
4. A flow that starts as the Gaussian, where there are few enough dimensions.

After each rung the approximation is held against the posterior, quantity by quantity (`_judge`);
the first that passes is the answer. If none does, it is the one that is least far off, and the
verdict says so.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pyrovi.approximations import Approximation, Gaussian, Resampled
from pyrovi.density import LogDensity
from pyrovi.evidence import threshold
from pyrovi.infer.engines.dadvi import DADVI
from pyrovi.infer.engines.pathfinder import Pathfinder
from pyrovi.infer.engines.svi import SVI
from pyrovi.infer.ladder.judge import Judgement, judge
from pyrovi.infer.ladder.modes import Modes
from pyrovi.infer.ladder.polish import Polish
from pyrovi.infer.loop import Engine, Rung
from pyrovi.optimise import FEWEST_CHAINS, affordable, log_evidence
from pyrovi.seeds import stream

__all__ = ["Auto"]

MIXTURE_STARTS = 32
MOST_STEPS = 500  # of the first rung: what takes more will not be mended by still more
DEAR_ENTRIES = 20_000_000  # numbers in one evaluation of all fixed draws: a minute for the search
SVI_STEPS = 5_000
DEAR_CHAINS = (
    1_000_000  # numbers in one evaluation of the fewest chains: minutes to polish by them
)
FLOW_DIM = 50
PATHS = 8  # of Pathfinder, where the first engine fails
RIVAL_NATS = 7.0  # less evidence by this is less than a thousandth of the posterior
FLOW_STEPS = 3_000
JUDGED_DRAWS = 2_000
MANY_JUDGED_DRAWS = 4_000  # where they cost next to nothing
CHEAP_WORK = 1_000


@dataclass(frozen=True)
class Auto:
    """The ladder of engines.

    Attributes:
        max_steps: How many steps of all rungs together to take at the most.
    """

    max_steps: int = 100_000

    def __repr__(self) -> str:
        """Its name in `pyrovi.fit`."""
        return "auto"

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "AutoState":
        """Stand on the first rung."""
        return AutoState(density, start, seed)

    def step(self, state: "AutoState") -> float:
        """Take one step of the rung's engine, and give its loss."""
        return state.step()

    def converged(self, state: "AutoState") -> bool:
        """Whether an approximation passes, or no rung is left."""
        return state.rung_is_done() and not state.climb()

    def approximation(self, state: "AutoState") -> Approximation:
        """The one that is least far off."""
        return state.approximation()


@dataclass
class _Tried:
    """A finished rung."""

    rung: Rung
    approximation: Approximation
    judgement: Judgement | None
    notes: tuple[str, ...] = field(default=())
    losses_from: int = 0
    errors: Tensor | None = None


class AutoState:
    """The rung that stands, and those that were climbed."""

    def __init__(self, density: LogDensity, start: Tensor, seed: int) -> None:
        self.density, self.start, self.seed = density, start, seed
        self.tried: list[_Tried] = []
        self.candidates_from = 0  # rungs before it miss a mode, which no judgement of them can see
        self.taken = self.rung_taken = 0
        self.last_loss = math.inf
        self._ladder = self._rungs()
        self.engine, self.why = next(self._ladder)
        self._begin()

    def step(self) -> float:
        """One step of the rung's engine; one that is lost ends its rung; the first starts anew.

        The second start is a path from another place, which keeps to where the density is finite.
        """
        self.taken += 1
        self.rung_taken += 1
        loss = self.engine.step(self.inner)
        if math.isfinite(loss):
            self.last_loss = loss
            return loss
        if not self._judgeable:  # nothing would see that what was found so far is wrong
            return loss
        if self.tried or math.isfinite(self.last_loss):
            self.lost = True
            return self.last_loss
        if isinstance(self.engine, Pathfinder):
            return loss
        self.engine, self.why = Pathfinder(paths=PATHS), "The first engine lost its way."
        self._begin()
        return 0.0

    def rung_is_done(self) -> bool:
        """Whether the rung's engine has converged, used its steps, or lost its way."""
        most = self.engine.max_steps
        if isinstance(self.engine, DADVI):
            most = min(most, MOST_STEPS)
        return self.lost or self.engine.converged(self.inner) or self.rung_taken >= most

    def climb(self) -> bool:
        """Judge the rung; whether there is another to go to."""
        approximation = self.engine.approximation(self.inner)
        self.density = approximation.density
        judged = self._judged(approximation)
        self._note(repr(self.engine), approximation, judged)
        if judged is not None and not judged.passes and self._weighable(judged):
            resampled = Resampled(self.density, approximation)
            self._note(
                f"{self.engine!r}, resampled",
                resampled,
                self._judged(resampled),
                why="The tail of the importance weights is light enough to resample by them.",
            )
        following = next(self._ladder, None)
        if following is None:
            return False
        self.engine, self.why = following
        self._begin()
        return True

    def approximation(self) -> Approximation:
        """The best of the finished rungs; the unfinished first one where there is none."""
        return self._best.approximation if self.tried else self.engine.approximation(self.inner)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """What was done on each rung, and how far it came."""
        return tuple(replace(each.rung, chosen=each is self._best) for each in self.tried)

    @property
    def judgement(self) -> Judgement | None:
        """What was found of the approximation."""
        return self._best.judgement if self.tried else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the best rung's engine has to say."""
        return self._best.notes if self.tried else tuple(getattr(self.inner, "notes", ()))

    @property
    def errors(self) -> Tensor | None:
        """How far other fixed draws would move each flat mean, in its sds."""
        return self._best.errors if self.tried else None

    @property
    def losses(self) -> slice:
        """Which of the losses are those of the best rung."""
        if not self.tried:
            return slice(None)
        first = self._best.losses_from
        return slice(first, first + self._best.rung.steps)

    @property
    def _best(self) -> _Tried:
        candidates = self.tried[self.candidates_from :] or self.tried
        passed = [each for each in candidates if each.judgement and each.judgement.passes]
        if passed:
            return passed[0]
        return min(candidates, key=lambda each: each.judgement.excess if each.judgement else 0.0)

    def _begin(self) -> None:
        self.rung_taken, self.lost, self.began = 0, False, time.perf_counter()
        self.inner: Any = self.engine.init(self.density, self.start, self.seed)
        if isinstance(self.engine, SVI) and self.tried:
            _start_as(self.inner.guide, self._gaussian())

    @property
    def _judgeable(self) -> bool:
        model = self.density.model
        return not (model.subsampled or model.parameters)

    def _judged(self, approximation: Approximation) -> Judgement | None:
        if not self._judgeable:
            return None
        drawn = approximation.draw(self._judged_draws, stream(self.seed, "judge"))
        return judge(self.density, drawn, stream(self.seed, "judge chains"))

    @property
    def _judged_draws(self) -> int:
        return MANY_JUDGED_DRAWS if self.density.work <= CHEAP_WORK else JUDGED_DRAWS

    def _weighable(self, judged: Judgement) -> bool:
        return judged.khat <= threshold(self._judged_draws)

    def _note(
        self,
        name: str,
        approximation: Approximation,
        judged: Judgement | None,
        why: str | None = None,
    ) -> None:
        now = time.perf_counter()
        worst = judged.worst if judged else None
        rung = Rung(
            engine=name,
            why=self.why if why is None else why,
            steps=self.rung_taken,
            seconds=now - self.began,
            khat=judged.khat if judged else math.nan,
            status=judged.status if judged else "unjudged",
            worst=worst[0] if worst else "",
            shift=worst[1].shift if worst else math.nan,
            ratio=worst[1].ratio if worst else math.nan,
        )
        notes = tuple(getattr(self.inner, "notes", ()))
        start = self.taken - self.rung_taken
        errors = getattr(self.inner, "errors", None)
        self.tried.append(_Tried(rung, approximation, judged, notes, start, errors))
        self.began = now

    def _passed(self) -> bool:
        judged = self._best.judgement
        return judged is None or judged.passes or not judged.known

    def _rivals(self) -> tuple[Gaussian, ...]:
        """The modes whose evidence counts; one alone where labels may be exchanged.

        Permuting the labels of a mixture gives modes of the same evidence that mean the same.
        """
        modes = getattr(self.inner, "modes", ())
        if self.density.model.discrete or self.density.model.structure.exchangeable:
            return modes[:1]
        least = log_evidence(modes[0]) - RIVAL_NATS if modes else 0.0
        return tuple(mode for mode in modes if log_evidence(mode) > least)

    def _gaussian(self) -> Gaussian | None:
        found = self.tried[0].approximation
        return found if isinstance(found, Gaussian) else None

    def _rungs(self) -> Iterator[tuple[Engine, str]]:
        """The engines in turn, each with the reason; it ends where an approximation passes."""
        yield first_engine(self.density)
        rivals = self._rivals()
        if len(rivals) > 1:
            self.candidates_from = len(self.tried)
            yield (
                Modes(modes=rivals),
                f"{len(rivals)} modes of about the same evidence were found.",
            )
        if self._passed():
            return
        off = self._best.rung
        if self.density.vectorised and FEWEST_CHAINS * self.density.work <= DEAR_CHAINS:
            yield (
                Polish(base=self._best.approximation),
                f"{off.worst} is off, and Markov chains from the draws are the cheapest mending.",
            )
            if self._passed():
                return
        one_mode = not self.candidates_from  # a flow that starts in one mode stays there
        if one_mode and self.density.dim <= FLOW_DIM and self._gaussian() is not None:
            yield (
                SVI(guide=_flow(), particles=32, max_steps=FLOW_STEPS),
                f"{self._best.rung.worst} is still off; a flow bends where a Gaussian cannot.",
            )


def first_engine(density: LogDensity) -> tuple[Engine, str]:
    """The engine of the first rung, and why."""
    model, dim = density.model, density.dim
    if model.subsampled:
        return SVI(guide="mean_field"), "SVI, since the model subsamples a plate."
    if model.parameters:
        return SVI(guide="mean_field"), "SVI, since the model learns parameters of its own."
    if not affordable(density) and 2 * dim * density.work > DEAR_ENTRIES:
        return SVI(guide="mean_field", max_steps=SVI_STEPS), (
            f"SVI with few draws a step, since two for each of {dim} latent dimensions, as DADVI "
            "needs, would work through too many numbers."
        )
    if not affordable(density):
        return DADVI(), (
            f"DADVI, a mean-field Gaussian, since the curvature of {dim} latent dimensions would "
            "cost more than it mends."
        )
    if model.discrete:
        return DADVI(whiten=True, starts=MIXTURE_STARTS), (
            f"DADVI in a space whitened by the curvature, from the best of {MIXTURE_STARTS} "
            "starts, since summing discrete sites out tends to leave several modes."
        )
    return DADVI(whiten=True), (
        f"DADVI in a space whitened by the curvature, since {dim} latent dimensions are few "
        "enough to carry every correlation."
    )


def _flow() -> Any:
    from pyrovi.guides import FAMILIES

    return FAMILIES["maf"].with_options(turned=True, init_scale=1.0)


def _start_as(guide: Any, gaussian: Gaussian | None) -> None:
    """Lay a flow over a fitted Gaussian, so that it starts as that."""
    if gaussian is None:
        return
    factor = torch.diag(gaussian.scale_tril) if gaussian.diagonal else gaussian.scale_tril
    with torch.no_grad():
        guide.loc.copy_(gaussian.loc)
        guide.turn.copy_(factor)
