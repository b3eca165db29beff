"""Pyro handlers: each changes one thing about a run of a model, or notes one."""

import contextlib
from collections.abc import Collection, Mapping
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Bernoulli, biject_to

from pyrovi.bound.partly_seen import PartlySeen
from pyrovi.bound.sites import batch_shape, innermost, value_shape
from pyrovi.bound.supports import map_of


class Place(Messenger):
    """Put each continuous latent site where a flat unconstrained piece says.

    The map from the flat piece is taken from the distribution as it is met, so a support that
    depends on another latent site is right too. Of a site in ``free`` only some entries are
    latent. After a run, ``by_site`` has the log absolute Jacobian determinant of each map.
    """

    def __init__(self, pieces: Mapping[str, Tensor], free: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.pieces, self.free = pieces, free
        self.by_site: dict[str, Tensor] = {}

    @property
    def log_abs_det(self) -> Tensor:
        """The log absolute Jacobian determinant of the whole map, after a run."""
        return torch.stack(list(self.by_site.values())).sum()

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] not in self.pieces or msg["is_observed"]:
            return
        piece, free = self.pieces[msg["name"]], self.free.get(msg["name"])
        transform = biject_to(msg["fn"].support)
        if free is not None:
            piece = torch.zeros(free.shape).index_put(free.nonzero(as_tuple=True), piece)
        value = transform(piece)
        terms = transform.log_abs_det_jacobian(piece, value)
        self.by_site[msg["name"]] = (terms if free is None else terms * free).sum()
        msg["value"] = value


class AllSeenError(Exception):
    """What `Until` ends a run with."""


class Until(Messenger):
    """Note the values of some sites, and end the run with `AllSeenError` once all were met."""

    def __init__(self, sites: Collection[str]) -> None:
        super().__init__()
        self.sites = frozenset(sites)
        self.values: dict[str, Tensor] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.sites:
            self.values[msg["name"]] = msg["value"]
            if len(self.values) == len(self.sites):
                raise AllSeenError


class BySite(Messenger):
    """A handler that is given tensors by site."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values


class Fix(BySite):
    """Give latent sites their values, and leave them latent."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"] = self.values[msg["name"]]


class Give(BySite):
    """Give observed sites other values."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and msg["is_observed"]:
            msg["value"] = self.values[msg["name"]]


class Widen(Messenger):
    """Let a site that observes more values than its distribution has be drawn as many times."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] and isinstance(msg["value"], Tensor) and not site_is_subsample(msg):
            msg["fn"] = widened(msg["fn"], msg["value"])


def widened(fn: Any, value: Tensor) -> Any:
    """A distribution that has as many values as were observed of it."""
    batch = value.shape[: value.dim() - fn.event_dim]
    if batch.numel() <= batch_shape(fn).numel():
        return fn
    return fn.expand(torch.broadcast_shapes(batch, batch_shape(fn)))


class Bounded(Messenger):
    """Fail where a site's value is larger than so many draws of it.

    Where an axis of draws meets another of its own, one appears at every step of a loop.
    """

    def __init__(self, draws: int, entries: Mapping[str, int]) -> None:
        super().__init__()
        self.draws, self.entries = draws, entries

    def _pyro_post_sample(self, msg: Any) -> None:
        value, entries = msg["value"], self.entries.get(msg["name"])
        if entries is not None and value.numel() > self.draws * entries:
            raise ValueError(f"site {msg['name']!r} is larger than {self.draws} draws of it")


class Predict(Messenger):
    """Draw observed sites anew, but leave deterministic ones, and those of ``kept``.

    Pyro's ``uncondition`` draws these too, and one inside a plate then gets its axis twice.
    """

    def __init__(self, kept: Collection[str] = ()) -> None:
        super().__init__()
        self.kept = frozenset(kept)

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.kept:
            return
        if msg["is_observed"] and not msg["infer"].get("_deterministic"):
            msg["is_observed"] = False
            msg["value"] = None


class Cast(Messenger):
    """Give values the dtype that the model computes in.

    Latent ones whatever their priors are made of; of observed ones booleans, and what is observed
    by a Bernoulli, since torch's takes no others than floats.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def _pyro_sample(self, msg: Any) -> None:
        value = msg["value"]
        if not (msg["is_observed"] and isinstance(value, Tensor)) or value.is_floating_point():
            return
        if value.dtype is torch.bool or isinstance(innermost(msg["fn"]), Bernoulli):
            msg["value"] = value.to(self.dtype)

    def _pyro_post_sample(self, msg: Any) -> None:
        value = msg["value"]
        if not msg["is_observed"] and isinstance(value, Tensor) and value.is_floating_point():
            msg["value"] = value.to(self.dtype)


class Missing(BySite):
    """Leave masked entries of an observed site, True in its tensor, out of the likelihood."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and msg["is_observed"]:
            seen = ~self.values[msg["name"]]
            if msg["fn"].event_dim:
                msg["fn"] = PartlySeen(msg["fn"], seen)
                seen = seen.flatten(-msg["fn"].event_dim).any(-1)
            msg["mask"] = seen if msg["mask"] is None else msg["mask"] & seen


class Fill(BySite):
    """Put an event of its tensor where a site observes NaN, which a mask of the model hides."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and msg["is_observed"]:
            value, gaps = msg["value"], msg["value"].isnan()
            for axis in range(-msg["fn"].event_dim, 0):
                gaps = gaps.any(axis, keepdim=True)
            msg["value"] = torch.where(gaps, self.values[msg["name"]], value)


class InitialValues(Messenger):
    """Give a site that cannot be drawn from (an improper prior) a value inside its support."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or msg["value"] is not None or site_is_subsample(msg):
            return
        fn = msg["fn"]
        try:
            msg["value"] = fn()
        except NotImplementedError:
            transform = map_of(msg["name"], fn)
            shape = transform.inverse_shape(value_shape(fn))
            msg["value"] = transform(torch.zeros(shape))


class NotePieces(Messenger):
    """The reverse of `Place`: note the flat unconstrained piece of each latent value."""

    def __init__(self, free: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.free = free
        self.pieces: dict[str, Tensor] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["is_observed"] or site_is_subsample(msg):
            return
        with contextlib.suppress(NotImplementedError):  # a discrete site has no such piece
            piece = biject_to(msg["fn"].support).inv(msg["value"])
            free = self.free.get(msg["name"])
            self.pieces[msg["name"]] = piece if free is None else piece[free]
