"""Trees as netCDF files: written whole or not at all, and read without trust in the file."""

import os
from pathlib import Path
from typing import Any

import xarray as xr

from pyrovi.errors import TreeError
from pyrovi.files import write_whole

# A dataset that declares more bytes than this, and this many times what the file holds of it, is
# refused.
BOMB_BYTES, BOMB_RATIO = 4 * 2**30, 1000


def save(tree: xr.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write ``tree`` as one netCDF file, whole or not at all.

    Raises:
        TreeError: If the tree holds something that netCDF cannot.
        OutputError: If the file cannot be written; what was at ``path`` is then untouched.
    """
    path = Path(path)
    # In memory first: on a full disk HDF5 can crash the interpreter; Python's own write cannot.
    try:
        # Without the encodings of a file that it may have come from.
        writable = tree.map_over_datasets(lambda dataset: dataset.drop_encoding())
        content = bytes(writable.to_netcdf(engine="h5netcdf"))
    except (TypeError, ValueError) as error:
        first = str(error).strip().split("\n")[0]
        raise TreeError(f"The tree cannot be written as netCDF: {first}") from error
    return write_whole(path, content)


def open_tree(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read a tree that `save` wrote, wholly into memory; no file stays open.

    Raises:
        TreeError: If there is no such file, it is damaged, or it would have other files read:
            HDF5's external links, external storage and virtual datasets are refused.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise TreeError(f"Expected a saved tree at {path}, and there is no such file.")
    try:
        with h5py.File(path, "r") as file:
            _refuse_hazards(file, path, seen=set())
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


def _refuse_hazards(group: Any, path: Path, seen: set[int]) -> None:
    """Walk the file without following anything out of it."""
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
            _refuse_hazards(item, path, seen)
        elif isinstance(item, h5py.Dataset):
            _refuse_hazard(item, path)


def _refuse_hazard(item: Any, path: Path) -> None:
    if item.is_virtual or item.id.get_create_plist().get_external_count():
        raise TreeError(f"{path} keeps '{item.name}' in another file, and is not opened.")
    # Text of any length is kept outside the dataset, so its stored size says nothing of it.
    declared = item.size * item.dtype.itemsize if item.shape else 0
    if declared > BOMB_BYTES and declared > BOMB_RATIO * item.id.get_storage_size():
        raise TreeError(f"{path} declares {declared:.1e} bytes at '{item.name}' and holds few.")
