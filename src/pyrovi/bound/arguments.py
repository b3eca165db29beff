"""From whatever the data came in to the tensors a Pyro model is called with, and back.

Missing values, dtypes and devices are handled here, once. Arrays become tensors (floats in the
model's dtype, integers as ``int64``); every other Python object is passed on untouched. Nothing
that is passed on shares memory with what came in.

A value that is not finite is an error. To leave values out of the likelihood on purpose, pass a
``numpy.ma.MaskedArray``: its masked entries are skipped where the model observes that argument,
and predicted like any other. In a labelled array the attribute `pyrovi.tree.MISSING` says the same
of its NaNs.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovi.errors import DataError

__all__ = ["Arguments", "bind", "to_numpy"]

DATA_GROUPS = ("observed_data", "constant_data")


@dataclass(frozen=True)
class Arguments:
    """What a model is called with, and the labels that came along.

    Attributes:
        args: Positional arguments.
        kwargs: Keyword arguments, by the name the data had.
        dims: For arguments that came labelled, the name of each axis.
        coords: For each labelled axis, the label of each index.
        missing: For arguments that came masked, True where a value is missing.
        truth: What simulated the data, an `xarray.Dataset`, where a tree came with it.
        units: Of labelled arguments and coordinates that name theirs, by name.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    coords: Mapping[str, np.ndarray] = field(default_factory=dict)
    missing: Mapping[str, Tensor] = field(default_factory=dict)
    truth: Any = None
    units: Mapping[str, str] = field(default_factory=dict)


def bind(model: Callable[..., Any], data: Any) -> Arguments:
    """The arguments to call ``model`` with, from ``data`` in any of the forms people have it.

    Args:
        model: A Pyro model. Its parameter names are the names looked for in the data.
        data: A dict, DataFrame, Dataset, DataTree (``observed_data`` and ``constant_data``), or
            a tuple of positional arguments, a single array or tensor; ``{}`` or ``None`` for a
            model that closes over its data. A dict none of whose keys is a parameter goes
            whole to a model that has one parameter.

    Raises:
        DataError: If a name is unknown or lacking, or a value is empty, not finite or not
            numeric.
    """
    named, positional, labels = _named(data)
    if named is None:
        return _positional(model, positional)
    signature = _signature(model)
    names = _bindable(signature)
    if _takes_the_whole(signature, named, data):
        for key, value in named.items():
            _check_inside(str(key), value)
        return Arguments(args=(data,))
    _check_names(signature, names, named)
    kwargs, dims, coords, missing = {}, {}, dict(labels), {}
    for name, value in named.items():
        converted = _convert(name, value)
        kwargs[name] = converted.value
        if converted.missing is not None:
            missing[name] = converted.missing
        if converted.dims is not None:
            dims[name] = converted.dims
            coords.update(converted.coords)
    _check_devices(kwargs)
    return Arguments((), kwargs, dims, coords, missing, _truth(data), _units(named))


