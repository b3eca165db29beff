"""Every patch of Pyro: what is changed of it, for how long, and why.

Each holds only within a ``with`` or in a subclass or copy of ours. Three are there because Pyro
was written before `torch.func.vmap`, with which it does not promise to work
(https://github.com/pyro-ppl/pyro/issues/3093). All were tried against pyro-ppl 1.9.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import coalescent, hmm, stable
from pyro.infer import discrete
from pyro.ops import gaussian
from pyro.ops.einsum import torch_log
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.subsample_messenger import SubsampleMessenger
from torch import Tensor

from pyrovi.bound import batched
from pyrovi.bound.batched import SafeLog


def plates(rows: Mapping[str, Tensor | None], *, whole: bool) -> AbstractContextManager[None]:
    """Within this, plates that subsample take the rows that a fit needs.

    Pyro offers no handler for it: the size is fixed before a message is sent.

    Args:
        rows: Of plates that the model itself gives rows: those, if they are the same in each run,
            or else None, for all. A guide has them too, for which Pyro would draw others
            (https://github.com/pyro-ppl/pyro/issues/3468).
        whole: Whether a plate of which Pyro draws a random subset takes all of them instead.
    """
    original = SubsampleMessenger._subsample

    def own(name: str, size: Any, subsample_size: Any, subsample: Any, *device: Any) -> Any:
        same = rows.get(name)
        if same is not None:
            return original(name, size, len(same), same, *device)[0], len(same), same
        if name in rows or (whole and subsample is None):
            return original(name, size, None, None, *device)
        return original(name, size, subsample_size, subsample, *device)

    return _replaced(SubsampleMessenger, "_subsample", staticmethod(own))


def vmappable_contraction() -> AbstractContextManager[None]:
    """Within this, Pyro contracts enumerated factors with a ``safe_log`` that vmap can carry."""
    return _replaced(torch_log, "safe_log", SafeLog.apply)


def made_for_many() -> AbstractContextManager[None]:
    """Within this, what a model is made of can be carried to many points in one run.

    Distributions that vmap cannot carry have densities of our own, see `batched`. A matrix that
    cannot be factorised becomes NaN and raises nothing: it would fail all points, not one.
    """
    return _all_replaced(*_FOR_MANY)


def drawn_for_many() -> AbstractContextManager[None]:
    """Within this, Dirichlets and enumerated sites can be drawn for many points in one run."""
    return _all_replaced(
        (torch.distributions.Dirichlet, "rsample", _drawn_dirichlet),
        (discrete, "EnumMessenger", Enumerate),
    )


def _drawn_dirichlet(self: Any, sample_shape: Any = ()) -> Tensor:
    """Without its gradient, whose function vmap cannot carry."""
    shape = self._extended_shape(sample_shape)
    return torch._sample_dirichlet(self.concentration.expand(shape))  # pyright: ignore[reportPrivateImportUsage]


def _cholesky(matrix: Tensor, *, upper: bool = False) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(matrix, upper=upper)
    return torch.where(info[..., None, None] == 0, factor, torch.nan)


def _inv(matrix: Tensor) -> Tensor:
    inverse, info = torch.linalg.inv_ex(matrix)
    return torch.where(info[..., None, None] == 0, inverse, torch.nan)


def _solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    solution, info = torch.linalg.solve_ex(A, B, left=left)
    of_vectors = B.dim() == 1 or B.shape == A.shape[:-1]
    return torch.where(info[(..., *(None,) * (2 - of_vectors))] == 0, solution, torch.nan)


_FOR_MANY = (
    (torch.linalg, "cholesky", _cholesky),
    (torch.linalg, "inv", _inv),
    (torch.linalg, "solve", _solve),
    (torch.distributions.Multinomial, "log_prob", batched.multinomial),
    (dist.OrderedLogistic, "__init__", batched.ordered_logistic),
    (dist.NanMaskedNormal, "log_prob", batched.nan_masked_normal),
    (dist.NanMaskedMultivariateNormal, "log_prob", batched.nan_masked_multivariate_normal),
    (dist.SineSkewed, "__init__", batched.sine_skewed),
    (stable, "_stable_log_prob", batched.stable_density),
    (hmm, "safe_log", SafeLog.apply),
    (coalescent, "safe_log", SafeLog.apply),
    (hmm, "safe_cholesky", batched.safe_cholesky),
    (gaussian, "safe_cholesky", batched.safe_cholesky),
)


def _replaced(owner: Any, name: str, by: Any) -> AbstractContextManager[None]:
    return _all_replaced((owner, name, by))


@contextlib.contextmanager
def _all_replaced(*replacements: tuple[Any, str, Any]) -> Iterator[None]:
    originals = [(owner, name, vars(owner)[name]) for owner, name, _ in replacements]
    try:
        for owner, name, by in replacements:
            setattr(owner, name, by)
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


class Enumerate(EnumMessenger):
    """Pyro's parallel enumeration, without the ``.data`` that a batched tensor refuses."""

    def _pyro_post_sample(self, msg: Any) -> None:
        value = msg["value"]
        if not isinstance(value, Tensor):
            return super()._pyro_post_sample(msg)
        msg["value"] = SimpleNamespace(data=value, dim=value.dim)  # all that it asks for
        try:
            super()._pyro_post_sample(msg)
        finally:
            msg["value"] = value
