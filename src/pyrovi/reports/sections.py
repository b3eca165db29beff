"""A tree as the sections of its report, in reading order: the verdict first, provenance last.

Every function takes a tree and gives plain data; a group that is not there makes a section
shorter, never an error. Long tables are cut at a stated length, the worst first.
"""

import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from pyrovi.diagnostics import Verdict
from pyrovi.reports.numbers import MINUS, count, decimals, fixed, seconds, short
from pyrovi.reports.parts import Column, Finding, Plot, Section, Table
from pyrovi.tree import SAMPLE_DIMS, has, json_attr, labels

__all__ = ["sections"]

_RANK = {"fail": 0, "warn": 1, "ok": 2}
FINDINGS_CAP = 12
"""Findings written out in full; further ones follow as rows of a table."""
ROWS_CAP = 200
MARGINALS_CAP = 6
FORESTS_CAP = 4
FOREST_ROWS_CAP = 40
OBSERVED_CAP = 4
PREDICTIVE_DRAWS = 40
PIT_DRAWS = 400
OBSERVATIONS_CAP = 1000
LOSS_POINTS = 300

TEXT, NUMBER, STATUS = "text", "number", "status"


def sections(tree: xr.DataTree, verdict: Verdict) -> tuple[Section, ...]:
    """The sections of the report on ``tree``."""
    status = _status_of(verdict.table)
    return (
        _verdict(tree, verdict),
        _model_and_data(tree),
        _fit(tree),
        _posterior(tree, status),
        _predictive(tree),
        _provenance(tree),
    )


# Verdict


def _verdict(tree: xr.DataTree, verdict: Verdict) -> Section:
    findings = _findings(verdict.table)
    troubles = [finding for finding in findings if finding.status != "ok"]
    fine = [finding for finding in findings if finding.status == "ok"]
    tables = (
        _findings_table("Further findings", troubles[FINDINGS_CAP:], folded=False),
        _findings_table(_fine_title(fine), fine, folded=True),
        _checks_table(tree),
    )
    return Section(
        id="verdict",
        title="Verdict",
        status=verdict.status,
        text=(*_lines(verdict.summary()), *_notes(tree)),
        findings=tuple(troubles[:FINDINGS_CAP]),
        tables=_filled(tables),
    )


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _notes(tree: xr.DataTree) -> tuple[str, ...]:
    return tuple(f"Note: {note}" for note in json_attr(tree, "notes", []))


def _findings(table: pd.DataFrame) -> list[Finding]:
    """The verdict's rows, failures first, otherwise in the order of the checks."""
    found = [_finding(row) for row in _records(table)]
    return sorted(found, key=lambda finding: _RANK.get(finding.status, 0))


def _finding(row: Mapping[str, Any]) -> Finding:
    names = ("status", "quantity", "check", "threshold", "why", "action", "source")
    return Finding(value=short(row["value"]), **{name: str(row[name] or "") for name in names})


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    records: Any = table.to_dict("records")
    return records


def _findings_table(title: str, findings: Sequence[Finding], *, folded: bool) -> Table:
    rows = tuple((f.status, f.quantity, f.check, f.value, f.threshold) for f in findings)
    return Table(
        title=title,
        columns=(
            Column("Status", STATUS),
            Column("Quantity"),
            Column("Check"),
            Column("Value", NUMBER),
            Column("Expected"),
        ),
        rows=rows[:ROWS_CAP],
        note=_cap_note(len(rows), ROWS_CAP, "row"),
        folded=folded,
    )


def _fine_title(fine: Sequence[Finding]) -> str:
    return f"{count(len(fine), 'judgement')} without a complaint"


def _checks_table(tree: xr.DataTree) -> Table:
    """What each check asks, and whose advice its threshold is."""
    rows = tuple(
        tuple(str(found.attrs.get(key, "")) for key in ("check", "title", "about", "source"))
        for found in map(partial(_diagnostic, tree), _diagnostics(tree))
        if "value" in found
    )
    columns = tuple(map(Column, ("Check", "What it asks", "Judges the", "Source")))
    return Table(title="The checks and their sources", columns=columns, rows=rows, folded=True)


def _diagnostics(tree: xr.DataTree) -> list[str]:
    return list(tree.children["diagnostics"].children) if "diagnostics" in tree else []


