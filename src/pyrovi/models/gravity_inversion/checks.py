"""Could this ground have made this survey? Statistics that one wrong assumption each moves.

- ``misfit``: mean squared residual in units of the noise. Moved by a wrong noise level.
- ``residual_autocorrelation``: Moran's I of the residuals. Moved by what the mesh cannot make.
- ``tilt``: slope of a plane through the anomaly, weighed against what ground can do by itself.
  Moved by a regional trend that is not modelled.
- ``size``: mean square of the longer half of the anomaly's patterns, each over what is expected of
  it. Moved by a wrong strength.
- ``roughness``: the same of the shorter half over that of the longer. Moved by a wrong depth
  weighting or length: shallow bodies make short anomalies.

The first two compare data and replications under the same ground, draw by draw. A flexible ground
fits a trend, or an anomaly that is too rough, without leaving a residual; so the other three
replicate the survey over *other ground of the same kind*: hyperparameters from the posterior, the
density anew from its prior. Half of those replications say which patterns (principal components,
in units of the noise) are expected and how large, and the other half what chance does to them.

Reference: Gelman, Meng and Stern (1996), Statistica Sinica 6(4), whose mixed replications the
latter are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyro
import torch
import xarray as xr
from jaxtyping import Float
from scipy.spatial import KDTree
from torch import Tensor

from pyrovi.bound import bind
from pyrovi.errors import DataError
from pyrovi.evidence import limits
from pyrovi.seeds import check_seed, isolated, stream
from pyrovi.structure import Discrepancy

HYPERPARAMETERS = ("amplitude", "stretch", "noise_factor", "global_scale", "slab_precision")
NEIGHBOURS = 2
REPLICATIONS_PER_STATION = 10  # from which the patterns are learned
PATTERN_VARIANCE = 2.0  # in those of the noise: from this on a pattern is counted
FIXES = {
    "misfit": ("The noise is smaller than sigma says.", "The noise is larger than sigma says."),
    "residual_autocorrelation": (
        "Neighbouring residuals oppose each other: the mesh follows single stations.",
        "Neighbouring residuals go together: finer or wider cells, or correlated noise.",
    ),
    "tilt": (
        "The ground is flatter than the prior makes it.",
        "A regional trend is not modelled: read the survey with regional='plane'.",
    ),
    "size": (
        "The anomaly is smaller than the prior's: lower the strength, or weight depth less.",
        "The anomaly is larger than the prior's: raise the strength, or weight depth more.",
    ),
    "roughness": (
        "The anomaly is smoother than the prior's: weight depth more, or lengthen the prior.",
        "The anomaly is rougher than the prior's: weight depth less, or shorten the prior.",
    ),
}

Rows = Float[np.ndarray, "draw station"]


def survey_checks(
    tree: xr.DataTree, model: Callable[..., Any], seed: int | None = 0
) -> pd.DataFrame:
    """Compare a survey with its replications, statistic by statistic; so does `pyrovi.verdict`.

    Args:
        tree: A fit's tree, with ``density`` and what else was drawn in its posterior.
        model: The form that was fitted.
        seed: Of the replications.

    Returns:
        A row for each statistic: its value for the ``data`` (for those of residuals, the mean over
        draws), the ``low`` and ``high`` ends between which 90% of replications lie, the share
        of replications ``above`` the data, whether that is ``quiet``, and what it ``says``.

    Raises:
        DataError: If the tree holds no posterior of a gravity survey.
    """
    statistics = survey_discrepancies(tree, model, check_seed(seed))
    table = {name: _row(each) for name, each in statistics.items()}
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("statistic")


def _row(statistic: Discrepancy) -> dict[str, Any]:
    above = float((statistic.replicated > statistic.data).mean())
    quiet = limits.DECLARED_TAIL.status(above) == "ok"
    return {
        "data": float(statistic.data.mean()),
        "low": float(np.quantile(statistic.replicated, 0.05)),
        "high": float(np.quantile(statistic.replicated, 0.95)),
        "above": above,
        "quiet": quiet,
        "says": "" if quiet else statistic.smaller if above > 0.5 else statistic.larger,
    }


def survey_discrepancies(
    tree: xr.DataTree, model: Callable[..., Any], seed: int
) -> dict[str, Discrepancy]:
    """What these models declare: the statistics above, of the survey and of its replications."""
    for group, name in (("posterior", "density"), ("constant_data", "position")):
        if group not in tree.children or name not in tree[group].data_vars:
            raise DataError(
                f"Expected a drawn tree of gravity_inversion with {name!r} in its {group}. "
                "Pass what pyrovi.draw returns."
            )
    given = dict(bind(model, tree).kwargs)
    gravity = tree["observed_data"]["gravity"].to_numpy()
    position = tree["constant_data"]["position"].to_numpy()[:, :2]
    drawn = {
        str(name): torch.as_tensor(values.to_numpy(), dtype=torch.float64).flatten(0, 1)
        for name, values in tree["posterior"].to_dataset().data_vars.items()
    }
    loc, sigma = _predicted(drawn, given)
    key = stream(seed, "gravity_inversion", "checks")
    noise = np.random.default_rng(key).standard_normal(loc.shape)
    near = np.asarray(KDTree(position).query(position, k=NEIGHBOURS + 1)[1])[:, 1:]
    both = (gravity - loc) / sigma, noise
    statistics = {
        "misfit": [(rows**2).mean(-1) for rows in both],
        "residual_autocorrelation": [_autocorrelation(rows, near) for rows in both],
    }
    unit = np.sqrt((sigma**2).mean(0))
    fresh = _other_ground(model, drawn, given, key) / unit
    expected = Expected.of(fresh[::2], _plane(position) / unit[:, None])
    for name in ("tilt", "size", "roughness"):
        statistic = getattr(expected, name)
        replicated = statistic(fresh[1::2])
        data = np.repeat(statistic(gravity[None] / unit), len(replicated))
        statistics[name] = [data, replicated]
    return {
        name: Discrepancy(data, replicated, *FIXES[name])
        for name, (data, replicated) in statistics.items()
    }


# ------------------------------------------------------------------------------ statistics


def _autocorrelation(residual: Rows, near: np.ndarray) -> np.ndarray:
    """Moran's I: mean product of neighbours over the mean square."""
    return (residual * residual[:, near].mean(-1)).mean(-1) / (residual**2).mean(-1)


