"""One run of a model at one flat vector, and whether vmap carries many through one run."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to

from pyrovi.bound import (
    AllSeenError,
    BoundModel,
    Fix,
    NotePieces,
    Place,
    Trace,
    Until,
    innermost,
)
from pyrovi.density.contraction import Contraction, NotAPathError
from pyrovi.density.idioms import ApartError, why_draw_by_draw
from pyrovi.density.vectorise import FAILS_AT_A_POINT, Carrier
from pyrovi.seeds import stream

AGREEMENT = 1e-6  # relative; between the vectorised and the looped value


@dataclass(frozen=True)
class Piece:
    """Where one latent site lies in the flat vector: from ``start`` to before ``stop``."""

    site: str
    shape: tuple[int, ...]  # of its unconstrained piece
    start: int
    stop: int


class OnePoint:
    """A model at one flat vector; `trace_alone` is for where the model is not running yet."""

    def __init__(self, model: BoundModel) -> None:
        self.model = model
        self.carrier = Carrier(random=None in model.rows.values())
        self.pieces = tuple(_layout(model))
        self.dim = self.pieces[-1].stop

    def trace(self, flat: Tensor, held: frozenset[str] = frozenset()) -> tuple[Trace, Place]:
        """One run, and where it put each site; ``held`` sites are not differentiated."""
        place = self._place(flat, held)
        return self.model.traced(place(self._enumerated())), place

    def _place(self, flat: Tensor, held: frozenset[str] = frozenset()) -> Place:
        flat = flat.to(self.model.dtype)
        pieces = {p.site: flat[p.start : p.stop].reshape(p.shape) for p in self.pieces}
        pieces |= {site: pieces[site].detach() for site in held}
        return Place(pieces, self.model.free)

    def _enumerated(self) -> Callable[..., Any]:
        return self.model.enumerated(self.model.handled())

    def trace_alone(self, flat: Tensor) -> Trace:
        with self.model.running():
            return self.trace(flat)[0]

    @cached_property
    def origin(self) -> Trace:
        """The run at the origin, which tells shapes and plates."""
        return self.trace_alone(torch.zeros(self.dim, dtype=torch.float64))

    @cached_property
    def enumerator(self) -> Contraction:
        """The contraction of enumerated factors, which caches the plates of each site."""
        nesting = self.model.max_plate_nesting
        return Contraction(self.origin, has_enumerable_sites=True, max_plate_nesting=nesting)

    def prepare(self) -> None:
        """Work out what is the same at every point, which could not be kept under vmap."""
        _ = self.model.free, (self.enumerator if self.model.discrete else None)

    def log_prob(self, flat: Tensor, held: frozenset[str] = frozenset()) -> Tensor:
        """The unconstrained log density; ``held`` sites are not differentiated."""
        trace, place = self.trace(flat, held)
        return (self.log_joint(trace) + place.log_abs_det).double()

    def log_joint(self, trace: Trace) -> Tensor:
        """The constrained log density of a run, discrete sites summed out."""
        if not self.model.discrete:
            return torch.as_tensor(trace.log_prob_sum())
        return self.enumerator.log_prob(trace)

    def chain_draw(self, flat: Tensor) -> dict[str, Tensor]:
        """The discrete sites, a long chain, drawn given the data.

        Raises:
            NotAPathError: If they are no path.
        """
        trace, _ = self.trace(flat)
        states = self.enumerator.chain_draw(trace)
        if states is None or not states.keys() >= {site.name for site in self.model.discrete}:
            raise NotAPathError
        return {name: self._counted(trace.nodes[name], at) for name, at in states.items()}

    def _counted(self, node: Any, at: Tensor) -> Tensor:
        """The values of a discrete site, by their places in its support."""
        fn = innermost(node["fn"])
        support = fn.enumerate_support(expand=False)
        values = support.reshape(len(support), *fn.event_shape)
        return values[at.reshape(-1)].reshape(self.model.site(node["name"]).shape)

    def values(self, flat: Tensor) -> dict[str, Tensor]:
        """The value of each continuous latent site, by a run that ends at the last of them."""
        until = Until([piece.site for piece in self.pieces])
        with contextlib.suppress(AllSeenError):
            self.model.traced(until(self._place(flat)(self._enumerated())))
        return {n: v.reshape(self.model.site(n).shape) for n, v in until.values.items()}

    def flat(self, values: Mapping[str, Tensor]) -> Tensor:
        """The flat vector at which the continuous latent sites have these values."""
        return self.noted(Fix(values)(self._enumerated()))

    def noted(self, runnable: Callable[..., Any]) -> Tensor:
        """The flat vector of the values that the continuous latent sites have in a run."""
        note, until = NotePieces(self.model.free), Until([piece.site for piece in self.pieces])
        with contextlib.suppress(AllSeenError):
            self.model.traced(note(until(runnable)))
        return torch.cat([note.pieces[piece.site].reshape(-1) for piece in self.pieces])

    def why_not_vectorised(self) -> str | None:
        """Why points must be run one by one; None where they need not.

        Two points are run both ways and compared; the looped way is right by construction.
        """
        rows, looped = self._two_points()
        try:
            together = self._carried(rows)
        except Exception as error:  # noqa: BLE001  any model may fail in its own way under vmap
            return why_draw_by_draw(error)
        agreement = {"rtol": AGREEMENT, "atol": AGREEMENT, "equal_nan": True}
        if looped is None or torch.allclose(looped, together, **agreement):
            return None
        return (
            "The model is run draw by draw, since vectorised it gives another density "
            f"({together[0].item():.6g} for {looped[0].item():.6g})."
        )

    def _carried(self, rows: Tensor) -> Tensor:
        """The density at each point in one run, with as little help as the model can do with."""
        try:
            return self.carrier.in_one_run(self.log_prob, rows)
        except Exception:  # noqa: BLE001
            self.carrier.helps = True
        try:
            return self.carrier.in_one_run(self.log_prob, rows)
        except ApartError:
            return torch.cat([self.carrier.in_one_run(self.log_prob, row[None]) for row in rows])

    def _two_points(self) -> tuple[Tensor, Tensor | None]:
        """Two points at which the model works, if there are such, and its density there, looped.

        None where it fails by itself, which says nothing of the two ways.
        """
        generator = torch.Generator().manual_seed(stream(0, "vectorise"))
        near_origin = torch.randn(2, self.dim, generator=generator, dtype=torch.float64) * 0.1
        looped = self._looped(near_origin)
        if looped is None or not looped.isfinite().all():
            near_prior = self._drawn_from_the_prior() + near_origin / 10
            elsewhere = self._looped(near_prior)
            if elsewhere is not None and elsewhere.isfinite().all():
                return near_prior, elsewhere
        return near_origin, looped

    def _looped(self, rows: Tensor) -> Tensor | None:
        try:
            return torch.stack([self.log_prob(row) for row in rows])
        except FAILS_AT_A_POINT:
            return None

    def _drawn_from_the_prior(self) -> Tensor:
        """A flat vector at which the model was run once; the origin if it has none."""
        nodes = self.model.prototype.nodes
        try:
            return self.flat({p.site: nodes[p.site]["value"] for p in self.pieces}).double()
        except FAILS_AT_A_POINT:
            return torch.zeros(self.dim, dtype=torch.float64)


def _layout(model: BoundModel) -> Iterator[Piece]:
    """One piece per continuous latent site, in the order the model meets them."""
    start = 0
    for site in model.latent:
        node = model.prototype.nodes[site.name]
        if site.name in model.free:
            shape: tuple[int, ...] = (int(model.free[site.name].sum()),)
        else:
            # Torch's own shape arithmetic imports sympy, a third of a second.
            shape = tuple(biject_to(node["fn"].support).inv(node["value"]).shape)
        yield Piece(site.name, shape, start, start + prod(shape))
        start += prod(shape)
