"""Could the fitted model have made these data? Posterior predictive checks and PIT values.

A misfit speaks of the model and not of the fit, so the worst it earns is a warning.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.special import betainc

from pyrovi.diagnostics.findings import Row, table
from pyrovi.diagnostics.observed import judged_together
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import MIN_DRAWS, Limit, as_rows, limits, smooth_each
from pyrovi.tree import DISCREPANCIES, MASKED, SAMPLE_DIMS, SELECTED, has, held, hidden, require

SOURCE = (
    "Gelman, Meng & Stern (1996), Statistica Sinica 6(4); "
    "Tesso & Vehtari (2026), arXiv:2603.02928 (uniformity of PIT values)"
)

SEED = 0
"""Of the randomised PIT; fixed, because a diagnostic is a function of the tree alone."""

AT_ONCE = 500_000
"""Numbers whose statistics are taken at once, so that what is made on the way stays in a cache."""

REVISE = "The fit may be right and the model not: compare the data with its predictions."
FIXES = {
    "mean": "Check the model's location and its link to the covariates.",
    "sd": "Let the noise scale be learned, or vary; check for a heavier-tailed likelihood.",
    "min": "Check the smallest observations, and whether the likelihood has the right tail.",
    "max": "Check the largest observations, and whether the likelihood has the right tail.",
    "zeros": "Use a likelihood with more or fewer zeros (zero-inflated, negative binomial).",
}


class _Replicated(NamedTuple):
    """Observations and what the model says of them, missing ones left out.

    `observed` has shape (n,); the replications `draws`, and `log_likelihood` where there is one,
    (S, n). `independent` counts those that the likelihood makes so given the parameters: a
    multivariate one has several elements to an observation.
    """

    name: str
    observed: np.ndarray
    draws: np.ndarray
    log_likelihood: np.ndarray | None
    independent: int


def predictive(tree: xr.DataTree) -> xr.Dataset:
    """Compare each observed variable with its replications.

    The sites of a loop are judged as one. Entries that the model's masks hide are left out; and a
    whole variable where what they hide is censored, since what is left was chosen by its values
    and its replications were not.

    Returns:
        One row per statistic and variable, such as ``max(y)``, and per statistic that the model
        declares, whose value is the share of replications above the data's; a row ``PIT(y)``,
        whose value is the p-value of uniformity; and the PIT values of each variable,
        ``pit_<name>`` (``<name>_observation``). A model that bends to many of its observations
        has no PIT: its draws cannot tell what others predict.

    Raises:
        DiagnosticError: If there are no replications of any observed variable.
    """
    require(tree, "posterior")
    rows: list[Row] = []
    extra: dict[str, Any] = {}
    for each in _replicated(tree):
        rows += [_judge_statistic(each, name) for name in _statistics(each)]
        pit = _judged_pit(each)
        if pit is not None:
            rows.append(_judge_pit(each.name, pit, left_out=each.log_likelihood is not None))
            extra[f"pit_{each.name}"] = (f"{each.name}_observation", pit)
    rows += _declared(tree)
    if not rows:
        raise DiagnosticError(_nothing_to_compare(tree))
    title = "Posterior predictive checks"
    return table(rows, check="predictive", title=title, source=SOURCE, about="model", extra=extra)


def _nothing_to_compare(tree: xr.DataTree) -> str:
    if any(each.attrs[SELECTED] for each in held(tree, MASKED).data_vars.values()):
        return "the data are censored, so that those left were chosen by their values"
    return "no observed variable has posterior predictive draws"


def _replicated(tree: xr.DataTree) -> Iterator[_Replicated]:
    each = {one.name: one for one in _flattened(tree)}
    for label, names in judged_together(tree, each).items():
        yield each[label] if len(names) == 1 else _joined(label, [each[name] for name in names])


def _flattened(tree: xr.DataTree) -> Iterator[_Replicated]:
    replications, masks = (held(tree, group) for group in ("posterior_predictive", MASKED))
    for name, observed in held(tree, "observed_data").data_vars.items():
        if name not in replications.data_vars:
            continue
        if name in masks.data_vars and masks[name].attrs[SELECTED]:
            continue
        draws = replications[name]
        # A minibatch of the data was replicated: which rows of it cannot be told.
        if observed.sizes == {d: n for d, n in draws.sizes.items() if d not in SAMPLE_DIMS}:
            log_lik = _log_likelihood(tree, str(name), draws)
            yield _flatten(observed, ~hidden(tree, observed), draws, log_lik)


def _log_likelihood(tree: xr.DataTree, name: str, draws: xr.DataArray) -> xr.DataArray | None:
    """At the draws that were replicated, which may be some of all; None where it is not known."""
    if not has(tree, "log_likelihood", name):
        return None
    log_lik = tree["log_likelihood"].data_vars[name]
    if log_lik.sizes.get("draw", draws.sizes["draw"]) == draws.sizes["draw"]:
        return log_lik
    replicated = draws["draw"]
    return log_lik.sel(draw=replicated) if replicated.isin(log_lik["draw"]).all() else None


def _joined(label: str, each: list[_Replicated]) -> _Replicated:
    log_lik = [one.log_likelihood for one in each if one.log_likelihood is not None]
    return _Replicated(
        label,
        np.concatenate([one.observed for one in each]),
        np.concatenate([one.draws for one in each], axis=1),
        np.concatenate(log_lik, axis=1) if len(log_lik) == len(each) else None,
        sum(one.independent for one in each),
    )


def _flatten(
    observed: xr.DataArray, shown: np.ndarray, draws: xr.DataArray, log_lik: xr.DataArray | None
) -> _Replicated:
    values = observed.to_numpy().ravel().astype(float)
    like = draws.transpose(*SAMPLE_DIMS, *observed.dims)
    size = like.shape[0] * like.shape[1]
    matrix = like.to_numpy().reshape(size, -1).astype(float, copy=False)
    counted = shown & np.isfinite(values) & np.isfinite(matrix).all(axis=0)
    ratios, independent = None, int(counted.sum())
    if log_lik is not None and set(log_lik.dims) <= set(like.dims):
        # A multivariate likelihood has one value for all the elements of an observation.
        ratios = log_lik.broadcast_like(like).transpose(*like.dims).to_numpy().reshape(size, -1)
        ratios = ratios if counted.all() else ratios[:, counted]
        independent = min(independent, log_lik[0, 0].size)
    matrix = matrix if counted.all() else matrix[:, counted]
    return _Replicated(str(observed.name), values[counted], matrix, ratios, independent)


# Statistics


STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda y: y.mean(-1),
    "sd": lambda y: y.std(-1),
    "min": lambda y: y.min(-1),
    "max": lambda y: y.max(-1),
    "zeros": lambda y: (y == 0).mean(-1),
}


def _statistics(each: _Replicated) -> list[str]:
    """The statistics that say something of data of this kind."""
    if not each.observed.size:
        return []
    both = each.observed, each.draws[:100]
    if each.observed.size == 1 or all(np.isin(y, (0.0, 1.0)).all() for y in both):
        return ["mean"]
    counts = all((y >= 0).all() and (y == np.round(y)).all() for y in both)
    return [name for name in STATISTICS if name != "zeros" or counts]


def _judge_statistic(each: _Replicated, statistic: str) -> Row:
    function = STATISTICS[statistic]
    of_data = function(each.observed)
    parts = np.array_split(each.draws, max(1, each.draws.size // AT_ONCE))
    of_draws = np.concatenate([function(part) for part in parts])
    rounding = 1e-12 * np.abs(each.observed).max(initial=0.0)
    of_data = np.where(np.abs(of_data) < rounding, 0.0, of_data)  # the mean of centred data
    act = f"{REVISE} {FIXES[statistic]}"
    return _beside(f"{statistic}({each.name})", of_data, of_draws, limits.TAIL, (act, act))


def _beside(
    label: str, of_data: np.ndarray, of_draws: np.ndarray, limit: Limit, acts: tuple[str, str]
) -> Row:
    """A statistic of the data beside replications; what to do where they are below, or above."""
    # Ties count half, or discrete data would look extreme.
    above = float(np.mean(of_draws > of_data) + 0.5 * np.mean(of_draws == of_data))
    low, high = np.quantile(of_draws, [0.055, 0.945])
    inside = f"89 % of the replications lie in [{low:.4g}, {high:.4g}]"
    facts = f"{of_data.mean():.4g} in the data; {inside}"
    status = limit.status(above)
    if status == "ok":
        return Row(label, above, limit, f"{facts}.")
    side, act = ("smaller", acts[0]) if above < 0.5 else ("larger", acts[1])
    why = f"{facts}: the model's is {side} than the data's."
    return Row(label, above, limit, why, status, act)


def _declared(tree: xr.DataTree) -> list[Row]:
    """The statistics that the model declares, each replication against its own account."""
    if not has(tree, DISCREPANCIES, "replicated"):
        return []
    group = tree[DISCREPANCIES].to_dataset()
    rows = []
    for name in group["statistic"].to_numpy().tolist():
        each = group.sel(statistic=name)
        of_data, of_draws = each["data"].to_numpy(), each["replicated"].to_numpy()
        acts = str(each["larger"].item()), str(each["smaller"].item())
        rows.append(_beside(name, of_data, of_draws, limits.DECLARED_TAIL, acts))
    return rows


# PIT values


def _judged_pit(each: _Replicated) -> np.ndarray | None:
    """The PIT values; None where they say nothing, or draws cannot tell what others predict."""
    if each.independent < limits.PIT_OBSERVATIONS:
        return None
    pit, k = _pit(each.observed, each.draws, each.log_likelihood)
    hard = float((k > limits.KHAT.high).mean())
    return pit if limits.HARD_TO_PREDICT.status(hard) == "ok" else None


def pit_values(
    observed: np.ndarray, draws: np.ndarray, log_likelihood: np.ndarray | None = None
) -> np.ndarray:
    """Where each observation lies in its predictive distribution: uniform if the model is right.

    Args:
        observed: Shape (n,).
        draws: Replications, shape (S, n).
        log_likelihood: Shape (S, n). With it, each observation is predicted from the others
            (leave-one-out PIT); without it the data are used twice, and the values crowd at 1/2.

    Returns:
        Shape (n,), strictly between 0 and 1. Ties are broken at random, as discrete data need, and
        so is the gap beyond the last of S draws.
    """
    return _pit(observed, draws, log_likelihood)[0]


def _pit(
    observed: np.ndarray, draws: np.ndarray, log_likelihood: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The PIT values, and the k of each observation's weights."""
    size, count = draws.shape
    below, equal, k = np.empty((3, count))
    both = (draws,) if log_likelihood is None or size < MIN_DRAWS else (draws, log_likelihood)
    for own, [drawn, *likely] in as_rows(*both):
        weights, k[own] = _leave_one_out(*likely) if likely else (1.0 / size, -np.inf)
        seen = observed[own, None]
        below[own] = (weights * (drawn < seen)).sum(1)
        equal[own] = (weights * (drawn == seen)).sum(1)
    chance = np.random.default_rng(SEED).uniform(size=count)
    return ((below + chance * equal) * size + chance) / (size + 1), k


