"""`engine="auto"`: which engine to take, and why.

A rule, not a search: what can be fitted on the flat density is fitted there; what subsamples or
learns parameters of its own needs SVI.
"""

from dataclasses import dataclass

from pyrovi.infer._density import LogDensity
from pyrovi.infer._loop import Engine
from pyrovi.infer.dadvi import DADVI
from pyrovi.infer.svi import SVI

__all__ = ["Choice", "choose"]

FULL_RANK_DIM = 100  # a full covariance of more entries costs more than it mends


@dataclass(frozen=True)
class Choice:
    """An engine, and why it was picked.

    Attributes:
        engine: The engine.
        reason: One sentence; empty where the user picked it.
    """

    engine: Engine
    reason: str


def choose(density: LogDensity) -> Choice:
    """The engine for a density."""
    model, dim = density.model, density.dim
    if model.subsampled:
        return Choice(SVI(guide="mean_field"), "SVI, since the model subsamples a plate.")
    if model.parameters:
        return Choice(
            SVI(guide="mean_field"), "SVI, since the model learns parameters of its own."
        )
    if dim <= FULL_RANK_DIM:
        return Choice(
            SVI(guide="full_rank"),
            f"SVI with a full-rank Gaussian, since {dim} latent dimensions are few enough "
            f"(at most {FULL_RANK_DIM}) to learn every correlation.",
        )
    return Choice(
        DADVI(),
        f"DADVI, a mean-field Gaussian, since a full covariance of {dim} latent dimensions "
        f"(more than {FULL_RANK_DIM}) would cost more than it mends.",
    )
