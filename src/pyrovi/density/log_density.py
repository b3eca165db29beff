"""A model as one unconstrained log density, vectorised over draws, with gradients.

Continuous latent sites lie end to end in a flat vector, each mapped from the reals to its support;
discrete latent sites are summed out by parallel enumeration. One run of the model is one point;
`torch.func.vmap` carries many points through one run. A model that cannot be carried so, or whose
vectorised value would differ from the looped one, is run point by point, and a note says so. What
is evaluated many times for one number of points is recorded and replayed; see `_graph`.
"""

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from opt_einsum import shared_intermediates
from pyro import poutine
from pyro.infer.mcmc.util import TraceEinsumEvaluator
from pyro.ops import packed
from pyro.ops.contract import contract_to_tensor
from torch import Tensor
from torch.distributions import biject_to

from pyrovi.bound import BoundModel, Place, Trace, Unplace, initial_value
from pyrovi.density.recording import NotRecordableError, record
from pyrovi.errors import ModelError
from pyrovi.seeds import isolated, stream

__all__ = ["LogDensity", "OutOfTime", "Piece"]

AGREEMENT = 1e-6  # relative; between the vectorised and the looped value
STARTS = 100  # as many as Stan tries before it gives up
NEAR_ORIGIN = 0.25  # of the draws from (-2, 2), for a model whose units may be exchanged
CHUNK_ENTRIES = 20_000_000  # tensor entries per vectorised call, a bound on memory
MANY_ENUMERATED = 20  # above this, one contraction per observed site costs too much
REPEATS = 20  # evaluations for one number of points before a recording of it pays
HESSIAN_ENTRIES = 1_000_000  # numbers differentiated twice at once, a bound on memory
RECORDED_ENTRIES = 2_000_000  # a recording holds every step; above, its saving is nothing


@dataclass(frozen=True)
class Piece:
    """Where one latent site lies in the flat vector.

    Attributes:
        site: The site's name.
        shape: The shape of its unconstrained piece.
        start: The first index in the flat vector.
        stop: One past the last.
    """

    site: str
    shape: tuple[int, ...]
    start: int
    stop: int


class OutOfTime(Exception):  # noqa: N818  not an error: the loop expects it
    """The time that the user allowed is spent."""


