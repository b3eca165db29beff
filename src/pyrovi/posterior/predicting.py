"""`predict`: what a fitted model says of data that it has not seen.

A latent variable that stands for what is still there (a coefficient, a group that was fitted) has
its posterior; one that belongs to new rows, or to a group that is new, is drawn from its
distribution given the others.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from pyrovi.bound import (
    BoundModel,
    Site,
    as_tree,
    bind,
    bind_model,
    conditional_draws,
    discrete_draws,
    predictions,
    undrawable,
)
from pyrovi.density import fitting_threads, in_one_sentence
from pyrovi.errors import DataError, EngineError, ModelError, check_whole_number
from pyrovi.infer import Fit
from pyrovi.posterior.chain import Arrays, as_arrays, stack_chains
from pyrovi.posterior.drawing import check_fit, even
from pyrovi.posterior.groups import draw_groups
from pyrovi.posterior.new_data import NewData, labels_of, new_data, with_level_dims
from pyrovi.seeds import stream
from pyrovi.tree import CONSTANT_OF_PREDICTIONS, PREDICTIONS, grow, held

Sources = Mapping[str, tuple[np.ndarray, ...]]
NEW_LEVELS = REFUSE, DRAW = "refuse", "draw"


def predict(
    fit: Fit,
    data: Any,
    draws: int = 2000,
    *,
    new_levels: str = REFUSE,
    tree: xr.DataTree | None = None,
) -> xr.DataTree:
    """Predict what the model observes, at new data.

    What the model observes need not be given; nor need what stays as it was fitted, such as the
    number of groups. The model's plates take the new lengths. A latent variable of new rows (the
    component of a new point) is drawn given the others. Rows or groups that carry the labels of
    fitted ones keep theirs.

    Args:
        fit: What `pyrovi.fit` returned, or `pyrovi.Fit.open` read.
        data: The new data, in any form that `pyrovi.fit` takes, by the same names.
        draws: How many draws of each chain.
        new_levels: What to do where a group is new, one that was not fitted: ``"refuse"`` it, or
            ``"draw"`` what belongs to it from its distribution over all groups.
        tree: What `pyrovi.draw` returned, to be grown; none for a tree of the predictions alone.

    Returns:
        The groups ``predictions``, with the observed and deterministic variables, ``(chain, draw,
        *shape)``, and ``predictions_constant_data``, by ArviZ's names.

    Raises:
        FitError: If ``fit`` is none, or every run of it diverged.
        DataError: If the new data lack what goes with their rows, or are not what the model takes.
        EngineError: If ``draws`` is no positive whole number, or ``new_levels`` is neither.

    >>> import pyro, pyro.distributions as dist, torch, pyrovi as vi
    >>> def line(x, y):
    ...     slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    ...     with pyro.plate("row", len(x)):
    ...         pyro.sample("y", dist.Normal(slope * x, 0.1), obs=y)
    >>> fit = vi.fit(line, {"x": [1.0, 2.0, 3.0], "y": [2.0, 4.1, 5.9]}, seed=0)
    >>> dict(vi.predict(fit, {"x": [4.0, 5.0]})["predictions"].sizes)
    {'chain': 1, 'draw': 2000, 'row': 2}
    """
    check_fit(fit)
    check_whole_number(draws, "draws", EngineError)
    if new_levels not in NEW_LEVELS:
        raise EngineError(
            f"new_levels is 'refuse' or 'draw', and {new_levels!r} came: whether groups that were "
            "not fitted are an error, or drawn from the population."
        )
    with fitting_threads(fit.density), in_one_sentence(fit.model.name, "predicted from"):
        return grow(
            xr.DataTree() if tree is None else tree, **_groups(fit, data, draws, new_levels)
        )


ROOM = (
    "For new groups there must be as many places: where the model's plate of them takes its "
    "length from an argument, give that as well; a plate of a fixed number has none."
)


def _groups(fit: Fit, data: Any, draws: int, new_levels: str) -> dict[str, xr.Dataset]:
    new = new_data(fit, data, new_levels=new_levels == DRAW)
    try:
        model = bind_model(fit.model.model, bind(fit.model.model, dict(new.values)))
    except ModelError as error:
        if new_levels != DRAW:
            raise
        raise ModelError(f"{error} {ROOM}") from error
    sources = _Placed(fit, model, new, draw=new_levels == DRAW).sources
    chains = [
        _one_chain(run.density.model, model, sources, values, stream(fit.seed, "new", chain))
        for chain, (run, values) in enumerate(zip(fit.chains, _drawn(fit, draws), strict=True))
    ]
    named = with_level_dims(as_tree(model, dict(new.values)), fit.data)
    groups = draw_groups(model, named, stack_chains(chains))
    groups[CONSTANT_OF_PREDICTIONS] = held(named, "constant_data")
    return groups


def _drawn(fit: Fit, draws: int) -> list[dict[str, Tensor]]:
    """The continuous latent variables of each chain, ``(draw, *shape)``."""
    pairs = zip(fit.chains, even(fit.draw(draws)), strict=True)
    return [run.density.constrain(each.flat) for run, each in pairs]


def _one_chain(
    fitted: BoundModel, model: BoundModel, sources: Sources, values: dict[str, Tensor], seed: int
) -> dict[str, Arrays]:
    """What the model predicts, given the draws of one chain."""
    model = model.with_parameters(fitted.learnt)
    if any(site.name in sources for site in fitted.discrete):
        values = values | discrete_draws(fitted, values, stream(seed, "discrete"))
    placed = {name: _taken(values[name], places) for name, places in sources.items()}
    whole = {name: value for name, (value, known) in placed.items() if bool(known.all())}
    part = {name: each for name, each in placed.items() if name not in whole}
    count = len(next(iter(values.values())))
    drawn = conditional_draws(model, [*part], whole, count, stream(seed, "levels"))
    known = {name: torch.where(here, value, drawn[name]) for name, (value, here) in part.items()}
    kept = undrawable(model)
    predicted = predictions(model, whole | known, stream(seed, "predict"), count, kept=kept)
    return {PREDICTIONS: as_arrays(predicted, copy=False)}


def _taken(value: Tensor, places: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Entries of draws, by where each was along every axis; and which of them were anywhere."""
    known = torch.ones((), dtype=torch.bool)
    for axis, where in enumerate(places, start=1):
        index = torch.as_tensor(where)
        value = value.index_select(axis, index.clamp(min=0))
        known = known[..., None] & (index >= 0)
    return value, known


