"""Where a density is highest: from several starts, through bad scales, with the curvature there.

A quasi-Newton search goes first. Newton's method, which no scaling of the space changes, follows
where it does not arrive. A density that runs away, as a funnel's, has no mode here.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.approximations import Gaussian
from pyrovi.density import LogDensity
from pyrovi.optimise.linalg import SMALLEST_EIGENVALUE, curvature_cholesky, scaled_eigh
from pyrovi.optimise.quasi_newton import QuasiNewton
from pyrovi.seeds import stream

SEARCH_EVALUATIONS = 250  # enough for what has a mode; a funnel would take any number
WINDOW = 10  # steps in which a search that is still going gains
GAIN = 0.01  # nats
NEWTON_STEPS = 60
NEWTON_DIM = 500  # above, a matrix of second derivatives at every step costs too much
DECREMENT = 1e-6  # nats that a full step still promises, at which Newton's method has arrived
NEAR = 1e-3  # nats that it may promise at the most at what is called a mode
MOST_DAMPING = 1e8
MOST_STUCK = 2  # steps in a row that gain nothing
SCOUT_STEPS = 150
SCOUT_STEP_SIZE = 0.1
HALVED_AFTER = 100  # steps; sooner, it is too soon to tell who is going to be high
MET = 0.05  # nats, within which two scouts have come to one place on the way
FEWEST_SCOUTS = 8
SAME_HEIGHT = 0.5  # nats
MANY_STARTS = 32
SAME_PLACE = 0.1  # sds
BASIN = 3.0  # sds from a mode, within which a search may be said to lead there
FULL_RANK_DIM = 500  # the curvature of more dimensions costs more than it mends, mostly
FULL_RANK_ENTRIES = 5_000_000  # numbers in one matrix of second derivatives: cheap for this many
LARGEST_FULL_RANK_DIM = 2_000
FINALISTS = 3  # scouts from whose places a mode is sought in earnest


def find_modes(
    density: LogDensity,
    start: Float[Tensor, "dim"],
    count: int | None,
    seed: int,
    *,
    insist: bool = True,
) -> list[Gaussian]:
    """The modes that searches from some starts come to, the one with most evidence first.

    Args:
        density: The density.
        start: The first start.
        count: How many starts; None for three, and 32 where they come to different places.
        seed: Of the other starts.
        insist: Whether to search elsewhere where there is no mode next to ``start``.
    """
    if count is not None:
        return _from_scouts(density, start, count, seed, [])
    first = find_mode(density, start)
    if first is None and not insist:
        return []
    # One elsewhere, and its mirror image: densities that are even have a mode on each side.
    other = density.start(stream(seed, "other start"), avoid_prior=True)
    near = [first]
    for place in (other, -other):
        near.append(find_mode(density, place, _distinct_modes(near)))
    modes = _distinct_modes(near)
    if len(modes) == 1 and None not in near:
        return modes
    return _from_scouts(density, start, MANY_STARTS, seed, modes)


def _from_scouts(
    density: LogDensity, start: Tensor, count: int, seed: int, modes: list[Gaussian]
) -> list[Gaussian]:
    """``modes``, and those next to the highest places that scouts around ``start`` came to."""
    places = start[None]
    if count > 1:
        generator = torch.Generator().manual_seed(stream(seed, "scouts"))
        around = torch.rand(count - 1, len(start), generator=generator, dtype=torch.float64)
        places = scout(density, torch.cat([places, start + 2 * around - 1]))
    for place in places[:FINALISTS]:
        modes = _distinct_modes([*modes, find_mode(density, place, modes)])
    return modes


def _distinct_modes(modes: Sequence[Gaussian | None]) -> list[Gaussian]:
    """The modes, each once, the one with most evidence first."""
    kept: list[Gaussian] = []
    for mode in sorted(filter(None, modes), key=log_evidence, reverse=True):
        apart = [((other.loc - mode.loc) / other.scale).abs().max() for other in kept]
        if not any(each < SAME_PLACE for each in apart):
            kept.append(mode)
    return kept


def find_mode(
    density: LogDensity, start: Float[Tensor, "dim"], modes: Sequence[Gaussian] = ()
) -> Gaussian | None:
    """The Gaussian at the mode next to ``start``.

    None where no search arrives, or the curvature there is not positive definite. A search that
    leads to one of ``modes`` is not followed to the end.
    """
    point = _search(density, start, modes)
    return _newton(density, point) if isinstance(point, Tensor) else point


def affordable(density: LogDensity) -> bool:
    """Whether matrices of second derivatives of the density are few or cheap enough to be used."""
    dim = density.dim
    cheap = dim * density.entries <= FULL_RANK_ENTRIES and dim <= LARGEST_FULL_RANK_DIM
    return dim <= FULL_RANK_DIM or cheap


def log_evidence(mode: Gaussian) -> float:
    """The log evidence if the density were the Gaussian at its mode, less a shared constant."""
    log_det = mode.scale_tril.diagonal().log().sum()
    return float(mode.density.log_prob(mode.loc).detach() + log_det)


def _search(
    density: LogDensity, start: Tensor, modes: Sequence[Gaussian]
) -> Tensor | Gaussian | None:
    """Where a quasi-Newton search no longer gains, or which of the modes it comes to.

    None where the density is not finite.
    """
    search, losses = QuasiNewton(density.descent, start), [torch.inf]
    most = density.evaluations + SEARCH_EVALUATIONS
    while density.evaluations < most:
        losses.append(search.step())
        if math.isnan(losses[-1]):
            return None
        if there := next((mode for mode in modes if _leads_to(mode, search)), None):
            return there
        gained = losses[-1 - WINDOW] - losses[-1] if len(losses) > WINDOW else torch.inf
        if gained < GAIN or search.stuck_for == MOST_STUCK:
            break
    return search.point


def _leads_to(mode: Gaussian, search: QuasiNewton) -> bool:
    """Whether the search is where a mode's curvature holds: one step of Newton's leads there."""
    factor = mode.scale_tril
    away = torch.linalg.solve_triangular(factor, (search.point - mode.loc)[:, None], upper=False)
    missed = factor.T @ search.gradient - away[:, 0]
    return bool(away.abs().max() < BASIN and missed.abs().max() < SAME_PLACE)


def _newton(density: LogDensity, start: Tensor) -> Gaussian | None:
    """The Gaussian where Newton's method ends, with its steps damped where they lead up."""
    point, (value, gradient), damping = start, density.descent(start), 0.0
    if density.dim > NEWTON_DIM:
        return _at(density, point, gradient)
    for _ in range(NEWTON_STEPS):
        step = _damped_step(-density.hessian(point[None])[0], gradient, damping)
        if step is None:
            break
        there = point - step
        below, gradient_there = density.descent(there)
        if below < value and bool(gradient_there.isfinite().all()):
            point, value, gradient, damping = there, below, gradient_there, damping / 10
        elif damping > MOST_DAMPING:
            break
        else:
            damping = max(10 * damping, 1e-3)
    return _at(density, point, gradient)


