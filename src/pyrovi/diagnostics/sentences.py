"""Rows in words: rendered here, once, for terminal, notebook and report alike."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyrovi.diagnostics.findings import CANNOT_TELL
from pyrovi.evidence import first_case
from pyrovi.words import listed

NAMED = 6
"""Quantities that a finding names before it counts the rest."""
APART = 3
"""Rows of one kind that are each said in full; more, or rows without a number, are said together,
with the worst."""
ALIKE = ("check", "status", "kind", "unit", "action")
"""What rows have in common that are said together; advice that differs is never left out."""

Fields = Mapping[str, Any]


def asked(low: float, high: float, unit: str = "") -> str:
    """What is asked of a number, in words; nothing where it is no number.

    >>> asked(-math.inf, 0.1, "sd"), asked(400.0, math.inf), asked(1 / 1.1, 1.1), asked(0.0, 0.0)
    ('<= 0.1 sd', '>= 400', 'in [0.909, 1.1]', '0')
    """
    if math.isnan(low) or math.isnan(high):
        return ""
    words = first_case(
        (low == high, number(high)),
        (low == -math.inf, f"<= {number(high)}"),
        (high == math.inf, f">= {number(low)}"),
        otherwise=f"in [{number(low)}, {number(high)}]",
    )
    return f"{words} {unit}".rstrip()


def number(value: float) -> str:
    """A number to three digits; nothing where it is none.

    >>> number(0.71234), number(math.nan)
    ('0.712', '')
    """
    return "" if math.isnan(value) else f"{value:.3g}"


@dataclass(frozen=True)
class Finding:
    """Rows of one kind, said together: the worst of them is quoted.

    Attributes:
        status: Of each of them.
        check: Which check made them.
        names: The quantities, in the order of the rows.
        numbers: The value and what is asked of it; empty where it is no number.
        why: One sentence, or two.
        action: The next thing to do; empty if all is well.
    """

    status: str
    check: str
    names: tuple[str, ...]
    numbers: str
    why: str
    action: str

    @property
    def quantities(self) -> str:
        """The first quantities by name, and how many more there are."""
        return listed(self.names, NAMED)

    @property
    def label(self) -> str:
        """The check and the first two quantities."""
        return f"{self.check} {listed(self.names, 2)}"

    @property
    def lines(self) -> list[str]:
        """What is at fault, why, and what to do next."""
        numbers = f" [{self.numbers}]" * bool(self.numbers)
        next_step = [f"Next: {self.action}"] * bool(self.action)
        return [f"{self.check}: {self.quantities}", f"{self.why}{numbers}", *next_step]


def findings(rows: Sequence[Fields]) -> list[Finding]:
    """The rows in words, in their order; those of one kind together where they are many."""
    kinds = [tuple(row[key] for key in ALIKE) for row in rows]
    many = Counter(kinds)
    numbered = {kind for kind, row in zip(kinds, rows, strict=True) if number(row["value"])}
    groups: dict[Any, list[Fields]] = {}
    for i, (kind, row) in enumerate(zip(kinds, rows, strict=True)):
        together = many[kind] > APART or kind not in numbered
        groups.setdefault(kind if together else i, []).append(row)
    return [_finding(group) for group in groups.values()]


def _finding(rows: Sequence[Fields]) -> Finding:
    quoted = max(rows, key=lambda row: _beyond(row["value"], row["low"], row["high"]))
    several = f"The worst is {quoted['quantity']}. " * (len({row["why"] for row in rows}) > 1)
    unable = "Cannot tell. " * (quoted["kind"] == CANNOT_TELL)
    value = number(quoted["value"])
    limit = asked(quoted["low"], quoted["high"], quoted["unit"])
    return Finding(
        status=str(quoted["status"]),
        check=str(quoted["check"]),
        names=tuple(str(row["quantity"]) for row in rows),
        numbers=f"{value}, asked {limit}" if value and limit else "",
        why=f"{several}{unable}{quoted['why']}",
        action=str(quoted["action"]),
    )


def _beyond(value: float, low: float, high: float) -> float:
    """How far a value is beyond its limits, on their own scale; below zero within them.

    Shares of replications are measured by the width between their ends, ratios by their logarithm,
    and what has one end as a share of it, where that is not zero.

    >>> share, ratio = (0.01, 0.99), (1 / 1.1, 1.1)
    >>> _beyond(1.0, *share) > _beyond(0.009, *share), _beyond(0.5, *ratio) - _beyond(2.0, *ratio)
    (True, 0.0)
    """
    if low > 0 and math.isfinite(high) and not math.isclose(low, 1 - high):
        value, low, high = (
            math.log(each) if each > 0 else -math.inf for each in (value, low, high)
        )
    width = high - low
    distances = [
        distance / ((width if math.isfinite(width) else abs(end)) or 1.0)
        for distance, end in ((low - value, low), (value - high, high))
        if math.isfinite(end)
    ]
    return max((each for each in distances if not math.isnan(each)), default=0.0)
