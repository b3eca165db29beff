"""Is each quantity symmetric about its mean? A question of the posterior's shape, for a reader."""

import numpy as np
import xarray as xr

from pyrovi.diagnostics import Row, table
from pyrovi.evidence import Limit
from pyrovi.tree import quantities, require

SKEWNESS = Limit("the skewness of the draws", "a convention of the toys", low=-1.0, high=1.0)


def toy_symmetry(tree: xr.DataTree) -> xr.Dataset:
    """One row a quantity: the skewness of its draws."""
    require(tree, "posterior")
    rows = [
        _judge(label, draws)
        for label, draws in quantities(tree["posterior"].to_dataset())
        if draws.dtype.kind == "f" and np.ptp(draws) > 0
    ]
    source = SKEWNESS.source
    return table(rows, check="toy_symmetry", title="Symmetry", source=source, about="model")


def _judge(label: str, draws: np.ndarray) -> Row:
    value = float((((draws - draws.mean()) / draws.std()) ** 3).mean())
    if SKEWNESS.status(value) == "ok":
        return Row(label, value, SKEWNESS, f"Its skewness is {value:.2f}.")
    why = f"Its skewness is {value:.2f}: a mean says little."
    return Row(label, value, SKEWNESS, why, "warn", "Report quantiles.")
