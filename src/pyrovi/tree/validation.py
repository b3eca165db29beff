"""The rules that every stage relies on."""

from collections.abc import Iterable, Sequence

import xarray as xr

from pyrovi.errors import TreeError
from pyrovi.tree.ask import has, json_attr, require
from pyrovi.tree.schema import (
    DATA_GROUPS,
    DRAW_GROUPS,
    DRAW_KINDS,
    DRAWS,
    PRIOR_GROUPS,
    SAMPLE_DIMS,
    STATS_DIMS,
    STATUSES,
)


def validate(tree: xr.DataTree) -> None:
    """Raise if ``tree`` breaks the rules that every stage relies on (see the module's table).

    Raises:
        TreeError: One line: where, what was expected, what came.
    """
    require(tree)
    sizes: dict[str, int] = {}
    for group in _held(tree, DRAW_GROUPS):
        _check_draws(tree, group, sizes)
    for group in _held(tree, PRIOR_GROUPS):
        _check_draws(tree, group, {"chain": 1})
    for group in _held(tree, DATA_GROUPS):
        _check_data(tree, group)
    for group in _held(tree, ["sample_stats"]):
        stats = tree[group].to_dataset()
        _check_stats(stats, sizes)
        _check_values(stats)
    for key in ("sites", "notes", "versions", "rungs"):
        json_attr(tree, key)
    _check_observed(tree)


def _held(tree: xr.DataTree, groups: Sequence[str]) -> list[str]:
    return [group for group in groups if group in tree.children]


def _check_draws(tree: xr.DataTree, group: str, sizes: dict[str, int]) -> None:
    for name, variable in tree[group].data_vars.items():
        if variable.dims[:2] != SAMPLE_DIMS:
            _refuse(group, name, f"dims (chain, draw, ...), and {_dims(variable)} came")
        if variable.dtype.kind not in "fiub":
            _refuse(group, name, f"numbers, and the dtype {variable.dtype} came")
        _check_sizes(group, str(name), variable, sizes)


def _check_sizes(group: str, name: str, variable: xr.DataArray, sizes: dict[str, int]) -> None:
    """Draws of one fit are the same draws in every group, so their number is one number."""
    for dim in SAMPLE_DIMS:
        expected = sizes.setdefault(dim, variable.sizes[dim])
        if variable.sizes[dim] != expected:
            came = variable.sizes[dim]
            _refuse(group, name, f"{dim} of length {expected}, as elsewhere, and {came} came")


def _check_data(tree: xr.DataTree, group: str) -> None:
    for name, variable in tree[group].data_vars.items():
        if set(variable.dims) & set(SAMPLE_DIMS):
            _refuse(group, name, f"plates as dims and no draws, and {_dims(variable)} came")


def _check_stats(stats: xr.Dataset, sizes: dict[str, int]) -> None:
    for name, expected in STATS_DIMS.items():
        variable = stats.get(name)
        if variable is None:
            continue
        if variable.dims != expected:
            came = _dims(variable)
            _refuse("sample_stats", name, f"dims ({', '.join(expected)}), and {came} came")
        if expected == SAMPLE_DIMS:
            _check_sizes("sample_stats", name, variable, sizes)


def _check_values(stats: xr.Dataset) -> None:
    for name in ("status", "restart_status"):
        came = stats[name].to_numpy().ravel() if name in stats else []
        _check_value(name, came, STATUSES)
    if DRAWS in stats.attrs:
        _check_value(DRAWS, [stats.attrs[DRAWS]], DRAW_KINDS)


def _check_value(name: str, values: Iterable[object], expected: Sequence[str]) -> None:
    unknown = sorted(set(map(str, values)) - set(expected))
    if unknown:
        _refuse("sample_stats", name, f"{', '.join(expected)}, and {unknown[0]!r} came")


def _check_observed(tree: xr.DataTree) -> None:
    if not has(tree, "log_likelihood") or not has(tree, "observed_data"):
        return
    unknown = set(tree["log_likelihood"].data_vars) - set(tree["observed_data"].data_vars)
    if unknown:
        name = min(map(str, unknown))
        _refuse("log_likelihood", name, "the name of a variable of observed_data")


def _dims(variable: xr.DataArray) -> str:
    return f"({', '.join(map(str, variable.dims))})"


def _refuse(group: str, name: object, expected: str) -> None:
    raise TreeError(f"Variable '{name}' of the group '{group}': expected {expected}.")
