"""Each entry of the zoo predicts at a table of new rows, by columns as its own table has them.

Tables are written in units that are not those of the fit, so that only the scaling of the fitted
data gives the right answer. The truths are closed forms of what is predicted.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pyrovi as vi
from pyrovi.cli import main
from pyrovi.errors import DataError

RNG = np.random.default_rng(3)
FAR = 4.3  # standard errors: two-sided 2e-5


def called(*arguments: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(each) for each in arguments])
    assert not caught.value.code


def predicted_by_command(
    folder: Path, name: str, table: pd.DataFrame | None, new: pd.DataFrame, *options: Any
) -> Any:
    """What `pyrovi fit` and `pyrovi predict RUN --data new.csv` write."""
    new.to_csv(folder / "new.csv", index=False)
    data = []
    if table is not None:
        table.to_csv(folder / "old.csv", index=False)
        data = ["--data", folder / "old.csv"]
    run = folder / "run"
    called("fit", name, *data, *options, "--seed", 0, "--engine", "laplace", "--out", run)
    called("predict", run, "--data", folder / "new.csv", "--draws", 2000)
    return vi.open_tree(run / "predictions.nc")


def refitted(folder: Path, name: str, variant: str | None = None) -> vi.Fit:
    entry = vi.models.get(name)
    entry = entry if variant is None else entry.variant(variant)
    return vi.Fit.open(folder / "run", entry.model, vi.open_tree(folder / "run" / "data.nc"))


def test_marks_of_new_students_are_those_of_their_coefficients(tmp_path: Path) -> None:
    hours = RNG.normal(50.0, 10.0, 40)
    table = pd.DataFrame({"hours": hours, "subject": ["maths", "art"] * 20})
    table["mark"] = (
        3.0 * hours + np.where(table["subject"] == "art", -40, 40) + RNG.normal(size=40)
    )
    options = ("--task", "subject", "--outcome", "mark")
    new = pd.DataFrame({"subject": ["art", "maths", "art"], "hours": [30.0, 50.0, 90.0]})
    tree = predicted_by_command(tmp_path, "multitask_regression:no_pooling", table, new, *options)
    about = (
        refitted(tmp_path, "multitask_regression", "no_pooling")
        .data["observed_data"]["outcome"]
        .attrs
    )
    marks = tree["predictions"]["outcome"] * about["unit"] + about["centre"]
    # The noise is one mark, so that the lines are known.
    np.testing.assert_allclose(marks.mean(("chain", "draw")), [50.0, 190.0, 230.0], atol=3.0)


def test_a_new_task_is_refused_and_a_row_without_task_is_predicted_for_each() -> None:
    entry = vi.models.get("multitask_regression")
    fit = vi.fit(entry.variant("complete_pooling").model, entry.load(), vi.Laplace(), seed=0)
    new = pd.DataFrame({"chins": [5.0], "situps": [100.0], "jumps": [50.0]})
    rows = entry.read_new(new, fit.data)
    assert rows["constant_data"]["task_index"].to_numpy().tolist() == [0, 1, 2]
    assert dict(vi.predict(fit, rows, 20)["predictions"].sizes)["row"] == 3
    unknown = entry.read_new(new.assign(t="height"), fit.data, task="t")
    assert unknown["constant_data"]["task"].to_numpy().tolist()[-1] == "height"
    pooled = vi.fit(entry.variant("no_pooling").model, entry.load(), vi.Laplace(), seed=0)
    with pytest.raises(DataError, match="were not fitted"):
        vi.predict(pooled, unknown, 20)


def test_a_network_without_bends_predicts_as_its_own_weights_say(tmp_path: Path) -> None:
    table = pd.DataFrame({"age": RNG.normal(40.0, 9.0, 30), "dose": RNG.normal(0.1, 0.02, 30)})
    table["effect"] = 100 * table["dose"] - table["age"] / 10 + RNG.normal(0.0, 0.1, 30)
    new = pd.DataFrame({"dose": [0.05, 0.1], "age": [35.0, 60.0]})  # in another order
    options = ("--outcome", "effect", "--width", 2)
    tree = predicted_by_command(tmp_path, "bayesian_neural_network", table, new, *options)
    fit = refitted(tmp_path, "bayesian_neural_network")
    posterior = vi.draw(fit, 2000)["posterior"].to_dataset()
    x = (new[["age", "dose"]] - table[["age", "dose"]].mean()) / table[["age", "dose"]].std(ddof=0)
    hidden = np.tanh(
        posterior["weight_1"].to_numpy()[0] @ x.to_numpy().T
        + posterior["bias_1"].to_numpy()[0][..., None]
    )
    value = np.einsum("dou,dur->dor", posterior["weight_2"].to_numpy()[0], hidden)[:, 0]
    value = value + posterior["bias_2"].to_numpy()[0]
    error = value.std(0) / 2000**0.5
    found = tree["predictions"]["mean"].mean(("chain", "draw")).to_numpy()
    assert (np.abs(found - value.mean(0)) < 1.5 * FAR * error).all()


def test_new_stations_have_the_gravity_of_the_ground_below(tmp_path: Path) -> None:
    from pyrovi.models.gravity_inversion import Exact, Mesh, sensitivity

    places = np.linspace(0.0, 2000.0, 12)
    table = pd.DataFrame(
        {"easting": places / 1e3, "northing": 0.0, "height": 0.001, "sigma": 0.05}
    )
    table["gravity"] = np.exp(-(((places - 900) / 400) ** 2)) + 0.3
    new = pd.DataFrame(
        {"easting": [0.3, 1.1], "northing": 0.0, "height": [0.001, 0.05], "sigma": 0.05}
    )
    options = ("--units", "km,mGal", "--cells", "4,10", "--regional", "none")
    tree = predicted_by_command(tmp_path, "gravity_inversion", table, new, *options)
    fitted = vi.open_tree(tmp_path / "run" / "data.nc")
    exact = Exact.of(fitted)
    given = fitted["constant_data"].to_dataset()
    edges = [np.linspace(-200.0, 2200.0, 11), np.linspace(-1.0, 999.0, 5)]
    np.testing.assert_allclose(given["easting"], (edges[0][1:] + edges[0][:-1]) / 2)
    kernel = sensitivity(
        np.array([300.0, 1100.0]), np.zeros(2), np.array([1.0, 50.0]), Mesh(*edges)
    )
    mean = kernel.reshape(2, -1) @ exact.mean.ravel()
    drawn = tree["predictions"]["gravity"]
    error = drawn.std(("chain", "draw")).to_numpy() / 2000**0.5
    assert (np.abs(drawn.mean(("chain", "draw")) - mean) < FAR * error).all()


def test_a_trend_goes_on_beyond_the_stations() -> None:
    entry = vi.models.get("gravity_inversion")
    x, y = (each.ravel() for each in np.meshgrid([0.0, 500.0, 1000.0], [0.0, 400.0, 800.0]))
    table = pd.DataFrame({"easting": x, "northing": y, "height": 1.0, "sigma": 0.1})
    fitted = entry.read(table.assign(gravity=0.002 * x - 0.001 * y), cells="2,3,3")
    new = pd.DataFrame(
        {"easting": [500.0, 2000.0], "northing": [400.0, 400.0], "height": 1.0, "sigma": 0.1}
    )
    basis = entry.read_new(new, fitted)["constant_data"]["basis"].to_numpy()
    own = fitted["constant_data"]["basis"].to_numpy()
    middle, step = own[4], own[5] - own[4]  # half of the survey's width to the east
    np.testing.assert_allclose(basis, [middle, middle + 3 * step], atol=1e-9)
    with pytest.raises(DataError, match="inside the mesh"):
        entry.read_new(new.assign(height=-50.0), fitted)


def test_new_points_of_a_mixture_come_in_the_units_of_the_fitted(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": RNG.normal(100.0, 5.0, 60), "b": RNG.normal(0.0, 0.1, 60)})
    new = pd.DataFrame({"b": [0.0, 0.1, 0.2], "a": [100.0, 105.0, 90.0]})
    tree = predicted_by_command(
        tmp_path, "gaussian_mixture", table, new, "--components", 1, "--variant", "diagonal"
    )
    drawn = tree["predictions"]["y"]
    assert drawn.sizes["observation"] == 3
    # Of one component a new point is like those that were fitted: standardised.
    assert np.abs(drawn.mean(("chain", "draw"))).max() < 0.4
    entry = vi.models.get("gaussian_mixture")
    fitted = entry.read(table, components=1)
    y = entry.read_new(new, fitted)["observed_data"]["y"].to_numpy()
    scaled = (new[["a", "b"]] - table.mean()) / table.std(ddof=0)
    np.testing.assert_allclose(y, scaled)
    iris: Any = entry.load("iris")["observed_data"]["y"]
    flower = iris.to_numpy()[7] * iris.attrs["unit"] + iris.attrs["centre"]
    again = pd.DataFrame([flower], columns=iris.coords["dimension"].to_numpy())
    found = entry.read_new(again, entry.load("iris"))["observed_data"]["y"]
    np.testing.assert_allclose(found, iris[7:8])


def test_schools_and_squares_name_their_columns_after_arguments(tmp_path: Path) -> None:
    new = pd.DataFrame({"sigma": np.full(8, 1e-6)})
    tree = predicted_by_command(tmp_path, "eight_schools", None, new)
    schools: Any = vi.draw(refitted(tmp_path, "eight_schools"), 2000)
    mu = schools["posterior"]["mu"]
    # They are eight other schools, of the same population.
    found = tree["predictions"]["y"].mean("school")
    error = (float(found.var() + mu.var()) / 2000) ** 0.5
    assert abs(float(found.mean() - mu.mean())) < FAR * error
    (tmp_path / "square").mkdir()
    rows = pd.DataFrame({"y": np.zeros(5)})
    tree = predicted_by_command(tmp_path / "square", "quadratic_observation", None, rows)
    drawn: Any = vi.draw(refitted(tmp_path / "square", "quadratic_observation"), 2000)
    x = drawn["posterior"]["x"]
    drawn = tree["predictions"]["y"]
    assert drawn.sizes["observation"] == 5
    assert abs(float(drawn.mean()) - float((x**2).mean())) < 0.2


def test_a_prior_on_the_command_line_is_that_of_the_run_and_of_what_follows(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    prior = ("--prior", "mu=Normal(50.0, 0.001)", "--prior", "tau=HalfNormal(scale=2.0)")
    called("fit", "eight_schools", *prior, "--seed", 0, "--engine", "laplace", "--out", run)
    called("draw", run, "--draws", 200)
    tree: Any = vi.open_tree(run / "posterior.nc")
    assert abs(float(tree["posterior"]["mu"].mean()) - 50) < 0.01
    assert "HalfNormal(scale=2)" in tree["sample_stats"].attrs["replaced"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tau", "Expected --prior"),
        ("tau=HalfNormel(2.0)", "did you mean 'HalfNormal'"),
        ("tau=HalfNormal(__import__('os'))", "malformed"),
        ("tau=HalfNormal('a')", "is no number"),
        ("tau=HalfNormal(1, 2, 3)", "Expected --prior"),
        ("tau=open('x')", "Pyro has no 'open'"),
        ("tau=HalfNormal(-1.0)", "Expected"),
    ],
)
def test_what_is_no_prior_is_said_in_one_line(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fit", "eight_schools", "--prior", text, "--out", str(tmp_path / "run")])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
