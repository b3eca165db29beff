"""What several checks ask of a tree: its quantities, a block at a time, and its draws' weights."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from pyrovi.tree import has, quantities

BLOCK = 512
"""Quantities judged at once, which bounds the memory."""


def blocks(dataset: xr.Dataset) -> Iterator[tuple[list[str], np.ndarray]]:
    """Labels and draws, shape (chain, draw, quantity), of the quantities that vary.

    Discrete sites are left out: the mean and the sd of a label mean nothing, and a count's are
    those of the continuous sites it hangs on.
    """
    names: list[str] = []
    columns: list[np.ndarray] = []
    for label, values in quantities(dataset):
        if not np.issubdtype(values.dtype, np.floating):
            continue
        column = values.astype(float)
        if not np.isfinite(column).all() or np.ptp(column) == 0.0:
            continue
        names.append(label)
        columns.append(column)
        if len(names) == BLOCK:
            yield names, np.stack(columns, axis=-1)
            names, columns = [], []
    if names:
        yield names, np.stack(columns, axis=-1)


def log_ratios(tree: xr.DataTree) -> np.ndarray | None:
    """log p - log q of each draw, shape (chain, draw); None where a density is missing."""
    if not has(tree, "sample_stats", "log_joint", "log_guide"):
        return None
    stats = tree["sample_stats"]
    with np.errstate(invalid="ignore"):
        return (stats["log_joint"] - stats["log_guide"]).to_numpy().astype(float)
