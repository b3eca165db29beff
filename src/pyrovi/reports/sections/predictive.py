"""Would the fitted model make such data? Predictions beside the data, and how they calibrate."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from pyrovi.diagnostics import Verdict, judged_together, uncertainty
from pyrovi.errors import DiagnosticError
from pyrovi.reports.parts import Plot, Section
from pyrovi.reports.sections.groups import diagnostic, group, variables
from pyrovi.reports.sections.maps import station_plots
from pyrovi.reports.sections.verdict import judged
from pyrovi.tree import SAMPLE_DIMS, hidden
from pyrovi.words import count

OBSERVED_CAP = 4
DRAWS_CAP = 40
"""Predicted data sets that are drawn: enough to see their spread, few enough to see each."""
OBSERVATIONS_CAP = 1000

LEVELS_CAP = 40
"""Counts up to here are drawn one by one."""
SAME_PREDICTION = 1e-6
"""Sds between predicted means, below which all observations are predicted alike."""
SMOOTH_FROM = 30
"""Observations from which a smoothed density is drawn; fewer show as an ECDF, each by itself."""

CAPTIONS = {
    "density": "The data (orange) over data sets drawn from the fitted model.",
    "ecdf": "The data (orange) over data sets drawn from the fitted model.",
    "counts": "How often each count occurs: in the data (orange), and in data sets drawn from the "
    "fitted model, with intervals.",
    "calibration": "How often the event happened where the model gave it this probability; "
    "calibrated predictions lie along the diagonal, inside the band.",
    "pit": "Where each observation falls in its predictive distribution. A calibrated model's "
    "line stays inside the band 99 times in 100.",
}


def predictive_section(tree: xr.DataTree, verdict: Verdict) -> Section:
    """Predictive checks."""
    pairs = list(_pairs(tree))
    tables = [
        judged(
            str(diagnostic(tree, name).attrs.get("title", name)),
            [row for row in verdict.records if row["check"] == name],
            why=True,
        )
        for name in ("predictive", "loo")
    ]
    plots = [plot for pair in pairs[:OBSERVED_CAP] for plot in _plots(tree, *pair)]
    plots += _parts(tree)
    return Section(
        id="predictive",
        title="Predictive checks",
        text=_text(len(pairs), anything=bool(plots or any(table.rows for table in tables))),
        tables=tuple(table for table in tables if table.rows),
        plots=tuple(plots),
    )


def _text(pairs: int, *, anything: bool) -> tuple[str, ...]:
    if not anything:
        return ("The tree holds no predictions to compare with the data.",)
    lines = ["Data that the fitted model would have made, beside the data that it saw."]
    if pairs > OBSERVED_CAP:
        lines.append(f"The first {OBSERVED_CAP} of {count(pairs, 'variable')} are drawn.")
    return tuple(lines)


def _pairs(tree: xr.DataTree) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """What was observed and predicted, the sites of a loop as one: label, values (n), draws."""
    each = {name: (values, draws) for name, values, draws in _each(tree)}
    for label, names in judged_together(tree, each).items():
        values, draws = zip(*(each[name] for name in names), strict=True)
        alone = len(names) == 1
        yield (
            (label, values[0], draws[0]) if alone else (label, np.hstack(values), np.hstack(draws))
        )


def _each(tree: xr.DataTree) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each observed variable that was predicted: its name, values (n) and draws (draw, n).

    Values that a mask hides are NaN.
    """
    observed = variables(group(tree, "observed_data"))
    predicted = variables(group(tree, "posterior_predictive"))
    for name in [name for name in observed if name in predicted]:
        values, draws = observed[name], predicted[name]
        dims = [dim for dim in draws.dims if dim not in SAMPLE_DIMS]
        if set(dims) == set(values.dims) and values.dtype.kind in "fiub":
            values = values.transpose(*dims)
            numbers = np.where(hidden(tree, values), np.nan, values.to_numpy().ravel())
            matrix = draws.transpose(*SAMPLE_DIMS, *dims).to_numpy().reshape(-1, numbers.size)
            yield name, numbers, matrix.astype(float)


