"""Run a model for many draws of its latent values: to predict, and to draw discrete sites.

All draws go through one run, in a plate left of all others, as Pyro's own ``Predictive`` does it;
a draw's log density is then compared with that of a run of its own. A model that cannot be run so
(one that multiplies matrices as if there were one draw, say) is run by ``torch.func.vmap``, and
draw by draw if that cannot either.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, TypeVar

import pyro
import torch
from pyro.infer import config_enumerate, infer_discrete
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from pyrovi.bound.handlers import Bounded, Fix, Predict, Widen, widened
from pyrovi.bound.model import BoundModel
from pyrovi.bound.noise import OwnNoise
from pyrovi.bound.pyro_patches import drawn_for_many
from pyrovi.bound.sites import Trace
from pyrovi.bound.uses import fixed_for_others
from pyrovi.clock import check_time
from pyrovi.errors import ModelError
from pyrovi.seeds import isolated

T = TypeVar("T")
Values = dict[str, Tensor]
Way = Callable[[Mapping[str, Tensor], int], Values | None]
ENTRIES_AT_ONCE = 20_000_000  # tensor entries in one run, a bound on memory
OF_A_SITE = 1_000_000  # entries of one site in a run: the next run finds their memory warm
AGREEMENT = 1e-6
# What models raise in one run for many draws, where they were written for one.
MADE_FOR_ONE_DRAW = (
    ValueError,
    RuntimeError,
    LookupError,
    AssertionError,
    AttributeError,
    TypeError,
)
NO_DRAWS = (NotImplementedError, TypeError, AttributeError)  # whatever the parameters


class PredictionError(ModelError):
    """What a model makes cannot be drawn; ``reason`` is the first line of what was raised."""

    def __init__(self, model: str, error: Exception) -> None:
        self.reason = str(error.__cause__ or error).partition("\n")[0] or type(error).__name__
        super().__init__(f"Model {model!r} cannot be drawn from: {self.reason.rstrip('.')}.")


def undrawable(model: BoundModel) -> dict[str, str]:
    """The observed sites that are not drawn anew, and why not.

    They are those whose distribution Pyro cannot draw from, and those that `pyro.condition` fixes
    for others.
    """
    reasons = dict.fromkeys(fixed_for_others(model), "pyro.condition fixes it for other sites")
    with model.running(), isolated(0), torch.no_grad():
        for site in model.observed:
            node = model.prototype.nodes[site.name]
            try:
                widened(node["fn"], torch.as_tensor(node["value"]))()
            except NO_DRAWS as error:
                reasons[site.name] = str(error) or f"{site.distribution} has no draws"
    return reasons


def predictions(
    model: BoundModel,
    values: Mapping[str, Tensor],
    seed: int,
    count: int | None = None,
    *,
    kept: Collection[str] = (),
) -> Values:
    """Deterministic sites, and observed ones drawn anew, given latent ``(draw, *shape)``.

    Latent sites that are not given are drawn, too; ``count`` times where none is given. Those of
    ``kept`` are not drawn, and are as they were observed.

    Raises:
        PredictionError: If the model cannot be run so.
    """
    names = [site.name for site in model.sites if site.kind in ("observed", "deterministic")]
    asked = [name for name in names if name not in kept]
    return conditional_draws(model, asked, values, count or _count(values), seed, kept=kept)


def prior_draws(model: BoundModel, draws: int, seed: int, *, kept: Collection[str] = ()) -> Values:
    """Every latent, deterministic and observed site, drawn from the prior, but those of ``kept``.

    Raises:
        PredictionError: If a site cannot be drawn.
    """
    names = [site.name for site in model.sites if site.kind != "factor"]
    asked = [name for name in names if name not in kept]
    return conditional_draws(model, asked, {}, draws, seed, kept=kept)


def conditional_draws(
    model: BoundModel,
    names: list[str],
    values: Mapping[str, Tensor],
    count: int,
    seed: int,
    *,
    kept: Collection[str] = (),
) -> Values:
    """Some sites, drawn given others, ``(draw, *shape)``, as the model runs.

    Raises:
        PredictionError: If the model cannot be run so.
    """
    try:
        return _Runs(model, names, kept=frozenset(kept)).draw(values, count, seed)
    except MADE_FOR_ONE_DRAW as error:
        raise PredictionError(model.name, error) from error


def discrete_draws(model: BoundModel, values: Mapping[str, Tensor], seed: int) -> Values:
    """Discrete latent sites, drawn from their posterior given the continuous ones."""
    names = [site.name for site in model.discrete]
    return _Runs(model, names, given_data=True).draw(values, _count(values), seed)


def carries_draws(model: BoundModel) -> bool:
    """Whether one run of the model can hold many draws, in a plate left of all others."""
    nodes = model.prototype.nodes
    rows = {
        site.name: torch.stack([nodes[site.name]["value"].reshape(site.shape)] * 2)
        for site in model.latent
    }
    with model.running(), isolated(0), torch.no_grad():
        return _Runs(model, [], given_data=bool(model.discrete)).together(rows, 2) is not None


def _count(values: Mapping[str, Tensor]) -> int:
    return len(next(iter(values.values())))


@dataclass(frozen=True)
class _Runs:
    """Runs of one model, given some of its latent values."""

    model: BoundModel
    names: list[str]  # the sites whose values are asked for
    kept: frozenset[str] = frozenset()  # observed sites that are not drawn
    given_data: bool = False  # discrete sites are drawn given the data, not data given them
    agreed: set[int] = field(default_factory=set)  # how many rows one run was seen to hold

    def draw(self, values: Mapping[str, Tensor], count: int, seed: int) -> Values:
        """The sites of ``names``, each ``(draw, *shape)``."""
        if not self.names:
            return {}
        way = self._way(values, seed) if count > 2 else self.together
        step = self._at_once(count)
        with self.model.running(), isolated(seed), torch.no_grad():
            parts = (
                self._part(_rows(values, start, start + step), min(step, count - start), way)
                for start in range(0, count, step)
            )
            return end_to_end(parts, count)

    def _way(self, values: Mapping[str, Tensor], seed: int) -> Way:
        """How many rows are run at once.

        Two rows are tried: where an axis of draws meets another of its own, all would fill memory.
        """
        with self.model.running(), isolated(seed), torch.no_grad():
            fits = self.together(_rows(values, 0, 2), 2) is not None
        return self._together_or_mapped if fits else self.mapped

    def _together_or_mapped(self, rows: Mapping[str, Tensor], size: int) -> Values | None:
        """All rows in one run; by vmap where only the two of the trial fitted one, by chance."""
        together = self.together(rows, size)
        return self.mapped(rows, size) if together is None else together

    def _part(self, rows: Mapping[str, Tensor], size: int, way: Way) -> Values:
        check_time()
        return at_once_or_each(
            partial(way, rows, size),
            lambda row: self._alone({name: value[row] for name, value in rows.items()}),
            range(size),
        )

    def _at_once(self, count: int) -> int:
        # An enumerated site gives everything below it one more axis; ten is a usual length.
        times = 10 if self.model.discrete else 1
        return min(count, rows_at_once([times * prod(site.shape) for site in self.model.sites]))

    def together(self, rows: Mapping[str, Tensor], size: int) -> Values | None:
        """All rows in one run; None if the model cannot be run so, or has another density then."""
        depth = self.model.max_plate_nesting
        padded = {name: self._padded(name, value) for name, value in rows.items()}
        entries = {site.name: prod(site.shape) for site in self.model.sites if not self.given_data}
        bounded = Bounded(size, entries)
        batched = in_plate_of_draws(self.model.handled(Widen(), bounded), size, depth)
        try:
            trace = self._run(batched, padded, first_free=-2 - depth)
            values = {name: self._unpadded(trace, name, size) for name in self.names}
            if size not in self.agreed and self._agree(trace, size):
                self.agreed.add(size)
        except MADE_FOR_ONE_DRAW:
            return None
        return values if size in self.agreed else None

    def mapped(self, rows: Mapping[str, Tensor], size: int) -> Values | None:
        """All rows by vmap; None if the model cannot be run so."""
        index = torch.arange(size)  # to map over where no row is given
        one = torch.func.vmap(lambda row, _: self._alone(row), randomness="different")
        try:
            with OwnNoise(), drawn_for_many(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what vmap does row by row
                values = one(dict(rows), index)
        except MADE_FOR_ONE_DRAW:
            return None
        return None if any(value.isnan().any() for value in values.values()) else values

    def _alone(self, values: Mapping[str, Tensor]) -> Values:
        """One row, in a run of its own."""
        check_time()
        first_free = -1 - self.model.max_plate_nesting
        trace = self._run(self.model.handled(Widen()), values, first_free=first_free)
        return {
            name: torch.as_tensor(trace.nodes[name]["value"]).reshape(self.model.site(name).shape)
            for name in self.names
        }

    def _run(self, runnable: Any, values: Mapping[str, Tensor], *, first_free: int) -> Trace:
        handled = Fix(values)(runnable)
        if self.given_data:
            handled = infer_discrete(
                config_enumerate(handled), first_available_dim=first_free, temperature=1
            )
        else:
            handled = Predict(self.kept)(handled)
        return self.model.traced(handled)

    def _padded(self, name: str, value: Tensor) -> Tensor:
        """``(draw, *shape)`` to ``(draw, 1, ..., *shape)``: the draws lie left of all plates."""
        node = self.model.prototype.nodes[name]
        own = tuple(node["value"].shape)
        batch = len(own) - node["fn"].event_dim
        return value.reshape(len(value), *(1,) * (self.model.max_plate_nesting - batch), *own)

    def _unpadded(self, trace: Trace, name: str, size: int) -> Tensor:
        """A site's value in the batched run, as ``(draw, *shape)``."""
        shape = self.model.site(name).shape
        value = torch.as_tensor(trace.nodes[name]["value"])
        if value.numel() == prod(shape) and size != 1:  # it does not hang on the draw
            return value.reshape(shape).expand(size, *shape)
        if value.dim() and value.shape[0] != size:
            raise ValueError(f"site {name!r} does not carry the draws first")
        return value.reshape(size, *shape)

    def _agree(self, trace: Trace, size: int) -> bool:
        """Whether the batched run has the density of runs of the first and the last draw."""
        trace.compute_log_prob()
        return all(self._agrees(trace, row, size) for row in (0, size - 1))

    def _agrees(self, trace: Trace, row: int, size: int) -> bool:
        """Whether one draw's log density in the batched run is that of a run of its own."""
        distributed = [site for site in self.model.sites if site.kind in ("latent", "observed")]
        names = [site.name for site in distributed if site.name in trace.nodes]
        nodes = self.model.prototype.nodes
        rows = {name: self._unpadded(trace, name, size)[row] for name in names}
        values = {name: value.reshape(nodes[name]["value"].shape) for name, value in rows.items()}
        alone = self.model.traced(Fix(values)(Predict(self.kept)(self.model.handled(Widen()))))
        alone.compute_log_prob()
        single = sum((alone.nodes[name]["log_prob"].sum() for name in names), torch.zeros(()))
        batched = sum((self._terms(trace, name, row, size) for name in names), torch.zeros(()))
        return bool(torch.isclose(single, batched, rtol=AGREEMENT, atol=AGREEMENT, equal_nan=True))

    def _terms(self, trace: Trace, name: str, row: int, size: int) -> Tensor:
        """The log density of one site at one row of the batched run."""
        terms = trace.nodes[name]["log_prob"]
        carries = terms.dim() == self.model.max_plate_nesting + 1 and terms.shape[0] == size
        return (terms[row] if carries else terms).sum()


