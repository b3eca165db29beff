"""Models that strangers wrote, for pyrovi to meet as they would bring them.

Each states the generative process of the source named in its record, in this project's words, on
data that are fixed numbers or come from a fixed generator, at sizes where a density costs
milliseconds. Run them under a float64 default dtype.
"""

from foreign.groups import GROUPS
from foreign.idioms import IDIOMS
from foreign.known import MEAN_WITHIN, RATIO_WITHIN, Error, errors, known
from foreign.latent import LATENT
from foreign.pyros_own import PYROS_OWN
from foreign.record import ForeignModel
from foreign.regressions import REGRESSIONS
from foreign.series import SERIES

__all__ = [
    "FOREIGN", "MEAN_WITHIN", "PYROS_OWN", "RATIO_WITHIN", "Error", "ForeignModel", "errors",
    "known",
]  # fmt: skip

FOREIGN = (*PYROS_OWN, *REGRESSIONS, *GROUPS, *SERIES, *LATENT, *IDIOMS)
