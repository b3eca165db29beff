"""`draw`: from a fit to the grown tree, in ArviZ's schema.

Discrete sites are drawn from their conditional posterior given the continuous ones, not from the
prior. Draws and chains of a plate that a model declares exchangeable are relabelled to agree.
"""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.approximations import Draws, Resampled
from pyrovi.bound import PredictionError, undrawable
from pyrovi.density import fitting_threads, in_one_sentence
from pyrovi.errors import EngineError, FitError, check_whole_number
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
    "{0} cannot be drawn from its distribution ({1}), so there are no predictions of it, and no "
    "predictive checks."
)
FEWEST_WEIGHED = 1000  # draws: of fewer the tail of the weights cannot be told


def draw(fit: Fit, draws: int = 2000, *, resample: bool = False) -> xr.DataTree:
    """Draw from a fit, and grow its data into the tree that the later stages read.

    Args:
        fit: What `pyrovi.fit` returned.
        draws: How many draws of each chain; a chain is a restart that reached the best bound.
        resample: Whether to resample the draws by their importance weights, which moves them from
            the approximation towards the posterior where the weights' tail is light.

    Returns:
        The data's groups, and ``posterior``, ``posterior_predictive``, ``log_likelihood``,
        ``log_prior``, ``sample_stats``, and, where the prior is proper, ``prior`` and
        ``prior_predictive``; ``learnt`` where parameters were, ``masked`` where the model hides
        observations, and the ``discrepancies`` that it declares. See `pyrovi.tree`. Data of more
        than 10,000 numbers are replicated for some of the draws, whose numbers ``draw`` says.

    Raises:
        FitError: If ``fit`` is none, or every run of it diverged.
        EngineError: If ``draws`` is not a positive whole number, or if the draws are to be
            resampled and their weights are too uneven (k-hat), or they have none.
    """
    check_fit(fit)
    check_whole_number(draws, "draws", EngineError)
    with fitting_threads(fit.density), in_one_sentence(fit.model.name, "drawn from"):
        return _grown(fit, draws, resample=resample)


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


def _grown(fit: Fit, draws: int, *, resample: bool) -> xr.DataTree:
    model = fit.density.model
    drawn = even(_resampled(fit, draws) if resample else fit.draw(draws))
    chains, without = _chains(fit, drawn)
    stacked = stack_chains(chains) | drift(fit, drawn, chains)
    for symmetry in model.structure.exchangeable:
        stacked = relabelled(stacked, model, symmetry)
    data = with_observed(fit.data, model)
    prior, notes = prior_groups(model, data, fit.seed, kept=without)
    hidden, of_hidden = masked(model, data, stacked["log_likelihood"])
    groups = draw_groups(model, data, stacked) | hidden | prior
    groups |= learnt([run.density.model for run in fit.chains])
    unpredicted = [NOT_PREDICTED.format(site, why) for site, why in without.items()]
    notes = [*fit.notes, *unpredicted, *notes, *of_hidden]
    groups["sample_stats"] = sample_stats(fit, stacked["sample_stats"], notes)
    tree = grow(data, **groups)
    return grow(tree, **discrepancies(tree, model, stream(fit.seed, "discrepancies")))


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
