"""Every section of a report by name, in reading order: one more is its file and its line here."""

from collections.abc import Callable

import xarray as xr

from pyrovi.diagnostics import Verdict
from pyrovi.errors import PyroviError
from pyrovi.registry import Registry
from pyrovi.reports.parts import Section

__all__ = ["SECTIONS", "contents"]

SECTIONS: Registry[Callable[[xr.DataTree, Verdict], Section | None]] = Registry(
    "section",
    {
        "verdict": "pyrovi.reports.sections.verdict:verdict_section",
        "model": "pyrovi.reports.sections.model:model_section",
        "fit": "pyrovi.reports.sections.fit:fit_section",
        "posterior": "pyrovi.reports.sections.posterior:posterior_section",
        "predictive": "pyrovi.reports.sections.predictive:predictive_section",
        "provenance": "pyrovi.reports.sections.provenance:provenance_section",
    },
    group="pyrovi.sections",
    accepts=callable,
    asked="a function from a tree and its verdict to a `pyrovi.reports.Section` or None",
    unknown=PyroviError,
)


def contents(tree: xr.DataTree, verdict: Verdict) -> tuple[Section, ...]:
    """The sections of the report on ``tree``, which has been checked."""
    made = (section(tree, verdict) for section in SECTIONS.available().values())
    return tuple(section for section in made if section is not None)
