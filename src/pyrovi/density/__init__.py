"""A model as one unconstrained log density, vectorised over draws, with gradients."""

from pyrovi.density.log_density import LogDensity, OutOfTime

__all__ = ["LogDensity", "OutOfTime"]
