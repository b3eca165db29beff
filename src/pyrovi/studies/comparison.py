"""`compare`: several engines on one model and its data, beside a reference where there is one.

How far is each engine off, quantity by quantity; and did its verdict say so? An engine whose
means are within 0.1 reference standard deviations and whose standard deviations are within 10%
is right. One that is not should be named by its own verdict, which knows no reference.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.errors import EngineError
from pyrovi.evidence import limits
from pyrovi.infer import engine_named, ready_made
from pyrovi.seeds import check_seed
from pyrovi.studies.marks import MARKS, Marked, marked
from pyrovi.studies.reference import Reference
from pyrovi.studies.trials import Trial, best_of, try_engine
from pyrovi.words import listed

GUIDES = ("mean_field", "full_rank", "maf")
"""Guides that stand for an engine that takes one, where none is asked for: one of each kind."""
COLUMNS = (
    *("engine", "error", "ratio_low", "ratio_high", "elbo", "elbo_error", "khat", "seconds"),
    *("status", "verdict", "judged", "outside", "named", "unknown", "silent", "alarms", "problem"),
)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """What engines came to, side by side.

    Attributes:
        table: One row per engine, in the order they were asked for. ``error`` is the largest
            difference of a mean, in reference standard deviations; ``ratio_low`` and
            ``ratio_high`` the range of the ratio of standard deviations; ``elbo`` in nats with
            its Monte Carlo error; ``khat`` the joint one; ``seconds`` of the fit alone, warm;
            ``status`` of the fit; ``verdict`` the worst status of the checks that judge the fit;
            ``judged`` counts the quantities that were held against the reference, ``outside``
            those beyond its limits, of which ``named``, ``unknown`` and ``silent`` are what the
            verdict had to say of them, and ``alarms`` those within that it names; ``problem``
            says in one line why there is nothing, and is empty elsewhere.
        quantities: ``error`` (signed), ``ratio`` and ``mark``, one of `MARKS`, by engine and
            quantity; NaN and ``""`` where an engine has no such quantity.
        reference: What all are held against.
        model: The model's name.
        seed: What repeats the comparison.
    """

    table: pd.DataFrame
    quantities: xr.Dataset
    reference: str
    model: str
    seed: int

    @property
    def right(self) -> list[str]:
        """The engines that are within the limits in every quantity."""
        return [r.engine for r in self._rows if r.judged and not r.outside]

    @property
    def silent(self) -> list[str]:
        """The engines whose verdict is silent about a quantity that is outside."""
        return [r.engine for r in self._rows if r.silent]

    @property
    def unflagged(self) -> list[str]:
        """The engines with a quantity outside, of which the verdict has a word on none."""
        return [r.engine for r in self._rows if r.outside and r.outside == r.silent]

    @property
    def about(self) -> str:
        """What was compared, against what."""
        return f"{self.model}, against {self.reference}; seed {self.seed}"

    @property
    def lines(self) -> list[str]:
        """The rows of the table as text, under `HEAD`."""
        return [_line(row) for row in self._rows]

    @property
    def _rows(self) -> list[Any]:
        return list(self.table.itertuples(index=False))

    def __str__(self) -> str:
        return "\n".join([self.about, HEAD, *self.lines, *self.notes])

    @property
    def notes(self) -> list[str]:
        """Who is right, and about what the verdicts are silent, in a sentence each."""
        low, high = limits.REFERENCE_RATIO.low, limits.REFERENCE_RATIO.high
        within = f"within {limits.SHIFT.high:g} sd and sd ratios of {low:g} to {high:g}"
        notes = [f"{within}: {', '.join(self.right) or 'no engine'}"]
        marks = self.quantities["mark"]
        for engine in self.silent:
            names = marks["quantity"][marks.sel(engine=engine) == "silent"].to_numpy().tolist()
            notes.append(f"silent: {engine} about {listed(names, NAMED)}")
        return notes

    def __repr__(self) -> str:
        return f"<Comparison of {len(self.table)} engines on {self.model}>"


NAMED = 6
"""Quantities that a note names before it counts the rest."""
HEAD = (
    f"{'engine':18}{'error':>7}   {'sd ratio':11}{'ELBO':>16}{'k-hat':>7}{'seconds':>9}"
    f"  {'verdict':8} outside"
)
"""The columns of `Comparison.lines`."""


def _line(row: Any) -> str:
    if row.problem:
        return f"{row.engine:18}  -- {row.problem}"
    bound = f"{row.elbo:.2f} ±{row.elbo_error:.2f}" if np.isfinite(row.elbo) else "-"
    khat = f"{row.khat:.2f}" if np.isfinite(row.khat) else "-"
    ratio = f"{_short(row.ratio_low, 2)} - {_short(row.ratio_high, 2)}"
    text = f"{row.engine:18}{_short(row.error, 3):>7}   {ratio:11}{bound:>16}{khat:>7}"
    return f"{text}{row.seconds:9.2f}  {row.verdict:8} {_outside(row)}".rstrip()


def _short(value: float, places: int) -> str:
    return f"{value:.{places}f}" if abs(value) < 100 else f"{value:.0e}"


def _outside(row: Any) -> str:
    stopped = "" if row.status == "converged" else f" ({row.status})"
    alarms = f"; also names {row.alarms} within" * bool(row.alarms)
    if not row.outside:
        return f"none of {row.judged}{alarms}{stopped}"
    said = {"named": "named", "unknown": "cannot tell", "silent": "SILENT"}
    parts = [f"{getattr(row, key)} {word}" for key, word in said.items() if getattr(row, key)]
    return f"{row.outside} of {row.judged}: {', '.join(parts)}{alarms}{stopped}"


def compare(
    model: Callable[..., Any],
    data: Any,
    engines: Sequence[str] | Mapping[str, Any] | None = None,
    reference: Reference | xr.DataTree | None = None,
    *,
    seed: int | None = None,
    draws: int = 10_000,
    max_seconds: float | None = 60.0,
    progress: bool | None = None,
) -> Comparison:
    """Fit a model by several engines, and hold them against a reference and their own verdicts.

    Args:
        model: Any Pyro callable; see `pyrovi.fit`.
        data: What it is called with; see `pyrovi.fit`.
        engines: Names, ``"dadvi"``, ``"auto"``, or with a guide ``"svi:full_rank"``; or engines
            by a name of one's own; None for `default_engines`.
        reference: Means and standard deviations, or a tree with a posterior, such as a long run
            of NUTS. None holds the engines against one of them: NUTS if it is there and ended,
            else the highest ELBO, of those that converged and whose verdict is ok if any are.
        seed: What makes it repeatable; a missing one is drawn, and recorded.
        draws: From each engine, for the moments: 10,000 have an error of 0.01 sd in a mean. The
            verdict is on 2,000, what `pyrovi.draw` makes.
        max_seconds: Wall time of each fit at the most.
        progress: Whether to show a bar for each fit; None for only where somebody can see it.

    Returns:
        A `Comparison`. An engine that cannot take the model is a row that says so.

    Raises:
        EngineError: If a name is no engine or guide.
        DataError: If the data cannot be what the model asks for.
        ModelError: If the model cannot be fitted as it stands.
        TreeError: If the reference is a tree without a posterior.
    """
    seed = check_seed(seed)
    chosen = _chosen(engines)
    if isinstance(reference, xr.DataTree):
        reference = Reference.of(reference)
    bound = _warmed_up(model, data)
    options = {"seed": seed, "max_seconds": max_seconds, "progress": progress}
    tried = {n: try_engine(n, each, model, data, draws, **options) for n, each in chosen.items()}
    trials = [each for each in tried.values() if isinstance(each, Trial)]
    held = best_of(trials) if reference is None else reference
    plates = [each.plate for each in bound.structure.exchangeable]
    quantities = {n: marked(each, held, plates) for n, each in tried.items()}
    rows = [_row(n, each, quantities[n]) for n, each in tried.items()]
    about = held.about if held is not None else "nothing: no engine came to an answer"
    table = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    return Comparison(table, _by_quantity(quantities), about, bound.name, seed)


def default_engines() -> tuple[str, ...]:
    """What is compared where nothing is asked for: auto, and every engine, with guides if any.

    An engine that needs a setting is not among them.
    """
    names = ["auto"]
    for name, engine in ready_made().items():
        guided = engine.capabilities.guide
        names += [f"{name}:{guide}" for guide in GUIDES] if guided else [name]
    return tuple(names)


def _chosen(engines: Sequence[str] | Mapping[str, Any] | None) -> dict[str, Any]:
    if isinstance(engines, str):
        engines = [engines]
    if not isinstance(engines, Mapping):
        names = default_engines() if engines is None else engines
        engines = {name.strip(): name for name in names}
    if not engines:
        raise EngineError(f"No engine came to compare. There is: {', '.join(default_engines())}.")
    return {str(n): engine_named(e) if isinstance(e, str) else e for n, e in engines.items()}


def _warmed_up(model: Callable[..., Any], data: Any) -> Any:
    """The bound model, with what a process pays once already paid: imports, the first trace."""
    bound = bind_model(model, bind(model, data))
    density = LogDensity(bound)
    density.value_and_gradient(density.start(0)[None])
    return bound


NOTHING = Marked(np.nan, np.nan, "", alarm=False)
"""Of a quantity that an engine does not have."""


def _row(name: str, tried: Trial | str, quantities: Mapping[str, Marked]) -> dict[str, Any]:
    judged = [*quantities.values()] or [NOTHING]
    marks = [each.mark for each in judged]
    ratios = [each.ratio for each in judged]
    own: dict[str, Any] = {"status": "", "verdict": "", "problem": tried}
    if isinstance(tried, Trial):
        none = "it has none of the quantities that it could be held against"
        own = {
            "elbo": tried.elbo[0],
            "elbo_error": tried.elbo[1],
            "khat": tried.khat,
            "seconds": tried.fitted.seconds,
            "status": tried.status,
            "verdict": tried.verdict.fit_status,
            "problem": "" if quantities else none,
        }
    return {
        "engine": name,
        "error": np.max([abs(each.error) for each in judged]),
        "ratio_low": np.min(ratios),
        "ratio_high": np.max(ratios),
        **own,
        "judged": len(quantities),
        "outside": len(quantities) - marks.count("right"),
        **{mark: marks.count(mark) for mark in MARKS[1:]},
        "alarms": sum(each.alarm for each in judged),
    }


def _by_quantity(quantities: Mapping[str, Mapping[str, Marked]]) -> xr.Dataset:
    names = list(dict.fromkeys(name for own in quantities.values() for name in own))

    def table(field: str, kind: type) -> tuple[tuple[str, str], np.ndarray]:
        each = [getattr(own.get(n, NOTHING), field) for own in quantities.values() for n in names]
        values = np.array(each, kind).reshape(len(quantities), len(names))
        return ("engine", "quantity"), values

    fields = {"error": float, "ratio": float, "mark": str}
    return xr.Dataset(
        {field: table(field, kind) for field, kind in fields.items()},
        coords={"engine": list(quantities), "quantity": names},
    )
