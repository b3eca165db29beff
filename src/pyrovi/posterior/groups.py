"""The groups of the tree: datasets with the model's dims and the data's coordinates."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.bound import (
    BoundModel,
    PredictionError,
    Site,
    constrained,
    hidden_values,
    observed_values,
    prior_draws,
    same_values,
    supports_of,
    to_numpy,
)
from pyrovi.errors import DataError
from pyrovi.posterior.chain import Arrays, as_arrays, spread_over
from pyrovi.posterior.drifting import DRIFT_STATS
from pyrovi.seeds import stream
from pyrovi.tree import (
    DISCREPANCIES,
    LEARNT,
    MASKED,
    OF_SITE,
    SAMPLE_DIMS,
    SELECTED,
    grow,
    held,
    levels_in,
    safe_name,
)

PRIOR_DRAWS, MIN_PRIOR_DRAWS = 500, 50
PRIOR_ENTRIES = 10_000_000  # numbers in all prior draws together, where there are more than those
EXTRA_DIMS = {"drift": ("drift_state",)}  # dims between the draw's and the site's own
OWN_DIMS = ("log_prior", "log_guide", "unconstrained_posterior")  # plates do not name their axes
VALUES = (
    "posterior",
    "posterior_predictive",
    "prior",
    "prior_predictive",
    "predictions",
)  # not densities
CENSORED = (
    "What masks hide of {0} is observed by other terms of the model, as what is censored is. The "
    "entries left were chosen by their values, so predictive checks leave {0} out."
)
DESCRIPTIONS = ("units", "long_name")  # attributes of data that hold for predictions of them too


def with_observed(data: xr.DataTree, model: BoundModel) -> xr.DataTree:
    """The data, with what each site observed under its own name, as predictions have it.

    An argument of the same name with other values (the model transforms it) makes room, and goes
    to ``constant_data``.
    """
    before = held(data, "observed_data"), held(data, "constant_data")
    groups = _Groups(*before, {})
    for site, values in observed_values(model).items():
        groups.add(model.site(site), values)
    after = groups.observed, groups.constant
    if groups.added:
        added = _labelled(xr.Dataset(groups.added), data)
        after = groups.observed.merge(added, join="exact"), groups.constant
    named = zip(("observed_data", "constant_data"), before, after, strict=True)
    return grow(data, **{name: new for name, old, new in named if new is not old})


def masked(
    model: BoundModel, data: xr.DataTree, log_likelihood: Arrays
) -> tuple[dict[str, xr.Dataset], list[str]]:
    """Which observations the model's masks hide at every draw, and notes; no group if none.

    A mask may hang on latent values; what it hides at a draw has a log likelihood of zero there.
    """
    found: dict[str, xr.DataArray] = {}
    for name, hidden in hidden_values(model).items():
        entries = hidden.entries
        if name in log_likelihood:
            zero = (log_likelihood[name] == 0).all((0, 1))
            entries = entries & zero.reshape(zero.shape + (1,) * (entries.ndim - zero.ndim))
        if entries.any():
            attrs = {SELECTED: int(hidden.selected)}
            dims = _dims(model, held(data, "observed_data").variables, name)
            found[safe_name(name)] = xr.DataArray(entries, dims=dims, attrs=attrs)
    notes = [CENSORED.format(name) for name, each in found.items() if each.attrs[SELECTED]]
    return {MASKED: _labelled(xr.Dataset(found), data)} if found else {}, notes


@dataclass
class _Groups:
    """The groups of the data, and what is to be added to the first, all at once."""

    observed: xr.Dataset
    constant: xr.Dataset
    added: dict[str, xr.Variable]

    def add(self, site: Site, values: np.ndarray) -> None:
        """Take in what one site observed."""
        name = safe_name(site.name)
        namesake = self.observed[name] if name in self.observed else None  # noqa: SIM401  slow
        if namesake is not None and same_values(namesake.to_numpy(), values):
            return
        if namesake is not None:
            self.observed = self.observed.drop_vars(name)
        if namesake is not None and OF_SITE not in namesake.attrs:
            self.constant = self.constant.assign({name: namesake})
        unnamed = xr.Variable([safe_name(dim) for dim in site.dims], values)
        alike = (each for each in self._arguments if same_values(each.to_numpy(), values))
        self.added[name] = self._of_site(name, next(alike, unnamed))

    @property
    def _arguments(self) -> Iterator[xr.Variable]:
        """What may give a site its axes; a number of another site has none to share."""
        groups = self.observed, self.constant
        held_now = [group.variables[each] for group in groups for each in group.data_vars]
        for each in (*held_now, *self.added.values()):
            if each.ndim or OF_SITE not in each.attrs:
                yield each

    def _of_site(self, name: str, like: xr.Variable) -> xr.Variable:
        """``like`` under a site's name; its dims its own where they would clash."""
        own = [f"{name}_dim_{axis}" for axis in range(like.ndim)]
        dims = own if own and self._clashes(like) else like.dims
        return xr.Variable(dims, like.data, {**like.attrs, OF_SITE: 1})

    def _clashes(self, like: xr.Variable) -> bool:
        """Whether a dim has another length here, or is the name of a variable."""
        sizes = {d: n for each in self.added.values() for d, n in each.sizes.items()}
        sizes |= self.observed.sizes
        names = {*self.observed.data_vars, *self.added}
        return any(sizes.get(d, n) != n or d in names for d, n in like.sizes.items())


