"""The tree that a pipeline starts from, and how it grows."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.errors import DataError
from pyrovi.tree.ask import held
from pyrovi.tree.schema import DRAWN_GROUPS, METADATA, OF_SITE


def data_tree(
    observed: Mapping[str, Any],
    constant: Mapping[str, Any] | None = None,
    coords: Mapping[str, Any] | None = None,
    truth: Mapping[str, Any] | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    """The tree that a pipeline starts from: the data alone.

    Args:
        observed: The model's observed variables, by argument name: arrays, labelled arrays, or
            tuples ``(dims, array)`` or ``(dims, array, attrs)``. Dims without a name are called
            ``{name}_dim_{i}``.
        constant: The model's other arguments, such as covariates and sizes.
        coords: Labels of the dims; a dim without any is numbered from zero.
        truth: The parameters that simulated the data, where they are known.
        metadata: What belongs to the data and no model needs, such as places for a map. It is
            kept with ``constant``, marked with the attribute `pyrovi.tree.METADATA`.

    Raises:
        DataError: If a name stands for two things, or a dim has two lengths or sets of labels.
    """
    marked = {name: _marked(name, value) for name, value in (metadata or {}).items()}
    _refuse_shared_names(observed, constant or {}, marked)
    named = {"observed_data": {**observed}, "constant_data": {**(constant or {}), **marked}}
    # One dataset first: xarray then holds that a dim has one length across both groups.
    data = _dataset({**named["observed_data"], **named["constant_data"]}, coords or {})
    groups = {group: data[list(names)] for group, names in named.items() if names}
    if truth:
        groups["truth"] = _dataset(truth, coords or {})
    return grow(xr.DataTree(), **groups)


def _refuse_shared_names(*groups: Mapping[str, Any]) -> None:
    times = Counter(name for group in groups for name in group)
    shared = sorted(name for name, count in times.items() if count > 1)
    if shared:
        raise DataError(
            f"Each data variable is one argument of the model, and {', '.join(shared)} came as "
            "two of observed, constant and metadata. Give it once."
        )


def _marked(name: str, value: Any) -> xr.Variable | xr.DataArray:
    variable = value.copy() if isinstance(value, xr.DataArray) else _variable(name, value)
    variable.attrs[METADATA] = 1
    return variable


def _dataset(values: Mapping[str, Any], coords: Mapping[str, Any]) -> xr.Dataset:
    variables = {name: _variable(name, value) for name, value in values.items()}
    sizes = {d: n for variable in variables.values() for d, n in variable.sizes.items()}
    own = {name for name, value in variables.items() if value.dims == (name,)}
    labels: dict[Any, Any] = {dim: np.arange(n) for dim, n in sizes.items() if dim not in own}
    given = {name: coords[name] for name in coords.keys() & labels.keys()}
    labels |= _carried(values, taken={*variables, *given}) | given
    try:
        return xr.Dataset(variables, coords=labels)
    except (ValueError, xr.MergeError) as error:
        first = str(error).strip().split("\n")[0]
        raise DataError(f"The data variables do not fit together: {first}") from error


def _carried(values: Mapping[str, Any], taken: Container[Any]) -> dict[Any, xr.Variable]:
    """The coordinates that labelled arrays bring; arrays that share one must agree on it."""
    carried: dict[Any, xr.Variable] = {}
    arrays = {name: value for name, value in values.items() if isinstance(value, xr.DataArray)}
    brought = [(name, *each) for name, array in arrays.items() for each in array.coords.items()]
    for name, key, label in brought:
        if key not in taken and not carried.setdefault(key, label.variable).equals(label.variable):
            raise DataError(
                f"{name} has other labels of {str(key)!r} than the variables before it. Align "
                "them (xarray.align), or drop its labels."
            )
    return carried


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


def data_alone(tree: xr.DataTree) -> xr.DataTree:
    """A copy of the tree that ``tree`` grew from: without what `draw` and `check` wrote.

    >>> list(data_alone(grow(data_tree({"y": [1.0]}), posterior=xr.Dataset())).children)
    ['observed_data']
    """
    alone = tree.copy()
    for group in DRAWN_GROUPS & set(alone.children):
        del alone[group]
    alone = alone.copy(deep=True)
    observed = held(alone, "observed_data")
    repeated = [name for name, variable in observed.data_vars.items() if OF_SITE in variable.attrs]
    if repeated and len(repeated) == len(observed.data_vars):
        del alone["observed_data"]
    elif repeated:
        alone = grow(alone, observed_data=observed.drop_vars(repeated))
    return alone
