"""Claims: predictions at new data are those of closed forms, and what is new is never guessed."""

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

NOISE = 0.5
RNG = np.random.default_rng(0)
X = np.column_stack([np.ones(30), RNG.normal(size=30)])
Y = X @ [1.0, -2.0] + NOISE * RNG.normal(size=30)
NEW_X = np.column_stack([np.ones(4), [-3.0, 0.0, 1.0, 6.0]])
ENUMERATE: Any = {"enumerate": "parallel"}


def in_a_plate(x: Tensor, y: Tensor) -> None:
    slopes = pyro.sample("slopes", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(x @ slopes, NOISE), obs=y)


def as_one_event(x: Tensor, y: Tensor) -> None:
    slopes = pyro.sample("slopes", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    pyro.sample("y", dist.Normal(x @ slopes, NOISE).to_event(1), obs=y)


def as_modules_take_it(x: Tensor, y: Tensor | None = None) -> None:
    slopes = pyro.sample("slopes", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    mean = pyro.deterministic("mean", x @ slopes)
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(mean, NOISE), obs=y)


def closed_form(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the sd of the posterior predictive distribution at ``x``."""
    covariance = np.linalg.inv(np.eye(2) + X.T @ X / NOISE**2)
    mean = covariance @ X.T @ Y / NOISE**2
    return x @ mean, np.sqrt(NOISE**2 + np.einsum("ni,ij,nj->n", x, covariance, x))


def moments(tree: xr.DataTree, name: str = "y") -> tuple[np.ndarray, np.ndarray]:
    drawn = tree["predictions"][name]
    return drawn.mean(("chain", "draw")).to_numpy(), drawn.std(("chain", "draw")).to_numpy()


@pytest.mark.parametrize("rows", [4, 30])  # fewer than were fitted, and as many
@pytest.mark.parametrize("model", [in_a_plate, as_one_event, as_modules_take_it])
def test_predictions_of_a_regression_are_those_of_its_closed_form(model: Any, rows: int) -> None:
    fit = vi.fit(model, {"x": X, "y": Y}, seed=0)
    x = np.resize(NEW_X, (rows, 2))
    tree = vi.predict(fit, {"x": x}, draws=4000)
    mean, sd = moments(tree)
    expected, spread = closed_form(x)
    np.testing.assert_allclose(mean, expected, atol=0.08 * spread.max())
    np.testing.assert_allclose(sd, spread, rtol=0.06)
    constant = tree["predictions_constant_data"]
    np.testing.assert_array_equal(constant["x"], x)
    assert "y" not in constant


def test_deterministic_variables_are_predicted_too() -> None:
    fit = vi.fit(as_modules_take_it, {"x": X, "y": Y}, seed=0)
    mean, sd = moments(vi.predict(fit, {"x": NEW_X}, draws=4000), "mean")
    expected, spread = closed_form(NEW_X)
    np.testing.assert_allclose(mean, expected, atol=0.06)
    np.testing.assert_allclose(sd, np.sqrt(spread**2 - NOISE**2), rtol=0.06)


def test_a_saved_fit_predicts_the_same(tmp_path: Path) -> None:
    fit = vi.fit(in_a_plate, {"x": X, "y": Y}, seed=0)
    fit.save(tmp_path)
    again = vi.Fit.open(tmp_path, in_a_plate, {"x": X, "y": Y})
    one, other = (vi.predict(each, {"x": NEW_X}, draws=50) for each in (fit, again))
    xr.testing.assert_identical(one["predictions"].ds, other["predictions"].ds)


def test_the_tree_of_a_fit_grows_and_is_fitted_again_as_it_was(tmp_path: Path) -> None:
    fit = vi.fit(in_a_plate, {"x": X, "y": Y}, seed=0)
    grown = vi.predict(fit, {"x": NEW_X}, draws=100, tree=vi.draw(fit, 100))
    assert {"posterior", "predictions", "predictions_constant_data"} <= set(grown.children)
    vi.save(grown, tmp_path / "grown.nc")
    back = vi.open_tree(tmp_path / "grown.nc")
    assert back["predictions"]["y"].sizes["row"] == 4
    assert vi.fit(in_a_plate, back, "dadvi", seed=0).data["constant_data"]["x"].shape == X.shape


# ------------------------------------------------------------------------------------- groups

GROUP = np.repeat(np.arange(6), 5)
LEVELS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
IN_GROUPS = LEVELS[GROUP] + NOISE * RNG.normal(size=30)


def hierarchy(group: Tensor, y: Tensor, groups: int = 6) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("groups", groups):
        level = pyro.sample("level", dist.Normal(mean, 1.5))
    with pyro.plate("row", len(group)):
        pyro.sample("y", dist.Normal(level[group], NOISE), obs=y)


def exact_hierarchy() -> tuple[np.ndarray, np.ndarray]:
    """The posterior mean and covariance of the six levels and of their mean, which comes last."""
    precision = np.zeros((7, 7))
    precision[:6, :6] = np.eye(6) * (1 / 1.5**2 + 5 / NOISE**2)
    precision[:6, 6] = precision[6, :6] = -1 / 1.5**2
    precision[6, 6] = 6 / 1.5**2 + 1 / 2.0**2
    sums = np.array(np.bincount(GROUP, IN_GROUPS)) / NOISE**2
    covariance = np.linalg.inv(precision)
    return covariance @ np.append(sums, 0.0), covariance


@pytest.fixture(scope="module")
def grouped() -> vi.Fit:
    return vi.fit(hierarchy, {"group": GROUP, "y": IN_GROUPS}, seed=0)


def test_a_fitted_group_keeps_its_posterior(grouped: vi.Fit) -> None:
    mean, sd = moments(vi.predict(grouped, {"group": [5, 0, 0]}, draws=4000))
    expected, covariance = exact_hierarchy()
    np.testing.assert_allclose(mean, expected[[5, 0, 0]], atol=0.05)
    np.testing.assert_allclose(sd, np.sqrt(NOISE**2 + covariance[0, 0]), rtol=0.06)


def test_a_new_group_is_refused_or_drawn_from_the_population(grouped: vi.Fit) -> None:
    new = {"group": [2, 6], "groups": 7}
    with pytest.raises(vi.errors.DataError, match="1 of the new data's 7 along 'groups'"):
        vi.predict(grouped, new)
    mean, sd = moments(vi.predict(grouped, new, draws=4000, new_levels="draw"))
    expected, covariance = exact_hierarchy()
    np.testing.assert_allclose(mean, expected[[2, 6]], atol=0.12)
    spread = [covariance[2, 2] + NOISE**2, covariance[6, 6] + 1.5**2 + NOISE**2]
    np.testing.assert_allclose(sd, np.sqrt(spread), rtol=0.06)


def test_groups_go_by_their_labels() -> None:
    names = ["a", "b", "c", "d", "e", "f"]

    def by_name(size: Tensor, y: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
        with pyro.plate("unit", len(size)):
            level = pyro.sample("level", dist.Normal(mean, 1.5))
            pyro.sample("y", dist.Normal(level, size), obs=y)

    def sized(own: list[str], size: float) -> xr.DataArray:
        return xr.DataArray(np.full(len(own), size), dims="unit", coords={"unit": own})

    y = xr.DataArray(LEVELS, dims="unit", coords={"unit": names})
    fit = vi.fit(by_name, {"size": sized(names, 0.1), "y": y}, seed=0)
    tree = vi.predict(fit, {"size": sized(["f", "a", "new"], 0.1)}, draws=4000)
    mean, sd = moments(tree)
    np.testing.assert_allclose(mean[:2], [3.0, -2.0], atol=0.1)  # each near what it observed
    assert sd[:2].max() < 0.2
    assert sd[2] > 1.4  # a new one is one of the population
    assert tree["predictions"]["unit"].to_numpy().tolist() == ["f", "a", "new"]


# --------------------------------------------------------------------------------------- rows


def test_what_belongs_to_rows_is_drawn_for_new_ones() -> None:
    def overdispersed(x: Tensor, y: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(x)):
            own = pyro.sample("own", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(mean + own + 0 * x, 0.1), obs=y)

    y = np.array([3.0, -3.0, 3.0, -3.0])
    fit = vi.fit(overdispersed, {"x": np.zeros(4), "y": y}, seed=0)
    mean, sd = moments(vi.predict(fit, {"x": np.zeros(4)}, draws=4000))  # as many as were fitted
    np.testing.assert_allclose(mean, 0.0, atol=0.1)
    np.testing.assert_allclose(sd, np.sqrt(1.0 + 0.1**2 + 1 / (1 + 4 / 1.01)), rtol=0.06)


def test_components_of_new_points_are_drawn_from_their_weights() -> None:
    def mixture(y: Tensor) -> None:
        weights = pyro.sample("weights", dist.Dirichlet(torch.ones(2)))
        with pyro.plate("row", len(y)):
            z = pyro.sample("z", dist.Categorical(weights), infer=ENUMERATE)
            pyro.sample("y", dist.Normal(torch.tensor([-5.0, 5.0])[z], 1.0), obs=y)

    y = np.repeat([-5.0, 5.0], [10, 30])
    drawn = vi.predict(vi.fit(mixture, {"y": y}, seed=0), {"y": np.zeros(3)}, draws=4000)
    share = (drawn["predictions"]["y"] > 0).mean(("chain", "draw"))
    np.testing.assert_allclose(share, 31 / 42, atol=0.03)


@pytest.mark.parametrize("rows", [3, 20])  # fewer than were fitted, and as many
def test_an_axis_inside_of_rows_is_no_axis_of_rows(rows: int) -> None:
    def centred(y: Tensor) -> None:
        centre = pyro.sample("centre", dist.Normal(torch.zeros(2), 10.0).to_event(1))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(centre, 1.0).to_event(1), obs=y)

    y = np.tile([[3.0, -3.0]], (20, 1))
    fit = vi.fit(centred, {"y": y}, seed=0)
    mean, _ = moments(vi.predict(fit, {"y": np.zeros((rows, 2))}, draws=4000))
    np.testing.assert_allclose(mean, y[:rows], atol=0.1)


def test_what_is_left_as_it_was_makes_the_rows_those_that_were_fitted() -> None:
    def two(a: Tensor, b: Tensor, y: Tensor) -> None:
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(a)):
            own = pyro.sample("own", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(own + slope * a + b, 0.1), obs=y)

    data = {"a": np.zeros(4), "b": np.zeros(4), "y": np.array([2.0, -2.0, 2.0, -2.0])}
    fit = vi.fit(two, data, seed=0)
    mean, _ = moments(vi.predict(fit, {"b": np.full(4, 10.0)}, draws=2000))
    np.testing.assert_allclose(mean, 10 + data["y"] / 1.01, atol=0.1)
    with pytest.raises(vi.errors.DataError, match="a goes with them"):
        vi.predict(fit, {"b": np.zeros(3)})


def test_columns_of_a_table_are_rows_by_name() -> None:
    table = pd.DataFrame({"x": X[:, 1], "y": Y})

    def line(x: Tensor, y: Tensor) -> None:
        slopes = pyro.sample("slopes", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Normal(slopes[0] + slopes[1] * x, NOISE), obs=y)

    fit = vi.fit(line, table, seed=0)
    mean, sd = moments(vi.predict(fit, pd.DataFrame({"x": NEW_X[:, 1]}), draws=4000))
    expected, spread = closed_form(NEW_X)
    np.testing.assert_allclose(mean, expected, atol=0.08 * spread.max())
    np.testing.assert_allclose(sd, spread, rtol=0.06)


# ------------------------------------------------------------------------------------ refusals


def test_what_hangs_together_over_rows_is_refused() -> None:
    def process(x: Tensor, y: Tensor) -> None:
        covariance = (-(x[:, None] - x).square()).exp() + 1e-4 * torch.eye(len(x))
        f = pyro.sample("f", dist.MultivariateNormal(torch.zeros(len(x)), covariance))
        with pyro.plate("row", len(x)):
            pyro.sample("y", dist.Normal(f, 0.1), obs=y)

    fit = vi.fit(process, {"x": np.arange(5.0), "y": np.zeros(5)}, seed=0)
    for rows in (3, 5):
        with pytest.raises(vi.errors.DataError, match="f is one event"):
            vi.predict(fit, {"x": np.arange(float(rows)) + 0.5})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "No new data came"),
        ({"z": [1.0]}, "which the model does not take"),
        ({"x": NEW_X, "y": np.zeros(3)}, "Give all that goes with the new rows in one length"),
        ({"x": [[np.nan, 1.0]]}, "finite"),
        ({"x": np.ones((3, 5))}, "cannot be run on this data"),
    ],
)
def test_new_data_that_do_not_fit_get_one_sentence(data: Any, says: str) -> None:
    fit = vi.fit(in_a_plate, {"x": X, "y": Y}, "laplace", seed=0)
    with pytest.raises((vi.errors.DataError, vi.errors.ModelError), match=says):
        vi.predict(fit, data)


def test_settings_are_checked_before_the_work() -> None:
    fit = vi.fit(in_a_plate, {"x": X, "y": Y}, "laplace", seed=0)
    with pytest.raises(vi.errors.EngineError, match="'refuse' or 'draw'"):
        vi.predict(fit, {"x": NEW_X}, new_levels="new")
    with pytest.raises(vi.errors.EngineError, match="draws"):
        vi.predict(fit, {"x": NEW_X}, draws=0)


def test_what_pyro_condition_fixes_for_others_stays_fixed() -> None:
    """y ~ N(loc, scale) with the scale fixed at 3, far from its prior, and y given as well."""

    def free(n: int) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 100.0))
        scale = pyro.sample("scale", dist.LogNormal(-5.0, 0.1))
        with pyro.plate("row", n):
            pyro.sample("y", dist.Normal(loc, scale))

    y = torch.linspace(-5.0, 5.0, 50)
    given = {"scale": torch.tensor(3.0), "y": y}
    fit = vi.fit(pyro.condition(free, given), {"n": 50}, seed=0)
    tree = vi.draw(fit)
    replicated = tree["posterior_predictive"].to_dataset()
    assert list(replicated.data_vars) == ["y"]
    assert float(replicated["y"].std()) == pytest.approx((9 + 9 / 50) ** 0.5, rel=0.02)
    assert "pyro.condition fixes it" in vi.report(vi.check(tree)).html
