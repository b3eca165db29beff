"""Quantity by quantity: how far an engine is off its reference, and what its verdict says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import xarray as xr

from pyrovi.diagnostics import CANNOT_TELL
from pyrovi.evidence import limits
from pyrovi.studies.reference import CHOLESKY, Reference, aligned, moments, with_correlations
from pyrovi.studies.trials import Trial
from pyrovi.tree import labels

MARKS = ("right", "named", "unknown", "silent")
"""Of a quantity: within the limits; outside and named by the verdict; outside, and the verdict
says that it cannot tell; outside, and the verdict is silent."""


class Marked(NamedTuple):
    """A quantity of one engine.

    ``error`` is how far its mean is off, in reference standard deviations, with its sign;
    ``ratio`` its standard deviation over the reference's; ``mark`` one of `MARKS`; ``alarm``
    whether it is right, and the verdict names it all the same.
    """

    error: float
    ratio: float
    mark: str
    alarm: bool


def marked(trial: Trial | str, held: Reference | None, plates: Sequence[str]) -> dict[str, Marked]:
    """Every quantity that a trial shares with the reference, in the reference's order.

    The indices of ``plates`` have no meaning of their own.
    """
    if held is None or isinstance(trial, str):
        return {}
    mean, sd = moments(_in_order(with_correlations(trial.posterior), plates, held))
    own = _own_labels(with_correlations(trial.tree["posterior"].to_dataset()), plates, held)
    words = _Words.of(trial)
    quantities = {}
    for name in [name for name in held.mean if name in mean]:
        error = (mean[name] - held.mean[name]) / held.sd[name]
        ratio = sd[name] / held.sd[name]
        right = {limits.SHIFT.status(abs(error)), limits.REFERENCE_RATIO.status(ratio)} == {"ok"}
        label = own.get(name, name)
        mark = "right" if right else words.about(label)
        quantities[name] = Marked(error, ratio, mark, right and words.name(label))
    return quantities


def _in_order(posterior: xr.Dataset, plates: Sequence[str], held: Reference) -> xr.Dataset:
    """The posterior with interchangeable indices in the reference's order."""
    orders = aligned(posterior, plates, held)
    kept = {plate: posterior[plate].to_numpy() for plate in orders if plate in posterior}
    return posterior.isel(orders).assign_coords(kept)


def _own_labels(posterior: xr.Dataset, plates: Sequence[str], held: Reference) -> dict[str, str]:
    """By what name the engine's own verdict speaks of what the reference has by another."""
    orders = aligned(posterior, plates, held)
    own: dict[str, str] = {}
    for name, variable in posterior.data_vars.items():
        moved = labels(variable.isel(orders, missing_dims="ignore"), str(name))
        own |= dict(zip(labels(variable, str(name)), moved, strict=True))
    return own


def _at_fault(row: Any) -> bool:
    """Whether a row of a verdict finds fault, and can tell."""
    return row.status != "ok" and row.kind != CANNOT_TELL


@dataclass(frozen=True)
class _Words:
    """The rows of a verdict that judge the fit, and the posterior's variables."""

    rows: tuple[Any, ...]
    variables: frozenset[str]

    @staticmethod
    def of(trial: Trial) -> "_Words":
        """The words of a trial's own verdict."""
        checks = trial.tree["diagnostics"].children
        left_out = {name for name, each in checks.items() if each.attrs["about"] == "model"}
        rows: Any = trial.verdict.table.itertuples(index=False)
        kept = tuple(row for row in rows if row.check not in {*left_out, "elbo"})
        return _Words(kept, frozenset(map(str, trial.tree["posterior"].data_vars)))

    def about(self, label: str) -> str:
        """How a quantity that is outside is spoken of: the last three of `MARKS`."""
        own = self._of(label)
        if self.name(label) or self._of_all(judged=any(row.status == "ok" for row in own)):
            return "named"
        return "unknown" if any(row.kind == CANNOT_TELL for row in own) else "silent"

    def name(self, label: str) -> bool:
        """Whether a row about the quantity itself, or its variable, finds fault."""
        return any(_at_fault(row) for row in self._of(label))

    def _of(self, label: str) -> list[Any]:
        """The rows about a quantity; of a correlation, about its two rows of the factor."""
        variable, _, index = label.partition("[")
        named, rows = {label, variable}, ()
        if variable not in self.variables:
            factor = f"{variable}{CHOLESKY}"
            plates, _, pair = index.removesuffix("]").rpartition(",")
            lead = f"{plates}," * bool(plates)
            named, rows = {*named, factor}, tuple(f"{factor}[{lead}{i}," for i in pair.split(":"))
        return [r for r in self.rows if r.quantity in named or r.quantity.startswith(rows)]

    def _of_all(self, *, judged: bool) -> bool:
        """Whether a row about the fit as a whole finds fault.

        Where Markov chains judge each quantity, the joint weights leave it to them, so what they
        have passed is not flagged by the weights.
        """
        whole = (r for r in self.rows if r.quantity.partition("[")[0] not in self.variables)
        return any(_at_fault(row) and not (judged and row.check == "psis") for row in whole)