@dataclass(frozen=True)
class _Placed:
    """Where the latent variables at new data were among those that were fitted."""

    fit: Fit
    model: BoundModel
    new: NewData
    draw: bool

    @property
    def sources(self) -> Sources:
        """For each axis the fitted place of every entry, -1 for none; not of what is all new."""
        found = {}
        fitted = {site.name: site for site in self.fit.model.sites if site.kind == "latent"}
        for site in self.model.sites:
            if site.kind != "latent" or site.name not in fitted:
                continue
            places = self._places(site, fitted[site.name])
            if all((where >= 0).any() for where in places):
                found[site.name] = places
        return found

    def _places(self, site: Site, fitted: Site) -> tuple[np.ndarray, ...]:
        if len(site.shape) != len(fitted.shape):
            raise DataError(
                f"{site.name} has the shape {site.shape} at the new data, and {fitted.shape} was "
                "fitted. A latent variable keeps its axes."
            )
        places = tuple(self._along(site, fitted, axis) for axis in range(len(site.shape)))
        for axis, where in enumerate(places):
            self._check(site, fitted, axis, where)
        return places

    def _along(self, site: Site, fitted: Site, axis: int) -> np.ndarray:
        dim, now, before = site.dims[axis], site.shape[axis], fitted.shape[axis]
        labels = self._labels(self.new.values, dim, now)
        were = self._labels(self._fitted_values, fitted.dims[axis], before)
        if labels is not None and were is not None:
            return were.get_indexer(labels)
        if self._of_rows(dim):
            return np.full(now, -1)
        return np.where(np.arange(now) < before, np.arange(now), -1)

    def _check(self, site: Site, fitted: Site, axis: int, where: np.ndarray) -> None:
        """Refuse what hangs together with what is new, and new groups that were not asked for."""
        dim, same = site.dims[axis], np.array_equal(where, np.arange(fitted.shape[axis]))
        of_event = axis >= len(site.shape) - site.event_dim
        if of_event and (not same or self._as_long_as_rows(dim, len(where))):
            raise DataError(
                f"{site.name} is one event along {dim!r}, of {fitted.shape[axis]} entries that "
                f"hang together, and {len(where)} are asked for at the new data. Only what stands "
                "in a plate can be drawn at new rows. Where it has nothing to do with them, name "
                "its axis in Structure.dims."
            )
        if (where < 0).any() and not (self.draw or self._of_rows(dim)):
            raise DataError(
                f"{int((where < 0).sum())} of the new data's {len(where)} along {dim!r} were not "
                f"fitted, and {site.name} has a value for each. Leave them out, or ask for "
                "new_levels='draw', which draws them from the population."
            )

    def _of_rows(self, dim: str) -> bool:
        """Whether an axis is one of new rows: it has their name, or observations lie along it."""
        observed = {d: n for each in self.model.observed for d, n in _sizes(each).items()}
        lengths = {self.new.lengths[row] for row in self.new.rows}
        return dim in self.new.rows or observed.get(dim) in lengths

    def _as_long_as_rows(self, dim: str, length: int) -> bool:
        """Whether an axis without a name of its own has the length of new rows, then and now."""
        rows = [row for row in self.new.rows if self.new.before.get(row) == length]
        unnamed = re.fullmatch(r".*_dim_\d+", dim) is not None
        return unnamed and any(self.new.lengths[row] == length for row in rows)

    def _labels(self, values: Mapping[str, Any], dim: str, length: int) -> Any:
        found = (labels_of(value, dim) for value in values.values())
        return next((each for each in found if each is not None and len(each) == length), None)

    @property
    def _fitted_values(self) -> Mapping[str, Any]:
        groups = (held(self.fit.data, name) for name in ("observed_data", "constant_data"))
        return {str(n): v for group in groups for n, v in group.data_vars.items()}


def _sizes(site: Site) -> dict[str, int]:
    return dict(zip(site.dims, site.shape, strict=True))
