"""The one value every stage passes on: an `xarray.DataTree` in ArviZ's schema that only grows.

| group | written by | dims of its variables |
|---|---|---|
| `observed_data`, `constant_data`, `truth` | load, simulate | plates |
| `posterior`, `unconstrained_posterior` | draw | chain, draw, plates |
| `posterior_predictive`, `log_likelihood` | draw | chain, draw, plates |
| `prior`, `prior_predictive` | draw | chain (one), draw, plates |
| `log_prior`, `log_guide` | draw | chain, draw: one variable per latent site |
| `drift` | draw | chain, draw, state, plates: where a Markov chain began, and where it went |
| `discrepancies` | draw | statistic, replication: declared by the model, of data and of copies |
| `sample_stats` | draw | chain, draw; the fit's history and its record in `attrs` |
| `diagnostics/<check>` | check | quantity |

A variable is an argument of the model, a dim is a plate, a posterior variable is a site. `chain`
is an independent restart of the fit; `draw` counts draws from the approximation.

>>> tree = data_tree({"y": ("school", [28.0, 8.0])}, coords={"school": ["Choate", "Deerfield"]})
>>> list(tree.children), tree["observed_data"]["y"].dims
(['observed_data'], ('school',))
"""

import itertools
import json
import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import xarray as xr

from pyrovi.errors import DataError, TreeError
from pyrovi.files import write_whole

__all__ = [
    "ACCEPTANCE",
    "DATA_GROUPS",
    "DISCREPANCIES",
    "DRAW_GROUPS",
    "MISSING",
    "PRIOR_GROUPS",
    "SAMPLE_DIMS",
    "STATUSES",
    "data_tree",
    "grow",
    "has",
    "json_attr",
    "labels",
    "open_tree",
    "original_name",
    "quantities",
    "require",
    "safe_name",
    "save",
    "validate",
]

SAMPLE_DIMS = ("chain", "draw")
DATA_GROUPS = ("observed_data", "constant_data", "truth")
DRAW_GROUPS = (
    "posterior",
    "unconstrained_posterior",
    "posterior_predictive",
    "log_likelihood",
    "log_prior",
    "log_guide",
)
ACCEPTANCE = "acceptance_rate"
"""In the group `drift`, each Markov chain's average probability of acceptance."""
DISCREPANCIES = "discrepancies"
"""The group of statistics that a model declares, each of the data and of replications."""
PRIOR_GROUPS = ("prior", "prior_predictive")
MISSING = "missing_as_nan"
"""The attribute, 1, of an observed variable whose NaNs are values to leave out and predict."""
STATUSES = ("converged", "stopped", "diverged")
"""How a fit can end; an order from good to bad."""

_STATS_DIMS = {
    "log_joint": SAMPLE_DIMS,
    "log_guide": SAMPLE_DIMS,
    "diverging": SAMPLE_DIMS,
    "loss": ("chain", "step"),
    "optimum_error": ("chain", "latent"),
    "status": ("chain",),
    "seconds": ("chain",),
    "restart_index": ("chain",),
    "restart_elbo": ("restart",),
    "restart_status": ("restart",),
}
_RESERVED = (*SAMPLE_DIMS, "quantity", ".", "..", "")

BOMB_BYTES = 4 * 2**30
"""Declared bytes above which a dataset is refused if the file holds almost none of them."""
BOMB_RATIO = 1000


# Names


def safe_name(name: str, taken: Container[str] = ()) -> str:
    """``name`` as it can stand in a tree and a netCDF file.

    A slash separates groups in both, so it and control characters are percent-encoded; the sample
    dims are not for sites or plates, so these, and names in ``taken``, get a trailing underscore.

    >>> safe_name("encoder/weight"), safe_name("chain"), safe_name("theta")
    ('encoder%2Fweight', 'chain_', 'theta')
    """
    safe = re.sub(r"[%/\x00-\x1f\x7f]|^\s|\s$", _percent, name)
    while safe in _RESERVED or safe in taken:
        safe += "_"
    return safe


def original_name(name: str) -> str:
    """The site's own name, as `safe_name` found it (less an underscore that it added).

    >>> original_name("encoder%2Fweight")
    'encoder/weight'
    """
    return unquote(name)


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match.group().encode())


# Building


