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

from typing import Any

from pyrovi import lazy

_find, __dir__, __all__ = lazy.attach(__name__, globals())


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return lazy.load("importlib.metadata:version")("pyrovi")
    return _find(name)
