"""Is the guide the posterior? Pareto-smoothed importance sampling of the guide's own draws.

Each draw is weighted by w = p(data, theta) / q(theta). The shape k of the weights' tail says
whether the guide reaches where the posterior is; while k is small enough, the weighted draws are
the posterior's, and every quantity can be compared with them.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.diagnostics.findings import CANNOT_TELL, UNSAID, Row, of_differences, off, table
from pyrovi.diagnostics.quantities import blocks, log_ratios
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import (
    MIN_DRAWS,
    Difference,
    Limit,
    limits,
    resampled,
    reweighted,
    smooth,
    threshold,
)
from pyrovi.tree import CHAINS, POINTS, POOL_KHAT, POOL_WEIGHT, draw_kind, has, require

SOURCE = (
    "Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25(72); "
    "Yao, Vehtari, Simpson & Gelman (2018), ICML"
)

ONE_POINT = (
    "All draws are one point, so every posterior sd is zero: an estimate without uncertainty.",
    "Use it as a point estimate only, or fit a guide with a spread (mean_field, full_rank).",
)
SOME_POINTS = (
    (
        "All draws are one of {} points, as of an ensemble: how far these are apart is no "
        "posterior sd, however many draws are taken of them."
    ),
    "Judge it by predictions of held-out data, or fit a guide with a spread (full_rank).",
)
RICHER = "Fit a richer guide (full_rank, or a flow), or compare with NUTS."


def psis(tree: xr.DataTree) -> xr.Dataset:
    """Judge the guide as a whole, and then each quantity that the weights can speak of.

    Returns:
        Rows ``joint`` and one per quantity, with the reweighted `mean` and `sd` and the
        differences from them (NaN for rows that have none); `khat`, `khat_chain` (chain); and
        the smoothed `log_weight` (chain, draw) of weights that sum to one, NaN where a draw has
        no density.

    Raises:
        DiagnosticError: If the draws come without the guide's density, are too few, or are of
            discrete sites alone.
    """
    require(tree, "posterior")
    if points := _points(tree):
        sizes = tree["posterior"].sizes
        nothing = np.full((sizes["chain"], sizes["draw"]), -np.inf)
        return _package([_of_points(points, nothing.size)], nothing)
    if has(tree, "sample_stats", POOL_WEIGHT):
        return _resampled(tree)
    ratios = log_ratios(tree)
    if ratios is None:
        unsaid = f", and {UNSAID}" * (draw_kind(tree) == "")
        raise DiagnosticError(
            f"the draws came without log_joint and log_guide, the densities that weigh them"
            f"{unsaid}"
        )
    if ratios.size < MIN_DRAWS:
        raise DiagnosticError(f"{ratios.size} draws are too few to weigh; draw at least 1000")
    if np.isfinite(ratios).sum() < MIN_DRAWS:
        return _package([_no_density(_lost(ratios))], ratios)
    if not _continuous(tree):
        raise DiagnosticError("the posterior has no continuous quantity, and a guide is for those")
    return _weighed(tree, ratios)


def _resampled(tree: xr.DataTree) -> xr.Dataset:
    """The rows of draws that were taken by their weights: what these leave open of each."""
    stats = tree["sample_stats"].to_dataset()
    k, weights = float(stats[POOL_KHAT].max()), stats[POOL_WEIGHT].to_numpy()
    limit = _limit(weights.size)
    why = f"k-hat is {k:.2f} for the draws that these were taken from by their weights."
    rows = [Row("joint", k, limit, why, limit.status(k), RICHER)]
    compared: dict[str, Difference] = {}
    for names, draws in blocks(tree["posterior"].to_dataset()):
        own = draws.reshape(-1, draws.shape[-1])
        compared |= dict(zip(names, resampled(own, weights.ravel()), strict=True))
    rows += [_judge_resampled(label, gap) for label, gap in compared.items()]
    ratios = np.full(weights.shape, np.nan)
    return _package(rows, ratios, np.nan, k, [None, *compared.values()])


def _judge_resampled(label: str, gap: Difference) -> Row:
    why = (
        f"Its mean is known by the weights to {gap.shift_error:.2g} sd, and its sd to "
        f"{100 * gap.ratio_error:.2g} %."
    )
    if gap.known:
        return Row(label, gap.shift_error, limits.SHIFT, why)
    act = "Draw more, or fit a richer guide (full_rank, or a flow)."
    return Row(label, gap.shift_error, limits.SHIFT, why, "warn", act, CANNOT_TELL)


def _weighed(tree: xr.DataTree, ratios: np.ndarray) -> xr.Dataset:
    """The rows of draws that have weights: as a whole, and one by one if these are even enough."""
    finite = np.isfinite(ratios)
    # A draw that the posterior rules out has weight zero.
    log_weights = np.where(np.isneginf(ratios), -np.inf, np.nan)
    log_weights[finite], k = smooth(ratios[finite])
    limit = _limit(int(finite.sum()))
    joint = _judge_joint(tree, k, limit, _lost(ratios))
    if k > limit.high:
        rest = [] if "drift" in tree else _cannot_tell(tree, k)
        return _package([joint, *rest], ratios, log_weights, k)
    compared = _compare(tree, log_weights)
    if "drift" in tree:  # which can tell where the weights are too uneven
        compared = {
            label: each
            for label, each in compared.items()
            if each.shown_within_limits or each.status != "ok"
        }
    chains = _judge_chains(tree, ratios)
    rows = [joint, *chains, *(_judge(*each) for each in compared.items())]
    none = [None] * (1 + len(chains))
    return _package(rows, ratios, log_weights, k, [*none, *compared.values()])


def _limit(draws: int) -> Limit:
    """What is asked of k: less of few draws."""
    return limits.KHAT.between(high=threshold(draws))


def _continuous(tree: xr.DataTree) -> dict[str, xr.DataArray]:
    """The variables that have rows: a discrete one is drawn given these, and not by the guide."""
    variables = tree["posterior"].data_vars.items()
    return {str(name): variable for name, variable in variables if variable.dtype.kind == "f"}


def _lost(ratios: np.ndarray) -> float:
    """The share of draws without a finite density."""
    return float(np.mean(~np.isfinite(ratios)))


def _no_density(share: float) -> Row:
    why = f"The density of {share:.0%} of the draws is not finite, so nothing can be weighed."
    act = "Look for a prior or likelihood that the guide's draws fall outside of, then fit again."
    return Row("joint", share, limits.NONFINITE_DRAWS, why, "fail", act)


def _points(tree: xr.DataTree) -> int:
    """How many points the draws are; 0 where they are draws of a distribution."""
    kind, posterior = draw_kind(tree), tree["posterior"].to_dataset()
    if next(blocks(posterior), None) is None:
        return 1 if _continuous(tree) else 0
    # A sampler that rejects comes to few points too, and what says nothing may be a sampler's.
    if kind != POINTS and (kind in {CHAINS, ""} or has(tree, "sample_stats", "log_guide")):
        return 0
    columns = [draws.reshape(-1, draws.shape[-1]) for _, draws in blocks(posterior)]
    apart = len({row.tobytes() for row in np.concatenate(columns, axis=-1)})
    repeated = apart * limits.REPEATS_OF_POINTS <= len(columns[0])
    return apart if kind == POINTS or repeated else 0


def _of_points(points: int, draws: int) -> Row:
    why, act = ONE_POINT if points == 1 else SOME_POINTS
    asked = max(limits.POINTS_APART.low, 1.0 + draws // limits.REPEATS_OF_POINTS)
    limit = limits.POINTS_APART.between(low=asked) if points < asked else limits.NO_LIMIT
    return Row("joint", points, limit, why.format(points), "fail", act)


def _judge_joint(tree: xr.DataTree, k: float, limit: Limit, lost: float) -> Row:
    if "drift" in tree and k > limit.high:
        return _left_to_drift(k)
    left_out = f" The density of {lost:.1%} of the draws is not finite; they are left out."
    why = _explain(tree, k, limit) + left_out * (lost > 0)
    by_weights, by_loss = limit.status(k), limits.NONFINITE_DRAWS.status(lost)
    if by_weights == "ok" and by_loss != "ok":
        return Row("joint", lost, limits.NONFINITE_DRAWS, why, by_loss, RICHER)
    return Row("joint", k, limit, why, by_weights, RICHER)


def _left_to_drift(k: float) -> Row:
    """Weights too uneven to use, where Markov chains judge each quantity: no fault by itself."""
    why = (
        f"k-hat is {k:.2f}, so the draws cannot be reweighted; each quantity is judged by where "
        "Markov chains took the draws (drift)."
    )
    limit = limits.KHAT.between(high=limits.KHAT.fail_high)
    act = "Trust the quantities that drift passes, and no tail probability."
    return Row("joint", k, limit, why, "warn" if k > limit.high else "ok", act)


def _explain(tree: xr.DataTree, k: float, limit: Limit) -> str:
    if k == 0.0:
        return "The guide is exact: all importance weights are equal, so it is the posterior."
    if k <= limit.high:
        return (
            f"k-hat is {k:.2f}: the guide covers the posterior, and its draws can be reweighted."
        )
    size = sum(variable[0, 0].size for variable in _continuous(tree).values())
    crowded = size > limits.CROWDED_QUANTITIES
    crowd = f" With {size} continuous quantities this is common: judge the few you need."
    part = "part" if k <= limit.fail_high else "much"
    return f"k-hat is {k:.2f}: the guide misses {part} of the posterior.{crowd * crowded}"


def _cannot_tell(tree: xr.DataTree, k: float) -> list[Row]:
    """One row per variable: a row for each of its elements would say the same."""
    why = (
        "The draws cannot be reweighted, so nothing here shows whether its mean and sd are right "
        f"(joint k-hat {k:.2f})."
    )
    act = "Mend the joint fit first; or take these from NUTS."
    return [
        Row(name, np.nan, limits.NO_LIMIT, why, "warn", act, CANNOT_TELL)
        for name in _continuous(tree)
    ]


def _compare(tree: xr.DataTree, log_weights: np.ndarray) -> dict[str, Difference]:
    weighed = ~np.isnan(log_weights)
    weights = np.exp(log_weights[weighed])
    compared: dict[str, Difference] = {}
    for names, draws in blocks(tree["posterior"].to_dataset()):
        compared |= dict(zip(names, reweighted(draws[weighed], weights), strict=True))
    return compared


def _judge(label: str, gap: Difference) -> Row:
    facts = off(gap, "the reweighted one")
    row = partial(Row, label, gap.value, gap.limit)
    if gap.status != "ok":
        if not gap.error_within_limits:
            return row(f"{facts}.", gap.status, RICHER)
        why = f"{facts}; reweighted, its mean is {gap.mean:.4g} and its sd {gap.sd:.3g}."
        return row(why, gap.status, "Use the reweighted mean and sd, or a richer guide.")
    if gap.shown_within_limits or gap.known:
        return row(f"{facts}.")
    act = "Draw more, or fit a richer guide (full_rank, or a flow)."
    return row(f"{facts}; the weights are too uneven.", "warn", act, CANNOT_TELL)


def _judge_chains(tree: xr.DataTree, ratios: np.ndarray) -> list[Row]:
    """Restarts that miss the posterior by themselves: together their weights can hide it."""
    if len(ratios) == 1:
        return []
    limit = _limit(ratios.shape[1])
    index: Any = tree["sample_stats"].data_vars.get("restart_index", range(len(ratios)))
    why = "k-hat is {:.2f} for the draws of this restart alone: it misses the posterior."
    act = "Leave that restart out, or fit a richer guide (full_rank, or a flow)."
    return [
        Row(f"joint of restart {int(i)}", k, limit, why.format(k), limit.status(k), act)
        for i, k in zip(index, _by_chain(ratios), strict=True)
        if k > limit.high
    ]


def _by_chain(ratios: np.ndarray) -> list[float]:
    """k of each restart by itself: one that is worse than the others shows."""
    finite = [chain[np.isfinite(chain)] for chain in ratios]
    return [smooth(chain)[1] if len(chain) >= MIN_DRAWS else np.nan for chain in finite]


def _package(
    rows: list[Row],
    ratios: np.ndarray,
    log_weights: np.ndarray | float = np.nan,
    k: float = np.nan,
    compared: Sequence[Difference | None] = (),
) -> xr.Dataset:
    extra = of_differences(compared or [None] * len(rows))
    extra["khat"] = k
    extra["khat_chain"] = ("chain", _by_chain(ratios))
    extra["log_weight"] = (("chain", "draw"), np.broadcast_to(log_weights, ratios.shape).copy())
    title = "Guide against posterior (PSIS)"
    said = {"check": "psis", "title": title, "source": SOURCE, "extra": extra}
    return table(rows, about="fit", compares=True, **said)
