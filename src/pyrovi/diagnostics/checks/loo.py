"""How well does the model predict an observation it has not seen? PSIS leave-one-out."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base.array import array_stats
from arviz_stats.loo import loo as arviz_loo, loo_approximate_posterior

from pyrovi.diagnostics.findings import Row, table
from pyrovi.diagnostics.quantities import blocks
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import MIN_DRAWS, first_case, limits, smooth, tied_tail
from pyrovi.tree import CHAINS, SAMPLE_DIMS, draw_kind, has, require

TITLE = "Leave-one-out prediction"
SOURCE = (
    "Vehtari, Gelman & Gabry (2017), Statistics and Computing 27(5); "
    "Magnusson et al. (2019), ICML (approximate posteriors)"
)

TIE = 1e-9
"""Added, in proportion to the rank of a draw, where equal tails leave ArviZ no Pareto to fit."""


@dataclass(frozen=True)
class _Score:
    """elpd and its parts for one observed variable; `k` is per observation, NaN where missing."""

    name: str
    elpd: float
    se: float
    p_loo: float
    k: np.ndarray
    impossible: int

    @property
    def bad(self) -> int:
        """Observations that the draws cannot be rid of."""
        return int((self.k > limits.KHAT.high).sum())

    @property
    def unknowable(self) -> str:
        """Why the draws cannot tell, through no fault of fit or model; empty where they can."""
        size = int((~np.isnan(self.k)).sum())
        flexible = size > 0 and limits.FLEXIBLE.low < self.p_loo / size < limits.FLEXIBLE.high
        bent = (
            f"with {self.p_loo:.1f} effective parameters for {size} observations, {self.bad} of "
            f"k > {limits.KHAT.high:g}, draws cannot leave one out: compare models by K-fold "
            "cross-validation"
        )
        return first_case(
            (self.impossible or self.bad <= limits.HARD_OBSERVATIONS.high * size, ""),
            (size == 1, "a single observation has no others to be predicted from"),
            (flexible, bent),
            otherwise="",
        )


def loo(tree: xr.DataTree) -> xr.Dataset:
    """PSIS-LOO of each observed variable, corrected for the guide where its density is known.

    Returns:
        One row per variable, ``elpd(y)``, whose value is the share of observations with k above
        0.7; `elpd`, `se`, `p_loo` (variable) and the k of each observation, ``k_<name>``
        (``<name>_observation``), NaN for missing ones.

    Raises:
        DiagnosticError: If there is no pointwise log likelihood, too few draws, or the model is so
            flexible that draws given all observations do not say what others predict.
    """
    require(tree, "posterior")
    if not has(tree, "log_likelihood"):
        raise DiagnosticError("the tree holds no pointwise log likelihood")
    draws = np.prod([tree["log_likelihood"].sizes[dim] for dim in SAMPLE_DIMS])
    if draws < MIN_DRAWS:
        raise DiagnosticError(f"{draws} draws are too few to weigh; draw at least 1000")
    guide_k = _guide_k(tree)
    scores = [_score(tree, str(name)) for name in tree["log_likelihood"].data_vars]
    if guide_k <= limits.KHAT.high and all(score.unknowable for score in scores):
        raise DiagnosticError(scores[0].unknowable)
    extra: dict[str, Any] = {
        name: ("variable", [getattr(score, name) for score in scores])
        for name in ("elpd", "se", "p_loo")
    }
    extra |= {f"k_{score.name}": (f"{score.name}_observation", score.k) for score in scores}
    return table(
        [_judge(score, guide_k) for score in scores],
        check="loo",
        title=TITLE,
        source=SOURCE,
        about="fit" if guide_k > limits.KHAT.high else "model",
        extra=extra,
        coords={"variable": [score.name for score in scores]},
    )


def _score(tree: xr.DataTree, name: str) -> _Score:
    variable = tree["log_likelihood"][name].transpose(*SAMPLE_DIMS, ...)
    size = variable.shape[0] * variable.shape[1]
    log_lik = variable.to_numpy().reshape(size, -1).astype(float)
    finite = np.isfinite(log_lik).all(axis=0)
    k = np.full(finite.shape, np.nan)
    impossible = int((~finite & ~np.isnan(log_lik).all(axis=0)).sum())
    if not finite.any():
        return _Score(name, np.nan, np.nan, np.nan, k, impossible)
    scored = _arviz(tree, log_lik[:, finite])
    k[finite] = scored.pareto_k.to_numpy()
    # One observation has no standard error.
    se = float(scored.se) if finite.sum() > 1 else np.nan
    return _Score(name, float(scored.elpd), se, float(scored.p), k, impossible)


def _arviz(tree: xr.DataTree, log_lik: np.ndarray) -> Any:
    """ArviZ's result for one variable, flattened: its shape and its neighbours cannot matter."""
    ratios = _log_ratios(tree)
    if ratios is None:
        reff = _relative_efficiency(tree) if draw_kind(tree) == CHAINS else 1.0
        with _quiet():
            return arviz_loo(_minimal(log_lik), pointwise=True, var_name="y", reff=reff)
    usable = ~np.isnan(ratios) & ~np.isposinf(ratios)
    if usable.sum() < MIN_DRAWS:
        raise DiagnosticError("too few draws have a finite density to weigh observations by")
    log_p = xr.DataArray(ratios[None, usable], dims=SAMPLE_DIMS)
    with _quiet():
        return loo_approximate_posterior(
            _minimal(log_lik[usable], ratios[usable]),
            log_p=log_p,
            log_q=xr.zeros_like(log_p),
            pointwise=True,
            var_name="y",
        )


