"""`draw`: from a fit to the grown tree, in ArviZ's schema.

Discrete sites are drawn from their conditional posterior given the continuous ones, not from the
prior. Draws and chains of a plate that a model declares exchangeable are relabelled to agree.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from pyrovi.approximations import Draws, Resampled
from pyrovi.bound import PredictionError, undrawable
from pyrovi.clock import OutOfTime, check_time, seconds_left, within
from pyrovi.density import fitting_threads, in_one_sentence
from pyrovi.errors import EngineError, FitError, check_seconds, check_whole_number
from pyrovi.evidence import threshold
from pyrovi.infer import Fit, fit_of, importance_khat
from pyrovi.posterior.chain import Arrays, one_chain, stack_chains
from pyrovi.posterior.drifting import drift
from pyrovi.posterior.groups import (
    discrepancies,
    draw_groups,
    learnt,
    masked,
    prior_groups,
    with_observed,
)
from pyrovi.posterior.record import sample_stats
from pyrovi.posterior.relabel import relabelled
from pyrovi.seeds import stream
from pyrovi.tree import grow

NOT_PREDICTED = (
    "{0} is not drawn from its distribution ({1}), so there are no predictions of it, and no "
    "predictive checks."
)
FEWEST = 50  # draws: fewer tell an sd to no better than a tenth
OF_DRAWS = 0.6  # the share of the time that is left for draws, the rest for what is beside them
NO_TIME = (
    "{0} s are no time for {1:,} draws of {2!r}, nor for the fewest that say something. Give "
    "max_seconds more, or leave it out."
)
FEWER = (
    "There was time for {0:,} of the {1:,} draws that were asked for. Draw with a larger "
    "max_seconds for all of them."
)
LEFT_OUT = "There was no time for {0}. Draw with a larger max_seconds to have that too."
JUDGED = ("drift", "discrepancies")  # groups without which a check is not made
T = TypeVar("T")
FEWEST_WEIGHED = 1000  # draws: of fewer the tail of the weights cannot be told


def draw(
    fit: Fit,
    draws: int = 2000,
    *,
    resample: bool = False,
    max_seconds: float | None = None,
) -> xr.DataTree:
    """Draw from a fit, and grow its data into the tree that the later stages read.

    Args:
        fit: What `pyrovi.fit` returned.
        draws: How many draws of each chain; a chain is a restart that reached the best bound.
        resample: Whether to resample the draws by their importance weights, which moves them from
            the approximation towards the posterior where the weights' tail is light.
        max_seconds: Wall time to spend at the most. There are then fewer draws, or none of what
            is beside them (the groups ``drift``, ``prior`` and ``discrepancies``), as the notes
            and the verdict say.

    Returns:
        The data's groups, and ``posterior``, ``posterior_predictive``, ``log_likelihood``,
        ``log_prior``, ``sample_stats``, and, where the prior is proper, ``prior`` and
        ``prior_predictive``; ``learnt`` where parameters were, ``masked`` where the model hides
        observations, and the ``discrepancies`` that it declares. See `pyrovi.tree`. Data of more
        than 10,000 numbers are replicated for some of the draws, whose numbers ``draw`` says.

    Raises:
        FitError: If ``fit`` is none, or every run of it diverged.
        EngineError: If ``draws`` is not a positive whole number, or if the draws are to be
            resampled and their weights are too uneven (k-hat), or they have none; or if there is
            no time for the fewest draws that say something.
    """
    check_fit(fit)
    check_whole_number(draws, "draws", EngineError)
    check_seconds(max_seconds, EngineError)
    limits = within(max_seconds), fitting_threads(fit.density)
    with limits[0], limits[1], in_one_sentence(fit.model.name, "drawn from"):
        try:
            count = affordable_draws(fit, draws, resample=resample)
            return _grown(fit, draws, count, resample=resample)
        except OutOfTime:
            raise EngineError(NO_TIME.format(max_seconds, draws, fit.model.name)) from None


def tree_of(
    posterior: Any,
    model: Callable[..., Any],
    data: Any,
    draws: int = 2000,
    *,
    seed: int | None = None,
) -> xr.DataTree:
    """The tree of a posterior that something else came to, with all that the checks read.

    Args:
        posterior: Pyro's or NumPyro's ``MCMC``, a tree or `InferenceData`, a Dataset, a dict of
            draws, a trained Pyro guide, or NumPyro's ``(guide, params)``; see
            `pyrovi.infer.fit_of`.
        model: The Pyro model of it.
        data: The data, as for `pyrovi.fit`.
        draws: How many draws of each chain: of a sampler the last ones, of a guide new ones.
        seed: Of what is drawn; a missing one is drawn, and recorded.

    Returns:
        What `draw` returns of a fit.

    Raises:
        DataError: If the posterior lacks a latent variable of the model, or has it in another
            shape.
    """
    return draw(fit_of(posterior, model, data, seed=seed), draws)


def check_fit(fit: object) -> None:
    """Raise a `FitError` for what is no fit."""
    if not isinstance(fit, Fit):
        raise FitError(
            f"Expected what pyrovi.fit returned, and a {type(fit).__name__} came. Pass the fit: "
            "pyrovi.draw(fit)."
        )


def affordable_draws(fit: Fit, draws: int, *, resample: bool = False) -> int:
    """How many draws there is time for, by the time that a few take.

    Raises:
        OutOfTime: If there is none for `FEWEST`.
    """
    count = draws
    for few in (FEWEST, 4 * FEWEST):
        if math.isinf(seconds_left()) or few >= draws:
            return draws
        before = seconds_left()
        _chains(fit, _drawn(fit, few, resample=resample))
        took = before - seconds_left()
        count = int(few * OF_DRAWS * seconds_left() / took) if took > 0 else draws
        if count >= draws:
            return draws
    if count < FEWEST:
        raise OutOfTime
    return count


def _drawn(fit: Fit, draws: int, *, resample: bool) -> list[Draws]:
    return even(_resampled(fit, draws) if resample else fit.draw(draws))


class _InTime:
    """What is made as long as there is time, and the names of what is not."""

    def __init__(self) -> None:
        self.late: list[str] = []

    def made(self, name: str, make: Callable[[], T], otherwise: T) -> T:
        """What ``make`` gives, or ``otherwise`` where there is no time for it."""
        try:
            check_time()
            return make()
        except OutOfTime:
            self.late.append(name)
            return otherwise


def _grown(fit: Fit, asked: int, draws: int, *, resample: bool) -> xr.DataTree:
    model, in_time = fit.density.model, _InTime()
    drawn = _drawn(fit, draws, resample=resample)
    chains, without = _chains(fit, drawn)
    moved: dict[str, Arrays] = {}
    stacked = stack_chains(chains) | in_time.made(
        "drift", lambda: drift(fit, drawn, chains), moved
    )
    for symmetry in model.structure.exchangeable:
        stacked = relabelled(stacked, model, symmetry)
    data = with_observed(fit.data, model)
    no_prior: tuple[dict[str, xr.Dataset], list[str]] = {}, []
    prior, notes = in_time.made(
        "prior", lambda: prior_groups(model, data, fit.seed, kept=without), no_prior
    )
    hidden, of_hidden = masked(model, data, stacked["log_likelihood"])
    groups = draw_groups(model, data, stacked) | hidden | prior
    groups |= learnt([run.density.model for run in fit.chains])
    unpredicted = [NOT_PREDICTED.format(site, why) for site, why in without.items()]
    if model.structure.discrepancies is not None:
        tree, none = grow(data, **groups), dict[str, xr.Dataset]()
        seed = stream(fit.seed, "discrepancies")
        groups |= in_time.made("discrepancies", lambda: discrepancies(tree, model, seed), none)
    notes = [*fit.notes, *unpredicted, *notes, *of_hidden, *_of_time(asked, draws, in_time.late)]
    late = [name for name in in_time.late if name in JUDGED]
    groups["sample_stats"] = sample_stats(fit, stacked["sample_stats"], notes, late)
    return grow(data, **groups)


def _of_time(asked: int, draws: int, late: Sequence[str]) -> list[str]:
    """What there was no time for."""
    few = [FEWER.format(draws, asked)] if draws < asked else []
    return few + ([LEFT_OUT.format(", ".join(late))] if late else [])


def _chains(fit: Fit, drawn: list[Draws]) -> tuple[list[dict[str, Arrays]], dict[str, str]]:
    """Every array of each chain; and the observed sites that are not predicted, and why not."""
    without = undrawable(fit.density.model)

    def every(kept: Collection[str]) -> list[dict[str, Arrays]]:
        return [
            one_chain(run.density, each, stream(fit.seed, "chain", chain), kept=kept)
            for chain, (run, each) in enumerate(zip(fit.chains, drawn, strict=True))
        ]

    try:
        return every(without), without
    except PredictionError as error:
        without = {site.name: error.reason for site in fit.density.model.observed}
        return every(without), without


def _resampled(fit: Fit, draws: int) -> list[Draws]:
    """Draws of each chain, resampled by their weights."""
    resampled, weighed = [], max(draws, FEWEST_WEIGHED)
    for chain, each in enumerate(fit.approximations()):
        k = importance_khat(each.density, each.draw(weighed, stream(fit.seed, "weigh", chain)))
        if not k <= threshold(weighed):
            raise EngineError(
                f"The draws of {fit.method} cannot be resampled: their importance weights "
                + ("are not known" if np.isnan(k) else f"have k-hat {k:.2f}")
                + f", and at most {threshold(weighed):.2f} is asked of {weighed} draws. Fit with "
                "engine='auto', or a richer guide."
            )
        resampled.append(
            Resampled(each.density, each).draw(draws, stream(fit.seed, "draw", chain))
        )
    return resampled


def even(chains: list[Draws]) -> list[Draws]:
    """Chains of a sampler that was stopped may differ in length; the shortest counts."""
    count = min(len(each.flat) for each in chains)
    return [
        each
        if len(each.flat) == count
        else Draws(each.flat[-count:], stats={n: v[-count:] for n, v in each.stats.items()})
        for each in chains
    ]
