"""The record of a zoo entry, and a model run forwards."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyro
import torch
import xarray as xr

from pyrovi.bound import default_dtype
from pyrovi.errors import DataError, UnknownModelError
from pyrovi.models.options import options_of, typed
from pyrovi.registry import nearest
from pyrovi.seeds import isolated

Reader = Callable[..., xr.DataTree]
Loaders = Mapping[str, Callable[[], xr.DataTree]]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One form of an entry's model; what it leaves out is as the entry has it.

    Attributes:
        model: The Pyro callable.
        simulate: ``simulate(seed)`` gives data drawn from this form, where it is another
            distribution than the entry's own.
        loaders: Real data sets, where this form needs others.
        reader: What reads its tables, where they are others.
    """

    model: Callable[..., Any]
    simulate: Callable[..., xr.DataTree] | None = None
    loaders: Loaders | None = None
    reader: Reader | None = None


@dataclass(frozen=True, kw_only=True)
class ZooModel:
    """A model with data, a simulator and alternatives of the same model.

    Attributes:
        name: The name that `pyrovi.models.get` knows; of a variant, ``entry:variant``.
        title: One line, for lists and reports.
        model: The Pyro callable. Its arguments are the variables of the data.
        simulate: ``simulate(seed)`` gives data drawn from the model, with its ``truth``.
        loaders: Real data sets, by name; the default first.
        variants: The model in other forms, by name; the default first.
        reader: ``reader(frame, **options)`` makes data of a table whose columns have names of
            their own; None where columns must be named after the model's arguments.
    """

    name: str
    title: str
    model: Callable[..., Any]
    simulate: Callable[..., xr.DataTree]
    loaders: Loaders = field(default_factory=dict)
    variants: Mapping[str, Variant] = field(default_factory=dict)
    reader: Reader | None = None

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names that `load` knows; the default first."""
        return tuple(self.loaders)

    def load(self, name: str | None = None) -> xr.DataTree:
        """Real data: the data set called ``name``, or the default.

        Raises:
            DataError: If there is no such data set.
        """
        if not self.loaders:
            raise DataError(f"{self.name!r} has no real data. Use simulate(seed).")
        chosen = self.datasets[0] if name is None else name
        if chosen not in self.loaders:
            raise DataError(
                f"{self.name!r} has no data set {chosen!r}{nearest(chosen, self.loaders)}. "
                f"It has: {', '.join(self.loaders)}."
            )
        return self.loaders[chosen]()

    @property
    def options(self) -> tuple[str, ...]:
        """What `read` can be told about a table."""
        return tuple(options_of(self.reader)) if self.reader is not None else ()

    def read(self, frame: Any, **options: Any) -> xr.DataTree:
        """The data of a table whose columns have names of their own, a `pandas.DataFrame`.

        An option may come as its text, such as ``width="20"``.

        Raises:
            DataError: If the entry reads no such tables, an option is unknown or lacking, or the
                table does not hold what is asked of it.
        """
        if self.reader is None:
            arguments = ", ".join(inspect.signature(self.model).parameters)
            raise DataError(
                f"{self.name!r} takes no options for a table ({', '.join(options) or 'none'} "
                f"came). Name the columns after the model's arguments: {arguments}."
            )
        if not isinstance(frame, pd.DataFrame):
            raise DataError(
                f"A table is a pandas DataFrame, and a {type(frame).__name__} came. "
                "Make one of it: pandas.DataFrame(...)."
            )
        self._refuse_unknown_or_lacking(options)
        return self.reader(frame, **typed(self.reader, options))

    def _refuse_unknown_or_lacking(self, options: Mapping[str, Any]) -> None:
        there = options_of(self.reader) if self.reader is not None else {}
        for name in options:
            if name not in there:
                raise DataError(
                    f"{self.name!r} has no option {name!r} for a table{nearest(name, there)}. "
                    f"It has: {', '.join(there)}."
                )
        for name, parameter in there.items():
            if parameter.default is parameter.empty and name not in options:
                raise DataError(
                    f"To read a table {self.name!r} needs the option {name!r} "
                    f"(--{name.replace('_', '-')}). It takes: {', '.join(there)}."
                )

    def variant(self, name: str) -> "ZooModel":
        """The entry with the variant called ``name`` as its model.

        Raises:
            UnknownModelError: If there is no such variant.
        """
        if name not in self.variants:
            raise UnknownModelError(
                f"{self.name!r} has no variant {name!r}{nearest(name, self.variants)}. "
                f"It has: {', '.join(self.variants)}."
            )
        form = self.variants[name]
        own = {n: each for n, each in vars(form).items() if each is not None}
        return dataclasses.replace(self, name=f"{self.name}:{name}", **own)


def variants_of(
    forms: Mapping[str, Callable[..., Any]],
    simulate: Callable[..., xr.DataTree],
    **others: Mapping[str, Any],
) -> dict[str, Variant]:
    """A variant of each form, whose data are those of ``simulate(seed, variant=name)``.

    Args:
        forms: The models, by name.
        simulate: The entry's simulator.
        others: What else a variant has of its own, by its name.
    """
    return {
        name: Variant(model=form, simulate=partial(simulate, variant=name), **others.get(name, {}))
        for name, form in forms.items()
    }


def variant_named(name: str, variants: Mapping[str, Any]) -> Any:
    """What ``variants`` has by that name.

    Raises:
        UnknownModelError: If it has none; the message names the nearest.
    """
    if name not in variants:
        raise UnknownModelError(
            f"There is no variant {name!r}{nearest(name, variants)}. There is: "
            f"{', '.join(variants)}."
        )
    return variants[name]


def as_floats(values: torch.Tensor) -> torch.Tensor:
    """Whole numbers as floats, which priors and products are made of; floats as they are.

    >>> as_floats(torch.tensor([1, 2])).is_floating_point()
    True
    """
    return values if values.is_floating_point() else values.to(torch.get_default_dtype())


def run_forward(
    model: Callable[..., Any], seed: int, arguments: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Every site's value in one run of the model with its observations drawn, not given.

    Simulating with the model itself keeps simulator and density the same distribution. Observed
    arguments serve for their shapes alone. Computed in float64.
    """
    with default_dtype(torch.float64), isolated(seed), torch.no_grad():
        trace = pyro.poutine.trace(pyro.poutine.uncondition(model)).get_trace(**arguments)
    nodes: dict[str, Any] = dict(trace.nodes)
    sites = {name: site for name, site in nodes.items() if site["type"] == "sample"}
    return {
        name: site["value"].numpy()
        for name, site in sites.items()
        if not pyro.poutine.util.site_is_subsample(site)
    }