def _damped_step(curvature: Tensor, gradient: Tensor, damping: float) -> Tensor | None:
    """Newton's step; None where the curvature is not finite, or there is nothing more to gain."""
    if not bool(curvature.isfinite().all()):
        return None
    units, values, vectors = scaled_eigh(curvature)
    along = vectors.T @ (units * gradient)
    held = values.abs().clamp(min=SMALLEST_EIGENVALUE * float(values.abs().max()))
    promised = 0.5 * float((along.square() / held).sum())
    if promised < DECREMENT and bool((values > 0).all()):
        return None
    return units * (vectors @ (along / (held + damping)))


def _at(density: LogDensity, point: Tensor, gradient: Tensor) -> Gaussian | None:
    """The Gaussian at ``point``, if it is a mode: nothing to gain by a step, curved every way."""
    curvature = -density.hessian(point[None])[0]
    if not bool(curvature.isfinite().all()):
        return None
    scale_tril, raised = curvature_cholesky(curvature)
    promised = 0.5 * float((scale_tril.T @ gradient).square().sum())
    return None if raised or promised > NEAR else Gaussian(density, point, scale_tril)


def scout(density: LogDensity, rows: Float[Tensor, "start dim"]) -> Float[Tensor, "place dim"]:
    """Climb from many starts at once, a little way, to distinct places, the highest first.

    One vectorised evaluation moves all of them, by steps of Adam's
    (https://arxiv.org/abs/1412.6980). On the way those who have met go on as one, and of the
    others the lower half is given up.
    """
    flat, first, second = rows.clone(), torch.zeros_like(rows), torch.zeros_like(rows)
    best, best_value = flat.clone(), torch.full((len(flat),), -torch.inf, dtype=torch.float64)
    for taken in range(1, SCOUT_STEPS + 1):
        if taken == HALVED_AFTER and len(flat) > FEWEST_SCOUTS:
            kept = _distinct(best_value, MET)[: max(FEWEST_SCOUTS, len(flat) // 2)]
            flat, first, second = flat[kept], first[kept], second[kept]
            best, best_value = best[kept], best_value[kept]
        value, gradient = density.value_and_gradient(flat)
        higher = value > best_value
        best[higher], best_value[higher] = flat[higher], value[higher]
        gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient.square()
        spread = (second / (1 - 0.999**taken)).sqrt() + 1e-8
        flat = flat + SCOUT_STEP_SIZE * first / (1 - 0.9**taken) / spread
    return best[_distinct(best_value, SAME_HEIGHT)]


def _distinct(value: Float[Tensor, "start"], apart: float) -> list[int]:
    """The highest places, leaving out what is as high as one before: the same place, likely."""
    chosen: list[int] = []
    for index in value.argsort(descending=True).tolist():
        if not chosen or value[chosen[-1]] - value[index] > apart:
            chosen.append(index)
    return chosen
