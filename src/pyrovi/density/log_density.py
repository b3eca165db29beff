"""A model as one unconstrained log density, vectorised over draws, with gradients.

Continuous latent sites lie end to end in a flat vector, each mapped from the reals to its support;
discrete latent sites are summed out by parallel enumeration. One run of the model is one point;
`torch.func.vmap` carries many points through one run. A model that cannot be carried so, or whose
vectorised value would differ from the looped one, is run point by point, and a note says so. What
is evaluated many times for one number of points is recorded and replayed; see `recording`.
"""

import contextlib
from collections.abc import Callable, Hashable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyrovi.bound import BoundModel, at_once_or_each, discrete_draws, end_to_end, rows_at_once
from pyrovi.clock import check_time
from pyrovi.density.budget import entries_of, sizes_of, work_of
from pyrovi.density.contraction import MANY_STEPS, NotAPathError
from pyrovi.density.differences import second_derivatives
from pyrovi.density.one_point import OnePoint
from pyrovi.density.pointwise import explain, without_pointwise
from pyrovi.density.recording import Recordings, Replayed, is_long
from pyrovi.density.slopes import check_gradient
from pyrovi.density.starts import best_start, prior_draws
from pyrovi.density.vectorise import FAILS_AT_A_POINT, NEED_PARTS, in_parts
from pyrovi.seeds import isolated

HESSIAN_ENTRIES = 1_000_000  # numbers differentiated twice at once, a bound on memory
WORKED_OUT = 30  # numbers in a gradient to one of `entries`: a regression, radon's hierarchy
RECORDED_ENTRIES = 2_000_000  # numbers in an evaluation, above which to record saves nothing


