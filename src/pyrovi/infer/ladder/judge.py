"""Is an approximation the posterior, quantity by quantity? The cheapest evidence that can tell.

The importance weights of its draws come first: where their tail is light and every quantity is
shown to be the same reweighted, that is proof enough. Else short Markov chains go out from the
draws: those of the posterior stay so, and others drift (`pyrovi.optimise.move`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.approximations import POOL, Draws
from pyrovi.density import LogDensity
from pyrovi.evidence import (
    MIN_DRAWS,
    SEVERITY,
    Difference,
    Status,
    first_case,
    limits,
    moved,
    resampled,
    reweighted,
    reweighted_alone,
    smooth,
    threshold,
)
from pyrovi.infer.ladder.price import Price
from pyrovi.optimise import LEAPFROGS, STEP_SIZE, Chains, chains_for, mass_factor, move
from pyrovi.tree import POOL_KHAT, POOL_WEIGHT

CHAINS, CHAIN_ENTRIES = 256, 600_000  # numbers in one evaluation of all: seconds at the most
MANY_CHAINS, CHEAP_ENTRIES = 2048, 60_000  # a third of the errors, where they cost next to nothing
CONFIRMING, CONFIRMING_ENTRIES = 512, 3_000_000  # of a pass by fewer, where it is affordable
EFFECTIVE_POOL = 2  # effective draws, out of which one is resampled
TRANSITIONS, KEPT = 15, 5
SHORTER = (0.4, 0.2, 0.1)  # shares of the usual step size, until enough are accepted


@dataclass(frozen=True)
class Judgement:
    """How an approximation held against the posterior.

    Attributes:
        labels: The quantities.
        differences: Each of them against the posterior; empty where nothing could tell.
        khat: The shape of the importance weights; NaN where there are none.
        chains: Where short Markov chains went from the draws; None where they were not needed.
        suspect: Whether weights too uneven to be relied on say that something is off.
        open: Whether the weights leave some quantity open, and nothing else was asked.
    """

    labels: tuple[str, ...]
    differences: tuple[Difference, ...]
    khat: float
    chains: Chains | None = None
    suspect: bool = False
    open: bool = False

    @property
    def could_tell(self) -> bool:
        """Whether there was any evidence."""
        return bool(self.differences)

    @property
    def status(self) -> Status:
        """The worst of all quantities: the first of these cases that holds."""
        statuses = {each.status for each in self.differences}
        stuck = self.chains is not None and _acceptance(self.chains) < limits.ACCEPTED.fail_low
        return first_case(
            (stuck, "fail"),
            ("fail" in statuses, "fail"),
            ("warn" in statuses or not statuses, "warn"),
            (any(each.error_hides_failure for each in self.differences), "warn"),
            otherwise="ok",
        )

    @property
    def passes(self) -> bool:
        """Whether all is ok, with a margin, and nothing else says otherwise."""
        near = any(each.exceeds(limits.JUDGED_MARGIN) for each in self.differences)
        return self.status == "ok" and not (near or self.suspect or self.open)

    @property
    def worst(self) -> tuple[str, Difference] | None:
        """The quantity that is farthest off, and how."""
        pairs = zip(self.labels, self.differences, strict=True)
        return max(pairs, key=lambda pair: pair[1].share_of_limit, default=None)

    @property
    def excess(self) -> float:
        """How far off the worst quantity is, in units of what is allowed.

        It is infinite where any of them is not a number, or nothing could tell.
        """
        shares = [each.share_of_limit for each in self.differences if each.is_number]
        return max(shares) if shares and len(shares) == len(self.differences) else np.inf

    @property
    def rank(self) -> tuple[bool, int, float]:
        """Less is better: whether there is no evidence at all, the status, and the excess."""
        return not self.could_tell, SEVERITY[self.status], self.excess


@dataclass(frozen=True)
class Known:
    """What is known of some draws already.

    Attributes:
        values: Each latent site, ``(draw, *shape)``.
        log_density: That of the posterior, unconstrained, ``(draw,)``.
    """

    values: Mapping[str, Tensor]
    log_density: Tensor

    @staticmethod
    def of(density: LogDensity, drawn: Draws) -> "Known":
        """What the density says of draws."""
        return Known(density.constrain(drawn.flat), density.log_prob(drawn.flat).detach())


def judge(
    density: LogDensity,
    drawn: Draws,
    seed: int,
    chains: Chains | None = None,
    known: Known | None = None,
) -> Judgement:
    """Hold draws of an approximation against the posterior.

    =================================  ==========================  ===========================
    the importance weights             short Markov chains         the judgement is by
    =================================  ==========================  ===========================
    show all within limits, or one     are not sent out            the weights
    beyond
    leave a quantity open              cannot be run               the weights
    have too heavy a tail, or none     cannot be run               nothing
    anything else                      show one beyond its limits  the chains
    anything else                      are few, and show none      them; more if those object
    =================================  ==========================  ===========================

    Args:
        density: The posterior's density.
        drawn: Independent draws of the approximation.
        seed: Of the Markov chains.
        chains: Those that went out from other draws of the approximation before: they decide.
        known: What is known of the draws already.
    """
    case = _case(density, drawn, seed, known)
    if case is None:
        return Judgement((), (), np.nan)
    if chains is not None and _can_move(density):
        return case.by_chains(chains)
    if case.weights_suffice or not _can_move(density):
        return case.by_weights()
    return case.by_few_chains_or_more()


def _case(
    density: LogDensity, drawn: Draws, seed: int, known: Known | None = None
) -> "_Case | None":
    """None where nothing varies, or a draw is not finite."""
    sites = density.constrain(drawn.flat) if known is None else known.values
    labels, values = _labelled(sites)
    varying = values.std(0) > 0
    if not varying.any() or not np.isfinite(values).all():
        return None
    named = tuple(name for name, varies in zip(labels, varying, strict=True) if varies)
    return _Case(density, drawn, seed, named, values[:, varying], varying, known)


@dataclass(frozen=True)
class _Case:
    """What is judged: the quantities that vary, and their values ``(draw, quantity)``."""

    density: LogDensity
    drawn: Draws
    seed: int
    labels: tuple[str, ...]
    values: np.ndarray
    varying: np.ndarray
    known: Known | None = None

    @cached_property
    def weighed(self) -> tuple[float, np.ndarray | None]:
        return _weighed(self.density, self.drawn, self.known)

    @cached_property
    def centres(self) -> np.ndarray | None:
        """The mean of each quantity in the mode of each draw; None where there is one mode.

        About these the quantities are judged too: the way between modes hides an sd within them.
        """
        if self.drawn.mode is None:
            return None
        _, own = np.unique(self.drawn.mode.numpy(), return_inverse=True)
        sums = np.zeros((own.max() + 1, self.values.shape[1]))
        np.add.at(sums, own, self.values)
        return (sums / np.bincount(own)[:, None])[own] if len(sums) > 1 else None

    @property
    def differences(self) -> list[Difference]:
        """Each quantity by the weights, however uneven; none where the weights have no mean."""
        weights = self.weighed[1]
        if weights is None:
            return []
        by_weights = resampled if POOL_WEIGHT in self.drawn.stats else reweighted
        values, centres = self.values, self.centres
        apart = values if centres is None else np.hstack([values, values - centres])
        return by_weights(apart, weights)

    @cached_property
    def trusted(self) -> tuple[Difference, ...]:
        """The same where the tail of the weights is light; else none."""
        return () if self.weighed[0] > threshold(len(self.values)) else tuple(self.differences)

    @property
    def weights_suffice(self) -> bool:
        shown = all(each.shown_within_limits for each in self.trusted)
        return bool(self.trusted) and (shown or not _all_ok(self.trusted))

    def by_weights(self) -> Judgement:
        return self.judgement(self.trusted, sure=True)

    def judgement(self, differences: Sequence[Difference], *, sure: bool) -> Judgement:
        """What the weights say; unless they are sure, they leave quantities open."""
        labels = self.labels * (len(differences) // len(self.labels))  # once more within modes
        return Judgement(labels, tuple(differences), self.weighed[0], open=not sure)

    def by_chains(self, chains: Chains) -> Judgement:
        """Each quantity against where chains head; unknown where one of them is lost."""
        khat = self.weighed[0]
        start = _quantities(self.density, chains.start)[1][:, self.varying]
        after = _quantities(self.density, chains.states.flatten(0, 1))[1]
        after = after.reshape(*chains.states.shape[:2], -1)[..., self.varying]
        if not np.isfinite(after).all():
            return Judgement((), (), khat, chains)
        values, labels = self.values, self.labels
        first = self.drawn.flat[: len(start)]
        if self.centres is not None and torch.equal(chains.start, first):
            own = self.centres[: len(start)]
            values, labels = np.hstack([values, values - self.centres]), labels * 2
            start, after = (
                np.hstack([start, start - own]),
                np.dstack([after, after - own[:, None]]),
            )
        differences = tuple(moved(values, start, after))
        suspect = not self.trusted and not _all_ok(self.differences)
        return Judgement(labels, differences, khat, chains, suspect)

    def by_few_chains_or_more(self) -> Judgement:
        """By few chains; what they pass by more, where these show something beyond its limits."""
        few = send_out(self.density, self.drawn, self.seed)
        judged = self.by_chains(few)
        if not (judged.could_tell and _all_ok(judged.differences)):
            return judged
        more = _more_chains(self.density, self.drawn, self.seed, few)
        again = judged if more is None else self.by_chains(more)
        beyond = any(each.exceeds_limit_despite_error for each in again.differences)
        return again if beyond else judged


@dataclass(frozen=True)
class ByWeights:
    """What importance weights alone say.

    Attributes:
        as_drawn: Of the draws as they are; it may leave quantities open.
        resampled: Of draws that are resampled by the weights.
        pool: How many of the draws to take for each that is resampled.
    """

    as_drawn: Judgement
    resampled: Judgement
    pool: int


def judge_by_weights(
    density: LogDensity, drawn: Draws, known: Known | None = None
) -> ByWeights | None:
    """The cheapest judgement; None where the weights have too heavy a tail, or there are none."""
    case = _case(density, drawn, 0, known)
    weights = None if case is None else case.weighed[1]
    if case is None or weights is None or not case.trusted:
        return None
    pool = int(np.ceil(EFFECTIVE_POOL * len(weights) * (weights**2).sum()).clip(max=POOL))
    alone = reweighted_alone(case.values, weights, pool)
    pooled = POOL_WEIGHT in drawn.stats
    shown = all(each.known if pooled else each.shown_within_limits for each in case.trusted)
    return ByWeights(
        case.judgement(case.trusted, sure=shown),
        case.judgement(alone, sure=all(each.known for each in alone)),
        pool,
    )


def shown_by_weights(density: LogDensity, drawn: Draws, known: Known) -> bool:
    """Whether the importance weights of draws show each quantity right, or say nothing against."""
    case = _case(density, drawn, 0, known)
    trusted = () if case is None else case.trusted
    return bool(trusted) and all(
        each.status == "ok" and (each.shown_within_limits or each.known) for each in trusted
    )


def _all_ok(differences: Iterable[Difference]) -> bool:
    return all(each.status == "ok" for each in differences)


def _acceptance(chains: Chains) -> float:
    return float(chains.acceptance.mean())


def _more_chains(density: LogDensity, drawn: Draws, seed: int, few: Chains) -> Chains | None:
    """The few chains and at least as many others; None where these would be dear."""
    sent = len(few.start)
    total = min(CONFIRMING, CONFIRMING_ENTRIES // density.work, len(drawn.flat))
    if total < 2 * sent:
        return None
    rest = vars(send_out(density, drawn, seed + 1, slice(sent, total)))
    return Chains(**{name: torch.cat([own, rest[name]]) for name, own in vars(few).items()})


def _weighed(
    density: LogDensity, drawn: Draws, known: Known | None = None
) -> tuple[float, np.ndarray | None]:
    """The shape of the weights, and the weights where they have a mean."""
    if POOL_WEIGHT in drawn.stats:
        return float(drawn.stats[POOL_KHAT][0]), drawn.stats[POOL_WEIGHT].numpy()
    if drawn.log_guide is None:
        return np.nan, None
    log_density = density.log_prob(drawn.flat).detach() if known is None else known.log_density
    log_ratios = (log_density - drawn.log_guide.detach()).numpy()
    finite = np.isfinite(log_ratios)
    if finite.sum() < MIN_DRAWS:
        return np.inf, None
    log_weights, khat = smooth(log_ratios[finite])
    usable = khat <= limits.KHAT.fail_high and finite.all()
    return khat, np.exp(log_weights) if usable else None


def importance_khat(density: LogDensity, drawn: Draws, known: Known | None = None) -> float:
    """The shape of the importance weights of some draws; NaN where they have none."""
    return _weighed(density, drawn, known)[0]


def _can_move(density: LogDensity) -> bool:
    model = density.model
    return density.vectorised and not (model.subsampled or model.parameters)


def _usual(density: LogDensity) -> int:
    """How many chains go out at first."""
    few = chains_for(density, CHAINS, CHAIN_ENTRIES)
    return max(few, chains_for(density, MANY_CHAINS, CHEAP_ENTRIES))


def price_of_chains(density: LogDensity) -> Price:
    """What it takes to send the first chains out, at their usual step size."""
    return Price(TRANSITIONS * LEAPFROGS + 1, _usual(density))


def send_out(density: LogDensity, drawn: Draws, seed: int, which: slice | None = None) -> Chains:
    """Short Markov chains from the first draws, with smaller steps where they cannot move."""
    start = drawn.flat[which or slice(_usual(density))]
    factor = mass_factor(drawn.flat) if drawn.within is None else drawn.within
    sent = partial(
        move,
        density,
        start,
        factor,
        transitions=TRANSITIONS,
        kept=KEPT,
        seed=seed,
        label="judging",
    )
    chains = sent()
    for share in SHORTER:
        if _acceptance(chains) > limits.ACCEPTED.low:
            break
        chains = sent(step_size=share * STEP_SIZE)
    return chains


def _quantities(
    density: LogDensity, flat: Float[Tensor, "draw dim"]
) -> tuple[tuple[str, ...], np.ndarray]:
    """A label for each entry of the latent sites, and their values, ``(draw, entry)``."""
    return _labelled(density.constrain(flat))


def _labelled(values: Mapping[str, Tensor]) -> tuple[tuple[str, ...], np.ndarray]:
    labels = [
        site + (f"[{','.join(map(str, index))}]" if index else "")
        for site, value in values.items()
        for index in np.ndindex(value.shape[1:])
    ]
    rows = torch.cat([value.reshape(len(value), -1) for value in values.values()], dim=1)
    return tuple(labels), rows.double().numpy()