def _diagnostic(tree: xr.DataTree, name: str) -> xr.Dataset:
    """What one check returned; empty where it did not run."""
    return _group(tree.children["diagnostics"], name) if "diagnostics" in tree else xr.Dataset()


def _status_of(table: pd.DataFrame) -> dict[str, str]:
    """The worst status of every quantity that was judged."""
    status: dict[str, str] = {}
    for row in _records(table):
        known = status.get(row["quantity"], "ok")
        status[row["quantity"]] = min(known, row["status"], key=_RANK.__getitem__)
    return status


# Model and data


def _model_and_data(tree: xr.DataTree) -> Section:
    return Section(
        id="model",
        title="Model and data",
        facts=_present({"Model": _attrs(tree).get("model")}),
        tables=_filled([_site_table(tree), _data_table(tree)]),
    )


def _site_table(tree: xr.DataTree) -> Table:
    rows = tuple(
        (
            str(site.get("name", "")),
            _kind(site),
            str(site.get("distribution") or ""),
            _shape(site.get("dims") or (), site.get("shape") or ()),
            str(site.get("support") or ""),
        )
        for site in json_attr(tree, "sites", [])
    )
    return Table(
        title="Sites",
        columns=tuple(map(Column, ("Site", "Kind", "Distribution", "Shape", "Support"))),
        rows=rows[:ROWS_CAP],
        note=_cap_note(len(rows), ROWS_CAP, "site"),
    )


def _kind(site: Mapping[str, Any]) -> str:
    extra = [word for word in ("discrete", "subsampled") if site.get(word)]
    return ", ".join([str(site.get("kind", "")), *extra])


def _shape(dims: Sequence[str], shape: Sequence[int]) -> str:
    if not shape:
        return "scalar"
    if len(dims) != len(shape):
        return " × ".join(map(str, shape))
    return " × ".join(
        f"{dim}\N{NO-BREAK SPACE}{size}" for dim, size in zip(dims, shape, strict=True)
    )


def _data_table(tree: xr.DataTree) -> Table:
    rows = tuple(
        _data_row(name, role, variable)
        for group, role in (("observed_data", "observed"), ("constant_data", "given"))
        for name, variable in _variables(_group(tree, group)).items()
    )
    return Table(
        title="Data",
        columns=(
            *map(Column, ("Variable", "Role", "Shape")),
            *(Column(name, NUMBER) for name in ("Missing", "Min", "Mean", "SD", "Max")),
        ),
        rows=rows[:ROWS_CAP],
        note=_cap_note(len(rows), ROWS_CAP, "variable"),
    )


def _data_row(name: str, role: str, variable: xr.DataArray) -> tuple[str, ...]:
    shape = _shape([str(dim) for dim in variable.dims], variable.shape)
    if variable.dtype.kind not in "fiub":
        return (name, role, shape, "", "", "", "", "")
    values = variable.to_numpy().astype(float).ravel()
    held = values[np.isfinite(values)]
    missing = str(values.size - held.size)
    if not held.size:
        return (name, role, shape, missing, "", "", "", "")
    spread = short(held.std(ddof=1)) if held.size > 1 else ""
    return (
        name,
        role,
        shape,
        missing,
        *map(short, (held.min(), held.mean())),
        spread,
        short(held.max()),
    )


# Fit


def _fit(tree: xr.DataTree) -> Section:
    attrs, stats = _attrs(tree), _group(tree, "sample_stats")
    facts = {
        "Engine": attrs.get("engine"),
        "Why this engine": attrs.get("engine_reason"),
        "How it ended": attrs.get("status"),
        "Time": seconds(float(stats["seconds"].sum())) if "seconds" in stats else None,
        "Steps": _steps(stats),
        "Draws": _draw_count(tree),
    }
    return Section(
        id="fit",
        title="Fit",
        facts=_present(facts),
        tables=_filled([_elbo_table(tree), _site_elbo_table(tree), _restart_table(stats)]),
        plots=_loss_plots(stats),
    )


def _steps(stats: xr.Dataset) -> str | None:
    if "loss" not in stats:
        return None
    counts = np.isfinite(stats["loss"].to_numpy()).sum(-1)
    return ", ".join(f"{n:,}" for n in counts.tolist())


def _draw_count(tree: xr.DataTree) -> str | None:
    if not has(tree, "posterior"):
        return None
    sizes = _group(tree, "posterior").sizes
    return f"{count(sizes['draw'], 'draw')} from each of {count(sizes['chain'], 'fit')}"


