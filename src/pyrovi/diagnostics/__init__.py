"""How far can the answer be trusted? Pure functions from a tree to a Dataset of findings.

`check` runs every diagnostic that applies and grows the tree by what they return; `verdict` reads
them. Nothing here knows torch or Pyro: draws from any sampler or file are judged alike.
"""

from collections.abc import Callable

import xarray as xr

from pyrovi.clock import OutOfTime, check_time, within
from pyrovi.diagnostics.findings import (
    CANNOT_TELL as CANNOT_TELL,
    COMPARES,
    JUDGED as JUDGED,
    NOT_RUN as NOT_RUN,
    ROW,
    Row as Row,
    table as table,
)
from pyrovi.diagnostics.observed import judged_together as judged_together
from pyrovi.diagnostics.scores import uncertainty as uncertainty
from pyrovi.diagnostics.sentences import Finding as Finding, asked as asked, number as number
from pyrovi.diagnostics.verdicts import Verdict as Verdict, not_run, read
from pyrovi.errors import DiagnosticError, check_seconds
from pyrovi.evidence import khat as khat
from pyrovi.registry import Registry
from pyrovi.tree import OUT_OF_TIME, grow, json_attr, require, validate

OWN = (
    "conditioned",
    "convergence",
    "restarts",
    "modes",
    "psis",
    "drift",
    "elbo",
    "predictive",
    "loo",
)
NOT_DRAWN = "out of time: the draws were made without what it reads"
NOT_CHECKED = "out of time"
CHECKS: Registry[Callable[[xr.DataTree], xr.Dataset]] = Registry(
    "diagnostic",
    {name: f"pyrovi.diagnostics.checks.{name}:{name}" for name in OWN},
    group="pyrovi.diagnostics",
    accepts=callable,
    asked="a function from a tree to a Dataset of `pyrovi.diagnostics.table`",
    unknown=DiagnosticError,
)
"""Every diagnostic by name. One more is its file, its name in `OWN` and its pair of tests."""


def check(tree: xr.DataTree, *, max_seconds: float | None = None) -> xr.DataTree:
    """A new tree with the rows of every diagnostic that applies, as `diagnostics/<check>`.

    A diagnostic that lacks what it needs is named, with the reason, in the group `diagnostics`:
    its variables `check`, `kind` ("not run") and `why`; so is one that there was no time for, of
    the kind "out of time", and the verdict warns of it.

    Args:
        tree: What `pyrovi.draw` returned, or draws from elsewhere.
        max_seconds: Wall time to spend at the most.

    Raises:
        TreeError: If the tree holds no posterior, or is not built as trees are.
        DiagnosticError: If ``max_seconds`` is not positive.
    """
    check_seconds(max_seconds, DiagnosticError)
    require(tree, "posterior")
    validate(tree)
    made: dict[str, xr.Dataset] = {}
    skipped: dict[str, str] = {}
    late = dict.fromkeys(json_attr(tree, OUT_OF_TIME, []), NOT_DRAWN)
    with within(max_seconds):
        for name, diagnostic in CHECKS.available().items():
            try:
                check_time()
                made[f"diagnostics/{name}"] = diagnostic(tree)
            except OutOfTime:
                late[name] = NOT_CHECKED
            except DiagnosticError as reason:
                skipped[name] = str(reason)
    return grow(tree, diagnostics=not_run(skipped | late, late), **made)


def verdict(tree: xr.DataTree) -> Verdict:
    """What the diagnostics say together; they are run first where the tree holds none.

    Raises:
        TreeError: If ``tree`` is no tree, or holds no posterior.
    """
    return read(tree if checked(tree) else check(tree), order=list(CHECKS))


def checked(tree: xr.DataTree) -> bool:
    """Whether the tree holds rows as `check` writes them, which older versions did not.

    Raises:
        TreeError: If ``tree`` is no tree.
    """
    require(tree)
    if "diagnostics" not in tree:
        return False
    made = tree["diagnostics"].children.values()
    return all(COMPARES in each.attrs and set(ROW) <= set(each.variables) for each in made)
