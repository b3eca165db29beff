"""How many modes there are: searches from all over, and how often each mode was found.

What starts in one mode does not see another: neither a Gaussian, nor chains, nor importance
weights. So searches start from the prior and from around the origin, and go on as long as modes
that count are met only once: of these others were likely missed, as in Good and Turing's estimate
of what a sample has not seen (Good 1953, https://doi.org/10.1093/biomet/40.3-4.237).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.approximations import Conditional, Gaussian, Rest
from pyrovi.density import LogDensity
from pyrovi.evidence import limits, off_without, unseen
from pyrovi.optimise.linalg import SMALLEST_EIGENVALUE, curvature_cholesky
from pyrovi.optimise.mode_search import DECREMENT, NEAR, find_mode, log_evidence
from pyrovi.progress import steps_of
from pyrovi.seeds import stream
from pyrovi.tree import OF_ALL, OF_REST, UP_TO_LABELS

FIRST_SEARCHES, MOST_SEARCHES = 16, 2048
NUMBERS = 150_000_000  # that all searches may work through: seconds, mostly of second derivatives
CLIMBS = 60  # steps of a search, before Newton's method
FIRST_STEP, LONGEST_STEP = 0.1, 10.0  # of each entry
# Where few searches are affordable: how many race, and after which climbs the better half goes on.
RACED, FEW_SEARCHES, RACE = 128, 256, (20, 40, 80)
LONGER, SHORTER = 1.2, 0.5  # where the slope keeps its sign, and where it changes it
NEWTON_STEPS, PATIENCE = 30, 5  # and after how many of them what is far below is left
FIRST_DAMPING, MOST_DAMPING = 1e-3, 1e8
LITTLE = 0.02  # sds that modes left out may move a mean by, and the share of an sd
LEFT = 1e-3  # the share of the posterior that modes left out may have
ONE_PLACE = 0.5  # sds, within which two searches ended in one mode
ONE_HEIGHT = 1e-3  # nats, within which modes are one but for an exchange of labels
AROUND = 2.0  # from the origin, as Stan starts
CLIMBERS = 16  # draws that climb to a mode, where labels may be exchanged
RARE_CLIMBERS = 3.0  # of them that a mode should have, below which none has a chance of 5 %
HELD_SHARE = 0.1  # of the draws that a mode should have
WEIGHED, WEIGHING_DRAWS = 32, 200  # modes whose evidence is estimated by draws, and how many
MOST_FALLEN, MOST_HALVINGS = 2.0, 30  # nats over an axis, 0.5 where it is a Gaussian's
NEGLIGIBLE = 12.0  # nats below the best, at which a mode is left as it is
LOWER = 12.0, 3.0  # nats below, and for each entry, at which a place is no mode that could count
LOST, LOST_AFTER = 0.9, 128  # such a chance after so many searches: modes are without number
FEWEST_ENDS = 5  # searches that end in a mode, fewer than which tell nothing of others
ENOUGH = 0.1  # chance of another mode, whatever its weight, below which searches end
TINY = 1e-300
FAR = 5.0, 20.0  # sds from a mode of the rest, where searches for others start
APART = 3.0  # sds between two modes of a block
MOST_SWAPPED = 64  # blocks whose other modes are weighed

Slope = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Survey:
    """Which modes searches came to.

    Attributes:
        searches: How many ended in a mode, or far below all that count.
        found: How often each mode was met, the one with most evidence first.
        log_evidence: Of each, by the curvature there, less a shared constant.
        held: Whether the approximation has draws about each.
        loc: Where each is; empty where it is in many places, or is one of a part of the entries.
        scale: The sds about it.
        of: Of what: `pyrovi.tree.OF_ALL`, `UP_TO_LABELS` or `OF_REST`.
    """

    searches: int
    found: tuple[int, ...]
    log_evidence: tuple[float, ...]
    held: tuple[bool, ...]
    loc: tuple[tuple[float, ...], ...] = ()
    scale: tuple[tuple[float, ...], ...] = ()
    of: str = OF_ALL

    @property
    def shares(self) -> np.ndarray:
        """The share of the posterior about each mode, of all that were found.

        All the same where none could be weighed: about each the density is zero.
        """
        logs = np.array(self.log_evidence)
        weighed = np.isfinite(logs).any()
        weights = np.exp(logs - logs.max()) if weighed else np.ones(len(logs))
        return weights / weights.sum()

    @property
    def once(self) -> float:
        """The share in modes that were met only once."""
        return float(self.shares[np.array(self.found, int) < 2].sum())

    @property
    def unseen(self) -> float:
        """The chance that one more search ends in a mode that counts and was not met."""
        return unseen(self.found, self.shares, self.searches)

    @property
    def missed(self) -> float:
        """The share in modes about which the approximation has no draws."""
        return float(self.shares[~np.array(self.held, bool)].sum())

    @property
    def misses(self) -> bool:
        """Whether what the approximation misses changes shares, means or sds too much."""
        shift, ratio = self.off_without(np.array(self.held, bool))
        return (
            self.missed > limits.MODES_MISSED.high
            or shift > limits.SHIFT.high
            or ratio < limits.SD_RATIO.low
        )

    @property
    def needed(self) -> int:
        """How many of the modes make its means and sds, and all but very little of it."""
        first, count = np.arange(len(self.found)), 1
        while count < len(first):
            shift, ratio = self.off_without(first < count)
            if shift < LITTLE and ratio > 1 - LITTLE and self.shares[count:].sum() < LEFT:
                break
            count += 1
        return count

    def off_without(self, held: np.ndarray) -> tuple[float, float]:
        """What the modes held make of the worst mean and sd; nothing where no place is known."""
        return off_without(self.shares, *self.places, held) if self.loc else (0.0, 1.0)

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """`loc` and `scale` as matrices, ``(mode, entry)``."""
        return np.array(self.loc), np.array(self.scale)


# All entries


def survey_modes(
    density: LogDensity,
    seed: int,
    known: Sequence[Gaussian] = (),
    start: Float[Tensor, "dim"] | None = None,
) -> tuple[list[Gaussian], Survey] | None:
    """The modes with most evidence first, and how often each was met.

    Args:
        density: The density.
        seed: Of the starts.
        known: Modes that were met before, each once.
        start: Next to which the first mode is sought. Not where discrete sites are summed out: a
            long way lies between a start and its mode then.

    Returns:
        None where so few searches could be made that they would tell nothing, or none ended in a
        mode.
    """
    most = min(MOST_SEARCHES, NUMBERS // (density.work * _evaluations(density.dim)))
    if most < FIRST_SEARCHES:
        return None
    if start is not None and not density.model.discrete:
        known = [*known, *filter(None, [find_mode(density, start)])]
    found = _Found(density, known)
    count = FIRST_SEARCHES
    while found.started < most:
        count = min(count, most - found.started)
        found.search(_starts(density, count, stream(seed, "survey", found.started)))
        found.started += count
        if found.settled:
            break
        count = found.started
        if count == FIRST_SEARCHES and most < FEW_SEARCHES:
            found.search(_winners(density, stream(seed, "race")))
            found.started += count
    if not found.modes:
        return None
    found.weigh(seed)
    return found.ordered()


def _evaluations(dim: int) -> int:
    """About how many a search takes."""
    return CLIMBS + NEWTON_STEPS * (dim + 1)


def _starts(density: LogDensity, count: int, seed: int) -> Tensor:
    """Half from the prior, as wide as it is, and half from around the origin."""
    drawn = density.prior_draws(count // 2, seed)
    drawn = drawn[drawn.isfinite().all(-1)]
    generator = torch.Generator().manual_seed(seed)
    size = count - len(drawn), density.dim
    around = torch.rand(size, generator=generator, dtype=torch.float64)
    return torch.cat([drawn, AROUND * (2 * around - 1)])


def _winners(density: LogDensity, seed: int) -> Tensor:
    """Places from which to search, where searches are dear: of many, those that climb highest."""
    flat = _starts(density, RACED, seed)
    for climbs in RACE:
        flat = climb(density.value_and_gradient, flat, climbs)
        heights = density.log_prob(flat).detach().nan_to_num(-torch.inf, -torch.inf, -torch.inf)
        flat = flat[heights.topk(len(flat) // 2).indices]
    return flat


class _Found:
    """The modes so far, and how often each was met.

    Where labels may be exchanged, modes of one height are one.
    """

    def __init__(self, density: LogDensity, known: Sequence[Gaussian]) -> None:
        self.density, self.started, self.passed_by = density, 0, 0
        self.modes: list[Gaussian] = []
        self.counts: list[int] = []
        self.evidence: list[float] = []
        self.known = torch.zeros(0, density.dim, dtype=torch.float64)
        self.whiteners = torch.zeros(0, density.dim, density.dim, dtype=torch.float64)
        self.by_height = _exchangeable(density)
        for mode in known:
            self._count(mode.loc, mode.scale_tril)

    def search(self, starts: Float[Tensor, "start dim"]) -> None:
        """Count where searches end; those far below what is known are not followed to the end."""
        highest = max(
            (float(mode.density.log_prob(mode.loc)) for mode in self.modes), default=-math.inf
        )
        places, curvatures, passed_by = _ends(self.density, starts, highest)
        self.passed_by += passed_by
        self.add(places, curvatures)

    def add(
        self, places: Float[Tensor, "place dim"], curvatures: Float[Tensor, "place dim dim"]
    ) -> None:
        """Count each place to its mode, or as a new one."""
        for place, curvature in zip(places, curvatures, strict=True):
            scale_tril, raised = curvature_cholesky(curvature)
            if not raised:
                self._count(place, scale_tril)

    def _count(self, place: Tensor, scale_tril: Tensor) -> None:
        unit = torch.eye(len(place), dtype=torch.float64)
        whitener = torch.linalg.solve_triangular(scale_tril, unit, upper=False)
        same = torch.nonzero(self._same(place, whitener)).flatten()
        if len(same):
            self.counts[int(same[0])] += 1
            return
        self.modes.append(Gaussian(self.density, place, scale_tril))
        self.counts.append(1)
        self.evidence.append(log_evidence(self.modes[-1]))
        self.known = torch.cat([self.known, place[None]])
        self.whiteners = torch.cat([self.whiteners, whitener[None]])

    def _same(self, place: Tensor, whitener: Tensor) -> Tensor:
        """Which of the modes it is at, by its curvature and by theirs."""
        if self.by_height:
            heights = self.density.log_prob(torch.cat([self.known, place[None]])).detach()
            return (heights[:-1] - heights[-1]).abs() < ONE_HEIGHT
        away = (place - self.known)[..., None]
        by_each = torch.maximum((self.whiteners @ away).abs(), (whitener @ away).abs())
        return by_each.amax((-1, -2)) < ONE_PLACE

    @property
    def settled(self) -> bool:
        """Whether more searches would hardly meet more, or there are far too many to meet all.

        Modes of no weight count here: where searches meet ever new ones, the heaviest may lack.
        """
        if sum(self.counts) < FEWEST_ENDS:
            return False
        survey, new = self.ordered()[1], self.counts.count(1) / sum(self.counts)
        lost = self.started >= LOST_AFTER and new > LOST
        return lost or (survey.once <= limits.MODES_ONCE.high and new <= ENOUGH)

    def ordered(self) -> tuple[list[Gaussian], Survey]:
        """The modes and how often each was met, the one with most evidence first."""
        order = sorted(range(len(self.modes)), key=lambda i: -self.evidence[i])
        modes = [self.modes[i] for i in order]
        counts = tuple(self.counts[i] for i in order)
        evidence = tuple(self.evidence[i] for i in order)
        searches, held = sum(counts) + self.passed_by, (True,) * len(order)
        if self.by_height:
            return modes, Survey(searches, counts, evidence, held, of=UP_TO_LABELS)
        loc, scale = (
            tuple(tuple(getattr(mode, name).tolist()) for mode in modes)
            for name in ("loc", "scale")
        )
        return modes, Survey(searches, counts, evidence, held, loc, scale)

    def weigh(self, seed: int) -> None:
        """Estimate the evidence of modes that seem to count by draws of their Gaussians.

        The curvature at a mode alone may promise far more than there is, where it is flat.
        """
        heaviest = max(self.evidence)
        for index in sorted(range(len(self.modes)), key=lambda i: -self.evidence[i])[:WEIGHED]:
            if len(self.modes) > 1 and self.evidence[index] > heaviest - NEGLIGIBLE:
                self.evidence[index] = _weighed(self.modes[index], stream(seed, "weighed", index))


def _whitened(mode: Gaussian, flat: Float[Tensor, "row dim"]) -> Float[Tensor, "row dim"]:
    away = (flat - mode.loc).mT
    return torch.linalg.solve_triangular(mode.scale_tril, away, upper=False).mT


def mark_held(
    survey: Survey, modes: Sequence[Gaussian], flat: Float[Tensor, "draw dim"], begun: int = 0
) -> Survey:
    """The survey with which of the modes are held, given draws of the approximation.

    Of modes too rare for so many draws, those are held that the approximation began with, the
    first ``begun``.
    """
    if _exchangeable(modes[0].density):
        (drawn, looked), rare = _led_to_each(modes, flat[:CLIMBERS]), RARE_CLIMBERS
    else:
        drawn, looked, rare = _near_each(modes, flat), len(flat), limits.RARE_DRAWS
    expected = looked * survey.shares
    known = (expected < rare) & (np.arange(len(modes)) < begun)
    return replace(survey, held=tuple(((drawn >= HELD_SHARE * expected) | known).tolist()))


def _weighed(mode: Gaussian, seed: int) -> float:
    """The log evidence about a mode by importance sampling, in units of `log_evidence`."""
    root = _no_wider(mode)
    generator = torch.Generator().manual_seed(seed)
    size = WEIGHING_DRAWS, len(mode.loc)
    noise = torch.randn(size, generator=generator, dtype=torch.float64)
    height = mode.density.log_prob(mode.loc + noise @ root.T).detach()
    log_weights = height + 0.5 * noise.square().sum(-1)
    average = float(log_weights.logsumexp(0)) - math.log(WEIGHING_DRAWS)
    return average + float(torch.linalg.slogdet(root).logabsdet)


def _no_wider(mode: Gaussian) -> Tensor:
    """The principal axes of a mode, each halved until the density falls little over it."""
    vectors, lengths, _ = torch.linalg.svd(mode.scale_tril)
    axes, top = (vectors * lengths).T, mode.density.log_prob(mode.loc).detach()
    for _ in range(MOST_HALVINGS):
        ends = torch.cat([mode.loc + axes, mode.loc - axes])
        fallen = (top - mode.density.log_prob(ends).detach()).reshape(2, -1).amax(0)
        if not bool((fallen > MOST_FALLEN).any()):
            break
        axes = torch.where((fallen > MOST_FALLEN)[:, None], axes / 2, axes)
    return axes.T


def _exchangeable(density: LogDensity) -> bool:
    """Whether labels may be exchanged: modes of one height then mean the same."""
    return bool(density.model.discrete or density.model.structure.exchangeable)


def _near_each(modes: Sequence[Gaussian], flat: Tensor) -> np.ndarray:
    """How many draws there are at each mode: one counts where that Gaussian is the densest."""
    heights = torch.stack(
        [
            -0.5 * _whitened(mode, flat).square().sum(-1) - mode.scale_tril.diagonal().log().sum()
            for mode in modes
        ]
    )
    return torch.bincount(heights.argmax(0), minlength=len(modes)).numpy()


def _led_to_each(modes: Sequence[Gaussian], flat: Tensor) -> tuple[np.ndarray, int]:
    """How many climb to each mode, whose labels may be exchanged there, and of how many that end.

    Where none ends, each mode has all: nothing is said against it.
    """
    density = modes[0].density
    ends, *_ = _ends(density, flat)
    if not len(ends):
        return np.full(len(modes), len(flat)), len(flat)
    places = torch.cat([ends, torch.stack([mode.loc for mode in modes])])
    heights = density.log_prob(places).detach()
    same = (heights[: len(ends), None] - heights[len(ends) :]).abs() < ONE_HEIGHT
    return same.double().sum(0).numpy(), len(ends)


def _ends(
    density: LogDensity, starts: Float[Tensor, "start dim"], highest: float = -math.inf
) -> tuple[Tensor, Tensor, int]:
    """The modes that searches from the starts end in, their curvature, and how many ended low."""
    flat = climb(density.value_and_gradient, starts)
    return _newton(density, flat, highest)


def climb(
    value_and_gradient: Slope,
    flat: Float[Tensor, "row dim"],
    climbs: int = CLIMBS,
    first_step: float | Float[Tensor, "row dim"] = FIRST_STEP,
) -> Float[Tensor, "row dim"]:
    """Up from many places at once, each entry by steps of its own, which need no scale.

    Reference: Igel and Huesken (2003), https://doi.org/10.1016/S0925-2312(01)00700-7, iRprop-.
    """
    before, last, step = flat, torch.zeros_like(flat), torch.zeros_like(flat) + first_step
    for _ in steps_of(climbs, "searching for modes"):
        value, gradient = value_and_gradient(flat)
        lost = ~(value.isfinite() & gradient.isfinite().all(-1))[:, None]
        turned = gradient * last
        step = torch.where((turned < 0) | lost, SHORTER * step, step)
        step = torch.where(turned > 0, (LONGER * step).clamp(max=LONGEST_STEP), step)
        gradient = torch.where((turned < 0) | lost, 0.0, gradient)
        flat = torch.where(lost, before, flat)
        before, last = flat, gradient
        flat = flat + gradient.sign() * step
    return before


def _newton(
    density: LogDensity, flat: Float[Tensor, "row dim"], highest: float
) -> tuple[Float[Tensor, "end dim"], Float[Tensor, "end dim dim"], int]:
    """The modes that Newton's method ends in, damped where a step leads down, and their curvature.

    One for each row that arrives; and how many were left, since they were far below ``highest`` or
    the highest of them after a few steps.
    """
    passed_by, far = 0, LOWER[0] + LOWER[1] * flat.shape[1]
    flat, curvature = flat.clone(), flat.new_zeros(*flat.shape, flat.shape[1])
    value, gradient = density.value_and_gradient(flat)
    damping, short = torch.zeros_like(value), torch.full_like(value, torch.inf)
    going = torch.arange(len(flat))
    for taken in range(NEWTON_STEPS):
        if taken == PATIENCE:
            low = value[going] < max(highest, float(value.max())) - far
            going, passed_by = going[~low], int(low.sum())
        if not len(going):
            break
        curvature[going] = -density.hessian(flat[going])
        step, promised, curved = _damped_steps(curvature[going], gradient[going], damping[going])
        short[going] = torch.where(curved, promised, torch.inf)
        on = (short[going] > DECREMENT) & (damping[going] < MOST_DAMPING)
        going, there = going[on], (flat[going] + step)[on]
        if not len(going):
            break
        reached, slope = density.value_and_gradient(there)
        up = (reached > value[going]) & slope.isfinite().all(-1)
        rose = going[up]
        flat[rose], value[rose], gradient[rose] = there[up], reached[up], slope[up]
        raised = (10 * damping[going]).clamp(min=FIRST_DAMPING)
        damping[going] = torch.where(up, damping[going] / 10, raised)
    arrived = short < NEAR
    return flat[arrived], curvature[arrived], passed_by


def _damped_steps(
    curvature: Float[Tensor, "row dim dim"], gradient: Float[Tensor, "row dim"], damping: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Newton's steps, the nats that they promise undamped, and whether it is curved every way."""
    sound = curvature.isfinite().all(-1).all(-1) & gradient.isfinite().all(-1)
    curvature = torch.where(
        sound[:, None, None], curvature, torch.eye(curvature.shape[-1]).double()
    )
    gradient = torch.where(sound[:, None], gradient, 0.0)
    units = curvature.diagonal(dim1=-2, dim2=-1).abs().clamp(min=TINY).rsqrt()
    values, vectors = torch.linalg.eigh(units[:, :, None] * curvature * units[:, None])
    along = (vectors.mT @ (units * gradient)[..., None])[..., 0]
    size = values.abs().clamp(min=SMALLEST_EIGENVALUE)
    size = torch.maximum(size, SMALLEST_EIGENVALUE * size.amax(-1, keepdim=True))
    step = units * (vectors @ (along / (size + damping[:, None]))[..., None])[..., 0]
    return step, 0.5 * (along.square() / size).sum(-1), sound & (values > 0).all(-1)


