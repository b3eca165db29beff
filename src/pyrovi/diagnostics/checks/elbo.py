"""The evidence lower bound with its Monte Carlo error, split in the two ways of the textbooks.

ELBO = accuracy - complexity = E_q[log p(data | theta)] - KL(q || prior)
     = expected log joint + entropy = E_q[log p(data, theta)] + H[q].
"""

from typing import Any

import numpy as np
import xarray as xr

from pyrovi.diagnostics.findings import Row, table
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import limits
from pyrovi.tree import SAMPLE_DIMS, has, require

SOURCE = "Blei, Kucukelbir & McAuliffe (2017), JASA 112(518), equations 13 to 15"


def elbo(tree: xr.DataTree) -> xr.Dataset:
    """The ELBO of the draws, in nats, and its parts.

    Returns:
        The row ``elbo``, whose value is its Monte Carlo error; `elbo`, `accuracy`, `complexity`,
        `expected_log_joint` and `entropy`, each with an error `<name>_error`; `site_log_prior`
        and, where the guide factorises over sites, `site_entropy` and `site_complexity` (site);
        `observed_log_likelihood` (observed); `elbo_chain` (chain).

    Raises:
        DiagnosticError: If the draws come without the guide's density.
    """
    require(tree, "posterior")
    if not has(tree, "sample_stats", "log_joint", "log_guide"):
        raise DiagnosticError("the draws came without log_joint and log_guide, whose mean it is")
    terms = _terms(tree)
    means = {name: _mean_and_error(values) for name, values in terms.items()}
    extra: dict[str, Any] = {name: mean for name, (mean, _) in means.items()}
    extra |= {f"{name}_error": error for name, (_, error) in means.items()}
    extra["elbo_chain"] = ("chain", terms["elbo"].mean(axis=1))
    extra |= _per_site(tree)
    title, row = "Evidence lower bound", _judge(means)
    return table([row], check="elbo", title=title, source=SOURCE, about="fit", extra=extra)


def _terms(tree: xr.DataTree) -> dict[str, np.ndarray]:
    """What each part averages over the draws, shape (chain, draw)."""
    stats = tree["sample_stats"]
    log_joint, log_guide = stats["log_joint"].to_numpy(), stats["log_guide"].to_numpy()
    with np.errstate(invalid="ignore"):
        terms = {
            "elbo": log_joint - log_guide,
            "expected_log_joint": log_joint,
            "entropy": -log_guide,
        }
        if has(tree, "log_prior"):
            sites = tree["log_prior"].data_vars.values()
            log_prior = np.sum([site.to_numpy() for site in sites], axis=0)
            terms["accuracy"] = log_joint - log_prior
            terms["complexity"] = log_guide - log_prior
    return terms


def _mean_and_error(values: np.ndarray) -> tuple[float, float]:
    with np.errstate(invalid="ignore"):
        return float(values.mean()), float(values.std() / np.sqrt(values.size))


def _judge(means: dict[str, tuple[float, float]]) -> Row:
    """The row is of the Monte Carlo error: how large an ELBO is says nothing by itself."""
    value, error = means["elbo"]
    if not np.isfinite(value):
        why = "The ELBO is not finite: some draws lie where the model or the guide has no density."
        act = "Look for a prior or likelihood that the guide's draws fall outside of."
        return Row("elbo", error, limits.ELBO_ERROR, why, "fail", act)
    why = f"The ELBO is {value:.2f} nats with a Monte Carlo error of {error:.2g}{_split(means)}."
    act = "Draw more before comparing models by it; k-hat may show why it is noisy."
    return Row("elbo", error, limits.ELBO_ERROR, why, limits.ELBO_ERROR.status(error), act)


def _split(means: dict[str, tuple[float, float]]) -> str:
    joint, entropy = means["expected_log_joint"][0], means["entropy"][0]
    text = f": expected log joint {joint:.2f} + entropy {entropy:.2f}"
    if "accuracy" not in means:
        return text
    accuracy, complexity = means["accuracy"][0], means["complexity"][0]
    return f"{text}, or accuracy {accuracy:.2f} - complexity {complexity:.2f}"


def _per_site(tree: xr.DataTree) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if has(tree, "log_prior"):
        prior = _site_means(tree["log_prior"].to_dataset())
        extra["site"] = ("site", list(prior))
        extra["site_log_prior"] = ("site", list(prior.values()))
        if has(tree, "log_guide"):
            guide = _site_means(tree["log_guide"].to_dataset())
            entropy = np.array([-guide.get(site, np.nan) for site in prior])
            extra["site_entropy"] = ("site", entropy)
            extra["site_complexity"] = ("site", -entropy - np.array(list(prior.values())))
    if has(tree, "log_likelihood"):
        data = _site_means(tree["log_likelihood"].to_dataset())
        extra["observed"] = ("observed", list(data))
        extra["observed_log_likelihood"] = ("observed", list(data.values()))
    return extra


def _site_means(group: xr.Dataset) -> dict[str, float]:
    """The expected log density of each variable, summed over what it has beyond draws.

    A missing observation has no likelihood, and adds nothing.
    """
    return {str(name): float(np.nansum(_mean(each))) for name, each in group.data_vars.items()}


def _mean(variable: xr.DataArray) -> np.ndarray:
    """Over the draws; of draws that are missing copies are made to leave these out."""
    mean = variable.mean(SAMPLE_DIMS, skipna=False)
    return (variable.mean(SAMPLE_DIMS) if mean.isnull().any() else mean).to_numpy()
