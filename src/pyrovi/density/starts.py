"""Where a fit begins: a flat vector at which the density and its gradient are finite."""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor

from pyrovi.bound import InitialValues
from pyrovi.density.culprit import first_line, place_of
from pyrovi.density.one_point import OnePoint
from pyrovi.density.slopes import no_gradient
from pyrovi.density.vectorise import FAILS_AT_A_POINT
from pyrovi.errors import ModelError
from pyrovi.seeds import isolated, stream

STARTS = 100  # as many as Stan tries before it gives up
FIRST_STARTS = 8  # of which the best is taken, unless the density is finite at none
NEAR_ORIGIN = 0.25  # of the draws from (-2, 2), for a model whose units may be exchanged
PRIOR_RUNS = 15  # for the median of the prior


def best_start(
    point: OnePoint,
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]],
    seed: int,
    *,
    avoid_prior: bool,
) -> Tensor:
    """The best of a few flat vectors by ``evaluate``; see `LogDensity.start`."""
    generator = torch.Generator().manual_seed(stream(seed, "start"))
    uniform = torch.rand(STARTS, point.dim, generator=generator, dtype=torch.float64) * 4 - 2
    candidates = uniform if avoid_prior else _candidates(point, uniform, seed)
    for few in (candidates[:FIRST_STARTS], candidates):
        value, gradient = evaluate(few)
        usable = value.isfinite() & gradient.isfinite().all(-1)
        if usable.any():
            return few[torch.where(usable, value, -torch.inf).argmax()]
    raise ModelError(_why_no_start(point, candidates[0]))


def _candidates(point: OnePoint, uniform: Tensor, seed: int) -> Tensor:
    """The origin and the median of the prior, ahead of uniform draws."""
    origin = torch.zeros(1, point.dim, dtype=torch.float64)
    if point.model.structure.exchangeable and not point.model.discrete:
        origin = NEAR_ORIGIN * uniform[-1:]  # units that start alike stay so: a saddle
    return torch.cat([origin, _prior_median(point, seed), uniform[:-2]])


def _prior_median(point: OnePoint, seed: int) -> Tensor:
    """The unconstrained median of a few draws from the prior; no row where it has none."""
    draws = prior_draws(point, PRIOR_RUNS, stream(seed, "prior median"))
    return draws.median(0).values[None].nan_to_num(0.0, 0.0, 0.0) if len(draws) else draws


def prior_draws(point: OnePoint, count: int, seed: int) -> Tensor:
    """Flat vectors drawn from the prior, each by a run of the model; fewer where runs fail."""
    draws, model = [torch.zeros(0, point.dim, dtype=torch.float64)], point.model
    with model.running(), isolated(seed), torch.no_grad():
        for _ in range(count):
            with contextlib.suppress(*FAILS_AT_A_POINT):
                draws.append(point.noted(InitialValues()(model.handled())).double()[None])
    return torch.cat(draws)


def _why_no_start(point: OnePoint, flat: Tensor) -> str:
    try:
        trace = point.trace_alone(flat)
        trace.compute_log_prob()
    except FAILS_AT_A_POINT as error:
        return (
            f"The model {point.model.name!r} fails at each of {STARTS} starting points, or is "
            f"impossible there; at the first, {place_of(error)}: {first_line(error)}. "
            "Check its priors and its data."
        )
    at_fault = [
        name
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and not bool(node["log_prob"].isfinite().all())
    ]
    if not at_fault and not _differentiable(point, flat):
        return no_gradient(point.model.name, point.pieces)
    place = f"site {at_fault[0]!r} is the first at fault" if at_fault else "its gradient is not"
    return (
        f"The log density of {point.model.name!r} is not finite at any of {STARTS} starting "
        f"points; {place}. Check its support, its scale, and the data it observes."
    )


def _differentiable(point: OnePoint, flat: Tensor) -> bool:
    """Whether the model can be run where a gradient is asked for; NumPy takes no such tensor."""
    try:
        point.trace_alone(flat.clone().requires_grad_())
    except FAILS_AT_A_POINT:
        return False
    return True
