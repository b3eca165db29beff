"""Variational families: each makes, from a Pyro model, a guide that runs under plain Pyro SVI.

>>> from pyrovi import guides
>>> sorted(guides.FAMILIES)
['dropout', 'full_rank', 'iaf', 'last_layer', 'low_rank', 'maf', 'map', 'mean_field', 'nsf', \
'realnvp', 'structured']

A family is called with a model, and gives a Pyro ``AutoGuide``::

    guide = guides.full_rank(model)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), pyro.infer.Trace_ELBO())

Discrete latent sites that can be enumerated are hidden from the guide: such a model wants
``TraceEnum_ELBO``.
"""

from pyrovi.guides.dropout import dropout
from pyrovi.guides.family import Family, detached
from pyrovi.guides.flows import iaf, maf, nsf, realnvp
from pyrovi.guides.gaussian import full_rank, low_rank, map_estimate, mean_field, structured
from pyrovi.guides.last_layer import last_layer

__all__ = [
    "FAMILIES",
    "Family",
    "detached",
    "dropout",
    "full_rank",
    "iaf",
    "last_layer",
    "low_rank",
    "maf",
    "map",
    "mean_field",
    "nsf",
    "realnvp",
    "structured",
]

map = map_estimate  # noqa: A001  the name users know; inside pyrovi it is `map_estimate`

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        mean_field,
        full_rank,
        low_rank,
        structured,
        map_estimate,
        iaf,
        maf,
        nsf,
        realnvp,
        dropout,
        last_layer,
    )
}
