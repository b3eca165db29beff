"""A tree as the sections of its report, in reading order: the verdict first, provenance last.

Every section is a function of the tree that gives plain data; a group that is not there makes it
shorter, never an error. Long tables are cut at a stated length, the worst first.
"""

import xarray as xr

from pyrovi.diagnostics import Verdict
from pyrovi.reports.parts import Section
from pyrovi.reports.sections.fit import fit_section
from pyrovi.reports.sections.model import model_section
from pyrovi.reports.sections.posterior import posterior_section
from pyrovi.reports.sections.predictive import predictive_section
from pyrovi.reports.sections.provenance import provenance_section
from pyrovi.reports.sections.verdict import status_of, verdict_section

__all__ = ["sections"]


def sections(tree: xr.DataTree, verdict: Verdict) -> tuple[Section, ...]:
    """The sections of the report on ``tree``, which has been checked."""
    return (
        verdict_section(tree, verdict),
        model_section(tree),
        fit_section(tree),
        posterior_section(tree, status_of(verdict.table)),
        predictive_section(tree),
        provenance_section(tree),
    )
