"""The engines by name: what the command line, the docs and the contract tests read."""

from collections.abc import Callable

from pyrovi.errors import EngineError
from pyrovi.infer.engine import Engine
from pyrovi.lazy import exported
from pyrovi.registry import Registry

ENGINES: Registry[Callable[..., Engine]] = Registry(
    "engine",
    # the module of an engine bears its name
    {
        home.partition(":")[0].split(".")[-1]: home
        for home in exported(f"{__package__}.engines").values()
    },
    group="pyrovi.engines",
    accepts=callable,
    asked="a class of engines",
    unknown=EngineError,
)