def _leave_one_out(log_likelihood: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalised weights that take each observation out of the posterior, and their k's."""
    log_weights, k = smooth_each(-np.where(np.isfinite(log_likelihood), log_likelihood, 0.0))
    return np.exp(log_weights, out=log_weights), k


def uniformity(pit: np.ndarray) -> float:
    """p-value that values in (0, 1) are independent and uniform, seeing both centre and tails.

    Each order statistic has a beta distribution; their two-sided p-values are combined by a
    truncated Cauchy combination, which holds although they depend on one another (the POT-C of
    Tesso & Vehtari, 2026).

    >>> uniformity((np.arange(100) + 0.5) / 100) > 0.3
    True
    """
    rank = np.arange(1, pit.size + 1)
    below = betainc(rank, rank[::-1], np.sort(pit))
    p = 2 * np.minimum(below, 1 - below)
    terms = np.where(p < 0.5, np.tan((0.5 - np.maximum(p, 1e-15)) * np.pi), 0.0)
    return float(0.5 - np.arctan(terms.mean()) / np.pi)


TOO_WIDE = "more of them lie in the middle than predicted, so the predictions are too wide"
TWICE = (
    "More of the data lie in the middle of their predictive distributions than evenly, as they do "
    "where each helps to predict itself: without a pointwise log likelihood none can be left out."
)


def _judge_pit(name: str, pit: np.ndarray, *, left_out: bool) -> Row:
    p, pattern = uniformity(pit), _pattern(pit)
    status = limits.PIT_P.status(p)
    why = f"The data fall evenly over their predictive distributions (p = {p:.2g})."
    if status != "ok" and pattern == TOO_WIDE and not left_out:
        status, why = "ok", TWICE
    elif status != "ok":
        why = f"The data do not fall evenly over their predictive distributions: {pattern}."
    return Row(f"PIT({name})", p, limits.PIT_P, why, status, REVISE)


def _pattern(pit: np.ndarray) -> str:
    """What uneven PIT values look like, in words."""
    centre, spread = float(pit.mean() - 0.5), float(pit.std() * np.sqrt(12))
    if abs(centre) * np.sqrt(12 * pit.size) > 3:
        return f"they lie {'above' if centre > 0 else 'below'} what is predicted"
    if spread > 1:
        return "more of them lie in the tails than predicted, so the predictions are too narrow"
    return TOO_WIDE
