"""The tree of the data: nothing that came is lost, and the same arguments come of it again."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from torch import Tensor

import pyrovi as vi
from foreign import PYROS_OWN, ForeignModel
from pyrovi import models
from pyrovi.bound import Arguments, as_tree, bind, bind_model
from pyrovi.bound.arguments import Signature
from pyrovi.errors import DataError
from pyrovi.models import ZOO
from pyrovi.structure import declare
from pyrovi.tree import LACKING, METADATA, MISSING, OPTIONS, data_tree, grow, open_tree, save

NAMES = [f"{name}:{variant}" for name, entry in ZOO.items() for variant in entry.variants]
LOADS = [(name, data) for name in NAMES for data in models.get(name).datasets]
ROWS = ["a", "b", "c"]


def rows(y: Tensor, sigma: Any = 1.0) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("row", 3):
        pyro.sample("y", dist.Normal(loc, sigma), obs=y)


def tied(model: Callable[..., Any], data: Any) -> tuple[xr.DataTree, Arguments]:
    """The tree of data, and the arguments that were made of them at first."""
    given = bind(model, data)
    return as_tree(bind_model(model, given), data), given


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        equal = torch.equal(one, other) and one.dtype is other.dtype
    elif isinstance(one, Mapping):
        equal = one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    elif isinstance(one, tuple):
        equal = len(one) == len(other) and all(map(same, one, other))
    else:
        equal = bool(np.array_equal(one, other))
    return type(one) is type(other) and equal


def hold(model: Callable[..., Any], data: Any, tmp_path: Any = None) -> xr.DataTree:
    """The tree, of which the same arguments are made; saved and opened too."""
    tree, given = tied(model, data)
    again = bind(model, open_tree(save(tree, tmp_path / "data.nc")) if tmp_path else tree)
    assert same(again.args, given.args)
    assert same(dict(again.kwargs), dict(given.kwargs))
    assert same(dict(again.missing), dict(given.missing))
    return tree


# --------------------------------------------------------------------- the same arguments again


@pytest.mark.parametrize("model", PYROS_OWN, ids=str)
def test_the_tree_of_a_foreign_models_data_gives_its_arguments(
    model: ForeignModel, tmp_path: Any
) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        names = Signature.of(model.model).positional
        named = dict(zip(names, model.args, strict=False)) | dict(model.kwargs)
        hold(model.model, named if model.kwargs else model.args, tmp_path)
    finally:
        torch.set_default_dtype(torch.float32)


DATA: dict[str, Any] = {
    "floats": {"y": np.array([1.0, 2.0, 3.0])},
    "single": {"y": np.array([1.0, 2.0, 3.0], np.float32)},
    "whole": {"y": [1, 2, 3]},
    "a number": {"y": torch.ones(3), "sigma": 2.0},
    "a whole number": {"y": torch.ones(3), "sigma": 2},
    "a number of numpy's": {"y": torch.ones(3), "sigma": np.float64(2.0)},
    "masked": {"y": np.ma.masked_greater([1.0, 2.0, 3.0], 2.5)},
    "masked and whole": {"y": np.ma.masked_greater([1, 2, 3], 2)},
    "nothing masked": {"y": np.ma.array([1.0, 2.0, 3.0])},
    "frame": pd.DataFrame({"y": [1.0, 2.0, 3.0], "sigma": [1, 2, 3]}, index=ROWS),
    "series": pd.Series([1.0, 2.0, 3.0], name="y"),
    "tuple": (torch.ones(3), 2.0),
    "array": np.ones(3),
    "labelled": xr.DataArray(np.ones(3), dims="place", coords={"place": ROWS}),
}


@pytest.mark.parametrize("name", DATA)
def test_the_tree_of_data_gives_the_arguments_that_the_data_gave(name: str, tmp_path: Any) -> None:
    hold(rows, DATA[name], tmp_path)


def test_arguments_by_position_alone_and_as_many_as_come_are_kept() -> None:
    def by_position(y: Tensor, /, *, scale: Tensor) -> None:
        rows(y, scale)

    def parts(y: Tensor, *sigma: Tensor) -> None:
        rows(y, sum(sigma))

    hold(by_position, {"y": torch.ones(3), "scale": torch.tensor(2.0)})
    hold(parts, (torch.zeros(3), torch.ones(3), 2 * torch.ones(3)))


def test_a_dict_that_is_one_argument_is_kept_item_by_item(tmp_path: Any) -> None:
    def model(record: Mapping[str, Any]) -> None:
        rows(torch.as_tensor(record["y"]), torch.as_tensor(record["sigma"]))

    data = {"y": torch.ones(3), "sigma": np.ones(3), "label": "a", "size": 3}
    tree = hold(model, data, tmp_path)
    assert set(tree["observed_data"].data_vars) == {"y"}
    assert set(tree["constant_data"].data_vars) == {"sigma"}


def test_what_is_no_number_is_kept_where_text_can_say_it_and_else_named_as_lacking() -> None:
    def model(y: Tensor, kind: str, link: Callable[[Any], Any]) -> None:
        rows(y, link(1.0) if kind == "plain" else 2.0)

    tree, _ = tied(model, {"y": torch.ones(3), "kind": "plain", "link": float})
    assert tree.attrs[OPTIONS] == '{"kind": "plain"}'
    assert tree.attrs[LACKING] == '["link"]'
    with pytest.raises(DataError, match=r"needs link, .* A tree cannot hold what link was"):
        bind(model, tree)


# ------------------------------------------------------------------------- nothing is lost


def test_a_tree_is_kept_as_it_is_without_what_was_drawn() -> None:
    given = data_tree({"y": ("row", np.ones(3), {"units": "m"})}, coords={"row": ROWS})
    own = xr.Dataset({"note": ("k", [1.0])}, attrs={"by": "me"})
    posterior = xr.Dataset({"loc": (("chain", "draw"), np.zeros((1, 2)))})
    tree, _ = tied(rows, grow(given, own=own, posterior=posterior))
    xr.testing.assert_identical(tree, grow(given, own=own))


def test_a_fit_keeps_its_data_when_the_tree_that_came_is_changed() -> None:
    given = data_tree({"y": ("row", np.ones(3))})
    tree, _ = tied(rows, given)
    given["observed_data"]["y"][:] = 5.0
    assert tree["observed_data"]["y"].max() == 1.0


def test_a_dataset_keeps_labels_places_and_attributes() -> None:
    data = xr.Dataset(
        {"y": ("row", np.ones(3), {"units": "m", "long_name": "height"})},
        {"row": ("row", ROWS, {"long_name": "plot"}), "east": ("row", [1.0, 2.0, 3.0])},
        {"source": "a field book"},
    )
    observed = hold(rows, data)["observed_data"].to_dataset()
    xr.testing.assert_identical(observed, data)


def test_an_array_without_a_name_keeps_its_dims_and_labels() -> None:
    array = xr.DataArray(np.ones(3), dims="place", coords={"place": ROWS}, attrs={"units": "m"})
    held = hold(rows, array)["observed_data"]["y"]
    xr.testing.assert_identical(held, array.rename("y"))


def test_the_labels_of_a_frames_rows_become_those_of_the_plate() -> None:
    columns = {"y": [1.0, 2.0, 3.0], "sigma": [1.0, 1.0, 2.0]}
    tree = hold(rows, pd.DataFrame(columns, index=ROWS))
    assert tree["observed_data"]["y"]["row"].to_numpy().tolist() == ROWS
    named = hold(rows, pd.DataFrame(columns, index=pd.Index(ROWS, name="school")))
    assert named["constant_data"]["sigma"].dims == ("school",)
    levels = pd.MultiIndex.from_product([["p"], [1, 2, 3]])
    several = hold(rows, pd.DataFrame(columns, index=levels))
    assert several["observed_data"]["row"].to_numpy().tolist() == ["p, 1", "p, 2", "p, 3"]


def test_missing_values_are_nan_and_marked() -> None:
    held = hold(rows, {"y": np.ma.masked_greater([1, 2, 3], 2)})["observed_data"]["y"]
    np.testing.assert_array_equal(held, [1.0, 2.0, np.nan])
    assert held.attrs[MISSING] == 1


def test_labels_that_contradict_each_other_are_refused() -> None:
    y = xr.DataArray(np.ones(3), dims="row", coords={"row": ROWS})
    with pytest.raises(DataError, match=r"sigma has other labels of 'row'.*Align them"):
        tied(rows, {"y": y, "sigma": y.assign_coords(row=["b", "c", "d"])})


# ------------------------------------------------------------------------- names of axes


def grid(y: Tensor, x: Tensor, z: Tensor) -> None:
    """Two plates of one length, and one that stands alone."""
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("column", 3, dim=-1), pyro.plate("row", 3, dim=-2):
        pyro.sample("y", dist.Normal(loc + x, 1.0), obs=y)
    with pyro.plate("site", 5):
        pyro.sample("w", dist.Normal(z, 1.0))


def test_a_plate_gives_its_name_only_where_that_is_no_guess() -> None:
    tree = hold(grid, {"y": torch.ones(3, 3), "x": torch.ones(3), "z": torch.ones(5)})
    assert tree["observed_data"]["y"].dims == ("row", "column")  # the site observes it
    assert tree["constant_data"]["x"].dims == ("x_dim_0",)  # either could be meant
    assert tree["constant_data"]["z"].dims == ("site",)  # the only one of its length


# ------------------------------------------------------------------------- what is no argument


def test_what_is_declared_as_metadata_is_kept_and_not_passed_on() -> None:
    place = {"place": (("row", "axis"), np.zeros((3, 2)))}
    tree = data_tree({"y": ("row", np.ones(3))}, metadata=place)
    assert tree["constant_data"]["place"].attrs[METADATA] == 1
    assert set(bind(rows, tree).kwargs) == {"y"}
    with pytest.raises(DataError, match="has place, which the model does not take"):
        bind(rows, data_tree({"y": ("row", np.ones(3))}, place))

    @declare(metadata=("name",))
    def declaring(y: Tensor) -> None:
        rows(y)

    frame = pd.DataFrame({"y": np.ones(3), "name": ROWS})
    held = hold(declaring, frame)["constant_data"]["name"]
    assert held.to_numpy().tolist() == ROWS


def test_a_model_that_names_metadata_gets_them() -> None:
    tree = data_tree({"y": ("row", np.ones(3))}, metadata={"sigma": ("row", np.ones(3))})
    assert set(bind(rows, tree).kwargs) == {"y", "sigma"}

    def takes_any(y: Tensor, **rest: Any) -> None: ...

    assert set(bind(takes_any, tree).kwargs) == {"y"}


# ------------------------------------------------------------------------- and after drawing


@pytest.mark.parametrize(("name", "data"), LOADS)
def test_the_data_of_a_zoo_entry_come_out_of_a_fit_as_they_went_in(name: str, data: str) -> None:
    """Whatever engine fitted them: `draw` grows the tree that the fit keeps."""
    from pyrovi.posterior.groups import with_observed

    entry = models.get(name)
    tree = entry.load(data)
    model = bind_model(entry.model, bind(entry.model, tree))
    xr.testing.assert_identical(with_observed(as_tree(model, tree), model), tree)


def scaled(height: Tensor, obs: Tensor) -> None:
    """A site under another name than its argument, and one under that of another argument."""
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("row", 3):
        pyro.sample("obs", dist.Normal(loc, 1.0), obs=height)
        pyro.sample("half", dist.Normal(loc, 1.0), obs=obs / 2)


def test_what_a_site_observed_is_added_under_its_name_and_is_no_argument() -> None:
    height = xr.DataArray(
        [1.0, 2.0, 3.0], dims="plot", coords={"plot": ROWS}, attrs={"units": "m"}
    )
    data = {"height": height, "obs": np.array([4.0, 5.0, 6.0])}
    tree = vi.draw(vi.fit(scaled, data, vi.Laplace(), seed=0), draws=10)
    observed, constant = tree["observed_data"], tree["constant_data"]
    assert set(observed.data_vars) == {"obs", "half"}
    assert set(constant.data_vars) == {"height", "obs"}
    assert observed["obs"].attrs["units"] == "m"
    np.testing.assert_array_equal(observed["obs"], height)
    np.testing.assert_array_equal(observed["half"], [2.0, 2.5, 3.0])
    predicted = tree["posterior_predictive"]["obs"]
    assert predicted.dims == ("chain", "draw", "plot")
    assert predicted.attrs == {"units": "m"}
    assert predicted["plot"].to_numpy().tolist() == ROWS
    again = bind(scaled, tree)
    assert again.kwargs["obs"].tolist() == [4.0, 5.0, 6.0]
    assert again.kwargs["height"].tolist() == [1.0, 2.0, 3.0]
    refitted = vi.fit(scaled, tree, vi.Laplace(), seed=0).data
    assert list(refitted.children) == ["constant_data"]
    xr.testing.assert_identical(refitted["constant_data"], constant)


def test_draws_have_the_coordinates_of_the_data_with_their_attributes() -> None:
    labels = {"school": ("school", list("ABCDEFGH"), {"long_name": "school, by letter"})}
    entry = models.get("eight_schools")
    loaded = entry.load()
    both = {
        group: loaded[group]
        .to_dataset()
        .assign_coords(labels)
        .assign_coords(pupils=("school", np.arange(8) + 20))
        for group in ("observed_data", "constant_data")
    }
    tree = vi.draw(vi.fit(entry.model, grow(loaded, **both), vi.Laplace(), seed=0), draws=10)
    theta = tree["posterior"]["theta"]
    assert theta["school"].attrs["long_name"] == "school, by letter"
    assert theta["pupils"].to_numpy().tolist() == list(range(20, 28))


def test_items_of_parts_are_named_by_their_number() -> None:
    def model(*part: Tensor) -> None: ...

    assert Signature.of(model).unknown(["part_0", "part_12", "part_x"]) == ["part_x"]


def test_an_argument_that_a_site_of_another_name_observes_is_observed_data() -> None:
    def line(x: torch.Tensor, y: torch.Tensor) -> None:
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            pyro.sample("obs", dist.Normal(slope * x, 1.0), obs=y)

    data = {"x": np.arange(3.0), "y": np.array([0.5, 1.5, 2.0])}
    tree = as_tree(bind_model(line, bind(line, data)), data)
    assert set(tree["observed_data"].data_vars) == {"y"}
    assert set(tree["constant_data"].data_vars) == {"x"}
