"""How far can the answer be trusted? Pure functions from a tree to a Dataset of findings.

`check` runs every diagnostic that applies and grows the tree by what they return; `verdict` reads
them. Nothing here knows torch or Pyro: draws from any sampler or file are judged alike.
"""

import json
from collections.abc import Callable

import xarray as xr

from pyrovi.diagnostics.checks.convergence import convergence, is_nuts
from pyrovi.diagnostics.checks.drift import drift
from pyrovi.diagnostics.checks.elbo import elbo
from pyrovi.diagnostics.checks.loo import loo
from pyrovi.diagnostics.checks.predictive import predictive
from pyrovi.diagnostics.checks.psis import psis
from pyrovi.diagnostics.checks.restarts import restarts
from pyrovi.diagnostics.scores.uncertainty import uncertainty
from pyrovi.diagnostics.verdicts import Verdict, read
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import khat
from pyrovi.tree import grow, require, validate

__all__ = ["CHECKS", "Verdict", "check", "is_nuts", "khat", "uncertainty", "verdict"]

CHECKS: dict[str, Callable[[xr.DataTree], xr.Dataset]] = {
    "convergence": convergence,
    "restarts": restarts,
    "psis": psis,
    "drift": drift,
    "elbo": elbo,
    "predictive": predictive,
    "loo": loo,
}
"""Every diagnostic by name. One more is its file, its line here and its pair of tests."""


def check(tree: xr.DataTree) -> xr.DataTree:
    """A new tree with what every diagnostic that applies found, as `diagnostics/<check>`.

    A diagnostic that lacks what it needs is named, with the reason, in the JSON attribute
    ``skipped`` of the group `diagnostics`.

    Raises:
        TreeError: If the tree holds no posterior, or is not built as trees are.
    """
    require(tree, "posterior")
    validate(tree)
    found: dict[str, xr.Dataset] = {}
    skipped: dict[str, str] = {}
    for name, diagnostic in CHECKS.items():
        try:
            found[f"diagnostics/{name}"] = diagnostic(tree)
        except DiagnosticError as reason:
            skipped[name] = str(reason)
    group = xr.Dataset(attrs={"skipped": json.dumps(skipped)})
    return grow(tree, diagnostics=group, **found)


def verdict(tree: xr.DataTree) -> Verdict:
    """What the diagnostics say together; they are run first where the tree holds none."""
    return read(tree if "diagnostics" in tree else check(tree), order=list(CHECKS))
