"""Public names listed once, in a stub, and imported when first asked for.

A package lists its public names in its ``__init__.pyi``, in the order of its documentation, by
imports: editors and type checkers read them there, and so does the package itself::

    __getattr__, __dir__, __all__ = lazy.attach(__name__, globals())
"""

import ast
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent


def exported(package: str) -> dict[str, str]:
    """The names that the stub of a package of pyrovi lists, each with its home.

    A home is ``"module:attribute"``, and ``"module:"`` where the name is a module.

    >>> exported("pyrovi")["fit"], exported("pyrovi")["errors"]
    ('pyrovi.infer:fit', 'pyrovi.errors:')
    """
    stub = ROOT.joinpath(*package.split(".")[1:], "__init__.pyi")
    body = ast.parse(stub.read_text(encoding="utf-8")).body
    return dict(pair for node in body if isinstance(node, ast.ImportFrom) for pair in _names(node))


def _names(node: ast.ImportFrom) -> Iterator[tuple[str, str]]:
    module = str(node.module)
    for each in node.names:
        if each.name == "*":
            yield from exported(module).items()
        elif module == "pyrovi":
            yield each.asname or each.name, f"pyrovi.{each.name}:"
        else:
            yield each.asname or each.name, f"{module}:{each.name}"


def load(home: str) -> Any:
    """What stands at ``"module:attribute"``, or the module at ``"module:"``.

    >>> load("math:pi")
    3.141592653589793
    """
    module, _, attribute = home.partition(":")
    loaded = importlib.import_module(module)
    return getattr(loaded, attribute) if attribute else loaded


def attach(
    package: str, namespace: dict[str, Any]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package, from its stub.

    ``namespace`` are its globals, where a name is kept once it is loaded.
    """
    homes = exported(package)

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return namespace.setdefault(name, load(homes[name]))

    return find, lambda: sorted({*namespace, *homes}), list(homes)
