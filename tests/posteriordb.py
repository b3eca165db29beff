"""Gold-standard posteriors for tests, where ``../shared/posteriordb`` lies beside the repository.

`POSTERIORS` is empty where it does not, so tests over it collect nothing; `posterior` skips.
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
import pytest

__all__ = ["FOLDER", "POSTERIORS", "Posterior", "needs_posteriordb", "posterior"]

FOLDER = Path(__file__).parents[2] / "shared" / "posteriordb"
POSTERIORS = tuple(sorted(path.parent.name for path in FOLDER.glob("*/reference.json")))

needs_posteriordb = pytest.mark.skipif(not POSTERIORS, reason=f"no posteriordb at {FOLDER}")


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
    """

    name: str
    model: Callable[[Mapping[str, Any]], None]
    data: Mapping[str, Any]
    names: tuple[str, ...]
    mean: np.ndarray
    sd: np.ndarray
    mcse_mean: np.ndarray

    def draws(self) -> dict[str, np.ndarray]:
        """The reference draws: the arrays of the file, by name."""
        with np.load(FOLDER / self.name / "draws.npz") as file:
            return dict(file)


@cache
def posterior(name: str) -> Posterior:
    """The posterior called ``name``; the test that asks is skipped where there is none."""
    if name not in POSTERIORS:
        pytest.skip(f"no posteriordb posterior {name!r} at {FOLDER}")
    parts = (json.loads((FOLDER / name / f"{each}.json").read_text()) for each in FILES)
    info, data, reference = parts
    return Posterior(
        name=name,
        model=_transcriptions().MODELS[info["model_name"]],
        data=data,
        names=tuple(reference["names"]),
        mean=np.array(reference["mean"]),
        sd=np.array(reference["sd"]),
        mcse_mean=np.array(reference["mcse_mean"]),
    )


FILES = ("info", "data", "reference")


@cache
def _transcriptions() -> ModuleType:
    spec = importlib.util.spec_from_file_location("posteriordb_models", FOLDER / "models.py")
    if spec is None or spec.loader is None:
        pytest.skip(f"no transcribed models at {FOLDER}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
