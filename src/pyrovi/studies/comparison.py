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
from pyrovi.diagnostics import CANNOT_TELL, Verdict, check, verdict
from pyrovi.errors import EngineError, PyroviError
from pyrovi.evidence import REFERENCE_RATIO, SHIFT
from pyrovi.infer import ENGINES, Fit, fit
from pyrovi.infer.engines import SVI
from pyrovi.posterior import draw
from pyrovi.seeds import check_seed
from pyrovi.studies.reference import CHOLESKY, Reference, aligned, moments, with_correlations
from pyrovi.tree import CHAINS, draw_kind, has, labels
from pyrovi.words import listed

__all__ = ["HEAD", "Comparison", "compare", "default_engines", "engine_named"]

SVI_GUIDES = ("mean_field", "full_rank", "maf")
"""Guides that stand for SVI where no engine is asked for: one of each kind."""
JUDGED = 2000
"""Draws that the verdict is on: what `pyrovi.draw` makes."""
MARKS = ("right", "named", "unknown", "silent")
"""Of a quantity: within the limits; outside and named by the verdict; outside, and the verdict
says that it cannot tell; outside, and the verdict is silent."""
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
        return [r.engine for r in _rows(self.table) if r.judged and not r.outside]

    @property
    def silent(self) -> list[str]:
        """The engines whose verdict is silent about a quantity that is outside."""
        return [r.engine for r in _rows(self.table) if r.silent]

    @property
    def unflagged(self) -> list[str]:
        """The engines with a quantity outside, of which the verdict has a word on none."""
        rows = _rows(self.table)
        return [r.engine for r in rows if r.outside and r.outside == r.silent]

    @property
    def about(self) -> str:
        """What was compared, against what."""
        return f"{self.model}, against {self.reference}; seed {self.seed}"

    @property
    def lines(self) -> list[str]:
        """The rows of the table as text, under `HEAD`."""
        return [_line(row) for row in _rows(self.table)]

    def __str__(self) -> str:
        return "\n".join([self.about, HEAD, *self.lines, *self.notes])

    @property
    def notes(self) -> list[str]:
        """Who is right, and about what the verdicts are silent, in a sentence each."""
        low, high = REFERENCE_RATIO.low, REFERENCE_RATIO.high
        within = f"within {SHIFT.high:g} sd and sd ratios of {low:g} to {high:g}"
        notes = [f"{within}: {', '.join(self.right) or 'no engine'}"]
        marks = self.quantities["mark"]
        for engine in self.silent:
            found = marks["quantity"][marks.sel(engine=engine).to_numpy() == "silent"]
            names = [str(name) for name in found.to_numpy()]
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


def _rows(table: pd.DataFrame) -> list[Any]:
    return list(table.itertuples(index=False))


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


# The study


@dataclass(frozen=True)
class _Outcome:
    """What one engine came to; a problem where it came to nothing."""

    engine: str
    fitted: Fit | None = None
    posterior: xr.Dataset | None = None
    tree: xr.DataTree | None = None
    verdict: Verdict | None = None
    problem: str = ""


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
        progress: Whether to show a progress bar for each fit; None for only where somebody can
            see it.

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
    found = [_outcome(name, e, model, data, draws, options) for name, e in chosen.items()]
    held = reference if reference is not None else _one_of_them(found)
    plates = [each.plate for each in bound.structure.exchangeable]
    judged = [_judged(each, held, plates) for each in found]
    about = held.about if held is not None else "nothing: no engine came to an answer"
    return Comparison(_table(found, judged), _by_quantity(found, judged), about, bound.name, seed)


def default_engines() -> tuple[str, ...]:
    """What is compared where nothing is asked for: auto, and every engine; SVI with guides."""
    names = ["auto"]
    for name in ENGINES:
        names += [f"svi:{guide}" for guide in SVI_GUIDES] if name == "svi" else [name]
    return tuple(names)


