"""Claims: labels are the codes that a user would make of them, and come back as the labels."""

from collections.abc import Callable
from pathlib import Path
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
from pyrovi.bound import bind

NAMES = np.array(["ITASCA", "AITKIN", "LAC QUI PARLE", "CASS"])  # in no order
SORTED = sorted(NAMES)
RNG = np.random.default_rng(0)
PICKED = np.append(np.arange(4), RNG.integers(0, 4, 36))
COUNTY = NAMES[PICKED]
CODES = np.array([SORTED.index(name) for name in COUNTY])
Y = np.array([0.0, 1.0, 2.0, 3.0])[PICKED] + RNG.normal(size=40)


def radon(county: Tensor, y: Tensor, counties: int = 4) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("county", counties):
        effect = pyro.sample("county_effect", dist.Normal(mean, 1.0))
    with pyro.plate("row", len(county)):
        pyro.sample("y", dist.Normal(effect[county], 1.0), obs=y)


def posterior(model: Callable[..., Any], data: Any) -> xr.Dataset:
    return vi.draw(vi.fit(model, data, vi.Laplace(), seed=0), draws=20)["posterior"].to_dataset()


FORMS: dict[str, Any] = {
    "an array": COUNTY,
    "objects": COUNTY.astype(object),
    "bytes": COUNTY.astype("S"),
    "a list": COUNTY.tolist(),
    "a column": pd.Series(COUNTY),
    "a category": pd.Series(COUNTY, dtype="category"),
    "an index": pd.Index(COUNTY),
    "a categorical": pd.Categorical(COUNTY),
    "a labelled array": xr.DataArray(COUNTY, dims="row"),
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_are_fitted_as_their_codes_are_bit_for_bit(form: str) -> None:
    by_codes = posterior(radon, {"county": CODES, "y": Y})
    by_labels = posterior(radon, {"county": FORMS[form], "y": Y})
    xr.testing.assert_equal(by_labels.drop_vars("county"), by_codes.drop_vars("county"))
    assert by_labels["county"].to_numpy().tolist() == SORTED
    effect = by_labels["county_effect"].sel(county="ITASCA")
    np.testing.assert_array_equal(effect, by_codes["county_effect"][..., SORTED.index("ITASCA")])


def test_categories_have_their_own_order_and_need_not_all_be_there() -> None:
    sizes = pd.Categorical(["low", "high", "low"], ["low", "middle", "high"], ordered=True)
    assert bind(radon, {"county": sizes, "y": Y[:3]}).kwargs["county"].tolist() == [0, 2, 0]
    drawn = posterior(radon, {"county": sizes, "y": Y[:3], "counties": 3})
    assert drawn["county"].to_numpy().tolist() == ["low", "middle", "high"]


def test_categories_that_are_no_text_keep_what_a_file_can_keep(tmp_path: Path) -> None:
    bands = pd.cut(pd.Series([0.5, 1.5, 2.5]), [0, 1, 2, 3])
    years = pd.Series([2001, 1999, 2000], dtype="category")
    for column, labels in ((bands, ["(0, 1]", "(1, 2]", "(2, 3]"]), (years, [1999, 2000, 2001])):
        frame = pd.DataFrame({"county": column, "y": Y[:3]})
        fit = vi.fit(lambda county, y: radon(county, y, 3), frame, vi.Laplace(), seed=0)
        tree = vi.open_tree(vi.save(vi.draw(fit, draws=2), tmp_path / "tree.nc"))
        assert tree["posterior"]["county"].to_numpy().tolist() == labels


def test_the_tree_has_the_codes_with_their_labels_and_gives_the_same_fit(tmp_path: Path) -> None:
    fit = vi.fit(radon, {"county": COUNTY, "y": Y}, vi.Laplace(), seed=0)
    tree = vi.open_tree(vi.save(vi.draw(fit, draws=20), tmp_path / "tree.nc"))
    np.testing.assert_array_equal(tree["constant_data"]["county"], CODES)
    assert vi.tree.levels_in(tree) == {"county": SORTED}
    again = vi.draw(vi.fit(radon, tree, vi.Laplace(), seed=0), draws=20)
    xr.testing.assert_identical(again["posterior"].to_dataset(), tree["posterior"].to_dataset())


def test_a_tree_of_text_is_a_tree_of_codes() -> None:
    tree = vi.data_tree({"y": ("row", Y)}, {"county": ("row", COUNTY)})
    drawn = vi.draw(vi.fit(radon, tree, vi.Laplace(), seed=0), draws=5)
    np.testing.assert_array_equal(drawn["constant_data"]["county"], CODES)
    assert drawn["posterior"]["county"].to_numpy().tolist() == SORTED
    assert tree["constant_data"]["county"].dtype.kind == "U"  # what came is as it came


# ------------------------------------------------------------------------- which axis they are of


def under_another_name(county: Tensor, y: Tensor) -> None:
    spread = pyro.sample("spread", dist.HalfNormal(1.0))
    with pyro.plate("feature", 4):  # as many, and not theirs
        weight = pyro.sample("weight", dist.Normal(0.0, 1.0))
    with pyro.plate("group", 4):
        raw = pyro.sample("raw", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(spread * raw[county] + weight.sum(), 1.0), obs=y)


def as_an_event(county: Tensor, y: Tensor) -> None:
    effect = pyro.sample("effect", dist.Normal(torch.zeros(4), 1.0).to_event(1))
    shifted = pyro.deterministic("shifted", effect + 1.0)
    pyro.sample("y", dist.Normal(shifted[county], 1.0).to_event(1), obs=y)


def with_slopes(county: Tensor, y: Tensor) -> None:
    with pyro.plate("kind", 4), pyro.plate("place", 4):
        both = pyro.sample("both", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(both[county].sum(-1), 1.0).to_event(1), obs=y)


def in_a_loop(county: Tensor, y: Tensor) -> None:
    with pyro.plate("group", 4):
        effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
    for i in range(len(y)):
        pyro.sample(f"y_{i}", dist.Normal(effect[county[i]], 1.0), obs=y[i])


@pytest.mark.parametrize(
    ("model", "dims"),
    [
        (in_a_loop, {"group"}),
        (under_another_name, {"group"}),
        (as_an_event, {"effect_dim_0", "shifted_dim_0"}),
        (with_slopes, {"place"}),
    ],
)
def test_the_axis_that_codes_point_into_has_the_labels(
    model: Callable[..., Any], dims: set[str]
) -> None:
    drawn = posterior(model, {"county": COUNTY, "y": Y})
    labelled = {dim for dim in drawn.dims if drawn[dim].dtype.kind == "U"}
    assert labelled == dims
    for dim in dims:
        assert drawn[dim].to_numpy().tolist() == SORTED


def test_two_arguments_of_as_many_labels_each_have_their_own_axis() -> None:
    def crossed(county: Tensor, year: Tensor, y: Tensor) -> None:
        with pyro.plate("c", 4):
            one = pyro.sample("one", dist.Normal(0.0, 1.0))
        with pyro.plate("t", 4):
            other = pyro.sample("other", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(one[county] + other[year], 1.0), obs=y)

    year = np.array(["d", "c", "b", "a"])[RNG.integers(0, 4, 40)]
    year[:4] = ["d", "b", "c", "a"]
    drawn = posterior(crossed, {"county": COUNTY, "year": year, "y": Y})
    assert drawn["c"].to_numpy().tolist() == SORTED
    assert drawn["t"].to_numpy().tolist() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("swap", [(0, 5), (4, 5)])
def test_rows_in_another_order_than_their_labels_do_not_get_them(swap: tuple[int, int]) -> None:
    def of_rows(county: Tensor, y: Tensor) -> None:
        with pyro.plate("county", len(y)):
            effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(effect, 1.0), obs=y + 0 * county)

    names = np.array(list("abcdef"))
    names[list(swap)] = names[list(swap[::-1])]
    drawn = posterior(of_rows, {"county": names, "y": Y[:6]})
    assert drawn["county"].to_numpy().tolist() == [0, 1, 2, 3, 4, 5]


