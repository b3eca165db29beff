"""The runs of a fit as two files: ``fit.safetensors`` (numbers) and ``fit.json`` (all else).

Nothing in either is code. Whoever opens a fit brings the model and its data; a fingerprint says
whether the data are those of the fit.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pyrovi.approximations import restored
from pyrovi.bound import Arguments, BoundModel, bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.errors import DataError, TreeError
from pyrovi.evidence import Difference
from pyrovi.files import write_folder
from pyrovi.infer.ladder.judge import Judgement
from pyrovi.infer.model_digest import check_densities, check_replaced, densities
from pyrovi.infer.run import Bound, Run, Rung, Status
from pyrovi.optimise import Chains, Survey

TENSORS, SETTINGS = "fit.safetensors", "fit.json"
FORMAT = 3


def write_runs(
    folder: Path, record: Mapping[str, Any], runs: Sequence[Run], arguments: Arguments
) -> Path:
    """Write runs into ``folder``, made where it is missing, and what else there is to say."""
    tensors = {
        f"{index}/{name}": value.detach().cpu().contiguous().clone()
        for index, run in enumerate(runs)
        for name, value in _tensors(run).items()
    }
    packed = save(tensors)
    whole = {
        "format": FORMAT,
        "tensors": hashlib.sha256(packed).hexdigest(),
        "data": fingerprint(arguments),
        "replaced": [asdict(each) for each in runs[0].density.model.replaced],
        **record,
        "runs": [_run_record(run) for run in runs],
    }
    return write_folder(folder, {TENSORS: packed, SETTINGS: json.dumps(whole, indent=2) + "\n"})


def read_runs(
    folder: Path, model: Callable[..., Any], data: Any
) -> tuple[Mapping[str, Any], tuple[Run, ...], BoundModel, Arguments]:
    """The record and the runs that `write_runs` wrote, the model tied to ``data``, its call."""
    record, tensors = _read(folder)
    arguments = bind(model, data)
    if fingerprint(arguments) != record["data"]:
        raise DataError(
            f"The data are not those that the fit in {folder} was made on. Bring the same data, "
            "or fit again."
        )
    tied = bind_model(model, arguments)
    check_replaced(record["replaced"], tied.replaced)
    try:
        numbered = enumerate(record["runs"])
        runs = tuple(_run(tied, each, _under(tensors, f"{i}/")) for i, each in numbered)
    except TreeError:
        raise  # which says what it is
    except (KeyError, TypeError, IndexError, ValueError, RuntimeError) as error:
        raise TreeError(
            f"The fit in {folder} does not go with this model ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'}). Fit again."
        ) from error
    for each, run in zip(record["runs"], runs, strict=True):
        check_densities(each["densities"], run.density)
    return record, runs, tied, arguments


def fingerprint(arguments: Arguments) -> str:
    """A digest of everything a model is called with, by value."""
    digest = hashlib.sha256()
    for name, value in (*enumerate(arguments.args), *sorted(arguments.kwargs.items())):
        digest.update(str(name).encode() + _content(value))
    for name, mask in sorted(arguments.missing.items()):
        digest.update(name.encode() + mask.numpy().tobytes())
    for name, levels in sorted(arguments.levels.items()):
        digest.update(name.encode() + repr(levels.tolist()).encode())
    return digest.hexdigest()


def _content(value: Any) -> bytes:
    if isinstance(value, Tensor):
        return str(tuple(value.shape)).encode() + value.detach().cpu().numpy().tobytes()
    if isinstance(value, np.ndarray):
        return str(value.shape).encode() + np.ascontiguousarray(value).tobytes()
    if isinstance(value, Mapping):
        return b"".join(str(k).encode() + _content(v) for k, v in sorted(value.items()))
    return repr(value).encode()


def _tensors(run: Run) -> dict[str, Tensor]:
    """Its numbers, by name."""
    parts = {"losses": {name: torch.as_tensor(loss) for name, loss in run.losses.items()}}
    model = run.density.model
    if model.parameters:
        parts["learnt"] = dict(model.learnt)
    if run.approximation is not None:
        parts["approximation"] = run.approximation.tensors()
    if run.judgement is not None and run.judgement.chains is not None:
        parts["chains"] = vars(run.judgement.chains)
    if run.errors is not None:
        parts["errors"] = {"": run.errors}
    return {f"{part}/{name}": value for part, own in parts.items() for name, value in own.items()}


def _run_record(run: Run) -> dict[str, Any]:
    approximation, judgement = run.approximation, run.judgement
    return {
        "status": run.status.value,
        "why": run.why,
        "seconds": run.seconds,
        "losses": list(run.losses),
        "bound": run.bound and asdict(run.bound),
        "notes": list(run.notes),
        "rungs": [asdict(rung) for rung in run.rungs],
        "kind": None if approximation is None else approximation.kind,
        "settings": {} if approximation is None else approximation.settings(),
        "judgement": judgement and asdict(replace(judgement, chains=None)),
        "survey": run.survey and asdict(run.survey),
        "densities": densities(run.density),
    }


def _run(model: BoundModel, saved: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Run:
    learnt, own, chains = (_under(tensors, f"{p}/") for p in ("learnt", "approximation", "chains"))
    density = LogDensity(model.with_parameters(learnt) if learnt else model)
    return Run(
        status=Status(saved["status"]),
        why=saved["why"],
        seconds=saved["seconds"],
        losses={name: tensors[f"losses/{name}"].numpy() for name in saved["losses"]},
        density=density,
        approximation=saved["kind"] and restored(saved["kind"], density, own, saved["settings"]),
        bound=saved["bound"] and Bound(**saved["bound"]),
        notes=tuple(saved["notes"]),
        errors=tensors.get("errors/"),
        rungs=tuple(Rung(**rung) for rung in saved["rungs"]),
        judgement=saved["judgement"] and _judgement(saved["judgement"], chains),
        survey=saved["survey"] and _survey(saved["survey"]),
    )


def _survey(saved: Mapping[str, Any]) -> Survey:
    """JSON has lists for tuples."""
    made: dict[str, Any] = {
        name: tuple(each) if isinstance(each, list) else each for name, each in saved.items()
    }
    made |= {name: tuple(map(tuple, saved[name])) for name in ("loc", "scale")}
    return Survey(**made)


def _judgement(saved: Mapping[str, Any], chains: Mapping[str, Tensor]) -> Judgement:
    differences = tuple(Difference(**each) for each in saved["differences"])
    sent = Chains(**chains) if chains else None
    return Judgement(tuple(saved["labels"]), differences, saved["khat"], sent, saved["suspect"])


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        record = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        packed = (folder / TENSORS).read_bytes()
        tensors = load(packed)
    except FileNotFoundError as error:
        message = f"{error.filename} is not there. Make it with fit.save(folder)."
        raise TreeError(message) from error
    except (OSError, ValueError, SafetensorError) as error:
        raise TreeError(f"The fit in {folder} cannot be read: {error}. Fit again.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise TreeError(
            f"{folder / SETTINGS} is not of format {FORMAT}, which this pyrovi reads. Fit again."
        )
    if hashlib.sha256(packed).hexdigest() != record["tensors"]:
        raise TreeError(f"{folder / TENSORS} is damaged, or of another fit. Fit again.")
    return record, tensors


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    own = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors[name] for name in own}
