"""The one value every stage passes on: an `xarray.DataTree` in ArviZ's schema that only grows.

| group | written by | dims of its variables |
|---|---|---|
| `observed_data`, `constant_data`, `truth` | load, simulate | plates |
| `posterior`, `unconstrained_posterior` | draw | chain, draw, plates |
| `log_likelihood` | draw | chain, draw, plates |
| `posterior_predictive` | draw | chain, draw (some of them, of large data), plates |
| `predictions`, `predictions_constant_data` | predict | chain, draw, plates of the new data |
| `prior`, `prior_predictive` | draw | chain (one), draw, plates |
| `log_prior`, `log_guide` | draw | chain, draw: one variable per latent site |
| `drift` | draw | chain, draw, drift_state, plates: where Markov chains began and went |
| `learnt` | draw | chain, and its own: parameters that were learnt, with their supports |
| `masked` | draw | plates: which observations a mask of the model hides, where it hides any |
| `discrepancies` | draw | statistic, replication: declared by the model, of data and of copies |
| `sample_stats` | draw | chain, draw; the fit's history and its record in `attrs` |
| `diagnostics/<check>` | check | quantity |

A variable is an argument of the model, a dim is a plate, a posterior variable is a site. `chain`
is an independent restart of the fit; `draw` counts draws from the approximation.

>>> tree = data_tree({"y": ("school", [28.0, 8.0])}, coords={"school": ["Choate", "Deerfield"]})
>>> list(tree.children), tree["observed_data"]["y"].dims
(['observed_data'], ('school',))
"""

from pyrovi.tree.ask import (
    draw_kind as draw_kind,
    has as has,
    held as held,
    hidden as hidden,
    json_attr as json_attr,
    labels as labels,
    levels_in as levels_in,
    quantities as quantities,
    require as require,
    validate as validate,
)
from pyrovi.tree.build import data_alone as data_alone, data_tree as data_tree, grow as grow
from pyrovi.tree.netcdf import open_tree as open_tree, save as save
from pyrovi.tree.schema import (
    ACCEPTANCE as ACCEPTANCE,
    CAME_AS as CAME_AS,
    CHAINS as CHAINS,
    CONSTANT_OF_PREDICTIONS as CONSTANT_OF_PREDICTIONS,
    DATA_GROUPS as DATA_GROUPS,
    DISCREPANCIES as DISCREPANCIES,
    DRAW_GROUPS as DRAW_GROUPS,
    DRAW_KINDS as DRAW_KINDS,
    DRAWS as DRAWS,
    INDEPENDENT as INDEPENDENT,
    ITEM_OF as ITEM_OF,
    LACKING as LACKING,
    LEARNT as LEARNT,
    LEVELS as LEVELS,
    LEVELS_OF as LEVELS_OF,
    MASKED as MASKED,
    METADATA as METADATA,
    MISSING as MISSING,
    MODE_SEARCHES as MODE_SEARCHES,
    MODES_OF as MODES_OF,
    OF_ALL as OF_ALL,
    OF_REST as OF_REST,
    OF_SITE as OF_SITE,
    OPTIONS as OPTIONS,
    OUT_OF_TIME as OUT_OF_TIME,
    POINTS as POINTS,
    POOL_KHAT as POOL_KHAT,
    POOL_WEIGHT as POOL_WEIGHT,
    PREDICTIONS as PREDICTIONS,
    PRIOR_GROUPS as PRIOR_GROUPS,
    SAMPLE_DIMS as SAMPLE_DIMS,
    SELECTED as SELECTED,
    STATUSES as STATUSES,
    UP_TO_LABELS as UP_TO_LABELS,
    original_name as original_name,
    safe_name as safe_name,
)
