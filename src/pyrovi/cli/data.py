"""The data that a command was pointed to."""

import csv
import inspect
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovi.errors import DataError, PyroviWarning, RowError
from pyrovi.words import is_number

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

SIMULATION_SEED = 0  # of the data; that of the fit is the command's own


def load_zoo(entry: Any, data: str | None, options: Mapping[str, str]) -> Any:
    """A data set of the zoo entry by its name, or a file; ``options`` say how to read a table."""
    own = data is None or data in entry.datasets
    path = Path(data or "")
    if not own and (path.suffix or path.exists()):
        return _load_file(entry, path, options)
    if options and own:
        raise DataError(_no_table(entry, *next(iter(options.items()))))
    if data is None and not entry.datasets:
        warnings.warn(
            f"{entry.name!r} has no real data, so these are simulated from it (seed "
            f"{SIMULATION_SEED}). Use --data for your own.",
            PyroviWarning,
            stacklevel=2,
        )
        return entry.simulate(SIMULATION_SEED)
    return entry.load(data)


def _no_table(entry: Any, option: str, value: str) -> str:
    """That an option for a table came without one; and what to do in its place."""
    own = option in inspect.signature(entry.model).parameters
    change = f", or change that of the data by --set {option}={value}" if own else ""
    return (
        f"--{option.replace('_', '-')} is for a table of your own, and none came. "
        f"Name a .csv file, as in --data marks.csv{change}."
    )


def _load_file(entry: Any, path: Path, options: Mapping[str, str]) -> Any:
    """A file as it is; or, with options or column names of its own, as the entry reads tables."""
    table = _own_table(entry, path, entry.reader, by_argument=not options)
    return load_any(path) if table is None else _read(path, partial(entry.read, table, **options))


def load_new(entry: Any, path: Path, fitted: "xr.DataTree", options: Mapping[str, str]) -> Any:
    """New rows of a file, for the ``fitted`` data, whose table was read with ``options``."""
    table = _own_table(entry, path, entry.reader_of_new, by_argument=True)
    if table is None:
        return load_any(path)
    return _read(path, partial(entry.read_new, table, fitted, **options))


def _own_table(entry: Any, path: Path, reader: Any, *, by_argument: bool) -> Any:
    """A table that has column names of its own, for the entry's reader; None for any other."""
    if reader is None or path.suffix.lower() != ".csv" or not path.is_file():
        return None
    header, rows = _cells(path)
    arguments = inspect.signature(entry.model).parameters
    if by_argument and all(_argument(name) in arguments for name in header):
        return None
    import pandas as pd

    table = pd.DataFrame.from_dict(dict(rows), orient="index", columns=header, dtype=str)
    return table.rename_axis("line")


def _read(path: Path, reader: Callable[[], "xr.DataTree"]) -> "xr.DataTree":
    try:
        return reader()
    except RowError as error:
        raise RowError(f"{path}, {error}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def load_any(data: str | Path | None) -> Any:
    """The data of a file; no data for a model that needs none."""
    if data is None:
        return {}
    path = Path(data)
    if path.is_dir():
        raise DataError(f"Expected a file, and {path} is a folder.")
    if not path.is_file():
        raise DataError(f"No such file: {path}. --data takes a .csv or a .nc file here.")
    if path.suffix.lower() == ".nc":
        from pyrovi.tree import data_alone, open_tree

        return data_alone(open_tree(path))
    if path.suffix.lower() == ".csv":
        return _columns(path)
    raise DataError(f"Expected a .csv or a .nc file, and {path.name} came.")


def with_settings(data: Any, settings: Mapping[str, Any]) -> Any:
    """``data`` with the model's arguments that ``--set`` gave."""
    import xarray as xr

    from pyrovi.tree import grow

    if not settings:
        return data
    if not isinstance(data, xr.DataTree):
        return {**data, **settings}
    before = data["constant_data"].to_dataset() if "constant_data" in data else xr.Dataset()
    given = {name: _as_variable(name, value) for name, value in settings.items()}
    return grow(data, constant_data=before.assign(given))


def _as_variable(name: str, value: Any) -> "xr.Variable":
    """What ``--set`` gave: a number, or a list of them."""
    import numpy as np
    import xarray as xr

    try:
        array = np.asarray(value)
    except ValueError:  # rows of several lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise DataError(f"--set {name}: expected a number, and {value!r} came.")
    return xr.Variable([f"{name}_dim_{axis}" for axis in range(array.ndim)], array)


def _columns(path: Path) -> dict[str, "np.ndarray"]:
    """The columns of a CSV by name; ``x[a]``, ``x[b]`` are the columns of one matrix ``x``."""
    import numpy as np

    header, rows = _cells(path)
    grouped: dict[str, list[np.ndarray]] = {}
    for i, name in enumerate(header):
        values = _column(path, name, [(line, cells[i]) for line, cells in rows])
        grouped.setdefault(_argument(name), []).append(values)
    return {
        name: parts[0] if len(parts) == 1 and name in header else np.stack(parts, axis=1)
        for name, parts in grouped.items()
    }


def _argument(column: str) -> str:
    """The argument that a column is of: ``x`` for ``x[a]``."""
    return re.sub(r"(?<=.)\[.*\]$", "", column)


def _cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row that is not blank with its line number."""
    lines = _lines(path)
    if not lines:
        raise DataError(f"{path} is empty. Its first line must name the columns.")
    (_, header), *rows = lines
    _check_header(path, header)
    if not rows:
        raise DataError(
            f"{path} names {len(header)} column(s) and has no rows. Give it a row for each case."
        )
    for number, row in rows:
        if len(row) != len(header):
            many = "Write decimals with a point, and put text that has commas in quotes."
            raise DataError(
                f"{path}, line {number}: expected {len(header)} cells, and {len(row)} came. "
                + (many if len(row) > len(header) else "Fill the row in, or remove it.")
            )
    return header, rows


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}. Is there a quote that nothing closes?"
        ) from error
    return [(number, row) for number, row in lines if any(row)]


def _check_header(path: Path, header: Sequence[str]) -> None:
    if len(header) == 1 and re.search(r"[;\t]", header[0]):
        raise DataError(
            f"{path}: expected commas between columns, and {header[0]!r} came as the first line. "
            "Save it with commas between columns and points in decimals."
        )
    if not all(header):
        raise DataError(
            f"{path}: column {header.index('') + 1} has no name. Name it in the first line, or "
            "save the table without it."
        )
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise DataError(
            f"{path}: the column {twice[0]!r} is there twice. Rename or remove one of the two."
        )
    if all(is_number(name) for name in header):
        raise DataError(
            f"{path}: the first line must name the columns, and it has numbers. Put a line with "
            "names first."
        )


def _column(path: Path, name: str, cells: Sequence[tuple[int, str]]) -> "np.ndarray":
    """Numbers; or labels, where no cell is one and none is empty."""
    import numpy as np

    texts = [text for _, text in cells]
    labels = all(text and text.isprintable() and not is_number(text) for text in texts)
    return np.array(texts) if labels else _numbers(path, name, cells)


def _numbers(path: Path, name: str, cells: Sequence[tuple[int, str]]) -> "np.ndarray":
    import numpy as np

    for line, text in cells:
        if not is_number(text) or not np.isfinite(float(text)):
            came = f"{text!r} came" if text else "the cell is empty"
            raise DataError(
                f"{path}, line {line}, column {name!r}: expected a number, and {came}. "
                "Remove the row, or fill it in."
            )
    whole = all(re.fullmatch(r"[+-]?\d{1,18}", text) for _, text in cells)
    return np.array([(int if whole else float)(text) for _, text in cells])
