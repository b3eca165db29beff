"""Scores of predictions, and what their spread is made of: beside the verdict, for who asks."""

from pyrovi import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, globals())