def engine_named(name: str) -> Any:
    """The engine that a name such as ``"dadvi"`` or ``"svi:full_rank"`` stands for.

    >>> engine_named("svi:full_rank")
    SVI(guide='full_rank')
    >>> engine_named("auto")
    'auto'

    Raises:
        EngineError: If there is no such engine, or it takes no guide.
        GuideError: If there is no such guide.
    """
    own, colon, guide = name.strip().partition(":")
    known = {key.lower(): each for key, each in ENGINES.items()}
    if own.lower() == "auto" and not colon:
        return "auto"
    if own.lower() == "auto":
        raise EngineError(f"'auto' picks its own guide, and {guide!r} came. Use svi:{guide}.")
    if own.lower() not in known:
        raise EngineError(
            f"No engine {own!r}. There is: auto, {', '.join(known)}; with a guide: svi:full_rank."
        )
    if not colon:
        return known[own.lower()]()
    if known[own.lower()] is not SVI:
        raise EngineError(
            f"The engine {own!r} takes no guide, and {guide!r} came. Use svi:{guide}."
        )
    return SVI(guide=guide)


def _chosen(engines: Sequence[str] | Mapping[str, Any] | None) -> dict[str, Any]:
    if isinstance(engines, str):
        engines = [engines]
    if isinstance(engines, Mapping):
        chosen = {str(n): engine_named(e) if isinstance(e, str) else e for n, e in engines.items()}
    else:
        names = default_engines() if engines is None else engines
        chosen = {name.strip(): engine_named(name) for name in names}
    if not chosen:
        raise EngineError(f"No engine came to compare. There is: {', '.join(default_engines())}.")
    return chosen


def _warmed_up(model: Callable[..., Any], data: Any) -> Any:
    """The bound model, with what a process pays once already paid: imports, the first trace."""
    bound = bind_model(model, bind(model, data))
    density = LogDensity(bound)
    density.value_and_gradient(density.start(0)[None])
    return bound


def _outcome(
    name: str,
    engine: Any,
    model: Callable[..., Any],
    data: Any,
    draws: int,
    options: Mapping[str, Any],
) -> _Outcome:
    """One engine's fit, draws and verdict; what went wrong is a sentence and not an exception."""
    try:
        fitted = fit(model, data, engine, **options)
        tree = check(draw(fitted, draws=JUDGED))
        posterior = draw(fitted, draws=draws)["posterior"].to_dataset()
    except PyroviError as error:
        return _Outcome(name, problem=" ".join(str(error).split()))
    except Exception as error:  # noqa: BLE001 - a fault of one engine must not hide the others
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        return _Outcome(name, problem=f"{type(error).__name__}: {first.strip()}")
    return _Outcome(name, fitted, posterior, tree, verdict(tree))


def _one_of_them(found: Sequence[_Outcome]) -> Reference | None:
    """Without a reference: NUTS if it is there and ended, else the highest ELBO of the best.

    A bound of what was stopped, or what its own verdict doubts, says little; if there is nothing
    else, the words say so.
    """
    ended = [each for each in found if each.tree is not None]
    if not ended:
        return None
    nuts = [
        e for e in ended if e.tree and draw_kind(e.tree) == CHAINS and _status(e) == "converged"
    ]
    if nuts:
        return _reference_of(nuts[0], "")
    passed = [each for each in ended if not _doubt(each)]
    converged = [each for each in ended if _status(each) == "converged"]
    candidates = passed or converged or ended
    bounded = [each for each in candidates if np.isfinite(_elbo(each)[0])]
    chosen = max(bounded, key=lambda each: _elbo(each)[0]) if bounded else candidates[0]
    bound = ", the highest ELBO" * bool(bounded) + " that passes" * bool(bounded and passed)
    return _reference_of(chosen, bound + _doubt(chosen))


