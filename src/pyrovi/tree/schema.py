"""The names that a tree is made of: its groups, its dims, its attributes."""

import re
from collections.abc import Container
from urllib.parse import quote, unquote

SAMPLE_DIMS = ("chain", "draw")
DATA_GROUPS = ("observed_data", "constant_data", "truth")
DRAW_GROUPS = (
    "posterior",
    "unconstrained_posterior",
    "posterior_predictive",
    "log_likelihood",
    "log_prior",
    "log_guide",
)
ACCEPTANCE = "acceptance_rate"  # in the group `drift`: each Markov chain's average
DISCREPANCIES = "discrepancies"  # the group of statistics of the data and of replications
LEARNT = "learnt"  # the group of the parameters that were learnt, each with its support
PREDICTIONS, CONSTANT_OF_PREDICTIONS = "predictions", "predictions_constant_data"  # at new data
MASKED = "masked"  # the group that says which observations a mask of the model hides
PRIOR_GROUPS = ("prior", "prior_predictive")
DRAWN_GROUPS = {
    *(*DRAW_GROUPS, *PRIOR_GROUPS, LEARNT),
    *(PREDICTIONS, CONSTANT_OF_PREDICTIONS),
    *(DISCREPANCIES, MASKED, "diagnostics", "drift", "sample_stats"),
}
"""What `pyrovi.draw`, `pyrovi.predict` and `pyrovi.check` write."""

# Attributes of a variable; the first three are 1 where they are there.
MISSING = "missing_as_nan"  # observed: its NaNs are values to leave out and predict
METADATA = "metadata"  # it belongs to the data, and the model need not take it
OF_SITE = "of_site"  # `pyrovi.draw` repeats it under the name of the site that observed it
SELECTED = "selected"
"""Of a variable of `MASKED`: 1 where what it hides is observed by other terms of the model, as
what is censored is, so that the entries that are left were chosen by their values."""
CAME_AS = "came_as"
"""What a variable was where that is no tensor of its dtype: a Python ``number``, a NumPy ``array``
inside a dict, or the dtype of what had no NaN for missing values."""
LEVELS, LEVELS_OF = "levels", "levels_of"
"""Of a variable of codes, as JSON: the label behind each code, and the dims that have an entry for
each of them."""
ITEM_OF = "item_of"  # it is an item of a dict: the argument that took the dict

# Attributes of the tree, as JSON: arguments that are no numbers; names of those it cannot hold.
OPTIONS, LACKING = "options", "lacking"

OUT_OF_TIME = "out_of_time"
"""The attribute of `sample_stats` that says, as JSON, which groups there was no time for."""
POOL_WEIGHT, POOL_KHAT = "pool_weight", "pool_khat"
"""In `sample_stats`, of draws that were taken out of a pool by importance weights: the share that
each had of all weights, and the shape of their tail."""
DRAWS = "draws"  # the attribute of `sample_stats` that says which of these the posterior's are
DRAW_KINDS = INDEPENDENT, CHAINS, POINTS = "independent", "chains", "points"
"""Independent draws of an approximation, states of Markov chains, or a few points repeated."""
MODES_OF = "modes_of"  # the attribute that says which of these the modes that were met are of
MODE_SEARCHES = "mode_searches"  # the attribute that says how many searches for them there were
OF_ALL, UP_TO_LABELS, OF_REST = "all", "labels", "rest"
"""All entries; all, where an exchange of labels makes no other mode; what is nearly Gaussian given
a few."""
SAMPLERS_STATS = (
    "acceptance_rate",
    "diverging",
    "energy",
    "n_steps",
    "reached_max_treedepth",
    "step_size",
    "tree_depth",
)
"""What only Markov chain samplers write into `sample_stats`, by ArviZ's names."""
STATUSES = ("converged", "stopped", "diverged")  # how a fit can end, from good to bad

STATS_DIMS = {
    "log_joint": SAMPLE_DIMS,
    "log_guide": SAMPLE_DIMS,
    "diverging": SAMPLE_DIMS,
    POOL_WEIGHT: SAMPLE_DIMS,
    POOL_KHAT: SAMPLE_DIMS,
    "loss": ("chain", "step"),
    "optimum_error": ("chain", "latent"),
    "status": ("chain",),
    "seconds": ("chain",),
    "restart_index": ("chain",),
    "restart_elbo": ("restart",),
    "restart_status": ("restart",),
    "mode_found": ("mode",),
    "mode_share": ("mode",),
    "mode_held": ("mode",),
    "mode_loc": ("mode", "latent"),
    "mode_scale": ("mode", "latent"),
}
_RESERVED = (*SAMPLE_DIMS, "quantity", ACCEPTANCE, ".", "..", "")


def safe_name(name: str, taken: Container[str] = ()) -> str:
    """``name`` as it can stand in a tree and a netCDF file.

    A slash separates groups in both, so it and control characters are percent-encoded; the sample
    dims and `ACCEPTANCE` are not for sites or plates, so these, and names in ``taken``, get a
    trailing underscore.

    >>> safe_name("encoder/weight"), safe_name("chain"), safe_name("theta")
    ('encoder%2Fweight', 'chain_', 'theta')
    """
    encoded = r"[%/\x00-\x1f\x7f]|^\s|\s$"
    safe = re.sub(encoded, lambda match: quote(match.group(), safe=""), name)
    while safe in _RESERVED or safe in taken:
        safe += "_"
    return safe


def original_name(name: str) -> str:
    """The site's own name, as it was before `safe_name`, but for underscores that this added.

    >>> original_name("encoder%2Fweight")
    'encoder/weight'
    """
    return unquote(name)
