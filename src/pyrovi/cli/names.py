"""The model and the engine that a command names."""

import hashlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyrovi as vi
from pyrovi.cli.data import load_any, load_new, load_zoo
from pyrovi.errors import DataError, EngineError, ModelError
from pyrovi.words import one_line

REPEATED = ("settings", "priors", "more")
"""What of a request may be given many times."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a command was asked for, ``more`` for the entry's reader of tables; and its options."""

    name: str
    data: str | None = None
    variant: str | None = None
    engine: str = "auto"
    guide: str | None = None
    settings: tuple[str, ...] = ()
    seed: int | None = None
    restarts: int = 1
    max_seconds: float | None = None
    priors: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """A Pyro callable, and its data by what `--data` gave and the options for a table."""

    call: Callable[..., Any]
    load: Callable[[str | None, Mapping[str, str]], Any]
    load_new: Callable[[str, Any, Mapping[str, str]], Any]  # and the fitted data, after the first
    digest: str = ""  # SHA-256 of the user's file
    options: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the callable's parameters."""
        return tuple(inspect.signature(self.call).parameters)


def model_named(name: str, variant: str | None) -> Chosen:
    """The model of the zoo, or of the user's file, that ``name`` stands for."""
    if is_file_model(name):
        if variant is not None:
            raise ModelError("--variant is for models of the zoo. Name another callable instead.")
        path, _, attribute = name.rpartition(":")
        call = _from_file(Path(path), attribute)
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return Chosen(call, lambda data, _: load_any(data), lambda new, *_: load_any(new), digest)
    entry = vi.models.get(name)
    entry = entry.variant(variant) if variant is not None else entry
    return Chosen(
        entry.model,
        lambda data, of: load_zoo(entry, data, of),
        lambda new, fitted, of: load_new(entry, Path(new), fitted, of),
        options=entry.options,
    )


def closed_forms(name: str) -> str:
    """Which variants of the zoo entry have closed-form updates, in words."""
    from pyrovi.structure import structure_of

    forms = {} if is_file_model(name) else vi.models.get(name.partition(":")[0]).variants
    having = [n for n, form in forms.items() if structure_of(form.model).coordinate_updates]
    if not having:
        return ""
    return f" These variants have them: {', '.join(having)} (--variant {having[0]})."


def is_file_model(name: str) -> bool:
    """Whether ``name`` points into a Python file."""
    return ".py:" in name or name.endswith(".py")


def _from_file(path: Path, attribute: str) -> Callable[..., Any]:
    """The callable ``attribute`` of the Python file ``path``, which is run to have it."""
    if not path.is_file() or not attribute:
        raise ModelError(
            f"Expected my_model.py:model, a file and a callable in it, and "
            f"{str(path) + ':' + attribute!r} is none."
        )
    module = _imported(path)
    call = vars(module).get(attribute)
    if not callable(call):
        callables = [n for n, v in vars(module).items() if inspect.isfunction(v)]
        raise ModelError(
            f"{path} has no callable {attribute!r}. It has: {', '.join(callables) or 'none'}."
        )
    return call


def _imported(path: Path) -> Any:
    path = path.resolve()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    # As `python my_model.py` has it: dataclasses look their module up, and neighbours import.
    sys.modules.setdefault(spec.name, module)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"{path} fails when run: {one_line(error)}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def engine_for(request: Request, settings: Mapping[str, Any], chosen: Chosen) -> Any:
    """The engine that was named, with its settings; with a guide, "auto" stands for SVI."""
    name = request.engine
    if request.guide is not None:
        name = f"{'svi' if name.lower() == 'auto' else name}:{request.guide}"
    fields = vi.infer.settings_of(name.partition(":")[0])
    unknown = [key for key in settings if key not in fields]
    if unknown:
        raise EngineError(
            f"{unknown[0]!r} is no setting of the engine {name} "
            f"({', '.join(sorted(fields)) or 'it picks its own'}) and no argument of the model "
            f"({', '.join(chosen.arguments) or 'none'})."
        )
    return name if name.lower() == "auto" else vi.infer.engine_named(name, **settings)


def what_there_is() -> dict[str, str]:
    """The help of those options whose values are names in a registry."""
    entries = vi.models.available()
    variants = {name: list(entry.variants) for name, entry in entries.items()}
    options = {name: spelled(entry.options) for name, entry in entries.items()}
    engines = ", ".join(("auto", *vi.infer.ENGINES))
    return {
        "engine": f"{engines}.",
        "engines": f"Names with commas between, such as auto,dadvi,svi:full_rank: {engines}.",
        "guide": f"The family of SVI's guide: {', '.join(vi.guides.FAMILIES)}.",
        "variant": f"A variant of the zoo entry. {_by_entry(variants, least=2)}.",
        "more": f"Options of the entry for a table of your own. {_by_entry(options, least=1)}.",
    }


def _by_entry(names: Mapping[str, Sequence[str]], *, least: int) -> str:
    return "; ".join(f"{n}: {', '.join(own)}" for n, own in names.items() if len(own) >= least)


def spelled(options: Sequence[str]) -> list[str]:
    """Names of options as the command line has them.

    >>> spelled(["noise_scale"])
    ['--noise-scale']
    """
    return [f"--{each.replace('_', '-')}" for each in options]


def settings_of(request: Request, chosen: Chosen) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ``name=value`` pairs: arguments of the model, and others; values are JSON, or text."""
    own: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for text in request.settings:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise DataError(f"Expected --set name=value, and {text!r} came.")
        pairs = own if name in chosen.arguments else others
        try:
            pairs[name] = json.loads(value)
        except ValueError:
            pairs[name] = value
    return own, others


def table_options(request: Request, chosen: Chosen) -> dict[str, str]:
    """The options for a table among what is no option of the command: ``--name value``."""
    given: dict[str, str] = {}
    rest = list(request.more)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        own = option.removeprefix("--").replace("-", "_")
        if not option.startswith("-"):
            raise DataError(f"Expected an option, and the word {option!r} came. Try --help.")
        if own not in chosen.options or not option.startswith("--"):
            raise DataError(f"No such option: {option}. {_instead(option, request, chosen)}")
        if not equals and not rest:
            raise DataError(f"Expected {option} with a value, and none came.")
        if own in given:
            raise DataError(f"{option} came twice. Give it once; several names go with commas.")
        given[own] = value if equals else rest.pop(0)
    return given


def _instead(option: str, request: Request, chosen: Chosen) -> str:
    own = spelled(chosen.options)
    near = get_close_matches(option, [*request.options, *own], n=1, cutoff=0.75)
    if near:
        return f"Did you mean {near[0]}?"
    return f"For a table {request.name!r} takes: {', '.join(own) or 'none'}."
