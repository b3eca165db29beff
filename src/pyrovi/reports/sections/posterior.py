"""What the parameters are: a summary of every quantity, and pictures of the first of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from pyrovi.diagnostics import Verdict
from pyrovi.evidence import SEVERITY, worst
from pyrovi.reports.numbers import decimals, fixed
from pyrovi.reports.parts import ROWS_CAP, Column, Plot, Section, Table, numbers
from pyrovi.reports.sections.groups import group, variables
from pyrovi.reports.sections.maps import field_plots, is_field
from pyrovi.reports.sections.verdict import status_of
from pyrovi.tree import CHAINS, draw_kind, json_attr, quantities as labelled_draws
from pyrovi.words import count

OPEN_ROWS = 30
"""Rows that a table shows at once; longer ones are folded, or their tail is."""
MARGINALS_CAP = 6
FORESTS_CAP = 4
FOREST_ROWS_CAP = 40

Statuses = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class _Quantity:
    """One scalar quantity: its label, its variable, and its draws, shape (chain, draw)."""

    label: str
    variable: str
    draws: np.ndarray
    discrete: bool
    on_a_map: bool

    @cached_property
    def held(self) -> np.ndarray:
        """The finite draws."""
        return self.draws[np.isfinite(self.draws)]

    @cached_property
    def sd(self) -> float:
        """Over the finite draws."""
        return float(self.held.std(ddof=1)) if self.held.size > 1 else 0.0

    @cached_property
    def varies(self) -> bool:
        """Whether there is a distribution to draw."""
        return self.held.size == self.draws.size and bool(np.ptp(self.draws) > 0)


def posterior_section(tree: xr.DataTree, verdict: Verdict) -> Section:
    """The posterior, with the verdict on each quantity."""
    status, every = status_of(verdict), list(_quantities(tree))
    numeric = [quantity for quantity in every if not quantity.discrete]
    classes = [quantity for quantity in every if quantity.discrete]
    mixing = _mixing(group(tree, "posterior")) if draw_kind(tree) == CHAINS else {}
    tables = (*_summary_table(numeric, status, mixing), _class_table(classes))
    return Section(
        id="posterior",
        title="Posterior",
        text=("Nine draws in ten lie between 5% and 95%, one in twenty on either side.",),
        tables=tuple(table for table in tables if table.rows),
        plots=(*field_plots(tree), *_marginals(numeric, status), *_forests(numeric)),
    )


def _quantities(tree: xr.DataTree) -> Iterator[_Quantity]:
    posterior, sites = group(tree, "posterior"), json_attr(tree, "sites", [])
    declared = {site.get("name") for site in sites if site.get("discrete")}
    for name, variable in variables(posterior).items():
        discrete = name in declared or variable.dtype.kind in "iub"
        on_a_map = is_field(variable)
        for label, draws in labelled_draws(posterior[[name]]):
            yield _Quantity(label, name, draws, discrete, on_a_map)


def _trust(quantity: _Quantity, status: Statuses) -> str:
    """The worse of what was said of the quantity and of its variable as a whole."""
    said = [status[name] for name in (quantity.label, quantity.variable) if name in status]
    return worst(said) if said else ""


def _worst_first(quantities: Iterable[_Quantity], status: Statuses) -> list[_Quantity]:
    """By how far they can be trusted; constants last."""
    return sorted(quantities, key=lambda q: (-SEVERITY.get(_trust(q, status), 0), not q.varies))


# Tables


def _summary_table(
    quantities: Sequence[_Quantity], status: Statuses, mixing: Mapping[str, tuple[str, str]]
) -> tuple[Table, Table]:
    """Every quantity, the worst first: some to see at once, the rest folded."""
    chosen = _worst_first(quantities, status)[:ROWS_CAP]
    places = _places(quantities)
    titles = ["Mean", "SD", "5%", "50%", "95%", *(["R-hat", "ESS"] if mixing else [])]
    columns = (Column("Quantity"), Column("Trust", "status"), *numbers(*titles))
    rows = tuple(
        (q.label, _trust(q, status), *_summary(q, places), *mixing.get(q.label, ()))
        for q in chosen
    )
    cut = f"The worst {ROWS_CAP} of {len(quantities):,} quantities are shown."
    note = cut if len(quantities) > ROWS_CAP else ""
    more = f"Summary of {count(len(rows[OPEN_ROWS:]), 'more quantity', 'more quantities')}"
    return (
        Table("Summary", columns, rows[:OPEN_ROWS], note),
        Table(more, columns, rows[OPEN_ROWS:], note, folded=True),
    )


def _places(quantities: Iterable[_Quantity]) -> dict[str, int | None]:
    """Decimals for each variable: two digits of its middling sd, so that its rows line up."""
    sds: dict[str, list[float]] = {}
    for quantity in quantities:
        sds.setdefault(quantity.variable, []).append(quantity.sd)
    return {name: decimals(float(np.nanmedian(each))) for name, each in sds.items()}


def _summary(quantity: _Quantity, places: Mapping[str, int | None]) -> tuple[str, ...]:
    """Mean, sd and three quantiles, to as many decimals as the sd deserves."""
    held = quantity.held
    if not held.size:
        return ("not a number",) * 5
    own = decimals(quantity.sd)
    wanted = (own, places.get(quantity.variable, own))
    digits = None if None in wanted else max(each for each in wanted if each is not None)
    shown = (float(held.mean()), quantity.sd, *np.quantile(held, (0.05, 0.5, 0.95)).tolist())
    return tuple(fixed(number, digits) for number in shown)


def _mixing(posterior: xr.Dataset) -> dict[str, tuple[str, str]]:
    """R-hat and ESS: they judge chains of dependent draws, and say nothing about any others."""
    from pyrovi import az

    rhats, sizes = (dict(labelled_draws(each(posterior), dims=())) for each in (az.rhat, az.ess))
    return {
        label: (fixed(float(rhat), 3), fixed(float(sizes[label]), 0))
        for label, rhat in rhats.items()
        if label in sizes
    }


def _class_table(quantities: Sequence[_Quantity]) -> Table:
    """Discrete quantities, the least certain first: a mean of labels means nothing."""
    modes = sorted(((q.label, *_mode(q.draws)) for q in quantities), key=lambda row: row[2])
    rows = ((label, str(mode), f"{p:.3f}", str(n)) for label, mode, p, n in modes)
    columns = (
        Column("Quantity"),
        *numbers("Most frequent value", "Its probability", "Values drawn"),
    )
    title = f"Discrete quantities: {len(modes):,}, the least certain first"
    return Table.capped(title, columns, rows, folded=len(modes) > OPEN_ROWS)


def _mode(draws: np.ndarray) -> tuple[int, float, int]:
    seen, counts = np.unique(draws, return_counts=True)
    best = int(np.argmax(counts))
    return int(seen[best]), float(counts[best] / counts.sum()), len(seen)


# Plots


def _marginals(quantities: Sequence[_Quantity], status: Statuses) -> tuple[Plot, ...]:
    """Densities of the scalar sites, and of whatever else the verdict doubts."""
    doubted = [q for q in quantities if _trust(q, status) == "fail"]
    scalars = [q for q in quantities if q.label == q.variable]
    chosen = list(dict.fromkeys(_worst_first([*scalars, *doubted], status))) or list(quantities)
    return tuple(_marginal(q) for q in chosen[:MARGINALS_CAP] if q.varies)


def _marginal(quantity: _Quantity) -> Plot:
    label, (mean, _, low, _, high) = quantity.label, _summary(quantity, {})
    alt = f"Density of {label}: mean {mean}, nine tenths between {low} and {high}."
    return Plot(kind="marginal", title=label, alt=alt, caption="", arrays=(quantity.draws,))


def _forests(quantities: Sequence[_Quantity]) -> tuple[Plot, ...]:
    vectors: dict[str, list[_Quantity]] = {}
    for quantity in quantities:
        if quantity.label != quantity.variable and not quantity.on_a_map:
            vectors.setdefault(quantity.variable, []).append(quantity)
    plots = (_forest(name, own) for name, own in list(vectors.items())[:FORESTS_CAP])
    return tuple(plot for plot in plots if plot.arrays)


def _forest(name: str, quantities: Sequence[_Quantity]) -> Plot:
    shown = [q for q in quantities[:FOREST_ROWS_CAP] if q.varies]
    total = len(quantities)
    cut = f" The first {FOREST_ROWS_CAP} of {total:,} elements." if total > FOREST_ROWS_CAP else ""
    return Plot(
        kind="forest",
        title=name,
        alt=f"Median, 50% and 90% intervals of {count(len(shown), 'element')} of {name}.",
        caption=f"Median, 50% and 90% intervals.{cut}",
        arrays=tuple(q.draws for q in shown),
        labels=tuple(q.label.removeprefix(f"{name}[").removesuffix("]") for q in shown),
    )