def _reference_of(chosen: _Outcome, why: str) -> Reference:
    tree = xr.DataTree.from_dict({"posterior": chosen.posterior})
    return Reference.of(tree, f"{chosen.engine}{why}")


def _doubt(each: _Outcome) -> str:
    """What keeps an engine's answer from standing for the posterior; empty if nothing does."""
    if _status(each) != "converged":
        return f", which was {_status(each)}"
    fit_status = each.verdict.fit_status if each.verdict else "unknown"
    return "" if fit_status == "ok" else f", whose own verdict is {fit_status}"


def _status(each: _Outcome) -> str:
    return each.fitted.status.value if each.fitted is not None else ""


def _elbo(each: _Outcome) -> tuple[float, float]:
    if each.tree is not None and has(each.tree, "diagnostics/elbo"):
        found = each.tree["diagnostics/elbo"].to_dataset()
        return float(found["elbo"]), float(found["elbo_error"])
    return np.nan, np.nan


# Quantity by quantity


@dataclass(frozen=True)
class _Judged:
    """A quantity of one engine: off by how much, and what the verdict says of it."""

    error: float
    ratio: float
    mark: str
    alarm: bool


def _judged(each: _Outcome, held: Reference | None, plates: Sequence[str]) -> dict[str, _Judged]:
    """Every quantity that the engine shares with the reference."""
    if held is None or each.posterior is None or each.tree is None or each.verdict is None:
        return {}
    mean, sd = moments(_in_order(with_correlations(each.posterior), plates, held))
    own = _own_labels(with_correlations(each.tree["posterior"].to_dataset()), plates, held)
    said = _Said.by(each.tree, each.verdict)
    found = {}
    for name in [name for name in held.mean if name in mean]:
        error = (mean[name] - held.mean[name]) / held.sd[name]
        ratio = sd[name] / held.sd[name]
        right = SHIFT.status(abs(error)) == REFERENCE_RATIO.status(ratio) == "ok"
        mark = "right" if right else said.about(own.get(name, name))
        found[name] = _Judged(error, ratio, mark, right and said.names(own.get(name, name)))
    return found


def _in_order(posterior: xr.Dataset, plates: Sequence[str], held: Reference) -> xr.Dataset:
    """The posterior with interchangeable indices in the reference's order."""
    orders = aligned(posterior, plates, held)
    moved = posterior.isel({plate: list(order) for plate, order in orders.items()})
    return moved.assign_coords({p: posterior[p].to_numpy() for p in orders if p in posterior})


def _own_labels(posterior: xr.Dataset, plates: Sequence[str], held: Reference) -> dict[str, str]:
    """By what name the engine's own verdict speaks of what the reference has by another."""
    orders = aligned(posterior, plates, held)
    found = {}
    for name, variable in posterior.data_vars.items():
        here = {plate: list(order) for plate, order in orders.items() if plate in variable.dims}
        moved = labels(variable.isel(here), str(name))
        found |= dict(zip(labels(variable, str(name)), moved, strict=True))
    return found


