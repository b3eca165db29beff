"""What was fitted to what: the model's sites, and the data it was given."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.diagnostics import Verdict
from pyrovi.reports.numbers import short
from pyrovi.reports.parts import Column, Section, Table, numbers, present
from pyrovi.reports.sections.groups import attrs, group, variables
from pyrovi.tree import json_attr

ROLES = {"observed_data": "observed", "constant_data": "given"}


def model_section(tree: xr.DataTree, _verdict: Verdict) -> Section:
    """The model and its data."""
    tables = _site_table(tree), _replaced_table(tree), _data_table(tree)
    return Section(
        id="model",
        title="Model and data",
        facts=present({"Model": attrs(tree).get("model")}),
        tables=tuple(table for table in tables if table.rows),
    )


def _replaced_table(tree: xr.DataTree) -> Table:
    """What the fit was given in place of the model's own priors and likelihood."""
    rows = (
        (str(each["site"]), str(each["own"]), str(each["now"]))
        for each in json_attr(tree, "replaced", [])
    )
    columns = map(Column, ("Site", "The model's own", "In this fit"))
    return Table.capped("Distributions that were replaced", columns, rows)


def _site_table(tree: xr.DataTree) -> Table:
    rows = (
        (
            str(site.get("name", "")),
            _kind(site),
            str(site.get("distribution") or ""),
            _shape(site.get("dims") or (), site.get("shape") or ()),
            str(site.get("support") or ""),
        )
        for site in json_attr(tree, "sites", [])
    )
    columns = map(Column, ("Site", "Kind", "Distribution", "Shape", "Support"))
    return Table.capped("Sites", columns, rows)


def _kind(site: Mapping[str, Any]) -> str:
    extra = [word for word in ("discrete", "subsampled") if site.get(word)]
    return ", ".join([str(site.get("kind", "")), *extra])


def _shape(dims: Sequence[str], shape: Sequence[int]) -> str:
    if not shape:
        return "scalar"
    if len(dims) != len(shape):
        return " × ".join(map(str, shape))
    pairs = zip(dims, shape, strict=True)
    return " × ".join(f"{dim}\N{NO-BREAK SPACE}{size}" for dim, size in pairs)


def _data_table(tree: xr.DataTree) -> Table:
    rows = (
        (name, role, _shape(list(map(str, variable.dims)), variable.shape), *_described(variable))
        for place, role in ROLES.items()
        for name, variable in variables(group(tree, place)).items()
    )
    columns = map(Column, ("Variable", "Role", "Shape"))
    described = numbers("Missing", "Min", "Mean", "SD", "Max")
    return Table.capped("Data", (*columns, *described), rows)


def _described(variable: xr.DataArray) -> tuple[str, ...]:
    """Missing, min, mean, sd and max; blank where they mean nothing."""
    if variable.dtype.kind not in "fiub":
        return ("",) * 5
    values = variable.to_numpy().astype(float).ravel()
    held = values[np.isfinite(values)]
    missing = str(values.size - held.size)
    if not held.size:
        return (missing, "", "", "", "")
    spread = short(held.std()) if held.size > 1 else ""  # that of the predictive checks
    # What centring leaves behind is rounding: a mean of -1.69e-16 is none.
    mean = 0.0 if abs(held.mean()) < 1e-9 * held.std() else float(held.mean())
    return (missing, short(held.min()), short(mean), spread, short(held.max()))
