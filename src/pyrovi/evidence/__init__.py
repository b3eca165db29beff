"""What importance weights and moments of draws say of an approximation, and by what limits."""

from pyrovi.evidence import limits
from pyrovi.evidence.limits import *  # noqa: F403  every limit is for others
from pyrovi.evidence.moments import Difference, farthest_chains, moved, reweighted
from pyrovi.evidence.weights import MIN_DRAWS, khat, smooth, threshold, tied_tail

__all__ = [
    "MIN_DRAWS",
    "Difference",
    "farthest_chains",
    "khat",
    "moved",
    "reweighted",
    "smooth",
    "threshold",
    "tied_tail",
]
__all__ += limits.__all__
