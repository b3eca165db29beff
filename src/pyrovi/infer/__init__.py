"""Engines, the one loop that runs them, and what a fit is."""

from pyrovi.infer._fit import Fit, fit
from pyrovi.infer._loop import Status
from pyrovi.infer.batch_and_match import BatchAndMatch
from pyrovi.infer.cavi import CAVI
from pyrovi.infer.dadvi import DADVI
from pyrovi.infer.ensemble import Ensemble
from pyrovi.infer.gibbs import Gibbs
from pyrovi.infer.laplace import Laplace
from pyrovi.infer.linear_response import linear_response
from pyrovi.infer.nuts import NUTS
from pyrovi.infer.pathfinder import Pathfinder
from pyrovi.infer.registry import ENGINES
from pyrovi.infer.svi import SVI

__all__ = [
    "BatchAndMatch",
    "CAVI",
    "DADVI",
    "ENGINES",
    "NUTS",
    "SVI",
    "Ensemble",
    "Fit",
    "Gibbs",
    "Laplace",
    "Pathfinder",
    "Status",
    "fit",
    "linear_response",
]
