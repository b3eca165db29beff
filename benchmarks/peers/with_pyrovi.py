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
    """Mean field as DADVI has it; else whatever the default is."""
    if family == "mean-field":
        return vi.fit(MODELS[name], data, vi.DADVI(), seed=0)
    return vi.fit(MODELS[name], data, seed=0)


def gaussian(found: Any) -> Gaussian | None:
    """The Gaussian that a fit found; None if it is something else."""
    approximation = found.approximations()[0]
    loc = getattr(approximation, "loc", None)
    scale = getattr(approximation, "scale_tril", None)
    if not (isinstance(loc, torch.Tensor) and isinstance(scale, torch.Tensor)):
        return None
    return Gaussian(loc.detach().numpy().astype(np.float64), scale.detach().numpy())
