"""The data that a model was tied to as a tree, whatever form they came in."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from torch import Tensor

from pyrovi.bound.arguments import Signature, by_name
from pyrovi.bound.labels import Coded, coded, is_text, read, written
from pyrovi.bound.levels import level_dims
from pyrovi.bound.model import BoundModel
from pyrovi.bound.sites import Site, shown
from pyrovi.bound.values import convert, to_numpy
from pyrovi.tree import (
    CAME_AS,
    ITEM_OF,
    LACKING,
    LEVELS,
    LEVELS_OF,
    MISSING,
    OPTIONS,
    data_alone,
    data_tree,
    grow,
    held,
    original_name,
    safe_name,
)


def as_tree(model: BoundModel, data: Any) -> xr.DataTree:
    """The data that ``model`` was tied to as a tree, of which `pyrovi.bind` makes the same again.

    Nothing that came is lost: dims, coordinates, attributes, and which values are missing. What a
    tree cannot hold (functions, objects) is named in its attribute `pyrovi.tree.LACKING`. A tree
    is copied as it is, without what `pyrovi.draw` and `pyrovi.check` wrote.
    """
    if isinstance(data, xr.DataTree):
        return _with_level_dims(model, _in_codes(model, data_alone(data)))
    signature, declared = Signature.of(model.model), model.structure.metadata
    held, metadata = _Held(), set()
    for name, value in by_name(signature, data).items():
        if signature.takes(name, value, declared):
            held.add(name, value)
        else:
            held.arrays[name] = value if isinstance(value, xr.DataArray) else _as_it_is(value)
            metadata.add(name)
    tree = _tree(model, held, metadata)
    for group in tree.children.values():
        group.attrs |= data.attrs if isinstance(data, xr.Dataset) else {}
    tree.attrs[OPTIONS] = json.dumps(held.options)
    if held.lacking:
        tree.attrs[LACKING] = json.dumps(held.lacking)
    return _with_level_dims(model, tree)


def in_codes(name: str, value: xr.DataArray) -> xr.DataArray:
    """An array of text as one of codes, with the labels as an attribute; any other as it is."""
    codes = coded(name, value.to_numpy()) if value.ndim else None
    return value if codes is None else with_levels(value, codes)


def with_levels(like: xr.DataArray, codes: Coded) -> xr.DataArray:
    """Codes with their labels, and the axes and attributes of another array."""
    return like.copy(data=codes.codes).assign_attrs({LEVELS: written(codes.levels)})


def _in_codes(model: BoundModel, tree: xr.DataTree) -> xr.DataTree:
    """Every argument that is text as codes."""
    signature, declared = Signature.of(model.model), model.structure.metadata
    changed = {}
    for group in ("observed_data", "constant_data"):
        given = {
            name: value
            for name, value in held(tree, group).data_vars.items()
            if is_text(value.to_numpy()) and signature.takes(str(name), value, declared)
        }
        if given:
            codes = {name: in_codes(str(name), value) for name, value in given.items()}
            changed[group] = held(tree, group).assign(codes)
    return grow(tree, **changed)


def _with_level_dims(model: BoundModel, tree: xr.DataTree) -> xr.DataTree:
    """With the dims that have one entry for each label of an argument noted at that argument."""
    groups = {name: held(tree, name) for name in ("observed_data", "constant_data")}
    variables = {str(n): v for each in groups.values() for n, v in each.data_vars.items()}
    levels = {
        original_name(name): read(v.attrs[LEVELS])
        for name, v in variables.items()
        if LEVELS in v.attrs
    }
    for name, dims in level_dims(model, levels).items():
        variables[_safe(name)].attrs[LEVELS_OF] = json.dumps([safe_name(dim) for dim in dims])
    return grow(tree, **{name: each for name, each in groups.items() if levels and name in tree})


def observed_values(model: BoundModel) -> dict[str, np.ndarray]:
    """What each site observed, by its name, with NaN where a value is missing."""
    values = {}
    for site in model.observed:
        value = to_numpy(model.prototype.nodes[site.name]["value"]).reshape(site.shape)
        if site.name in model.missing:
            mask = to_numpy(model.missing[site.name]).reshape(site.shape)
            value = np.where(mask, np.nan, value)
        values[site.name] = value
    return values


@dataclass(frozen=True)
class Hidden:
    """Which entries of what a site observed the model's masks hide: True there.

    They are ``selected`` where other terms of the model observe them, as they do what is censored:
    a factor that is not hidden as they are, or a site that is masked just where they are not.
    """

    entries: np.ndarray
    selected: bool


def hidden_values(model: BoundModel) -> dict[str, Hidden]:
    """What masks of the model hide, by the observed sites that have such entries.

    Values that are missing are among them, and are not selected.
    """
    sites = [site for site in model.sites if site.kind in ("observed", "factor")]
    nodes = model.prototype.nodes
    masks = {each.name: np.asarray(~shown(nodes[each.name], each.shape)) for each in sites}
    return {
        site.name: Hidden(masks[site.name], _selected(model, site, masks, sites))
        for site in model.observed
        if masks[site.name].any()
    }


def _selected(
    model: BoundModel, site: Site, masks: Mapping[str, np.ndarray], sites: Sequence[Site]
) -> bool:
    """Whether other terms of the model observe what a site's mask hides."""
    own = masks[site.name]
    if site.name in model.missing and to_numpy(model.missing[site.name]).sum() == own.sum():
        return False
    others = [each for each in sites if each.name != site.name]
    return any(
        np.array_equal(masks[other.name], ~own)
        or (other.kind == "factor" and not np.array_equal(masks[other.name], own))
        for other in others
    )


