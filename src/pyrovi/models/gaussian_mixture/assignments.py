r"""The mixture's assignments: one pass over the data, block by block.

The assignments touch the other coordinates through a few sums alone: how many observations a
component has, the sum of them and the sum of their squares. One pass makes a block of
responsibilities and adds it to those sums, so that the n by K matrix of them is never held.

The log density of a Gaussian is linear in the features :math:`(x x^T, x, 1)`. So the logits of a
block are one product of matrices, and the sums another. Squares cancel where a component lies many
of its own widths from the origin; the data are centred first, which leaves a relative error of
about 1e-16 times the square of that distance in widths.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK_ENTRIES = 300_000  # float64 numbers: a block's features and logits stay in the cache
BLOCK_LENGTHS = 512, 16384


@dataclass(frozen=True)
class Moments:
    """What the other coordinates see of the assignments: sums over the observations.

    Attributes:
        count: How many observations each component has.
        first: Their sum, about the mean of all data.
        second: The sum of their outer products, likewise; None where no update needs it.
    """

    count: Float[Tensor, "component"]
    first: Float[Tensor, "component dimension"]
    second: Float[Tensor, "component dimension dimension"] | None = None


@dataclass(frozen=True)
class Block:
    """A part of the data that stays in the cache."""

    place: slice
    x: Tensor
    products: Tensor | None  # of each pair of dimensions, the first not above the second


@dataclass(frozen=True)
class Data:
    """The data about their mean, and the buffers that a pass over them works in."""

    x: Float[Tensor, "dimension observation"]  # so that a dimension lies in one piece
    centre: Float[Tensor, "dimension"]
    components: int
    _buffers: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def of(y: Float[Tensor, "observation dimension"], components: int) -> "Data":
        y = y.detach().double()
        centre = y.mean(0)
        return Data((y - centre).T.contiguous(), centre, components)

    def blocks(self, *, squares: bool) -> Iterator[Block]:
        """The data block by block; all blocks' products lie in one buffer."""
        length, count = self._length, self.x.shape[1]
        if squares and count <= length:
            yield self._only_block
            return
        for start in range(0, count, length):
            part = self.x[:, start : start + length]
            products = self._products(part) if squares else None
            yield Block(slice(start, start + length), part, products)

    def buffer(self, name: str, rows: int, length: int) -> Tensor:
        """Space for the numbers of one block, the same for every block of the same length."""
        key = f"{name} {rows} {length}"
        if key not in self._buffers:
            self._buffers[key] = self.x.new_empty(rows, length)
        return self._buffers[key]

    @cached_property
    def _length(self) -> int:
        """How many observations make a block."""
        columns = len(self.x) * (len(self.x) + 3) // 2 + self.components
        low, high = BLOCK_LENGTHS
        return min(max(low, BLOCK_ENTRIES // columns), high)

    @cached_property
    def _only_block(self) -> Block:
        """All of the data, where one block holds them: the products are formed once."""
        return Block(slice(0, self.x.shape[1]), self.x, self._products(self.x))

    def _products(self, part: Tensor) -> Tensor:
        dimensions, length = part.shape
        products = self.buffer("products", dimensions * (dimensions + 1) // 2, length)
        row = 0
        for i in range(dimensions):
            torch.mul(part[i:], part[i], out=products[row : row + dimensions - i])
            row += dimensions - i
        return products


@dataclass
class Total:
    """Sums over observations, as they grow.

    Attributes:
        sums: Of the responsibilities, and of them times each value and, if asked, each product.
        log_normaliser: Of the logs of the normalisers.
    """

    sums: list[Tensor] = field(default_factory=list)
    log_normaliser: float = 0.0

    def add(self, block: Block, responsibilities: Tensor) -> None:
        more = [responsibilities.sum(1), responsibilities @ block.x.T]
        if block.products is not None:
            more.append(responsibilities @ block.products.T)
        self.sums = [a + b for a, b in zip(self.sums, more, strict=True)] if self.sums else more

    def moments(self) -> Moments:
        count, first, *products = self.sums
        back = _pairs(first.shape[1])[0]
        return Moments(count, first, *(each[:, back] for each in products))


@lru_cache
def _pairs(dimensions: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of a symmetric matrix: each entry's index among the pairs, and each pair's among entries.

    The third is what a pair counts in the logit: minus a half for a square, minus one for others.
    """
    rows, columns = torch.triu_indices(dimensions, dimensions)
    back = torch.zeros(dimensions, dimensions, dtype=torch.int64)
    back[rows, columns] = back[columns, rows] = torch.arange(len(rows))
    often = torch.where(rows == columns, -0.5, -1.0).double()
    return back, rows * dimensions + columns, often


def moments_of(data: Data, responsibilities: Float[Tensor, "component observation"]) -> Moments:
    """The sums that belong to given responsibilities."""
    total = Total()
    for block in data.blocks(squares=True):
        total.add(block, responsibilities[:, block.place])
    return total.moments()


@dataclass(frozen=True)
class Assignments:
    r"""Every observation's component, given linear and quadratic forms: equations 2.32 to 2.35.

    The logit of component k at x is
    :math:`b_k + a_k \cdot x - \tfrac12 x^T \Lambda_k x`, with the ``constant`` b, ``linear`` a
    and ``precision`` :math:`\Lambda` (None where it is the same for all); what all components
    share is left out. It has no continuous site, and the other factors make it again.
    """

    data: Data
    constant: Float[Tensor, "component"]
    linear: Float[Tensor, "component dimension"]
    precision: Float[Tensor, "component dimension dimension"] | None = None

    def expected(self) -> Moments:
        return self._pass.moments()

    def entropy(self) -> float:
        r"""The sum over i and k of :math:`-\varphi_{ik} \log \varphi_{ik}`.

        Each log is a logit less its normaliser, and the logits' share is linear in the sums.
        """
        total = self._pass
        forms = (self.constant, self.linear, self._of_products)[: len(total.sums)]
        pairs = zip(forms, total.sums, strict=True)
        return total.log_normaliser - sum(float((form * each).sum()) for form, each in pairs)

    def sample(self, generator: torch.Generator) -> tuple[dict[str, Tensor], Moments]:
        """The sums of one draw of all assignments; the assignments themselves are not kept."""
        total = Total()
        for block, weights in self._responsibilities():
            cumulated = weights.cumsum(0)
            place = torch.rand(weights.shape[1], generator=generator, dtype=torch.float64)
            chosen = (place * cumulated[-1] >= cumulated[:-1]).sum(0)
            total.add(block, torch.zeros_like(weights).scatter_(0, chosen[None], 1.0))
        return {}, total.moments()

    def responsibilities(self) -> Float[Tensor, "observation component"]:
        r"""The probabilities :math:`\varphi_{ik}`, in full."""
        return torch.cat([weights.T.clone() for _, weights in self._responsibilities()])

    def draw(self, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {}

    def log_prob(self, values: Mapping[str, Tensor]) -> Tensor:
        return torch.zeros(0, dtype=torch.float64)

    def tensors(self) -> dict[str, Tensor]:
        return {}

    @cached_property
    def _of_products(self) -> Tensor:
        """What each product of two dimensions counts in the logit."""
        if self.precision is None:
            return self.linear.new_zeros(len(self.constant), 0)
        _, place, often = _pairs(self.linear.shape[1])
        return self.precision.flatten(1)[:, place] * often

    @cached_property
    def _pass(self) -> Total:
        total = Total()
        for block, weights in self._responsibilities(total):
            total.add(block, weights)
        return total

    def _responsibilities(self, total: Total | None = None) -> Iterator[tuple[Block, Tensor]]:
        """Each block's responsibilities, in one buffer; the normalisers are added to ``total``."""
        constant, components = self.constant[:, None], len(self.constant)
        for block in self.data.blocks(squares=self.precision is not None):
            logits = self.data.buffer("logits", components, block.x.shape[1])
            torch.addmm(constant, self.linear, block.x, out=logits)
            if block.products is not None:
                logits.addmm_(self._of_products, block.products)
            largest = logits.amax(0)
            weights = logits.sub_(largest).exp_()
            normaliser = weights.sum(0)
            weights.div_(normaliser)
            if total is not None:
                total.log_normaliser += float(largest.add_(normaliser.log_()).sum())
            yield block, weights