def data_tree(
    observed: Mapping[str, Any],
    constant: Mapping[str, Any] | None = None,
    coords: Mapping[str, Any] | None = None,
    truth: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    """The tree that a pipeline starts from: the data alone.

    Args:
        observed: The model's observed variables, by argument name: arrays, or tuples
            ``(dims, array)`` or ``(dims, array, attrs)``. Dims without a name are called
            ``{name}_dim_{i}``.
        constant: The model's other arguments, such as covariates and sizes.
        coords: Labels of the dims; a dim without any is numbered from zero.
        truth: The parameters that simulated the data, where they are known.

    Raises:
        DataError: If a name stands for two things, or a dim has two lengths.
    """
    groups = {"observed_data": observed, "constant_data": constant, "truth": truth}
    named = {group: dict(values or {}) for group, values in groups.items()}
    _refuse_shared_names(named["observed_data"], named["constant_data"])
    # One dataset first: xarray then holds that a dim has one length across both groups.
    data = _dataset({**named["observed_data"], **named["constant_data"]}, coords or {})
    tree = xr.DataTree()
    for group in ("observed_data", "constant_data"):
        if named[group]:
            tree[group] = xr.DataTree(data[list(named[group])])
    if named["truth"]:
        tree["truth"] = xr.DataTree(_dataset(named["truth"], coords or {}))
    return tree


def _refuse_shared_names(observed: Mapping[str, Any], constant: Mapping[str, Any]) -> None:
    shared = sorted(set(observed) & set(constant))
    if shared:
        raise DataError(
            f"Each data variable is one argument of the model, and {', '.join(shared)} came as "
            "both observed and constant. Give it once."
        )


def _dataset(values: Mapping[str, Any], coords: Mapping[str, Any]) -> xr.Dataset:
    variables = {name: _variable(name, value) for name, value in values.items()}
    used = {dim for variable in variables.values() for dim in variable.dims}
    sizes = {d: n for variable in variables.values() for d, n in variable.sizes.items()}
    own = {name for name, value in values.items() if name in used and variables[name].ndim == 1}
    labels = {dim: coords.get(str(dim), np.arange(sizes[dim])) for dim in used if dim not in own}
    try:
        return xr.Dataset(variables, coords=labels)
    except (ValueError, xr.MergeError) as error:
        first = str(error).strip().split("\n")[0]
        raise DataError(f"The data variables do not fit together: {first}") from error


def _variable(name: str, value: Any) -> xr.Variable:
    if isinstance(value, xr.DataArray | xr.Variable):
        return xr.Variable(value.dims, value.data, value.attrs)
    dims, array, *attrs = value if _is_spec(value) else (None, value)
    array = np.asarray(array)
    if dims is None:
        dims = [f"{name}_dim_{i}" for i in range(array.ndim)]
    dims = [dims] if isinstance(dims, str) else list(dims)
    if len(dims) != array.ndim:
        raise DataError(
            f"'{name}' has shape {array.shape}, and {len(dims)} dim names came: {dims}. "
            "Name each axis once."
        )
    return xr.Variable(dims, array, *attrs)


def _is_spec(value: Any) -> bool:
    """Whether ``value`` is xarray's ``(dims, array[, attrs])`` and not a tuple of numbers."""
    if not isinstance(value, tuple) or len(value) not in (2, 3):
        return False
    dims = value[0]
    if isinstance(dims, str):
        return not isinstance(value[1], str)
    return isinstance(dims, Sequence) and all(isinstance(dim, str) for dim in dims)


def grow(tree: xr.DataTree, **groups: xr.Dataset) -> xr.DataTree:
    """A new tree: ``tree`` with ``groups`` added or replaced. The arrays are shared, not copied.

    >>> grown = grow(data_tree({"y": [1.0]}), posterior=xr.Dataset())
    >>> list(grown.children)
    ['observed_data', 'posterior']
    """
    grown = tree.copy()
    for path, dataset in groups.items():
        grown[path] = xr.DataTree(dataset.copy())
    return grown


# Asking


def require(tree: Any, *groups: str) -> None:
    """Raise unless ``tree`` holds every one of ``groups``, with a variable in each.

    Raises:
        TreeError: Naming the groups that are missing and the verb that writes them.
    """
    if not isinstance(tree, xr.DataTree):
        raise TreeError(
            f"Expected an xarray.DataTree, and a {type(tree).__name__} came. "
            "Pass the tree that pyrovi.draw or pyrovi.open_tree returns."
        )
    missing = [group for group in groups if not has(tree, group)]
    if missing:
        held = ", ".join(tree.children) or "nothing"
        raise TreeError(
            f"Expected the group {_quoted(missing)} in the tree, which holds {held}. "
            f"{_advice(missing)}"
        )


def has(tree: xr.DataTree, group: str, *variables: str) -> bool:
    """Whether ``tree`` holds ``group`` with ``variables``, or with any if none is named."""
    node: Any = tree
    for part in group.split("/"):
        if part not in node.children:
            return False
        node = node.children[part]
    held = node.data_vars
    return all(name in held for name in variables) if variables else bool(held)


def _advice(missing: Sequence[str]) -> str:
    if set(missing) & set(DATA_GROUPS):
        return "Put the data in it with pyrovi.tree.data_tree."
    if any(group.startswith("diagnostics") for group in missing):
        return "Call pyrovi.check on it first."
    return "Call pyrovi.draw on a fit first."


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def json_attr(tree: xr.DataTree, key: str, default: Any = None) -> Any:
    """The value that is kept as JSON in the attribute ``key`` of `sample_stats`.

    Attributes of a netCDF file are numbers or text, so lists and tables are written as JSON.
    """
    if "sample_stats" not in tree or key not in tree["sample_stats"].attrs:
        return default
    try:
        return json.loads(tree["sample_stats"].attrs[key])
    except (TypeError, ValueError) as error:
        raise TreeError(
            f"Expected JSON in the attribute '{key}' of sample_stats, and "
            f"{tree['sample_stats'].attrs[key]!r} came. Write it with json.dumps."
        ) from error


def quantities(
    dataset: xr.Dataset, dims: Sequence[str] = SAMPLE_DIMS
) -> Iterator[tuple[str, np.ndarray]]:
    """Each scalar quantity of a group of draws: its label and its values.

    Args:
        dataset: Variables that all have ``dims``.
        dims: The axes of the values, in order: (chain, draw) unless told.

    >>> draws = xr.Dataset({"beta": (("chain", "draw", "k"), np.zeros((1, 3, 2)))})
    >>> [label for label, values in quantities(draws)]
    ['beta[0]', 'beta[1]']
    """
    for name, variable in dataset.data_vars.items():
        if variable.dtype.kind not in "fiub":
            continue
        flat = variable.transpose(*dims, ...)
        columns = flat.to_numpy().reshape(*flat.shape[: len(dims)], -1)
        for i, label in enumerate(labels(flat, str(name), dims)):
            yield label, columns[..., i]


def labels(variable: xr.DataArray, name: str, sample: Sequence[str] = SAMPLE_DIMS) -> list[str]:
    """One label per element of ``variable`` beyond its sample dims, in C order."""
    dims = [dim for dim in variable.dims if dim not in sample]
    if not dims:
        return [name]
    ticks = [[_tick(value) for value in variable[dim].to_numpy()] for dim in dims]
    return [f"{name}[{','.join(index)}]" for index in itertools.product(*ticks)]


def _tick(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


# Validating


def validate(tree: xr.DataTree) -> None:
    """Raise if ``tree`` breaks the rules that every stage relies on (see the module's table).

    Raises:
        TreeError: One line: where, what was expected, what came.
    """
    require(tree)
    sizes: dict[str, int] = {}
    for group in DRAW_GROUPS:
        if group in tree:
            _check_draws(tree, group, sizes)
    for group in PRIOR_GROUPS:
        if group in tree:
            _check_draws(tree, group, {"chain": 1})
    for group in DATA_GROUPS:
        if group in tree:
            _check_data(tree, group)
    if "sample_stats" in tree:
        _check_stats(tree, sizes)
    _check_observed(tree)


def _check_draws(tree: xr.DataTree, group: str, sizes: dict[str, int]) -> None:
    for name, variable in tree[group].data_vars.items():
        if variable.dims[:2] != SAMPLE_DIMS:
            _refuse(group, name, f"dims (chain, draw, ...), and {_dims(variable)} came")
        if variable.dtype.kind not in "fiub":
            _refuse(group, name, f"numbers, and the dtype {variable.dtype} came")
        _check_sizes(group, str(name), variable, sizes)


def _check_sizes(group: str, name: str, variable: xr.DataArray, sizes: dict[str, int]) -> None:
    """Draws of one fit are the same draws in every group, so their number is one number."""
    for dim in SAMPLE_DIMS:
        expected = sizes.setdefault(dim, variable.sizes[dim])
        if variable.sizes[dim] != expected:
            came = variable.sizes[dim]
            _refuse(group, name, f"{dim} of length {expected}, as elsewhere, and {came} came")


def _check_data(tree: xr.DataTree, group: str) -> None:
    for name, variable in tree[group].data_vars.items():
        if set(variable.dims) & set(SAMPLE_DIMS):
            _refuse(group, name, f"plates as dims and no draws, and {_dims(variable)} came")


def _check_stats(tree: xr.DataTree, sizes: dict[str, int]) -> None:
    stats = tree["sample_stats"]
    for name, variable in stats.data_vars.items():
        expected = _STATS_DIMS.get(str(name))
        if expected is None:
            continue
        if variable.dims != expected:
            _refuse(
                "sample_stats", name, f"dims ({', '.join(expected)}), and {_dims(variable)} came"
            )
        if expected == SAMPLE_DIMS:
            _check_sizes("sample_stats", str(name), variable, sizes)
    for name in ("status", "restart_status"):
        found = stats.data_vars[name].to_numpy() if name in stats.data_vars else []
        unknown = set(map(str, found)) - set(STATUSES)
        if unknown:
            _refuse("sample_stats", name, f"{', '.join(STATUSES)}, and {min(unknown)!r} came")
    for key in ("sites", "notes", "versions", "rungs"):
        json_attr(tree, key)


def _check_observed(tree: xr.DataTree) -> None:
    if not has(tree, "log_likelihood") or not has(tree, "observed_data"):
        return
    unknown = set(tree["log_likelihood"].data_vars) - set(tree["observed_data"].data_vars)
    if unknown:
        name = min(map(str, unknown))
        _refuse("log_likelihood", name, "the name of a variable of observed_data")


def _dims(variable: xr.DataArray) -> str:
    return f"({', '.join(map(str, variable.dims))})"


def _refuse(group: str, name: object, expected: str) -> None:
    raise TreeError(f"Variable '{name}' of the group '{group}': expected {expected}.")


# Files


def save(tree: xr.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write ``tree`` as one netCDF file, whole or not at all.

    Raises:
        TreeError: If the tree holds something that netCDF cannot.
        OutputError: If the file cannot be written; what was at ``path`` is then untouched.
    """
    path = Path(path)
    # In memory first: on a full disk HDF5 can crash the interpreter; Python's own write cannot.
    try:
        content = bytes(_writable(tree).to_netcdf(engine="h5netcdf"))
    except (TypeError, ValueError) as error:
        first = str(error).strip().split("\n")[0]
        raise TreeError(f"The tree cannot be written as netCDF: {first}") from error
    return write_whole(path, content)


def _writable(tree: xr.DataTree) -> xr.DataTree:
    """The same tree without the encodings of a file it may have come from."""
    return tree.map_over_datasets(lambda dataset: dataset.drop_encoding())


def open_tree(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read a tree that `save` wrote, wholly into memory; no file stays open.

    Raises:
        TreeError: If there is no such file, it is damaged, or it would have other files read:
            HDF5's external links, external storage and virtual datasets are refused.
    """
    path = Path(path)
    if not path.is_file():
        raise TreeError(f"Expected a saved tree at {path}, and there is no such file.")
    try:
        _refuse_hazards(path)
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            return tree.load()
    except TreeError:
        raise
    # A damaged file raises whatever the layer that met the damage raises.
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise TreeError(
            f"{path} is damaged or no netCDF file ({first}). Draw or save the tree again."
        ) from error


def _refuse_hazards(path: Path) -> None:
    """Walk the file without following anything out of it."""
    import h5py

    with h5py.File(path, "r") as file:
        _walk(file, path, seen=set())


def _walk(group: Any, path: Path, seen: set[int]) -> None:
    import h5py

    low_level: Any = h5py
    address = low_level.h5o.get_info(group.id).addr
    if address in seen:
        raise TreeError(f"{path} has a group inside itself, and is not opened.")
    seen.add(address)
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise TreeError(
                f"{path} has a link at '{name}', and is not opened: it may leave the file."
            )
        item = group[name]
        if isinstance(item, h5py.Group):
            _walk(item, path, seen)
        elif isinstance(item, h5py.Dataset):
            _refuse_hazard(item, path)


def _refuse_hazard(item: Any, path: Path) -> None:
    if item.is_virtual or item.id.get_create_plist().get_external_count():
        raise TreeError(f"{path} keeps '{item.name}' in another file, and is not opened.")
    # Text of any length is kept outside the dataset, so its stored size says nothing of it.
    declared = item.size * item.dtype.itemsize if item.shape else 0
    if declared > BOMB_BYTES and declared > BOMB_RATIO * item.id.get_storage_size():
        raise TreeError(f"{path} declares {declared:.1e} bytes at '{item.name}' and holds few.")
