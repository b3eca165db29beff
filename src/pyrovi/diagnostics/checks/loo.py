"""How well does the model predict an observation it has not seen? PSIS leave-one-out."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from pyrovi.diagnostics.findings import Row, table
from pyrovi.diagnostics.observed import judged_together
from pyrovi.diagnostics.quantities import blocks, log_ratios
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import MIN_DRAWS, as_rows, khat_error, limits, reweighted, smooth, smooth_each
from pyrovi.tree import CHAINS, SAMPLE_DIMS, draw_kind, has, hidden, require

SOURCE = (
    "Vehtari, Gelman & Gabry (2017), Statistics and Computing 27(5); "
    "Magnusson et al. (2019), ICML (approximate posteriors)"
)


class _Score(NamedTuple):
    """elpd and its parts for one observed variable; `k` is per observation, NaN where missing."""

    name: str
    elpd: float
    se: float
    p_loo: float
    flexibility: float  # effective parameters for each observation that is not hard to leave out
    k: np.ndarray
    draws: int
    impossible: int

    @property
    def size(self) -> int:
        """Observations that have a k."""
        return int((~np.isnan(self.k)).sum())

    @property
    def bad(self) -> int:
        """Observations that the draws cannot be rid of."""
        return int(_hard(self.k, self.draws).sum())

    @property
    def fine(self) -> bool:
        """Whether so few are bad that their sum can be used."""
        return self.bad <= limits.HARD_OBSERVATIONS.high * self.size

    @property
    def unknowable(self) -> str:
        """Why the draws cannot tell, through no fault of fit or model; empty where they can."""
        if self.impossible or self.fine:
            return ""
        if self.size == 1:
            return "a single observation has no others to be predicted from"
        few = self.p_loo < limits.FLEXIBLE.high * self.size
        if not (self.flexibility > limits.FLEXIBLE.low and few):
            return ""
        return (
            f"with {self.p_loo:.1f} effective parameters for {self.size} observations, {self.bad} "
            f"of k beyond {limits.KHAT.high:g}, draws cannot leave one out: compare models by "
            "K-fold cross-validation"
        )


@dataclass(frozen=True)
class _Guide:
    """What weights say of the draws of a guide, whose log p - log q are ``ratios``, shape (S,).

    They are None where there is no density, as of draws that were resampled or polished, and where
    the weights are too uneven to correct by and Markov chains judge the draws (drift).
    """

    posterior: xr.Dataset
    ratios: np.ndarray | None

    @classmethod
    def of(cls, tree: xr.DataTree) -> "_Guide":
        ratios, posterior = log_ratios(tree), tree["posterior"].to_dataset()
        guide = cls(posterior, None if ratios is None else ratios.ravel())
        return cls(posterior, None) if "drift" in tree and guide.k > limits.KHAT.high else guide

    @cached_property
    def finite(self) -> np.ndarray:
        """The draws that have a weight."""
        return np.isfinite([] if self.ratios is None else self.ratios)

    @cached_property
    def weighed(self) -> tuple[np.ndarray, float]:
        """The log weights of these, and k."""
        if self.ratios is None:
            return np.empty(0), 0.0
        if self.finite.sum() < MIN_DRAWS:
            return np.empty(0), np.inf
        return smooth(self.ratios[self.finite])

    @property
    def k(self) -> float:
        """The shape of the tail of the weights."""
        return self.weighed[1]

    @cached_property
    def off(self) -> bool:
        """Whether its draws are not the posterior's by their weights, or these cannot tell."""
        if self.ratios is None or self.k > limits.KHAT.high:
            return self.ratios is not None
        weights = np.exp(self.weighed[0])
        return any(
            gap.status != "ok"
            for _, draws in blocks(self.posterior)
            for gap in reweighted(draws.reshape(-1, draws.shape[-1])[self.finite], weights)
        )


