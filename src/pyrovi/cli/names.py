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

from pyrovi.cli.data import load_any, load_zoo
from pyrovi.errors import DataError, EngineError, ModelError


@dataclass(frozen=True)
class Chosen:
    """A model, and where its data come from.

    Attributes:
        call: The Pyro callable.
        load: Data by the name that `--data` gave, None for the default, and options for a table.
        digest: SHA-256 of the user's file, and "" for the zoo.
        options: The options that it has for a table.
    """

    call: Callable[..., Any]
    load: Callable[[str | None, Mapping[str, str]], Any]
    digest: str = ""
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
        return Chosen(call, lambda data, _: load_any(data), digest)
    from pyrovi import models

    entry = models.get(name)
    entry = entry.variant(variant) if variant is not None else entry
    return Chosen(entry.model, lambda data, of: load_zoo(entry, data, of), options=entry.options)


def closed_forms(name: str) -> str:
    """Which variants of the zoo entry have the updates that an engine found lacking, in words."""
    from pyrovi import models
    from pyrovi.structure import structure_of

    if is_file_model(name):
        return ""
    entry = models.get(name.partition(":")[0])
    having = [
        variant
        for variant, form in entry.variants.items()
        if structure_of(form.model).coordinate_updates is not None
    ]
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
    found = vars(module).get(attribute)
    if not callable(found):
        callables = [n for n, v in vars(module).items() if inspect.isfunction(v)]
        raise ModelError(
            f"{path} has no callable {attribute!r}. It has: {', '.join(callables) or 'none'}."
        )
    return found


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
        first = (str(error).splitlines() or [""])[0]
        raise ModelError(f"{path} fails when run: {type(error).__name__}: {first}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def engine_for(name: str, guide: str | None, settings: Mapping[str, Any], chosen: Chosen) -> Any:
    """The engine of that name with its settings; with a guide, "auto" stands for SVI."""
    from pyrovi.infer import engine_named, settings_of

    if guide is not None:
        name = f"{'svi' if name.lower() == 'auto' else name}:{guide}"
    fields = settings_of(name.partition(":")[0])
    unknown = [key for key in settings if key not in fields]
    if unknown:
        raise EngineError(
            f"{unknown[0]!r} is no setting of the engine {name} "
            f"({', '.join(sorted(fields)) or 'it picks its own'}) and no argument of the model "
            f"({', '.join(chosen.arguments) or 'none'})."
        )
    return name if name.lower() == "auto" else engine_named(name, **settings)


def what_there_is() -> dict[str, str]:
    """The help of those options whose values are names in a registry."""
    from pyrovi import guides, infer, models

    entries = models.available()
    variants = {name: entry.variants for name, entry in entries.items() if len(entry.variants) > 1}
    engines = ", ".join(("auto", *infer.ENGINES))
    return {
        "engine": f"{engines}.",
        "engines": f"Names with commas between, such as auto,dadvi,svi:full_rank: {engines}.",
        "guide": f"The family of SVI's guide: {', '.join(guides.FAMILIES)}.",
        "variant": "A variant of the zoo entry. "
        + "; ".join(f"{name}: {', '.join(each)}" for name, each in variants.items())
        + ".",
        "more": "Options of the entry for a table of your own. "
        + "; ".join(
            f"{name}: {', '.join(spelled(entry.options))}"
            for name, entry in entries.items()
            if entry.options
        )
        + ".",
    }


def spelled(options: Sequence[str]) -> list[str]:
    """Names of options as the command line has them.

    >>> spelled(["noise_scale"])
    ['--noise-scale']
    """
    return [f"--{each.replace('_', '-')}" for each in options]


def settings_of(texts: Sequence[str]) -> dict[str, Any]:
    """``name=value`` pairs; a value is read as JSON, and is text where it is none."""
    pairs: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise DataError(f"Expected --set name=value, and {text!r} came.")
        try:
            pairs[name] = json.loads(value)
        except ValueError:
            pairs[name] = value
    return pairs


def table_options(
    more: Sequence[str], known: Sequence[str], chosen: Chosen, name: str
) -> dict[str, str]:
    """The options for a table among what is no option of the command: ``--name value``."""
    given: dict[str, str] = {}
    rest = list(more)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        own = option.removeprefix("--").replace("-", "_")
        if not option.startswith("-"):
            raise DataError(f"Expected an option, and the word {option!r} came. Try --help.")
        if own not in chosen.options or not option.startswith("--"):
            raise DataError(
                f"No such option: {option}. {_what_there_is(option, known, chosen, name)}"
            )
        if not equals and not rest:
            raise DataError(f"Expected {option} with a value, and none came.")
        if own in given:
            raise DataError(f"{option} came twice. Give it once; several names go with commas.")
        given[own] = value if equals else rest.pop(0)
    return given


def _what_there_is(option: str, known: Sequence[str], chosen: Chosen, name: str) -> str:
    own = spelled(chosen.options)
    near = get_close_matches(option, [*known, *own], n=1, cutoff=0.75)
    if near:
        return f"Did you mean {near[0]}?"
    return f"For a table {name!r} takes: {', '.join(own) or 'none'}."
