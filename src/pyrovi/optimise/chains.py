"""Hamiltonian Monte Carlo on many independent chains at once, from the draws of an approximation.

Draws of the posterior stay draws of it, and draws of anything else drift towards it. A short run
therefore tells an approximation from the posterior; a long one improves on it.

Reference: Neal (2011), https://arxiv.org/abs/1206.1901; as a check of an approximation, compare
Salimans, Kingma and Welling (2015), https://arxiv.org/abs/1410.6460
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.density import LogDensity
from pyrovi.progress import steps_of

LEAPFROGS = 8
STEP_SIZE = 0.9  # of a standard normal in one dimension; smaller in more, by the fourth root
JITTER = (0.5, 1.5)  # of the step size, so that no trajectory closes on itself
WIDE_JITTER = (0.1, 1.5)  # for a posterior that is narrow in places, as a funnel
DRAWS_PER_DIM = 5  # fewer draws than this a dimension give no usable covariance
FEWEST_CHAINS = 64
RIDGE = 1e-6  # of the variances, added to their matrix


@dataclass(frozen=True)
class Chains:
    """Where the chains went.

    Attributes:
        start: Where each chain started.
        states: The last states of each.
        acceptance: The average probability of acceptance of each.
    """

    start: Float[Tensor, "chain dim"]
    states: Float[Tensor, "chain state dim"]
    acceptance: Float[Tensor, "chain"]


def mass_factor(flat: Float[Tensor, "draw dim"]) -> Tensor:
    """The Cholesky factor of the draws' covariance; their sds where there are too few draws."""
    if len(flat) < DRAWS_PER_DIM * flat.shape[1]:
        return flat.std(0).clamp(min=torch.finfo(flat.dtype).tiny)
    centred = flat - flat.mean(0)
    covariance = centred.T @ centred / (len(flat) - 1)
    sd = covariance.diagonal().clamp(min=torch.finfo(flat.dtype).tiny).sqrt()
    correlation = covariance / sd / sd[:, None]
    factor = torch.linalg.cholesky(correlation + RIDGE * torch.eye(len(sd), dtype=flat.dtype))
    return sd[:, None] * factor


def chains_for(density: LogDensity, most: int, entries: int) -> int:
    """How many chains to run, up to ``most``, so that one evaluation works ``entries`` out."""
    return max(FEWEST_CHAINS, min(most, entries // density.work))


def move(
    density: LogDensity,
    flat: Float[Tensor, "chain dim"],
    factor: Tensor,
    *,
    transitions: int,
    kept: int,
    seed: int,
    step_size: float = STEP_SIZE,
    jitter: tuple[float, float] = JITTER,
    label: str = "Markov chains",
) -> Chains:
    """Move each flat vector by some transitions, and keep the last states.

    Args:
        density: The density that the transitions leave as it is.
        flat: One start a chain.
        factor: The Cholesky factor of the inverse mass, or sds.
        transitions: How many, of eight leapfrog steps each.
        kept: How many of the last states to keep.
        seed: Of all that is random.
        step_size: Of the leapfrog steps, in units of ``factor``, in one dimension.
        jitter: Between which shares of it each trajectory's own lies.
        label: Of the progress bar.
    """
    generator = torch.Generator().manual_seed(seed)
    here, (value, gradient) = flat, density.value_and_gradient(flat)
    states, accepted = [], torch.zeros(len(flat), dtype=flat.dtype)
    low, high = (edge * step_size * density.dim**-0.25 for edge in jitter)
    for taken in steps_of(transitions, label):
        width = torch.rand(len(flat), 1, generator=generator, dtype=flat.dtype)
        width = low + (high - low) * width
        momentum = torch.randn(flat.shape, generator=generator, dtype=flat.dtype)
        there, value_there, gradient_there, momentum_there = _leapfrog(
            density, here, gradient, momentum, factor, width
        )
        kinetic = (momentum.square() - momentum_there.square()).sum(-1) / 2
        chance = (value_there - value + kinetic).exp().nan_to_num(0.0).clamp(max=1.0)
        accepted += chance / transitions
        taking = torch.rand(len(flat), generator=generator, dtype=flat.dtype) < chance
        here = torch.where(taking[:, None], there, here)
        gradient = torch.where(taking[:, None], gradient_there, gradient)
        value = torch.where(taking, value_there, value)
        if taken >= transitions - kept:
            states.append(here)
    return Chains(flat, torch.stack(states, dim=1), accepted)


def _leapfrog(
    density: LogDensity,
    here: Tensor,
    gradient: Tensor,
    momentum: Tensor,
    factor: Tensor,
    width: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where one trajectory ends: the place, the value and gradient there, and the momentum.

    A gradient that is not finite gives way to zero: such a trajectory is rejected by its value.
    """
    times = torch.mul if factor.dim() == 1 else torch.matmul
    value = here.new_zeros(len(here))
    for _ in range(LEAPFROGS):
        momentum = momentum + width / 2 * times(gradient, factor)
        here = here + width * times(momentum, factor if factor.dim() == 1 else factor.mT)
        value, gradient = density.value_and_gradient(here)
        gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
        momentum = momentum + width / 2 * times(gradient, factor)
    return here, value, gradient, momentum
