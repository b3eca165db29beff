"""What an engine is: what it can do, what the loop calls in turn, and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from pyrovi.approximations import Approximation, Gaussian
from pyrovi.density import LogDensity
from pyrovi.infer.ladder.judge import Judgement
from pyrovi.infer.run import Rung
from pyrovi.optimise import Survey

RECOVERIES = EXACTLY, BY_DRAWS, MEANS, MODE = "exactly", "by draws", "means", "mode"
"""What is recovered of a Gaussian posterior: all, to the engine's tolerance or to the Monte Carlo
error of its draws; the means, but not the correlations; or the mode alone."""

Loss = float | Mapping[str, float]


class NothingYet(Exception):  # noqa: N818  not an error: the loop expects it
    """An engine was stopped before it had come to anything."""


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What an engine needs, makes and promises. It is declared, so that nobody has to try.

    The loop holds an engine to its ``draws`` and ``exact_bound``.

    Attributes:
        guide: Whether it fits a guide that the user chooses, by the setting ``guide``.
        learns_parameters: Whether it learns a model's own parameters (``pyro.param``).
        closed_forms: Whether it works by the complete conditionals that a model declares
            (`pyrovi.structure.CoordinateUpdates`), and so evaluates no density.
        gradients: Whether it goes by the gradient of the density, which is then checked first.
        own_start: Whether it makes its own start, and does not use the one that it is given.
        exact_bound: Whether it works its evidence lower bound out, where others estimate it.
        draws: One of `pyrovi.tree.DRAW_KINDS`; None where the approximation says.
        recovers: One of `RECOVERIES`; None where it makes no promise.
        expected: How many steps a state is to have taken in the end, as far as it can tell yet;
            None for the engine's ``max_steps``.
    """

    guide: bool = False
    learns_parameters: bool = False
    closed_forms: bool = False
    gradients: bool = True
    own_start: bool = False
    exact_bound: bool = False
    draws: str | None = None
    recovers: str | None = None
    expected: Callable[[Any], int] | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an engine came to.

    Attributes:
        approximation: What can be drawn from; its ``density`` has the learnt parameters.
        bound: The evidence lower bound in nats, where it is worked out exactly.
        notes: What the user should know of the result.
        errors: How far other fixed draws would move each flat mean, in its sds.
        modes: The modes that were met, the one with most evidence first.
        rungs: What each engine came to, where several were tried.
        judgement: How the approximation held against the posterior, where it was held.
        survey: Which modes searches from all over came to, where there were such.
        losses: Which of the steps are those of this approximation; None for all.
    """

    approximation: Approximation
    bound: float | None = None
    notes: tuple[str, ...] = ()
    errors: Tensor | None = None
    modes: tuple[Gaussian, ...] = ()
    rungs: tuple[Rung, ...] = ()
    judgement: Judgement | None = None
    survey: Survey | None = None
    losses: slice | None = None


@runtime_checkable
class Engine(Protocol):
    """An inference algorithm: frozen settings, and what the loop calls in turn."""

    @property
    def capabilities(self) -> Capabilities:
        """What it needs, makes and promises."""
        ...

    @property
    def max_steps(self) -> int:
        """How many steps to take at the most."""
        ...

    def init(self, density: LogDensity, start: Tensor, seed: int) -> Any:
        """The state before the first step, at the flat vector ``start``."""
        ...

    def step(self, state: Any) -> Loss:
        """Advance ``state`` by one step, and give the loss reached.

        That is minus the ELBO in nats, or minus the log density where there is none. Several
        losses come by their names, and the first of them is the one that is shown and judged.
        """
        ...

    def converged(self, state: Any) -> bool:
        """Whether ``state`` is as good as this engine will make it."""
        ...

    def outcome(self, state: Any) -> Outcome:
        """What the engine came to; it may be asked for before it has converged.

        Raises:
            NothingYet: If it has come to nothing.
        """
        ...


def first_of(loss: Loss) -> float:
    """The loss that is shown and judged.

    >>> first_of({"wake": 2.0, "sleep": 3.0})
    2.0
    """
    return next(iter(loss.values())) if isinstance(loss, Mapping) else loss
