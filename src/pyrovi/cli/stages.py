"""What each command does to a run's folder."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyrovi as vi
from pyrovi.cli.data import with_settings
from pyrovi.cli.folder import DATA, POSTERIOR, PREDICTIONS, RECORD
from pyrovi.cli.names import (
    Chosen,
    Request,
    closed_forms,
    engine_for,
    is_file_model,
    model_named,
    settings_of,
    table_options,
)
from pyrovi.cli.priors import priors_of
from pyrovi.errors import (
    ClosedFormError,
    DataError,
    ModelError,
    OutputError,
    PyroviWarning,
    TreeError,
)
from pyrovi.files import write_whole


def fit(folder: Path, request: Request) -> "vi.Fit":
    """Fit, and keep in ``folder`` what it takes to draw from the fit later."""
    chosen = model_named(request.name, request.variant)
    of_table = table_options(request, chosen)
    own, others = settings_of(request, chosen)
    engine = engine_for(request, others, chosen)
    data = chosen.load(request.data, of_table)
    try:
        fitted = vi.fit(
            chosen.call,
            with_settings(data, own),
            engine=engine,
            priors=priors_of(request.priors),
            seed=request.seed,
            restarts=request.restarts,
            max_seconds=request.max_seconds,
        )
    except ClosedFormError as error:
        raise ClosedFormError(f"{error}{closed_forms(request.name)}") from error
    fitted.save(folder)
    vi.save(fitted.data, folder / DATA)
    record = {
        "model": request.name,
        "variant": request.variant,
        "data": request.data,
        "table": of_table,
        "settings": own,
        "priors": list(request.priors),
        "digest": chosen.digest,
    }
    write_whole(folder / RECORD, json.dumps(record, indent=2) + "\n")
    return fitted


def reopen(folder: Path, model: str | None) -> "vi.Fit":
    """The fit that ``folder`` keeps; ``model`` names the user's file again, if it was one."""
    return _reopened(folder, model)[0]


def _reopened(folder: Path, model: str | None) -> tuple["vi.Fit", Chosen, Mapping[str, Any]]:
    """The fit, its model, and the record of the run."""
    record = _record(folder)
    chosen = model_named(_named(record["model"], model), record.get("variant"))
    if record.get("digest") and record["digest"] != chosen.digest:
        warnings.warn(f"{model} has changed since it was fitted.", PyroviWarning, stacklevel=1)
    priors = priors_of(record.get("priors", []))
    fit = vi.Fit.open(folder, chosen.call, vi.open_tree(folder / DATA), priors=priors)
    return fit, chosen, record


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


def _named(kept: str, model: str | None) -> str:
    """The model's name. A folder may come from anyone, so it cannot name a file to be run."""
    if not is_file_model(kept):
        return kept
    if model is None:
        raise ModelError(f"The fit was of {kept}. If you trust it, name it again: --model {kept}")
    return model


def draw(folder: Path, fitted: "vi.Fit", draws: int, max_seconds: float | None) -> None:
    """Write the posterior."""
    vi.save(vi.draw(fitted, draws=draws, max_seconds=max_seconds), folder / POSTERIOR)


def predict(folder: Path, model: str | None, data: str, draws: int, new_levels: str) -> None:
    """Write the predictions at new data."""
    fitted, chosen, record = _reopened(folder, model)
    new = chosen.load_new(data, fitted.data, record.get("table", {}))
    predicted = vi.predict(fitted, new, draws, new_levels=new_levels)
    vi.save(predicted, folder / PREDICTIONS)


def check(path: Path, table: Path | None, max_seconds: float | None) -> str:
    """Add the diagnostics to the tree at ``path``; the verdict's text."""
    tree = vi.check(vi.open_tree(path), max_seconds=max_seconds)
    verdict = vi.verdict(tree)
    vi.save(tree, path)
    if table is not None:
        write_whole(table, verdict.table.to_csv(index=False))
    return str(verdict)


def report(path: Path, page: Path, max_seconds: float | None) -> Path:
    """Write the report on the tree at ``path``."""
    return vi.report(vi.open_tree(path), max_seconds=max_seconds).write(page)


def compare(
    request: Request, engines: str | None, reference: Path | None, *, draws: int, out: Path | None
) -> str:
    """Fit by several engines; the table's text. ``out`` gets the table as CSV."""
    _check_table(out)
    chosen = model_named(request.name, request.variant)
    of_table = table_options(request, chosen)
    own, others = settings_of(request, chosen)
    if others:
        raise DataError(
            f"{next(iter(others))!r} is no argument of the model "
            f"({', '.join(chosen.arguments) or 'none'})."
        )
    held = _held_against(request, reference)
    priors = priors_of(request.priors)
    compared = vi.compare(
        vi.with_priors(chosen.call, priors) if priors else chosen.call,
        with_settings(chosen.load(request.data, of_table), own),
        engines.split(",") if engines is not None else None,
        held,
        seed=request.seed,
        draws=draws,
        max_seconds=request.max_seconds,
    )
    if out is not None:
        write_whole(out, compared.table.to_csv(index=False))
    return str(compared)


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


def _held_against(request: Request, path: Path | None) -> Any:
    """The reference that was named; else the shelf's, where it is of this model and these data."""
    if path is not None and path.suffix == ".nc":
        return vi.open_tree(path)
    if path is not None:
        return vi.studies.Reference.open(path, request.variant)
    if request.settings or request.priors or is_file_model(request.name):
        return None
    return vi.studies.reference_of(vi.models.get(request.name), request.variant, request.data)
