"""What a model is called with at new data: what was given anew, and the rest as it was fitted.

Axes go by their names. Where every argument along an axis of the observations is given anew, its
rows are new ones; where some are left, they are those that were fitted, under other circumstances.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from torch import Tensor

from pyrovi.bound import (
    BoundModel,
    Coded,
    Signature,
    by_name,
    convert,
    in_codes,
    recoded,
    row_labels,
    to_numpy,
    with_levels,
)
from pyrovi.errors import DataError
from pyrovi.infer import Fit
from pyrovi.tree import CAME_AS, LEVELS, LEVELS_OF, MISSING, OF_SITE, grow, held, original_name


@dataclass(frozen=True)
class NewData:
    """What was given anew, and what that makes of the rest.

    Attributes:
        values: Every argument by its name; arrays with the names of their axes.
        lengths: Of each axis of what was given anew, and of observations that go with it.
        rows: The axes of observations along which all rows are new.
        before: How long they were when the model was fitted.
    """

    values: Mapping[str, Any]
    lengths: Mapping[str, int]
    rows: frozenset[str]
    before: Mapping[str, int]


def new_data(fit: Fit, data: Any, *, new_levels: bool = False) -> NewData:
    """The arguments of the fitted model at new data.

    What the model observes need not be given: any values in its support stand in, and are not
    looked at. Labels have the codes that they were fitted by; ``new_levels`` allows for more.

    Raises:
        DataError: If nothing is given, an argument that goes with new rows is not, two of them
            are not of one length, or a label is new.
    """
    signature = Signature.of(fit.model.model)
    declared = fit.model.structure.metadata
    came = {n: v for n, v in by_name(signature, data).items() if signature.takes(n, v, declared)}
    fitted = signature.named(fit.arguments.args, fit.arguments.kwargs)
    fitted |= {n: v for n, v in by_name(signature, fit.data).items() if n in fitted}
    if not came:
        raise DataError(
            f"No new data came, and {fit.model.name!r} takes "
            f"{', '.join(signature.names) or 'no arguments: give it its data by arguments'}."
        )
    given = {
        name: _coded_alike(name, _with_axes(name, value, fitted.get(name)), fitted, new_levels)
        for name, value in came.items()
    }
    rows = _Rows(fitted, given, _observed(fit.data), _inside_events(fit.model))
    values = fitted | rows.stand_ins | given
    return NewData(values, rows.lengths, rows.new, rows.before)


def _observed(data: xr.DataTree) -> frozenset[str]:
    """The arguments that the model observes."""
    variables = held(data, "observed_data").data_vars.items()
    return frozenset(original_name(str(n)) for n, v in variables if OF_SITE not in v.attrs)


def _inside_events(model: BoundModel) -> frozenset[str]:
    """The axes that lie inside of what is observed at once."""
    sites = [site for site in model.observed if site.event_dim]
    return frozenset(dim for site in sites for dim in site.dims[-site.event_dim :])


def _with_axes(name: str, value: Any, fitted: Any) -> Any:
    """An array with the names that its axes had when it was fitted; anything else as it is."""
    if isinstance(value, xr.DataArray):
        return in_codes(name, value)
    of_labels = isinstance(fitted, xr.DataArray) and convert(name, fitted).levels is not None
    converted = convert(name, [value] if isinstance(value, str) and of_labels else value)
    if not isinstance(converted.value, Tensor) or not converted.value.dim():
        return value
    array = to_numpy(converted.value)
    known = isinstance(fitted, xr.DataArray) and fitted.ndim == array.ndim
    dims = fitted.dims if known else [f"{name}_dim_{axis}" for axis in range(array.ndim)]
    labels = row_labels(value)
    made = xr.DataArray(array, dims=dims, coords={} if labels is None else {dims[0]: labels})
    return made if converted.levels is None else with_levels(made, Coded(array, converted.levels))


def _coded_alike(name: str, value: Any, fitted: Mapping[str, Any], more: bool) -> Any:
    """Labels by the codes that they had; numbers are codes, unless the labels are numbers."""
    if not (isinstance(value, xr.DataArray) and isinstance(fitted.get(name), xr.DataArray)):
        return value
    known, come = convert(name, fitted[name]).levels, convert(name, value).levels
    if known is None:
        return value
    if come is None and known.dtype.kind not in "if":
        return value.assign_attrs({LEVELS: fitted[name].attrs[LEVELS]})
    codes = value.to_numpy()
    if come is None:
        come, codes = np.unique(codes, return_inverse=True)
    own = Coded(codes.reshape(value.shape), pd.Index(come))
    return with_levels(value, recoded(name, own, known, more=more))


def with_level_dims(tree: xr.DataTree, fitted: xr.DataTree) -> xr.DataTree:
    """The new data, whose labels are along the dims that those of the fit are along."""
    before = held(fitted, "constant_data").data_vars
    group = held(tree, "constant_data")
    for name, value in group.data_vars.items():
        if LEVELS in value.attrs and name in before and LEVELS_OF in before[name].attrs:
            value.attrs[LEVELS_OF] = before[name].attrs[LEVELS_OF]
    return grow(tree, constant_data=group) if "constant_data" in tree else tree


@dataclass
class _Rows:
    """Which axes are of new rows, and what goes with them."""

    fitted: Mapping[str, Any]
    given: Mapping[str, Any]
    observed: frozenset[str]
    inside: frozenset[str]
    lengths: dict[str, int] = field(default_factory=dict)
    new: frozenset[str] = frozenset()
    stand_ins: dict[str, xr.DataArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in _arrays(self.given).items():
            for dim, length in value.sizes.items():
                self._note(name, str(dim), length)
        given = [dim for dim in self.lengths if self._is_given(dim)]
        self.new = frozenset(dim for dim in given if self._is_observed(dim))
        for name in self.observed - self.given.keys():
            self._stand_in(name, self.fitted[name])

    def _note(self, name: str, dim: str, length: int) -> None:
        if self.lengths.setdefault(dim, length) != length:
            raise DataError(
                f"{name} has {length} along {dim!r}, and what came before it {self.lengths[dim]}. "
                "Give all that goes with the new rows in one length."
            )

    def _is_given(self, dim: str) -> bool:
        """Whether all arguments along an axis were given anew."""
        before, now = self._before(dim), self.lengths[dim]
        left = [name for name, v in self._left.items() if before in _lengths(v, dim, before)]
        if left and before != now:
            raise DataError(
                f"The new data has {now} along {dim!r}, where {before} were fitted, and "
                f"{', '.join(left)} goes with them. Give it for the new ones, too."
            )
        return not left

    def _is_observed(self, dim: str) -> bool:
        """Whether what the model observes has such an axis, but for one inside of each row."""
        before, names = self._before(dim), self.observed & self.fitted.keys()
        seen = _arrays({name: self.fitted[name] for name in names})
        return any(
            before in _lengths(value, dim, before) and not self._is_inside(value, dim)
            for value in seen.values()
        )

    def _is_inside(self, value: xr.DataArray, dim: str) -> bool:
        """Whether an axis lies inside of rows, which another axis counts, and is as it was."""
        others = any(str(each) not in self.inside for each in value.dims)
        return others and dim in self.inside and self._before(dim) == self.lengths[dim]

    @property
    def before(self) -> dict[str, int]:
        """How long the axes of new rows were."""
        lengths = {dim: self._before(dim) for dim in self.new}
        return {dim: n for dim, n in lengths.items() if n is not None}

    @property
    def _left(self) -> dict[str, xr.DataArray]:
        """What is as it was fitted, and is not observed."""
        names = self.fitted.keys() - self.given.keys() - self.observed
        return _arrays({name: self.fitted[name] for name in sorted(names)})

    def _before(self, dim: str) -> int | None:
        """How long an axis was when it was fitted."""
        sizes = (each.sizes for each in _arrays(self.fitted).values())
        return next((own[dim] for own in sizes if dim in own), None)

    def _stand_in(self, name: str, value: Any) -> None:
        """What was observed, over again or cut to the length of the new rows."""
        if not isinstance(value, xr.DataArray):
            return
        places = {}
        for dim, before in value.sizes.items():
            now = self._now(str(dim), before)
            if now is not None:
                places[dim] = np.arange(now) % before
                self.lengths[str(dim)] = now
        self.stand_ins[name] = _whole(value).isel(places).drop_vars(list(places), errors="ignore")
        self.new |= {str(dim) for dim in places}

    def _now(self, dim: str, before: int) -> int | None:
        """How long an axis of what is observed is to be: as the new rows that went with it.

        It has their name, or their length where no array gave a name to both.
        """
        if dim in self.lengths:
            return self.lengths[dim] if dim in self.new else None
        alike = {self.lengths[each] for each in self.new if self._before(each) == before}
        return alike.pop() if len(alike) == 1 else None


def _arrays(values: Mapping[str, Any]) -> dict[str, xr.DataArray]:
    return {name: v for name, v in values.items() if isinstance(v, xr.DataArray) and v.ndim}


def _lengths(value: xr.DataArray, dim: str, before: int | None) -> list[int | None]:
    """The lengths of an array's axes that go by a name; of one whose axes have none, all."""
    unnamed = all(str(own).startswith(f"{value.name}_dim_") for own in value.dims)
    return [n for own, n in value.sizes.items() if own == dim or (unnamed and n == before)]


def _whole(value: xr.DataArray) -> xr.DataArray:
    """With some value that was seen where one was missing."""
    if value.dtype.kind != "f" or np.isfinite(value.to_numpy()).all():
        return value
    seen = value.to_numpy()[np.isfinite(value.to_numpy())].flat[0]
    dtype = value.attrs.get(CAME_AS, value.dtype)
    kept = {name: v for name, v in value.attrs.items() if name not in (MISSING, CAME_AS)}
    return value.fillna(seen).astype(dtype).assign_attrs(kept)


def labels_of(value: Any, dim: str) -> pd.Index | None:
    """The labels along an axis, unless they only count."""
    if not isinstance(value, xr.DataArray) or dim not in value.coords:
        return None
    index = pd.Index(value.coords[dim].to_numpy())
    counts = index.equals(pd.RangeIndex(len(index)))
    return None if counts else index
