"""Asking a tree what it holds."""

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.errors import TreeError
from pyrovi.tree.schema import (
    CHAINS,
    DATA_GROUPS,
    DRAWS,
    INDEPENDENT,
    SAMPLE_DIMS,
    SAMPLERS_STATS,
)


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
        held = ", ".join(tree.children) or "nothing"
        raise TreeError(
            f"Expected the group {_quoted(missing)} in the tree, which holds {held}. "
            f"{_advice(missing)}"
        )


def has(tree: xr.DataTree, group: str, *variables: str) -> bool:
    """Whether ``tree`` holds ``group`` with ``variables``, or with any if none is named."""
    node: Any = tree
    for part in group.split("/"):
        if part not in node.children:
            return False
        node = node.children[part]
    held = node.data_vars
    return all(name in held for name in variables) if variables else bool(held)


def _advice(missing: Sequence[str]) -> str:
    if set(missing) & set(DATA_GROUPS):
        return "Put the data in it with pyrovi.tree.data_tree."
    if any(group.startswith("diagnostics") for group in missing):
        return "Call pyrovi.check on it first."
    return "Call pyrovi.draw on a fit first."


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def json_attr(tree: xr.DataTree, key: str, default: Any = None) -> Any:
    """The value that is kept as JSON in the attribute ``key`` of `sample_stats`.

    Attributes of a netCDF file are numbers or text, so lists and tables are written as JSON.
    """
    if "sample_stats" not in tree or key not in tree["sample_stats"].attrs:
        return default
    try:
        return json.loads(tree["sample_stats"].attrs[key])
    except (TypeError, ValueError) as error:
        raise TreeError(
            f"Expected JSON in the attribute '{key}' of sample_stats, and "
            f"{tree['sample_stats'].attrs[key]!r} came. Write it with json.dumps."
        ) from error


def draw_kind(tree: xr.DataTree) -> str:
    """What the posterior's draws are: one of `pyrovi.tree.DRAW_KINDS`, or "" where nothing says.

    The attribute ``draws`` of `sample_stats` says it. Where another program wrote the tree, a
    sampler's own statistics mean chains, and a log density of the approximation independent draws.

    >>> from pyrovi.tree import grow
    >>> draw_kind(grow(xr.DataTree(), sample_stats=xr.Dataset({"diverging": ("draw", [False])})))
    'chains'
    """
    if "sample_stats" not in tree:
        return ""
    stats = tree["sample_stats"]
    if DRAWS in stats.attrs:
        return str(stats.attrs[DRAWS])
    if any(name in stats.data_vars for name in SAMPLERS_STATS):
        return CHAINS
    return INDEPENDENT if "log_guide" in stats.data_vars else ""


def quantities(
    dataset: xr.Dataset, dims: Sequence[str] = SAMPLE_DIMS
) -> Iterator[tuple[str, np.ndarray]]:
    """Each scalar quantity of a group of draws: its label and its values.

    Args:
        dataset: Variables that all have ``dims``.
        dims: The axes of the values, in order: (chain, draw) unless told.

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


def labels(variable: xr.DataArray, name: str, sample: Sequence[str] = SAMPLE_DIMS) -> list[str]:
    """One label per element of ``variable`` beyond its sample dims, in C order."""
    dims = [dim for dim in variable.dims if dim not in sample]
    if not dims:
        return [name]
    ticks = [[_tick(value) for value in variable[dim].to_numpy()] for dim in dims]
    return [f"{name}[{','.join(index)}]" for index in itertools.product(*ticks)]


def _tick(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)
