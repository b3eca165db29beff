"""What was observed, as checks count it: a loop's sites as one, without what a mask hides."""

import re
from collections.abc import Iterable

import numpy as np
import xarray as xr

from pyrovi.evidence import limits
from pyrovi.tree import MASKED, SAMPLE_DIMS, held, json_attr, safe_name


def judged_together(tree: xr.DataTree, names: Iterable[object]) -> dict[str, list[str]]:
    """The observed variables to judge as one, under a label of all.

    A model that observes in a Python loop has a site for each round: ``y_0``, ``y_1`` and so on.
    Sites whose names differ by numbers, of one distribution and shape, are judged together where
    there are enough of them for PIT values to say something.
    """
    records = json_attr(tree, "sites", [])
    kinds = {safe_name(each["name"]): (each["distribution"], *each["shape"]) for each in records}
    alike: dict[object, list[str]] = {}
    for name in map(str, names):
        key = (re.sub(r"\d+", "*", name), kinds[name]) if name in kinds else name
        alike.setdefault(key, []).append(name)
    groups = [
        part
        for same in alike.values()
        for part in ([same] if len(same) >= limits.PIT_OBSERVATIONS else [[name] for name in same])
    ]
    return {part[0] if len(part) == 1 else f"{part[0]}...{part[-1]}": part for part in groups}


def hidden(tree: xr.DataTree, variable: xr.DataArray) -> np.ndarray:
    """Whether a mask hides each entry of an observed variable, or of draws of one, shape (n,).

    Of a log likelihood, which has one value for all elements of an event: whether it hides all.
    """
    sizes = {dim: size for dim, size in variable.sizes.items() if dim not in SAMPLE_DIMS}
    masks = held(tree, MASKED).data_vars
    name = str(variable.name)
    if name not in masks or any(masks[name].sizes.get(d) != n for d, n in sizes.items()):
        return np.zeros(tuple(sizes.values()), bool).ravel()
    of_events = [dim for dim in masks[name].dims if dim not in sizes]
    return masks[name].astype(bool).all(of_events).transpose(*sizes).to_numpy().ravel()
