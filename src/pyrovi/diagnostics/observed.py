"""What was observed, as checks count it: the sites of a loop as one."""

import re
from collections.abc import Iterable

import xarray as xr

from pyrovi.evidence import limits
from pyrovi.tree import json_attr, safe_name


def judged_together(tree: xr.DataTree, names: Iterable[object]) -> dict[str, list[str]]:
    """The observed variables to judge as one, under a label of all.

    A model that observes in a Python loop has a site for each round: ``y_0``, ``y_1`` and so on.
    Sites whose names differ by numbers, of one distribution and shape, are judged together where
    there are enough of them for PIT values to say something.
    """
    records = json_attr(tree, "sites", [])
    # Another program's records may say less: of what is of no known kind, nothing is like it.
    told = [each for each in records if {"name", "distribution", "shape"} <= each.keys()]
    kinds = {safe_name(each["name"]): (each["distribution"], *each["shape"]) for each in told}
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
