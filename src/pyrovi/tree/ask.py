"""Asking a tree what it holds, and whether it keeps the rules that every stage relies on."""

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.errors import TreeError
from pyrovi.tree import schema


def require(tree: Any, *groups: str) -> None:
    """Raise unless ``tree`` holds every one of ``groups``, with a variable in each.

    Raises:
        TreeError: Naming the groups that are missing and the verb that writes them.
    """
    if not isinstance(tree, xr.DataTree):
        raise TreeError(
            f"Expected an xarray.DataTree, and a {type(tree).__name__} came. "
            "Pass the tree that pyrovi.draw or pyrovi.open_tree returns."
        )
    missing = [group for group in groups if not has(tree, group)]
    if missing:
        raise TreeError(
            f"Expected the group {', '.join(map(repr, missing))} in the tree, which holds "
            f"{', '.join(tree.children) or 'nothing'}. {_advice(missing)}"
        )


def has(tree: xr.DataTree, group: str, *variables: str) -> bool:
    """Whether ``tree`` holds ``group`` with ``variables``, or with any if none is named."""
    node: Any = tree
    for part in group.split("/"):
        if part not in node.children:
            return False
        node = node.children[part]
    return all(name in node.data_vars for name in variables) if variables else bool(node.data_vars)


def held(tree: xr.DataTree, group: str) -> xr.Dataset:
    """A group of ``tree``, or an empty one where it has none."""
    return tree[group].to_dataset() if group in tree.children else xr.Dataset()


def _advice(missing: Sequence[str]) -> str:
    if set(missing) & set(schema.DATA_GROUPS):
        return "Put the data in it with pyrovi.tree.data_tree."
    if any(group.startswith("diagnostics") for group in missing):
        return "Call pyrovi.check on it first."
    return "Call pyrovi.draw on a fit first."


def json_attr(tree: xr.DataTree, key: str, default: Any = None) -> Any:
    """The value that is kept as JSON in the attribute ``key`` of `sample_stats`.

    Attributes of a netCDF file are numbers or text, so lists and tables are written as JSON.
    """
    attrs = held(tree, "sample_stats").attrs
    if key not in attrs:
        return default
    try:
        return json.loads(attrs[key])
    except (TypeError, ValueError) as error:
        raise TreeError(
            f"Expected JSON in the attribute '{key}' of sample_stats, and {attrs[key]!r} came. "
            "Write it with json.dumps."
        ) from error


def draw_kind(tree: xr.DataTree) -> str:
    """What the posterior's draws are: one of `pyrovi.tree.DRAW_KINDS`, or "" where nothing says.

    The attribute ``draws`` of `sample_stats` says it. Where another program wrote the tree, a
    sampler's own statistics mean chains, and a log density of the approximation independent draws.

    >>> from pyrovi.tree import grow
    >>> draw_kind(grow(xr.DataTree(), sample_stats=xr.Dataset({"diverging": ("draw", [False])})))
    'chains'
    """
    stats = held(tree, "sample_stats")
    if schema.DRAWS in stats.attrs:
        return str(stats.attrs[schema.DRAWS])
    if any(name in stats.data_vars for name in schema.SAMPLERS_STATS):
        return schema.CHAINS
    return schema.INDEPENDENT if "log_guide" in stats.data_vars else ""


def hidden(tree: xr.DataTree, variable: xr.DataArray) -> np.ndarray:
    """Whether a mask hides each entry of an observed variable, or of draws of one, shape (n,).

    Of a log likelihood, which has one value for all elements of an event: whether it hides all.
    """
    sizes = {dim: size for dim, size in variable.sizes.items() if dim not in schema.SAMPLE_DIMS}
    masks = held(tree, schema.MASKED).data_vars
    name = str(variable.name)
    if name not in masks or any(masks[name].sizes.get(d) != n for d, n in sizes.items()):
        return np.zeros(tuple(sizes.values()), bool).ravel()
    of_events = [dim for dim in masks[name].dims if dim not in sizes]
    return masks[name].astype(bool).all(of_events).transpose(*sizes).to_numpy().ravel()


def quantities(
    dataset: xr.Dataset, dims: Sequence[str] = schema.SAMPLE_DIMS
) -> Iterator[tuple[str, np.ndarray]]:
    """Each scalar quantity of a group of draws: its label and its values, whose axes are ``dims``.

    >>> draws = xr.Dataset({"beta": (("chain", "draw", "k"), np.zeros((1, 3, 2)))})
    >>> [label for label, values in quantities(draws)]
    ['beta[0]', 'beta[1]']
    """
    for name, variable in dataset.data_vars.items():
        if variable.dtype.kind not in "fiub":
            continue
        flat = variable.transpose(*dims, ...)
        columns = flat.to_numpy().reshape(*flat.shape[: len(dims)], -1)
        for i, label in enumerate(labels(flat, str(name), dims)):
            yield label, columns[..., i]


