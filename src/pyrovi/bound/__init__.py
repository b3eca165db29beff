"""A model tied to its data: its arguments, its sites, and runs of it."""

from pyrovi.bound.arguments import (
    Arguments as Arguments,
    Signature as Signature,
    bind as bind,
    by_name as by_name,
)
from pyrovi.bound.binding import advice as advice, bind_model as bind_model
from pyrovi.bound.data import (
    Hidden as Hidden,
    as_tree as as_tree,
    hidden_values as hidden_values,
    in_codes as in_codes,
    observed_values as observed_values,
    row_labels as row_labels,
    same_values as same_values,
    with_levels as with_levels,
)
from pyrovi.bound.handlers import (
    AllSeenError as AllSeenError,
    Fix as Fix,
    InitialValues as InitialValues,
    NotePieces as NotePieces,
    Place as Place,
    Until as Until,
)
from pyrovi.bound.labels import Coded as Coded, recoded as recoded
from pyrovi.bound.model import BoundModel as BoundModel, default_dtype as default_dtype
from pyrovi.bound.parameters import (
    constrained as constrained,
    own_module as own_module,
    supports_of as supports_of,
)
from pyrovi.bound.pyro_patches import made_for_many as made_for_many
from pyrovi.bound.replaced import (
    Replaced as Replaced,
    Replacement as Replacement,
    replaced_in as replaced_in,
    with_likelihood as with_likelihood,
    with_priors as with_priors,
)
from pyrovi.bound.runs import (
    PredictionError as PredictionError,
    at_once_or_each as at_once_or_each,
    carries_draws as carries_draws,
    conditional_draws as conditional_draws,
    discrete_draws as discrete_draws,
    end_to_end as end_to_end,
    in_plate_of_draws as in_plate_of_draws,
    predictions as predictions,
    prior_draws as prior_draws,
    rows_at_once as rows_at_once,
    undrawable as undrawable,
)
from pyrovi.bound.sites import (
    Site as Site,
    Trace as Trace,
    batch_shape as batch_shape,
    innermost as innermost,
    kind_of as kind_of,
    sample_nodes as sample_nodes,
    vectorised_frames as vectorised_frames,
)
from pyrovi.bound.values import convert as convert, to_numpy as to_numpy
