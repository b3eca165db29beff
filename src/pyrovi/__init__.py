"""Variational inference for any Pyro model, with a verdict on how far the answer can be trusted.

    import pyrovi as vi

    entry = vi.models.get("gaussian_mixture")
    data = entry.load("iris")
    fit = vi.fit(entry.model, data, seed=0)
    tree = vi.check(vi.draw(fit, draws=2000))
    print(vi.verdict(tree))
    vi.report(tree).write("iris.html")

Importing pyrovi changes nothing outside it, and loads torch, Pyro and ArviZ only when a name
that needs them is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyrovi import az, errors, guides, models
    from pyrovi import diagnostics as diagnostics
    from pyrovi import infer as infer
    from pyrovi import posterior as posterior
    from pyrovi import reports as reports
    from pyrovi import studies as studies
    from pyrovi import tree as tree
    from pyrovi.diagnostics import Verdict, check, verdict
    from pyrovi.errors import PyroviError, PyroviWarning
    from pyrovi.infer import (
        CAVI,
        DADVI,
        NUTS,
        SVI,
        BatchAndMatch,
        Ensemble,
        Fit,
        Gibbs,
        Laplace,
        Pathfinder,
        Status,
        fit,
        linear_response,
    )
    from pyrovi.posterior import draw
    from pyrovi.reports import Report, report
    from pyrovi.studies import Comparison, compare
    from pyrovi.tree import data_tree, open_tree, save

    __version__: str

__all__ = [
    "models",
    "data_tree",
    "fit",
    "SVI",
    "DADVI",
    "Laplace",
    "Pathfinder",
    "BatchAndMatch",
    "Ensemble",
    "CAVI",
    "Gibbs",
    "NUTS",
    "guides",
    "Fit",
    "Status",
    "linear_response",
    "draw",
    "check",
    "verdict",
    "Verdict",
    "report",
    "Report",
    "compare",
    "Comparison",
    "save",
    "open_tree",
    "az",
    "errors",
    "PyroviError",
    "PyroviWarning",
]

_HOME = {
    "data_tree": "pyrovi.tree",
    "fit": "pyrovi.infer",
    "SVI": "pyrovi.infer",
    "DADVI": "pyrovi.infer",
    "Laplace": "pyrovi.infer",
    "Pathfinder": "pyrovi.infer",
    "BatchAndMatch": "pyrovi.infer",
    "Ensemble": "pyrovi.infer",
    "CAVI": "pyrovi.infer",
    "Gibbs": "pyrovi.infer",
    "NUTS": "pyrovi.infer",
    "Fit": "pyrovi.infer",
    "Status": "pyrovi.infer",
    "linear_response": "pyrovi.infer",
    "draw": "pyrovi.posterior",
    "check": "pyrovi.diagnostics",
    "verdict": "pyrovi.diagnostics",
    "Verdict": "pyrovi.diagnostics",
    "report": "pyrovi.reports",
    "Report": "pyrovi.reports",
    "compare": "pyrovi.studies",
    "Comparison": "pyrovi.studies",
    "save": "pyrovi.tree",
    "open_tree": "pyrovi.tree",
    "PyroviError": "pyrovi.errors",
    "PyroviWarning": "pyrovi.errors",
}
_MODULES = frozenset(
    {
        *("models", "infer", "guides", "posterior", "diagnostics", "studies", "reports", "tree"),
        *("az", "errors"),
    }
)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"pyrovi.{name}")
    elif name == "__version__":
        value = importlib.import_module("importlib.metadata").version("pyrovi")
    else:
        raise AttributeError(f"module 'pyrovi' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, "__version__"})
