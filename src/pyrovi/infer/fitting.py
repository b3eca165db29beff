"""`fit`: seeds, restarts and budgets, once; the steps are in `loop`."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pyrovi.bound import BoundModel, as_tree, bind, bind_model, with_priors
from pyrovi.density import LogDensity, faster_threads, fitting_threads, in_one_sentence
from pyrovi.errors import EngineError, check_seconds, check_whole_number
from pyrovi.evidence import optimum_tolerance
from pyrovi.infer.engine import Engine
from pyrovi.infer.loop import run_once
from pyrovi.infer.named import checked_engine, engine_named
from pyrovi.infer.result import Fit
from pyrovi.infer.run import Bound, Run, Status
from pyrovi.seeds import check_seed, isolated, stream

FEWEST_ELBO_DRAWS, ELBO_DRAWS = 50, 500  # for the evidence lower bound of each restart
ELBO_WORK = 5_000_000  # numbers worked out for it


def fit(
    model: Callable[..., Any],
    data: Any,
    engine: Engine | str = "auto",
    *,
    priors: Mapping[str, Any] | None = None,
    seed: int | None = None,
    restarts: int = 1,
    max_seconds: float | None = None,
    progress: bool | None = None,
) -> Fit:
    """Fit a Pyro model to data by variational inference.

    Args:
        model: Any Pyro callable. It is called with the data by argument name, needs no ``y=None``,
            and may close over its data (then pass ``{}``).
        data: A dict, DataFrame, DataTree, array, tensor, or a tuple of arguments; see
            `pyrovi.bind`.
        engine: ``"auto"``, a name in `pyrovi.infer.ENGINES`, alone or with a guide,
            ``"svi:full_rank"``; or an engine such as ``SVI(...)``.
        priors: By latent site another prior than the model's own, such as
            ``{"tau": dist.HalfNormal(2.0)}``; see `pyrovi.with_priors`.
        seed: What makes the fit repeatable; a missing one is drawn, and recorded.
        restarts: How many independent fits; those that reach the best bound become the chains.
        max_seconds: Wall time to spend at the most; the fit is then ``stopped``, as it is by an
            interruption (Ctrl-C), with what there is so far.
        progress: Whether to show a progress bar; None for only where somebody can see it.

    Returns:
        A `Fit`. A run that does not converge, or diverges, is a status and not an exception.

    Raises:
        DataError: If the data cannot be what the model asks for.
        ModelError: If the model cannot be fitted as it stands.
        EngineError: If the engine, or one of its settings, cannot do it.
    """
    seed = check_seed(seed)
    _check_budget(restarts, max_seconds)
    model = with_priors(model, priors) if priors else model
    with in_one_sentence(BoundModel(model).name, "fitted"):
        return _fitted(model, data, engine, seed, restarts, max_seconds, progress)


def _fitted(
    model: Callable[..., Any],
    data: Any,
    engine: Engine | str,
    seed: int,
    restarts: int,
    max_seconds: float | None,
    progress: bool | None,
) -> Fit:
    began = time.perf_counter()
    arguments = bind(model, data)
    bound_model = bind_model(model, arguments)
    tree = as_tree(bound_model, data)
    density = LogDensity(bound_model)
    picked = _checked(engine_named(engine) if isinstance(engine, str) else engine, density)
    deadline = None if max_seconds is None else began + max_seconds
    runs: list[Run] = []
    for index in range(restarts):
        if index and deadline is not None and time.perf_counter() > deadline:
            break
        label = "fit" if restarts == 1 else f"fit {index + 1}/{restarts}"
        options = {"deadline": deadline, "progress": progress, "label": label}
        one = _restart(picked, density, stream(seed, "restart", index), index > 0, options)
        runs.append(replace(one, bound=one.bound or _estimated_bound(one, seed)))
        if one.interrupted:
            break
    return Fit(
        model=bound_model,
        engine=picked,
        restarts=tuple(runs),
        kept=_reached_the_best(runs),
        seed=seed,
        seconds=time.perf_counter() - began,
        data=tree,
        arguments=arguments,
    )


def _restart(
    engine: Engine, density: LogDensity, seed: int, avoid_prior: bool, options: dict[str, Any]
) -> Run:
    needs = engine.capabilities
    if needs.own_start:
        start = torch.zeros(density.dim, dtype=torch.float64)
    else:
        start = density.start(seed, avoid_prior=avoid_prior)
    if needs.gradients and not (needs.closed_forms or avoid_prior):
        density.check_gradient(start)
    if density.threads is None and not needs.closed_forms:
        density.threads = faster_threads(density, start)
    with fitting_threads(density), isolated(seed):
        return run_once(engine, density, start, seed=seed, **options)


def _estimated_bound(one: Run, seed: int) -> Bound | None:
    """The bound from draws, where these have a density."""
    if one.approximation is None or not one.approximation.has_density:
        return None
    density = one.density
    count = max(FEWEST_ELBO_DRAWS, min(ELBO_DRAWS, ELBO_WORK // density.work))
    with fitting_threads(density):
        drawn = one.approximation.draw(count, stream(seed, "bound"))
        if drawn.log_guide is None:
            return None
        terms = (density.log_prob(drawn.flat).detach() - drawn.log_guide).numpy()
    with np.errstate(invalid="ignore"):  # a draw outside the support makes the bound infinite
        error = terms.std(ddof=1) / np.sqrt(len(terms))
    return Bound(float(terms.mean()), float(error))


def _reached_the_best(runs: list[Run]) -> tuple[int, ...]:
    """The runs with the best bound, best first; all usable ones where there are no bounds.

    If what has a bound was judged and did not pass, while others did without one, those.
    """
    usable = _usable(runs)
    bounds = {i: bound for i in usable if (bound := _finite_bound(runs[i]))}
    if not bounds:
        return tuple(usable)
    passed = tuple(i for i in usable if runs[i].passes)
    if passed and bounds.keys().isdisjoint(passed):
        return passed
    best_first = sorted(bounds, key=lambda i: -bounds[i].value)
    return tuple(i for i in best_first if _same_optimum(bounds[i], bounds[best_first[0]]))


def _usable(runs: list[Run]) -> list[int]:
    drawable = [i for i, one in enumerate(runs) if one.approximation is not None]
    return [i for i in drawable if runs[i].status is not Status.DIVERGED] or drawable


def _finite_bound(one: Run) -> Bound | None:
    return one.bound if one.bound is not None and np.isfinite(one.bound.value) else None


def _same_optimum(bound: Bound, best: Bound) -> bool:
    return best.value - bound.value <= optimum_tolerance(bound.error, best.error)


def _checked(engine: object, density: LogDensity) -> Engine:
    engine = checked_engine(engine)
    if density.model.parameters and not engine.capabilities.learns_parameters:
        raise EngineError(
            f"The model has learnable parameters of its own, which {type(engine).__name__} would "
            "leave as they are. Use SVI, or give them priors."
        )
    return engine


def _check_budget(restarts: int, max_seconds: float | None) -> None:
    check_whole_number(restarts, "restarts", EngineError)
    check_seconds(max_seconds, EngineError)
