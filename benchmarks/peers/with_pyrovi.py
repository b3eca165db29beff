"""The models of `with_pyro`, fitted by pyrovi."""

from typing import Any

import numpy as np
import torch

import pyrovi as vi
from peers.clock import Gaussian
from peers.problems import Data
from peers.with_pyro import MODELS

__all__ = ["fit", "gaussian"]


def fit(name: str, data: Data, family: str) -> Any:
    """The family's engine; the default for ``"default"``, with its draws and its verdict."""
    found = vi.fit(MODELS[name], data, ENGINES[family], seed=0)
    if family == "default":
        vi.verdict(vi.check(vi.draw(found)))
    return found


ENGINES: dict[str, Any] = {
    "mean-field": vi.DADVI(),
    "full-rank": vi.DADVI(whiten=True),
    "default": "auto",
}


def gaussian(found: Any) -> Gaussian | None:
    """The Gaussian that a fit found; None if it is something else."""
    approximation = found.approximations()[0]
    loc = getattr(approximation, "loc", None)
    scale = getattr(approximation, "scale_tril", None)
    if not (isinstance(loc, torch.Tensor) and isinstance(scale, torch.Tensor)):
        return None
    return Gaussian(loc.detach().numpy().astype(np.float64), scale.detach().numpy())
