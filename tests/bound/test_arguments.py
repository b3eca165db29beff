"""From whatever the data came in to tensors: dtypes, labels, missing values, nothing shared."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro.nn import PyroModule
from torch import Tensor

import pyrovi as vi
from pyrovi.bound import bind, to_numpy
from pyrovi.errors import DataError


def model(y: Tensor, size: int = 3, *, scale: float = 1.0) -> None:
    """What is bound by name; it is never run here."""


def takes_any(y: Tensor, **rest: Any) -> None:
    """Any name will do."""


def takes_one(record: Any) -> None:
    """One argument for all of the data."""


# ------------------------------------------------------------------------- what becomes of a value

DTYPES = {
    "float16": (np.array([1.5], np.float16), torch.float64),
    "float32": (np.array([1.5], np.float32), torch.float64),
    "int8": (np.array([1], np.int8), torch.int64),
    "uint64": (np.array([1], np.uint64), torch.int64),
    "bool": (np.array([True]), torch.bool),
    "single tensor": (torch.tensor([1.5]), torch.float64),
    "short tensor": (torch.tensor([1], dtype=torch.int16), torch.int64),
    "bool tensor": (torch.tensor([True]), torch.bool),
    "list of floats": ([1.5, 2.5], torch.float64),
    "list of ints": ([1, 2], torch.int64),
    "nullable integers": (pd.Series([1, 2], dtype="Int64"), torch.int64),
    "big-endian": (np.array([1.5], ">f8"), torch.float64),
    "reversed": (np.arange(3.0)[::-1], torch.float64),
}


@pytest.mark.parametrize("name", DTYPES)
def test_floats_become_double_integers_long_and_booleans_stay(name: str) -> None:
    value, dtype = DTYPES[name]
    bound = bind(model, {"y": value}).kwargs["y"]
    assert bound.dtype is dtype
    expected = value if isinstance(value, Tensor) else np.array(value, dtype=float)
    np.testing.assert_array_equal(bound.double().numpy(), np.asarray(expected, dtype=float))


@pytest.mark.parametrize("size", [np.int32(4), np.array(4), np.uint8(4)])
def test_a_whole_number_from_numpy_is_a_python_number_so_that_it_can_be_a_size(size: Any) -> None:
    bound = bind(model, {"y": [1.0], "size": size}).kwargs["size"]
    assert type(bound) is int
    assert bound == 4


def test_a_single_float_from_numpy_is_a_tensor_without_axes() -> None:
    bound = bind(model, {"y": [1.0], "scale": np.float32(0.5)}).kwargs["scale"]
    assert isinstance(bound, Tensor)
    assert bound.shape == ()
    assert bound.item() == 0.5


@pytest.mark.parametrize(
    "value", ["a", None, {"a": 1}, ("a", "b"), [torch.ones(1), torch.ones(2)]]
)
def test_what_is_no_array_is_passed_on_untouched(value: Any) -> None:
    assert bind(model, {"y": [1.0], "size": value}).kwargs["size"] is value


@pytest.mark.parametrize(
    "made",
    [lambda y: y, torch.as_tensor, pd.Series, lambda y: xr.DataArray(y, dims="row")],
    ids=["array", "tensor", "series", "labelled"],
)
def test_nothing_that_is_bound_shares_memory_with_what_came_in(made: Any) -> None:
    y = np.array([1.0, 2.0])
    bound = bind(model, {"y": made(y)}).kwargs["y"]
    y[:] = -1.0
    assert bound.tolist() == [1.0, 2.0]
    bound += 5
    assert y.tolist() == [-1.0, -1.0]


def test_a_gradient_does_not_come_along() -> None:
    y = torch.ones(2, requires_grad=True)
    assert not bind(model, {"y": y}).kwargs["y"].requires_grad


# ------------------------------------------------------------------------- which argument it is


def test_a_tuple_is_bound_in_the_order_of_the_arguments() -> None:
    assert bind(model, (np.ones(2), 5)).kwargs == {"y": pytest.approx([1.0, 1.0]), "size": 5}


def test_positional_only_arguments_stay_positional() -> None:
    def positional(y: Tensor, /, size: int) -> None: ...

    bound = bind(positional, (np.ones(2), 5))
    assert [value.tolist() for value in bound.args] == [[1.0, 1.0]]
    assert bound.kwargs == {"size": 5}


def test_a_variadic_model_takes_as_many_as_come() -> None:
    def variadic(*parts: Tensor) -> None: ...

    assert [value.item() for value in bind(variadic, (np.ones(1), np.zeros(1))).args] == [1.0, 0.0]


def test_a_module_is_bound_by_the_arguments_of_its_forward() -> None:
    class Module(PyroModule):
        def forward(self, y: Tensor, size: int = 2) -> None: ...

    assert bind(Module(), np.ones(2)).kwargs["y"].tolist() == [1.0, 1.0]
    with pytest.raises(DataError, match="has z, which the model does not take; it takes y, size"):
        bind(Module(), {"y": np.ones(2), "z": np.ones(2)})


def test_a_model_that_takes_any_name_gets_them_all() -> None:
    assert set(bind(takes_any, {"y": [1.0], "z": [2.0]}).kwargs) == {"y", "z"}


def test_a_dict_goes_whole_to_a_model_of_one_argument_unless_a_key_is_that_argument() -> None:
    data = {"a": np.ones(2), "b": 3}
    assert bind(takes_one, data).kwargs == {"record": data}
    assert bind(takes_one, {"record": 3}).kwargs == {"record": 3}


def test_a_dict_that_goes_whole_may_not_hide_a_nan() -> None:
    def observes_one(record: Any) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("row", 2):
            pyro.sample("a", dist.Normal(loc, 1.0), obs=torch.as_tensor(record["a"]))

    with pytest.raises(DataError, match=r"a: expected finite values, and 1 NaN.*index 1"):
        vi.fit(observes_one, {"a": [1.0, np.nan], "b": 3})
    with pytest.raises(DataError, match=r"a: expected finite values, and 1 infinite.*index 1"):
        bind(takes_one, {"a": [1.0, np.inf], "b": 3})


def test_no_data_is_no_arguments() -> None:
    for nothing in (None, {}):
        bound = bind(lambda: None, nothing)
        assert (bound.args, dict(bound.kwargs)) == ((), {})


# ------------------------------------------------------------------------- labels and truth


def test_the_names_of_axes_come_along_from_a_dataset() -> None:
    data = xr.Dataset({"y": ("school", [1.0, 2.0])}, coords={"school": ["A", "B"]})
    assert bind(model, data).dims == {"y": ("school",)}


def test_a_named_series_and_a_named_array_are_bound_by_their_name() -> None:
    for named in (pd.Series([1.0], name="y"), xr.DataArray([1.0], dims="row", name="y")):
        assert bind(takes_any, named).kwargs["y"].tolist() == [1.0]


def test_a_tree_gives_its_data_groups_and_keeps_the_truth_from_the_model() -> None:
    tree = vi.data_tree(
        observed={"y": ("row", np.ones(2))}, constant={"size": 2}, truth={"scale": 0.5}
    )
    assert set(bind(model, tree).kwargs) == {"y", "size"}


# ------------------------------------------------------------------------- missing values


def test_masked_entries_are_noted_and_filled_with_a_value_that_was_seen() -> None:
    """Zero would lie outside the support of many a likelihood."""
    y = np.ma.masked_invalid([np.nan, 3.0, np.inf, 4.0])
    bound = bind(model, {"y": y})
    assert bound.missing["y"].tolist() == [True, False, True, False]
    assert bound.kwargs["y"].tolist() == [3.0, 3.0, 3.0, 4.0]


def test_an_array_of_which_nothing_is_masked_misses_nothing() -> None:
    assert not bind(model, {"y": np.ma.array([1.0, 2.0])}).missing["y"].any()


@pytest.mark.parametrize("column", [[1.0, np.nan], pd.array([1, None], dtype="Int64")])
def test_a_missing_value_in_a_column_is_an_error_that_says_how_to_leave_it_out(
    column: Any,
) -> None:
    frame = pd.DataFrame({"y": column})

    def observes(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    with pytest.raises(DataError, match=r"y: .* 1 NaN.* index 1.*numpy\.ma\.masked_invalid"):
        vi.fit(observes, frame)


def test_the_place_of_a_bad_value_in_a_matrix_is_both_of_its_indices() -> None:
    y = np.ones((2, 3))
    y[1, 2] = np.inf
    with pytest.raises(
        DataError, match=re.escape("1 infinite value(s) came, the first at index (1, 2)")
    ):
        bind(model, {"y": y})


# ------------------------------------------------------------------------- and back


def test_to_numpy_gives_an_array_of_its_own() -> None:
    tensor = torch.ones(2, requires_grad=True)
    array = to_numpy(tensor)
    array[:] = 5.0
    assert tensor.tolist() == [1.0, 1.0]
    given = np.zeros(2)
    to_numpy(given)[:] = 1.0
    assert given.tolist() == [0.0, 0.0]
    assert to_numpy([1, 2]).tolist() == [1, 2]
