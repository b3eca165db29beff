"""Whether the gradient of a log density is its slope, found out before a fit begins.

A value that leaves torch on its way to a density (``.item()``, NumPy, ``torch.tensor([a, b])``)
has no gradient, and torch says nothing of it: the density's other terms have theirs. Differences
along a few directions tell. A slope is called wrong only where differences over three widths
agree with each other and not with the gradient: noise, rounding and steep curvature do not settle
so. Near a start, and not at it, since there a branch may have its edge.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.density.one_point import Piece
from pyrovi.errors import ModelError
from pyrovi.seeds import stream
from pyrovi.words import listed

if TYPE_CHECKING:
    from pyrovi.density.log_density import LogDensity

DIRECTIONS = 4  # at the most, each through its share of the sites
WIDTHS = {torch.float64: 1e-4, torch.float32: 1e-2}  # cube roots of the rounding, and more
NARROWER = (1 / 4, 1 / 16)
ASIDE = 100.0  # widths
WRONG, SETTLED = 0.1, 0.02  # of a slope
ROUNDINGS = 10.0  # of a value, of which a difference may be made
NAMED = 5  # sites
Group = tuple[Piece, ...]


def check_gradient(density: "LogDensity", start: Float[Tensor, "dim"]) -> None:
    """Hold the gradient near ``start`` against differences of the log density.

    Raises:
        ModelError: If the gradient is not that of the density; the latent sites are named.
    """
    share = -(-len(density.pieces) // DIRECTIONS)
    groups = [density.pieces[i : i + share] for i in range(0, len(density.pieces), share)]
    cut = [piece for group in _cut(density, start, groups) for piece in group]
    if cut:
        alone = [piece for (piece,) in _cut(density, start, [(piece,) for piece in cut])]
        raise ModelError(no_gradient(density.model.name, alone or cut))


def no_gradient(model: str, pieces: Sequence[Piece]) -> str:
    """What is wrong, and what to do."""
    sites = listed([repr(piece.site) for piece in pieces], NAMED)
    return (
        f"The gradient of the log density of {model!r} is not its slope along the "
        f"latent sites {sites}: their values leave torch on the way (.item(), float(), "
        "torch.tensor, NumPy, .detach(), no_grad). Keep them in torch, with torch.stack for "
        "torch.tensor."
    )


def _cut(density: "LogDensity", start: Tensor, groups: Sequence[Group]) -> list[Group]:
    """The groups of sites along which the gradient is plainly not the slope."""
    generator = torch.Generator().manual_seed(stream(0, "slopes"))
    noise = torch.randn(1 + len(groups), density.dim, generator=generator, dtype=torch.float64)
    width = WIDTHS[density.model.dtype]
    point, directions = start + ASIDE * width * noise[0], noise[1:] * _members(density, groups)
    value, gradient = density.value_and_gradient(point[None])
    expected = directions @ gradient[0]
    rounding = ROUNDINGS * torch.finfo(density.model.dtype).eps * value.abs() / width

    def off(slope: Tensor, other: Tensor, share: float) -> Tensor:
        larger = torch.maximum(slope.abs(), other.abs())
        return ~((slope - other).abs() <= share * larger + rounding / NARROWER[-1])

    slopes = [_slopes(density, point, directions, width)]
    if not off(slopes[0], expected, WRONG).any():
        return []
    slopes += [_slopes(density, point, directions, width * each) for each in NARROWER]
    settled = ~(off(slopes[0], slopes[1], SETTLED) | off(slopes[1], slopes[2], SETTLED))
    wrong = settled & off(slopes[2], expected, WRONG) & expected.isfinite()
    return [group for group, each in zip(groups, wrong.tolist(), strict=True) if each]


def _members(density: "LogDensity", groups: Sequence[Group]) -> Float[Tensor, "group dim"]:
    """One where an entry belongs to a site of the group."""
    members = torch.zeros(len(groups), density.dim, dtype=torch.float64)
    for row, group in zip(members, groups, strict=True):
        for piece in group:
            row[piece.start : piece.stop] = 1.0
    return members


def _slopes(
    density: "LogDensity", point: Tensor, directions: Tensor, width: float
) -> Float[Tensor, "direction"]:
    """Central differences of the log density; not finite where it is not."""
    rows = torch.cat([point + width * directions, point - width * directions])
    with torch.no_grad():
        above, below = density.log_prob(rows).chunk(2)
    return (above - below) / (2 * width)