# The rest, given the few


def survey_rest(
    rest: Rest, few: Float[Tensor, "row few"], given: Conditional, seed: int
) -> Survey | None:
    """Whether the rest has other modes than those given, by searches that start far from them.

    Blocks that end elsewhere are weighed one at a time, since they are independent given the few
    and the border. Of the modes the first is that which was given, and the other the heaviest
    that was met.

    Args:
        rest: The rest.
        few: Values of the few, with weight in the posterior; a search for each.
        given: The Gaussians at the modes that are known there.
        seed: Of the starts.

    Returns:
        None where no search ended in a mode.
    """
    slope, scale = partial(_slope, rest, few), given.factor.scale
    starts = _far_starts(rest, given, seed)
    reached = rest.given(few, climb(slope, starts, first_step=FIRST_STEP * scale))
    gradient = slope(reached.loc)[1]
    promised = 0.5 * (gradient * reached.factor.solve(gradient)).sum(-1)
    arrived = reached.factor.usable & (promised < NEAR)
    if not bool(arrived.any()):
        return None
    away = (((reached.loc - given.loc) / scale).abs() > APART) & arrived[:, None]
    other = away.any(-1)
    gained = _heaviest(rest, few, given, reached, away)
    counts = int((arrived & ~other).sum()), int(other.sum())
    if not counts[1]:
        return Survey(counts[0], counts[:1], (0.0,), (True,), of=OF_REST)
    return Survey(sum(counts), counts, (0.0, gained), (True, False), of=OF_REST)


