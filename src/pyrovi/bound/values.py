"""One value of the data as what a model is called with: dtypes, missing values, devices.

Arrays become tensors (floats in double precision, integers as ``int64``), text and categories the
codes of their labels; every other Python object, a tuple of text among them, is passed on
untouched. Nothing that is passed on shares memory with what came in.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from pandas.api.extensions import ExtensionArray
from torch import Tensor

from pyrovi.bound.labels import coded, is_text, read
from pyrovi.errors import DataError
from pyrovi.tree import CAME_AS, LEVELS, MISSING


@dataclass(frozen=True)
class Converted:
    """What becomes of a value."""

    value: Any  # what the model is called with
    dims: tuple[str, ...] | None = None  # the name of each axis, where the value came labelled
    missing: Tensor | None = None  # True where a value is missing, where it came masked
    levels: pd.Index | None = None  # the labels of its codes, where it came as labels


def convert(name: str, value: Any) -> Converted:
    """What the argument ``name`` becomes; `DataError` if it is empty, infinite or no numbers."""
    for kinds, conversion in CONVERSIONS:
        if isinstance(value, kinds):
            return conversion(name, value)
    return Converted(value)


def to_numpy(value: Any) -> np.ndarray:
    """A tensor, or anything array-like, as an array of its own on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().resolve_conj().numpy().copy()
    return np.array(value)


def _labelled(name: str, value: xr.DataArray) -> Converted:
    dims, came_as = tuple(map(str, value.dims)), value.attrs.get(CAME_AS)
    if came_as == "number":
        return Converted(value.item())
    if not value.attrs.get(MISSING):
        known = {"levels": read(value.attrs[LEVELS])} if LEVELS in value.attrs else {}
        return replace(_array(name, value.to_numpy()), dims=dims, **known)
    return replace(_masked(name, np.ma.masked_invalid(value.to_numpy()), came_as), dims=dims)


def _column(name: str, column: pd.Series) -> Converted:
    codes = coded(name, column)
    if codes is not None:
        return Converted(_from_numpy(name, codes.codes), levels=codes.levels)
    if not (pd.api.types.is_numeric_dtype(column.dtype) or column.dtype == bool):
        first = f"a column of {column.dtype} came (first value {column.iloc[0]!r})"
        came = first if len(column) else f"an empty column of {column.dtype} came"
        raise DataError(f"{name}: expected numbers, and {came}. Encode it as numbers, or drop it.")
    lacks = {"dtype": float, "na_value": np.nan} if column.isna().any() else {}
    return _array(name, column.to_numpy(**lacks))


def _masked(name: str, value: Any, dtype: str | None = None) -> Converted:
    mask = np.ma.getmaskarray(value)
    if mask.all():
        raise DataError(f"{name}: every value is masked. Leave it out, or unmask some.")
    # Masked out of the likelihood, any value in the support will do: one that was observed.
    filled = np.where(mask, value.data[~mask].flat[0], value.data)
    filled = filled if dtype is None else filled.astype(dtype)
    return Converted(_from_numpy(name, filled), missing=torch.as_tensor(mask))


def _array(name: str, value: np.ndarray | np.generic) -> Converted:
    codes = coded(name, value) if np.ndim(value) else None
    if codes is not None:
        return Converted(_from_numpy(name, codes.codes), levels=codes.levels)
    return Converted(_from_numpy(name, np.asarray(value)))


def _sequence(name: str, value: list[Any] | tuple[Any, ...]) -> Converted:
    if any(isinstance(item, Tensor) for item in value):
        return Converted(value)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(
            f"{name}: expected rows of one length, and a ragged list came. "
            "Pad it, or pass one array per group."
        ) from error
    labels = isinstance(value, list) and array.size and is_text(array)
    return _array(name, array) if labels or array.dtype.kind in "bifc" else Converted(value)


def _number(name: str, value: float) -> Converted:
    if not np.isfinite(value):
        raise DataError(f"{name}: expected a finite number, and {value} came.")
    return Converted(value)


CONVERSIONS: tuple[tuple[Any, Callable[[str, Any], Converted]], ...] = (
    (Tensor, lambda name, value: Converted(_checked(name, value.detach().clone()))),
    (xr.DataArray, _labelled),
    (pd.Series, _column),
    ((pd.Index, ExtensionArray), lambda name, value: _column(name, pd.Series(value))),
    (np.ma.MaskedArray, _masked),
    ((np.ndarray, np.generic), _array),
    ((list, tuple), _sequence),
    (float, _number),
)
"""The first kind that a value is of decides; a value of none is passed on as it is."""


def _from_numpy(name: str, array: np.ndarray) -> Any:
    if array.ndim == 0 and array.dtype.kind == "U":
        return array.item()
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
    """NaN may pass: a model may leave it out itself, which `pyrovi.bound.gaps` looks into."""
    bad = tensor.isinf()
    if not bad.any():
        return
    place = tuple(int(i) for i in bad.nonzero()[0])
    where = f"index {place[0]}" if len(place) == 1 else f"index {place}"
    raise DataError(
        f"{name}: expected finite values, and {int(bad.sum())} infinite value(s) came, the first "
        f"at {where}. Drop or impute them, or pass numpy.ma.masked_invalid(...) to leave them out "
        "of the likelihood."
    )


def check_inside(value: Mapping[Any, Any]) -> None:
    """What a model that takes a dict gets is passed on as it is, but with nothing infinite."""
    for key, item in floats_in(value):
        _check_finite(str(key), item)


def floats_in(value: Mapping[Any, Any]) -> Iterator[tuple[Any, Tensor]]:
    """The items of a dict that are floats, or arrays or lists of them, as tensors."""
    for key, item in value.items():
        try:
            tensor = torch.as_tensor(item)
        except (TypeError, ValueError, RuntimeError):
            continue
        if tensor.is_floating_point():
            yield key, tensor


def check_devices(values: Mapping[str, Any]) -> None:
    """Raise unless all tensors are on one device."""
    places = {name: value.device for name, value in values.items() if isinstance(value, Tensor)}
    if len(set(places.values())) > 1:
        listing = ", ".join(f"{name} on {device}" for name, device in places.items())
        raise DataError(f"The data must be on one device, and it is on several: {listing}.")