def _log_ratios(tree: xr.DataTree) -> np.ndarray | None:
    """log p - log q of each draw, shape (S,).

    None where the guide's density is not known, and where the weights are too uneven to correct
    by and Markov chains judge the draws as they are (drift).
    """
    if not has(tree, "sample_stats", "log_joint", "log_guide"):
        return None
    stats = tree["sample_stats"]
    with np.errstate(invalid="ignore"):
        ratios = (stats["log_joint"].to_numpy() - stats["log_guide"].to_numpy()).ravel()
    return None if "drift" in tree and _k(ratios) > limits.KHAT.high else ratios


def _minimal(log_lik: np.ndarray, ratios: np.ndarray | float = 0.0) -> xr.DataTree:
    """The least tree that ArviZ's functions take, with no tail that is all one value."""
    tied = tied_tail((ratios - log_lik.T) if np.ndim(ratios) else -log_lik.T)
    log_lik = log_lik + TIE * np.linspace(0.0, 1.0, len(log_lik))[:, None] * tied
    pointwise = {"y": ((*SAMPLE_DIMS, "observation"), log_lik[None])}
    return xr.DataTree.from_dict({"log_likelihood": xr.Dataset(pointwise)})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ArviZ warns of high k, which is what the rows say."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _relative_efficiency(tree: xr.DataTree) -> float:
    """Effective draws per draw of a Markov chain, averaged over the quantities."""
    shares = [
        array_stats.ess(np.moveaxis(draws, -1, 0), chain_axis=1, draw_axis=2, method="mean")
        / (draws.shape[0] * draws.shape[1])
        for _, draws in blocks(tree["posterior"].to_dataset())
    ]
    return float(np.clip(np.nanmean(np.concatenate(shares)), 0.01, 1.0)) if shares else 1.0


def _judge(score: _Score, guide_k: float) -> Row:
    bad, size = score.bad, int((~np.isnan(score.k)).sum())
    share = bad / size if size else np.nan
    facts = f"elpd {score.elpd:.2f} (se {score.se:.2f}), {score.p_loo:.1f} effective parameters"
    hard = f"{facts}; {bad} of {size} observations have k > {limits.KHAT.high:g}"
    label = f"elpd({score.name})"
    row = partial(Row, label, share, limits.HARD_OBSERVATIONS)
    return first_case(
        (
            not size,
            row(
                "No observation has a finite log likelihood under every draw.",
                "warn",
                "Check the likelihood where the guide's draws fall; fit again.",
            ),
        ),
        (
            score.impossible,
            Row(
                label,
                score.impossible,
                limits.IMPOSSIBLE,
                f"{facts}; {score.impossible} observations are impossible under some draws, left "
                "out.",
                "warn",
                "Check the likelihood where the guide's draws fall.",
            ),
        ),
        (share <= limits.HARD_OBSERVATIONS.high, row(f"{facts}.")),
        (
            guide_k > limits.KHAT.high,
            row(
                f"{hard}, as the guide is far from the posterior (joint k-hat {guide_k:.2f}).",
                "warn",
                "Improve the fit first, as psis says.",
            ),
        ),
        otherwise=row(
            f"{hard}: leaving one out changes the posterior too much to reweight.",
            "warn",
            "Inspect those observations; compare models by K-fold cross-validation instead.",
        ),
    )


def _guide_k(tree: xr.DataTree) -> float:
    """The joint k-hat of the guide: above 0.7, what fails here is the fit."""
    ratios = _log_ratios(tree)
    return 0.0 if ratios is None else _k(ratios)


def _k(ratios: np.ndarray) -> float:
    finite = ratios[np.isfinite(ratios)]
    return smooth(finite)[1] if len(finite) >= MIN_DRAWS else np.inf
