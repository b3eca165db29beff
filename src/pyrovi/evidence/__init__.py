"""What importance weights and moments of draws say of an approximation: plain arrays in."""

from pyrovi.evidence.moments import Difference, Status, farthest_chains, moved, reweighted
from pyrovi.evidence.weights import K_FAIL, MIN_DRAWS, khat, smooth, threshold, tied_tail

__all__ = [
    "Difference",
    "K_FAIL",
    "MIN_DRAWS",
    "Status",
    "farthest_chains",
    "khat",
    "moved",
    "reweighted",
    "smooth",
    "threshold",
    "tied_tail",
]
