"""Where each continuous latent site lies in the flat unconstrained vector."""

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.distributions import biject_to

from pyrovi.bound import BoundModel

__all__ = ["Piece", "labels_of", "layout", "split"]


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


def layout(model: BoundModel) -> tuple[Piece, ...]:
    """One piece per continuous latent site, in the order the model meets them."""
    pieces: list[Piece] = []
    start = 0
    for site in model.latent:
        shape = _shape(model, site.name)
        pieces.append(Piece(site.name, shape, start, start + prod(shape)))
        start = pieces[-1].stop
    return tuple(pieces)


def _shape(model: BoundModel, site: str) -> tuple[int, ...]:
    if site in model.free:
        return (int(model.free[site].sum()),)
    node = model.prototype.nodes[site]
    # Torch's own shape arithmetic imports sympy, a third of a second.
    return tuple(biject_to(node["fn"].support).inv(node["value"]).shape)


def split(pieces: tuple[Piece, ...], flat: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """The piece of each site in one flat vector."""
    flat = flat.to(dtype)
    return {piece.site: flat[piece.start : piece.stop].reshape(piece.shape) for piece in pieces}


def labels_of(pieces: tuple[Piece, ...]) -> list[str]:
    """A name for each entry of a flat vector, such as ``theta[3]``."""
    return [
        piece.site + (f"[{','.join(map(str, index))}]" if index else "")
        for piece in pieces
        for index in np.ndindex(piece.shape)
    ]
