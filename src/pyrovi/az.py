"""One spelling of ArviZ for every supported Python.

``from pyrovi import az`` gives every public name of ``arviz_base``, ``arviz_stats`` and
``arviz_plots``, which speak `xarray.DataTree` in both of their lines: 0.8 on Python 3.11, 1.x
from Python 3.12. (``import arviz`` does not: on Python 3.11 it is 0.23, which takes
``InferenceData`` alone.)

Names are looked up when asked for, and plots load only when a plot is.

>>> from pyrovi import az
>>> az.hdi.__module__.partition(".")[0]
'arviz_stats'
>>> az.extract.__module__.partition(".")[0]
'arviz_base'
"""

import contextlib
import importlib
import sys
import warnings
from types import ModuleType
from typing import Any

# A name that two packages have is the first one's: the order that ArviZ 1.x itself ends up with.
_WITHOUT_PLOTS = ("arviz_stats", "arviz_base")
_DOCUMENTED_MODULES = frozenset({"labels", "style", "testing", "visuals"})


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return _public_names()
    if name.startswith("__"):  # what doctest and inspect ask every module for
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, _find(name))


def __dir__() -> list[str]:
    return _public_names()


def _find(name: str) -> Any:
    if not name.startswith("plot_"):
        for package in map(importlib.import_module, _WITHOUT_PLOTS):
            if hasattr(package, name):
                return getattr(package, name)
    if hasattr(plots := _plots(), name):
        return getattr(plots, name)
    raise AttributeError(f"ArviZ has no public name {name!r} on this Python: see dir(pyrovi.az)")


def _plots() -> ModuleType:
    """``arviz_plots``, importable on Python 3.11 beside a newer matplotlib too.

    arviz-plots 0.8 takes ``matplotlib.style.core`` for an attribute that is always there; with
    matplotlib 3.11 it is one only once imported. pyproject.toml keeps the two apart, and
    environments that pyrovi did not make may not.
    """
    if sys.version_info < (3, 12) and "arviz_plots" not in sys.modules:
        with contextlib.suppress(ImportError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the module is deprecated
            importlib.import_module("matplotlib.style.core")
    return importlib.import_module("arviz_plots")


def _public_names() -> list[str]:
    packages = [*map(importlib.import_module, _WITHOUT_PLOTS), _plots()]
    return sorted({name for each in packages for name in vars(each) if _public(each, name)})


def _public(package: ModuleType, name: str) -> bool:
    if name.startswith("_"):
        return False
    return name in _DOCUMENTED_MODULES or not isinstance(getattr(package, name), ModuleType)