def loo(tree: xr.DataTree) -> xr.Dataset:
    """PSIS-LOO of each observed variable, corrected for the guide where it has a density.

    The sites of a loop are scored as one, and entries that the model's masks hide are left out.
    Weights that correct for the guide have a tail of their own. Where that makes observations hard
    that the draws as they are can leave out, and the weights of the whole fit find no fault with
    these, they are taken as the posterior's.

    Returns:
        One row per variable, ``elpd(y)``, whose value is the share of observations with k above
        0.7 by more than its error; `elpd`, `se`, `p_loo` (variable) and the k of each observation,
        ``k_<name>`` (``<name>_observation``), NaN for missing ones.

    Raises:
        DiagnosticError: If there is no pointwise log likelihood, too few draws, or the model is so
            flexible that draws given all observations do not say what others predict.
    """
    require(tree, "posterior")
    if not has(tree, "log_likelihood"):
        raise DiagnosticError("the tree holds no pointwise log likelihood")
    sizes = tree["log_likelihood"].sizes
    draws = sizes["chain"] * sizes["draw"]
    if draws < MIN_DRAWS:
        raise DiagnosticError(f"{draws} draws are too few to weigh; draw at least 1000")
    guide = _Guide.of(tree)
    together = judged_together(tree, tree["log_likelihood"].data_vars)
    scores = [_score(tree, label, names, guide) for label, names in together.items()]
    at_fault = not all(score.fine for score in scores) and guide.off
    if not at_fault and all(score.unknowable for score in scores):
        raise DiagnosticError(scores[0].unknowable)
    return table(
        [_judge(score, guide if at_fault else None) for score in scores],
        check="loo",
        title="Leave-one-out prediction",
        source=SOURCE,
        about="fit" if at_fault else "model",
        extra=_numbers(scores),
    )


def _numbers(scores: list[_Score]) -> dict[str, Any]:
    by_variable = {
        "variable": [score.name for score in scores],
        "elpd": [score.elpd for score in scores],
        "se": [score.se for score in scores],
        "p_loo": [score.p_loo for score in scores],
    }
    ks = {f"k_{score.name}": (f"{score.name}_observation", score.k) for score in scores}
    return {name: ("variable", values) for name, values in by_variable.items()} | ks


def _score(tree: xr.DataTree, label: str, names: list[str], guide: _Guide) -> _Score:
    log_lik, masked = _log_likelihood(tree, names)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(log_lik.sum(axis=0))  # a sum is finite if each term is
    finite = known & ~masked
    k = np.full(finite.shape, np.nan)
    impossible = int((~np.isnan(log_lik[:, ~known & ~masked]).all(axis=0)).sum())
    if not finite.any():
        nan = np.nan
        return _Score(label, nan, nan, nan, nan, k, len(log_lik), impossible)
    seen = log_lik if finite.all() else log_lik[:, finite]
    elpd, p_loo, k[finite] = _pointwise(tree, seen, guide)
    # One observation has no standard error.
    se = float(np.sqrt(len(elpd) * elpd.var())) if len(elpd) > 1 else np.nan
    # One outlier may seem to take many parameters: how a model bends shows at the others.
    hard = _hard(k[finite], len(log_lik))
    bends = float(p_loo[~hard].mean() if not hard.all() else p_loo.mean())
    total, p = float(elpd.sum()), float(p_loo.sum())
    return _Score(label, total, se, p, bends, k, len(log_lik), impossible)


