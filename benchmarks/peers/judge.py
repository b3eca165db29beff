"""One judge for every side: the ELBO of a Gaussian over the flat vector, and how far it is off.

The density is that of the Pyro model, in float64. The draws are the same for all, antithetic, and
moved so that their second moments are exact: what is said of two sides differs by what they
found, not by noise, and on a Gaussian posterior there is none at all.
"""

from dataclasses import dataclass

import numpy as np
import torch

from peers.clock import Gaussian
from peers.problems import PROBLEMS, Data
from peers.with_pyro import MODELS
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity

__all__ = ["Judge", "Reference"]

DRAWS = 2048


@dataclass(frozen=True)
class Reference:
    """Mean and sd of every quantity, in the space of the model, by a long run of NUTS.

    Attributes:
        mean: The means.
        sd: The standard deviations.
    """

    mean: np.ndarray
    sd: np.ndarray


class Judge:
    """Says how good a Gaussian is.

    Args:
        name: The problem.
        data: Its data.
    """

    def __init__(self, name: str, data: Data) -> None:
        self.problem = PROBLEMS[name]
        model = MODELS[name]
        self.density = LogDensity(bind_model(model, bind(model, data)))
        half = max(DRAWS // 2, 2 * self.problem.dim)
        noise = np.random.default_rng(0).normal(size=(half, self.problem.dim))
        root = np.linalg.cholesky(noise.T @ noise / half)
        noise = np.linalg.solve(root, noise.T).T
        self.noise = np.concatenate([noise, -noise])

    def log_prob(self, flat: np.ndarray) -> np.ndarray:
        """The log density at each row."""
        with torch.no_grad():
            return self.density.log_prob(torch.as_tensor(flat)).numpy()

    def draws(self, found: Gaussian) -> np.ndarray:
        """Draws of a Gaussian."""
        if found.scale.ndim == 1:
            return found.loc + self.noise * found.scale
        return found.loc + self.noise @ found.scale.T

    def elbo(self, found: Gaussian) -> float:
        """The ELBO in nats; minus infinity where it is not a number."""
        if not (np.isfinite(found.loc).all() and np.isfinite(found.scale).all()):
            return -np.inf
        dim = self.problem.dim
        spread = np.abs(found.scale) if found.scale.ndim == 1 else None
        log_det = np.log(spread).sum() if spread is not None else np.linalg.slogdet(found.scale)[1]
        entropy = log_det + 0.5 * dim * (1 + np.log(2 * np.pi))
        value = self.log_prob(self.draws(found)).mean() + entropy
        return float(value) if np.isfinite(value) else -np.inf

    def accuracy(self, flat: np.ndarray, reference: Reference) -> dict[str, float]:
        """Errors of draws in the space of the model, in standard deviations of the reference."""
        values = constrained(flat, self.problem.positive)
        error = np.abs(values.mean(0) - reference.mean) / reference.sd
        ratio = values.std(0) / reference.sd
        return {
            "largest": float(error.max()),
            "mean": float(error.mean()),
            "low": float(ratio.min()),
            "high": float(ratio.max()),
        }


def constrained(flat: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Flat vectors in the space of the model."""
    return np.where(positive, np.exp(np.where(positive, flat, 0.0)), flat)