class LogDensity:
    """The log joint density of a model's data and continuous latent sites, unconstrained.

    Attributes:
        model: The model, tied to its data.
        dim: The length of a flat vector.
        entries: About how many numbers one evaluation at one point holds.
        pieces: Where each latent site lies in it, in the model's order.
        evaluations: How many points it has been evaluated at.
        threads: With how many threads of torch it is evaluated fastest; None if not measured.
        recordings: What is replayed instead of the model.
    """

    def __init__(self, model: BoundModel) -> None:
        self.model = model
        self._point = OnePoint(model)
        self.pieces, self.dim = self._point.pieces, self._point.dim
        self.entries = entries_of(model)
        self.evaluations = 0
        self.threads: int | None = None
        self.recordings = Recordings(self._most_recorded)
        self._explains: tuple[str, ...] = ()  # what each of the tensors of `explain` is
        self._notes: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the density is computed."""
        return (*self.model.notes, *self._notes)

    def log_prob(self, flat: Float[Tensor, "*draw dim"]) -> Float[Tensor, "*draw"]:
        """The log density at each flat vector, in nats, normalising constants included.

        A point where the model fails or the density is not a number counts as minus infinity.
        """
        rows = flat.reshape(-1, self.dim)
        alone = self.recordings.long and not rows.requires_grad
        recording = self._recording("value", self._undifferentiated, rows) if alone else None
        values = self._differentiable(rows) if recording is None else self._run(recording, rows)[0]
        return _or_minus_infinity(values).reshape(flat.shape[:-1])

    def _differentiable(self, rows: Tensor) -> Tensor:
        """The log density by the recorded gradient, where that is quicker than a run."""
        either = rows.requires_grad or self.recordings.long
        recorded = either and self._recording("gradient", self._differentiated, rows.detach())
        return Replayed.apply(rows, self.value_and_gradient) if recorded else self._values(rows)

    def value_and_gradient(
        self, flat: Float[Tensor, "draw dim"]
    ) -> tuple[Float[Tensor, "draw"], Float[Tensor, "draw dim"]]:
        """The log density and its gradient at each flat vector."""
        value, gradient = self._replayed("gradient", self._differentiated, flat.detach())
        return value, gradient

    def descent(self, flat: Float[Tensor, "dim"]) -> tuple[float, Float[Tensor, "dim"]]:
        """Minus the log density at one flat vector, and its gradient: what is to be minimised."""
        value, gradient = self.value_and_gradient(flat[None])
        return -float(value[0]), -gradient[0]

    def hessian(self, flat: Float[Tensor, "draw dim"]) -> Float[Tensor, "draw dim dim"]:
        """The matrix of second derivatives at each flat vector.

        By differentiating twice, or by differences of a long loop's gradient, which is recorded.
        """
        if self.recordings.long and self.model.dtype == torch.float64:
            return second_derivatives(lambda rows: self.value_and_gradient(rows)[1], flat.detach())
        fits = max(1, HESSIAN_ENTRIES // (self.dim * self.entries))
        parts = [
            self._replayed("hessian", self._hessian_rows, part.repeat_interleave(self.dim, 0))
            for part in flat.detach().split(fits)
        ]
        matrices = torch.cat([part[0] for part in parts]).reshape(-1, self.dim, self.dim)
        return (matrices + matrices.mT) / 2

    def hessian_product(
        self, flat: Float[Tensor, "draw dim"], direction: Float[Tensor, "draw dim"]
    ) -> Float[Tensor, "draw dim"]:
        """The matrix of second derivatives at each flat vector, times a direction."""
        point = flat.detach().requires_grad_()
        (first,) = torch.autograd.grad(self._values(point).sum(), point, create_graph=True)
        (second,) = torch.autograd.grad((first * direction).sum(), point)
        return second

    def hessian_products(
        self,
        flat: Float[Tensor, "draw dim"],
        entries: Int[Tensor, "entry"],
        directions: Float[Tensor, "direction entry"],
    ) -> Float[Tensor, "draw direction entry"]:
        """The second derivatives in some entries times each direction, at each flat vector.

        What hangs on other sites alone is worked out once for all directions.
        """
        kind = "products", entries.numpy().tobytes(), directions.numpy().tobytes()
        products = partial(self._products, entries, directions, self._untouched(entries))
        return self._replayed(kind, products, flat.detach())[0]

    def _products(
        self, entries: Tensor, directions: Tensor, held: frozenset[str], rows: Tensor
    ) -> tuple[Tensor]:
        own = rows[:, entries].requires_grad_()
        value = self._values(rows.index_copy(1, entries, own), held)
        (first,) = torch.autograd.grad(value.sum(), own, create_graph=True)
        # All directions at once, as torch can, would import its symbolic shapes, most of a second.
        second = [
            torch.autograd.grad((first * along).sum(), own, retain_graph=True)[0]
            for along in directions
        ]
        self.evaluations += len(rows) * (len(directions) - 1)
        return (torch.stack(second, dim=1),)

    def on_a_batch(self, flat: Float[Tensor, "draw dim"]) -> Float[Tensor, "draw"]:
        """The log density at each flat vector, estimated from minibatches of the vector's own.

        The plates that subsample do so, and scale what is in them; no latent site is in one.
        """
        check_time()
        one, carrier = self._point.log_prob, self._point.carrier
        together = partial(carrier.in_one_run, one, flat, random=True)
        at_once = together if self.vectorised else None
        self.evaluations += len(flat)
        with self.model.running(whole=False):
            return at_once_or_each(at_once, one, flat, failures=NEED_PARTS)

    def _untouched(self, entries: Int[Tensor, "entry"]) -> frozenset[str]:
        """The sites that hold none of some entries."""
        held = torch.ones(self.dim, dtype=torch.bool)
        held[entries] = False
        return frozenset(p.site for p in self.pieces if bool(held[p.start : p.stop].all()))

    def _values(self, rows: Tensor, held: frozenset[str] = frozenset()) -> Tensor:
        """The log density, of which ``held`` sites are not differentiated."""
        self.evaluations += len(rows)
        check_time()
        one, alone = self._point.log_prob, self._log_prob_or_minus_infinity
        return self._over_rows(partial(one, held=held), rows, partial(alone, held=held))

    def _log_prob_or_minus_infinity(self, row: Tensor, held: frozenset[str]) -> Tensor:
        """One point by itself; where the model fails, the density is zero there."""
        check_time()
        try:
            return self._point.log_prob(row, held)
        except FAILS_AT_A_POINT:
            return row.sum() * 0 - torch.inf

    def _undifferentiated(self, rows: Tensor) -> tuple[Tensor]:
        with torch.no_grad():
            return (self._values(rows),)

    def _differentiated(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():  # whoever asks for values alone may have it recorded
            point = rows.detach().requires_grad_()
            value = self._values(point)
            self.recordings.long = self.recordings.long or is_long(value)
            return _or_minus_infinity(value.detach()), _gradient(value, point)

    def _hessian_rows(self, rows: Tensor) -> tuple[Tensor]:
        """The second derivatives along one axis, the row's own number modulo the dimension."""
        axis = torch.eye(self.dim, dtype=torch.float64).repeat(len(rows) // self.dim, 1)
        return (self.hessian_product(rows, axis),)

    def explain(self, flat: Float[Tensor, "draw dim"]) -> dict[str, Tensor]:
        """Everything the model computes at each flat vector, constrained.

        ``log_joint`` (constrained) and ``log_abs_det``, both ``(draw,)``; ``value:SITE`` of latent
        sites, their ``log_prior:SITE`` and ``log_abs_det:SITE`` summed to ``(draw,)``; and
        ``log_likelihood:SITE`` pointwise, with discrete sites summed out.
        """
        rows = flat.reshape(-1, self.dim)
        return end_to_end(map(self._explained, rows.split(self._at_once)), len(rows))

    def _explained(self, rows: Tensor) -> dict[str, Tensor]:
        """The same of as many rows as one run holds, which are replayed where there are more."""
        check_time()
        values = self._replayed("explain", self._explanations, rows)
        return dict(zip(self._explains, values, strict=True))

    def _explanations(self, rows: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            one = partial(explain, self._point, without=self._without_pointwise)
            terms = self._over_rows(one, rows)
        self._explains = tuple(terms)
        return tuple(terms.values())

    def discrete_draws(self, flat: Float[Tensor, "draw dim"], seed: int) -> dict[str, Tensor]:
        """The discrete latent sites, ``(draw, *shape)``, drawn given the data at each flat vector.

        A long chain of them is filtered back and drawn forward for all vectors at once; else it is
        done by Pyro's `infer_discrete`.
        """
        rows = flat.reshape(-1, self.dim)
        if len(self.model.discrete) >= MANY_STEPS and self.vectorised:
            one, carrier = self._point.chain_draw, self._point.carrier
            chained = contextlib.suppress(NotAPathError, *NEED_PARTS)
            with chained, self.model.running(), torch.no_grad(), isolated(seed):
                parts = [
                    carrier.in_one_run(one, part, random=True)
                    for part in rows.split(self._at_once)
                ]
                return end_to_end(parts, len(rows))
        return discrete_draws(self.model, self.constrain(rows), seed)

    def log_priors(self, flat: Float[Tensor, "dim"]) -> dict[str, Tensor]:
        """The log density of each continuous latent site at one flat vector, differentiable."""
        trace = self._point.trace_alone(flat)
        trace.compute_log_prob()
        return {piece.site: trace.nodes[piece.site]["log_prob_sum"] for piece in self.pieces}

    def constrain(self, flat: Float[Tensor, "draw dim"]) -> dict[str, Tensor]:
        """The value of each continuous latent site at each flat vector."""
        with torch.no_grad():
            return self._over_rows(self._point.values, flat.reshape(-1, self.dim))

    def unconstrain(self, values: Mapping[str, Tensor]) -> Float[Tensor, "draw dim"]:
        """The flat vector of each draw of the continuous latent sites."""
        nodes, one = self.model.prototype.nodes, self._point.flat
        columns = {}
        for piece in self.pieces:
            shape = nodes[piece.site]["value"].shape
            columns[piece.site] = values[piece.site].to(self.model.dtype).reshape(-1, *shape)
        rows = (
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        )
        with self.model.running(), torch.no_grad():
            together = partial(self._point.carrier.in_one_run, one, columns)
            return at_once_or_each(together, one, rows, failures=NEED_PARTS).double()

    def labels(self) -> list[str]:
        """A name for each entry of a flat vector, such as ``theta[3]``."""
        return [
            piece.site + (f"[{','.join(map(str, index))}]" if index else "")
            for piece in self.pieces
            for index in np.ndindex(piece.shape)
        ]

    def start(self, seed: int, *, avoid_prior: bool = False) -> Float[Tensor, "dim"]:
        """A flat vector where the density and its gradient are finite: the best of a few.

        The median of the prior, the origin and uniform draws from (-2, 2) are tried, as in Stan,
        up to a hundred of them; with ``avoid_prior`` the draws alone, for a restart that is to
        begin elsewhere.

        Raises:
            ModelError: If the density is finite at none of them; the first site at fault is named.
        """
        return best_start(self._point, self.value_and_gradient, seed, avoid_prior=avoid_prior)

    def check_gradient(self, start: Float[Tensor, "dim"]) -> None:
        """Hold the gradient near ``start`` against differences of the log density.

        Raises:
            ModelError: If the gradient is not that of the density; the latent sites are named.
        """
        check_gradient(self, start)

    def prior_draws(self, count: int, seed: int) -> Float[Tensor, "draw dim"]:
        """Flat vectors drawn from the prior; what has an improper one is inside its support.

        They are fewer than ``count`` where the model fails at some.
        """
        return prior_draws(self._point, count, seed)

    @property
    def work(self) -> int:
        """About how many numbers it works out: `entries`, and those of matrices factorised.

        Of a long loop, once its gradient is recorded, those that its operations fill in, over
        how many times a model without a loop works each of its own numbers out.
        """
        return max(self._least_work, self.recordings.work // WORKED_OUT)

    @cached_property
    def _least_work(self) -> int:
        return work_of(self.model)

    @cached_property
    def _at_once(self) -> int:
        """How many points are carried through one run."""
        return rows_at_once(sizes_of(self.model))

    @cached_property
    def vectorised(self) -> bool:
        """Whether many points are carried through one run of the model."""
        _ = self._without_pointwise
        with self.model.running():
            self._point.prepare()
            why_not = self._point.why_not_vectorised()
        self._notes += [why_not] if why_not else []
        return why_not is None

    @cached_property
    def _without_pointwise(self) -> frozenset[str]:
        """Observed sites without a pointwise log likelihood, with a note for each."""
        reasons = without_pointwise(self._point)
        self._notes += dict.fromkeys(reasons.values())
        return frozenset(reasons)

    def _over_rows(
        self,
        one: Callable[[Tensor], Any],
        rows: Tensor,
        alone: Callable[[Tensor], Any] | None = None,
    ) -> Any:
        """``one`` at each row; ``alone`` where they are not taken at once."""
        alone = alone or one
        if not self.vectorised:
            with self.model.running():
                return at_once_or_each(None, alone, rows)
        together = partial(self._point.carrier.in_one_run, one)
        with self.model.running():
            return in_parts(together, alone, rows, fits=self._at_once)

    def _replayed(
        self,
        kind: Hashable,
        function: Callable[[Tensor], tuple[Tensor, ...]],
        rows: Tensor,
    ) -> tuple[Tensor, ...]:
        """``function(rows)``, from the recording of it where there is one."""
        recording = self._recording(kind, function, rows)
        return function(rows) if recording is None else self._run(recording, rows)

    def _run(
        self, recording: Callable[[Tensor], tuple[Tensor, ...]], rows: Tensor
    ) -> tuple[Tensor, ...]:
        self.evaluations += len(rows)
        check_time()
        with torch.no_grad():
            return recording(rows)

    def _recording(
        self,
        kind: Hashable,
        function: Callable[[Tensor], tuple[Tensor, ...]],
        rows: Tensor,
    ) -> Callable[[Tensor], tuple[Tensor, ...]] | None:
        """What is recorded of a function; those points that the recording takes do not count."""
        evaluations = self.evaluations
        try:
            return self.recordings.of(kind, function, rows)
        finally:
            self.evaluations = evaluations

    def _most_recorded(self) -> int:
        """Of how many rows a run is the same operations each time: it learns and draws nothing."""
        same = self.vectorised and not (self.model.parameters or self.model.subsampled)
        return RECORDED_ENTRIES // self.entries if same else 0


def _gradient(value: Tensor, point: Tensor) -> Tensor:
    """Zero where nothing in the graph leads to ``point``: its values left torch on the way."""
    if not value.requires_grad:
        return torch.zeros_like(point)
    (gradient,) = torch.autograd.grad(value.sum(), point, allow_unused=True)
    return torch.zeros_like(point) if gradient is None else gradient


def _or_minus_infinity(values: Tensor) -> Tensor:
    return torch.where(values.isnan(), -torch.inf, values)
