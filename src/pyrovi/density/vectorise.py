"""Whether vmap carries many points through one run of a model, and to the same density."""

from collections.abc import Callable

import torch
from torch import Tensor

from pyrovi.seeds import stream

AGREEMENT = 1e-6  # relative; between the vectorised and the looped value


def why_not_vectorised(log_prob: Callable[[Tensor], Tensor], dim: int) -> str | None:
    """Why points must be run one by one; None where they need not.

    Two points are run both ways and compared; the looped way is right by construction.
    """
    generator = torch.Generator().manual_seed(stream(0, "vectorise"))
    rows = torch.randn(2, dim, generator=generator, dtype=torch.float64) * 0.1
    looped = _looped(log_prob, rows)
    try:
        together = torch.func.vmap(log_prob)(rows)
    except Exception as error:  # noqa: BLE001  any model may fail in its own way under vmap
        reason = str(error.__cause__ or error).split("\n")[0][:120]
        return f"The model is run draw by draw, since vmap cannot: {reason}"
    if looped is None or torch.allclose(
        looped, together, rtol=AGREEMENT, atol=AGREEMENT, equal_nan=True
    ):
        return None
    return (
        "The model is run draw by draw, since vectorised it gives another density "
        f"({together[0].item():.6g} for {looped[0].item():.6g})."
    )


def _looped(log_prob: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor | None:
    """None where the model itself fails at one of these points, which says nothing of the two."""
    try:
        return torch.stack([log_prob(row) for row in rows])
    except (ValueError, RuntimeError):
        return None
