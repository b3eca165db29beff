"""The guide families; the line in the stub ``__init__.pyi`` registers one."""

from pyrovi import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, globals())
