"""Engines, the one loop that runs them, and what a fit is."""

from pyrovi.infer.engines.batch_and_match import BatchAndMatch
from pyrovi.infer.engines.cavi import CAVI
from pyrovi.infer.engines.dadvi import DADVI
from pyrovi.infer.engines.ensemble import Ensemble
from pyrovi.infer.engines.gibbs import Gibbs
from pyrovi.infer.engines.laplace import Laplace
from pyrovi.infer.engines.nuts import NUTS
from pyrovi.infer.engines.pathfinder import Pathfinder
from pyrovi.infer.engines.svi import SVI
from pyrovi.infer.fitting import Fit, fit
from pyrovi.infer.ladder.judge import importance_khat, judge, send_out
from pyrovi.infer.loop import Rung, Status
from pyrovi.infer.registry import ENGINES
from pyrovi.infer.response import linear_response

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
    "Rung",
    "Status",
    "fit",
    "importance_khat",
    "judge",
    "linear_response",
    "send_out",
]