def to_numpy(value: Any) -> np.ndarray:
    """A tensor, or anything array-like, as an array of its own on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().resolve_conj().numpy().copy()
    return np.array(value)


def _is(value: Any, library: str, name: str) -> bool:
    """Whether a value is of a class of a library, which is not loaded just to find out.

    Where nobody has loaded it, nothing can be of its classes.
    """
    loaded = sys.modules.get(library)
    return loaded is not None and isinstance(value, getattr(loaded, name))


@dataclass(frozen=True)
class _Converted:
    value: Any
    dims: tuple[str, ...] | None = None
    coords: Mapping[str, np.ndarray] = field(default_factory=dict)
    missing: Tensor | None = None


def _named(data: Any) -> tuple[dict[str, Any] | None, Any, dict[str, np.ndarray]]:
    """The data by name, or else as it came; and labels that no variable carries itself."""
    if data is None:
        return {}, None, {}
    if _is(data, "xarray", "DataTree"):
        return _variables_of_tree(data), None, {}
    if _is(data, "xarray", "Dataset"):
        return {str(name): variable for name, variable in data.data_vars.items()}, None, {}
    labelled = _is(data, "xarray", "DataArray") or _is(data, "pandas", "Series")
    if labelled and data.name is not None:
        return {str(data.name): data}, None, {}
    if _is(data, "pandas", "DataFrame"):
        return _columns(data), None, {}
    if isinstance(data, Mapping):
        return dict(data), None, {}
    return None, data, {}


def _variables_of_tree(tree: Any) -> dict[str, Any]:
    present = [group for group in DATA_GROUPS if group in tree.children]
    if not present:
        groups = ", ".join(tree.children) or "no groups"
        raise DataError(
            f"A data tree needs a group observed_data or constant_data, and this one has "
            f"{groups}. Build one with pyrovi.data_tree, or pass a dict."
        )
    return {
        str(name): variable
        for group in present
        for name, variable in tree[group].to_dataset().data_vars.items()
    }


def _truth(data: Any) -> Any:
    if _is(data, "xarray", "DataTree") and "truth" in data.children:
        return data["truth"].to_dataset()
    return None


def _columns(frame: Any) -> dict[str, Any]:
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"Column {twice!r} is there twice. Rename or drop one of the two.")
    return {str(name): frame[name] for name in frame.columns}


def _positional(model: Callable[..., Any], data: Any) -> Arguments:
    values = data if isinstance(data, tuple) else (data,)
    names = [
        name for name, parameter in _signature(model).items() if _can_be_positional(parameter)
    ]
    variadic = any(
        parameter.kind is parameter.VAR_POSITIONAL for parameter in _signature(model).values()
    )
    if len(values) > len(names) and not variadic:
        raise DataError(
            f"The model takes {len(names)} argument(s) ({', '.join(names) or 'none'}), and "
            f"{len(values)} came. Pass a dict by argument name."
        )
    required = [
        name
        for name in names[len(values) :]
        if _signature(model)[name].default is inspect.Parameter.empty
    ]
    if required:
        raise DataError(
            f"The model also needs {', '.join(required)}, and only {len(values)} value(s) came. "
            "Pass a dict by argument name."
        )
    named = dict(zip(names, values, strict=False))
    rest = values[len(names) :]
    converted = {name: _convert(name, value) for name, value in named.items()}
    extra = tuple(_convert(f"argument {i + 1}", v).value for i, v in enumerate(rest, len(names)))
    missing = {n: c.missing for n, c in converted.items() if c.missing is not None}
    if rest:
        return Arguments((*(c.value for c in converted.values()), *extra), {}, missing=missing)
    _check_devices({name: c.value for name, c in converted.items()})
    keyword_able = {
        name: c.value
        for name, c in converted.items()
        if _signature(model)[name].kind is not inspect.Parameter.POSITIONAL_ONLY
    }
    only_positional = tuple(c.value for name, c in converted.items() if name not in keyword_able)
    return Arguments(only_positional, keyword_able, missing=missing)


def _can_be_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)


def _signature(model: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    target = model.forward if isinstance(model, torch.nn.Module) else model
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {"kwargs": inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)}


def _bindable(signature: Mapping[str, inspect.Parameter]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, parameter in signature.items() if parameter.kind in kinds]


def _takes_the_whole(
    signature: Mapping[str, inspect.Parameter], named: Mapping[str, Any], data: Any
) -> bool:
    """Whether the model is one of those that take a dict of data as their one argument."""
    if not isinstance(data, Mapping) or _is(data, "xarray", "Dataset") or not named:
        return False
    own = [p for p in signature.values() if p.kind is not p.VAR_KEYWORD]
    required = [p for p in own if p.default is p.empty and _can_be_positional(p)]
    one = len(required) == 1 or (not required and len(own) == 1)
    return one and not any(name in signature for name in named)


def _check_names(
    signature: Mapping[str, inspect.Parameter], names: list[str], named: Mapping[str, Any]
) -> None:
    takes = ", ".join(names) or "no arguments"
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.values())
    unknown = [str(name) for name in named if name not in names]
    if unknown and not takes_any:
        raise DataError(
            f"The data has {', '.join(unknown)}, which the model does not take; it takes {takes}. "
            "Rename or drop what is extra."
        )
    lacking = [
        name for name in names if name not in named and signature[name].default is inspect._empty
    ]
    if lacking:
        came = ", ".join(map(str, named)) or "nothing"
        raise DataError(
            f"The model needs {', '.join(lacking)}, and the data has {came}. "
            "Name each column or key after the model's argument."
        )


def _convert(name: str, value: Any) -> _Converted:
    if isinstance(value, Tensor):
        return _Converted(_checked(name, value.detach().clone()))
    if _is(value, "xarray", "DataArray"):
        return _labelled(name, value)
    if _is(value, "pandas", "Series"):
        return _Converted(_from_numpy(name, _numeric_column(name, value)))
    if isinstance(value, np.ma.MaskedArray):
        return _masked(name, value)
    if isinstance(value, np.ndarray | np.generic):
        return _Converted(_from_numpy(name, np.asarray(value)))
    if isinstance(value, list | tuple):
        return _Converted(_from_sequence(name, value))
    if isinstance(value, float) and not np.isfinite(value):
        raise DataError(f"{name}: expected a finite number, and {value} came.")
    return _Converted(value)


def _labelled(name: str, value: Any) -> _Converted:
    from pyrovi.tree import MISSING  # xarray, which only labelled data need

    dims = tuple(map(str, value.dims))
    coords = {
        str(dim): np.asarray(value.coords[dim].values) for dim in value.dims if dim in value.coords
    }
    if value.attrs.get(MISSING):
        masked = _masked(name, np.ma.masked_invalid(value.values))
        return replace(masked, dims=dims, coords=coords)
    return _Converted(_from_numpy(name, value.values), dims, coords)


def _units(named: Mapping[str, Any]) -> dict[str, str]:
    """The attribute ``units`` of labelled variables and of their coordinates."""
    found: dict[str, str] = {}
    for name, value in named.items():
        if _is(value, "xarray", "DataArray"):
            each = {name: value, **value.coords}
            found |= {str(n): v.attrs["units"] for n, v in each.items() if "units" in v.attrs}
    return {name: unit for name, unit in found.items() if isinstance(unit, str)}


def _numeric_column(name: str, column: Any) -> np.ndarray:
    import pandas as pd

    if not (pd.api.types.is_numeric_dtype(column.dtype) or column.dtype == bool):
        raise DataError(
            f"{name}: expected numbers, and a column of {column.dtype} came "
            f"(first value {column.iloc[0]!r}). Encode it as numbers, or drop it."
            if len(column)
            else f"{name}: expected numbers, and an empty column of {column.dtype} came."
        )
    if column.isna().any():
        return column.to_numpy(dtype=float, na_value=np.nan)
    return column.to_numpy()


def _masked(name: str, value: np.ma.MaskedArray) -> _Converted:
    mask = np.ma.getmaskarray(value)
    if mask.all():
        raise DataError(f"{name}: every value is masked. Leave it out, or unmask some.")
    # Any value of the observed kind will do: it is masked out of the likelihood, and a value
    # that was seen is sure to lie in the support.
    filled = np.where(mask, value.data[~mask].flat[0], value.data)
    return _Converted(_from_numpy(name, filled), missing=torch.as_tensor(mask))


def _from_sequence(name: str, value: list[Any] | tuple[Any, ...]) -> Any:
    if any(isinstance(item, Tensor) for item in value):
        return value
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(
            f"{name}: expected rows of one length, and a ragged list came. "
            "Pad it, or pass one array per group."
        ) from error
    return _from_numpy(name, array) if array.dtype.kind in "bifc" else value


def _from_numpy(name: str, array: np.ndarray) -> Any:
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: expected numbers, and an array of {array.dtype} came. Encode it as numbers."
        )
    if array.ndim == 0 and array.dtype.kind in "biu":
        return array.item()  # a size or an option, which models use as a Python number
    dtype = {"f": np.float64, "b": np.bool_}.get(array.dtype.kind, np.int64)
    return _checked(name, torch.tensor(np.array(array, dtype=dtype, order="C")))


def _checked(name: str, tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        raise DataError(f"{name}: expected real numbers, and complex ones came. Split the parts.")
    if tensor.numel() == 0:
        shape = tuple(tensor.shape)
        raise DataError(f"{name}: expected at least one value, and an empty array {shape} came.")
    if not tensor.is_floating_point():
        return tensor if tensor.dtype is torch.bool else tensor.long()
    tensor = tensor.double()
    _check_finite(name, tensor)
    return tensor


def _check_finite(name: str, tensor: Tensor) -> None:
    bad = ~tensor.isfinite()
    if not bad.any():
        return
    place = tuple(int(i) for i in bad.nonzero()[0])
    where = f"index {place[0]}" if len(place) == 1 else f"index {place}"
    kind = "NaN" if tensor.isnan().any() else "infinite value"
    raise DataError(
        f"{name}: expected finite values, and {int(bad.sum())} {kind}(s) came, the first at "
        f"{where}. Drop or impute them, or pass numpy.ma.masked_invalid(...) to leave them out "
        "of the likelihood."
    )


def _check_inside(name: str, value: Any) -> None:
    """What a model that takes a dict gets is passed on as it is, but not with NaN inside."""
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        return
    if tensor.is_floating_point():
        _check_finite(name, tensor)


def _check_devices(kwargs: Mapping[str, Any]) -> None:
    places = {name: value.device for name, value in kwargs.items() if isinstance(value, Tensor)}
    if len(set(places.values())) > 1:
        listing = ", ".join(f"{name} on {device}" for name, device in places.items())
        raise DataError(f"The data must be on one device, and it is on several: {listing}.")
