"""Text and categories as whole numbers that a model can index by, with the labels behind them."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pyrovi.errors import DataError
from pyrovi.words import is_number, listed

NAMED = 3  # labels that a sentence names before it counts the rest


class Coded(NamedTuple):
    """For each entry the place of its label among ``levels``."""

    codes: np.ndarray
    levels: pd.Index


def coded(name: str, value: Any) -> Coded | None:
    """Text or categories as codes; None of anything else.

    The order of categories is their own, that of text is sorted.

    Raises:
        DataError: If a label is missing, or text looks like numbers.
    """
    if _is_categorical(value):
        categories = pd.Categorical(value)
        shape: tuple[int, ...] = (len(categories),)
    else:
        array = np.asarray(value)
        if not is_text(array):
            return None
        flat = array.astype(str) if array.dtype.kind == "S" else array
        categories, shape = pd.Categorical(flat.ravel()), array.shape
        _refuse_numbers(name, categories.categories)
    codes = np.asarray(categories.codes, np.int64)
    _refuse_gaps(name, codes)
    return Coded(codes.reshape(shape), plain(categories.categories))


def is_text(array: np.ndarray) -> bool:
    """Whether an array holds text, and nothing but text and gaps."""
    if array.dtype.kind != "O":
        return array.dtype.kind in "US"
    return pd.api.types.infer_dtype(array.ravel(), skipna=True) == "string"


def plain(levels: Iterable[Any]) -> pd.Index:
    """Labels as a file can keep them: numbers and text, all else as text."""
    kept = [each.item() if isinstance(each, np.generic) else each for each in levels]
    whole = all(isinstance(each, int | float | str) for each in kept)
    return pd.Index(kept if whole else list(map(str, kept)))


def written(levels: pd.Index) -> str:
    """Labels as the text of an attribute."""
    return json.dumps(levels.tolist())


def read(text: str) -> pd.Index:
    """What `written` wrote."""
    return pd.Index(json.loads(text))


def named(labels: Sequence[Any]) -> str:
    """Some labels in a sentence."""
    return listed([repr(each) for each in labels], NAMED, ", ")


def recoded(name: str, come: Coded, levels: pd.Index, *, more: bool) -> Coded:
    """Codes by labels that are known; what is not among them is added where ``more`` is allowed.

    Raises:
        DataError: If a label is new, and no more are allowed.
    """
    places = levels.get_indexer(come.levels)
    used = np.unique(come.codes)
    new = come.levels[used[places[used] < 0]]
    if len(new) and not more:
        raise DataError(
            f"{name}: {named(new.tolist())} was not among the {len(levels)} labels that were "
            "fitted. Leave out what has it, or ask for new_levels='draw' with as many groups."
        )
    known = levels.append(new)
    return Coded(known.get_indexer(come.levels)[come.codes], known)


def _is_categorical(value: Any) -> bool:
    columns = pd.Series, pd.Index, pd.api.extensions.ExtensionArray
    return isinstance(value, columns) and isinstance(value.dtype, pd.CategoricalDtype)


def _refuse_numbers(name: str, levels: pd.Index) -> None:
    """Numbers that were read as text are no labels, and would be put into another order."""
    numbers = [each for each in levels if is_number(each)]
    if numbers:
        raise DataError(
            f"{name}: expected numbers or labels, and text that reads as numbers came "
            f"({named(numbers)}). Read it as numbers (pandas.to_numeric), or, where these are "
            "labels, make it a category (astype('category'))."
        )


def _refuse_gaps(name: str, codes: np.ndarray) -> None:
    gaps = np.flatnonzero(codes < 0)
    if len(gaps):
        raise DataError(
            f"{name}: {len(gaps)} of its {len(codes)} labels are missing, the first at index "
            f"{gaps[0]}. Drop those rows, or give them a label of their own."
        )