def test_what_a_user_says_of_an_axis_goes_before_what_is_read_off() -> None:
    said = ["one", "two", "three", "four"]
    tree = vi.data_tree(
        {"y": ("row", Y)},
        {"county": ("row", COUNTY), "area": ("group", np.ones(4))},
        coords={"group": said},
    )

    def weighed(county: Tensor, y: Tensor, area: Tensor) -> None:
        with pyro.plate("group", 4):
            effect = pyro.sample("effect", dist.Normal(0.0, area))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(effect[county], 1.0), obs=y)

    assert posterior(weighed, tree)["group"].to_numpy().tolist() == said


# ------------------------------------------------------------------------------------ predictions


@pytest.fixture(scope="module")
def fitted() -> vi.Fit:
    return vi.fit(radon, {"county": COUNTY, "y": Y}, seed=0)


NEW: dict[str, Any] = {
    "a list": {"county": ["CASS", "ITASCA"]},
    "a table": pd.DataFrame({"county": pd.Categorical(["CASS", "ITASCA"])}),
    "an array with names": xr.Dataset({"county": ("row", ["CASS", "ITASCA"])}),
    "codes": {"county": [SORTED.index("CASS"), SORTED.index("ITASCA")]},
}


@pytest.mark.parametrize("form", NEW)
@pytest.mark.parametrize("saved", [False, True])
def test_a_label_is_predicted_as_the_group_that_had_it(
    fitted: vi.Fit, form: str, saved: bool, tmp_path: Path
) -> None:
    fit = fitted
    if saved:
        fit.save(tmp_path)
        fit = vi.Fit.open(tmp_path, radon, {"county": COUNTY, "y": Y})
    by_codes = vi.predict(vi.fit(radon, {"county": CODES, "y": Y}, seed=0), NEW["codes"], draws=50)
    tree = vi.predict(fit, NEW[form], draws=50)
    np.testing.assert_array_equal(tree["predictions"]["y"], by_codes["predictions"]["y"])
    assert vi.tree.levels_in(tree) == {}  # of the predictions, not of the data that were fitted
    kept = tree["predictions_constant_data"]["county"]
    assert kept.attrs["levels"] == fitted.data["constant_data"]["county"].attrs["levels"]