_ELBO_TERMS = (
    ("ELBO", "elbo"),
    ("= accuracy, the expected log likelihood", "accuracy"),
    (f"{MINUS} complexity, the divergence of guide from prior", "complexity"),
    ("= expected log joint", "expected_log_joint"),
    ("+ entropy of the guide", "entropy"),
)


def _elbo_table(tree: xr.DataTree) -> Table:
    """The bound in both of its splits; each pair of terms gives the first row."""
    found = _diagnostic(tree, "elbo")
    columns = (Column("Term"), Column("Nats", NUMBER), Column("Monte Carlo error", NUMBER))
    rows = tuple(
        (words, fixed(float(found[name]), 2), short(float(found[f"{name}_error"]), 2))
        for words, name in _ELBO_TERMS
        if name in found and f"{name}_error" in found
    )
    return Table("Evidence lower bound (ELBO)", columns, rows)


_SITE_TERMS = (
    ("Expected log prior", "site_log_prior"),
    ("Entropy", "site_entropy"),
    ("Complexity", "site_complexity"),
)


def _site_elbo_table(tree: xr.DataTree) -> Table:
    """Each site's share of the bound: what a latent site costs, what an observed one earns."""
    found = _diagnostic(tree, "elbo")
    terms = [(words, found[name].to_numpy()) for words, name in _SITE_TERMS if name in found]
    sites = found["site"].to_numpy() if terms else ()
    latent = [
        (str(site), *(fixed(float(values[i]), 2) for _, values in terms), "")
        for i, site in enumerate(sites)
    ]
    observed = [
        (str(name), *("" for _ in terms), fixed(float(value), 2))
        for name, value in _items(found, "observed_log_likelihood", "observed")
    ]
    columns = ("Site", *(words for words, _ in terms), "Expected log likelihood")
    rows = (*latent, *observed)
    return Table(
        title="The ELBO by site, in nats",
        columns=(Column(columns[0]), *(Column(name, NUMBER) for name in columns[1:])),
        rows=rows[:ROWS_CAP],
        note=_cap_note(len(rows), ROWS_CAP, "site"),
        folded=True,
    )


def _items(found: xr.Dataset, variable: str, dim: str) -> list[tuple[Any, Any]]:
    if variable not in found:
        return []
    return list(zip(found[dim].to_numpy(), found[variable].to_numpy(), strict=True))


def _restart_table(stats: xr.Dataset) -> Table:
    columns = (Column("Restart"), Column("Ended"), Column("ELBO (nats)", NUMBER), Column("Kept"))
    if stats.sizes.get("restart", 0) < 2 or "restart_elbo" not in stats:
        return Table("Restarts", columns, ())
    elbo = stats["restart_elbo"].to_numpy().tolist()
    ended = _texts(stats, "restart_status", len(elbo))
    kept = set(stats["restart_index"].to_numpy().tolist()) if "restart_index" in stats else set()
    order = np.argsort(-np.nan_to_num(elbo, nan=-np.inf), kind="stable").tolist()
    rows = tuple(
        (str(i), ended[i], fixed(elbo[i], 2), "yes" if i in kept else "no") for i in order
    )
    note = _cap_note(len(rows), ROWS_CAP, "restart") or "The best first."
    return Table("Restarts", columns, rows[:ROWS_CAP], note)


def _texts(dataset: xr.Dataset, name: str, size: int) -> list[str]:
    return [str(value) for value in dataset[name].to_numpy()] if name in dataset else [""] * size


def _loss_plots(stats: xr.Dataset) -> tuple[Plot, ...]:
    if "loss" not in stats or not np.isfinite(stats["loss"]).any():
        return ()
    curves = {f"fit {i}": _thinned(row) for i, row in enumerate(stats["loss"].to_numpy())}
    curves = {name: curve for name, curve in curves.items() if curve.size}
    fits = count(len(curves), "fit")
    ends = ", ".join(short(curve[1, -1]) for curve in curves.values())
    return (
        Plot(
            kind="loss",
            title="Loss",
            alt=f"Line chart of the loss at each step of {fits}, ending at {ends} nats.",
            caption="Minus the ELBO, in nats. The first tenth of the steps may leave the frame.",
            arrays=tuple(curves.values()),
            labels=tuple(curves),
        ),
    )


