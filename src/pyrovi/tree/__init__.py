"""The one value every stage passes on: an `xarray.DataTree` in ArviZ's schema that only grows.

| group | written by | dims of its variables |
|---|---|---|
| `observed_data`, `constant_data`, `truth` | load, simulate | plates |
| `posterior`, `unconstrained_posterior` | draw | chain, draw, plates |
| `posterior_predictive`, `log_likelihood` | draw | chain, draw, plates |
| `prior`, `prior_predictive` | draw | chain (one), draw, plates |
| `log_prior`, `log_guide` | draw | chain, draw: one variable per latent site |
| `drift` | draw | chain, draw, state, plates: where a Markov chain began, and where it went |
| `discrepancies` | draw | statistic, replication: declared by the model, of data and of copies |
| `sample_stats` | draw | chain, draw; the fit's history and its record in `attrs` |
| `diagnostics/<check>` | check | quantity |

A variable is an argument of the model, a dim is a plate, a posterior variable is a site. `chain`
is an independent restart of the fit; `draw` counts draws from the approximation.

>>> tree = data_tree({"y": ("school", [28.0, 8.0])}, coords={"school": ["Choate", "Deerfield"]})
>>> list(tree.children), tree["observed_data"]["y"].dims
(['observed_data'], ('school',))
"""

from pyrovi.tree.ask import draw_kind, has, json_attr, labels, quantities, require
from pyrovi.tree.build import data_alone, data_tree, grow
from pyrovi.tree.netcdf import open_tree, save
from pyrovi.tree.schema import (
    ACCEPTANCE,
    CAME_AS,
    CHAINS,
    DATA_GROUPS,
    DISCREPANCIES,
    DRAW_GROUPS,
    DRAW_KINDS,
    DRAWS,
    INDEPENDENT,
    ITEM_OF,
    LACKING,
    METADATA,
    MISSING,
    OF_SITE,
    OPTIONS,
    POINTS,
    PRIOR_GROUPS,
    SAMPLE_DIMS,
    STATUSES,
    original_name,
    safe_name,
)
from pyrovi.tree.validation import validate

__all__ = [
    "ACCEPTANCE",
    "CAME_AS",
    "CHAINS",
    "DATA_GROUPS",
    "DISCREPANCIES",
    "DRAWS",
    "DRAW_GROUPS",
    "DRAW_KINDS",
    "INDEPENDENT",
    "ITEM_OF",
    "LACKING",
    "METADATA",
    "MISSING",
    "OF_SITE",
    "OPTIONS",
    "POINTS",
    "PRIOR_GROUPS",
    "SAMPLE_DIMS",
    "STATUSES",
    "data_alone",
    "data_tree",
    "draw_kind",
    "grow",
    "has",
    "json_attr",
    "labels",
    "open_tree",
    "original_name",
    "quantities",
    "require",
    "safe_name",
    "save",
    "validate",
]
