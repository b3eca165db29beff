"""`fit`: a model, data and an engine in; a `Fit`, which is a value, out.

Seeds, restarts and budgets are here, once; the steps are in `_loop`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyrovi.approximations import Approximation, Draws
from pyrovi.bound import Arguments, BoundModel, bind, bind_model
from pyrovi.density import LogDensity, fitting_threads, measured_threads
from pyrovi.errors import EngineError, FitError
from pyrovi.evidence import SAME_OPTIMUM_ERRORS, SAME_OPTIMUM_NATS
from pyrovi.infer.ladder.auto import Auto, first_engine
from pyrovi.infer.loop import (
    Engine,
    Recorded,
    Run,
    Rung,
    Status,
    run,
)
from pyrovi.infer.registry import ENGINES
from pyrovi.seeds import check_seed, isolated, stream

__all__ = ["Fit", "fit"]

ELBO_DRAWS = 500  # for the evidence lower bound of each restart
FEWEST_ELBO_DRAWS = 50
ELBO_WORK = 5_000_000  # numbers worked out for it


@dataclass(frozen=True)
class Bound:
    """An evidence lower bound: estimated from draws, or by CAVI exactly.

    Attributes:
        value: In nats.
        error: Its Monte Carlo standard error, in nats.
    """

    value: float
    error: float


@dataclass(frozen=True)
class Fit:
    """What `fit` found.

    Attributes:
        model: The model, tied to its data, as it was fitted.
        engine: The engine, as it was set.
        engine_reason: Why its first rung was picked, where pyrovi picked it.
        restarts: Every run, in the order they were started.
        bounds: The evidence lower bound of each; None for a run that has none.
        kept: The indices of the runs that reached the best bound, the best first: the chains.
        seed: What repeats the fit.
        seconds: Wall time, all restarts together.
    """

    model: BoundModel
    engine: Engine | Recorded
    engine_reason: str
    restarts: tuple[Run, ...]
    bounds: tuple[Bound | None, ...]
    kept: tuple[int, ...]
    seed: int
    seconds: float
    arguments: Arguments = field(repr=False)
    densities: tuple[LogDensity, ...] = field(repr=False, default=())

    @property
    def status(self) -> Status:
        """How the best run ended."""
        return self.restarts[self.kept[0]].status if self.kept else Status.DIVERGED

    @property
    def loss(self) -> np.ndarray:
        """Minus the ELBO at each step of the best run, in nats."""
        best = self.kept[0] if self.kept else 0
        return self.restarts[best].loss

    @property
    def elbo(self) -> Bound | None:
        """The evidence lower bound of the best run."""
        return self.bounds[self.kept[0]] if self.kept else None

    @property
    def density(self) -> LogDensity:
        """The density of the best run's approximation."""
        return self.densities[self.kept[0] if self.kept else 0]

    @property
    def method(self) -> str:
        """The engine as text; under ``engine="auto"`` with what it came to in the best run."""
        chosen = [rung.engine for rung in self.rungs if rung.chosen]
        return f"{self.engine!r}: {chosen[0]}" if chosen else repr(self.engine)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """What each engine that was tried came to in the best run, under ``engine="auto"``."""
        return self.restarts[self.kept[0]].rungs if self.kept else ()

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, each once."""
        found = [*self.density.notes]
        for index in self.kept:
            found += self.restarts[index].notes
        return tuple(dict.fromkeys(found))

    def approximations(self) -> list[Approximation]:
        """One approximation per chain, the best first.

        Raises:
            FitError: If every run diverged.
        """
        found = [self.restarts[index].approximation for index in self.kept]
        usable = [approximation for approximation in found if approximation is not None]
        if not usable:
            whys = "; ".join(dict.fromkeys(each.why for each in self.restarts))
            raise FitError(
                f"The fit of {self.model.name!r} by {self.engine!r} diverged: {whys}. "
                "Try a smaller step size, another engine, or a look at the priors' scales."
            )
        return usable

    def draw(self, draws: int, *names: str | int) -> list[Draws]:
        """Independent draws of each chain in the flat space; ``names`` label the stream."""
        return [
            approximation.draw(draws, stream(self.seed, "draw", *names, chain))
            for chain, approximation in enumerate(self.approximations())
        ]

    def save(self, folder: str | Path) -> Path:
        """Write ``fit.json`` and ``fit.safetensors`` into ``folder``, which must exist.

        Raises:
            FitError: If the guide is not one that can be made again from a file.
            OutputError: If a file cannot be written.
        """
        from pyrovi.infer.files import save_fit

        return save_fit(self, Path(folder))

    @staticmethod
    def open(folder: str | Path, model: Callable[..., Any], data: Any) -> "Fit":
        """Read a fit that `save` wrote, of ``model`` on the ``data`` it was fitted to.

        Raises:
            TreeError: If the files are not there, are damaged, or are of another model.
            DataError: If the data are others than those that were fitted.
        """
        from pyrovi.infer.files import open_fit

        return open_fit(Path(folder), model, data)

    def __repr__(self) -> str:
        """One line: what, how, how well."""
        bound_text = f", elbo={self.elbo.value:.2f}±{self.elbo.error:.2f}" if self.elbo else ""
        return (
            f"Fit({self.model.name}, {self.method}, {self.status.value}{bound_text}, "
            f"{self.seconds:.1f} s, seed={self.seed})"
        )


def fit(
    model: Callable[..., Any],
    data: Any,
    engine: Engine | str = "auto",
    *,
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
            `pyrovi.tensors.bind`.
        engine: ``"auto"``, a name in `pyrovi.infer.ENGINES`, or an engine such as ``SVI(...)``.
        seed: What makes the fit repeatable; a missing one is drawn, and recorded.
        restarts: How many independent fits; those that reach the best bound become the chains.
        max_seconds: Wall time to spend at the most; the fit is then ``stopped``.
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
    began = time.perf_counter()
    arguments = bind(model, data)
    bound_model = bind_model(model, arguments)
    density = LogDensity(bound_model)
    picked, reason = _pick(engine, density)
    deadline = None if max_seconds is None else began + max_seconds
    runs, densities = [], []
    for index in range(restarts):
        if index and deadline is not None and time.perf_counter() > deadline:
            break
        label = "fit" if restarts == 1 else f"fit {index + 1}/{restarts}"
        one, its_density = _one(
            picked, density, seed, index, deadline=deadline, progress=progress, label=label
        )
        runs.append(one)
        densities.append(its_density)
    return assemble(
        bound_model, arguments, picked, reason, runs, densities, seed, time.perf_counter() - began
    )


def assemble(
    model: BoundModel,
    arguments: Arguments,
    picked: Engine,
    reason: str,
    runs: list[Run],
    densities: list[LogDensity],
    seed: int,
    seconds: float,
) -> Fit:
    """Judge the runs by their bounds, and keep those that reached the best."""
    bounds = [_bound_of(one, each, seed) for one, each in zip(runs, densities, strict=True)]
    return Fit(
        model=model,
        engine=picked,
        engine_reason=reason,
        restarts=tuple(runs),
        bounds=tuple(bounds),
        kept=_reached_the_best(runs, bounds),
        seed=seed,
        seconds=seconds,
        arguments=arguments,
        densities=tuple(densities),
    )


def _one(
    engine: Engine,
    density: LogDensity,
    seed: int,
    index: int,
    *,
    deadline: float | None,
    progress: bool | None,
    label: str,
) -> tuple[Run, LogDensity]:
    own_seed = stream(seed, "restart", index)
    if getattr(engine, "starts_itself", False):  # and evaluates no density
        start, threads = torch.zeros(density.dim, dtype=torch.float64), fitting_threads(density)
    else:
        start = density.start(own_seed, avoid_prior=index > 0)
        threads = measured_threads(density, start)
    with threads, isolated(own_seed):
        one = run(
            engine,
            density,
            start,
            seed=own_seed,
            deadline=deadline,
            progress=progress,
            label=label,
        )
    return one, density if one.approximation is None else one.approximation.density


def _bound_of(one: Run, density: LogDensity, seed: int) -> Bound | None:
    if one.approximation is None:
        return None
    if one.approximation.exact_elbo is not None:
        return Bound(one.approximation.exact_elbo, 0.0)
    if not one.approximation.has_density:
        return None
    count = max(FEWEST_ELBO_DRAWS, min(ELBO_DRAWS, ELBO_WORK // density.work))
    with fitting_threads(density):
        drawn = one.approximation.draw(count, stream(seed, "bound"))
        if drawn.log_guide is None:
            return None
        terms = (density.log_prob(drawn.flat).detach() - drawn.log_guide).numpy()
    with np.errstate(invalid="ignore"):  # a draw outside the support makes the bound infinite
        error = terms.std(ddof=1) / np.sqrt(len(terms))
    return Bound(float(terms.mean()), float(error))


def _reached_the_best(runs: list[Run], bounds: list[Bound | None]) -> tuple[int, ...]:
    """The runs with the best bound, best first; all usable ones where there are no bounds.

    If what has a bound was judged and did not pass, while others did without one, those.
    """
    usable = [i for i, one in enumerate(runs) if one.approximation is not None]
    fine = [i for i in usable if runs[i].status is not Status.DIVERGED]
    usable = fine or usable
    scored = {i: b for i in usable if (b := bounds[i]) is not None and np.isfinite(b.value)}
    if not scored:
        return tuple(usable)
    best = max(scored.values(), key=lambda b: b.value)
    near = [
        i
        for i, b in scored.items()
        if best.value - b.value
        <= SAME_OPTIMUM_NATS + SAME_OPTIMUM_ERRORS * np.hypot(b.error, best.error)
    ]
    passed = [i for i in usable if runs[i].judgement and runs[i].judgement.passes]
    if passed and not set(passed) & set(scored):
        return tuple(passed)
    return tuple(sorted(near, key=lambda i: -scored[i].value))


def _pick(engine: Engine | str, density: LogDensity) -> tuple[Engine, str]:
    """The engine to run, and why it was picked; no reason where the user picked it."""
    if engine == "auto":
        return Auto(), first_engine(density)[1]
    if isinstance(engine, str):
        made = ENGINES.get(engine.lower())
        if made is None:
            raise EngineError(
                f"No engine is named {engine!r}. There are auto, {', '.join(ENGINES)}."
            )
        engine = made()
    if not callable(getattr(engine, "init", None)):
        raise EngineError(
            f"Expected an engine such as pyrovi.SVI() or a name, and {engine!r} came."
        )
    if density.model.parameters and not hasattr(engine, "guide"):
        raise EngineError(
            f"The model has learnable parameters of its own, which {type(engine).__name__} would "
            "leave as they are. Use SVI, or give them priors."
        )
    return engine, ""


def _check_budget(restarts: int, max_seconds: float | None) -> None:
    if isinstance(restarts, bool) or not isinstance(restarts, int) or restarts < 1:
        raise EngineError(f"restarts must be a whole number from 1, and {restarts!r} came.")
    if max_seconds is not None and not max_seconds > 0:
        raise EngineError(f"max_seconds must be positive, and {max_seconds!r} came.")