def draw_groups(
    model: BoundModel, data: xr.DataTree, stacked: Mapping[str, Arrays]
) -> dict[str, xr.Dataset]:
    """The groups of draws, of arrays that have the chain and the draw first."""
    apart = ("sample_stats", DRIFT_STATS)
    groups = {
        group: _dataset(model, data, group, variables)
        for group, variables in stacked.items()
        if variables and group not in apart
    }
    if "posterior_predictive" in groups and "posterior" in groups:
        groups["posterior_predictive"] = _replicated(
            groups["posterior_predictive"], groups["posterior"]
        )
    for name, value in stacked.get(DRIFT_STATS, {}).items():
        groups["drift"][name] = (SAMPLE_DIMS, value)
    return groups


def _replicated(replications: xr.Dataset, posterior: xr.Dataset) -> xr.Dataset:
    """With the numbers of the draws that they are of, which may be some of all."""
    draws = spread_over(posterior.sizes["draw"], replications.sizes["draw"])
    return replications.assign_coords(draw=draws)


def prior_groups(
    model: BoundModel, data: xr.DataTree, seed: int, *, kept: Collection[str] = ()
) -> tuple[dict[str, xr.Dataset], list[str]]:
    """Draws from the prior, where it is proper; and notes where there are none.

    Observed sites of ``kept`` are not drawn.
    """
    improper = [site.name for site in model.latent if site.improper]
    if improper:
        names = ", ".join(improper)
        return {}, [f"The prior of {names} is improper: it cannot be drawn from, so is left out."]
    try:
        each = sum(prod(site.shape) for site in model.sites)
        count = max(MIN_PRIOR_DRAWS, min(PRIOR_DRAWS, PRIOR_ENTRIES // max(each, 1)))
        drawn = prior_draws(model, count, stream(seed, "prior"), kept=kept)
    except PredictionError as error:
        return {}, [
            f"The prior could not be drawn from ({error.reason}): there is no prior group."
        ]
    parts: dict[str, Arrays] = {"prior": {}, "prior_predictive": {}}
    for name, value in as_arrays(drawn, copy=False).items():
        observed = model.site(name).kind == "observed"
        parts["prior_predictive" if observed else "prior"][name] = value[None]
    return draw_groups(model, data, parts), []


def learnt(models: Sequence[BoundModel]) -> dict[str, xr.Dataset]:
    """The parameters that each chain learnt, as a group; the attribute ``support`` says where."""
    states = [constrained(model.params) for model in models]
    variables: dict[str, Any] = {}
    supports = supports_of(models[0].params)
    for name in states[0]:
        value = np.stack([to_numpy(each[name]) for each in states])
        dims = ["chain", *(f"{safe_name(name)}_dim_{axis}" for axis in range(value.ndim - 1))]
        variables[safe_name(name)] = (dims, value, {"support": supports[name]})
    return {LEARNT: xr.Dataset(variables)} if variables else {}


def discrepancies(tree: xr.DataTree, model: BoundModel, seed: int) -> dict[str, xr.Dataset]:
    """The statistics that the model declares, as a group; none of data without what they read."""
    declared = model.structure.discrepancies
    if declared is None:
        return {}
    try:
        statistics = declared(tree, model.model, seed)
    except DataError:
        return {}
    shortest = min(len(each.replicated) for each in statistics.values())
    dims = ("statistic", "replication")
    variables = {
        "data": (dims, np.stack([each.data[:shortest] for each in statistics.values()])),
        "replicated": (
            dims,
            np.stack([each.replicated[:shortest] for each in statistics.values()]),
        ),
        "smaller": ("statistic", [each.smaller for each in statistics.values()]),
        "larger": ("statistic", [each.larger for each in statistics.values()]),
    }
    return {DISCREPANCIES: xr.Dataset(variables, {"statistic": list(statistics)})}


def _dataset(model: BoundModel, data: xr.DataTree, group: str, variables: Arrays) -> xr.Dataset:
    extra = EXTRA_DIMS.get(group, ())
    observed = held(data, "observed_data").variables
    built: dict[str, Any] = {}
    for name, value in variables.items():
        count = value.ndim - len(SAMPLE_DIMS) - len(extra)
        own = [f"{safe_name(name)}_dim_{axis}" for axis in range(count)]
        dims = own if group in OWN_DIMS else _dims(model, observed, name)[:count]
        attrs = _attributes(model, observed, name) if group in VALUES else {}
        built[safe_name(name)] = ((*SAMPLE_DIMS, *extra, *dims), value, attrs)
    return _labelled(xr.Dataset(built), data)


def _dims(model: BoundModel, data: Mapping[Any, xr.Variable], name: str) -> list[str]:
    """The dims of a site; of an observed one those of the data, which it is compared with."""
    site, observed = model.site(name), data.get(safe_name(name))
    if site.kind == "observed" and observed is not None and observed.shape == site.shape:
        return [str(dim) for dim in observed.dims]
    return [safe_name(dim) for dim in site.dims]


def _attributes(model: BoundModel, data: Mapping[Any, xr.Variable], name: str) -> dict[Any, Any]:
    """What the values of a site are, as its data say, or the model declares."""
    observed, units = data.get(safe_name(name)), model.structure.units
    attrs = {} if observed is None else observed.attrs
    of_data = {key: value for key, value in attrs.items() if key in DESCRIPTIONS}
    return of_data | ({"units": units[name]} if name in units else {})


def _labelled(dataset: xr.Dataset, data: xr.DataTree) -> xr.Dataset:
    """With the data's coordinates along its dims, or the labels of its levels; else numbered."""
    coords: dict[Any, Any] = {dim: np.arange(size) for dim, size in dataset.sizes.items()}
    coords |= {
        dim: labels[: dataset.sizes[dim]]  # fewer, where the last ones are not in new data
        for dim, labels in levels_in(data).items()
        if dataset.sizes.get(dim, np.inf) <= len(labels) and dim not in dataset.data_vars
    }
    groups = held(data, "constant_data"), held(data, "observed_data")
    for name, coord in [each for group in groups for each in group.coords.items()]:
        fits = coord.ndim and all(dataset.sizes.get(d) == n for d, n in coord.sizes.items())
        if fits and name not in dataset.data_vars:
            coords[name] = coord.variable
    return dataset.assign_coords(coords)
