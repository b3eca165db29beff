"""Is an approximation the posterior, quantity by quantity? The cheapest evidence that can tell.

The importance weights of its draws come first: where their tail is light and every quantity is
clearly the same reweighted, that is proof enough, and costs one evaluation a draw. Else short
Markov chains go out from the draws; what is a draw of the posterior stays one, and what is not
drifts (see `_hmc`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.approximations import Draws
from pyrovi.density import LogDensity
from pyrovi.evidence import (
    ACCEPTED,
    KHAT,
    MIN_DRAWS,
    Difference,
    Status,
    moved,
    reweighted,
    smooth,
    threshold,
)
from pyrovi.optimise import STEP_SIZE, Chains, chains_for, mass_factor, move

__all__ = ["Judgement", "importance_khat", "judge", "send_out"]

CHAINS = 256
CHAIN_ENTRIES = 600_000  # numbers in one evaluation of all chains: some seconds at the most
MANY_CHAINS = 2048  # a third of the errors, where they cost next to nothing
CHEAP_ENTRIES = 60_000
CONFIRMING, CONFIRMING_ENTRIES = 512, 3_000_000  # of a pass by fewer, where it is affordable
TRANSITIONS, KEPT = 15, 5
MARGIN = 0.75  # of what is allowed
SHORTER = (0.4, 0.2, 0.1)  # shares of the usual step size, until enough are accepted


@dataclass(frozen=True)
class Judgement:
    """What was found of an approximation.

    Attributes:
        labels: The quantities, as `LogDensity.labels` names their sites.
        differences: Each quantity against the posterior; empty where nothing could tell.
        khat: The shape of the importance weights; NaN where there are none.
        chains: Where short Markov chains went from the draws; None where they were not needed.
        suspect: Whether weights too uneven to be relied on say that something is off.
    """

    labels: tuple[str, ...]
    differences: tuple[Difference, ...]
    khat: float
    chains: Chains | None = None
    suspect: bool = False

    @property
    def known(self) -> bool:
        """Whether anything could tell."""
        return bool(self.differences)

    @property
    def status(self) -> Status:
        """The worst of all quantities; ``"fail"`` where the chains could not move."""
        if self.chains is not None and float(self.chains.acceptance.mean()) < ACCEPTED.fail_low:
            return "fail"
        found = {each.status for each in self.differences}
        found |= {"warn" for each in self.differences if each.error_hides_failure}
        return "fail" if "fail" in found else "warn" if "warn" in found or not found else "ok"

    @property
    def passes(self) -> bool:
        """Whether all is ok, with a margin, and nothing else says otherwise."""
        near = any(each.exceeds(MARGIN) for each in self.differences)
        return self.status == "ok" and not near and not self.suspect

    @property
    def worst(self) -> tuple[str, Difference] | None:
        """The quantity that is farthest off, and how."""
        pairs = zip(self.labels, self.differences, strict=True)
        return max(pairs, key=lambda pair: pair[1].share_of_limit, default=None)

    @property
    def excess(self) -> float:
        """How far off the worst quantity is, in units of what is allowed; infinite if unknown."""
        return self.worst[1].share_of_limit if self.worst else np.inf


def judge(density: LogDensity, drawn: Draws, seed: int, chains: Chains | None = None) -> Judgement:
    """Hold draws of an approximation against the posterior.

    Args:
        density: The posterior's density.
        drawn: Independent draws of the approximation.
        seed: Seeds the Markov chains.
        chains: Chains that went out from draws of the same approximation before.
    """
    names, values = _quantities(density, drawn.flat)
    varying = values.std(0) > 0
    if not varying.any() or not np.isfinite(values).all():
        return Judgement((), (), np.nan)
    labels = tuple(name for name, varies in zip(names, varying, strict=True) if varies)
    values = values[:, varying]
    khat, weighed = _by_weights(density, drawn, values)
    suspect = khat > threshold(len(values)) and any(each.status != "ok" for each in weighed)
    weighed = [] if khat > threshold(len(values)) else weighed
    if weighed and chains is None:
        statuses = [each.status for each in weighed]
        if all(each.shown_within_limits for each in weighed) or any(
            status != "ok" for status in statuses
        ):
            return Judgement(labels, tuple(weighed), khat)
    if not _can_move(density):
        return Judgement(labels if weighed else (), tuple(weighed), khat)
    known, chains = chains is not None, chains or send_out(density, drawn, seed)
    found = _by_chains(density, values, varying, chains)
    if found and not known and all(each.status == "ok" for each in found):
        more = _more_chains(density, drawn, seed, chains)
        again = _by_chains(density, values, varying, more) if more else []
        if any(each.exceeds_limit_despite_error for each in again):
            chains, found = more, again
    if not found:
        return Judgement((), (), khat, chains)
    return Judgement(labels, tuple(found), khat, chains, suspect)


def _by_chains(
    density: LogDensity, values: np.ndarray, varying: np.ndarray, chains: Chains
) -> list[Difference]:
    """Each quantity that varies against where chains head; empty where one of them is lost."""
    start = _quantities(density, chains.start)[1][:, varying]
    after = _quantities(density, chains.states.flatten(0, 1))[1]
    after = after.reshape(*chains.states.shape[:2], -1)[..., varying]
    return moved(values, start, after) if np.isfinite(after).all() else []


def _more_chains(density: LogDensity, drawn: Draws, seed: int, few: Chains) -> Chains | None:
    """A second opinion on what a few chains pass, where it is affordable.

    It speaks up for what is surely beyond a limit; else the few have it.
    """
    sent = len(few.start)
    total = min(CONFIRMING, CONFIRMING_ENTRIES // density.work, len(drawn.flat))
    if total < 2 * sent:
        return None
    rest = send_out(density, drawn, seed + 1, slice(sent, total))
    return Chains(
        torch.cat([few.start, rest.start]),
        torch.cat([few.states, rest.states]),
        torch.cat([few.acceptance, rest.acceptance]),
    )


def _by_weights(
    density: LogDensity, drawn: Draws, values: np.ndarray
) -> tuple[float, list[Difference]]:
    """The shape of the weights, and each quantity reweighted, where the weights have a mean."""
    if drawn.log_guide is None:
        return np.nan, []
    log_ratios = (density.log_prob(drawn.flat).detach() - drawn.log_guide.detach()).numpy()
    finite = np.isfinite(log_ratios)
    if finite.sum() < MIN_DRAWS:
        return np.inf, []
    log_weights, khat = smooth(log_ratios[finite])
    if khat > KHAT.fail_high or not finite.all():
        return khat, []
    return khat, reweighted(values, np.exp(log_weights))


def importance_khat(density: LogDensity, drawn: Draws) -> float:
    """The shape of the importance weights of some draws; NaN where they have none."""
    return _by_weights(density, drawn, np.empty((len(drawn.flat), 0)))[0]


def _can_move(density: LogDensity) -> bool:
    model = density.model
    return density.vectorised and not (model.subsampled or model.parameters)


def send_out(density: LogDensity, drawn: Draws, seed: int, which: slice | None = None) -> Chains:
    """Short Markov chains from the first draws, with smaller steps where they cannot move."""
    usual = chains_for(density, CHAINS, CHAIN_ENTRIES)
    usual = max(usual, chains_for(density, MANY_CHAINS, CHEAP_ENTRIES))
    start = drawn.flat[which or slice(usual)]
    factor = mass_factor(drawn.flat) if drawn.within is None else drawn.within

    def sent(share: float) -> Chains:
        return move(
            density,
            start,
            factor,
            transitions=TRANSITIONS,
            kept=KEPT,
            seed=seed,
            step_size=share * STEP_SIZE,
        )

    chains = sent(1.0)
    for share in SHORTER:
        if float(chains.acceptance.mean()) > ACCEPTED.low:
            break
        chains = sent(share)
    return chains


def _quantities(
    density: LogDensity, flat: Float[Tensor, "draw dim"]
) -> tuple[tuple[str, ...], np.ndarray]:
    """A label for each entry of the latent sites, and their values, ``(draw, entry)``."""
    values = density.constrain(flat)
    labels = [
        site + (f"[{','.join(map(str, index))}]" if index else "")
        for site, value in values.items()
        for index in np.ndindex(value.shape[1:])
    ]
    rows = torch.cat([value.reshape(len(value), -1) for value in values.values()], dim=1)
    return tuple(labels), rows.double().numpy()
