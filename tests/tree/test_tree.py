import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

import trees
from pyrovi.errors import DataError, OutputError, TreeError
from pyrovi.tree import (
    CHAINS,
    DRAWS,
    INDEPENDENT,
    POINTS,
    data_tree,
    draw_kind,
    grow,
    has,
    json_attr,
    open_tree,
    original_name,
    quantities,
    require,
    safe_name,
    save,
    validate,
)


@pytest.fixture(scope="module")
def tree():
    return trees.linear_gaussian_tree(draws=30, chains=2, restarts=3, mean_field=True)


# Names


@pytest.mark.parametrize("name", ["theta", "layers.0.weight", "a/b", "50%", "Élan", " x", "a\nb"])
def test_a_safe_name_can_be_turned_back(name):
    assert original_name(safe_name(name)) == name
    assert "/" not in safe_name(name)


def test_different_names_stay_different():
    names = ["a/b", "a%2Fb", "a.b", "a_b"]
    assert len({safe_name(name) for name in names}) == len(names)


def test_the_sample_dims_are_not_for_sites():
    assert safe_name("chain") == "chain_"
    assert safe_name("x", taken={"x", "x_"}) == "x__"


def test_a_safe_name_survives_a_file(tmp_path):
    draws = xr.Dataset({safe_name("net/weight\t"): (("chain", "draw"), np.zeros((1, 2)))})
    path = save(grow(xr.DataTree(), posterior=draws), tmp_path / "t.nc")
    (name,) = open_tree(path)["posterior"].data_vars
    assert original_name(name) == "net/weight\t"


# Building


def test_dims_without_a_name_are_named_after_the_variable():
    tree = data_tree({"y": np.zeros((2, 3))})
    assert tree["observed_data"]["y"].dims == ("y_dim_0", "y_dim_1")


def test_a_scalar_stays_a_scalar():
    assert data_tree({"y": [1.0]}, {"J": 8})["constant_data"]["J"].item() == 8


def test_a_tuple_of_numbers_is_an_array_and_not_dims():
    assert data_tree({"y": (1.0, 2.0)})["observed_data"]["y"].shape == (2,)


def test_coordinates_reach_both_groups():
    tree = data_tree(
        {"y": ("school", [1.0, 2.0])},
        {"sigma": ("school", [3.0, 4.0])},
        coords={"school": ["A", "B"]},
    )
    for group in ("observed_data", "constant_data"):
        assert tree[group]["school"].values.tolist() == ["A", "B"]


@pytest.mark.parametrize(
    ("observed", "constant", "word"),
    [
        ({"y": [1.0]}, {"y": [2.0]}, "Give it once"),
        ({"y": ("n", [1.0])}, {"x": ("n", [1.0, 2.0])}, "fit together"),
        ({"y": (["a", "b"], [1.0])}, None, "Name each axis once"),
    ],
)
def test_data_that_contradict_themselves_are_refused_in_one_line(observed, constant, word):
    with pytest.raises(DataError, match=word) as caught:
        data_tree(observed, constant)
    assert "\n" not in str(caught.value)


def test_growing_leaves_the_tree_it_grew_from_alone():
    before = data_tree({"y": [1.0]})
    after = grow(before, posterior=xr.Dataset({"a": (("chain", "draw"), np.zeros((1, 2)))}))
    assert list(before.children) == ["observed_data"]
    assert list(after.children) == ["observed_data", "posterior"]


def test_growing_replaces_a_group_whole():
    old = xr.Dataset({"a": ("x", [1.0])}, coords={"x": [7]})
    new = xr.Dataset({"b": ("x", [1.0, 2.0])})
    tree = grow(grow(xr.DataTree(), posterior=old), posterior=new)
    assert list(tree["posterior"].data_vars) == ["b"]
    assert tree["posterior"].sizes == {"x": 2}


def test_a_nested_group_grows_beside_its_siblings():
    one = xr.Dataset({"v": ("quantity", [1.0])})
    two = xr.Dataset({"v": ("quantity", [1.0, 2.0])})
    tree = grow(xr.DataTree(), **{"diagnostics/a": one, "diagnostics/b": two})
    assert has(tree, "diagnostics/a")
    assert has(tree, "diagnostics/b", "v")
    assert not has(tree, "diagnostics/c")


# Asking


def test_a_missing_group_is_named_with_the_verb_that_writes_it():
    with pytest.raises(TreeError, match=r"'posterior'.*holds observed_data.*pyrovi\.draw"):
        require(data_tree({"y": [1.0]}), "posterior")


