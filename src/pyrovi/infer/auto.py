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

MIXTURE_STARTS = 32
FULL_RANK_DIM = 500  # the curvature of more dimensions costs more than it mends


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
    if dim <= FULL_RANK_DIM and model.discrete:
        return Choice(
            DADVI(whiten=True, starts=MIXTURE_STARTS),
            f"DADVI in a space whitened by the curvature, from the best of {MIXTURE_STARTS} "
            "starts, since summing discrete sites out tends to leave several modes.",
        )
    if dim <= FULL_RANK_DIM:
        return Choice(
            DADVI(whiten=True),
            f"DADVI in a space whitened by the curvature, since {dim} latent dimensions are few "
            f"enough (at most {FULL_RANK_DIM}) to carry every correlation.",
        )
    return Choice(
        DADVI(),
        f"DADVI, a mean-field Gaussian, since the curvature of {dim} latent dimensions (more than "
        f"{FULL_RANK_DIM}) would cost more than it mends.",
    )