def _slope(rest: Rest, few: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    value, gradient = rest.density.value_and_gradient(rest.split.flat(few, place))
    return value, gradient[:, rest.split.rest]


def _far_starts(rest: Rest, given: Conditional, seed: int) -> Tensor:
    """Mirror images of the modes, noise about them, and draws from the prior."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(given.loc.shape, generator=generator, dtype=torch.float64)
    kinds = torch.arange(len(noise))[:, None] % (2 + len(FAR))
    starts = torch.where(kinds == 0, -given.loc, given.loc)
    for kind, sds in enumerate(FAR, start=1):
        starts = torch.where(kinds == kind, given.loc + sds * noise * given.factor.scale, starts)
    drawn = rest.density.prior_draws(len(noise) // (2 + len(FAR)), seed)[:, rest.split.rest]
    drawn = drawn[drawn.isfinite().all(-1)]
    rows = torch.nonzero(kinds[:, 0] == 1 + len(FAR)).flatten()[: len(drawn)]
    return starts.index_copy(0, rows, drawn)


def _heaviest(
    rest: Rest, few: Tensor, given: Conditional, reached: Conditional, away: Tensor
) -> float:
    """How much more evidence the heaviest of the other modes has than the one given."""
    border, (count, size) = len(rest.split.border), rest.split.blocks.shape
    whole = away[:, :border].any(-1)
    gained = (reached.log_evidence - given.log_evidence)[whole]
    blocks = away[:, border:].reshape(len(away), count, size).any(-1) & ~whole[:, None]
    if not bool(blocks.any()):
        return float(gained.max()) if len(gained) else -math.inf
    row, block = torch.nonzero(blocks)[:: max(1, int(blocks.sum()) // MOST_SWAPPED)].T
    swapped, other = given.loc[row], reached.loc[row]
    entries = border + size * block[:, None] + torch.arange(size)
    swapped = swapped.scatter(1, entries, other.gather(1, entries))
    flat = [rest.split.flat(few[row], each) for each in (swapped, given.loc[row])]
    value, base = (rest.density.log_prob(each).detach() for each in flat)
    narrower = [
        factor.blocks[row, block].diagonal(dim1=-2, dim2=-1).log().sum(-1)
        for factor in (reached.factor, given.factor)
    ]
    return float(torch.cat([gained, value - base - narrower[0] + narrower[1]]).max())
