"""The quantities of a tree that a mean and an sd speak of, a block at a time."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from pyrovi.tree import quantities

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
