"""Maps from the real numbers to the supports that torch has none for.

They are added to torch's own registry, as it is meant to be extended, so that guides that ask it
(`pyro.infer.autoguide`) have them too.
"""

from typing import Any

import torch
from jaxtyping import Float
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import Transform, biject_to
from torch.distributions.constraints import MixtureSameFamilyConstraint

from pyrovi.errors import ModelError

ENDLESS = (
    "Site {0!r} is discrete and its support cannot be listed, so it cannot be summed out. Bound "
    "it, or replace it by a continuous site."
)


class Covariances(Transform):
    """Lower triangles, row by row, to positive definite matrices, by their Cholesky factors.

    The logarithms of the factor's diagonal are free, as all else below it is. Stan's map, see
    https://mc-stan.org/docs/reference-manual/transforms.html#covariance-matrices.

    >>> matrix = torch.tensor([[4.0, 2.0], [2.0, 10.0]])
    >>> Covariances().inv(matrix).exp()
    tensor([2.0000, 2.7183, 3.0000])
    """

    domain = constraints.independent(constraints.real, 1)
    codomain = constraints.positive_definite
    bijective = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Covariances)

    __hash__ = Transform.__hash__

    def _call(self, x: Float[Tensor, "*batch entry"]) -> Float[Tensor, "*batch n n"]:
        factor = self._factor(x)
        return factor @ factor.mT

    def _inverse(self, y: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch entry"]:
        factor = torch.linalg.cholesky(y)
        row, column = _triangle(y.shape[-1])
        entries = factor[..., row, column]
        return torch.where(
            row == column, entries.clamp(min=torch.finfo(y.dtype).tiny).log(), entries
        )

    def log_abs_det_jacobian(
        self, x: Float[Tensor, "*batch entry"], y: Float[Tensor, "*batch n n"]
    ) -> Float[Tensor, "*batch"]:
        """In the entries on and below the diagonal: n log 2, and n + 2 - i of log diagonal i."""
        n = y.shape[-1]
        row, column = _triangle(n)
        powers = torch.arange(n + 1, 1, -1, dtype=x.dtype)
        return n * x.new_tensor(2.0).log() + (powers * x[..., row == column]).sum(-1)

    def forward_shape(self, shape: Any) -> torch.Size:
        """From ``(*batch, n (n + 1) / 2)`` to ``(*batch, n, n)``."""
        n = _side(shape[-1])
        return torch.Size([*shape[:-1], n, n])

    def inverse_shape(self, shape: Any) -> torch.Size:
        """From ``(*batch, n, n)`` to ``(*batch, n (n + 1) / 2)``."""
        return torch.Size([*shape[:-2], shape[-1] * (shape[-1] + 1) // 2])

    def _factor(self, x: Tensor) -> Tensor:
        n = _side(x.shape[-1])
        row, column = _triangle(n)
        entries = torch.where(row == column, x.exp(), x)
        # Put where they belong by a product, which vmap and autograd carry.
        places = torch.zeros(len(row), n * n, dtype=x.dtype)
        places[torch.arange(len(row)), row * n + column] = 1.0
        return (entries @ places).unflatten(-1, (n, n))


def _triangle(n: int) -> Tensor:
    return torch.tril_indices(n, n)


def _side(entries: int) -> int:
    """How many rows a triangle of so many entries has."""
    return round(((8 * entries + 1) ** 0.5 - 1) / 2)


@biject_to.register(constraints.positive_definite)
def _covariances(_support: Any) -> Transform:
    return Covariances()


@biject_to.register(MixtureSameFamilyConstraint)
def _of_a_component(support: Any) -> Transform:
    """That of each component, where no bound hangs on which it is."""
    component = support.base_constraint
    if any(isinstance(each, Tensor) and each.dim() for each in vars(component).values()):
        raise NotImplementedError("the bounds of the mixture's components differ")
    return biject_to(component)


def map_of(name: str, fn: Any) -> Transform:
    """From the real numbers to the support of a site's distribution.

    Raises:
        ModelError: If there is none.
    """
    try:
        return biject_to(fn.support)
    except NotImplementedError as error:
        if fn.support.is_discrete:
            raise ModelError(ENDLESS.format(name)) from error
        kind = type(fn).__name__
        raise ModelError(
            f"Site {name!r} ({kind}) cannot be fitted: no one-to-one map leads from the real "
            "numbers to its support. Make its values of sites that have one, by a strategy of "
            "pyro.infer.reparam where there is one for it, or observe it."
        ) from error
