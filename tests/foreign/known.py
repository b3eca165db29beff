"""What is known of a foreign model's posterior, and how far draws are from it."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from foreign.record import ForeignModel
from foreign.truths import Draws, Moments

__all__ = ["MEAN_WITHIN", "RATIO_WITHIN", "Error", "errors", "known"]

MEAN_WITHIN = 0.2  # standard deviations of the truth
RATIO_WITHIN = 0.8, 1.25


class Error(NamedTuple):
    """How far one quantity is off: in standard deviations, and the ratio of these."""

    quantity: str
    mean: float
    ratio: float

    @property
    def right(self) -> bool:
        return abs(self.mean) <= MEAN_WITHIN and RATIO_WITHIN[0] <= self.ratio <= RATIO_WITHIN[1]


@cache
def known(model: ForeignModel) -> Moments:
    """From the model's closed form, or from the long runs; empty where these say nothing."""
    if model.truth is not None:
        return model.truth()
    found = _references().get(model.name, {}).get("quantities", {})
    return {name: (_numbers(each["mean"]), _numbers(each["sd"])) for name, each in found.items()}


@cache
def _references() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("reference.json").read_text())


def _numbers(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def errors(model: ForeignModel, draws: Draws) -> Iterator[Error]:
    """Of each quantity that is known and varies, from draws by site, (draw, *shape)."""
    compared = model.compared(draws) if model.compared else draws
    for name, (means, sds) in known(model).items():
        values = compared[name.replace("/", "%2F")]  # as the tree names a site that is in a scope
        values = values.reshape(len(values), -1).astype(float)
        truths = np.broadcast_arrays(np.ravel(means), np.ravel(sds))
        for i, (column, mean, sd) in enumerate(zip(values.T, *truths, strict=True)):
            if sd > 0:  # neither fixed nor unknown
                label = f"{name}[{i}]" if values.shape[1] > 1 else name
                yield Error(label, float((column.mean() - mean) / sd), float(column.std() / sd))