def labels(
    variable: xr.DataArray, name: str, sample: Sequence[str] = schema.SAMPLE_DIMS
) -> list[str]:
    """One label per element of ``variable`` beyond its sample dims, in C order."""
    dims = [dim for dim in variable.dims if dim not in sample]
    if not dims:
        return [name]
    ticks = [[_tick(value) for value in variable[dim].to_numpy()] for dim in dims]
    return [f"{name}[{','.join(index)}]" for index in itertools.product(*ticks)]


def _tick(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def validate(tree: xr.DataTree) -> None:
    """Raise if ``tree`` breaks the rules that every stage relies on: see the table of the package.

    Raises:
        TreeError: One line: where, what was expected, what came.
    """
    require(tree)
    sizes: dict[str, int] = {}
    for group in schema.DRAW_GROUPS:
        some = group == "posterior_predictive" and _of_some_draws(tree)
        _check_draws(tree, group, {} if some else sizes)
    for group in schema.PRIOR_GROUPS:
        _check_draws(tree, group, {"chain": 1})
    for group in schema.DATA_GROUPS:
        _check_data(tree, group)
    _check_stats(held(tree, "sample_stats"), sizes)
    for key in ("sites", "notes", "versions", "rungs"):
        json_attr(tree, key)
    observed = held(tree, "observed_data").data_vars
    unknown = sorted(set(held(tree, "log_likelihood").data_vars) - set(observed), key=str)
    if observed and unknown:
        _refuse("log_likelihood", unknown[0], "the name of a variable of observed_data")


def _check_data(tree: xr.DataTree, group: str) -> None:
    for name, variable in held(tree, group).data_vars.items():
        if set(variable.dims) & set(schema.SAMPLE_DIMS):
            _refuse(group, name, f"plates as dims and no draws, and {_dims(variable)} came")


def _check_draws(tree: xr.DataTree, group: str, sizes: dict[str, int]) -> None:
    for name, variable in held(tree, group).data_vars.items():
        if variable.dims[:2] != schema.SAMPLE_DIMS:
            _refuse(group, name, f"dims (chain, draw, ...), and {_dims(variable)} came")
        if variable.dtype.kind not in "fiub":
            _refuse(group, name, f"numbers, and the dtype {variable.dtype} came")
        _check_sizes(group, name, variable, sizes)


def _of_some_draws(tree: xr.DataTree) -> bool:
    """Whether data were replicated for some of the draws alone, as large ones are."""
    own, whole = held(tree, "posterior_predictive"), held(tree, "posterior")
    same_chains = own.sizes.get("chain") == whole.sizes.get("chain")
    if not (same_chains and "draw" in own.coords and "draw" in whole.coords):
        return False
    return own.sizes["draw"] < whole.sizes["draw"] and bool(own["draw"].isin(whole["draw"]).all())


def _check_sizes(group: str, name: object, variable: xr.DataArray, sizes: dict[str, int]) -> None:
    """Draws of one fit are the same draws in every group, so their number is one number."""
    for dim in schema.SAMPLE_DIMS:
        expected, came = sizes.setdefault(dim, variable.sizes[dim]), variable.sizes[dim]
        if came != expected:
            _refuse(group, name, f"{dim} of length {expected}, as elsewhere, and {came} came")


def _check_stats(stats: xr.Dataset, sizes: dict[str, int]) -> None:
    for name in [name for name in schema.STATS_DIMS if name in stats]:
        variable, expected = stats[name], schema.STATS_DIMS[name]
        if variable.dims != expected:
            came = _dims(variable)
            _refuse("sample_stats", name, f"dims ({', '.join(expected)}), and {came} came")
        if expected == schema.SAMPLE_DIMS:
            _check_sizes("sample_stats", name, variable, sizes)
    words = ((stats, "status", schema.STATUSES), (stats, "restart_status", schema.STATUSES))
    for holder, name, expected in (*words, (stats.attrs, schema.DRAWS, schema.DRAW_KINDS)):
        came = set(map(str, np.ravel(holder[name]))) if name in holder else set()
        if unknown := sorted(came - set(expected)):
            _refuse("sample_stats", name, f"{', '.join(expected)}, and {unknown[0]!r} came")


def _dims(variable: xr.DataArray) -> str:
    return f"({', '.join(map(str, variable.dims))})"


def _refuse(group: str, name: object, expected: str) -> None:
    raise TreeError(f"Variable '{name}' of the group '{group}': expected {expected}.")


def levels_in(data: xr.DataTree) -> dict[str, list[Any]]:
    """The labels along each dim that has one entry for each label of an argument."""
    groups = held(data, "observed_data"), held(data, "constant_data")
    variables = [
        v for group in groups for v in group.data_vars.values() if schema.LEVELS_OF in v.attrs
    ]
    return {
        dim: json.loads(variable.attrs[schema.LEVELS])
        for variable in variables
        for dim in json.loads(variable.attrs[schema.LEVELS_OF])
    }
