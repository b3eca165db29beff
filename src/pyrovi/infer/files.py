"""A fit as two files: ``fit.safetensors`` (numbers) and ``fit.json`` (everything else).

Nothing in either is code, and nothing is unpickled. The model and its data are not kept: whoever
opens a fit brings them, and a fingerprint says whether the data are those of the fit.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pyrovi.approximations import Approximation, restored
from pyrovi.bound import Arguments, BoundModel, bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.errors import DataError, TreeError
from pyrovi.files import write_whole
from pyrovi.infer.fitting import Bound, Fit
from pyrovi.infer.loop import Recorded, Run, Rung, Status

__all__ = ["SETTINGS", "TENSORS", "open_fit", "save_fit"]

TENSORS, SETTINGS = "fit.safetensors", "fit.json"
FORMAT = 1


def save_fit(fit: Fit, folder: Path) -> Path:
    """Write a fit into ``folder``, which must exist.

    Raises:
        FitError: If the guide is not one that can be made again from a file.
        OutputError: If a file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    runs = []
    for index, run in enumerate(fit.restarts):
        tensors[f"{index}/loss"] = torch.as_tensor(run.loss)
        if run.errors is not None:
            tensors[f"{index}/errors"] = run.errors
        runs.append(_run_record(run, fit.bounds[index]))
        if run.approximation is not None:
            for name, value in run.approximation.tensors().items():
                tensors[f"{index}/approximation/{name}"] = value
        for name, value in _learnt(fit.densities[index].model).items():
            tensors[f"{index}/learnt/{name}"] = value
    content = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    packed = save(content)
    record = {
        "format": FORMAT,
        "tensors": hashlib.sha256(packed).hexdigest(),
        "model": fit.model.name,
        "engine": repr(fit.engine),
        "engine_reason": fit.engine_reason,
        "seed": fit.seed,
        "seconds": fit.seconds,
        "kept": list(fit.kept),
        "data": fingerprint(fit.arguments),
        "runs": runs,
    }
    write_whole(folder / TENSORS, packed)
    write_whole(folder / SETTINGS, json.dumps(record, indent=2) + "\n")
    return folder


def open_fit(folder: Path, model: Callable[..., Any], data: Any) -> Fit:
    """Read a fit that `save_fit` wrote.

    Args:
        folder: Where its two files are.
        model: The model it was a fit of.
        data: The data it was fitted to.

    Raises:
        TreeError: If the files are not there, are damaged, or are of another model.
        DataError: If the data are others than those that were fitted.
    """
    record, tensors = _read(folder)
    arguments = bind(model, data)
    if fingerprint(arguments) != record["data"]:
        raise DataError(
            f"The data are not those that the fit in {folder} was made on. Bring the same data, "
            "or fit again."
        )
    bound_model = bind_model(model, arguments)
    try:
        return _rebuilt(record, tensors, bound_model, arguments)
    except (KeyError, TypeError, IndexError, ValueError, RuntimeError) as error:
        raise TreeError(
            f"The fit in {folder} does not go with this model ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'}). Fit again."
        ) from error


def fingerprint(arguments: Arguments) -> str:
    """A digest of everything a model is called with, by value."""
    digest = hashlib.sha256()
    named = [*enumerate(arguments.args), *sorted(arguments.kwargs.items())]
    for name, value in named:
        digest.update(str(name).encode())
        digest.update(_content(value))
    for name, mask in sorted(arguments.missing.items()):
        digest.update(name.encode() + mask.numpy().tobytes())
    return digest.hexdigest()


def _content(value: Any) -> bytes:
    if isinstance(value, Tensor):
        return str(tuple(value.shape)).encode() + value.detach().cpu().numpy().tobytes()
    if isinstance(value, np.ndarray):
        return str(value.shape).encode() + np.ascontiguousarray(value).tobytes()
    if isinstance(value, Mapping):
        return b"".join(str(k).encode() + _content(v) for k, v in sorted(value.items()))
    return repr(value).encode()


def _run_record(run: Run, bound: Bound | None) -> dict[str, Any]:
    approximation = run.approximation
    return {
        "status": run.status.value,
        "why": run.why,
        "seconds": run.seconds,
        "notes": list(run.notes),
        "rungs": [asdict(rung) for rung in run.rungs],
        "bound": None if bound is None else [bound.value, bound.error],
        "kind": None if approximation is None else approximation.kind,
        "settings": {} if approximation is None else approximation.settings(),
    }


def _learnt(model: BoundModel) -> dict[str, Tensor]:
    """The model's own parameters, where it has any."""
    if not model.parameters or model.params is None:
        return {}
    return dict(model.params["params"])


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        record = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        packed = (folder / TENSORS).read_bytes()
        tensors = load(packed)
    except FileNotFoundError as error:
        raise TreeError(
            f"{error.filename} is not there. Make it with fit.save(folder)."
        ) from error
    except (OSError, ValueError, SafetensorError) as error:
        raise TreeError(f"The fit in {folder} cannot be read: {error}. Fit again.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise TreeError(
            f"{folder / SETTINGS} is not of format {FORMAT}, which this pyrovi reads. Fit again."
        )
    if hashlib.sha256(packed).hexdigest() != record["tensors"]:
        raise TreeError(f"{folder / TENSORS} is damaged, or of another fit. Fit again.")
    return record, tensors


def _rebuilt(
    record: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    model: BoundModel,
    arguments: Arguments,
) -> Fit:
    runs, densities, bounds = [], [], []
    for index, saved in enumerate(record["runs"]):
        density = LogDensity(_with_learnt(model, _under(tensors, f"{index}/learnt/")))
        approximation = _approximation(density, saved, _under(tensors, f"{index}/approximation/"))
        runs.append(
            Run(
                approximation,
                Status(saved["status"]),
                saved["why"],
                tensors[f"{index}/loss"].numpy(),
                saved["seconds"],
                tuple(saved["notes"]),
                tuple(Rung(**rung) for rung in saved["rungs"]),
                errors=tensors.get(f"{index}/errors"),
            )
        )
        densities.append(density)
        bounds.append(None if saved["bound"] is None else Bound(*saved["bound"]))
    return Fit(
        model=model,
        engine=Recorded(record["engine"]),
        engine_reason=record["engine_reason"],
        restarts=tuple(runs),
        bounds=tuple(bounds),
        kept=tuple(record["kept"]),
        seed=record["seed"],
        seconds=record["seconds"],
        arguments=arguments,
        densities=tuple(densities),
    )


def _approximation(
    density: LogDensity, saved: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Approximation | None:
    if saved["kind"] is None:
        return None
    return restored(saved["kind"], density, tensors, saved["settings"])


def _with_learnt(model: BoundModel, learnt: Mapping[str, Tensor]) -> BoundModel:
    if not learnt:
        return model
    return model.with_parameters(learnt)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
