"""L-BFGS one iteration at a time, as the loop wants it.

Torch's own stops the search for a step where the loss is not a number, which densities have beyond
the edge of their domain, and imports a compiler, for a second; scipy's runs to the end at once.

Reference: Nocedal and Wright (2006), Numerical Optimization, algorithms 7.4 and 7.5; the search
for a step is that of Lewis and Overton (2013), https://doi.org/10.1007/s10107-012-0514-2
"""

import math
from collections import deque
from collections.abc import Callable, Generator
from typing import TypeAlias

import torch
from torch import Tensor

MEMORY = 20  # past steps that the curvature is read from
MOST_TRIALS = 25  # lengths of one step
SUFFICIENT_DECREASE = 1e-4
CURVATURE = 0.9
FIRST_STEP = 1.0  # units, the longest entry of the first step, before any curvature is met

Asking: TypeAlias = Generator[Tensor, tuple[float, Tensor], float]
Trial: TypeAlias = Generator[Tensor, tuple[float, Tensor], tuple[Tensor, float, Tensor] | None]


class QuasiNewton:
    """Minimise a function of one vector by L-BFGS; a step ends where both Wolfe conditions hold.

    A loss that is not finite counts as too high.

    Args:
        evaluate: From a vector to the loss and its gradient.
        start: Where to begin.
        units: A length for each entry that makes the curvature about one; one if unsaid.
        most_trials: How many points a step may try.

    Attributes:
        point: The best vector so far.
        gradient: The gradient there.
        value: The loss there.
        stuck_for: How many steps in a row changed nothing.
        walled: Whether the last step met a loss that is not finite.
        trials: How many points the last step tried.
    """

    def __init__(
        self,
        evaluate: Callable[[Tensor], tuple[float, Tensor]],
        start: Tensor,
        units: Tensor | None = None,
        most_trials: int = MOST_TRIALS,
    ) -> None:
        self._evaluate, self._most_trials = evaluate, most_trials
        self._squared_units = torch.ones_like(start) if units is None else units.square()
        self._pairs: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=MEMORY)
        self.point = start.detach().clone()
        self.value, self.gradient = math.inf, torch.full_like(self.point, torch.inf)
        self.stuck_for, self.trials, self.walled = 0, 0, False

    @property
    def stuck(self) -> bool:
        """Whether the last step changed nothing."""
        return self.stuck_for > 0

    def step(self) -> float:
        """Take one iteration, and give the loss it reached; what the start has if not finite."""
        asking = self.asking()
        try:
            point = next(asking)
            while True:
                point = asking.send(self._evaluate(point))
        except StopIteration as ended:
            return ended.value

    def asking(self) -> Asking:
        """One iteration that yields each point, to be sent the loss and the gradient there.

        So can many searches be evaluated at once; `step` is for one by itself.
        """
        if not math.isfinite(self.value):
            self.value, self.gradient = yield self.point
            if not math.isfinite(self.value) or not bool(self.gradient.isfinite().all()):
                return math.nan
        if not float(self.gradient.abs().max()):
            return self._forget()
        direction = -self._times_inverse_hessian(self.gradient)
        slope = float(direction @ self.gradient)
        if not slope < 0:
            return self._forget()
        lower = yield from self._search(direction, slope)
        return self._forget() if lower is None else self._take(*lower)

    def go_to(self, point: Tensor, value: float, gradient: Tensor) -> None:
        """Go on from a point that something else came to."""
        self.point, self.value, self.gradient, self.stuck_for = point, value, gradient, 0
        self._pairs.clear()

    def _take(self, point: Tensor, value: float, gradient: Tensor) -> float:
        """Go to where a step ends, and remember how the gradient changed on the way."""
        moved, turned = point - self.point, gradient - self.gradient
        product = float(moved @ turned)
        if product > 1e-12 * float(turned @ turned):
            self._pairs.append((moved, turned, product))
        self.stuck_for = 0 if value < self.value else self.stuck_for + 1
        self.point, self.value, self.gradient = point, value, gradient
        return value

    def _times_inverse_hessian(self, gradient: Tensor) -> Tensor:
        """The two-loop recursion."""
        if not self._pairs:
            first = self._squared_units * gradient
            longest = float((first / self._squared_units.sqrt()).abs().max())
            return first / max(1.0, longest / FIRST_STEP)
        result, shares = gradient, []
        for moved, turned, product in reversed(self._pairs):
            shares.append(float(moved @ result) / product)
            result = result - shares[-1] * turned
        _, turned, product = self._pairs[-1]
        result = self._squared_units * result
        result = result * (product / float(turned @ (self._squared_units * turned)))
        for (moved, turned, product), share in zip(self._pairs, reversed(shares), strict=True):
            result = result + (share - float(turned @ result) / product) * moved
        return result

    def _search(self, direction: Tensor, slope: float) -> Trial:
        """A step that goes down enough, to where the slope is less steep; or None."""
        short, long, length, best = 0.0, math.inf, 1.0, None
        self.trials, self.walled = 0, False
        while self.trials < self._most_trials:
            self.trials += 1
            point = self.point + length * direction
            value, gradient = yield point
            low = value <= self.value + SUFFICIENT_DECREASE * length * slope
            if low and bool(gradient.isfinite().all()):
                short, best = length, (point, value, gradient)
                if float(gradient @ direction) >= CURVATURE * slope:
                    break
            else:
                long = length
                self.walled |= not math.isfinite(value)
            length = 2 * length if long == math.inf else (short + long) / 2
        return best

    def _forget(self) -> float:
        """There is no step down: forget the curvature, and go on from the best point."""
        self.stuck_for += 1
        self._pairs.clear()
        return self.value
