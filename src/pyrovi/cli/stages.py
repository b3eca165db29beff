"""What each command does to a run's folder."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovi.cli.data import with_settings
from pyrovi.cli.folder import DATA, POSTERIOR, RECORD
from pyrovi.cli.names import (
    closed_forms,
    engine_for,
    is_file_model,
    model_named,
    settings_of,
    table_options,
)
from pyrovi.errors import DataError, EngineError, ModelError, OutputError, PyroviWarning, TreeError
from pyrovi.files import write_whole

if TYPE_CHECKING:
    from pyrovi.infer import Fit


REPEATED = ("settings", "more")
"""What of a request may be given many times."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `pyrovi fit` was asked for; each is an option of the command.

    Attributes:
        more: What came besides, for the entry's reader of tables to take.
        options: The command's own options.
    """

    name: str
    data: str | None = None
    variant: str | None = None
    engine: str = "auto"
    guide: str | None = None
    settings: tuple[str, ...] = ()
    seed: int | None = None
    restarts: int = 1
    max_seconds: float | None = None
    more: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def fit(folder: Path, request: Request) -> "Fit":
    """Fit, and keep in ``folder`` what it takes to draw from the fit later."""
    import pyrovi as vi

    chosen = model_named(request.name, request.variant)
    of_table = table_options(request.more, request.options, chosen, request.name)
    given = settings_of(request.settings)
    own = {key: value for key, value in given.items() if key in chosen.arguments}
    rest = {key: value for key, value in given.items() if key not in own}
    engine = engine_for(request.engine, request.guide, rest, chosen)
    data = chosen.load(request.data, of_table)
    try:
        fitted = vi.fit(
            chosen.call,
            with_settings(data, own),
            engine=engine,
            seed=request.seed,
            restarts=request.restarts,
            max_seconds=request.max_seconds,
        )
    except EngineError as error:
        if "closed-form" not in str(error):
            raise
        raise EngineError(f"{error}{closed_forms(request.name)}") from error
    fitted.save(folder)
    vi.save(fitted.data, folder / DATA)
    record = {
        "model": request.name,
        "variant": request.variant,
        "data": request.data,
        "table": of_table,
        "settings": own,
        "digest": chosen.digest,
    }
    write_whole(folder / RECORD, json.dumps(record, indent=2) + "\n")
    return fitted


def reopen(folder: Path, model: str | None) -> "Fit":
    """The fit that ``folder`` keeps; ``model`` names the user's file again, if it was one."""
    import pyrovi as vi

    record = _record(folder)
    chosen = model_named(_named(record, model), record.get("variant"))
    if record.get("digest") and record["digest"] != chosen.digest:
        warnings.warn(f"{model} has changed since it was fitted.", PyroviWarning, stacklevel=1)
    return vi.Fit.open(folder, chosen.call, vi.open_tree(folder / DATA))


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TreeError(f"{folder} has no {RECORD}. Make it with pyrovi fit.") from error
    except (OSError, ValueError) as error:
        raise TreeError(f"{folder / RECORD} cannot be read. Fit again.") from error
    if not isinstance(record, dict) or not isinstance(record.get("model"), str):
        raise TreeError(f"{folder / RECORD} names no model. Fit again.")
    return record


def _named(record: Mapping[str, Any], model: str | None) -> str:
    """The model's name. A folder may come from anyone, so it cannot name a file to be run."""
    known = record["model"]
    if not is_file_model(known):
        return known
    if model is None:
        raise ModelError(
            f"The fit was of {known}. If you trust it, name it again: --model {known}"
        )
    return model


def draw(folder: Path, fitted: "Fit", draws: int) -> None:
    """Write the posterior."""
    import pyrovi as vi

    vi.save(vi.draw(fitted, draws=draws), folder / POSTERIOR)


def check(path: Path, table: Path | None) -> str:
    """Add the diagnostics to the tree at ``path``; the verdict's text."""
    import pyrovi as vi

    tree = vi.check(vi.open_tree(path))
    verdict = vi.verdict(tree)
    vi.save(tree, path)
    if table is not None:
        write_whole(table, verdict.table.to_csv(index=False))
    return str(verdict)


def report(path: Path, page: Path) -> Path:
    """Write the report on the tree at ``path``."""
    import pyrovi as vi

    return vi.report(vi.open_tree(path)).write(page)


def compare(
    request: Request, engines: str | None, reference: Path | None, *, draws: int, out: Path | None
) -> str:
    """Fit by several engines; the table's text. ``out`` gets the table as CSV."""
    import pyrovi as vi

    _check_table(out)
    chosen = model_named(request.name, request.variant)
    of_table = table_options(request.more, request.options, chosen, request.name)
    own = settings_of(request.settings)
    unknown = [key for key in own if key not in chosen.arguments]
    if unknown:
        raise DataError(
            f"{unknown[0]!r} is no argument of the model "
            f"({', '.join(chosen.arguments) or 'none'})."
        )
    held = _held_against(request, own, reference)
    found = vi.compare(
        chosen.call,
        with_settings(chosen.load(request.data, of_table), own),
        engines.split(",") if engines is not None else None,
        held,
        seed=request.seed,
        draws=draws,
        max_seconds=request.max_seconds,
    )
    if out is not None:
        write_whole(out, found.table.to_csv(index=False))
    return str(found)


def _check_table(out: Path | None) -> None:
    """Say so before the work if the table cannot be written."""
    if out is None:
        return
    if out.suffix != ".csv" or out.is_dir():
        raise OutputError(f"Expected --out with the name of a .csv file, and {out} came.")
    if not out.absolute().parent.is_dir():
        raise OutputError(
            f"Cannot write to {out}: there is no folder {out.parent}. Make it first."
        )


def _held_against(request: Request, settings: Mapping[str, Any], path: Path | None) -> Any:
    """The reference that was named; else the shelf's, where it is of this model and these data."""
    import pyrovi as vi
    from pyrovi.studies import Reference, reference_of

    if path is not None and path.suffix == ".nc":
        return vi.open_tree(path)
    if path is not None:
        return Reference.open(path, request.variant)
    if settings or is_file_model(request.name):
        return None
    name, _, variant = request.name.partition(":")
    return reference_of(vi.models.get(name), request.variant or variant or None, request.data)
