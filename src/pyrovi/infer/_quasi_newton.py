"""Torch's L-BFGS, one iteration at a time, as the loop wants it."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["QuasiNewton"]

MEMORY = 20  # past steps that the curvature is read from
LINE_SEARCH_EVALUATIONS = 25


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

    def step(self) -> float:
        """Take one iteration, and give the loss it reached."""
        self._optimizer.step(self._closure)
        value = self._closure().item()
        gradient = self._parameters.grad
        assert gradient is not None
        if not value < self.value and self.value < torch.inf:
            return self._restart()
        self.stuck = False
        self.value = value
        self.point, self.gradient = self._parameters.detach().clone(), gradient.clone()
        return value

    def _restart(self) -> float:
        """No step down was found: forget the curvature and go on from the best point, once."""
        with torch.no_grad():
            self._parameters.copy_(self.point)
        self._optimizer.state.clear()
        self.stuck = True
        return self.value

    def _closure(self) -> Tensor:
        self._optimizer.zero_grad()
        loss = self._loss(self._parameters)
        loss.backward()
        return loss
