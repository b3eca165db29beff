"""Is the posterior conditioned on anything? A forgotten ``obs=`` gives the prior, fitted well."""

import xarray as xr

from pyrovi.diagnostics.findings import Row, table
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import limits
from pyrovi.tree import json_attr, require

CONDITIONING = ("observed", "factor")  # kinds of sites
ACTION = "Give a site its data by obs=, or pyro.factor; see that no handler hides such a site."


def conditioned(tree: xr.DataTree) -> xr.Dataset:
    """Judge whether the model has a site that observes, or a factor.

    Returns:
        The row ``sites``, whose value is how many of them there are.

    Raises:
        DiagnosticError: If the tree does not say what sites the model has, and of what kind.
    """
    require(tree, "posterior")
    sites = json_attr(tree, "sites")
    if not sites or not all("kind" in site for site in sites):
        raise DiagnosticError("the tree does not say what sites the model has, and of what kind")
    row = _judge(sum(site["kind"] in CONDITIONING for site in sites))
    source = limits.CONDITIONED.source
    return table([row], check="conditioned", title="Conditioned", source=source, about="fit")


def _judge(conditioning: int) -> Row:
    limit = limits.CONDITIONED
    status = limit.status(float(conditioning))
    why = f"Of the model's sites {conditioning} observe data, or are factors."
    if status != "ok":
        why = "No site of the model observes data or is a factor: the draws are the prior's."
    return Row("sites", conditioning, limit, why, status, ACTION)
