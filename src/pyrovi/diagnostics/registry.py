"""Every diagnostic by name: one more is its file, its line here and its pair of tests."""

from collections.abc import Callable

import xarray as xr

from pyrovi.errors import DiagnosticError
from pyrovi.registry import Registry

__all__ = ["CHECKS"]

CHECKS: Registry[Callable[[xr.DataTree], xr.Dataset]] = Registry(
    "diagnostic",
    {
        "convergence": "pyrovi.diagnostics.checks.convergence:convergence",
        "restarts": "pyrovi.diagnostics.checks.restarts:restarts",
        "psis": "pyrovi.diagnostics.checks.psis:psis",
        "drift": "pyrovi.diagnostics.checks.drift:drift",
        "elbo": "pyrovi.diagnostics.checks.elbo:elbo",
        "predictive": "pyrovi.diagnostics.checks.predictive:predictive",
        "loo": "pyrovi.diagnostics.checks.loo:loo",
    },
    group="pyrovi.diagnostics",
    accepts=callable,
    asked="a function from a tree to a Dataset of `pyrovi.diagnostics.table`",
    unknown=DiagnosticError,
)