@dataclass(frozen=True)
class Expected:
    """What surveys over other ground look like, in units of the noise."""

    long: Float[np.ndarray, "station long"]  # the longer patterns' directions over their size
    short: Float[np.ndarray, "station short"]  # of those that stand out of the noise
    slope: Float[np.ndarray, "station 2"]  # of the plane, at unit covariance

    @classmethod
    def of(cls, fresh: Rows, plane: Float[np.ndarray, "station 3"]) -> "Expected":
        """Learned of replications, with the plane in the same units."""
        covariance = fresh.T @ fresh / len(fresh)
        size, pattern = np.linalg.eigh(covariance)
        size, pattern = size[::-1], pattern[:, ::-1]
        count = max(4, int((size > PATTERN_VARIANCE).sum()))
        scaled = (pattern / np.sqrt(size))[:, :count]
        weighed = np.linalg.solve(covariance, plane)  # generalised least squares
        spread = np.linalg.pinv(plane.T @ weighed, hermitian=True)
        slopes = (weighed @ spread)[:, 1:]
        root = np.linalg.pinv(_root(spread[1:, 1:]))
        return cls(scaled[:, : count // 2], scaled[:, count // 2 :], slopes @ root)

    def tilt(self, gravity: Rows) -> np.ndarray:
        """Length of the plane's slope, in standard deviations."""
        return np.hypot(*(gravity @ self.slope).T)

    def size(self, gravity: Rows) -> np.ndarray:
        """Logarithm of the mean square of the longer patterns."""
        return np.log(((gravity @ self.long) ** 2).mean(-1))

    def roughness(self, gravity: Rows) -> np.ndarray:
        """Logarithm of the mean square of the shorter patterns over that of the longer."""
        return np.log(((gravity @ self.short) ** 2).mean(-1)) - self.size(gravity)


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root."""
    size, direction = np.linalg.eigh(covariance)
    return direction * np.sqrt(np.maximum(size, 0.0)) @ direction.T


def _plane(position: np.ndarray) -> np.ndarray:
    """One, and each coordinate over half its survey's width about the middle."""
    half = np.ptp(position, axis=0).max() / 2
    centred = (position - (position.max(0) + position.min(0)) / 2) / half
    return np.column_stack([np.ones(len(position)), centred])


# ------------------------------------------------------------------------------ draws


def _predicted(drawn: dict[str, Tensor], given: dict[str, Tensor]) -> tuple[Rows, Rows]:
    """Gravity without noise, and the noise's scale, of each draw."""
    loc = drawn["density"].flatten(1) @ given["sensitivity"].flatten(1).T
    if "trend" in drawn:
        loc = loc + drawn["trend"] @ given["basis"].T
    factor = drawn.get("noise_factor", loc.new_ones(len(loc)))
    return loc.numpy(), (factor[:, None] * given["sigma"]).numpy()


def _other_ground(
    model: Callable[..., Any], drawn: dict[str, Tensor], given: dict[str, Tensor], seed: int
) -> Rows:
    """The survey repeated over ground drawn anew, with the hyperparameters of the draws."""
    count = 2 * max(len(drawn["density"]), REPLICATIONS_PER_STATION * len(given["gravity"]))
    turn = torch.arange(count) % len(drawn["density"])
    held: dict[str, Any] = {n: drawn[n][turn, None] for n in HYPERPARAMETERS if n in drawn}
    unobserved = pyro.poutine.uncondition(pyro.poutine.do(model, data=held))
    quiet = pyro.validation_enabled(False)
    with isolated(seed), torch.no_grad(), quiet, pyro.plate("ground", count, dim=-2):
        trace = pyro.poutine.trace(unobserved).get_trace(**given)
    site: Any = trace.nodes["gravity"]
    return site["value"].reshape(count, -1).numpy()
