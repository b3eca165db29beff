"""What is known of a Bayesian neural network: its function, its limits, its last layer."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoDelta, AutoNormal
from scipy import stats
from torch import Tensor

import pyrovi as vi
from pyrovi import guides
from pyrovi.diagnostics.scores import variance_parts
from pyrovi.errors import DataError, ModelError
from pyrovi.models.bayesian_neural_network import network
from pyrovi.seeds import isolated

ENTRY = vi.models.get("bayesian_neural_network")
regression, classification = ENTRY.model, ENTRY.variant("classification").model
SHELF = Path(__file__).parents[2] / "models" / "bayesian_neural_network"


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.clear_param_store()
    with isolated(0):
        yield
    pyro.clear_param_store()
    torch.set_default_dtype(torch.float32)


def tiny(width: int = 2, n: int = 12) -> dict[str, Any]:
    x = torch.linspace(-1.5, 1.5, n).unsqueeze(-1)
    noise = 0.1 * torch.sin(37 * torch.arange(n))
    return {"outcome": torch.tanh(2 * x[:, 0]) + noise, "x": x, "width": width}


# ------------------------------------------------------------------------------ the function


def test_the_density_is_that_of_the_formula_written_out() -> None:
    model = network(depth=2, activation="tanh")
    given = {**tiny(width=3), "weight_scale": 2.0, "bias_scale": 0.7, "output_scale": 1.3}
    trace: Any = poutine.trace(model).get_trace(**given)
    at = {n: s["value"].numpy() for n, s in trace.nodes.items() if s["type"] == "sample"}
    h = given["x"].numpy()
    for layer in (1, 2):
        h = np.tanh(h @ at[f"weight_{layer}"].T + at[f"bias_{layer}"])
    f = (h @ at["weight_3"].T + at["bias_3"])[:, 0]
    scales = {
        "weight_1": 2.0,
        "bias_1": 0.7,
        "weight_2": 2.0 / math.sqrt(3),
        "bias_2": 0.7,
        "weight_3": 1.3 / math.sqrt(3),
        "bias_3": 1.3,
    }
    expected = sum(stats.norm(0, scale).logpdf(at[n]).sum() for n, scale in scales.items())
    expected += stats.lognorm(0.75, scale=0.5).logpdf(at["noise"])
    expected += stats.norm(f, at["noise"]).logpdf(given["outcome"].numpy()).sum()
    assert trace.log_prob_sum().item() == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(at["mean"], f)


@pytest.mark.parametrize("width", [3, 60])
def test_a_priori_outputs_covary_by_the_arc_cosine_kernel_at_any_width(width: int) -> None:
    """Cho & Saul (2009): of rectified units, in closed form; Neal (1996): it is the limit's."""
    x = torch.tensor([[1.0, -0.5], [0.2, 2.0]])
    given = {"outcome": torch.zeros(2), "x": x, "width": width, "weight_scale": 1.5}
    model = poutine.uncondition(network(activation="relu"))
    drawn = Predictive(model, num_samples=40_000, parallel=True)(**given)["mean"].reshape(-1, 2)
    gram = 1.5**2 * x @ x.T / 2 + 1.0
    norms = gram.diag().sqrt()
    angle = torch.acos((gram / norms.outer(norms)).clamp(-1, 1))
    shape = angle.sin() + (math.pi - angle) * angle.cos()
    exact = 1.0 + norms.outer(norms) * shape / (2 * math.pi)
    products = drawn.unsqueeze(-1) * drawn.unsqueeze(-2)
    error = products.std(0) / math.sqrt(len(drawn))
    assert ((products.mean(0) - exact).abs() < 5 * error).all()


def test_wider_is_closer_to_a_gaussian() -> None:
    kurtosis = []
    for width in (1, 100):
        given = {"outcome": torch.zeros(1), "x": torch.ones(1, 1), "width": width}
        model = poutine.uncondition(network(activation="relu"))
        drawn = Predictive(model, num_samples=40_000, parallel=True)(**given)["mean"]
        kurtosis.append(float(stats.kurtosis(drawn.flatten().numpy())))
    assert kurtosis[0] > 0.5
    assert abs(kurtosis[1]) < 0.2