def _thinned(loss: np.ndarray) -> np.ndarray:
    """Steps and loss, shape (2, points): means of blocks, at most `LOSS_POINTS` of them."""
    steps = np.flatnonzero(np.isfinite(loss))
    if not steps.size:
        return np.empty((2, 0))
    blocks = np.array_split(np.stack([steps + 1.0, loss[steps]]), min(LOSS_POINTS, steps.size), 1)
    return np.stack([block.mean(1) for block in blocks], 1)


# Posterior


class _Quantity(NamedTuple):
    """Where one scalar quantity stands in the posterior: its label, variable and place in it."""

    label: str
    variable: str
    place: int


def _posterior(tree: xr.DataTree, status: Mapping[str, str]) -> Section:
    if not has(tree, "posterior"):
        return Section("posterior", "Posterior", text=("The tree holds no posterior draws.",))
    posterior = _group(tree, "posterior")
    flat = {name: _flat(variable) for name, variable in _variables(posterior).items()}
    every = list(_quantities(posterior))
    discrete = _discrete(tree)
    numeric = [q for q in every if q.variable not in discrete]
    classes = [q for q in every if q.variable in discrete]
    return Section(
        id="posterior",
        title="Posterior",
        text=("Intervals are equal-tailed: nine in ten draws lie between 5% and 95%.",),
        tables=_filled([_summary_table(tree, numeric, flat, status), _class_table(classes, flat)]),
        plots=(*_marginals(numeric, flat, status), *_forests(numeric, flat)),
    )


def _quantities(posterior: xr.Dataset) -> Iterator[_Quantity]:
    for name, variable in _variables(posterior).items():
        if variable.dtype.kind in "fiub":
            ordered = variable.transpose(*SAMPLE_DIMS, ...)
            for place, label in enumerate(labels(ordered, name)):
                yield _Quantity(label, name, place)


def _flat(variable: xr.DataArray) -> np.ndarray:
    """Draws of every element: shape (chain, draw, elements)."""
    ordered = variable.transpose(*SAMPLE_DIMS, ...).to_numpy()
    return ordered.reshape(*ordered.shape[:2], -1)


def _discrete(tree: xr.DataTree) -> set[str]:
    declared = {str(s.get("name")) for s in json_attr(tree, "sites", []) if s.get("discrete")}
    drawn = _variables(_group(tree, "posterior"))
    whole = {name for name, variable in drawn.items() if variable.dtype.kind in "iub"}
    return declared | whole


def _worst_first(quantities: Iterable[_Quantity], status: Mapping[str, str]) -> list[_Quantity]:
    return sorted(quantities, key=lambda q: _RANK[status.get(q.label, "ok")])


def _summary_table(
    tree: xr.DataTree,
    quantities: Sequence[_Quantity],
    flat: Mapping[str, np.ndarray],
    status: Mapping[str, str],
) -> Table:
    chosen = _worst_first(quantities, status)[:ROWS_CAP]
    mixing = _mixing(tree) if _is_nuts(tree) else {}
    rows = tuple(
        (
            q.label,
            status.get(q.label, ""),
            *_summary(flat[q.variable][:, :, q.place]),
            *mixing.get(q.label, ()),
        )
        for q in chosen
    )
    numbers = ["Mean", "SD", "5%", "50%", "95%", *(["R-hat", "ESS"] if mixing else [])]
    return Table(
        title="Summary",
        columns=(
            Column("Quantity"),
            Column("Trust", STATUS),
            *(Column(name, NUMBER) for name in numbers),
        ),
        rows=rows,
        note=_cap_note(len(quantities), ROWS_CAP, "quantity", "quantities", worst_first=True),
    )


def _summary(values: np.ndarray) -> tuple[str, ...]:
    """Mean, sd and three quantiles; digits follow the sd, so that they line up."""
    held = values[np.isfinite(values)]
    if not held.size:
        return (short(float("nan")),) * 5
    sd = float(held.std(ddof=1)) if held.size > 1 else 0.0
    places = decimals(sd)
    numbers = (float(held.mean()), sd, *np.quantile(held, (0.05, 0.5, 0.95)).tolist())
    return tuple(fixed(number, places) for number in numbers)


def _is_nuts(tree: xr.DataTree) -> bool:
    return str(_attrs(tree).get("engine", "")).startswith("NUTS")


