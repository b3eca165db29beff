"""Asking a tree that may lack what is asked for."""

from typing import Any

import xarray as xr


def group(tree: xr.DataTree, name: str) -> xr.Dataset:
    """A group of the tree; empty where the tree has none."""
    return tree.children[name].to_dataset() if name in tree.children else xr.Dataset()


def variables(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    """The variables by name."""
    return {str(name): variable for name, variable in dataset.data_vars.items()}


def attrs(tree: xr.DataTree) -> dict[str, Any]:
    """The fit's own record."""
    return {str(key): value for key, value in group(tree, "sample_stats").attrs.items()}


def diagnostic(tree: xr.DataTree, name: str) -> xr.Dataset:
    """What one check returned; empty where it did not run."""
    return group(tree.children["diagnostics"], name) if "diagnostics" in tree else xr.Dataset()