@dataclass(frozen=True)
class _Said:
    """What a verdict on the fit says, row by row."""

    rows: tuple[tuple[str, str, str, str], ...]  # quantity, check, status, kind
    variables: frozenset[str]

    @staticmethod
    def by(tree: xr.DataTree, found: Verdict) -> "_Said":
        about = {
            name: each.attrs.get("about") for name, each in tree["diagnostics"].children.items()
        }
        columns = [found.table[key] for key in ("quantity", "check", "status", "kind")]
        rows = zip(*columns, strict=True)
        kept = tuple(row for row in rows if about.get(row[1], "fit") == "fit" and row[1] != "elbo")
        return _Said(kept, frozenset(map(str, tree["posterior"].data_vars)))

    def about(self, label: str) -> str:
        """How a quantity that is outside is spoken of: the last three of `MARKS`."""
        own = self._of(label)
        if self.names(label) or self._of_all(judged=any(row[2] == "ok" for row in own)):
            return "named"
        return "unknown" if any(row[3] == CANNOT_TELL for row in own) else "silent"

    def names(self, label: str) -> bool:
        """Whether a row about the quantity itself, or its variable, finds fault."""
        return any(row[2] != "ok" and row[3] != CANNOT_TELL for row in self._of(label))

    def _of(self, label: str) -> list[tuple[str, str, str, str]]:
        """The rows about a quantity; of a correlation, about its two rows of the factor."""
        variable, _, index = label.partition("[")
        parts = [f"{variable}{CHOLESKY}"] if variable not in self.variables else []
        if parts:
            plates, _, pair = index.removesuffix("]").rpartition(",")
            lead = f"{plates}," * bool(plates)
            parts += [f"{variable}{CHOLESKY}[{lead}{tick}," for tick in pair.split(":")]
        return [
            row
            for row in self.rows
            if row[0] in {label, variable, *parts[:1]}
            or any(row[0].startswith(part) for part in parts[1:])
        ]

    def _of_all(self, *, judged: bool) -> bool:
        """Whether a row about the fit as a whole finds fault.

        Where Markov chains judge each quantity, the joint weights leave it to them, so what they
        have passed is not flagged by the weights.
        """
        return any(
            row[2] != "ok" and row[3] != CANNOT_TELL and not (judged and row[1] == "psis")
            for row in self.rows
            if row[0].partition("[")[0] not in self.variables
        )


# As tables


def _table(found: Sequence[_Outcome], judged: Sequence[Mapping[str, _Judged]]) -> pd.DataFrame:
    rows = [_row(each, quantities) for each, quantities in zip(found, judged, strict=True)]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def _row(each: _Outcome, judged: Mapping[str, _Judged]) -> dict[str, Any]:
    marks = [quantity.mark for quantity in judged.values()]
    counts = {mark: marks.count(mark) for mark in MARKS[1:]}
    ratios = [quantity.ratio for quantity in judged.values()]
    bound, error = _elbo(each)
    problem = each.problem
    if not problem and not judged:
        problem = "it has none of the quantities that it could be held against"
    return {
        "engine": each.engine,
        "error": np.max([abs(each.error) for each in judged.values()] or np.nan),
        "ratio_low": np.min(ratios or np.nan),
        "ratio_high": np.max(ratios or np.nan),
        "elbo": bound,
        "elbo_error": error,
        "khat": _khat(each.tree),
        "seconds": each.fitted.seconds if each.fitted is not None else np.nan,
        "status": _status(each),
        "verdict": each.verdict.fit_status if each.verdict is not None else "",
        "judged": len(judged),
        "outside": len(marks) - marks.count("right"),
        **counts,
        "alarms": sum(quantity.alarm for quantity in judged.values()),
        "problem": problem,
    }


def _khat(tree: xr.DataTree | None) -> float:
    if tree is None or not has(tree, "diagnostics/psis"):
        return np.nan
    return float(tree["diagnostics/psis"].to_dataset()["khat"])


def _by_quantity(found: Sequence[_Outcome], judged: Sequence[Mapping[str, _Judged]]) -> xr.Dataset:
    names = list(dict.fromkeys(name for quantities in judged for name in quantities))

    def column(get: Callable[[_Judged], Any], empty: Any) -> list[list[Any]]:
        return [[get(own[n]) if n in own else empty for n in names] for own in judged]

    shape = (len(found), len(names))
    dims = ("engine", "quantity")
    return xr.Dataset(
        {
            "error": (dims, np.array(column(lambda q: q.error, np.nan), float).reshape(shape)),
            "ratio": (dims, np.array(column(lambda q: q.ratio, np.nan), float).reshape(shape)),
            "mark": (dims, np.array(column(lambda q: q.mark, ""), str).reshape(shape)),
        },
        coords={"engine": [each.engine for each in found], "quantity": names},
    )
