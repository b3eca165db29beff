"""Did the fit end where it was going? Its status, its loss curve, or a sampler's chains.

R-hat and effective sample size are shown for NUTS alone: independent draws from a guide have
perfect ones, whatever the guide.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base.array import array_stats
from scipy import stats

from pyrovi.diagnostics.findings import Row, table
from pyrovi.diagnostics.quantities import blocks
from pyrovi.errors import DiagnosticError
from pyrovi.tree import has, require

__all__ = ["convergence"]

TITLE = "Convergence"
SOURCE = (
    "Dhaka et al. (2020), NeurIPS; Welandawe et al. (2022), arXiv:2203.15945; "
    "Giordano, Ingram & Broderick (2024), arXiv:2304.05527"
)
SOURCE_NUTS = "Vehtari, Gelman, Simpson, Carpenter & Buerkner (2021), Bayesian Analysis 16(2)"

WINDOW = 0.1
"""The last part of the run, in which the loss should be level."""
MIN_WINDOW = 5
"""Steps of it, for engines that need few steps: a line through fewer says nothing."""
BATCHES = 20
"""Averages of neighbouring steps that the line goes through: their noise is independent."""
TREND_NATS = 0.1
"""A change within the window that matters: the KL of a mean that is 0.45 sd off."""
TREND_LEVEL = 1e-4
"""Share of level, noisy curves that would be called falling."""
FEW_ERRORS = 4.0
"""Standard errors of a trend over few steps, as quasi-Newton takes, which have little noise."""
NONFINITE_SHARE = 0.05
"""Share of steps without a finite loss that makes a fit diverged."""

OPTIMUM_ERROR = 0.1
"""Sds by which the choice of the fixed draws may move a mean: an upper bound where the draws are
moved to match moments."""

RHAT_WARN, RHAT_FAIL = 1.01, 1.1
"""Vehtari et al. (2021), section 4; 1.1 is the older bound of Gelman & Rubin (1992)."""
ESS_WARN, ESS_FAIL = 400, 100
"""Vehtari et al. (2021), section 4: 100 per chain for four chains."""
SPLIT = 2
"""Parts that each chain is cut into, so that a drifting chain disagrees with itself."""


def convergence(tree: xr.DataTree) -> xr.Dataset:
    """Judge how the fit ended: per restart for a variational fit, per quantity for NUTS.

    Returns:
        For a variational fit two rows per restart, ``status`` and ``loss``. For NUTS one row per
        quantity, with variables `rhat` and `ess` (quantity), and a row ``divergences``.

    Raises:
        DiagnosticError: If the tree holds no history of the fit.
    """
    require(tree, "posterior")
    if is_nuts(tree):
        return _nuts(tree)
    rows = list(_fits(tree))
    if not rows:
        raise DiagnosticError("the tree holds no status and no loss curve of the fit")
    return table(rows, check="convergence", title=TITLE, source=SOURCE, about="fit")


def is_nuts(tree: xr.DataTree) -> bool:
    """Whether the draws are a Markov chain, of which R-hat means something."""
    if "sample_stats" not in tree:
        return False
    engine = str(tree["sample_stats"].attrs.get("engine", ""))
    return engine.startswith(("NUTS", "Gibbs")) or "diverging" in tree["sample_stats"]


# A variational fit


def _fits(tree: xr.DataTree) -> Iterator[Row]:
    if "sample_stats" not in tree:
        return
    group = tree["sample_stats"].to_dataset()
    for chain in range(group.sizes.get("chain", 0)):
        suffix = _suffix(group, chain)
        if "status" in group:
            yield _judge_status(f"status{suffix}", str(group["status"].to_numpy()[chain]))
        if "loss" in group:
            yield _judge_loss(f"loss{suffix}", group["loss"].to_numpy()[chain])
        if "optimum_error" in group:
            yield _judge_optimum(f"optimum{suffix}", group["optimum_error"][chain])


def _suffix(group: xr.Dataset, chain: int) -> str:
    """Which restart, where there are several."""
    if group.sizes["chain"] == 1:
        return ""
    index = group["restart_index"].to_numpy()[chain] if "restart_index" in group else chain
    return f" of restart {int(index)}"


def _judge_status(label: str, status: str) -> Row:
    if status == "converged":
        return Row(label, np.nan, "converged", "The engine's own rule for stopping was met.")
    if status == "stopped":
        why = "The fit was stopped by its limit of steps or time, before its rule was met."
        act = "Allow more steps or time, and fit again."
        return Row(label, np.nan, "converged", why, "warn", act)
    why = f"The fit ended as '{status}': its loss became infinite, not a number, or ever larger."
    act = "Use a smaller learning rate, look for a mistake in the model, or scale the data."
    return Row(label, np.nan, "converged", why, "fail", act)


def _judge_loss(label: str, loss: np.ndarray) -> Row:
    known = np.flatnonzero(~np.isnan(loss))
    curve = loss[: known[-1] + 1] if len(known) else loss[:0]
    bad = ~np.isfinite(curve)
    if not len(curve) or bad[-1] or bad.mean() > NONFINITE_SHARE:
        return _not_finite(label, bad)
    trend = _trend(curve[~bad])
    asked = f"change < {TREND_NATS:g} nats"
    if not trend.clear:
        why = f"The loss is level over its last {trend.steps} steps, at {trend.level:.2f} nats."
        return Row(label, trend.change, asked, why)
    verb = "falling" if trend.change < 0 else "rising"
    why = (
        f"The loss was still {verb} when the fit ended: by {abs(trend.change):.2g} nats over the "
        f"last {trend.steps} steps, more than its noise ({trend.error:.1g})."
    )
    act = "Fit for longer." if trend.change < 0 else "Use a smaller learning rate, and fit again."
    return Row(label, trend.change, asked, why, "warn", act)


def _judge_optimum(label: str, errors: xr.DataArray) -> Row:
    """The Monte Carlo error of an optimum over fixed draws (Giordano et al. 2024)."""
    worst = int(errors.to_numpy().argmax())
    size, name = float(errors[worst]), str(errors["latent"].to_numpy()[worst])
    why = f"Other fixed draws would move the means by {size:.2g} sd at the most ({name})."
    if size <= OPTIMUM_ERROR:
        return Row(label, size, f"< {OPTIMUM_ERROR:g} sd", why)
    act = "Fit with more particles: DADVI(particles=1024)."
    return Row(label, size, f"< {OPTIMUM_ERROR:g} sd", why, "warn", act)


def _not_finite(label: str, bad: np.ndarray) -> Row:
    count = f"{bad.sum()} of {len(bad)} steps" if len(bad) else "any step"
    return Row(
        label,
        float(bad.mean()) if len(bad) else 1.0,
        f"< {NONFINITE_SHARE:.0%} of the steps",
        f"The loss was not finite in {count}{' and at the end' if len(bad) and bad[-1] else ''}.",
        "fail",
        "Use a smaller learning rate, look for a mistake in the model, or scale the data.",
    )


@dataclass(frozen=True)
class _Trend:
    """The line through the end of a loss curve: `change` nats over `steps`, and its error."""

    level: float
    change: float
    error: float
    steps: int
    clear: bool


def _trend(curve: np.ndarray) -> _Trend:
    steps = min(len(curve), max(MIN_WINDOW, round(WINDOW * len(curve))))
    window = curve[-steps:]
    level = float(window.mean())
    if steps < MIN_WINDOW:
        return _Trend(level, 0.0, 0.0, steps, clear=False)
    means = np.array([batch.mean() for batch in np.array_split(window, min(BATCHES, steps))])
    line: Any = stats.linregress(np.linspace(0.0, 1.0, len(means)), means)
    change, error = float(line.slope), float(line.stderr)
    many = len(means) == BATCHES
    needed = error * (stats.t.isf(TREND_LEVEL / 2, BATCHES - 2) if many else FEW_ERRORS)
    return _Trend(level, change, error, steps, bool(abs(change) > max(TREND_NATS, needed)))


# NUTS


def _nuts(tree: xr.DataTree) -> xr.Dataset:
    labels, rhats, sizes = _mixing(tree)
    rows = [_judge_mixing(*found) for found in zip(labels, rhats, sizes, strict=True)]
    if has(tree, "sample_stats", "diverging"):
        rows.append(_judge_divergences(tree["sample_stats"]["diverging"].to_numpy().astype(bool)))
        rhats, sizes = [*rhats, np.nan], [*sizes, np.nan]
    return table(
        rows,
        check="convergence",
        title="Convergence of the chains",
        source=SOURCE_NUTS,
        about="fit",
        extra={"rhat": ("quantity", rhats), "ess": ("quantity", sizes)},
    )


def _mixing(tree: xr.DataTree) -> tuple[list[str], list[float], list[float]]:
    labels: list[str] = []
    rhats: list[float] = []
    sizes: list[float] = []
    for names, draws in blocks(tree["posterior"].to_dataset()):
        chains = np.moveaxis(_split(draws), -1, 0)
        rhat: Any = array_stats.rhat(chains, chain_axis=1, draw_axis=2, method="rank")
        size: Any = array_stats.ess(chains, chain_axis=1, draw_axis=2, method="bulk")
        labels += names
        rhats += rhat.tolist()
        sizes += size.tolist()
    return labels, rhats, sizes


def _split(draws: np.ndarray) -> np.ndarray:
    """Each chain as `SPLIT` chains; ArviZ gives no R-hat for one chain."""
    half = draws.shape[1] // SPLIT
    parts = [draws[:, i * half : (i + 1) * half] for i in range(SPLIT)]
    return np.concatenate(parts, axis=0)


def _judge_mixing(label: str, rhat: float, ess: float) -> Row:
    facts = f"R-hat {rhat:.3f}, bulk effective sample size {ess:.0f}"
    act = "Run longer chains, or reparameterise the model."
    by_ess = rhat <= RHAT_WARN and ess < ESS_WARN
    value, asked = (ess, f">= {ESS_WARN}") if by_ess else (rhat, f"<= {RHAT_WARN:g}")
    if not np.isfinite(rhat) or rhat > RHAT_FAIL or ess < ESS_FAIL:
        return Row(label, value, asked, f"The chains do not agree: {facts}.", "fail", act)
    if rhat > RHAT_WARN or ess < ESS_WARN:
        return Row(label, value, asked, f"The chains barely agree: {facts}.", "warn", act)
    return Row(label, value, asked, f"{facts}.")


def _judge_divergences(diverging: np.ndarray) -> Row:
    count = int(diverging.sum())
    if not count:
        return Row("divergences", 0, "0", "No transition diverged.")
    why = (
        f"{count} of {diverging.size} transitions diverged: part of the posterior is not reached."
    )
    act = "Raise the target acceptance probability, or reparameterise (non-centred)."
    return Row("divergences", count, "0", why, "warn", act)