def test_a_model_that_counts_its_groups_has_as_many_as_new_data_ask_for() -> None:
    def counted(county: Tensor, y: Tensor) -> None:
        with pyro.plate("group", int(county.max()) + 1):
            effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
            pyro.deterministic("doubled", 2 * effect)
        with pyro.plate("row", len(county)):
            pyro.sample("y", dist.Normal(effect[county], 1.0), obs=y)

    fit = vi.fit(counted, {"county": COUNTY, "y": Y}, seed=0)
    few = vi.predict(fit, {"county": ["CASS", "AITKIN"]}, draws=50)
    many = vi.predict(fit, {"county": SORTED}, draws=50)
    for tree, labels in ((few, SORTED[:2]), (many, SORTED)):
        assert tree["predictions"]["group"].to_numpy().tolist() == labels


def test_one_label_alone_is_one_row(fitted: vi.Fit) -> None:
    assert vi.predict(fitted, {"county": "CASS"}, draws=5)["predictions"]["y"].shape == (1, 5, 1)


def test_a_new_label_is_refused_by_its_name_or_drawn_from_the_population(fitted: vi.Fit) -> None:
    with pytest.raises(vi.errors.DataError, match=r"county: 'POLK' was not among the 4 labels"):
        vi.predict(fitted, {"county": ["CASS", "POLK"]})
    new = {"county": ["CASS", "POLK"], "counties": 5}
    drawn = vi.predict(fitted, new, draws=4000, new_levels="draw")["predictions"]["y"].to_numpy()
    mean = vi.draw(fitted, draws=4000)["posterior"]["mean"].to_numpy()
    np.testing.assert_allclose(drawn[..., 1].mean(), mean.mean(), atol=0.12)
    np.testing.assert_allclose(drawn[..., 1].std(), (2 + mean.var()) ** 0.5, rtol=0.06)


