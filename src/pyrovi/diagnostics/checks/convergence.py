"""Did the fit end where it was going? Its status, its loss curve, or a sampler's chains.

R-hat and effective sample size are shown of Markov chains, and of several chains in a tree that
does not say what its draws are: independent draws of an approximation have perfect ones, whatever
the approximation.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.special import stdtrit

from pyrovi.diagnostics.findings import UNSAID, Row, table
from pyrovi.diagnostics.quantities import blocks
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import SEVERITY, Status, limits, worst
from pyrovi.tree import CHAINS, draw_kind, has, require

SOURCE = (
    "Dhaka et al. (2020), NeurIPS; Welandawe et al. (2022), arXiv:2203.15945; "
    "Giordano, Ingram & Broderick (2024), arXiv:2304.05527"
)
MIN_WINDOW = 5
"""Steps that the line goes through, for engines that need few: through fewer it says nothing."""
BATCHES = 20
"""Averages of neighbouring steps that the line goes through: their noise is independent."""
ENDED: dict[str, tuple[Status, str, str]] = {
    "converged": ("ok", "The engine's own rule for stopping was met.", ""),
    "stopped": (
        "warn",
        "The fit was stopped by its limit of steps or time, before its rule was met.",
        "Allow more steps or time, and fit again.",
    ),
    "diverged": (
        "fail",
        "The fit diverged: its loss became infinite, not a number, or ever larger.",
        "Use a smaller learning rate, look for a mistake in the model, or scale the data.",
    ),
}
"""What follows from how a fit ended; an end of another name is no good one."""
AGREEMENT = {"ok": "", "warn": "The chains barely agree: ", "fail": "The chains do not agree: "}


def convergence(tree: xr.DataTree) -> xr.Dataset:
    """Judge how the fit ended: per restart of an optimiser, per quantity of a sampler.

    Returns:
        Of a variational fit, rows ``status``, ``loss`` and ``optimum`` per restart. Of chains one
        row per quantity, with variables `rhat` and `ess` (quantity), and a row ``divergences``.
        Both of several chains in a tree that does not say what its draws are.

    Raises:
        DiagnosticError: If the tree holds no history of the fit, and no chains to compare.
    """
    require(tree, "posterior")
    kind = draw_kind(tree)
    if kind == CHAINS:
        return _sampled(tree, [], note="")
    rows = list(_fits(tree))
    if kind == "" and tree["posterior"].sizes["chain"] > 1 and _varies(tree):
        note = f" Read as Markov chains, for {UNSAID}."
        return _sampled(tree, rows, note)
    if not rows:
        unsaid = f", and {UNSAID}" * (kind == "")
        raise DiagnosticError(f"the tree holds no status and no loss curve of the fit{unsaid}")
    return table(rows, check="convergence", title="Convergence", source=SOURCE, about="fit")


# A variational fit


def _fits(tree: xr.DataTree) -> Iterator[Row]:
    if "sample_stats" not in tree:
        return
    group = tree["sample_stats"].to_dataset()
    chains = group.sizes.get("chain", 0)
    index = group["restart_index"].to_numpy() if "restart_index" in group else range(chains)
    for chain in range(chains):
        each = group.isel(chain=chain)
        suffix = f" of restart {int(index[chain])}" if chains > 1 else ""
        if "status" in each:
            status, why, act = ENDED.get(str(each["status"].item()), ENDED["diverged"])
            yield Row(f"status{suffix}", np.nan, limits.NO_LIMIT, why, status, act)
        if "loss" in each:
            yield _judge_loss(f"loss{suffix}", each["loss"].to_numpy())
        if "optimum_error" in each:
            yield _judge_optimum(f"optimum{suffix}", each["optimum_error"])


def _judge_loss(label: str, loss: np.ndarray) -> Row:
    recorded = np.flatnonzero(~np.isnan(loss))
    curve = loss[: recorded[-1] + 1] if len(recorded) else loss[:0]
    bad = ~np.isfinite(curve)
    if not len(curve) or bad[-1] or bad.mean() > limits.NONFINITE_STEPS.high:
        return _not_finite(label, bad)
    trend = _trend(curve[~bad])
    limit = limits.LOSS_TREND.between(-trend.allowed, trend.allowed)
    if limit.status(trend.change) == "ok":
        why = f"The loss is level over its last {trend.steps} steps, at {trend.level:.2f} nats."
        return Row(label, trend.change, limit, why)
    falls = trend.change < 0
    why = (
        f"The loss was still {'falling' if falls else 'rising'} when the fit ended: by "
        f"{abs(trend.change):.2g} nats over the last {trend.steps} steps, more than its noise "
        f"({trend.error:.1g})."
    )
    act = "Fit for longer." if falls else "Use a smaller learning rate, and fit again."
    return Row(label, trend.change, limit, why, "warn", act)


def _judge_optimum(label: str, errors: xr.DataArray) -> Row:
    """The Monte Carlo error of an optimum over fixed draws (Giordano et al. 2024)."""
    largest = int(errors.to_numpy().argmax())
    size, name = float(errors[largest]), str(errors["latent"].to_numpy()[largest])
    why = f"Other fixed draws would move the means by {size:.2g} sd at the most ({name})."
    act = "Fit with more particles: DADVI(particles=1024)."
    return Row(label, size, limits.OPTIMUM_ERROR, why, limits.OPTIMUM_ERROR.status(size), act)


def _not_finite(label: str, bad: np.ndarray) -> Row:
    count = f"{bad.sum()} of {len(bad)} steps" if len(bad) else "any step"
    end = " and at the end" * bool(len(bad) and bad[-1])
    share = float(bad.mean()) if len(bad) else 1.0
    limit = limits.NONFINITE_STEPS if share > limits.NONFINITE_STEPS.high else limits.NO_LIMIT
    why = f"The loss was not finite in {count}{end}."
    return Row(label, share, limit, why, "fail", ENDED["diverged"][2])


class _Trend(NamedTuple):
    """The line through the end of a loss: its `change` over `steps`, and what noise may change."""

    level: float
    change: float
    error: float
    steps: int
    allowed: float


def _trend(curve: np.ndarray) -> _Trend:
    steps = min(len(curve), max(MIN_WINDOW, round(limits.TREND_WINDOW * len(curve))))
    window = curve[-steps:]
    level = float(window.mean())
    if steps < MIN_WINDOW:
        return _Trend(level, 0.0, 0.0, steps, limits.LOSS_TREND.high)
    means = np.array([batch.mean() for batch in np.array_split(window, min(BATCHES, steps))])
    change, error = _line(means)
    many = len(means) == BATCHES
    needed = error * (
        stdtrit(BATCHES - 2, 1 - limits.TREND_LEVEL / 2) if many else limits.FEW_STEPS_ERRORS
    )
    return _Trend(level, change, error, steps, max(limits.LOSS_TREND.high, float(needed)))


def _line(values: np.ndarray) -> tuple[float, float]:
    """What a line through evenly spaced values changes from end to end, and its standard error."""
    place = np.linspace(-0.5, 0.5, len(values))
    slope = place @ values / (place @ place)
    rest = values - values.mean() - slope * place
    return float(slope), float(np.sqrt(rest @ rest / (place @ place) / (len(values) - 2)))


# Markov chains


def _varies(tree: xr.DataTree) -> bool:
    return next(blocks(tree["posterior"].to_dataset()), None) is not None


def _sampled(tree: xr.DataTree, history: list[Row], note: str) -> xr.Dataset:
    """The rows of chains after those of the ``history``, with a ``note`` on how they were read."""
    mixing = list(_mixing(tree["posterior"].to_dataset()))
    rows = [*history, *(_judge_mixing(*each, note) for each in mixing)]
    numbers = [(np.nan, np.nan)] * len(history) + [(rhat, size) for _, rhat, size in mixing]
    if has(tree, "sample_stats", "diverging"):
        rows.append(_judge_divergences(tree["sample_stats"]["diverging"].to_numpy().astype(bool)))
        numbers.append((np.nan, np.nan))
    return table(
        rows,
        check="convergence",
        title="Convergence of the chains",
        source=limits.RHAT.source,
        about="fit",
        compares=draw_kind(tree) == CHAINS,  # others may be independent, and of anything
        extra={
            "rhat": ("quantity", [rhat for rhat, _ in numbers]),
            "ess": ("quantity", [size for _, size in numbers]),
        },
    )


def _mixing(posterior: xr.Dataset) -> Iterator[tuple[str, float, float]]:
    """Each quantity with its R-hat and its effective sample size."""
    from arviz_stats.base.array import array_stats  # almost half a second the first time

    for names, draws in blocks(posterior):
        # Each chain is cut in two, so that a drifting one disagrees with itself.
        half = draws.shape[1] // 2
        halves = np.concatenate([draws[:, :half], draws[:, half : 2 * half]])
        chains = np.moveaxis(halves, -1, 0)
        rhat: Any = array_stats.rhat(chains, chain_axis=1, draw_axis=2, method="rank")
        size: Any = array_stats.ess(chains, chain_axis=1, draw_axis=2, method="bulk")
        yield from zip(names, rhat.tolist(), size.tolist(), strict=True)


def _judge_mixing(label: str, rhat: float, ess: float, note: str) -> Row:
    by_rhat, by_ess = limits.RHAT.status(rhat), limits.EFFECTIVE_DRAWS.status(ess)
    status = worst([by_rhat, by_ess])
    few = SEVERITY[by_ess] > SEVERITY[by_rhat]
    value, limit = (ess, limits.EFFECTIVE_DRAWS) if few else (rhat, limits.RHAT)
    said = "Too few effective draws: " if few else AGREEMENT[by_rhat]
    why = f"{said}R-hat {rhat:.3f}, bulk effective sample size {ess:.0f}.{note}"
    act = "Run longer chains, or reparameterise the model."
    return Row(label, value, limit, why, status, act)


def _judge_divergences(diverging: np.ndarray) -> Row:
    count = int(diverging.sum())
    if not count:
        return Row("divergences", 0, limits.DIVERGENCES, "No transition diverged.")
    why = (
        f"{count} of {diverging.size} transitions diverged: part of the posterior is not reached."
    )
    act = "Raise the target acceptance probability, or reparameterise (non-centred)."
    limit = limits.DIVERGENCES
    return Row("divergences", count, limit, why, limit.status(float(count)), act)
