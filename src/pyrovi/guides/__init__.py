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

from pyrovi import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, globals())