def same_values(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are the same numbers in the same shape; one may have been cast."""
    if one.shape != other.shape or one.dtype.kind not in "biuf":
        return False
    return np.allclose(one, other, rtol=1e-6, equal_nan=True)


@dataclass
class _Held:
    """Where each argument has its place: arrays, options as JSON, and what a tree cannot hold."""

    arrays: dict[str, "_Array | xr.DataArray"] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)

    def taken(self) -> dict[Any, int | None]:
        """The names of the arguments, and of axes that came with one, with their lengths."""
        labelled = [each for each in self.arrays.values() if isinstance(each, xr.DataArray)]
        return dict.fromkeys(self.arrays) | {d: n for v in labelled for d, n in v.sizes.items()}

    def add(self, name: str, value: Any) -> None:
        labelled = isinstance(value, xr.DataArray)
        array = in_codes(name, value) if labelled else _converted(name, value)
        if array is not None:
            self.arrays[name] = array
        elif _is_json(value):
            self.options[name] = value
        elif isinstance(value, Mapping):
            self._add_items(name, value)
        else:
            self.lacking.append(name)

    def _add_items(self, argument: str, items: Mapping[Any, Any]) -> None:
        """A dict that holds arrays: each is a variable, under the name that it has there."""
        arrays = {key: each for key, v in items.items() if (each := _item(argument, v))}
        rest = {key: value for key, value in items.items() if key not in arrays}
        new = not set(arrays) & set(self.arrays)
        if new and _is_json(dict.fromkeys(items)) and _is_json(rest):
            self.arrays |= arrays
            self.options |= {argument: rest} if rest or not arrays else {}
        else:
            self.lacking.append(argument)


@dataclass(frozen=True)
class _Array:
    """An array whose axes have no names; the labels of its rows, where it had some."""

    data: np.ndarray
    attrs: dict[Any, Any] = field(default_factory=dict)
    index: pd.Index | None = None


def _converted(name: str, value: Any) -> _Array | None:
    """A value as an array; None for one that is no number and no array of numbers."""
    if isinstance(value, float) and not isinstance(value, np.generic):
        return _Array(np.asarray(value), {CAME_AS: "number"})
    converted = convert(name, value)
    numeric = isinstance(converted.value, Tensor | bool | int | float)
    array = to_numpy(converted.value) if numeric else np.asarray(None)
    if array.dtype.kind not in "biuf":
        return None
    attrs = {**value.attrs} if isinstance(value, pd.Series) else {}
    if converted.levels is not None:
        attrs |= {LEVELS: written(converted.levels)}
    if converted.missing is not None:
        attrs |= {MISSING: 1} | ({} if array.dtype.kind == "f" else {CAME_AS: str(array.dtype)})
        array = np.where(to_numpy(converted.missing), np.nan, array)
    return _Array(array, attrs, row_labels(value))


def _as_it_is(value: Any) -> _Array:
    """Metadata, which may be text."""
    array = np.asarray(value)
    return _Array(array.astype(str) if array.dtype == object else array, {}, row_labels(value))


def row_labels(value: Any) -> pd.Index | None:
    """The index of a column, unless it only counts the rows."""
    if not isinstance(value, pd.Series):
        return None
    index = value.index
    counts = index.name is None and index.equals(pd.RangeIndex(len(index)))
    return None if counts else index


def _item(argument: str, value: Any) -> _Array | None:
    """A tensor or an array inside a dict, as it is: the model gets dicts untouched."""
    if isinstance(value, Tensor):
        return _Array(to_numpy(value), {ITEM_OF: argument})
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return _Array(value.copy(), {ITEM_OF: argument, CAME_AS: "array"})
    return None


def _is_json(value: Any) -> bool:
    """Whether JSON gives the very same value back."""
    try:
        return json.loads(json.dumps(value)) == value
    except (TypeError, ValueError):
        return False


def _tree(model: BoundModel, held: _Held, metadata: Collection[str]) -> xr.DataTree:
    observed, taken = observed_values(model), held.taken()
    parts: dict[str, dict[str, Any]] = {"observed": {}, "constant": {}, "metadata": {}}
    rows: dict[str, list[pd.Index]] = {}
    for name, array in held.arrays.items():
        sites = [n for n, value in observed.items() if same_values(array.data, value)]
        of_site = name in sites or any(site not in held.arrays for site in sites)
        role = "metadata" if name in metadata else "observed" if of_site else "constant"
        variable: Any = array
        if isinstance(array, _Array):
            dims = _dims(model, name, array, sites, taken)
            variable = (dims, array.data, array.attrs)
            if array.index is not None:
                rows.setdefault(dims[0], []).append(array.index)
        parts[role][_safe(name)] = variable
    return data_tree(**parts, coords=_agreed({d: n for d, n in rows.items() if d not in taken}))


def _dims(
    model: BoundModel,
    name: str,
    array: _Array,
    sites: Sequence[str],
    taken: Mapping[Any, int | None],
) -> list[str]:
    """Those of a site that observes the array; else plates, each the only one of its size.

    Its own where these are ``taken``: names for something else, or for an axis of another length.
    """
    own = [f"{_safe(name)}_dim_{axis}" for axis in range(array.data.ndim)]
    of_site = map(safe_name, model.site(sites[0]).dims) if sites else _plates(model, array, own)
    dims = list(of_site)
    if array.index is not None and array.index.name is not None:
        dims = [str(array.index.name), *dims[1:]]
    lengths = zip(dims, array.data.shape, strict=True)
    free = len(set(dims)) == len(dims) and all(taken.get(dim, n) == n for dim, n in lengths)
    return dims if free else own


def _plates(model: BoundModel, array: _Array, own: Sequence[str]) -> list[str]:
    """For each axis the one plate of its size; its own name where there is none, or two are."""
    sizes = [plate.size for plate in model.plates.values()]
    names = {plate.size: plate.name for plate in model.plates.values()}
    return [
        safe_name(names[n]) if sizes.count(n) == 1 else dim
        for dim, n in zip(own, array.data.shape, strict=True)
    ]


def _agreed(rows: Mapping[str, Sequence[pd.Index]]) -> dict[str, np.ndarray]:
    """The labels of rows where all columns agree on them, those of several levels as text."""
    labels = {}
    for dim, (index, *others) in rows.items():
        levels = isinstance(index, pd.MultiIndex)
        texts = [", ".join(map(str, each)) for each in index] if levels else index
        if all(each.equals(index) for each in others):
            labels[dim] = np.array(texts)
    return labels


def _safe(name: str) -> str:
    return name if name.isidentifier() else safe_name(name)
