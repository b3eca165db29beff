"""Torch's L-BFGS, one iteration at a time, as the loop wants it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["QuasiNewton"]

MEMORY = 20  # past steps that the curvature is read from
LINE_SEARCH_EVALUATIONS = 25
REMEMBERED = 4  # evaluations; the line search ends at one of its last


class QuasiNewton:
    """Minimise a function of one vector by L-BFGS with a strong Wolfe line search.

    Args:
        loss: From a vector to a scalar, differentiable.
        start: Where to begin.

    Attributes:
        point: The best vector so far.
        gradient: The gradient there.
        value: The loss there.
        stuck: Whether the last step changed nothing.
    """

    def __init__(self, loss: Callable[[Tensor], Tensor], start: Tensor) -> None:
        self._loss = loss
        self._parameters = start.detach().clone().requires_grad_()
        self._parameters.grad = torch.zeros_like(start)
        # Stopping is the engine's business. The defaults would stop first and say nothing: with
        # max_iter=1 alone the line search has no evaluations left to spend.
        self._optimizer = torch.optim.LBFGS(
            [self._parameters],
            max_iter=1,
            max_eval=LINE_SEARCH_EVALUATIONS,
            history_size=MEMORY,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )
        self.point = start.detach().clone()
        self.gradient = torch.full_like(self.point, torch.inf)
        self.stuck = False
        self.value = torch.inf
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def step(self) -> float:
        """Take one iteration, and give the loss it reached; NaN where the loss is not a number."""
        try:
            self._optimizer.step(self._closure)
        except IndexError:  # torch's line search has no bracket where the loss is not a number
            return torch.nan
        found = self._evaluate(self._parameters.detach())
        value = found[1].item()
        if math.isnan(value):
            return value
        if not value < self.value and self.value < torch.inf:
            return self._restart()
        self.stuck = False
        self.value = value
        self.point, self.gradient = found[0], found[2]
        return value

    def _restart(self) -> float:
        """No step down was found: forget the curvature and go on from the best point, once."""
        with torch.no_grad():
            self._parameters.copy_(self.point)
        self._optimizer.state.clear()
        self.stuck = True
        return self.value

    def _closure(self) -> Tensor:
        _, loss, self._parameters.grad = self._evaluate(self._parameters.detach())
        return loss

    def _evaluate(self, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The point, the loss and the gradient there.

        Torch evaluates the end of a line search once more at the start of the next step, so the
        last few evaluations are kept.
        """
        for seen in self._seen:
            if torch.equal(seen[0], point):
                return seen
        leaf = point.clone().requires_grad_()
        loss = self._loss(leaf)
        (gradient,) = torch.autograd.grad(loss, leaf)
        found = (point.clone(), loss.detach(), gradient)
        self._seen = [found, *self._seen[: REMEMBERED - 1]]
        return found
