"""Quantities that lie in space: maps and sections of a field, and data at their stations.

A posterior variable is a field where two or three of its dims have coordinates that are real
numbers, as the centres of cells do. Data lie at stations where `constant_data` holds their
`position`, one row to an observation.
"""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from pyrovi.reports.numbers import short
from pyrovi.reports.parts import Plot
from pyrovi.reports.sections.groups import group, variables

FIELDS_CAP = 2
CELLS_CAP = 40_000
DOWN = "depth"  # the one coordinate that grows downwards by its name (CF conventions)
LINE = 0.05  # of the longer side: stations in a strip that narrow are along a line
POSITION = "position"


def is_field(variable: xr.DataArray) -> bool:
    """Whether the elements of ``variable`` lie in a plane or in space, on a grid."""
    return len(_axes(variable)) in (2, 3)


def _axes(variable: xr.DataArray) -> list[str]:
    """The dims along which there is more than one place."""
    axes = []
    for dim in variable.dims[2:]:
        ticks = variable[dim].to_numpy()
        if len(ticks) == 1:
            continue
        steps = np.diff(ticks) if ticks.dtype.kind == "f" else np.zeros(1)
        if not (np.all(steps > 0) or np.all(steps < 0)):
            return []
        axes.append(str(dim))
    return axes


# Fields


def field_plots(tree: xr.DataTree) -> Iterator[Plot]:
    """Of each field: its mean, its sd, a draw, and how much of the prior the data resolve."""
    drawn, prior, data = (group(tree, g) for g in ("posterior", "prior", "constant_data"))
    fields = [name for name, variable in variables(drawn).items() if is_field(variable)]
    for name in fields[:FIELDS_CAP]:
        yield from _field(name, drawn[name], prior.get(name), data)


def _field(
    name: str, drawn: xr.DataArray, prior: xr.DataArray | None, data: xr.Dataset
) -> Iterator[Plot]:
    mean, sd = drawn.mean(("chain", "draw")), drawn.std(("chain", "draw"))
    cut, where = _cut(mean)
    shown: dict[str, xr.DataArray] = {"mean": mean, "sd": sd, "one draw": drawn[0, 0]}
    if prior is not None and prior.shape[2:] == drawn.shape[2:]:
        before = prior.std(("chain", "draw"))
        share = 1 - (sd / before) ** 2
        shown["resolved"] = share.clip(min=0.0).where(before > 0)  # below it is by chance
    for title, values in shown.items():
        section = values.isel(cut).squeeze()
        if section.size <= CELLS_CAP and bool(np.isfinite(section).any()):
            unit = "share" if title == "resolved" else drawn.attrs.get("units", "")
            yield _map(f"{name}: {title}", section, CAPTIONS[title] + where, data, unit)


CAPTIONS = {
    "mean": "The posterior mean.",
    "sd": "The posterior standard deviation.",
    "one draw": "One draw: what is as likely as any other, and rougher than the mean.",
    "resolved": "The share of the prior's variance that the data took away: 1 is known, 0 is not.",
}


def _cut(mean: xr.DataArray) -> tuple[dict[str, int], str]:
    """Where to cut a body: across its shortest axis, where the mean is farthest from zero."""
    axes = _axes(mean.expand_dims(("chain", "draw")))
    if len(axes) < 3:
        return {}, ""
    across = min((axis for axis in axes if axis != DOWN), key=lambda axis: mean.sizes[axis])
    size = (mean**2).sum([axis for axis in axes if axis != across])
    index = int(np.argmax(size.to_numpy()))
    return {across: index}, f" Cut at {across} {short(float(mean[across][index]))}."


def _map(title: str, section: xr.DataArray, caption: str, data: xr.Dataset, unit: str) -> Plot:
    """One section; its rows from the bottom to the top of the picture."""
    up, along = (str(dim) for dim in section.dims)
    ticks = section[up].to_numpy()
    from_bottom = np.argsort(-ticks if up == DOWN else ticks)
    section = section.isel({up: from_bottom}).sortby(along)
    low, high = short(float(section.min())), short(float(section.max()))
    return Plot(
        kind="field",
        title=title,
        alt=f"{title} over {along} and {up}, from {low} to {high}.",
        caption=caption,
        arrays=(section[along].to_numpy(), section[up].to_numpy(), section.to_numpy()),
        labels=(*(_in_units(axis, data.coords.get(axis)) for axis in (along, up)), unit),
    )


def _in_units(name: str, measured: xr.DataArray | None) -> str:
    """``easting (m)`` where the data say what the coordinate is measured in."""
    unit = measured.attrs.get("units") if measured is not None else None
    return f"{name} ({unit})" if isinstance(unit, str) and unit else name


# Stations


def station_plots(
    tree: xr.DataTree, name: str, observed: xr.DataArray, predicted: np.ndarray
) -> Iterator[Plot]:
    """Data of shape (station,), and the draws (draw, station) predicted of them, at their places.

    There is none where the tree lacks the `position` of each.
    """
    place = _place(tree, observed)
    if place is None:
        return
    position = group(tree, "constant_data")[POSITION]
    span = {axis: float(np.ptp(ticks)) for axis, ticks in place.items()}
    if min(span.values()) <= LINE * max(span.values()):
        along = max(span, key=span.__getitem__)
        low, high = np.quantile(predicted, (0.05, 0.95), axis=0)
        rows = place[along], observed.to_numpy(), predicted.mean(0), low, high
        yield Plot(
            kind="profile",
            title=f"{name} along {along}",
            alt=f"{name} at {observed.size} stations along {along}, and what is predicted of it.",
            caption="The data (orange), and the mean and nine tenths of what is predicted.",
            arrays=(np.stack(rows)[:, np.argsort(place[along])],),
            labels=(_in_units(along, position), _in_units(name, observed)),
        )
        return
    mean, sd = predicted.mean(0), predicted.std(0)
    across = (observed.to_numpy() - mean) / np.where(sd > 0, sd, np.nan)
    less = "Observed less predicted, in sds of the prediction: no pattern should be left."
    unit = observed.attrs.get("units", "")
    for what, values, caption, measured in (
        ("observed", observed.to_numpy(), "The data at their stations.", unit),
        ("residual", across, less, "sd"),
    ):
        yield Plot(
            kind="stations",
            title=f"{name}: {what}",
            alt=f"{name}: {what} at {len(values)} stations.",
            caption=caption,
            arrays=(*place.values(), values),
            labels=(*(_in_units(axis, position) for axis in place), measured),
        )


def _place(tree: xr.DataTree, observed: xr.DataArray) -> dict[str, np.ndarray] | None:
    """The first two coordinates of each observation's position, by name."""
    position = group(tree, "constant_data").get(POSITION)
    if position is None or observed.ndim != 1 or position.ndim != 2:
        return None
    if position.dims[0] != observed.dims[0] or position.shape[1] < 2:
        return None
    names = [str(label) for label in position[position.dims[1]].to_numpy()[:2]]
    return {label: position.to_numpy()[:, i].astype(float) for i, label in enumerate(names)}
