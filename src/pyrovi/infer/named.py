"""Engines by their names, with a guide and settings: ``"dadvi"``, ``"svi:full_rank"``."""

import inspect
from collections.abc import Mapping
from typing import Any

from pyrovi.errors import EngineError
from pyrovi.infer.engine import Engine
from pyrovi.infer.ladder.auto import Auto
from pyrovi.infer.registry import ENGINES
from pyrovi.registry import nearest

MEMBERS = ("capabilities", "max_steps", "init", "step", "converged", "outcome")  # of `Engine`


def engine_named(text: str, **settings: Any) -> Engine:
    """The engine that a name stands for, ``"dadvi"``, ``"auto"`` or ``"svi:full_rank"``.

    Args:
        text: A name of `ENGINES` or ``auto``; with a guide behind a colon where it takes one.
        **settings: Of the engine.

    Raises:
        EngineError: If there is no such engine, it has no such setting, or needs one more.
        GuideError: If there is no such guide.

    >>> engine_named("svi:full_rank", particles=4)
    SVI(guide='full_rank', particles=4)
    """
    name, colon, guide = text.strip().partition(":")
    given = {"guide": guide, **settings} if colon else settings
    taken = settings_of(name)
    if colon and "guide" not in taken:
        raise _takes_no_guide(name, guide)
    unknown = [each for each in given if each not in taken]
    if unknown:
        raise EngineError(
            f"The engine {name!r} has no setting {unknown[0]!r}{nearest(unknown[0], taken)}. "
            f"It has: {', '.join(taken) or 'none'}."
        )
    lacking = [each for each in _required(_maker(name)) if each not in given]
    if lacking:
        raise EngineError(
            f"The engine {name!r} needs the setting {lacking[0]!r}, which has no default. Pass "
            f"the engine with it, or its name and --set {lacking[0]}=... on the command line."
        )
    engine = checked_engine(_maker(name)(**given))
    if colon and not engine.capabilities.guide:
        raise _takes_no_guide(name, guide)
    return engine


def settings_of(name: str) -> tuple[str, ...]:
    """The settings that the engine of that name takes; ``auto`` picks its own."""
    return () if _maker(name) is Auto else tuple(_parameters(_maker(name)))


def ready_made() -> dict[str, Engine]:
    """Every engine as it is without settings, by name; without those that need a setting."""
    makers = ENGINES.available().items()
    made = {name: maker() for name, maker in makers if not _required(maker)}
    return {name: each for name, each in made.items() if isinstance(each, Engine)}


def checked_engine(engine: object) -> Engine:
    """What is an engine, as it is.

    Raises:
        EngineError: If it is none, or the class of one.
    """
    if isinstance(engine, type):
        raise EngineError(
            f"Expected an engine, and the class {engine.__name__} came. Write {engine.__name__}()."
        )
    if not isinstance(engine, Engine):
        lacking = [each for each in MEMBERS if not hasattr(engine, each)]
        raise EngineError(
            f"Expected an engine such as pyrovi.SVI() or a name, and {engine!r} came, which lacks "
            f"{', '.join(lacking)}."
        )
    return engine


def _takes_no_guide(name: str, guide: str) -> EngineError:
    others = [f"{n}:{guide}" for n, each in ready_made().items() if each.capabilities.guide]
    return EngineError(
        f"The engine {name!r} takes no guide, and {guide!r} came. Use {' or '.join(others)}."
    )


def _maker(name: str) -> Any:
    name = name.lower()
    if name != "auto" and name not in ENGINES:
        raise EngineError(
            f"No engine {name!r}{nearest(name, ENGINES)}. "
            f"There is: auto, {', '.join(ENGINES)}; with a guide: svi:full_rank."
        )
    return Auto if name == "auto" else ENGINES[name]


def _parameters(maker: Any) -> Mapping[str, inspect.Parameter]:
    """What may be passed by name."""
    by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    taken = inspect.signature(maker).parameters
    return {name: each for name, each in taken.items() if each.kind in by_name}


def _required(maker: Any) -> list[str]:
    return [n for n, each in _parameters(maker).items() if each.default is inspect.Parameter.empty]
