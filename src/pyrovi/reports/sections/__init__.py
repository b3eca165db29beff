"""A tree as the sections of its report, in reading order: the verdict first.

Every section is a function of the tree and its verdict that gives plain data, or None where there
is nothing to say; a group that is not there makes it shorter, never an error. Long tables are cut
at a stated length, the worst first.
"""

from collections.abc import Callable

import xarray as xr

from pyrovi.clock import OutOfTime, check_time
from pyrovi.diagnostics import Verdict
from pyrovi.errors import PyroviError
from pyrovi.registry import Registry
from pyrovi.reports.parts import Section

OWN = ("verdict", "model", "fit", "posterior", "predictive", "provenance")
SECTIONS: Registry[Callable[[xr.DataTree, Verdict], Section | None]] = Registry(
    "section",
    {name: f"pyrovi.reports.sections.{name}:{name}_section" for name in OWN},
    group="pyrovi.sections",
    accepts=callable,
    asked="a function from a tree and its verdict to a `pyrovi.reports.Section` or None",
    unknown=PyroviError,
)
"""Every section by name. One more is its file, its name in `OWN` and its test."""


def contents(tree: xr.DataTree, verdict: Verdict) -> tuple[tuple[Section, ...], list[str]]:
    """The sections of the report on ``tree``, which has been checked; those of no time by name.

    The first is made in any case.
    """
    made: list[Section | None] = []
    late: list[str] = []
    for name, section in SECTIONS.available().items():
        try:
            if made:
                check_time()
            made.append(section(tree, verdict))
        except OutOfTime:
            late.append(name)
    return tuple(section for section in made if section is not None), late