def _rows(values: Mapping[str, Tensor], start: int, stop: int) -> dict[str, Tensor]:
    return {name: value[start:stop] for name, value in values.items()}


def rows_at_once(sizes: Sequence[int]) -> int:
    """How many rows one run holds, of sites of so many entries.

    >>> rows_at_once([10, 1]), rows_at_once([50_000, 1]), rows_at_once([50_000] * 100)
    (100000, 20, 3)
    """
    largest, all_of_them = max(sizes, default=1), sum(sizes)
    return max(1, min(ENTRIES_AT_ONCE // (all_of_them + 1), OF_A_SITE // max(largest, 1)))


def end_to_end(parts: Iterable[T], count: int) -> T:
    """Tensors, or mappings of them, for so many rows in all, put together as they come.

    No part is kept, so that the next one finds the memory of the one before.

    >>> end_to_end((torch.full((2,), each) for each in (7, 8)), 4)
    tensor([7, 7, 8, 8])
    """
    whole: Any = None
    start = 0
    for part in parts:
        if whole is None:
            whole = tree_map(lambda own: own.new_empty(count, *own.shape[1:]), part)
        stop = start + len(tree_leaves(part)[0])
        for into, own in zip(tree_leaves(whole), tree_leaves(part), strict=True):
            into[start:stop] = own
        start = stop
    return whole


def at_once_or_each(
    together: Callable[[], T | None] | None,
    each: Callable[[Any], T],
    rows: Iterable[Any],
    *,
    failures: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """All rows in one call, or what one call of ``each`` a row gives, stacked.

    Args:
        together: None, or gives None, where all at once is out of the question or would be wrong.
        each: A tensor, or a mapping of tensors, for one row.
        rows: What ``each`` is called with in turn.
        failures: What ``together`` may raise where it does not work.

    >>> at_once_or_each(None, lambda row: {"square": torch.tensor(row**2)}, range(3))
    {'square': tensor([0, 1, 4])}
    """
    if together is not None:
        try:
            result = together()
        except failures:
            result = None
        if result is not None:
            return result
    return _stacked([each(row) for row in rows])


def _stacked(rows: list[Any]) -> Any:
    if isinstance(rows[0], Mapping):
        return {key: _stacked([row[key] for row in rows]) for key in rows[0]}
    return torch.stack(rows)


def in_plate_of_draws(
    model: Callable[..., Any], draws: int, max_plate_nesting: int
) -> Callable[..., Any]:
    """A model or guide run for many draws at once, in a plate left of all others."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with pyro.plate("_draws", draws, dim=-1 - max_plate_nesting):
            return model(*args, **kwargs)

    return run
