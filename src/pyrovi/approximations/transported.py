"""A standard normal vector, bent by a triangular map, turned and shifted: it has skew and bananas.

Reference: El Moselhy and Marzouk (2012), https://doi.org/10.1016/j.jcp.2012.07.022, on triangular
maps; Jones and Pewsey (2009), https://doi.org/10.1093/biomet/asp053, on the sinh-arcsinh
transform, which gives an entry skew and tails of its own.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyrovi.approximations.base import Approximation, Draws, log_normal

CONSTANT = -1  # in place of the last factor of a term that is linear
AT_ONCE = 4_000_000  # numbers that are worked out together


@dataclass(frozen=True)
class TriangularMap:
    """Bends each entry of a vector by itself and by those before it.

    The bent entries are

        u_i = shift_i + sum of terms + exp(log_scale_i + sum of terms) S(z_i; skew_i, tail_i),

    where ``S(z; e, t) = (sinh(exp(t) (asinh(z) + e)) - sinh(exp(t) e)) / (exp(t) cosh(exp(t) e))``
    has the value zero and the slope one at zero. A term is a coefficient times ``z_j z_k``, less
    its mean. With no terms, no skew and no tail it is the identity.

    Attributes:
        dim: How many entries.
        terms: What each term is of, ``(i, j, k)``: with ``i > j >= k`` it shifts entry ``i``, with
            ``k`` minus one for ``z_j`` alone; ``(i, i, k)`` scales it by ``exp(coefficient z_k)``.
    """

    dim: int
    terms: Int[Tensor, "term 3"]

    @property
    def identity(self) -> Float[Tensor, "parameter"]:
        """The parameters of the identity."""
        return torch.zeros(4 * self.dim + len(self.terms), dtype=torch.float64)

    @cached_property
    def units(self) -> Float[Tensor, "parameter"]:
        """Lengths in which the curvature of minus a bound is about one near the identity."""
        of_each = torch.tensor([1.0, 0.5**0.5, 1.0, 1.0], dtype=torch.float64)
        squares = self.terms[:, 1] == self.terms[:, 2]
        of_terms = torch.where(self._scales | squares, 0.5**0.5, 1.0).double()
        return torch.cat([of_each.repeat_interleave(self.dim), of_terms])

    def __call__(
        self, parameters: Float[Tensor, "parameter"], noise: Float[Tensor, "draw dim"]
    ) -> tuple[Float[Tensor, "draw dim"], Float[Tensor, "draw"]]:
        """The bent rows, and the log determinant of the map's derivative at each."""
        sizes = [self.dim] * 4 + [len(self.terms)]
        shift, log_scale, skew, tail, coefficients = parameters.split(sizes)
        own, log_slope = sinh_arcsinh(noise, skew, tail)
        shifting, scaling = self._matrices(coefficients)
        log_scale = log_scale + noise @ scaling
        bent = shift + self._products(noise) @ shifting + log_scale.exp() * own
        return bent, (log_scale + log_slope).sum(-1)

    def _products(self, noise: Tensor) -> Tensor:
        """What shifts, each product once: ``(draw, product)``."""
        first, second = self._pairs[0]
        last = torch.cat([noise, torch.ones_like(noise[:, :1])], dim=1)[:, second]
        return noise[:, first] * last - (first == second).double()

    def _matrices(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """The coefficients of products that shift, and of entries that scale, by entry."""
        (pairs, place), (entry, _, last), scales = self._pairs, self.terms.T, self._scales
        shifting = coefficients.new_zeros(pairs.shape[1], self.dim)
        scaling = coefficients.new_zeros(self.dim, self.dim)
        return (
            shifting.index_put((place, entry[~scales]), coefficients[~scales]),
            scaling.index_put((last[scales], entry[scales]), coefficients[scales]),
        )

    @cached_property
    def _pairs(self) -> tuple[Tensor, Tensor]:
        """What is multiplied in terms that shift, each pair once; and the pair of each term."""
        shifts = self.terms[~self._scales, 1:]
        pairs, place = torch.unique(shifts, dim=0, return_inverse=True)
        return pairs.T, place

    @cached_property
    def _scales(self) -> Tensor:
        return self.terms[:, 0] == self.terms[:, 1]


def sinh_arcsinh(
    noise: Float[Tensor, "*draw dim"], skew: Float[Tensor, "dim"], tail: Float[Tensor, "dim"]
) -> tuple[Float[Tensor, "*draw dim"], Float[Tensor, "*draw dim"]]:
    """Numbers with skew, and tails heavier than they were if ``tail`` is positive; log slopes.

    >>> x = torch.tensor([[-1.0], [0.0], [2.0]])
    >>> sinh_arcsinh(x, skew=torch.zeros(1), tail=torch.zeros(1))[0].T
    tensor([[-1.,  0.,  2.]])
    """
    power = tail.exp()
    middle, inner = power * skew, power * (noise.asinh() + skew)
    log_middle_slope = tail + middle.cosh().log()
    own = (inner.sinh() - middle.sinh()) * (-log_middle_slope).exp()
    return own, tail + inner.cosh().log() - 0.5 * noise.square().log1p() - log_middle_slope


@dataclass(frozen=True)
class Transported(Approximation):
    """A standard normal vector, bent by a triangular map, turned and shifted: of `TransportMap`.

    Attributes:
        loc: What is added to the bent and turned vector.
        turn: The matrix by which the bent vector is turned.
        terms: The terms of the map, as in `TriangularMap`.
        parameters: The parameters of the map.
    """

    loc: Float[Tensor, "dim"]
    turn: Float[Tensor, "dim dim"]
    terms: Int[Tensor, "term 3"]
    parameters: Float[Tensor, "parameter"]
    kind: ClassVar[str] = "transported"

    @cached_property
    def map(self) -> TriangularMap:
        """What bends the vector."""
        return TriangularMap(len(self.loc), self.terms)

    def placed(
        self, parameters: Float[Tensor, "parameter"], noise: Float[Tensor, "draw dim"]
    ) -> tuple[Float[Tensor, "draw dim"], Float[Tensor, "draw"]]:
        """Flat vectors by other parameters, and the log determinant of the way there."""
        bent, log_stretch = self.map(parameters, noise)
        # Laid out as a file will give it back: the product rounds by the layout.
        flat = self.loc + bent @ self.turn.contiguous().T
        return flat, log_stretch + torch.linalg.slogdet(self.turn)[1]

    def draw(self, draws: int, seed: int) -> Draws:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(draws, len(self.loc), generator=generator, dtype=torch.float64)
        parts = noise.split(max(1, AT_ONCE // len(self.parameters)))
        placed = [self.placed(self.parameters, part) for part in parts]
        flat, log_stretch = (torch.cat(each) for each in zip(*placed, strict=True))
        return Draws(flat, log_normal(noise).sum(-1) - log_stretch)
