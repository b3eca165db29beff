"""A `Fit`: a value that says what was fitted, how it ended, and what can be drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from pyrovi.approximations import Approximation, Draws
from pyrovi.bound import Arguments, BoundModel, as_tree, constrained, with_priors
from pyrovi.density import LogDensity
from pyrovi.errors import FitError
from pyrovi.infer.engine import Engine
from pyrovi.infer.files import read_runs, write_runs
from pyrovi.infer.run import Bound, Run, Rung, Status
from pyrovi.seeds import stream


@dataclass(frozen=True)
class Recorded:
    """The engine of a fit that was read from a file, as it was shown: not something to run."""

    text: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Fit:
    """What `fit` came to: a value, which can be drawn from, kept in files, and read from them.

    Attributes:
        model: The model, tied to its data, as it was fitted.
        engine: The engine, as it was set.
        restarts: Every run, in the order they were started.
        kept: The indices of the runs that reached the best bound, the best first: the chains.
        seed: What repeats the fit.
        seconds: Wall time, all restarts together.
        data: What was fitted, as a tree; `pyrovi.draw` grows it.
        arguments: What the model was called with; Python objects too, which no tree can hold.
    """

    model: BoundModel
    engine: Engine | Recorded
    restarts: tuple[Run, ...]
    kept: tuple[int, ...]
    seed: int
    seconds: float
    data: xr.DataTree = field(repr=False)
    arguments: Arguments = field(repr=False)

    @property
    def best(self) -> Run:
        """The best run; the first one where every run diverged."""
        return self.restarts[self.kept[0] if self.kept else 0]

    @property
    def chains(self) -> tuple[Run, ...]:
        """The runs that are kept, the best first."""
        return tuple(self.restarts[index] for index in self.kept)

    @property
    def status(self) -> Status:
        """How the best run ended."""
        return self.best.status if self.kept else Status.DIVERGED

    @property
    def loss(self) -> np.ndarray:
        """Minus the ELBO at each step of the best run, in nats."""
        return self.best.loss

    @property
    def losses(self) -> Mapping[str, np.ndarray]:
        """Every loss of the best run by its name, the one that was judged first."""
        return self.best.losses

    @property
    def elbo(self) -> Bound | None:
        """The evidence lower bound of the best run."""
        return self.best.bound if self.kept else None

    @property
    def density(self) -> LogDensity:
        """The density of the best run's approximation."""
        return self.best.density

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """What the best run learnt of all that Pyro registers, inside its support, by its name."""
        return constrained(self.density.model.params)

    @property
    def method(self) -> str:
        """The engine as text; under ``engine="auto"`` with what it came to in the best run."""
        chosen = [rung.engine for rung in self.rungs if rung.chosen]
        return f"{self.engine!r}: {chosen[0]}" if chosen else repr(self.engine)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """What each engine that was tried came to in the best run, under ``engine="auto"``."""
        return self.best.rungs if self.kept else ()

    @property
    def engine_reason(self) -> str:
        """Why the rung that is the answer was tried, and after which; empty under no ladder."""
        at = next((i for i, rung in enumerate(self.rungs) if rung.chosen), None)
        if at is None:
            return ""
        first = at - bool(self.rungs[at].of)  # what was resampled is no other engine
        before = [rung.engine for rung in self.rungs[:first]]
        after = f" Tried before it: {'; '.join(before)}." if before else ""
        return f"{self.rungs[at].why}{after}"

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, each once."""
        of_the_runs = (note for run in self.chains for note in run.notes)
        return tuple(dict.fromkeys((*self.density.notes, *of_the_runs)))

    def approximations(self) -> list[Approximation]:
        """One approximation per chain, the best first.

        Raises:
            FitError: If every run diverged.
        """
        usable = [run.approximation for run in self.chains if run.approximation is not None]
        if not usable:
            whys = "; ".join(dict.fromkeys(each.why for each in self.restarts))
            raise FitError(
                f"The fit of {self.model.name!r} by {self.engine!r} diverged: {whys}. "
                "Try a smaller step size, another engine, or a look at the priors' scales."
            )
        return usable

    def draw(self, draws: int, *names: str | int) -> list[Draws]:
        """Draws of each chain in the flat space; ``names`` label the stream.

        Of a sampler the last states of its chain, and all of them if it is shorter.
        """
        return [
            approximation.draw(draws, stream(self.seed, "draw", *names, chain))
            for chain, approximation in enumerate(self.approximations())
        ]

    def save(self, folder: str | Path) -> Path:
        """Write ``fit.json`` and ``fit.safetensors`` into ``folder``, both or neither.

        A folder that is missing is made, with those above it.

        Raises:
            FitError: If the guide is not one that can be made again from a file.
            OutputError: If a file cannot be written.
        """
        record = {
            "model": self.model.name,
            "engine": repr(self.engine),
            "seed": self.seed,
            "seconds": self.seconds,
            "kept": list(self.kept),
        }
        return write_runs(Path(folder), record, self.restarts, self.arguments)

    @staticmethod
    def open(
        folder: str | Path,
        model: Callable[..., Any],
        data: Any,
        *,
        priors: Mapping[str, Any] | None = None,
    ) -> "Fit":
        """Read a fit that `save` wrote, of ``model`` on the ``data`` it was fitted to.

        ``priors`` are those that the fit was given, which no file can hold.

        Raises:
            TreeError: If the files are not there, are damaged, or are of another model, or of
                one with other priors.
            DataError: If the data are others than those that were fitted.
        """
        model = with_priors(model, priors) if priors else model
        record, runs, tied, arguments = read_runs(Path(folder), model, data)
        return Fit(
            model=tied,
            engine=Recorded(record["engine"]),
            restarts=runs,
            kept=tuple(record["kept"]),
            seed=record["seed"],
            seconds=record["seconds"],
            data=as_tree(tied, data),
            arguments=arguments,
        )

    def __repr__(self) -> str:
        bound_text = f", elbo={self.elbo.value:.2f}±{self.elbo.error:.2f}" if self.elbo else ""
        return (
            f"Fit({self.model.name}, {self.method}, {self.status.value}{bound_text}, "
            f"{self.seconds:.1f} s, seed={self.seed})"
        )