def _mixing(tree: xr.DataTree) -> dict[str, tuple[str, str]]:
    """R-hat and ESS: they judge a chain of dependent draws, and say nothing about any other."""
    from pyrovi import az

    posterior = _group(tree, "posterior")
    rhat, ess = (function(posterior) for function in (az.rhat, az.ess))
    values = {
        str(n): (rhat[n].to_numpy().ravel(), ess[n].to_numpy().ravel()) for n in rhat.data_vars
    }
    return {
        q.label: (
            fixed(values[q.variable][0][q.place], 3),
            fixed(values[q.variable][1][q.place], 0),
        )
        for q in _quantities(posterior)
        if q.variable in values
    }


def _class_table(quantities: Sequence[_Quantity], flat: Mapping[str, np.ndarray]) -> Table:
    """Discrete quantities, the least certain first: a mean of labels means nothing."""
    rows = [(q.label, *_mode(flat[q.variable][:, :, q.place])) for q in quantities]
    rows.sort(key=lambda row: row[2])
    return Table(
        title="Discrete quantities",
        columns=(
            Column("Quantity"),
            Column("Most frequent value", NUMBER),
            Column("Its probability", NUMBER),
            Column("Values drawn", NUMBER),
        ),
        rows=tuple(
            (label, str(mode), f"{p:.3f}", str(n)) for label, mode, p, n in rows[:ROWS_CAP]
        ),
        note=_cap_note(len(rows), ROWS_CAP, "quantity", "quantities", least_certain=True),
    )


def _mode(values: np.ndarray) -> tuple[int, float, int]:
    seen, counts = np.unique(values, return_counts=True)
    best = int(np.argmax(counts))
    return int(seen[best]), float(counts[best] / counts.sum()), len(seen)


def _marginals(
    quantities: Sequence[_Quantity], flat: Mapping[str, np.ndarray], status: Mapping[str, str]
) -> tuple[Plot, ...]:
    """Densities of the scalar sites, and of whatever else the verdict doubts most."""
    scalars = [q for q in quantities if flat[q.variable].shape[-1] == 1]
    doubted = [q for q in quantities if status.get(q.label) == "fail"]
    chosen = list(dict.fromkeys(_worst_first([*scalars, *doubted], status))) or list(quantities)
    return tuple(
        _marginal(q, values)
        for q in chosen[:MARGINALS_CAP]
        if _can_show(values := flat[q.variable][:, :, q.place])
    )


def _can_show(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all() and np.ptp(values) > 0)


def _marginal(quantity: _Quantity, values: np.ndarray) -> Plot:
    mean, _, low, _, high = _summary(values)
    return Plot(
        kind="marginal",
        title=quantity.label,
        alt=f"Density of {quantity.label}: mean {mean}, nine tenths between {low} and {high}.",
        caption="",
        arrays=(values,),
    )


def _forests(quantities: Sequence[_Quantity], flat: Mapping[str, np.ndarray]) -> tuple[Plot, ...]:
    vectors = [n for n in dict.fromkeys(q.variable for q in quantities) if flat[n].shape[-1] > 1]
    plots = (_forest(name, quantities, flat[name]) for name in vectors[:FORESTS_CAP])
    return tuple(plot for plot in plots if plot.arrays)


def _forest(name: str, quantities: Sequence[_Quantity], values: np.ndarray) -> Plot:
    own = [q for q in quantities if q.variable == name]
    shown = [q for q in own if _can_show(values[:, :, q.place])][:FOREST_ROWS_CAP]
    cap = _cap_note(len(own), FOREST_ROWS_CAP, "element")
    elements = count(len(shown), "element")
    return Plot(
        kind="forest",
        title=name,
        alt=f"Intervals of {name}: median, 50% and 90% intervals of {elements}.",
        caption=f"Median, 50% and 90% intervals. {cap}".strip(),
        arrays=tuple(values[:, :, q.place] for q in shown),
        labels=tuple(q.label.removeprefix(f"{name}[").removesuffix("]") for q in shown),
    )


# Predictive checks


def _predictive(tree: xr.DataTree) -> Section:
    title = "Predictive checks"
    if not has(tree, "posterior_predictive") or not has(tree, "observed_data"):
        return Section("predictive", title, text=("The tree holds no predictions to compare.",))
    pairs = list(_pairs(tree))
    note = _cap_note(len(pairs), OBSERVED_CAP, "variable")
    return Section(
        id="predictive",
        title=title,
        text=_lines(
            f"Data that the fitted model would have produced, beside the data it saw.\n{note}"
        ),
        plots=tuple(plot for pair in pairs[:OBSERVED_CAP] for plot in _predictive_plots(*pair)),
    )


