"""Typed options of a table: the same as a value and as its text, and refused in one line."""

from typing import Annotated, Any

import pytest
import torch

from pyrovi.errors import DataError
from pyrovi.models.options import number, one_of, typed, whole, yes_or_no


def reader(
    frame: Any,
    *,
    width: Annotated[int, whole(9)] = 5,
    depth: Annotated[float | None, number(0.5, 100.0, " m")] = None,
    scale: Annotated[str, one_of(("each", "none"))] = "each",
    flat: Annotated[bool | None, yes_or_no] = None,
    columns: Any = None,
) -> None:
    """A table's reader."""


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("width", 7, " 7 "),
        ("depth", 12.5, "12.5"),
        ("scale", "none", "none"),
        ("flat", True, "Yes"),
        ("flat", False, "no"),
        ("columns", "a,b", "a,b"),
    ],
)
def test_an_option_is_the_same_as_a_value_and_as_its_text(
    name: str, value: Any, text: str
) -> None:
    assert typed(reader, {name: value}) == typed(reader, {name: text}) == {name: value}


def test_what_is_none_by_default_may_be_given_so() -> None:
    given = {"depth": None, "flat": None, "columns": None}
    assert typed(reader, given) == given


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("width", None, "width: expected a whole number from 1 to 9, and None came."),
        ("width", True, "from 1 to 9, and True came."),
        ("width", torch.tensor(2.0), "from 1 to 9, and 2.0 came."),
        ("width", 10, "from 1 to 9, and 10 came."),
        ("depth", "deep", "depth: expected a number from 0.5 to 100 m, and 'deep' came."),
        ("depth", "nan", "from 0.5 to 100 m, and 'nan' came."),
        ("scale", "nome", "one of each, none, and 'nome' came (did you mean 'none'?)."),
        ("flat", "maybe", "flat: expected yes or no, and 'maybe' came."),
    ],
)
def test_an_option_that_cannot_be_is_one_line(name: str, value: Any, said: str) -> None:
    with pytest.raises(DataError) as error:
        typed(reader, {name: value})
    assert str(error.value).endswith(said)
    assert "\n" not in str(error.value)
