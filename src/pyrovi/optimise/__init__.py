"""The searches, chains and objectives that engines are made of."""

from pyrovi import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, globals())
