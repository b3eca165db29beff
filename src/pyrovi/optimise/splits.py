"""Which few entries make the shape of a posterior, and how the rest hangs together.

The few are entries of small sites: those that are bounded (scales, probabilities, correlations),
and those of the real line that scale the prior of another site, as the logarithm of a scale does.
The rest is split into blocks and a border by what its second derivatives leave at zero.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.distributions import constraints

from pyrovi.approximations import Split
from pyrovi.density import LogDensity
from pyrovi.seeds import stream

MOST_FEW = 8
MOST_ALONE = 12  # entries that are all few, where there is no rest
SMALL_SITE = 8  # entries; larger ones are of the rest
MOST_BORDER = 40  # entries, each of which costs one more product for every curvature
MOST_DENSE = 64  # entries of a rest without blocks
PATTERN_DIM = 600  # above, blocks are those of a plate
LARGEST_BLOCK = 4
AWAY = 0.25  # from the start, so that what changes is seen
SAME = 1e-9  # relative; of two curvatures that are one


def split_of(density: LogDensity, start: Float[Tensor, "dim"], seed: int) -> Split | None:
    """The few and the rest; None where there are no few, or too many, or no blocks."""
    if density.dim <= MOST_FEW:
        return all_few(density)
    split = _by_shape(density, start, seed)
    return all_few(density) if split is None and density.dim <= MOST_ALONE else split


def all_few(density: LogDensity) -> Split:
    """All entries are few, and there is no rest."""
    everything = torch.arange(density.dim)
    nothing = everything[:0]
    return Split(everything, nothing, nothing.reshape(0, 0))


def _by_shape(density: LogDensity, start: Float[Tensor, "dim"], seed: int) -> Split | None:
    """The few that make the shape, and the rest given them."""
    shape = small_entries(density) & (bounded_entries(density) | scaling_entries(density, start))
    if not bool(shape.any()):
        shape = bending_entries(density, start, seed)
    few = torch.nonzero(shape).flatten()
    if not 0 < len(few) <= MOST_FEW:
        return None
    return split_by(density, start, few, seed)


def split_by(
    density: LogDensity, start: Float[Tensor, "dim"], few: Int[Tensor, "few"], seed: int
) -> Split | None:
    """The rest of given few, in blocks where it has them; None where it is too large without."""
    taken = torch.zeros(density.dim, dtype=torch.bool)
    taken[few] = True
    rest = torch.nonzero(~taken).flatten()
    nothing = rest[:0].reshape(0, 0)
    if density.dim <= PATTERN_DIM:
        border, blocks = _by_pattern(_pattern(density, start, seed)[rest][:, rest])
        border, blocks = rest[border], rest[blocks] if blocks.numel() else nothing
    else:
        border, blocks = _by_plate(density, rest)
    if len(border) > (MOST_BORDER if blocks.numel() else MOST_DENSE):
        return None
    split = Split(few, border, blocks, _is_gaussian(density, start, rest, seed))
    return split if density.dim <= PATTERN_DIM or _holds(density, split, start, seed) else None


def bounded_entries(density: LogDensity) -> Bool[Tensor, "dim"]:
    """Which entries are of sites that are not of the whole real line."""
    nodes = density.model.prototype.nodes
    bounded = torch.zeros(density.dim, dtype=torch.bool)
    for piece in density.pieces:
        support = nodes[piece.site]["fn"].support
        while hasattr(support, "base_constraint"):
            support = support.base_constraint
        bounded[piece.start : piece.stop] = support is not constraints.real
    return bounded


def scaling_entries(density: LogDensity, start: Float[Tensor, "dim"]) -> Bool[Tensor, "dim"]:
    """Which entries the curvature of another site's prior depends on."""
    flat = (start + AWAY).requires_grad_()
    scaling = torch.zeros(density.dim, dtype=torch.bool)
    priors = density.log_priors(flat)
    for piece in density.pieces:
        own = torch.zeros_like(flat)
        own[piece.start : piece.stop] = 1.0
        curvature = _along(_along(priors[piece.site], flat, own), flat, own)
        scaling |= (_gradient(curvature, flat) != 0) & (own == 0)
    return scaling


def bending_entries(
    density: LogDensity, start: Float[Tensor, "dim"], seed: int
) -> Bool[Tensor, "dim"]:
    """Which sites of one entry the curvature of the larger ones depends on, all priors alike."""
    single = torch.tensor(
        [piece.start for piece in density.pieces if piece.stop == piece.start + 1]
    )
    bending = torch.zeros(density.dim, dtype=torch.bool)
    if not 0 < len(single) < density.dim:
        return bending
    flat = start.repeat(len(single) + 1, 1)
    flat[torch.arange(len(single)), single] += AWAY
    generator = torch.Generator().manual_seed(stream(seed, "bending"))
    direction = torch.randn(density.dim, generator=generator, dtype=torch.float64)
    direction[single] = 0.0
    products = density.hessian_product(flat, direction.expand_as(flat)) * (direction != 0)
    size = products.abs().amax()
    bending[single] = (products[:-1] - products[-1]).abs().amax(-1) > SAME * size
    return bending


def _along(value: Tensor, flat: Tensor, direction: Tensor) -> Tensor:
    """The derivative of a number along a direction, differentiable itself."""
    return (_gradient(value, flat) * direction).sum()


