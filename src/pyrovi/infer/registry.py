"""The engines by name: what the command line, the docs and the contract tests read."""

from collections.abc import Callable

from pyrovi.infer.engines.batch_and_match import BatchAndMatch
from pyrovi.infer.engines.cavi import CAVI
from pyrovi.infer.engines.dadvi import DADVI
from pyrovi.infer.engines.ensemble import Ensemble
from pyrovi.infer.engines.gibbs import Gibbs
from pyrovi.infer.engines.laplace import Laplace
from pyrovi.infer.engines.nuts import NUTS
from pyrovi.infer.engines.pathfinder import Pathfinder
from pyrovi.infer.engines.svi import SVI
from pyrovi.infer.loop import Engine

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