def test_given_the_features_the_last_layer_s_posterior_is_the_exact_gaussian() -> None:
    given = tiny(width=3)
    held = {
        "weight_1": torch.tensor([[1.0], [-2.0], [0.5]]),
        "bias_1": torch.tensor([0.1, 0.4, -0.8]),
        "noise": torch.tensor(0.3),
    }

    def model(outcome: Tensor, x: Tensor, width: int) -> None:
        with poutine.block(hide=list(held)), poutine.condition(data=held):
            regression(outcome, x, width)

    (found,) = vi.fit(model, given, vi.Laplace(), seed=0).approximations()
    gaussian: Any = found
    h = torch.tanh(given["x"] @ held["weight_1"].T + held["bias_1"])
    features = torch.cat([h, torch.ones(len(h), 1)], dim=-1)
    prior = torch.tensor([3.0, 3.0, 3.0, 1.0])  # 1 / variance: the width, and 1 for the bias
    precision = features.T @ features / 0.3**2 + prior.diag()
    exact = torch.linalg.solve(precision, features.T @ given["outcome"] / 0.3**2)
    torch.testing.assert_close(gaussian.loc, exact, rtol=1e-4, atol=1e-5)
    covariance = gaussian.scale_tril @ gaussian.scale_tril.T
    torch.testing.assert_close(covariance, precision.inverse(), rtol=1e-4, atol=1e-6)


def test_flipping_a_unit_of_an_odd_activation_changes_nothing() -> None:
    given = tiny(width=2)
    trace: Any = poutine.trace(regression).get_trace(**given)
    at = {
        n: trace.nodes[n]["value"] for n in ("weight_1", "bias_1", "weight_2", "bias_2", "noise")
    }
    sign = torch.tensor([1.0, -1.0])
    flipped = {
        **at,
        "weight_1": at["weight_1"] * sign[:, None],
        "bias_1": at["bias_1"] * sign,
        "weight_2": at["weight_2"] * sign,
    }
    again: Any = poutine.trace(poutine.condition(regression, data=flipped)).get_trace(**given)
    torch.testing.assert_close(again.log_prob_sum(), trace.log_prob_sum())


def test_a_fit_does_not_start_where_all_units_are_alike() -> None:
    """At the origin they stay so: a saddle, whose noise is all of the outcome's spread."""
    fit = vi.fit(ENTRY.model, ENTRY.load(), vi.Laplace(), seed=0)
    (found,) = fit.approximations()
    gaussian: Any = found
    assert fit.density.constrain(gaussian.loc[None])["noise"].item() < 0.9


def test_probabilities_are_those_the_classes_are_drawn_by() -> None:
    data = ENTRY.variant("classification").simulate(3)
    given = {
        "outcome": torch.tensor(data["observed_data"]["outcome"].to_numpy()),
        "x": torch.tensor(data["constant_data"]["x"].to_numpy()),
        "classes": 3,
    }
    trace: Any = poutine.trace(classification).get_trace(**given)
    probability, drawn = trace.nodes["probability"]["value"], trace.nodes["outcome"]["fn"]
    torch.testing.assert_close(probability, drawn.probs)
    torch.testing.assert_close(probability.sum(-1), torch.ones(60))


# ------------------------------------------------------------------------------ plain Pyro


@pytest.mark.parametrize("make", [AutoNormal, guides.nsf, guides.dropout, guides.last_layer])
def test_it_runs_under_plain_pyro_with_an_autoguide_and_with_a_flow(make: Any) -> None:
    given = tiny()
    guide = make(regression)
    svi = SVI(regression, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue, reportCallIssue]
    losses = [svi.step(**given) for _ in range(120)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-40:]) < np.mean(losses[:40])
    drawn = Predictive(regression, guide=guide, num_samples=5)(**given)
    assert drawn["mean"].shape[-1] == 12


# ------------------------------------------------------------------------------ minibatches