def _plots(
    tree: xr.DataTree, name: str, observed: np.ndarray, draws: np.ndarray
) -> Iterator[Plot]:
    held = np.flatnonzero(np.isfinite(observed) & np.isfinite(draws).all(0))
    few, shown = _spread(len(draws), DRAWS_CAP), held[_spread(held.size, OBSERVATIONS_CAP)]
    if len(few) > 1 and len(shown) > 1:
        kind = _kind(observed[held])
        whole = int if kind in {"counts", "calibration"} else float
        yield Plot(
            kind=kind,
            title=f"{name}: observed and predicted",
            alt=f"The distribution of {name} over {count(len(few), 'predicted data set')}.",
            caption=CAPTIONS[kind],
            arrays=(observed[shown].astype(whole), draws[np.ix_(few, shown)].astype(whole)),
        )
    yield from _against(name, observed, draws, shown)
    if name in group(tree, "observed_data"):
        yield from station_plots(tree, name, group(tree, "observed_data")[name], draws)
    pit = diagnostic(tree, "predictive").get(f"pit_{name}")
    values = pit.to_numpy().ravel() if pit is not None else np.empty(0)
    values = values[np.isfinite(values)]
    if values.size > 1:
        yield Plot(
            kind="pit",
            title=f"{name}: calibration",
            alt=f"ECDF of the PIT values of {name} minus the uniform one, with a 99% band.",
            caption=CAPTIONS["pit"],
            arrays=(values[_spread(values.size, OBSERVATIONS_CAP)],),
        )


def _against(
    name: str, observed: np.ndarray, draws: np.ndarray, shown: np.ndarray
) -> Iterator[Plot]:
    """Each observation beside its own prediction, where these are numbers and differ."""
    observed, draws = observed[shown], draws[:, shown]
    mean = draws.mean(0)
    if mean.size < 2 or _kind(observed) not in {"ecdf", "density"}:
        return
    if np.ptp(mean) <= SAME_PREDICTION * draws.std():
        return
    low, high = np.quantile(draws, (0.05, 0.95), axis=0)
    yield Plot(
        kind="against",
        title=f"{name}: each beside its prediction",
        alt=f"{name} of {count(mean.size, 'observation')} against the mean predicted of each.",
        caption="Each observation (orange) over nine tenths of what is predicted of it, by the "
        "predicted mean; on the line they are equal.",
        arrays=(np.stack([mean, observed, low, high])[:, np.argsort(mean)],),
    )


def _parts(tree: xr.DataTree) -> Iterator[Plot]:
    """What the spread of each prediction is made of, where the posterior holds what tells."""
    try:
        parts = uncertainty(tree)
    except DiagnosticError:
        return
    if parts["total"].ndim != 1 or parts["total"].size < 2:
        return
    order = np.argsort(parts["total"].to_numpy())[_spread(parts["total"].size, OBSERVATIONS_CAP)]
    what = "entropy (nats)" if "probability" in parts else "variance"
    yield Plot(
        kind="parts",
        title="Noise and ignorance",
        alt=f"The {what} of each prediction, from the smallest, in its two parts.",
        caption="What the spread of each prediction is made of, from the surest: noise (blue), "
        "which stays, and what the draws disagree about (orange), which more data take away.",
        arrays=tuple(parts[part].to_numpy()[order] for part in ("aleatoric", "epistemic")),
        labels=(what,),
    )


def _kind(observed: np.ndarray) -> str:
    """Which picture shows data of this kind: yes or no, counts, few numbers, or many."""
    whole = bool(np.all(observed == np.round(observed)))
    if whole and set(np.unique(observed)) == {0, 1}:
        return "calibration"
    if whole and observed.min() >= 0 and observed.max() <= LEVELS_CAP:
        return "counts"
    return "ecdf" if whole or observed.size < SMOOTH_FROM else "density"


def _spread(size: int, cap: int) -> np.ndarray:
    """At most ``cap`` indices, evenly spread over ``size``: the same every time."""
    return np.unique(np.linspace(0, max(size - 1, 0), min(size, cap)).round().astype(int))
