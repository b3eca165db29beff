"""One run of a model at one flat vector: what vmap carries to many."""

from collections.abc import Mapping
from functools import cached_property

import torch
from pyro import poutine
from pyro.infer.mcmc.util import TraceEinsumEvaluator
from torch import Tensor

from pyrovi.bound import BoundModel, Place, Trace, Unplace
from pyrovi.density.layout import layout, split

__all__ = ["OnePoint"]


class OnePoint:
    """A model at one flat vector. All but `trace_alone` is called where the model is running.

    Args:
        model: The model, tied to its data.

    Attributes:
        model: The model, tied to its data.
        pieces: Where each latent site lies in the flat vector, in the model's order.
        dim: Its length.
    """

    def __init__(self, model: BoundModel) -> None:
        self.model = model
        self.pieces = layout(model)
        self.dim = self.pieces[-1].stop

    def trace(self, flat: Tensor) -> tuple[Trace, Place]:
        """One run, and where it put each site."""
        place = Place(split(self.pieces, flat, self.model.dtype), self.model.free)
        model = place(self.model.enumerated(self.model.handled()))
        return poutine.trace(model).get_trace(*self.model.args, **self.model.kwargs), place

    def trace_alone(self, flat: Tensor) -> Trace:
        """One run, where the model is not running yet."""
        with self.model.running():
            return self.trace(flat)[0]

    @cached_property
    def origin(self) -> Trace:
        """The run at the origin, which tells shapes and plates."""
        return self.trace_alone(torch.zeros(self.dim, dtype=torch.float64))

    @cached_property
    def enumerator(self) -> TraceEinsumEvaluator:
        """Pyro's contraction of enumerated factors, which caches the plates of each site."""
        nesting = self.model.max_plate_nesting
        return TraceEinsumEvaluator(
            self.origin, has_enumerable_sites=True, max_plate_nesting=nesting
        )

    def prepare(self) -> None:
        """Work out what is the same at every point, which could not be kept under vmap."""
        _ = self.model.free, (self.enumerator if self.model.discrete else None)

    def log_prob(self, flat: Tensor) -> Tensor:
        """The unconstrained log density."""
        trace, place = self.trace(flat)
        return (self.log_joint(trace) + place.log_abs_det).double()

    def log_joint(self, trace: Trace) -> Tensor:
        """The constrained log density of a run, discrete sites summed out."""
        if not self.model.discrete:
            return torch.as_tensor(trace.log_prob_sum())
        return self.enumerator.log_prob(trace)

    def flat(self, values: Mapping[str, Tensor]) -> Tensor:
        """The flat vector at which the continuous latent sites have these values."""
        note = Unplace(values, self.model.free)
        model = note(self.model.enumerated(self.model.handled()))
        poutine.trace(model).get_trace(*self.model.args, **self.model.kwargs)
        return torch.cat([note.pieces[piece.site].reshape(-1) for piece in self.pieces])
