"""A person's own table for the mixture, and arguments that cannot be."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

import pyrovi as vi
from pyrovi.errors import DataError
from pyrovi.models import gaussian_mixture, get

ENTRY = get("gaussian_mixture")
FLOWERS = pd.DataFrame(
    {"length": [1.0, 2.0, 4.0, 5.0], "width": [0.5, 0.5, 3.0, 2.0], "species": list("aabb")}
)


def test_a_table_is_standardised_and_its_columns_are_the_dimensions() -> None:
    data = ENTRY.read(FLOWERS, components="2", columns="width,length", spread="1.5")
    y = data["observed_data"]["y"]
    assert y["dimension"].to_numpy().tolist() == ["width", "length"]
    assert data["constant_data"]["components"] == 2
    assert data["constant_data"]["spread"] == 1.5
    np.testing.assert_allclose(y.mean("observation"), 0, atol=1e-12)
    np.testing.assert_allclose(y.std("observation"), 1)
    back = y.to_numpy() * y.attrs["unit"] + y.attrs["centre"]
    np.testing.assert_allclose(back, FLOWERS[["width", "length"]])


def test_a_table_that_is_only_centred_keeps_its_units() -> None:
    read = get("gaussian_mixture:unit").read
    y = read(FLOWERS, components=2, columns=["length"], standardised="centred")
    np.testing.assert_allclose(y["observed_data"]["y"][:, 0], [-2, -1, 1, 2])


def test_the_irises_read_as_a_table_are_the_irises() -> None:
    bunch: Any = load_iris(as_frame=True)
    names = {name: name.removesuffix(" (cm)") for name in bunch.data.columns}
    data = ENTRY.read(bunch.data.rename(columns=names), components=3)
    kept = ENTRY.load("iris")
    np.testing.assert_allclose(data["observed_data"]["y"], kept["observed_data"]["y"], atol=1e-12)
    assert data["observed_data"]["dimension"].equals(kept["observed_data"]["dimension"])
    assert data["constant_data"].to_dataset().equals(kept["constant_data"].to_dataset())


def test_columns_may_have_spaces_commas_umlauts_or_numbers_for_names() -> None:
    names = ["Länge, cm", "Höhe über Grund", 3]
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(9, 3)), columns=names)
    for columns, dimensions in (
        (None, ["Länge, cm", "Höhe über Grund", "3"]),
        ("Länge, cm", ["Länge, cm"]),
        ("Höhe über Grund, 3", ["Höhe über Grund", "3"]),
    ):
        y = ENTRY.read(frame, components=2, columns=columns)["observed_data"]["y"]
        assert y["dimension"].to_numpy().tolist() == dimensions


TABLES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a column of words": (
        {},
        {"columns": None},
        r"row 0, column 'species'.*--columns length,width",
    ),
    "an empty cell": ({"width": [1.0, None, 2.0, 3.0]}, {}, "row 1, column 'width'.* none came"),
    "an infinity": ({"width": [1.0, np.inf, 2.0, 3.0]}, {}, "expected a number, and 'inf' came"),
    "a constant": ({"width": 0.1}, {}, "'width' is 0.1 in every row.*: --columns length"),
    "an unknown column": ({}, {"columns": "lenght"}, "'lenght' .did you mean 'length'"),
    "a column twice": ({}, {"columns": "length,length"}, "'length' is named twice"),
    "no column": ({}, {"columns": ""}, "and none came. There is: length, width, species"),
    "no components": (
        {},
        {"components": 0},
        "components: .* whole number from 1 to 4, and 0",
    ),
    "minus one": ({}, {"components": "-1"}, "from 1 to 4, and '-1' came"),
    "half a component": ({}, {"components": "2.5"}, "from 1 to 4, and '2.5' came"),
    "a letter": ({}, {"components": "a"}, "from 1 to 4, and 'a' came"),
    "more than rows": ({}, {"components": 5}, "from 1 to 4, and 5 came"),
    "no spread": (
        {},
        {"spread": 0},
        r"spread: .* from 1e-100 to 1e\+100, and 0",
    ),
    "a word for a spread": ({}, {"spread": "wide"}, "spread: .*, and 'wide' came"),
    "endless spread": ({}, {"spread": np.inf}, "spread: .*, and inf came"),
    "a scale that is none": ({}, {"standardised": "no"}, "each, centred, and 'no' came"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_that_cannot_be_read_is_one_clear_error(case: str) -> None:
    change, options, said = TABLES[case]
    given = {"components": 2, "columns": "length,width", **options}
    with pytest.raises(DataError, match=said) as error:
        ENTRY.read(FLOWERS.assign(**change), **given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("came", [{"length": [1.0, 2.0]}, pd.Series([1.0, 2.0]), np.eye(2), None])
def test_what_is_no_table_is_named(came: Any) -> None:
    with pytest.raises(DataError, match=f"DataFrame, and a {type(came).__name__} came"):
        ENTRY.read(came, components=2)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_table_of_no_rows_or_of_one_is_refused(rows: int) -> None:
    with pytest.raises(DataError, match=f"has {rows} row.* two or more"):
        ENTRY.read(FLOWERS[:rows], components=1, columns="length")


ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "a vector": ({"y": np.arange(5.0)}, r"shape \(5,\) came.* y\[:, None\].*--columns y"),
    "no components": ({"components": 0}, "from 1 to 10000, and 0 came"),
    "minus one": ({"components": -1}, "and -1 came"),
    "half a component": ({"components": 2.5}, "and 2.5 came"),
    "a letter": ({"components": "a"}, "and 'a' came"),
    "too many to hold": ({"components": 10**9}, "from 1 to 10000, and 1000000000 came"),
    "numbers beyond squares": ({"y": np.full((5, 2), 1e150)}, r"at most 1e\+100 .* 1e\+150 came"),
    "a box": ({"y": np.ones((2, 3, 4))}, r"shape \(2, 3, 4\) came"),
    "a negative spread": ({"spread": -1.0}, "spread is .*, above 0, and -1.0 came"),
}


@pytest.mark.parametrize("engine", [vi.Laplace(), vi.CAVI()], ids=["laplace", "cavi"])
def test_whole_numbers_are_data_like_any_other(engine: Any) -> None:
    y = np.array([[0, 1], [1, 0], [1, 1], [9, 8], [8, 8], [9, 9]])
    model = get("gaussian_mixture:conjugate").model
    fits = [vi.fit(model, {"y": of, "components": 2}, engine, seed=0) for of in (y, 1.0 * y)]
    one, other = (vi.draw(fit, draws=20) for fit in fits)
    np.testing.assert_allclose(one["posterior"]["loc"], other["posterior"]["loc"], rtol=1e-9)
    labels = {"dimension": ["petal", "sepal"]}
    tree = vi.data_tree({"y": (("observation", "dimension"), y)}, {"components": 2}, labels)
    loc = vi.draw(vi.fit(model, tree, engine, seed=0), draws=20)["posterior"]["loc"]
    assert loc["dimension"].to_numpy().tolist() == labels["dimension"]


@pytest.mark.parametrize("variant", gaussian_mixture.FORMS)
@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_that_cannot_be_are_one_clear_error(case: str, variant: str) -> None:
    change, said = ARGUMENTS[case]
    given = {"y": np.arange(10.0).reshape(5, 2) ** 0.5, "components": 2, **change}
    with pytest.raises(DataError, match=said) as error:
        vi.fit(get(f"gaussian_mixture:{variant}").model, given, vi.Laplace(), seed=0)
    assert "\n" not in str(error.value)