def _pairs(tree: xr.DataTree) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each observed variable that was predicted: its name, values (n) and draws (draw, n)."""
    observed, predicted = (
        _variables(_group(tree, name)) for name in ("observed_data", "posterior_predictive")
    )
    for name in [name for name in observed if name in predicted]:
        values, draws = observed[name], predicted[name]
        dims = [dim for dim in draws.dims if dim not in SAMPLE_DIMS]
        flat = _flat(draws)
        if set(dims) == set(values.dims) and flat.shape[-1] == values.size:
            numbers = values.transpose(*dims).to_numpy().astype(float).ravel()
            yield name, numbers, flat.reshape(-1, flat.shape[-1]).astype(float)


def _predictive_plots(name: str, observed: np.ndarray, draws: np.ndarray) -> Iterator[Plot]:
    held = np.isfinite(observed) & np.isfinite(draws).all(0)
    observed, draws = observed[held], draws[:, held]
    if observed.size < 2 or len(draws) < 2:
        return
    shown = _spread(observed.size, OBSERVATIONS_CAP)
    few, more = _spread(len(draws), PREDICTIVE_DRAWS), _spread(len(draws), PIT_DRAWS)
    yield Plot(
        kind="predictive",
        title=f"{name}: observed and predicted",
        alt=f"Distribution of the observed {name} over {count(len(few), 'predicted data set')}.",
        caption=_CAPTIONS["predictive"],
        arrays=(observed[shown], draws[np.ix_(few, shown)]),
    )
    yield Plot(
        kind="pit",
        title=f"{name}: calibration",
        alt=f"ECDF of the PIT values of {name} minus the uniform one, with a 99% band.",
        caption=_CAPTIONS["pit"],
        arrays=(observed[shown], draws[np.ix_(more, shown)]),
    )


_CAPTIONS = {
    "predictive": "Observed data over data sets drawn from the fitted model.",
    "pit": "A calibrated model's line stays inside the band, which holds 99 lines of 100.",
}


def _spread(size: int, cap: int) -> np.ndarray:
    """At most ``cap`` indices, evenly spread over ``size``: the same every time."""
    return np.unique(np.linspace(0, size - 1, min(size, cap)).round().astype(int))


# Provenance


def _provenance(tree: xr.DataTree) -> Section:
    attrs = _attrs(tree)
    facts = {
        "Engine": attrs.get("engine"),
        "Seed": attrs.get("seed"),
        "Drawn": attrs.get("created"),
        "Report by": f"pyrovi {_own_version()}",
        "Groups of the tree": ", ".join(tree.children),
    }
    versions = json_attr(tree, "versions", {})
    rows = tuple((str(name), str(version)) for name, version in versions.items())
    return Section(
        id="provenance",
        title="Provenance",
        facts=_present(facts),
        tables=_filled(
            [Table("Versions of the fit", (Column("Package"), Column("Version")), rows)]
        ),
    )


def _own_version() -> str:
    try:
        return importlib.metadata.version("pyrovi")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


# Shared


def _group(tree: xr.DataTree, name: str) -> xr.Dataset:
    """A group of the tree; empty where the tree has none."""
    return tree.children[name].to_dataset() if name in tree.children else xr.Dataset()


def _variables(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    return {str(name): variable for name, variable in dataset.data_vars.items()}


def _attrs(tree: xr.DataTree) -> dict[str, Any]:
    return {str(key): value for key, value in _group(tree, "sample_stats").attrs.items()}


def _present(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((key, str(value)) for key, value in facts.items() if value not in (None, ""))


def _filled(tables: Iterable[Table]) -> tuple[Table, ...]:
    return tuple(table for table in tables if table.rows)


def _cap_note(
    size: int,
    cap: int,
    noun: str,
    plural: str = "",
    *,
    worst_first: bool = False,
    least_certain: bool = False,
) -> str:
    if size <= cap:
        return ""
    which = "worst" if worst_first else "least certain" if least_certain else "first"
    return f"The {which} {cap:,} of {count(size, noun, plural)} are shown."