def _gradient(value: Tensor, flat: Tensor) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(flat)
    (gradient,) = torch.autograd.grad(
        value, flat, create_graph=True, allow_unused=True, materialize_grads=True
    )
    return gradient


def small_entries(density: LogDensity) -> Bool[Tensor, "dim"]:
    """Which entries are of small sites."""
    small = torch.zeros(density.dim, dtype=torch.bool)
    for piece in density.pieces:
        small[piece.start : piece.stop] = piece.stop - piece.start <= SMALL_SITE
    return small


def _pattern(density: LogDensity, start: Tensor, seed: int) -> Bool[Tensor, "dim dim"]:
    """Which second derivatives are not zero, at one of two places."""
    generator = torch.Generator().manual_seed(stream(seed, "pattern"))
    away = 0.1 * torch.randn(2, len(start), generator=generator, dtype=torch.float64)
    matrices = density.hessian(start + away).nan_to_num(1.0)
    return (matrices != 0).any(0)


def _by_pattern(
    linked: Bool[Tensor, "rest rest"],
) -> tuple[Int[Tensor, "border"], Int[Tensor, "block entry"]]:
    """The border, grown by what has most links until all that is left are small blocks."""
    from scipy.sparse.csgraph import connected_components

    size = len(linked)
    inside = torch.ones(size, dtype=torch.bool)
    while True:
        entries = torch.nonzero(inside).flatten()
        own = linked[entries][:, entries]
        _, labels = connected_components(own.numpy(), directed=False)
        groups = torch.bincount(torch.as_tensor(labels)) if len(entries) else entries
        if not len(groups) or int(groups.max()) <= LARGEST_BLOCK:
            break
        degree = own.sum(0) * (groups[torch.as_tensor(labels)] > LARGEST_BLOCK)
        inside[entries[degree == degree.max()]] = False
        if int((~inside).sum()) > MOST_BORDER:
            return torch.arange(size), torch.zeros(0, 0, dtype=torch.long)
    if not len(entries):
        return torch.arange(size), torch.zeros(0, 0, dtype=torch.long)
    return _packed(torch.nonzero(~inside).flatten(), entries, torch.as_tensor(labels))


def _packed(
    border: Tensor, entries: Tensor, labels: Tensor
) -> tuple[Int[Tensor, "border"], Int[Tensor, "block entry"]]:
    """Blocks of one size: smaller groups share one, and what is left over joins the border."""
    groups = [entries[labels == each] for each in range(int(labels.max()) + 1)]
    size = max(len(each) for each in groups)
    whole = [each for each in groups if len(each) == size]
    loose = torch.cat([each for each in groups if len(each) < size] or [entries[:0]])
    full = len(loose) // size if all(len(e) == 1 for e in groups if len(e) < size) else 0
    whole += list(loose[: full * size].reshape(full, size))
    return torch.cat([border, loose[full * size :]]), torch.stack(whole)


def _by_plate(
    density: LogDensity, rest: Tensor
) -> tuple[Int[Tensor, "border"], Int[Tensor, "block entry"]]:
    """Blocks of what shares an index of the plate that holds most entries."""
    own = set(rest.tolist())
    by_plate: dict[str, list[Tensor]] = {}
    for piece in density.pieces:
        site = density.model.site(piece.site)
        entries = torch.arange(piece.start, piece.stop)
        if len(entries) != math.prod(site.shape) or len(entries) <= SMALL_SITE:
            continue
        entries = entries.reshape(site.shape)
        for axis, dim in enumerate(site.dims):
            if dim in density.model.plates and piece.start in own:
                columns = entries.movedim(axis, 0).reshape(site.shape[axis], -1)
                by_plate.setdefault(dim, []).append(columns)
    if not by_plate:
        return rest, rest[:0].reshape(0, 0)
    largest = max(by_plate.values(), key=lambda each: sum(e.numel() for e in each))
    blocks = torch.cat(largest, dim=1)
    inside = torch.isin(rest, blocks)
    return rest[~inside], blocks


def _holds(density: LogDensity, split: Split, start: Tensor, seed: int) -> bool:
    """Whether a random product is what the blocks and the border say."""
    generator = torch.Generator().manual_seed(stream(seed, "blocks"))
    away = 0.1 * torch.randn(1, len(start), generator=generator, dtype=torch.float64)
    flat = start[None] + away
    direction = torch.zeros_like(flat)
    direction[:, split.rest] = torch.randn(
        1, len(split.rest), generator=generator, dtype=torch.float64
    )
    product = -density.hessian_product(flat, direction)[:, split.rest]
    arrow = split.curvature(density, flat)
    return bool(torch.allclose(arrow.times(direction[:, split.rest]), product, rtol=1e-6))


def _is_gaussian(density: LogDensity, start: Tensor, rest: Tensor, seed: int) -> bool:
    """Whether the curvature of the rest is the same wherever the rest is."""
    generator = torch.Generator().manual_seed(stream(seed, "gaussian"))
    rows, direction = start.repeat(2, 1), torch.zeros(2, len(start), dtype=torch.float64)
    rows[1, rest] += torch.randn(len(rest), generator=generator, dtype=torch.float64)
    direction[:, rest] = torch.randn(len(rest), generator=generator, dtype=torch.float64)
    here, there = density.hessian_product(rows, direction)[:, rest]
    return bool(torch.allclose(here, there, rtol=SAME, atol=SAME * float(here.abs().max())))