def test_something_else_than_a_tree_is_refused():
    with pytest.raises(TreeError, match="a dict came"):
        require({"y": [1.0]}, "posterior")


def test_quantities_are_labelled_by_their_coordinates(tree):
    found = dict(quantities(tree["posterior"].to_dataset()))
    assert list(found) == ["alpha", "beta[slope]", "beta[curve]"]
    beta = tree["posterior"]["beta"]
    np.testing.assert_array_equal(found["beta[curve]"], beta.sel(feature="curve"))


def test_quantities_of_a_matrix_come_in_its_own_order():
    values = np.arange(12.0).reshape(1, 2, 2, 3)
    found = dict(quantities(xr.Dataset({"b": (("chain", "draw", "i", "j"), values)})))
    np.testing.assert_array_equal(found["b[1,2]"], values[:, :, 1, 2])


def test_json_attributes_are_read_and_bad_ones_refused(tree):
    assert [site["name"] for site in json_attr(tree, "sites")] == ["alpha", "beta", "y"]
    assert json_attr(tree, "nothing", default=3) == 3
    stats = tree["sample_stats"].to_dataset().assign_attrs(notes="[")
    with pytest.raises(TreeError, match="notes"):
        json_attr(grow(tree, sample_stats=stats), "notes")


def test_the_attribute_says_what_the_draws_are(tree):
    for kind in (INDEPENDENT, CHAINS, POINTS):
        stats = tree["sample_stats"].to_dataset().assign_attrs({DRAWS: kind})
        assert draw_kind(grow(tree, sample_stats=stats)) == kind


@pytest.mark.parametrize(
    "name", ["diverging", "tree_depth", "n_steps", "energy", "acceptance_rate", "step_size"]
)
def test_a_samplers_statistics_mean_chains(tree, name):
    stats = tree["sample_stats"].to_dataset()
    by_sampler = stats.assign({name: (("chain", "draw"), np.zeros((2, 30)))})
    assert draw_kind(grow(tree, sample_stats=by_sampler.drop_attrs())) == CHAINS


def test_a_log_density_of_the_approximation_means_independent_draws(tree):
    stats = tree["sample_stats"].to_dataset().drop_attrs()
    assert draw_kind(grow(tree, sample_stats=stats)) == INDEPENDENT
    assert draw_kind(grow(tree, sample_stats=stats.drop_vars("log_guide"))) == ""
    assert draw_kind(data_tree({"y": [1.0]})) == ""


# Validating


def test_a_whole_tree_is_valid(tree):
    validate(tree)


def _posterior(dims=("chain", "draw"), shape=(2, 30), dtype=float):
    return xr.Dataset({"a": (dims, np.zeros(shape, dtype))})


@pytest.mark.parametrize(
    ("group", "dataset", "word"),
    [
        ("posterior", _posterior(("sample",), (60,)), r"dims \(chain, draw"),
        ("posterior", _posterior(("draw", "chain"), (30, 2)), r"\(draw, chain\) came"),
        ("posterior", _posterior(dtype=object), "dtype object"),
        ("log_prior", _posterior(shape=(2, 29)), "draw of length 30"),
        ("prior", _posterior(), "chain of length 1"),
        ("observed_data", _posterior(), "no draws"),
        ("log_likelihood", _posterior(), "variable of observed_data"),
        ("sample_stats", xr.Dataset({"loss": ("step", [1.0])}), r"dims \(chain, step\)"),
        ("sample_stats", xr.Dataset({"status": ("chain", ["fine", "fine"])}), "'fine' came"),
        ("sample_stats", xr.Dataset(attrs={"sites": "{"}), "JSON"),
        ("sample_stats", xr.Dataset(attrs={"draws": "sampled"}), "'sampled' came"),
    ],
)
def test_a_tree_that_breaks_a_rule_is_refused_in_one_line(tree, group, dataset, word):
    with pytest.raises(TreeError, match=word) as caught:
        validate(grow(tree, **{group: dataset}))
    assert "\n" not in str(caught.value)


def _replicated(draws):
    values = np.zeros((2, len(draws), 2))
    coords = {"chain": [0, 1], "draw": draws}
    return xr.Dataset({"y": (("chain", "draw", "n"), values)}, coords=coords)


