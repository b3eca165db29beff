r"""How much of the spread of a prediction would more data take away? Predictions taken apart.

For a number, by the law of total variance over draws :math:`\theta` of the posterior,

.. math::  \operatorname{Var} y = \underbrace{E_\theta \operatorname{Var}(y \mid \theta)}_{
           \text{aleatoric}} + \underbrace{\operatorname{Var}_\theta E(y \mid \theta)}_{
           \text{epistemic}};

for a class, by entropies in nats, the mutual information of the class and the parameters being
epistemic,

.. math::  H(E_\theta p_\theta) = E_\theta H(p_\theta) + I(y; \theta).

Aleatoric: the noise of the model, which stays. Epistemic: what the draws disagree about, which
data at that place would take away; a fit that is too sure reports too little of it.

References: Depeweg et al. (2018), https://arxiv.org/abs/1710.07283; Houlsby et al. (2011),
https://arxiv.org/abs/1112.5745
"""

from collections.abc import Sequence
from typing import Any

import xarray as xr
from scipy.special import xlogy

from pyrovi.errors import DiagnosticError
from pyrovi.tree import SAMPLE_DIMS, require

SUM_TOLERANCE = 1e-3
"""How far probabilities may sum from 1: draws kept in single precision add up to that."""


def variance_parts(mean: xr.DataArray, sd: xr.DataArray | float) -> xr.Dataset:
    """The variance of a prediction, taken apart.

    Args:
        mean: The mean given each draw: `chain` and `draw`, and any other dims.
        sd: The standard deviation given each draw; one number where it is the same for all.

    Returns:
        ``mean``; ``aleatoric``, ``epistemic`` and ``total``, the variances, which add up; and
        ``share``, epistemic of total.

    Raises:
        DiagnosticError: If the means have no draws, or a standard deviation is negative.

    >>> mean = xr.DataArray([[1.0, 3.0]], dims=("chain", "draw"))
    >>> parts = variance_parts(mean, 2.0)
    >>> float(parts["aleatoric"]), float(parts["epistemic"]), float(parts["total"])
    (4.0, 1.0, 5.0)
    """
    _require_draws(mean, "means")
    spread = xr.DataArray(sd)
    if (spread < 0).any():
        raise DiagnosticError("a standard deviation is negative; pass scales, not their logs")
    noise = (spread**2 + xr.zeros_like(mean)).mean(SAMPLE_DIMS)
    disagreement = mean.var(SAMPLE_DIMS)
    total = noise + disagreement
    return xr.Dataset(
        {
            "mean": mean.mean(SAMPLE_DIMS),
            "aleatoric": noise,
            "epistemic": disagreement,
            "total": total,
            "share": disagreement / total,
        }
    )


def class_uncertainty(probability: xr.DataArray, dim: str = "class") -> xr.Dataset:
    """The entropy of a predicted class, taken apart; in nats.

    Args:
        probability: The probability of each class given each draw.
        dim: The dim of the classes.

    Returns:
        ``probability``, the mean over the draws; ``aleatoric``, the mean entropy of the draws;
        ``epistemic``, the mutual information of class and parameters; and ``total``, the entropy
        of the mean, which is their sum.

    Raises:
        DiagnosticError: If there are no draws, or no classes whose probabilities sum to 1.

    >>> sure = xr.DataArray([[[1.0, 0.0], [0.0, 1.0]]], dims=("chain", "draw", "class"))
    >>> parts = class_uncertainty(sure)  # each draw is certain, and they disagree
    >>> float(parts["aleatoric"]), round(float(parts["epistemic"]), 4)
    (0.0, 0.6931)
    """
    _require_draws(probability, "probabilities")
    if dim not in probability.dims:
        raise DiagnosticError(f"the probabilities have no dim {dim!r}, but {probability.dims}")
    off = abs(probability.sum(dim) - 1.0).max()
    if not (off < SUM_TOLERANCE and (probability >= 0).all()):
        raise DiagnosticError("probabilities are from 0 up and sum to 1 over the classes")
    average = probability.mean(SAMPLE_DIMS)
    total = _entropy(average, dim)
    noise = _entropy(probability, dim).mean(SAMPLE_DIMS)
    # The difference is never negative (Jensen); rounding may make it so.
    return xr.Dataset(
        {
            "probability": average,
            "aleatoric": noise,
            "epistemic": (total - noise).clip(min=0.0),
            "total": total,
        }
    )


def uncertainty(
    tree: xr.DataTree,
    *,
    mean: str = "mean",
    sd: str | Sequence[str] = ("sd", "noise"),
    probability: str = "probability",
) -> xr.Dataset:
    """A tree's predictions, taken apart: of a class where it has probabilities, else of a number.

    Args:
        tree: With a posterior that holds what is named.
        mean: The variable of the mean given a draw.
        sd: The variable of the standard deviation; the first of these that is there.
        probability: The variable of the classes' probabilities, its last dim that of the classes.

    Raises:
        DiagnosticError: If the posterior holds neither.
    """
    require(tree, "posterior")
    posterior: Any = tree["posterior"]
    if probability in posterior:
        classes = posterior[probability]
        return class_uncertainty(classes, dim=str(classes.dims[-1]))
    names = [sd] if isinstance(sd, str) else list(sd)
    spread = next((name for name in names if name in posterior), None)
    if mean not in posterior or spread is None:
        raise DiagnosticError(
            f"the posterior holds neither {probability!r} nor {mean!r} with one of "
            f"{', '.join(map(repr, names))}; it holds {', '.join(map(repr, posterior.data_vars))}"
        )
    return variance_parts(posterior[mean], posterior[spread])


def _require_draws(values: xr.DataArray, what: str) -> None:
    missing = [dim for dim in SAMPLE_DIMS if dim not in values.dims]
    if missing:
        raise DiagnosticError(f"the {what} have no dim {missing[0]!r}, but {values.dims}")


def _entropy(probability: xr.DataArray, dim: str) -> xr.DataArray:
    return 0.0 - xr.apply_ufunc(xlogy, probability, probability).sum(dim)
