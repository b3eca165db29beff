"""From whatever the data came in to the arguments that a Pyro model is called with.

An infinite value is an error, and so is NaN, unless the model itself keeps it out of its density
(`pyrovi.bound.gaps`). To leave values out of the likelihood on purpose, pass a
``numpy.ma.MaskedArray``: its masked entries are skipped where the model observes that argument,
and predicted like any other. In a labelled array the attribute `pyrovi.tree.MISSING` says the same
of its NaNs.
"""

import dis
import inspect
import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from pyrovi.bound.values import check_devices, check_inside, convert
from pyrovi.errors import DataError
from pyrovi.structure import handled_by_pyro, structure_of
from pyrovi.tree import CAME_AS, ITEM_OF, LACKING, METADATA, OF_SITE, OPTIONS, held, original_name


@dataclass(frozen=True)
class Arguments:
    """What a model is called with: ``model(*args, **kwargs)``."""

    args: tuple[Any, ...] = ()  # where the model takes some by position alone
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of what came labelled
    missing: Mapping[str, Tensor] = field(default_factory=dict)  # where masked values are
    levels: Mapping[str, pd.Index] = field(default_factory=dict)  # the labels behind codes


def bind(model: Callable[..., Any], data: Any) -> Arguments:
    """The arguments to call ``model`` with, from ``data`` in any of the forms people have it.

    Text and categories become codes from 0 on, of their labels in order: that of the
    categories, or sorted. Tuples of text are passed on as they are, and booleans stay masks.

    A variable that is marked as metadata, or that the model declares as such, is left out unless
    the model takes it by name.

    Args:
        model: A Pyro model. Its parameter names are the names looked for in the data.
        data: A dict, DataFrame, Dataset, DataTree (``observed_data`` and ``constant_data``), or
            a tuple of positional arguments, a single array or tensor; ``{}`` or ``None`` for a
            model that closes over its data. A dict none of whose keys is a parameter goes
            whole to a model that has one parameter.

    Raises:
        DataError: If a name is unknown or lacking, or a value is empty, infinite, or neither
            numbers nor labels.

    >>> def model(y, sigma=1.0): ...
    >>> bind(model, {"y": [28, 8, -3]}).kwargs
    {'y': tensor([28,  8, -3])}
    """
    signature = Signature.of(model)
    named = by_name(signature, data)
    declared = structure_of(model).metadata
    taken = {name: v for name, v in named.items() if signature.takes(name, v, declared)}
    _check_names(signature, taken, data)
    converted = {name: convert(name, value) for name, value in taken.items()}
    args, kwargs = signature.laid_out({name: each.value for name, each in converted.items()})
    check_devices({name: each.value for name, each in converted.items()})
    dims = {name: each.dims for name, each in converted.items() if each.dims is not None}
    missing = {name: each.missing for name, each in converted.items() if each.missing is not None}
    levels = {name: each.levels for name, each in converted.items() if each.levels is not None}
    return Arguments(args, kwargs, dims, missing, levels)


