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
from pyrovi.registry import refuse_unknown
from pyrovi.seeds import isolated

Reader = Callable[..., xr.DataTree]
Loaders = Mapping[str, Callable[[], xr.DataTree]]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One form of an entry's model; the fields are those of `ZooModel`, as there if None."""

    model: Callable[..., Any]
    simulate: Callable[..., xr.DataTree] | None = None
    loaders: Loaders | None = None
    reader: Reader | None = None
    reader_of_new: Reader | None = None


@dataclass(frozen=True, kw_only=True)
class ZooModel:
    """A model with data, a simulator and alternatives of the same model.

    Attributes:
        name: What `pyrovi.models.get` takes; of a variant, ``entry:variant``.
        title: One line, for lists and reports.
        model: The Pyro callable. Its arguments are the variables of the data.
        simulate: ``simulate(seed)`` gives data drawn from the model, with its ``truth``.
        loaders: Real data sets, by name; the default first.
        variants: The model in other forms, by name; the default first.
        reader: ``reader(frame, **options)`` makes data of a table whose columns have names of
            their own; None where columns must be named after the model's arguments.
        reader_of_new: ``reader_of_new(frame, fitted, **options)`` makes new rows of such a table,
            in the units of the ``fitted`` data; the options are those of ``reader``.
    """

    name: str
    title: str
    model: Callable[..., Any]
    simulate: Callable[..., xr.DataTree]
    loaders: Loaders = field(default_factory=dict)
    variants: Mapping[str, Variant] = field(default_factory=dict)
    reader: Reader | None = None
    reader_of_new: Reader | None = None

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names that `load` knows; the default first."""
        return tuple(self.loaders)

    def load(self, name: str | None = None) -> xr.DataTree:
        """Real data: those called ``name``, or the default; `DataError` if there are none."""
        if not self.loaders:
            raise DataError(f"{self.name!r} has no real data. Use simulate(seed).")
        chosen = self.datasets[0] if name is None else name
        said = f"{self.name!r} has no data set {chosen!r}"
        refuse_unknown(chosen, self.loaders, DataError, said)
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
        reader, given = self._typed(self.reader, frame, options)
        for name, parameter in options_of(reader).items():
            if parameter.default is parameter.empty and name not in options:
                raise DataError(
                    f"To read a table {self.name!r} needs the option {name!r} "
                    f"(--{name.replace('_', '-')}). It takes: {', '.join(options_of(reader))}."
                )
        return reader(frame, **given)

    def read_new(self, frame: Any, fitted: xr.DataTree, **options: Any) -> xr.DataTree:
        """New rows of such a table, to predict at: `pyrovi.predict(fit, entry.read_new(...))`.

        Columns are standardised as those that were fitted. What is observed need not be there.

        Args:
            frame: The table of new rows.
            fitted: The data that were fitted, ``fit.data``.
            options: Those that the fitted table was read with.

        Raises:
            DataError: As `read`.
        """
        given = self._typed(self.reader, frame, options)[1]
        if self.reader_of_new is None:
            raise DataError(
                f"{self.name!r} reads no tables of new rows. Name the columns after the model's "
                "arguments."
            )
        return self.reader_of_new(frame, fitted, **given)

    def _typed(
        self, reader: Reader | None, frame: Any, options: Mapping[str, Any]
    ) -> tuple[Reader, dict[str, Any]]:
        """The reader of a table, and its options as it takes them."""
        if reader is None:
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
        for name in options:
            said = f"{self.name!r} has no option {name!r} for a table"
            refuse_unknown(name, options_of(reader), DataError, said)
        return reader, typed(reader, options)

    def variant(self, name: str) -> "ZooModel":
        """The entry with the variant ``name`` as its model; `UnknownModelError` if none is."""
        said = f"{self.name!r} has no variant {name!r}"
        refuse_unknown(name, self.variants, UnknownModelError, said)
        own = {n: each for n, each in vars(self.variants[name]).items() if each is not None}
        return dataclasses.replace(self, name=f"{self.name}:{name}", **own)


def variants_of(
    forms: Mapping[str, Callable[..., Any]],
    simulate: Callable[..., xr.DataTree],
    **others: Mapping[str, Any],
) -> dict[str, Variant]:
    """A variant of each form, simulated by ``simulate(seed, variant=name)``.

    ``others`` are what else a variant has of its own, by its name.
    """
    return {
        name: Variant(model=form, simulate=partial(simulate, variant=name), **others.get(name, {}))
        for name, form in forms.items()
    }


def variant_named(name: str, variants: Mapping[str, Any]) -> Any:
    """What ``variants`` has by that name; `UnknownModelError` if it has none."""
    said = f"There is no variant {name!r}"
    refuse_unknown(name, variants, UnknownModelError, said, there="There is")
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
    """Every site's value in one run, in float64, with the observations drawn and not given.

    Simulating with the model itself keeps simulator and density the same distribution. Observed
    arguments serve for their shapes alone.
    """
    with default_dtype(torch.float64), isolated(seed), torch.no_grad():
        trace = pyro.poutine.trace(pyro.poutine.uncondition(model)).get_trace(**arguments)
    nodes: dict[str, Any] = dict(trace.nodes)
    return {
        name: site["value"].numpy()
        for name, site in nodes.items()
        if site["type"] == "sample" and not pyro.poutine.util.site_is_subsample(site)
    }