class LogDensity:
    """The log joint density of a model's data and continuous latent sites, unconstrained.

    Args:
        model: The model, tied to its data.

    Attributes:
        model: The model, tied to its data.
        dim: The length of a flat vector.
        pieces: Where each latent site lies in it, in the model's order.
        evaluations: How many points it has been evaluated at.
        deadline: On the clock of `time.perf_counter`, when an evaluation raises `OutOfTime`.
        threads: With how many threads of torch it is evaluated fastest; None if not measured.
    """

    def __init__(self, model: BoundModel) -> None:
        self.model = model
        self.pieces = tuple(_layout(model))
        self.dim = self.pieces[-1].stop
        self.evaluations = 0
        self.deadline: float | None = None
        self.threads: int | None = None
        self._evaluator: TraceEinsumEvaluator | None = None
        self._vectorised: bool | None = None
        self._asked: dict[tuple[str, int], int] = {}
        self._recorded: dict[tuple[str, int], Callable[[Tensor], tuple[Tensor, ...]]] = {}
        self._notes: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the density is computed."""
        return (*self.model.notes, *self._notes)

    def log_prob(self, flat: Float[Tensor, "*draw dim"]) -> Float[Tensor, "*draw"]:
        """The log density at each flat vector, in nats, up to no constant.

        A point where the model fails or the density is not a number counts as minus infinity.
        """
        rows = flat.reshape(-1, self.dim)
        if rows.requires_grad and self._recording("gradient", self._differentiated, rows.detach()):
            return _Replayed.apply(rows, self).reshape(flat.shape[:-1])
        return self._values(rows).reshape(flat.shape[:-1])

    def value_and_gradient(
        self, flat: Float[Tensor, "draw dim"]
    ) -> tuple[Float[Tensor, "draw"], Float[Tensor, "draw dim"]]:
        """The log density and its gradient at each flat vector."""
        value, gradient = self._again("gradient", self._differentiated, flat.detach())
        return value, gradient

    def descent(self, flat: Float[Tensor, "dim"]) -> tuple[float, Float[Tensor, "dim"]]:
        """Minus the log density at one flat vector, and its gradient: what is to be minimised."""
        value, gradient = self.value_and_gradient(flat[None])
        return -float(value[0]), -gradient[0]

    def on_a_batch(self, flat: Float[Tensor, "draw dim"]) -> Float[Tensor, "draw"]:
        """The log density at each flat vector, estimated from minibatches of the vector's own.

        The plates that subsample do so, and scale what is in them; no latent site is in one.
        """
        self._check_time()
        vectorised = self.vectorised
        self.evaluations += len(flat)
        with self.model.running(whole=False):
            if vectorised:
                return torch.func.vmap(self._log_prob_at, randomness="different")(flat)
            return torch.stack([self._log_prob_at(row) for row in flat])

    def hessian(self, flat: Float[Tensor, "draw dim"]) -> Float[Tensor, "draw dim dim"]:
        """The matrix of second derivatives at each flat vector, by differentiating twice."""
        at_once = max(1, HESSIAN_ENTRIES // (self.dim * self.entries))
        parts = [
            self._again("hessian", self._differentiated_twice, part.repeat_interleave(self.dim, 0))
            for part in flat.detach().split(at_once)
        ]
        found = torch.cat([part[0] for part in parts]).reshape(-1, self.dim, self.dim)
        return (found + found.mT) / 2

    def hessian_product(
        self, flat: Float[Tensor, "draw dim"], direction: Float[Tensor, "draw dim"]
    ) -> Float[Tensor, "draw dim"]:
        """The matrix of second derivatives at each flat vector, times a direction."""
        point = flat.detach().requires_grad_()
        (first,) = torch.autograd.grad(self._values(point).sum(), point, create_graph=True)
        (second,) = torch.autograd.grad((first * direction).sum(), point)
        return second

    def _values(self, rows: Tensor) -> Tensor:
        self.evaluations += len(rows)
        self._check_time()
        with self.model.running():
            return self._over_draws(self._log_prob_at, rows)

    def _differentiated(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        point = rows.detach().requires_grad_()
        value = self._values(point)
        (gradient,) = torch.autograd.grad(value.sum(), point)
        return value.detach(), gradient

    def _differentiated_twice(self, rows: Tensor) -> tuple[Tensor]:
        """The second derivatives along one axis, the row's own number modulo the dimension."""
        point = rows.detach().requires_grad_()
        (first,) = torch.autograd.grad(self._values(point).sum(), point, create_graph=True)
        axis = torch.eye(self.dim, dtype=first.dtype).repeat(len(rows) // self.dim, 1)
        (second,) = torch.autograd.grad((first * axis).sum(), point)
        return (second,)

    def _check_time(self) -> None:
        if self.deadline is not None and time.perf_counter() > self.deadline:
            raise OutOfTime

    # The same operations, without Pyro.

    def _again(
        self, kind: str, function: Callable[[Tensor], tuple[Tensor, ...]], rows: Tensor
    ) -> tuple[Tensor, ...]:
        """``function(rows)``, from the recording of it where there is one."""
        recording = self._recording(kind, function, rows)
        if recording is None:
            return function(rows)
        self.evaluations += len(rows)
        self._check_time()
        with torch.no_grad():
            return recording(rows)

    def _recording(
        self, kind: str, function: Callable[[Tensor], tuple[Tensor, ...]], rows: Tensor
    ) -> Callable[[Tensor], tuple[Tensor, ...]] | None:
        """The recording of ``function`` for this many rows, made once it is asked for often."""
        key = (kind, len(rows))
        self._asked[key] = self._asked.get(key, 0) + 1
        if self._asked[key] == REPEATS and self._can_be_recorded(len(rows)):
            elsewhere = rows + 0.01 * torch.cos(torch.arange(rows.numel())).reshape(rows.shape)
            # Where it cannot be recorded, the model itself goes on: it is always right.
            with contextlib.suppress(NotRecordableError, RuntimeError):
                self._recorded[key] = record(function, rows, elsewhere)
        return self._recorded.get(key)

    def _can_be_recorded(self, rows: int) -> bool:
        """Whether each run is the same operations: no loop, nothing learned, nothing random."""
        small = rows * self.entries <= RECORDED_ENTRIES
        same = bool(self._vectorised) and small and self._chunk(rows) is None
        return same and not self.model.parameters and not self.model.subsampled

    def explain(self, flat: Float[Tensor, "draw dim"]) -> dict[str, Tensor]:
        """Everything the model computes at each flat vector, constrained.

        Returns:
            ``log_joint`` (constrained) and ``log_abs_det``, both ``(draw,)``; and, with a prefix,
            ``value:SITE`` for latent sites, ``log_prior:SITE`` summed to
            ``(draw,)``, ``log_abs_det:SITE`` likewise, and ``log_likelihood:SITE`` pointwise,
            with discrete sites summed out.
        """
        with self.model.running(), torch.no_grad():
            return self._over_draws(self._explain_at, flat.reshape(-1, self.dim))

    def constrain(self, flat: Float[Tensor, "draw dim"]) -> dict[str, Tensor]:
        """The value of each continuous latent site at each flat vector."""
        found = self.explain(flat)
        return {piece.site: found[f"value:{piece.site}"] for piece in self.pieces}

    def unconstrain(self, values: Mapping[str, Tensor]) -> Float[Tensor, "draw dim"]:
        """The flat vector of each draw of the continuous latent sites."""
        with self.model.running(), torch.no_grad():
            names = [piece.site for piece in self.pieces]
            nodes = self.model.prototype.nodes
            rows = {
                name: values[name].to(self.model.dtype).reshape(-1, *nodes[name]["value"].shape)
                for name in names
            }
            try:
                return torch.func.vmap(self._unconstrain_at)(rows).double()
            except RuntimeError:
                count = len(rows[names[0]])
                each = [
                    self._unconstrain_at({name: row[i] for name, row in rows.items()})
                    for i in range(count)
                ]
                return torch.stack(each).double()

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
        up to a hundred of them.

        Args:
            seed: Makes the choice repeatable.
            avoid_prior: Leave the median of the prior and the origin out, for a restart that is
                to begin elsewhere.

        Raises:
            ModelError: If the density is finite at none of them; the first site at fault is named.
        """
        generator = torch.Generator().manual_seed(stream(seed, "start"))
        uniform = torch.rand(STARTS, self.dim, generator=generator, dtype=torch.float64) * 4 - 2
        candidates = uniform
        if not avoid_prior:
            origin = torch.zeros(1, self.dim, dtype=torch.float64)
            if self.model.structure.exchangeable and not self.model.discrete:
                origin = NEAR_ORIGIN * uniform[-1:]  # units that start alike stay so: a saddle
            first = [origin, self._prior_median(seed)]
            candidates = torch.cat([*first, uniform[:-2]])
        few = candidates[: max(8, 2)]
        best = self._best_of(few)
        best = self._best_of(candidates) if best is None else best
        if best is None:
            raise ModelError(self._why_no_start(candidates[0]))
        return best

    def _best_of(self, candidates: Tensor) -> Tensor | None:
        value, gradient = self.value_and_gradient(candidates)
        usable = value.isfinite() & gradient.isfinite().all(-1)
        if not usable.any():
            return None
        return candidates[torch.where(usable, value, -torch.inf).argmax()]

    def _prior_median(self, seed: int) -> Tensor:
        """The unconstrained median of a few draws of each site from its prior, in one run each."""
        draws = []
        with self.model.running(), isolated(stream(seed, "prior median")), torch.no_grad():
            for _ in range(15):
                noted: dict[str, Tensor] = {}
                try:
                    poutine.trace(_NotePrior(noted)(self.model.handled())).get_trace(
                        *self.model.args, **self.model.kwargs
                    )
                except (ValueError, RuntimeError):
                    continue
                free = self.model.free
                pieces = [
                    noted[p.site][free[p.site]] if p.site in free else noted[p.site]
                    for p in self.pieces
                ]
                draws.append(torch.cat([piece.reshape(-1) for piece in pieces]).double())
        if not draws:
            return torch.zeros(0, self.dim, dtype=torch.float64)
        median = torch.stack(draws).median(0).values
        return median[None] if median.isfinite().all() else median[None].nan_to_num(0.0, 0.0, 0.0)

    def _why_no_start(self, flat: Tensor) -> str:
        trace = self._trace_at(flat)
        trace.compute_log_prob()
        at_fault = [
            name
            for name, node in trace.nodes.items()
            if node["type"] == "sample" and not bool(node["log_prob"].isfinite().all())
        ]
        place = (
            f"site {at_fault[0]!r} is the first at fault" if at_fault else "its gradient is not"
        )
        return (
            f"The log density of {self.model.name!r} is not finite at any of {STARTS} starting "
            f"points; {place}. Check its support, its scale, and the data it observes."
        )

    # One point at a time: what vmap carries.

    def _split(self, flat: Tensor) -> dict[str, Tensor]:
        flat = flat.to(self.model.dtype)
        return {
            piece.site: flat[piece.start : piece.stop].reshape(piece.shape)
            for piece in self.pieces
        }

    def _trace_at(self, flat: Tensor) -> Trace:
        """One run, where no `running` is around it yet."""
        with self.model.running():
            return self._run(flat)[0]

    def _run(self, flat: Tensor) -> tuple[Trace, Place]:
        place = Place(self._split(flat), self.model.free)
        model = place(self.model.enumerated(self.model.handled()))
        return poutine.trace(model).get_trace(*self.model.args, **self.model.kwargs), place

    def _log_prob_at(self, flat: Tensor) -> Tensor:
        trace, place = self._run(flat)
        return (self._log_joint(trace) + place.log_abs_det).double()

    def _log_joint(self, trace: Trace) -> Tensor:
        if not self.model.discrete:
            return torch.as_tensor(trace.log_prob_sum())
        return self._enumerator.log_prob(trace)

    @cached_property
    def _enumerator(self) -> TraceEinsumEvaluator:
        """Pyro's contraction of enumerated factors, which caches the plates of each site."""
        trace = self._trace_at(torch.zeros(self.dim, dtype=torch.float64))
        nesting = self.model.max_plate_nesting
        return TraceEinsumEvaluator(trace, has_enumerable_sites=True, max_plate_nesting=nesting)

    def _explain_at(self, flat: Tensor) -> dict[str, Tensor]:
        trace, place = self._run(flat)
        found = {
            "log_joint": self._log_joint(trace).double(),
            "log_abs_det": place.log_abs_det.double(),
        }
        if not self.model.discrete:
            trace.compute_log_prob()
        for site in self.model.sites:
            if site.name not in trace.nodes:
                continue
            node = trace.nodes[site.name]
            if site.continuous:
                found[f"value:{site.name}"] = node["value"].reshape(site.shape)
            if site.continuous:
                found[f"log_prior:{site.name}"] = node["log_prob"].sum().double()
                found[f"log_abs_det:{site.name}"] = place.by_site[site.name].double()
            if site.kind == "observed" and site.name not in self.unpointed:
                found[f"log_likelihood:{site.name}"] = self._pointwise(trace, site.name).double()
        return found

    @cached_property
    def unpointed(self) -> frozenset[str]:
        """Observed sites without a pointwise log likelihood, with a note for each."""
        if not self.model.discrete:
            return frozenset()
        if len(self.model.discrete) > MANY_ENUMERATED:
            self._notes.append(
                f"{len(self.model.discrete)} discrete sites are summed out, too many for a "
                "pointwise log likelihood, so there is none."
            )
            return frozenset(site.name for site in self.model.observed)
        shared = set()
        trace = self._trace_at(torch.zeros(self.dim, dtype=torch.float64))
        for site in self.model.observed:
            own = _plate_names(trace.nodes[site.name])
            for other in self.model.discrete:
                if not own <= _plate_names(trace.nodes[other.name]):
                    shared.add(site.name)
                    self._notes.append(
                        f"The entries of {site.name} share the discrete site {other.name}, so it "
                        "has no pointwise log likelihood."
                    )
                    break
        return frozenset(shared)

    def _pointwise(self, trace: Trace, name: str) -> Tensor:
        """The log likelihood of each entry of one observed site, discrete sites summed out."""
        node = trace.nodes[name]
        shape = self.model.site(name).shape
        batch = shape[: len(shape) - node["fn"].event_dim]
        if not self.model.discrete:
            return (
                _masked(node["unscaled_log_prob"], node["mask"])
                .expand(_padded(node))
                .reshape(batch)
            )
        involved = (*(site.name for site in self.model.discrete), name)
        packs: Any = {n: trace.nodes[n]["packed"]["unscaled_log_prob"] for n in involved}
        # A plate of one has no axis in what is packed, and contracting cannot give it one.
        long = frozenset().union(*(each._pyro_dims for each in packs.values()))
        ordering = {n: self._enumerator.ordering[n] & long for n in involved}
        terms: OrderedDict[Any, list[Tensor]] = OrderedDict()
        for other, pack in packs.items():
            terms.setdefault(ordering[other], []).append(pack)
        with shared_intermediates() as cache:
            value = contract_to_tensor(
                terms, set(self._enumerator._enum_dims), ordering[name], cache=cache
            )
        value = packed.unpack(value, trace.symbol_to_dim)
        return _masked(value, node["mask"]).reshape(batch)

    def _unconstrain_at(self, values: Mapping[str, Tensor]) -> Tensor:
        note = Unplace(values, self.model.free)
        model = note(self.model.enumerated(self.model.handled()))
        poutine.trace(model).get_trace(*self.model.args, **self.model.kwargs)
        return torch.cat([note.pieces[piece.site].reshape(-1) for piece in self.pieces])

    # Many points.

    def _over_draws(self, one: Callable[[Tensor], Any], rows: Tensor) -> Any:
        _ = self.unpointed, (self._enumerator if self.model.discrete else None), self.model.free
        if self._vectorised is None:
            self._vectorised = self._can_be_vectorised()
        if self._vectorised:
            together = torch.func.vmap(one, randomness="error", chunk_size=self._chunk(len(rows)))
            try:
                return together(rows)
            except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
                pass  # one matrix of many that cannot be factorised: find out whose
        return _stacked([self._guarded(one, row) for row in rows])

    def _guarded(self, one: Callable[[Tensor], Any], row: Tensor) -> Any:
        """One point of a looped model; where the model itself fails, the density is zero there."""
        try:
            return one(row)
        except (ValueError, RuntimeError):
            if one != self._log_prob_at:
                raise
            return row.sum() * 0 - torch.inf

    @cached_property
    def entries(self) -> int:
        """About how many numbers one evaluation at one point holds."""
        entries = sum(prod(site.shape) for site in self.model.sites) + 1
        for site in self.model.discrete:
            entries += 3 * prod(site.shape) * 10
        return entries

    @cached_property
    def work(self) -> int:
        """About how many numbers one evaluation at one point works out: `entries`, and matrices.

        A Gaussian whose covariance depends on the point has it factorised every time.
        """
        nodes = self.model.prototype.nodes
        factors = (_factor(nodes[site.name]["fn"]) for site in self.model.sites)
        return self.entries + sum(factor.numel() for factor in factors if factor is not None)

    @property
    def vectorised(self) -> bool:
        """Whether many points are carried through one run of the model."""
        if self._vectorised is None:
            self.log_prob(torch.zeros(1, self.dim, dtype=torch.float64))
        return bool(self._vectorised)

    def _chunk(self, rows: int) -> int | None:
        fits = max(1, CHUNK_ENTRIES // self.entries)
        return None if fits >= rows else fits

    def _can_be_vectorised(self) -> bool:
        """Run two points both ways and compare; the looped way is right by construction."""
        generator = torch.Generator().manual_seed(stream(0, "vectorise"))
        rows = torch.randn(2, self.dim, generator=generator, dtype=torch.float64) * 0.1
        try:
            looped = torch.stack([self._log_prob_at(row) for row in rows])
        except (ValueError, RuntimeError):
            looped = None
        try:
            together = torch.func.vmap(self._log_prob_at)(rows)
        except Exception as error:  # noqa: BLE001  any model may fail in its own way under vmap
            reason = str(error.__cause__ or error).split("\n")[0][:120]
            self._notes.append(f"The model is run draw by draw, since vmap cannot: {reason}")
            return False
        if looped is None:
            return True
        same = torch.isclose(looped, together, rtol=AGREEMENT, atol=AGREEMENT, equal_nan=True)
        if not bool(same.all()):
            self._notes.append(
                "The model is run draw by draw, since vectorised it gives another density "
                f"({together[0].item():.6g} for {looped[0].item():.6g})."
            )
        return bool(same.all())


class _Replayed(torch.autograd.Function):
    """The recorded density as one operation of autograd, differentiable once."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, density: LogDensity) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        value, gradient = density.value_and_gradient(rows)
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = ctx.saved_tensors
        return upstream[:, None] * gradient, None


class _NotePrior(poutine.messenger.Messenger):
    """Note the unconstrained value of each latent site as it is drawn from its prior."""

    def __init__(self, noted: dict[str, Tensor]) -> None:
        super().__init__()
        self.noted = noted

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"] and msg["value"] is None and hasattr(msg["fn"], "support"):
            msg["value"] = initial_value(msg["fn"])

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["is_observed"] or not hasattr(msg["fn"], "support"):
            return
        try:
            self.noted[msg["name"]] = biject_to(msg["fn"].support).inv(msg["value"])
        except NotImplementedError:
            return


def _layout(model: BoundModel) -> list[Piece]:
    """One piece per continuous latent site, in the order the model meets them."""
    pieces, start = [], 0
    for site in model.latent:
        node = model.prototype.nodes[site.name]
        if site.name in model.free:
            shape: tuple[int, ...] = (int(model.free[site.name].sum()),)
        else:
            transform = biject_to(node["fn"].support)
            # Torch's own shape arithmetic imports sympy, a third of a second.
            shape = tuple(transform.inv(node["value"]).shape)
        pieces.append(Piece(site.name, shape, start, start + prod(shape)))
        start = pieces[-1].stop
    return pieces


def _plate_names(node: Any) -> frozenset[str]:
    return frozenset(frame.name for frame in node["cond_indep_stack"] if frame.vectorized)


def _padded(node: Any) -> torch.Size:
    both = node["unscaled_log_prob"].shape, node["fn"].batch_shape
    return torch.Size(np.broadcast_shapes(*both))


def _masked(value: Tensor, mask: Any) -> Tensor:
    if mask is None or mask is True:
        return value
    return torch.where(torch.as_tensor(mask), value, torch.zeros_like(value))


def _stacked(rows: list[Any]) -> Any:
    if isinstance(rows[0], Tensor):
        return torch.stack(rows)
    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}


def _factor(distribution: Any) -> Tensor | None:
    """The Cholesky factor of a distribution's covariance; None where it has none."""
    while isinstance(distribution, torch.distributions.Independent):
        distribution = distribution.base_dist
    return getattr(distribution, "_unbroadcasted_scale_tril", None)
