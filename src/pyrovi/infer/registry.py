"""The engines by name: what the command line, the docs and the contract tests read."""

from collections.abc import Callable

from pyrovi.infer._loop import Engine
from pyrovi.infer.batch_and_match import BatchAndMatch
from pyrovi.infer.cavi import CAVI
from pyrovi.infer.dadvi import DADVI
from pyrovi.infer.ensemble import Ensemble
from pyrovi.infer.gibbs import Gibbs
from pyrovi.infer.laplace import Laplace
from pyrovi.infer.nuts import NUTS
from pyrovi.infer.pathfinder import Pathfinder
from pyrovi.infer.svi import SVI

__all__ = ["ENGINES"]

ENGINES: dict[str, Callable[..., Engine]] = {
    "svi": SVI,
    "dadvi": DADVI,
    "laplace": Laplace,
    "pathfinder": Pathfinder,
    "batch_and_match": BatchAndMatch,
    "ensemble": Ensemble,
    "cavi": CAVI,
    "gibbs": Gibbs,
    "nuts": NUTS,
}
