"""The tree that a pipeline starts from, and how it grows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.errors import DataError

__all__ = ["data_tree", "grow"]


def data_tree(
    observed: Mapping[str, Any],
    constant: Mapping[str, Any] | None = None,
    coords: Mapping[str, Any] | None = None,
    truth: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    """The tree that a pipeline starts from: the data alone.

    Args:
        observed: The model's observed variables, by argument name: arrays, or tuples
            ``(dims, array)`` or ``(dims, array, attrs)``. Dims without a name are called
            ``{name}_dim_{i}``.
        constant: The model's other arguments, such as covariates and sizes.
        coords: Labels of the dims; a dim without any is numbered from zero.
        truth: The parameters that simulated the data, where they are known.

    Raises:
        DataError: If a name stands for two things, or a dim has two lengths.
    """
    groups = {"observed_data": observed, "constant_data": constant, "truth": truth}
    named = {group: dict(values or {}) for group, values in groups.items()}
    _refuse_shared_names(named["observed_data"], named["constant_data"])
    # One dataset first: xarray then holds that a dim has one length across both groups.
    data = _dataset({**named["observed_data"], **named["constant_data"]}, coords or {})
    tree = xr.DataTree()
    for group in ("observed_data", "constant_data"):
        if named[group]:
            tree[group] = xr.DataTree(data[list(named[group])])
    if named["truth"]:
        tree["truth"] = xr.DataTree(_dataset(named["truth"], coords or {}))
    return tree


def _refuse_shared_names(observed: Mapping[str, Any], constant: Mapping[str, Any]) -> None:
    shared = sorted(set(observed) & set(constant))
    if shared:
        raise DataError(
            f"Each data variable is one argument of the model, and {', '.join(shared)} came as "
            "both observed and constant. Give it once."
        )


def _dataset(values: Mapping[str, Any], coords: Mapping[str, Any]) -> xr.Dataset:
    variables = {name: _variable(name, value) for name, value in values.items()}
    used = {dim for variable in variables.values() for dim in variable.dims}
    sizes = {d: n for variable in variables.values() for d, n in variable.sizes.items()}
    own = {name for name, value in values.items() if name in used and variables[name].ndim == 1}
    labels = {dim: coords.get(str(dim), np.arange(sizes[dim])) for dim in used if dim not in own}
    try:
        return xr.Dataset(variables, coords=labels)
    except (ValueError, xr.MergeError) as error:
        first = str(error).strip().split("\n")[0]
        raise DataError(f"The data variables do not fit together: {first}") from error


def _variable(name: str, value: Any) -> xr.Variable:
    if isinstance(value, xr.DataArray | xr.Variable):
        return xr.Variable(value.dims, value.data, value.attrs)
    dims, array, *attrs = value if _is_spec(value) else (None, value)
    array = np.asarray(array)
    if dims is None:
        dims = [f"{name}_dim_{i}" for i in range(array.ndim)]
    dims = [dims] if isinstance(dims, str) else list(dims)
    if len(dims) != array.ndim:
        raise DataError(
            f"'{name}' has shape {array.shape}, and {len(dims)} dim names came: {dims}. "
            "Name each axis once."
        )
    return xr.Variable(dims, array, *attrs)


def _is_spec(value: Any) -> bool:
    """Whether ``value`` is xarray's ``(dims, array[, attrs])`` and not a tuple of numbers."""
    if not isinstance(value, tuple) or len(value) not in (2, 3):
        return False
    dims = value[0]
    if isinstance(dims, str):
        return not isinstance(value[1], str)
    return isinstance(dims, Sequence) and all(isinstance(dim, str) for dim in dims)


def grow(tree: xr.DataTree, **groups: xr.Dataset) -> xr.DataTree:
    """A new tree: ``tree`` with ``groups`` added or replaced. The arrays are shared, not copied.

    >>> grown = grow(data_tree({"y": [1.0]}), posterior=xr.Dataset())
    >>> list(grown.children)
    ['observed_data', 'posterior']
    """
    grown = tree.copy()
    for path, dataset in groups.items():
        grown[path] = xr.DataTree(dataset.copy())
    return grown