def _log_likelihood(tree: xr.DataTree, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The log likelihood of variables' entries (S, n), and which of these masks hide (n,)."""
    variables = [tree["log_likelihood"][name].transpose(*SAMPLE_DIMS, ...) for name in names]
    size = variables[0].shape[0] * variables[0].shape[1]
    each = [v.to_numpy().reshape(size, -1).astype(float, copy=False) for v in variables]
    whole = each[0] if len(each) == 1 else np.concatenate(each, axis=1)
    return whole, np.concatenate([hidden(tree, variable) for variable in variables])


def _pointwise(
    tree: xr.DataTree, log_lik: np.ndarray, guide: _Guide
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """elpd, effective parameters and k of each observation, of log likelihoods (S, n)."""
    if guide.ratios is None:
        efficiency = _relative_efficiency(tree) if draw_kind(tree) == CHAINS else 1.0
        return _left_out(log_lik, 0.0, efficiency)
    if np.isfinite(guide.ratios).sum() < MIN_DRAWS:
        raise DiagnosticError("too few draws have a finite density to weigh observations by")
    usable = ~np.isnan(guide.ratios) & ~np.isposinf(guide.ratios)
    with np.errstate(invalid="ignore"):
        corrected = _left_out(
            log_lik if usable.all() else log_lik[usable], guide.ratios[usable], 1.0
        )
    hard = _hard(corrected[2], len(log_lik)).sum()
    if hard <= limits.HARD_OBSERVATIONS.high * log_lik.shape[1] or guide.off:
        return corrected
    as_drawn = _left_out(log_lik, 0.0, 1.0)
    return as_drawn if _hard(as_drawn[2], len(log_lik)).sum() < hard else corrected


def _hard(k: np.ndarray, draws: int) -> np.ndarray:
    """Which observations the draws cannot be rid of, beyond the noise of k."""
    with np.errstate(invalid="ignore"):
        return np.isposinf(k) | (k - khat_error(k, draws) > limits.KHAT.high)


def _left_out(
    log_lik: np.ndarray, ratios: np.ndarray | float, efficiency: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same, of draws whose log p - log q are ``ratios`` (equation 10 of the paper)."""
    elpd, p_loo, k = np.empty((3, log_lik.shape[1]))
    for own, [rows] in as_rows(log_lik):
        log_weights, k[own] = smooth_each(ratios - rows, efficiency)
        log_weights += rows
        elpd[own] = _log_mean_exp(log_weights) + np.log(len(log_lik))
        p_loo[own] = _log_mean_exp(rows) - elpd[own]
    return elpd, p_loo, k


def _log_mean_exp(values: np.ndarray) -> np.ndarray:
    """The logarithm of the mean of exponentials over the last axis."""
    largest = values.max(-1)
    return largest + np.log(np.exp(values - largest[:, None]).mean(-1))


def _relative_efficiency(tree: xr.DataTree) -> float:
    """Effective draws per draw of a Markov chain, averaged over the quantities."""
    from arviz_stats.base.array import array_stats  # almost half a second the first time

    shares = [
        array_stats.ess(np.moveaxis(draws, -1, 0), chain_axis=1, draw_axis=2, method="mean")
        / (draws.shape[0] * draws.shape[1])
        for _, draws in blocks(tree["posterior"].to_dataset())
    ]
    return float(np.clip(np.nanmean(np.concatenate(shares)), 0.01, 1.0)) if shares else 1.0


def _judge(score: _Score, at_fault: _Guide | None) -> Row:
    size, impossible = score.size, score.impossible
    share = score.bad / size if size else np.nan
    row = partial(Row, f"elpd({score.name})", share, limits.HARD_OBSERVATIONS)
    if not size:
        why = "No observation has a finite log likelihood under every draw."
        return row(why, "warn", "Check the likelihood where the guide's draws fall; fit again.")
    facts = f"elpd {score.elpd:.2f} (se {score.se:.2f}), {score.p_loo:.1f} effective parameters"
    if impossible:
        why = f"{facts}; {impossible} observations are impossible under some draws, left out."
        act = "Check the likelihood where the guide's draws fall."
        return Row(f"elpd({score.name})", impossible, limits.IMPOSSIBLE, why, "warn", act)
    if score.fine:
        return row(f"{facts}.")
    hard = f"{facts}; {score.bad} of {size} observations have k beyond {limits.KHAT.high:g}"
    if at_fault is not None:
        why = f"{hard}, as the guide is off the posterior (joint k-hat {at_fault.k:.2f})."
        return row(why, "warn", "Improve the fit first, as psis says.")
    why = f"{hard}: leaving one out changes the posterior too much to reweight."
    act = "Inspect those observations; compare models by K-fold cross-validation instead."
    return row(why, "warn", act)