def test_labels_that_are_numbers_are_predicted_by_as_numbers() -> None:
    years = pd.Series(1990 + 10 * CODES, dtype="category")
    fit = vi.fit(radon, {"county": years, "y": Y}, vi.Laplace(), seed=0)
    by_codes = vi.fit(radon, {"county": CODES, "y": Y}, vi.Laplace(), seed=0)
    one = vi.predict(fit, {"county": [2020, 1990]}, draws=20)["predictions"]["y"]
    other = vi.predict(by_codes, {"county": [3, 0]}, draws=20)["predictions"]["y"]
    np.testing.assert_array_equal(one, other)


def test_a_saved_fit_is_not_opened_on_other_labels(fitted: vi.Fit, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    with pytest.raises(vi.errors.DataError, match="not those that the fit"):
        vi.Fit.open(tmp_path, radon, {"county": np.char.add(COUNTY, "!"), "y": Y})


# -------------------------------------------------------------------------------- what is no label


def test_a_tuple_of_text_and_a_word_are_options_and_booleans_stay_so() -> None:
    def model(y: Tensor, names: tuple[str, ...], kind: str, seen: Tensor) -> None: ...

    data = {"y": Y, "names": ("b", "a"), "kind": "plain", "seen": Y > 0}
    given = bind(model, data)
    assert given.kwargs["names"] == ("b", "a")
    assert given.kwargs["kind"] == "plain"
    assert given.kwargs["seen"].dtype is torch.bool
    assert given.levels == {}


REFUSED: dict[str, tuple[Any, str]] = {
    "a gap": (
        pd.Series(["a", None, "b"]),
        r"county: 1 of its 3 labels are missing, the first at index 1",
    ),
    "numbers as text": (["1.5", "2", "n/a"], r"reads as numbers came \('1.5', '2'\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_be_no_labels_is_refused(name: str) -> None:
    column, message = REFUSED[name]
    with pytest.raises(vi.errors.DataError, match=message):
        vi.fit(radon, {"county": column, "y": Y[:3]})


OUTCOMES = {
    "floats": lambda won: won.astype(float),
    "booleans": lambda won: won,
    "whole numbers": lambda won: won.astype(int),
    "words": lambda won: np.where(won, "yes", "no"),
    "a column": pd.Series,
    "pandas's own": lambda won: pd.array(won, dtype="boolean"),
}


@pytest.mark.parametrize("form", OUTCOMES)
def test_an_outcome_of_two_is_observed_as_it_comes(form: str) -> None:
    def logistic(x: Tensor, won: Tensor) -> None:
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            pyro.sample("won", dist.Bernoulli(logits=x * slope), obs=won)

    won = RNG.permuted(Y > 1)
    drawn = [
        vi.draw(vi.fit(logistic, {"x": Y, "won": each}, vi.Laplace(), seed=0), draws=20)
        for each in (OUTCOMES[form](won), won.astype(float))
    ]
    one, other = (tree["posterior"]["slope"].to_numpy() for tree in drawn)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(drawn[0]["observed_data"]["won"], won)
    assert vi.verdict(drawn[0]).fit_status != "fail"


def test_labels_are_not_observed_as_numbers_but_as_classes() -> None:
    def measured(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    def classified(y: Tensor) -> None:
        shares = pyro.sample("shares", dist.Dirichlet(torch.ones(3)))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Categorical(shares), obs=y)

    with pytest.raises(
        vi.errors.DataError, match=r"y: expected numbers, and labels came \('a', '"
    ):
        vi.fit(measured, {"y": ["a", "b", "b", "c"]})
    tree = vi.draw(vi.fit(classified, {"y": ["a", "b", "b", "c"]}, seed=0), draws=4000)
    mean = tree["posterior"]["shares"].mean(("chain", "draw"))
    np.testing.assert_allclose(mean, np.array([2, 3, 2]) / 7, atol=0.02)


def test_a_new_group_without_a_place_is_told_what_makes_one() -> None:
    def fixed(group: Tensor, y: Tensor) -> None:
        with pyro.plate("groups", 2):
            mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(group)):
            pyro.sample("y", dist.Normal(mean[group], 1.0), obs=y)

    fit = vi.fit(fixed, {"group": ["a", "b", "a"], "y": torch.tensor([1.0, 0.0, 2.0])}, seed=0)
    with pytest.raises(vi.errors.ModelError, match="a plate of a fixed number has none"):
        vi.predict(fit, {"group": ["c"]}, new_levels="draw")
