"""Gold-standard posteriors in a folder laid out as ``../shared/posteriordb`` is; no pytest in it.

A folder holds ``models.py`` with its transcriptions, ``MODELS[name](data)``, and for each
posterior ``info.json``, ``data.json``, ``reference.json`` and ``draws.npz``.
"""

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["FOLDER", "Posterior", "names", "read"]

FOLDER = Path(__file__).parents[2] / "shared" / "posteriordb"


@dataclass(frozen=True)
class Posterior:
    """One posterior: a Pyro model with its data, and the truth about its quantities.

    Attributes:
        name: ``data-model``.
        model: The Pyro callable; it takes `data`.
        data: What the model is called with.
        names: The quantities: ``theta[1]`` counts from one, as Stan does.
        mean: Posterior mean of each quantity.
        sd: Posterior standard deviation of each quantity.
        mcse_mean: Monte Carlo error of `mean`.
        folder: Where it was read from.
    """

    name: str
    model: Callable[[Mapping[str, Any]], None]
    data: Mapping[str, Any]
    names: tuple[str, ...]
    mean: np.ndarray
    sd: np.ndarray
    mcse_mean: np.ndarray
    folder: Path

    def draws(self) -> dict[str, np.ndarray]:
        """The reference draws: the arrays of the file, by name."""
        with np.load(self.folder / self.name / "draws.npz") as file:
            return dict(file)


def names(folder: Path) -> tuple[str, ...]:
    """The posteriors of a folder; none where there is no such folder."""
    return tuple(sorted(path.parent.name for path in folder.glob("*/reference.json")))


def read(name: str, folder: Path) -> Posterior:
    """The posterior called ``name``; `OSError` where it is not there."""
    parts = (json.loads((folder / name / f"{each}.json").read_text()) for each in FILES)
    info, data, reference = parts
    return Posterior(
        name=name,
        model=transcriptions(folder).MODELS[info["model_name"]],
        data=data,
        names=tuple(reference["names"]),
        mean=np.array(reference["mean"]),
        sd=np.array(reference["sd"]),
        mcse_mean=np.array(reference["mcse_mean"]),
        folder=folder,
    )


FILES = ("info", "data", "reference")


@cache
def transcriptions(folder: Path) -> ModuleType:
    """The folder's ``models.py``; `OSError` where it has none."""
    spec = importlib.util.spec_from_file_location("posteriordb_models", folder / "models.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"There are no transcribed models at {folder / 'models.py'}.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