@dataclass(frozen=True)
class Signature:
    """The arguments that a model takes. The items of ``*parts`` are called parts_0, parts_1, …."""

    parameters: Mapping[str, inspect.Parameter]
    inner: bool = False  # whether they are those of a function that the model seems to call

    @classmethod
    def of(cls, model: Callable[..., Any]) -> "Signature":
        """That of a module is its forward's; one that Python cannot tell takes any name.

        What passes on whatever it is given takes what the one function takes that it can call.
        """
        try:
            own = cls(_signature(model).parameters)
        except (TypeError, ValueError):
            return cls({"kwargs": inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)})
        passes_on = own.parts is not None and not own.names and own.takes_any_name
        called = _called(model) if passes_on else None
        return own if called is None else replace(cls.of(called), inner=True)

    @cached_property
    def positional(self) -> list[str]:
        """Those that can be given by position."""
        return self._of_kind("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")

    @cached_property
    def names(self) -> list[str]:
        """All that have a name of their own."""
        return self._of_kind("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")

    @cached_property
    def parts(self) -> str | None:
        """The name of ``*parts``."""
        return next(iter(self._of_kind("VAR_POSITIONAL")), None)

    @cached_property
    def only(self) -> str | None:
        """The one argument of a model that can do with one."""
        own = [*self.names, *self._of_kind("VAR_POSITIONAL")]
        required = [name for name in self.lacking(()) if name in self.positional]
        if len(required) == 1:
            return required[0]
        if required or len(own) != 1:
            return None
        return f"{own[0]}_0" if own[0] == self.parts else own[0]

    def lacking(self, given: Container[str]) -> list[str]:
        """Those that have no default and are not among ``given``."""
        empty = inspect.Parameter.empty
        needed = [name for name in self.names if self.parameters[name].default is empty]
        return [name for name in needed if name not in given]

    def unknown(self, given: Iterable[str]) -> list[str]:
        """Which of ``given`` it does not take."""
        if self.takes_any_name:
            return []
        return [name for name in given if name not in self.names and not self._is_part(name)]

    @property
    def takes_any_name(self) -> bool:
        """Whether it has ``**rest``."""
        return bool(self._of_kind("VAR_KEYWORD"))

    def takes(self, name: str, value: Any, metadata: Iterable[str] = ()) -> bool:
        """Whether a variable is an argument: all are but metadata that it has no name for."""
        marked = isinstance(value, xr.DataArray) and value.attrs.get(METADATA)
        return name in self.names or not (marked or name in metadata)

    def laid_out(self, values: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Values by name as positional and keyword arguments."""
        parts = [name for name in values if self._is_part(name)]
        ahead = self.positional if parts else self._of_kind("POSITIONAL_ONLY")
        first = [*(name for name in ahead if name in values), *parts]
        rest = {name: value for name, value in values.items() if name not in first}
        return tuple(values[name] for name in first), rest

    def named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """By their names what `laid_out` laid out."""
        parts = (f"{self.parts}_{i}" for i in range(len(args)))
        return dict(zip([*self.positional, *parts], args, strict=False)) | {**kwargs}

    def _of_kind(self, *kinds: str) -> list[str]:
        return [name for name, each in self.parameters.items() if each.kind.name in kinds]

    def _is_part(self, name: str) -> bool:
        own = f"{self.parts}_"
        return self.parts is not None and name.startswith(own) and name[len(own) :].isdigit()


def _signature(model: Callable[..., Any]) -> inspect.Signature:
    """Python's, read through Pyro's handlers, with what a ``partial`` has given taken off."""
    target = model.forward if isinstance(model, torch.nn.Module) else model
    if not isinstance(target, partial):
        return inspect.signature(target)
    handled = handled_by_pyro(target)
    if handled is not None:
        return _signature(handled)

    def called(*args: Any, **kwargs: Any) -> None: ...

    called.__signature__ = _signature(target.func)
    return inspect.signature(partial(called, *target.args, **target.keywords))


def _called(model: Callable[..., Any]) -> Callable[..., Any] | None:
    """The one callable that a function closes over, or else names, or that an object holds.

    None where there are several, or where the function calls none with whatever it was given.
    """
    module = isinstance(model, torch.nn.Module)
    runs = type(model).forward if module else type(model).__call__
    function = model if inspect.isfunction(model) else runs
    if not inspect.isfunction(function) or not _passes_on(function):
        return None
    if function is model:
        variables = inspect.getclosurevars(function)
        held = [variables.nonlocals, variables.globals]
    else:
        held = [model._modules if module else vars(model)]
    candidates = ([v for v in each.values() if callable(v)] for each in held)
    found = next((each for each in candidates if each), [])
    return found[0] if len(found) == 1 else None


def _passes_on(function: Callable[..., Any]) -> bool:
    """Whether it calls something with ``*args`` or ``**kwargs``, and nothing before these."""
    done = {each.opname for each in dis.get_instructions(function)}
    return "CALL_FUNCTION_EX" in done and "LIST_EXTEND" not in done  # as f(first, *args) does


def by_name(signature: Signature, data: Any) -> dict[str, Any]:
    """The data by the names of the arguments, the values as they came."""
    for kinds, reading in READINGS:
        if isinstance(data, kinds):
            return reading(signature, data)
    return _by_position(signature, data)


def _tree(signature: Signature, tree: xr.DataTree) -> dict[str, Any]:
    options = json.loads(tree.attrs.get(OPTIONS, "{}"))
    if OPTIONS not in tree.attrs and not {"observed_data", "constant_data"} & set(tree.children):
        groups = ", ".join(tree.children) or "no groups"
        raise DataError(
            f"A data tree needs a group observed_data or constant_data, and this one has "
            f"{groups}. Build one with pyrovi.data_tree, or pass a dict."
        )
    observed, constant = held(tree, "observed_data"), held(tree, "constant_data")
    named = _variables(signature, observed) | _variables(signature, constant)
    items = {name: v for name, v in named.items() if ITEM_OF in v.attrs}
    for name, value in items.items():
        options.setdefault(value.attrs[ITEM_OF], {})[name] = _item(named.pop(name))
    return named | options


def _item(variable: xr.DataArray) -> Any:
    """An item of a dict as it was: nothing in a dict is converted."""
    array = variable.to_numpy().copy()
    return array if variable.attrs.get(CAME_AS) == "array" else torch.from_numpy(array)


def _variables(signature: Signature, group: xr.Dataset) -> dict[str, Any]:
    """The variables of a group; and a coordinate where the model needs one by its name."""
    named = {original_name(str(name)): v for name, v in group.data_vars.items()}
    needed = [name for name in signature.lacking(named) if name in group.coords]
    return {name: v for name, v in named.items() if OF_SITE not in v.attrs} | {
        name: group[name] for name in needed
    }


def _series(signature: Signature, series: Any) -> dict[str, Any]:
    named = series.name is not None
    return {str(series.name): series} if named else _by_position(signature, series)


def _frame(_signature: Signature, frame: pd.DataFrame) -> dict[str, Any]:
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"Column {twice!r} is there twice. Rename or drop one of the two.")
    return {str(name): frame[name] for name in frame.columns}


def _mapping(signature: Signature, data: Mapping[Any, Any]) -> dict[str, Any]:
    named = {str(name): value for name, value in data.items()}
    if not named or signature.only is None or any(name in signature.parameters for name in named):
        return named
    check_inside(data)
    return {signature.only: data}


READINGS: tuple[tuple[Any, Callable[[Signature, Any], dict[str, Any]]], ...] = (
    (type(None), lambda _signature, _data: {}),
    (xr.DataTree, _tree),
    (xr.Dataset, _variables),
    (pd.DataFrame, _frame),
    ((xr.DataArray, pd.Series), _series),
    (Mapping, _mapping),
)
"""The first kind that the data are of decides; data of none are given by position."""


def _by_position(signature: Signature, data: Any) -> dict[str, Any]:
    values = data if isinstance(data, tuple) else (data,)
    names = signature.positional
    if len(values) > len(names) and signature.parts is None:
        raise DataError(
            f"The model takes {len(names)} argument(s) ({', '.join(names) or 'none'}), and "
            f"{len(values)} came. Pass a dict by argument name."
        )
    lacking = [name for name in signature.lacking(names[: len(values)]) if name in names]
    if lacking and not signature.inner:
        raise DataError(
            f"The model also needs {', '.join(lacking)}, and only {len(values)} value(s) came. "
            "Pass a dict by argument name."
        )
    parts = [f"{signature.parts}_{i}" for i in range(len(values) - len(names))]
    return dict(zip([*names, *parts], values, strict=False))


def _check_names(signature: Signature, named: Mapping[str, Any], data: Any) -> None:
    unknown, lacking = signature.unknown(named), signature.lacking(named)
    if signature.inner:  # what calls it may add arguments, and take others off
        return
    if unknown:
        raise DataError(
            f"The data has {', '.join(unknown)}, which the model does not take; it takes "
            f"{', '.join(signature.names) or 'no arguments'}. Rename or drop what is extra, or "
            "declare it: data_tree(..., metadata={...}), or Structure.metadata of the model."
        )
    if lacking:
        kept = json.loads(data.attrs.get(LACKING, "[]")) if isinstance(data, xr.DataTree) else []
        advice = "Name each column or key after the model's argument."
        if kept:
            advice = f"A tree cannot hold what {', '.join(kept)} was: pass a dict that has it."
        raise DataError(
            f"The model needs {', '.join(lacking)}, and the data has "
            f"{', '.join(named) or 'nothing'}. {advice}"
        )