def test_data_may_be_replicated_for_some_of_the_draws(tree):
    posterior = _posterior().assign_coords(chain=[0, 1], draw=np.arange(30))
    whole = grow(data_tree({"y": [1.0, 2.0]}), posterior=posterior)
    validate(grow(whole, posterior_predictive=_replicated([0, 10, 20])))
    with pytest.raises(TreeError, match="draw of length 30"):
        validate(grow(whole, posterior_predictive=_replicated([0, 10, 40])))


# Files


def test_a_tree_comes_back_from_a_file_exactly(tree, tmp_path):
    odd = xr.Dataset(
        {
            "flag": ("n", [True, False]),
            "count": ("n", np.array([1, 2], dtype=np.int32)),
            "text": ("n", ["", "Élan <b>"]),
            "missing": ("n", [np.nan, -np.inf]),
            "single": ((), np.float32(0.1)),
        },
        coords={"n": ["a/b", "c"]},
        attrs={"seed": 3, "share": 0.25, "empty": ""},
    )
    tree = grow(tree, odd=odd)
    back = open_tree(save(tree, tmp_path / "t.nc"))
    assert back.identical(tree)
    for node in tree.subtree:
        for name, variable in node.variables.items():
            assert back[node.path].variables[name].dtype == variable.dtype, name
    assert dict(back["odd"].attrs) == dict(odd.attrs)


def test_a_tree_can_be_saved_over_the_file_it_came_from(tree, tmp_path):
    path = save(tree, tmp_path / "t.nc")
    assert open_tree(save(open_tree(path), path)).identical(tree)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's list of open files")
def test_no_file_stays_open(tree, tmp_path):
    path = save(tree, tmp_path / "t.nc")
    back = open_tree(path)
    held = [fd.resolve() for fd in Path("/proc/self/fd").iterdir()]
    assert path not in held
    path.unlink()
    assert back["posterior"]["alpha"].values.size == 60


def test_a_folder_that_is_not_there_gives_one_line_and_no_file(tree, tmp_path):
    with pytest.raises(OutputError, match="Cannot write") as caught:
        save(tree, tmp_path / "no" / "t.nc")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tree, tmp_path, monkeypatch):
    path = save(tree, tmp_path / "t.nc")
    before = path.read_bytes()

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        save(data_tree({"y": [1.0]}), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["t.nc"]


def test_what_netcdf_cannot_hold_is_refused(tmp_path):
    with pytest.raises(TreeError, match="netCDF"):
        save(grow(xr.DataTree(), odd=xr.Dataset(attrs={"a": {"b": 1}})), tmp_path / "t.nc")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TreeError, match="no such file"):
        open_tree(tmp_path / "t.nc")


@pytest.mark.parametrize("kept", [0, 10, 3000])
def test_a_damaged_file_is_refused_in_one_line(tree, tmp_path, kept):
    path = save(tree, tmp_path / "t.nc")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(TreeError, match="damaged or no netCDF") as caught:
        open_tree(path)
    assert "\n" not in str(caught.value)


def _external_link(file, secret):
    file["posterior/leak"] = h5py.ExternalLink(str(secret), "/x")


def _soft_link(file, secret):
    file["posterior/leak"] = h5py.SoftLink("/posterior/alpha")


def _external_storage(file, secret):
    file.create_dataset("leak", (4,), dtype="u1", external=[(str(secret), 0, 4)])


def _virtual(file, secret):
    layout = h5py.VirtualLayout((4,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(secret), "x", shape=(4,))
    file.create_virtual_dataset("leak", layout)


def _bomb(file, secret):
    file.create_dataset("leak", (2**40,), dtype="f8", chunks=(2**20,))


def _cycle(file, secret):
    file["posterior/again"] = file["/"]


@pytest.mark.parametrize(
    "hazard", [_external_link, _soft_link, _external_storage, _virtual, _bomb, _cycle]
)
def test_a_file_that_reaches_out_of_itself_is_not_opened(tree, tmp_path, hazard):
    path = save(tree, tmp_path / "t.nc")
    secret = tmp_path / "secret"
    secret.write_bytes(b"1234" * 8)
    with h5py.File(path, "a") as file:
        hazard(file, secret)
    with pytest.raises(TreeError, match=r"t\.nc") as caught:
        open_tree(path)
    assert "damaged" not in str(caught.value)


def test_notes_and_versions_survive_as_json(tree, tmp_path):
    back = open_tree(save(tree, tmp_path / "t.nc"))
    assert json_attr(back, "versions") == json.loads(tree["sample_stats"].attrs["versions"])
