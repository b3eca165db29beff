"""Is the guide the posterior? Pareto-smoothed importance sampling of the guide's own draws.

Each draw is weighted by w = p(data, theta) / q(theta). The shape k of the weights' tail says
whether the guide reaches where the posterior is; while k is small enough, the weighted draws are
the posterior's, and every quantity can be compared with them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.diagnostics.findings import Row, asked, table
from pyrovi.diagnostics.quantities import blocks
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import (
    KHAT,
    MIN_DRAWS,
    Difference,
    Status,
    reweighted,
    smooth,
    threshold,
)
from pyrovi.tree import has, require

__all__ = ["psis"]

TITLE = "Guide against posterior (PSIS)"
SOURCE = (
    "Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25(72); "
    "Yao, Vehtari, Simpson & Gelman (2018), ICML"
)

NONFINITE_SHARE = 0.05
"""Share of draws without a finite density that makes a fit diverged."""
CROWDED = 50
"""Quantities beyond which the joint k is above 0.7 for almost every guide (Dhaka et al. 2021)."""
SEVERAL_TIMES = 4
"""How often each draw comes, on average, where all are a few points: rejections repeat fewer."""
_RICHER = "Fit a richer guide (full_rank, or a flow), or compare with NUTS."


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
    pointed = _continuous(tree) and not any(True for _ in blocks(tree["posterior"].to_dataset()))
    if pointed and not has(tree, "sample_stats", "log_joint", "log_guide"):
        sizes = tree["posterior"].sizes
        return _package([_point()], np.full((sizes["chain"], sizes["draw"]), -np.inf))
    if not has(tree, "sample_stats", "log_guide") and (points := _few_points(tree)):
        sizes = tree["posterior"].sizes
        nothing = np.full((sizes["chain"], sizes["draw"]), -np.inf)
        return _package([_several_points(points)], nothing)
    log_ratios = _log_ratios(tree)
    if np.isfinite(log_ratios).sum() < MIN_DRAWS:
        return _package([_no_density(log_ratios)], log_ratios)
    if not _continuous(tree):
        raise DiagnosticError("the posterior has no continuous quantity, and a guide is for those")
    if pointed:
        return _package([_point()], log_ratios)
    log_weights, k = _weigh(log_ratios)
    joint = _judge_joint(tree, k, log_ratios)
    if k > threshold(int(np.isfinite(log_ratios).sum())):
        rest = [] if "drift" in tree else _cannot_tell(tree, k)
        return _package([joint, *rest], log_ratios, log_weights, k)
    found = _compare(tree, log_weights)
    chains = _judge_chains(tree, log_ratios)
    if "drift" in tree:  # which can tell where the weights are too uneven
        found = {
            label: each
            for label, each in found.items()
            if each.shown_within_limits or each.status != "ok"
        }
    rows = [joint, *chains, *(_judge(label, difference) for label, difference in found.items())]
    none = [None] * (1 + len(chains))
    return _package(rows, log_ratios, log_weights, k, [*none, *found.values()])


def _continuous(tree: xr.DataTree) -> dict[str, xr.DataArray]:
    """The variables that have rows: a discrete one is drawn given these, and not by the guide."""
    variables = tree["posterior"].data_vars.items()
    return {str(name): variable for name, variable in variables if variable.dtype.kind == "f"}


def _weigh(log_ratios: np.ndarray) -> tuple[np.ndarray, float]:
    """Smoothed log weights and k; a draw that the posterior rules out has weight zero."""
    finite = np.isfinite(log_ratios)
    log_weights = np.where(np.isneginf(log_ratios), -np.inf, np.nan)
    log_weights[finite], k = smooth(log_ratios[finite])
    return log_weights, k


def _log_ratios(tree: xr.DataTree) -> np.ndarray:
    if not has(tree, "sample_stats", "log_joint", "log_guide"):
        raise DiagnosticError(
            "the draws came without log_joint and log_guide, the densities that weigh them"
        )
    stats = tree["sample_stats"].to_dataset()
    with np.errstate(invalid="ignore"):
        ratios = (stats["log_joint"] - stats["log_guide"]).to_numpy().astype(float)
    if ratios.size < MIN_DRAWS:
        raise DiagnosticError(f"{ratios.size} draws are too few to weigh; draw at least 1000")
    return ratios


def _no_density(log_ratios: np.ndarray) -> Row:
    share = float(np.mean(~np.isfinite(log_ratios)))
    return Row(
        "joint",
        share,
        f"< {NONFINITE_SHARE:g} of the draws",
        f"The density of {share:.0%} of the draws is not finite, so nothing can be weighed.",
        "fail",
        "Look for a prior or likelihood that the guide's draws fall outside of, then fit again.",
    )


def _point() -> Row:
    return Row(
        "joint",
        np.nan,
        "more than one point",
        "All draws are one point, so every posterior sd is zero: an estimate without uncertainty.",
        "fail",
        "Use it as a point estimate only, or fit a guide with a spread (mean_field, full_rank).",
    )


def _few_points(tree: xr.DataTree) -> int:
    """How many points the draws are, where each comes many times; else zero."""
    columns = [draws for _, draws in blocks(tree["posterior"].to_dataset())]
    if not columns:
        return 0
    rows = np.concatenate([each.reshape(-1, each.shape[-1]) for each in columns], axis=-1)
    apart = len({row.tobytes() for row in rows})
    return apart if apart * SEVERAL_TIMES <= len(rows) else 0


def _several_points(points: int) -> Row:
    return Row(
        "joint",
        points,
        "more than a few points",
        f"All draws are one of {points} points, as of an ensemble: how far these are apart is no "
        "posterior sd, however many draws are taken of them.",
        "fail",
        "Judge it by predictions of held-out data, or fit a guide with a spread (full_rank).",
    )


def _judge_joint(tree: xr.DataTree, k: float, log_ratios: np.ndarray) -> Row:
    limit = threshold(int(np.isfinite(log_ratios).sum()))
    status: Status = "fail" if k > KHAT.fail_high else "warn" if k > limit else "ok"
    if "drift" in tree and k > limit:
        return _left_to_drift(k)
    lost = _lost(log_ratios)
    if lost and status == "ok":
        status = "fail" if np.mean(~np.isfinite(log_ratios)) > NONFINITE_SHARE else "warn"
    action = "" if status == "ok" else _RICHER
    return Row("joint", k, f"< {limit:.2g}", _explain(tree, k, limit) + lost, status, action)


def _left_to_drift(k: float) -> Row:
    """Weights too uneven to use, where Markov chains judge each quantity: no fault by itself."""
    why = (
        f"k-hat is {k:.2f}, so the draws cannot be reweighted; each quantity is judged by where "
        "Markov chains took the draws (drift)."
    )
    if k > KHAT.fail_high:
        act = "Trust the quantities that drift passes, and no tail probability."
        return Row("joint", k, f"< {KHAT.fail_high:g}, where drift judges", why, "warn", act)
    return Row("joint", k, f"< {KHAT.fail_high:g}, where drift judges", why)


def _explain(tree: xr.DataTree, k: float, limit: float) -> str:
    if k == 0.0:
        return "The guide is exact: all importance weights are equal, so it is the posterior."
    if k <= limit:
        return (
            f"k-hat is {k:.2f}: the guide covers the posterior, and its draws can be reweighted."
        )
    size = sum(variable[0, 0].size for variable in _continuous(tree).values())
    crowd = f" With {size} continuous quantities this is common: judge the few you need." * (
        size > CROWDED
    )
    if k > KHAT.fail_high:
        return f"k-hat is {k:.2f}: the guide misses much of the posterior.{crowd}"
    return f"k-hat is {k:.2f}: the guide misses part of the posterior.{crowd}"


def _lost(log_ratios: np.ndarray) -> str:
    share = float(np.mean(~np.isfinite(log_ratios)))
    return f" The density of {share:.1%} of the draws is not finite; they are left out." * (
        share > 0
    )


def _cannot_tell(tree: xr.DataTree, k: float) -> list[Row]:
    """One row per variable: a row for each of its elements would say the same."""
    return [
        Row(
            str(name),
            np.nan,
            "joint k-hat below its threshold",
            f"Cannot tell: the draws cannot be reweighted, so nothing here shows whether its mean "
            f"and sd are right (joint k-hat {k:.2f}).",
            "warn",
            "Mend the joint fit first; or take these from NUTS.",
        )
        for name in _continuous(tree)
    ]


def _compare(tree: xr.DataTree, log_weights: np.ndarray) -> dict[str, Difference]:
    known = ~np.isnan(log_weights)
    weights = np.exp(log_weights[known])
    found: dict[str, Difference] = {}
    for names, draws in blocks(tree["posterior"].to_dataset()):
        found |= dict(zip(names, reweighted(draws[known], weights), strict=True))
    return found


def _judge(label: str, found: Difference) -> Row:
    facts = (
        f"Mean off by {found.shift:+.2f} sd (error {found.shift_error:.2f}), sd {found.ratio:.2f} "
        f"(error {found.ratio_error:.2f}) of the reweighted one"
    )
    if found.status != "ok":
        better = f"mean {found.mean:.4g} and sd {found.sd:.3g}"
        act = (
            f"Use the reweighted {better}, or a richer guide."
            if found.error_within_limits
            else _RICHER
        )
        return Row(
            label,
            found.value,
            asked(found.limit.low, found.limit.high, found.limit.unit),
            f"{facts}.",
            found.status,
            act,
        )
    if not found.shown_within_limits:
        why = f"Cannot tell: {facts[0].lower()}{facts[1:]}; the weights are too uneven."
        act = "Draw more, or fit a richer guide (full_rank, or a flow)."
        return Row(
            label,
            found.value,
            asked(found.limit.low, found.limit.high, found.limit.unit),
            why,
            "warn",
            act,
        )
    return Row(
        label, found.value, asked(found.limit.low, found.limit.high, found.limit.unit), f"{facts}."
    )


def _package(
    rows: list[Row],
    log_ratios: np.ndarray,
    log_weights: np.ndarray | None = None,
    k: float = np.nan,
    found: Sequence[Difference | None] = (),
) -> xr.Dataset:
    by_row = found or [None] * len(rows)
    names = ("shift", "shift_error", "ratio", "ratio_error", "mean", "sd")
    extra: dict[str, Any] = {
        name: ("quantity", [np.nan if d is None else getattr(d, name) for d in by_row])
        for name in names
    }
    nothing = np.full_like(log_ratios, np.nan)
    extra["khat"] = k
    extra["khat_chain"] = ("chain", _by_chain(log_ratios))
    extra["log_weight"] = (("chain", "draw"), nothing if log_weights is None else log_weights)
    return table(rows, check="psis", title=TITLE, source=SOURCE, about="fit", extra=extra)


def _judge_chains(tree: xr.DataTree, log_ratios: np.ndarray) -> list[Row]:
    """Restarts that miss the posterior by themselves: together their weights can hide it."""
    if len(log_ratios) == 1:
        return []
    limit = threshold(log_ratios.shape[1])
    judged = [(i, k) for i, k in enumerate(_by_chain(log_ratios)) if k > limit]
    index: Any = tree["sample_stats"].data_vars.get("restart_index", range(len(log_ratios)))
    act = "Leave that restart out, or fit a richer guide (full_rank, or a flow)."
    return [
        Row(
            f"joint of restart {int(index[i])}",
            k,
            f"< {limit:.2g}",
            f"k-hat is {k:.2f} for the draws of this restart alone: it misses the posterior.",
            "fail" if k > KHAT.fail_high else "warn",
            act,
        )
        for i, k in judged
    ]


def _by_chain(log_ratios: np.ndarray) -> list[float]:
    """k of each restart by itself: one that is worse than the others shows."""
    finite = [chain[np.isfinite(chain)] for chain in log_ratios]
    return [smooth(chain)[1] if len(chain) >= MIN_DRAWS else np.nan for chain in finite]