def test_the_loss_of_a_batch_is_on_average_that_of_all_rows() -> None:
    given = tiny()
    guide = AutoDelta(regression)
    guide(**given)
    whole = Trace_ELBO().loss(regression, guide, **given)
    losses = [Trace_ELBO().loss(regression, guide, **given, batch=4) for _ in range(300)]
    error = np.std(losses) / math.sqrt(len(losses))
    assert abs(np.mean(losses) - whole) < 5 * error
    assert np.std(losses) > 0


def test_a_fit_by_minibatches_predicts_every_row() -> None:
    engine = vi.SVI(guide="mean_field", max_steps=100)
    fit = vi.fit(regression, {**tiny(), "batch": 4}, engine, seed=0)
    tree = vi.draw(fit, draws=50)
    assert tree["posterior"]["mean"].sizes["row"] == 12


# ------------------------------------------------------------------------------ uncertainty


def test_where_there_are_no_data_the_epistemic_part_grows() -> None:
    """Rows whose outcome is missing are predicted: in a gap, and far off.

    The features are held, so that the posterior is exact: a factorised one is too sure in a gap.
    """
    x = np.concatenate([np.linspace(-2, -1, 15), np.linspace(1, 2, 15), [0.0, -1.5, 1.5, 5.0]])
    y = np.sin(2 * x)
    outcome = np.ma.masked_array(y, mask=np.arange(34) >= 30)
    held = {
        "weight_1": 2 * torch.randn(50, 1),
        "bias_1": 2 * torch.randn(50),
        "noise": torch.tensor(0.1),
    }

    def model(outcome: Tensor, x: Tensor, width: int) -> None:
        with poutine.block(hide=list(held)), poutine.condition(data=held):
            regression(outcome, x, width)

    data = {"outcome": outcome, "x": x[:, None], "width": 50}
    tree = vi.draw(vi.fit(model, data, vi.Laplace(), seed=0), draws=500)
    parts = variance_parts(tree["posterior"]["mean"], 0.1)
    gap, left, right, far = parts["epistemic"].to_numpy()[30:]
    assert gap > 3 * max(left, right)
    assert far > 3 * max(left, right)
    assert parts["share"].to_numpy()[30] > 0.5


@pytest.mark.slow
def test_the_default_fit_s_function_on_diabetes_is_that_of_long_nuts() -> None:
    """The shelf's reference: at 40 patients, and the noise."""
    kept = json.loads((SHELF / "reference.json").read_text())["variants"]["regression"]
    fit = vi.fit(ENTRY.model, ENTRY.load(), seed=0)
    posterior = vi.draw(fit, draws=1000)["posterior"]
    for label, row in kept["quantities"].items():
        name, _, index = label.partition("[")
        values = posterior[name] if not index else posterior[name].isel(row=int(index[:-1]))
        assert abs(float(values.mean()) - row["mean"]) < 0.2 * row["sd"], label
        assert 0.85 < float(values.std()) / row["sd"] < 1.15, label


# ------------------------------------------------------------------------------ data


def test_a_table_is_read_by_the_names_of_its_columns() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [0.0, 1.0, 0.0], "y": [5.0, 7.0, 9.0]})
    data = ENTRY.read(frame, outcome="y", covariates="b", width=7)
    assert data["constant_data"]["width"] == 7
    assert list(data["constant_data"]["covariate"].to_numpy()) == ["b"]
    about = data["observed_data"]["outcome"].attrs
    back = data["observed_data"]["outcome"] * about["unit"] + about["centre"]
    np.testing.assert_allclose(back, frame["y"])


def test_classes_are_numbered_in_their_sorted_order() -> None:
    frame = pd.DataFrame({"x": [1, 2, 3, 4], "kind": ["dog", "cat", "dog", "cat"]})
    data = ENTRY.variant("classification").read(frame, outcome="kind")
    assert list(data["observed_data"]["outcome"].to_numpy()) == [1, 0, 1, 0]
    assert data["constant_data"]["classes"] == 2


