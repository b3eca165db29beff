"""Batch and match: a Gaussian of full rank whose scores match the posterior's, in closed form.

Each step draws a batch from the Gaussian, takes the gradients of the log density there, and
replaces the Gaussian by the one that matches these scores best without going far from the last:
a Gaussian posterior is met in a few steps, whatever its condition.

On other posteriors a large learning rate follows the noise of each batch. So it is held while the
steps go one way, and becomes one over the number of turns once they turn back and forth (Kesten
1958, https://doi.org/10.1214/aoms/1177706705). At the fixed point the mean score is zero, as for
the best evidence lower bound, but the covariance of the scores is matched and not the mean
curvature, so that it is narrower where the posterior is not Gaussian.

Reference: Cai, Modi, Pillaud-Vivien, Margossian, Gower, Blei and Saul (2024), ICML,
https://arxiv.org/abs/2402.14758
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.approximations import Gaussian
from pyrovi.density import LogDensity
from pyrovi.errors import EngineError
from pyrovi.infer.engine import EXACTLY, Capabilities, Outcome
from pyrovi.infer.engines.pathfinder import best_of_a_path
from pyrovi.infer.settings import Settings, positive, whole
from pyrovi.optimise import find_mode, fixed_noise, lower_factor
from pyrovi.seeds import stream
from pyrovi.tree import INDEPENDENT

DENSE_DIM = 2_000
START_SCALE = 0.1
MOST_SHRINKS = 30
FEWEST_BATCHES = 3  # that are judged together


@dataclass(frozen=True, kw_only=True, repr=False)
class BatchAndMatch(Settings):
    """A Gaussian of full rank, fitted by matching scores.

    Attributes:
        batch: How many draws in each step; None for four times the dimension, within 32 and 512.
        learning_rate: How far the first steps go, the more the larger; None for the batch times
            the dimension.
        tolerance: The error of means, and of log scales, in standard deviations, at which the
            fit has converged.
        max_steps: How many steps to take at the most.
    """

    batch: int | None = None
    learning_rate: float | None = None
    tolerance: float = 0.05
    max_steps: int = 500
    capabilities = Capabilities(draws=INDEPENDENT, recovers=EXACTLY)

    def __post_init__(self) -> None:
        whole(self, "batch", least=2, even=True)
        whole(self, "max_steps")
        positive(self, "learning_rate", "tolerance")

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "BatchAndMatchState":
        """Begin with the Gaussian at the mode next to ``start``, or the best one on the way."""
        if density.dim > DENSE_DIM:
            raise EngineError(
                f"BatchAndMatch factors a dense covariance at every step, up to {DENSE_DIM} "
                f"dimensions, and {density.dim} came. Use DADVI()."
            )
        first = find_mode(density, start) or best_of_a_path(density, start, seed)
        if first is None:
            first = Gaussian(density, start, START_SCALE * torch.eye(density.dim).double())
        return BatchAndMatchState(first, seed)

    def step(self, state: "BatchAndMatchState") -> float:
        """Match the scores of one batch, and give minus the ELBO estimated from it."""
        density, dim = state.gaussian.density, state.gaussian.density.dim
        batch = self.batch or min(512, max(32, 4 * dim))
        noise = fixed_noise(batch, dim, stream(state.seed, "batch", state.taken))
        state.taken += 1
        loc, scale_tril = state.gaussian.loc, state.gaussian.scale_tril
        value, gradient = density.value_and_gradient(loc + noise @ scale_tril.T)
        finite = value.isfinite() & gradient.isfinite().all(-1)
        if int(finite.sum()) <= batch // 2:
            return state.shrink()
        noise, scores = noise[finite], gradient[finite] @ scale_tril
        state.note(noise, scores)
        rate = self.learning_rate or float(batch * dim)
        rate = min(rate, 1 / state.turns) if state.turns else rate
        moved, factor = matched(noise, scores, rate)
        state.gaussian = Gaussian(density, loc + scale_tril @ moved, scale_tril @ factor)
        log_guide = -0.5 * noise.square().sum(-1) - scale_tril.diagonal().log().sum()
        state.loss = float((log_guide - value[finite]).mean()) - 0.5 * dim * math.log(2 * math.pi)
        return state.loss

    def converged(self, state: "BatchAndMatchState") -> bool:
        return state.error() < self.tolerance

    def outcome(self, state: "BatchAndMatchState") -> Outcome:
        return Outcome(approximation=state.gaussian)


class BatchAndMatchState:
    """The Gaussian, and by how much each batch would have moved it.

    Attributes:
        gaussian: The Gaussian so far.
        turns: How many steps pointed back from the one before.
        mismatches: At each step, how far means and log scales are off by the batch alone, in
            standard deviations.
    """

    def __init__(self, gaussian: Gaussian, seed: int) -> None:
        self.gaussian, self.seed = gaussian, seed
        self.taken = self.turns = self.shrinks = 0
        self.loss = math.inf
        self.mismatches: list[Tensor] = []

    def note(self, noise: Tensor, scores: Tensor) -> None:
        """Note the mismatch of a batch, and slow down where it points back from the last one."""
        centred = scores - scores.mean(0)
        narrower = 0.5 * (1 - centred.square().mean(0))
        now = torch.cat([scores.mean(0) + noise.mean(0), narrower])
        if self.mismatches and float(now @ self.mismatches[-1]) < 0:
            self.turns += 1
        self.mismatches.append(now)

    def error(self) -> float:
        """The largest error of a mean or log scale, in standard deviations, from the batches."""
        if not self.turns:
            return float(self.mismatches[-1].abs().max()) if self.mismatches else math.inf
        recent = torch.stack(self.mismatches[len(self.mismatches) // 2 :])
        if len(recent) < FEWEST_BATCHES:
            return math.inf
        spread = recent.std(0)
        left = recent.mean(0).abs() - 2 * spread / math.sqrt(len(recent))
        return float(torch.maximum(spread / math.sqrt(self.turns), left).max())

    def shrink(self) -> float:
        """Most of the batch has no score: draw nearer to the mean; in the end give up."""
        self.shrinks += 1
        halved = self.gaussian.scale_tril / 2
        self.gaussian = Gaussian(self.gaussian.density, self.gaussian.loc, halved)
        return math.nan if self.shrinks > MOST_SHRINKS else min(self.loss, 1e300)


def matched(
    noise: Float[Tensor, "draw dim"], scores: Float[Tensor, "draw dim"], rate: float
) -> tuple[Float[Tensor, "dim"], Float[Tensor, "dim dim"]]:
    """The standard normal moved to match a batch of scores: its new mean and lower factor.

    The covariance solves the quadratic matrix equation ``S U S + S = V``. With ``V = R R'`` and
    ``R' U R = Q diag(m) Q'`` it is ``R Q diag(2 / (1 + sqrt(1 + 4 m))) Q' R'``.

    Args:
        noise: Draws of the standard normal.
        scores: The gradients of the log density there.
        rate: How much the batch counts beside the last Gaussian.

    >>> noise = torch.tensor([[1.0], [-1.0]])
    >>> matched(noise, -(noise - 3.0) / 4.0, rate=1e6)
    (tensor([3.0000]), tensor([[2.0000]]))
    """
    share, eye = rate / (1 + rate), torch.eye(noise.shape[1], dtype=noise.dtype)
    middle, score = noise.mean(0), scores.mean(0)
    u = rate * _covariance(scores) + share * torch.outer(score, score)
    v = eye + rate * _covariance(noise) + share * torch.outer(middle, middle)
    root = torch.linalg.cholesky(v)
    values, vectors = torch.linalg.eigh(root.T @ u @ root)
    root = root @ vectors * (2 / (1 + (1 + 4 * values.clamp(min=0)).sqrt())).sqrt()
    return share * (root @ (root.T @ score) + middle), lower_factor(root)


def _covariance(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(0)
    return centred.T @ centred / len(rows)