@pytest.mark.parametrize(
    ("variant", "change", "words"),
    [
        ("regression", {"y": ["1", "x", "3"]}, r"column 'y': expected a number, and 'x' came"),
        ("regression", {"y": [2.0, 2.0, 2.0]}, "nothing to explain"),
        ("regression", {"a": [1.0, 1.0, 1.0]}, "Column 'a' is 1 in every row"),
        ("regression", {"a": [1.0, None, 2.0]}, r"row 1, column 'a'.*none came"),
        ("classification", {"y": ["u", "u", "u"]}, "Every row is of class 'u'"),
        ("regression", {"y": ["1", "x", "3"]}, r"--variant classification\.$"),
        ("regression", {"y": [None, None, 3.0]}, "has 1 values in 3 rows"),
        ("regression", {"town": ["u", "v", "w"]}, r"'town'.*'u' came.*out: --covariates a\.$"),
        ("regression", {"a": [1.0, 2.0, 1e101]}, r"row 2, column 'a'.* at most 1e\+100"),
        ("regression", {"y": [0.3, 0.1 + 0.2, 0.3]}, "'y' is 0.3 in every row"),
        ("classification", {"y": [1.5, 2.5, 3.5]}, "3 classes of numbers in 3 rows"),
        ("classification", {"y": ["u", None, ""]}, "has 1 values in 3 rows"),
    ],
)
def test_bad_tables_get_one_clear_error(variant: str, change: dict[str, Any], words: str) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0], "y": ["1", "2", "4"], **change})
    with pytest.raises(DataError, match=words):
        ENTRY.variant(variant).read(frame, outcome="y")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.arange(150) % 145, "145 classes of numbers in 150 rows. To predict a number"),
        (1950 + np.arange(5000) % 60, "60 classes of numbers"),
        ([f"id{i % 149}" for i in range(150)], "149 classes of words in 150 rows. Join"),
        ([f"{i % 26}" for i in range(1000)], None),
        ([chr(97 + i % 26) * 3 for i in range(60)], None),
        (["none", "mild"] * 75, None),
    ],
)
def test_a_column_of_many_classes_is_refused_before_any_fit(values: Any, said: str | None) -> None:
    frame = pd.DataFrame({"y": values})
    frame["x"] = np.arange(len(frame)) % 7
    read = ENTRY.variant("classification").read
    if said is None:
        assert np.isfinite(read(frame, outcome="y")["observed_data"]["outcome"]).all()
        return
    with pytest.raises(DataError, match=said):
        read(frame, outcome="y")


@pytest.mark.parametrize("variant", ["regression", "classification"])
def test_rows_without_an_outcome_are_left_out_of_the_fit_and_predicted(variant: str) -> None:
    x = np.linspace(-2, 2, 40)
    y = np.sin(x) if variant == "regression" else np.where(x > 0, "high", "low")
    frame = pd.DataFrame({"x": x, "y": y, "batch": 3})
    frame.loc[[5, 30], "y"] = None
    entry = ENTRY.variant(variant)
    data = entry.read(frame, outcome="y", covariates="x", width="4")
    assert np.flatnonzero(np.isnan(data["observed_data"]["outcome"])).tolist() == [5, 30]
    assert data["constant_data"]["width"] == 4
    kept = {}
    for name, given in (("masked", data), ("dropped", data.isel(row=np.r_[0:5, 6:30, 31:40]))):
        kept[name] = vi.draw(vi.fit(entry.model, given, vi.Laplace(), seed=0), draws=200)
    drawn = kept["masked"]["posterior_predictive"]["outcome"]
    assert drawn.sizes["row"] == 40
    function = "mean" if variant == "regression" else "probability"
    one, other = (each["posterior"][function].mean(("chain", "draw")) for each in kept.values())
    np.testing.assert_allclose(one.isel(row=slice(0, 5)), other.isel(row=slice(0, 5)), atol=2e-3)


@pytest.mark.parametrize("width", ["0", "2.5", "a", "", -1, 2.5, None, 10**6, "99999999999999999"])
def test_a_width_that_is_none_is_told(width: Any) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0], "y": [5.0, 7.0, 9.0]})
    with pytest.raises(DataError, match=r"width: .* from 1 to 10000, and .* came"):
        ENTRY.read(frame, outcome="y", width=width)


ARGUMENTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a vector for a matrix": ("regression", {"x": np.arange(6.0)}, r"x\[:, None\]"),
    "other rows": ("regression", {"x": np.ones((5, 2))}, r"\(5, 2\) and \(6,\) came"),
    "no units": ("deep", {"width": 0}, "width: expected a whole number from 1 .* 0 came"),
    "half a unit": ("regression", {"width": 2.5}, r"width: .* 2\.5 came"),
    "more than all": ("regression", {"batch": 7}, "batch: .* from 1 to 6, and 7"),
    "no spread": ("heteroscedastic", {"bias_scale": 0.0}, "bias_scale is .* above 0, and 0.0"),
    "classes from 1": ("classification", {"classes": 2}, "0 to 1, and values from 0 to 2 came"),
    "no classes": ("classification", {"classes": 0}, "classes: expected a whole number"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_that_cannot_be_are_one_clear_error(case: str) -> None:
    variant, change, said = ARGUMENTS[case]
    given = {"outcome": np.arange(6) % 3, "x": np.arange(12.0).reshape(6, 2) ** 0.5, **change}
    with pytest.raises(DataError, match=said) as error:
        vi.fit(ENTRY.variant(variant).model, given, vi.Laplace(), seed=0)
    assert "\n" not in str(error.value)


def test_an_unknown_column_or_no_covariate_is_named() -> None:
    frame = pd.DataFrame({"y": [1.0, 2.0, 4.0]})
    with pytest.raises(DataError, match="no column 'z'"):
        ENTRY.read(frame, outcome="z")
    with pytest.raises(DataError, match="no column to predict from"):
        ENTRY.read(frame, outcome="y")
    with pytest.raises(DataError, match="width"):
        ENTRY.read(frame.assign(a=[1, 2, 4]), outcome="y", width=0)


def test_a_network_that_cannot_be_is_named() -> None:
    with pytest.raises(ModelError, match=r"activation.*'tan'.*did you mean 'tanh'"):
        network(activation="tan")
    with pytest.raises(ModelError, match="depth of 1 or more, and 0"):
        network(depth=0)
    with pytest.raises(ModelError, match=r"kind.*'regresion'"):
        network("regresion")


@pytest.mark.parametrize(
    ("variant", "name", "shape"),
    [
        ("regression", "diabetes", (442, 10)),
        ("classification", "breast_cancer", (569, 30)),
        ("classification", "digits", (1797, 61)),
    ],
)
def test_the_data_in_the_box_are_standardised(
    variant: str, name: str, shape: tuple[int, int]
) -> None:
    x = ENTRY.variant(variant).load(name)["constant_data"]["x"]
    assert x.shape == shape
    np.testing.assert_allclose(x.mean("row"), 0, atol=1e-10)
    np.testing.assert_allclose(x.std("row"), 1, rtol=1e-10)
    assert x.attrs["units"] == "standard deviations"


# ------------------------------------------------------------------------------ the ensemble


def test_members_disagree_between_clusters_until_they_come_to_their_modes() -> None:
    """The same starts: what they do not know in the gap is what training has left undone."""
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.uniform(-3, -1, 40), rng.uniform(1, 3, 40)])
    y = np.sin(1.5 * x) + 0.1 * rng.standard_normal(80)
    gap = np.linspace(-1, 1, 21)
    asked = {
        "outcome": np.ma.masked_invalid(np.append(y, np.full(21, np.nan))),
        "x": np.append(x, gap)[:, None],
        "width": 10,
        "weight_scale": 2.0,
        "bias_scale": 2.0,
    }
    apart = {}
    for steps in (300, None):
        fit = vi.fit(network(), asked, vi.Ensemble(members=5, steps=steps), seed=2)
        mean = vi.draw(fit, draws=5)["posterior"]["mean"].isel(chain=0)
        at = mean.std("draw").to_numpy()
        apart[steps] = at[80:].mean(), at[:80].mean()
    assert apart[300][0] > 2.5 * apart[300][1]
    assert apart[None][0] < apart[300][0] / 3
