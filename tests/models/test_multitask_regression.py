"""Students over subjects: what tasks that share a parent say about one another."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoIAFNormal, AutoMultivariateNormal
from scipy import stats
from torch import Tensor

import pyrovi as vi
from pyrovi.bound import bind
from pyrovi.errors import DataError
from pyrovi.models import get, multitask_regression as multitask
from pyrovi.models.multitask_regression.model import ALONE, SCALE_LOC, SCALE_SCALE
from pyrovi.seeds import isolated
from pyrovi.tree import quantities

REFERENCE = Path(__file__).parents[2] / "models" / "multitask_regression" / "reference.json"
SPREAD, NOISE = 0.2, 1.0
SIZES = (10, 8, 6)
PHYSICS, CHEMISTRY = 1, 2
DRAWS = 20_000
FEW = {"sizes": SIZES, "covariates": ("hours",)}


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.clear_param_store()
    with isolated(4):
        yield
    pyro.clear_param_store()
    torch.set_default_dtype(torch.float32)


# ------------------------------------------------------------------------- the density


def given(seed: int = 3, **options: Any) -> dict[str, Any]:
    return dict(bind(multitask.partial, multitask.simulate(seed, **options)).kwargs)


def log_joint(model: Any, data: dict[str, Any], values: dict[str, Tensor]) -> Tensor:
    return poutine.trace(poutine.condition(model, values)).get_trace(**data).log_prob_sum()


def test_the_two_forms_are_one_distribution() -> None:
    """With beta = mean + L offset, the densities differ by the Jacobian |L| ** tasks."""
    data = given()
    for _ in range(5):
        trace = poutine.trace(multitask.partial).get_trace(**data)
        names = ("population_mean", "population_scale", "population_corr_chol", "offset", "noise")
        values = {name: trace.nodes[name]["value"] for name in names}
        beta = trace.nodes["beta"]["value"]
        one = log_joint(multitask.partial, data, values)
        values.pop("offset")
        other = log_joint(multitask.centered, data, values | {"beta": beta})
        tril = values["population_scale"][:, None] * values["population_corr_chol"]
        torch.testing.assert_close(one, other + 3 * tril.diagonal().log().sum())


def test_the_likelihood_is_the_regression_of_each_row_s_own_task() -> None:
    data = given()
    trace = poutine.trace(multitask.centered).get_trace(**data)
    trace.compute_log_prob()
    beta, noise = trace.nodes["beta"]["value"].numpy(), trace.nodes["noise"]["value"].numpy()
    task = data["task_index"].numpy()
    loc = [row @ beta[t] for row, t in zip(data["x"].numpy(), task, strict=True)]
    hand = stats.norm(loc, noise[task]).logpdf(data["outcome"].numpy())
    np.testing.assert_allclose(trace.nodes["outcome"]["log_prob"].numpy(), hand, rtol=1e-10)


def test_binary_marks_are_logistic_in_their_task_s_coefficients() -> None:
    tree = multitask.simulate(2, variant="binary")
    model = get("multitask_regression:binary").model
    data = dict(bind(model, tree).kwargs)
    assert set(np.unique(data["outcome"])) == {0.0, 1.0}
    trace = poutine.trace(model).get_trace(**data)
    trace.compute_log_prob()
    beta = trace.nodes["beta"]["value"].numpy()[data["task_index"].numpy()]
    chance = 1 / (1 + np.exp(-(data["x"].numpy() * beta).sum(-1)))
    hand = stats.bernoulli(chance).logpmf(data["outcome"].numpy())
    np.testing.assert_allclose(trace.nodes["outcome"]["log_prob"].numpy(), hand, rtol=1e-8)


def test_before_any_data_one_task_alone_has_the_spread_of_a_task_among_others() -> None:
    """E[1 + tau ** 2] for log-normal tau, against 40,000 draws of the prior."""
    values = torch.exp(torch.randn(40_000) * SCALE_SCALE + SCALE_LOC)
    beta = torch.randn(40_000) + values * torch.randn(40_000)
    assert pytest.approx(float(beta.std()), rel=0.05) == ALONE


def test_simulated_marks_scatter_about_the_truth_as_its_noise_says() -> None:
    total, count = 0.0, 0
    for seed in range(40):
        tree = multitask.simulate(seed)
        truth, constant = tree["truth"], tree["constant_data"]
        task = constant["task_index"].to_numpy()
        loc = (constant["x"].to_numpy() * truth["beta"].to_numpy()[task]).sum(-1)
        scaled = (tree["observed_data"]["outcome"] - loc) / truth["noise"].to_numpy()[task]
        total, count = total + float((scaled**2).sum()), count + len(loc)
    assert abs(total - count) < 4.3 * np.sqrt(2 * count)


def test_a_population_that_is_held_is_the_population_that_marks_are_drawn_from() -> None:
    """With no spread, every task has the population's mean."""
    truth = multitask.simulate(1, population={"population_scale": [1e-12] * 3})["truth"]
    np.testing.assert_allclose(truth["beta"] - truth["population_mean"], 0, atol=1e-10)


# ----------------------------------------------------------- physics and chemistry, exactly


known = functools.partial(
    poutine.condition,
    data={
        "population_scale": torch.full((2,), SPREAD, dtype=torch.float64),
        "population_corr_chol": torch.eye(2, dtype=torch.float64),
        "noise": torch.full((3,), NOISE, dtype=torch.float64),
    },
)


def of_known_population(outcome: Tensor, task_index: Tensor, x: Tensor, size: Tensor) -> None:
    """``centered`` with spread and noise known: its posterior is Gaussian, in closed form."""
    known(multitask.centered)(outcome, task_index, x, size)


def marks(*, surprise: bool) -> dict[str, Any]:
    """Few marks in three subjects; with ``surprise``, one more in physics, far too high."""
    tree = multitask.simulate(2, population=known.keywords["data"], **FEW)
    data = dict(bind(multitask.centered, tree).kwargs)
    if surprise:
        data["outcome"] = torch.cat([data["outcome"], torch.tensor([surprising_mark(data)])])
        data["task_index"] = torch.cat([data["task_index"], torch.tensor([PHYSICS])])
        data["x"] = torch.cat([data["x"], torch.tensor([[1.0, 0.0]])])
    return data


def surprising_mark(data: dict[str, Any]) -> float:
    mean, _ = exact(data)
    return float(mean[1 + PHYSICS, 0] + 3 * NOISE)


def exact(data: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Mean (1 + task, covariate) and covariance of the population's mean and each beta."""
    x, task, y = (data[name].numpy() for name in ("x", "task_index", "outcome"))
    eye, blocks = np.eye(2), 4
    precision = np.zeros((blocks, 2, blocks, 2))
    right = np.zeros((blocks, 2))
    precision[0, :, 0] += eye  # population_mean ~ N(0, 1)
    for t in range(3):
        for one, other, sign in ((0, 0, 1), (t + 1, t + 1, 1), (0, t + 1, -1), (t + 1, 0, -1)):
            precision[one, :, other] += sign * eye / SPREAD**2
        own = x[task == t]
        precision[t + 1, :, t + 1] += own.T @ own / NOISE**2
        right[t + 1] += own.T @ y[task == t] / NOISE**2
    covariance = np.linalg.inv(precision.reshape(8, 8))
    return (covariance @ right.ravel()).reshape(4, 2), covariance.reshape(4, 2, 4, 2)


def level(covariance: np.ndarray, one: int, other: int) -> float:
    return float(covariance[1 + one, 0, 1 + other, 0])


def exact_correlation(data: dict[str, Any]) -> float:
    _, cov = exact(data)
    both = level(cov, PHYSICS, PHYSICS) * level(cov, CHEMISTRY, CHEMISTRY)
    return level(cov, PHYSICS, CHEMISTRY) / float(np.sqrt(both))


@functools.cache
def draws_by(engine: Any) -> np.ndarray:
    """The levels (draw, task) that a fit to the marks without the surprise believes in."""
    fit = vi.fit(of_known_population, marks(surprise=False), engine, seed=0)
    return vi.draw(fit, draws=DRAWS)["posterior"]["beta"].to_numpy()[0, :, :, 0]


MEAN_FIELD = vi.DADVI()
CARRY = {
    "full rank": vi.DADVI(whiten=True),
    "linear response": vi.DADVI(linear_response=True),
    "laplace": vi.Laplace(),
}


def correlation(levels: np.ndarray) -> float:
    return float(np.corrcoef(levels[:, PHYSICS], levels[:, CHEMISTRY])[0, 1])


def moved(levels: np.ndarray) -> float:
    """How far the new physics mark moves what the draws say of chemistry, by reweighting them."""
    new = surprising_mark(marks(surprise=False))
    weight = stats.norm(levels[:, PHYSICS], NOISE).pdf(new)
    return float(np.average(levels[:, CHEMISTRY], weights=weight) - levels[:, CHEMISTRY].mean())


def exact_move() -> float:
    before, after = (exact(marks(surprise=each))[0] for each in (False, True))
    return float((after - before)[1 + CHEMISTRY, 0])


def test_given_the_marks_physics_and_chemistry_are_correlated() -> None:
    assert exact_correlation(marks(surprise=False)) > 0.4
    assert exact_move() > 0.1


def test_mean_field_has_the_means_right_and_severs_the_correlation() -> None:
    mean, cov = exact(marks(surprise=False))
    levels = draws_by(MEAN_FIELD)
    np.testing.assert_allclose(levels.mean(0), mean[1:, 0], atol=0.01)
    assert abs(correlation(levels)) < 4.3 / np.sqrt(DRAWS)
    sd = np.sqrt([level(cov, t, t) for t in range(3)])
    assert (levels.std(0) < 0.85 * sd).all()


@pytest.mark.parametrize("name", CARRY)
def test_full_rank_and_linear_response_carry_the_exact_correlation(name: str) -> None:
    assert correlation(draws_by(CARRY[name])) == pytest.approx(
        exact_correlation(marks(surprise=False)), abs=0.03
    )


def test_a_surprising_physics_mark_moves_chemistry_but_not_under_mean_field() -> None:
    assert abs(moved(draws_by(MEAN_FIELD))) < 0.1 * exact_move()
    for engine in CARRY.values():
        assert moved(draws_by(engine)) == pytest.approx(exact_move(), rel=0.15)


def test_refitted_with_the_new_mark_mean_field_moves_as_far_as_the_posterior_does() -> None:
    """What its covariance has severed its means still know: that is what linear response reads."""
    after = vi.draw(
        vi.fit(of_known_population, marks(surprise=True), MEAN_FIELD, seed=0), draws=DRAWS
    )
    level_after = after["posterior"]["beta"].to_numpy()[0, :, CHEMISTRY, 0].mean()
    change = level_after - draws_by(MEAN_FIELD)[:, CHEMISTRY].mean()
    assert change == pytest.approx(exact_move(), abs=0.015)


def test_partial_pooling_shrinks_the_tasks_towards_their_common_mean() -> None:
    """The fewer marks a task has, the closer to the population's mean it comes."""
    data = marks(surprise=False)
    mean, _ = exact(data)
    alone = []
    for t in range(3):
        own = (data["task_index"] == t).numpy()
        alone.append(np.linalg.lstsq(data["x"].numpy()[own], data["outcome"].numpy()[own])[0][0])
    levels = draws_by(MEAN_FIELD).mean(0)
    assert np.ptp(levels) < 0.6 * np.ptp(alone)
    assert np.ptp(levels) == pytest.approx(np.ptp(mean[1:, 0]), rel=0.1)


# ------------------------------------------------- physics and chemistry, the population learned


def by_nuts() -> float:
    return json.loads(REFERENCE.read_text())["students"]["correlation"]["mean"]


def learned(variant: str, engine: Any) -> float:
    model = get(f"multitask_regression:{variant}").model
    tree = vi.draw(vi.fit(model, marks(surprise=False), engine, seed=0), draws=DRAWS)
    return correlation(tree["posterior"]["beta"].to_numpy()[..., 0].reshape(-1, 3))


def test_with_the_population_learned_too_only_mean_field_severs_what_nuts_finds() -> None:
    assert by_nuts() > 0.25
    assert abs(learned("centered", MEAN_FIELD)) < 0.05
    assert learned("centered", CARRY["full rank"]) == pytest.approx(by_nuts(), abs=0.06)
    assert learned("centered", CARRY["linear response"]) == pytest.approx(by_nuts(), abs=0.07)


def test_non_centred_mean_field_keeps_a_correlation_and_overstates_it() -> None:
    """There beta is built from a mean that all tasks share."""
    assert learned("partial", MEAN_FIELD) > by_nuts() + 0.07


@pytest.mark.slow
def test_the_default_engine_has_the_correlation_that_nuts_finds() -> None:
    assert learned("partial", "auto") == pytest.approx(by_nuts(), abs=0.04)


@pytest.mark.slow
def test_the_default_engine_meets_the_reference_on_real_data() -> None:
    """Every mean within 0.1 reference standard deviations, and these within 10%."""
    found = json.loads(REFERENCE.read_text())["variants"]["partial"]["quantities"]
    entry = get("multitask_regression")
    tree = vi.draw(vi.fit(entry.model, entry.load(), seed=0), draws=4000)
    drawn = {n: v for n, v in quantities(tree["posterior"].to_dataset()) if n in found}
    assert len(drawn) == 23
    for name, values in drawn.items():
        assert abs(values.mean() - found[name]["mean"]) < 0.1 * found[name]["sd"], name
        assert values.std() == pytest.approx(found[name]["sd"], rel=0.1), name


# ------------------------------------------------------------- nothing of pyrovi but the model


@pytest.mark.parametrize("variant", multitask.FORMS)
@pytest.mark.parametrize("guide", [AutoMultivariateNormal, AutoIAFNormal])
def test_it_trains_under_plain_pyro_with_an_autoguide_and_with_a_flow(
    variant: str, guide: Any
) -> None:
    tree = get(f"multitask_regression:{variant}").simulate(5)
    data = {
        name: torch.as_tensor(tree[group][name].to_numpy())
        for group in ("observed_data", "constant_data")
        for name in tree[group].data_vars
    }
    model = multitask.FORMS[variant]
    svi = SVI(model, guide(model), pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    losses = [svi.step(**data) for _ in range(150)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-30:]) < np.mean(losses[:30])
    assert data["outcome"].dtype == torch.float64


# ------------------------------------------------------------------------- tables


def table() -> pd.DataFrame:
    """Marks as a school would keep them, made up for this test; two are missing."""
    rng = np.random.default_rng(1)
    sizes = {"mathematics": 14, "physics": 9, "chemistry": 5}
    frame = pd.DataFrame({"subject": np.repeat(list(sizes), list(sizes.values()))})
    frame["hours"] = rng.uniform(0, 10, len(frame)).round(1)
    frame["attendance"] = rng.uniform(50, 100, len(frame)).round()
    frame["mark"] = (40 + 3 * frame["hours"] + rng.normal(0, 6, len(frame))).round()
    frame.loc[[3, 20], "mark"] = np.nan
    return frame


def read(frame: pd.DataFrame, **options: Any) -> Any:
    return get("multitask_regression").read(
        frame, **({"task": "subject", "outcome": "mark"} | options)
    )


def test_a_long_table_is_read_with_its_missing_marks_and_unequal_tasks() -> None:
    tree = read(table())
    constant = tree["constant_data"]
    assert constant["task"].to_numpy().tolist() == ["mathematics", "physics", "chemistry"]
    assert constant["size"].to_numpy().tolist() == [13, 8, 5]
    assert constant["covariate"].to_numpy().tolist() == ["intercept", "hours", "attendance"]
    outcome = tree["observed_data"]["outcome"]
    assert np.flatnonzero(np.isnan(outcome)).tolist() == [3, 20]
    back = outcome * outcome.attrs["unit"][0] + outcome.attrs["centre"][0]
    np.testing.assert_allclose(back, table()["mark"])
    np.testing.assert_allclose(constant["x"][:, 1:].mean("row"), 0, atol=1e-12)


def test_a_wide_table_is_the_long_one_turned() -> None:
    frame = pd.DataFrame(
        {"hours": [1, 2, 3, 4], "maths": [4, 6, 5, 8], "physics": [2, None, 6, 7]}
    )
    long = frame.melt("hours", ["maths", "physics"], "subject", "mark")
    wide = get("multitask_regression").read(frame, outcome=["maths", "physics"])
    turned = read(long, covariates="hours")
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    for group, name in (("observed_data", "outcome"), ("constant_data", "x")):
        np.testing.assert_allclose(wide[group][name].isel(row=order), turned[group][name])
    assert wide["constant_data"]["size"].to_numpy().tolist() == [4, 3]


def test_missing_marks_are_left_out_of_the_fit_and_predicted() -> None:
    fitted = {}
    for name, frame in (("masked", table()), ("dropped", table().dropna())):
        tree = read(frame)
        if name == "dropped":  # the same covariates, not standardised anew
            keep = ~np.isnan(read(table())["observed_data"]["outcome"].to_numpy())
            tree = read(table()).isel(row=np.flatnonzero(keep))
        fit = vi.fit(multitask.complete_pooling, tree, vi.Laplace(), seed=0)
        fitted[name] = vi.draw(fit, draws=4000)
    means = [each["posterior"]["beta"].mean(("chain", "draw")) for each in fitted.values()]
    np.testing.assert_allclose(*means, atol=0.02)
    drawn = fitted["masked"]["posterior_predictive"]["outcome"]
    assert drawn.sizes["row"] == len(table())
    assert np.isfinite(drawn).all()


BAD_TABLES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "an unknown column": (table, {"task": "subjct"}, r"'subjct' \(did you mean 'subject'"),
    "a column twice": (
        lambda: table().rename(columns={"attendance": "hours"}),
        {},
        "'hours' is there twice",
    ),
    "a mark that is a word": (
        lambda: table().astype({"mark": object}).replace({"mark": {np.nan: "absent"}}),
        {},
        "row 3, column 'mark': expected a number, and 'absent' came",
    ),
    "a gap in a covariate": (
        lambda: table().assign(hours=lambda t: t["hours"].where(t.index != 4)),
        {},
        "row 4, column 'hours': expected a number, and none came",
    ),
    "a task with one row": (
        lambda: table().iloc[[*range(14), 14]],
        {},
        "Task 'physics' has 1 mark, and a task needs at least 2",
    ),
    "no rows": (lambda: table().iloc[:0], {}, "has 0 rows"),
    "one task alone": (lambda: table().iloc[:10], {}, "at least two tasks"),
    "a row of no task": (
        lambda: table().assign(subject=lambda t: t["subject"].where(t.index != 6)),
        {},
        "row 6, column 'subject': expected the name of a task",
    ),
    "marks that never vary": (
        lambda: table().assign(mark=5.0),
        {},
        "Every mark is 5, so there is",
    ),
    "rounding alone": (
        lambda: table().assign(mark=lambda t: np.where(t.index % 2, 0.3, 0.1 + 0.2)),
        {},
        "Every mark is 0.3",
    ),
    "one row": (lambda: table().iloc[:1], {}, "has 1 row. .* two or more"),
    "a table with no names": (
        lambda: table().set_axis(["1", "2", "3", "mark"], axis=1),
        {"task": "subject"},
        r"no column 'subject'.* Does the first line name the columns\?",
    ),
    "a covariate that never varies": (
        lambda: table().assign(hours=1),
        {},
        "'hours' is 1 in every",
    ),
    "a column for two things": (table, {"covariates": "mark"}, "'mark' is named twice"),
    "one column and no task": (table, {"task": None}, "no task column"),
    "a scale that is none": (table, {"standardised": "apart"}, "one of together, by_task, and"),
    "an id that is a word": (
        lambda: table().assign(pupil="p"),
        {},
        (
            r"row 0, column 'pupil': .*'p' came. Correct it, or leave the column out: "
            r"--covariates hours,attendance\.$"
        ),
    ),
    "a mark beyond all squares": (
        lambda: table().assign(mark=lambda t: t["mark"] * 1e200),
        {},
        r"row 0, column 'mark': expected a number of at most 1e\+100 in size, and .*e\+201 came",
    ),
    "one huge mark": (
        lambda: table().assign(mark=lambda t: t["mark"].where(t.index != 5, 1e300)),
        {},
        "row 5, column 'mark': .* 1e\\+300 came",
    ),
    "marks too close to tell apart": (
        lambda: table().assign(mark=lambda t: t["mark"] * 1e-200),
        {},
        "beyond double precision",
    ),
    "a decimal comma": (
        lambda: table().assign(hours="1,5"),
        {},
        "'1,5' came. Write decimals with a point",
    ),
    "an option that is none": (table, {"subject": "mark"}, "no option 'subject'"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_table_that_cannot_be_read_is_one_clear_error(case: str) -> None:
    frame, options, said = BAD_TABLES[case]
    with pytest.raises(DataError, match=said) as error:
        read(frame(), **options)
    assert "\n" not in str(error.value)


ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "x of one axis": ({"x": np.ones(6)}, r"x is a matrix .* shapes \(6,\), \(6,\) and \(6,\)"),
    "other rows": ({"outcome": np.ones(5)}, r"\(6, 2\), \(5,\) and \(6,\) came"),
    "tasks that are no indices": ({"task_index": np.ones(6)}, "whole number from 0 .*float64"),
    "tasks from -1": ({"task_index": np.arange(6) % 2 - 1}, "from -1 to 0 came"),
    "tasks beyond size": ({"size": np.array([6])}, "from 0 to 0, the tasks of size"),
}


@pytest.mark.parametrize("variant", ["partial", "complete_pooling", "binary"])
@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_that_cannot_be_are_one_clear_error(case: str, variant: str) -> None:
    change, said = ARGUMENTS[case]
    x = np.column_stack([np.ones(6), np.arange(6.0)])
    given = {"outcome": np.ones(6), "task_index": np.arange(6) % 2, "x": x, **change}
    with pytest.raises(DataError, match=said) as error:
        vi.fit(get(f"multitask_regression:{variant}").model, given, vi.Laplace(), seed=0)
    assert "\n" not in str(error.value)


def test_binary_marks_are_0_and_1_and_any_other_is_told_with_its_place() -> None:
    passed = table().assign(mark=lambda t: (t["mark"] > 50).astype(float))
    binary = get("multitask_regression:binary")
    tree = binary.read(passed, task="subject", outcome="mark")
    assert set(np.unique(tree["observed_data"]["outcome"])) == {0.0, 1.0}
    with pytest.raises(DataError, match="row 0, column 'mark': expected a mark of 0 or 1"):
        binary.read(table(), task="subject", outcome="mark")


def test_an_entry_that_reads_no_tables_says_what_to_name_the_columns() -> None:
    with pytest.raises(DataError, match=r"takes no options.*y, sigma"):
        get("eight_schools").read(table(), task="subject")
    with pytest.raises(DataError, match="needs the option 'outcome'"):
        get("multitask_regression").read(table())


# ------------------------------------------------------------------------- real data


@pytest.mark.parametrize(
    ("name", "tasks", "rows"),
    [("linnerud", 3, 60), ("grunfeld", 11, 220), ("linnerud_above", 3, 60), ("anes96", 7, 944)],
)
def test_real_data_have_the_sizes_that_were_published(name: str, tasks: int, rows: int) -> None:
    binary = name in get("multitask_regression:binary").datasets
    tree = get("multitask_regression:binary" if binary else "multitask_regression").load(name)
    sizes = tree["constant_data"]["size"].to_numpy()
    assert (len(sizes), sizes.sum(), tree["observed_data"].sizes["row"]) == (tasks, rows, rows)


def test_the_reference_may_be_trusted() -> None:
    found = json.loads(REFERENCE.read_text())["variants"]["partial"]
    rows = found["quantities"].values()
    assert max(row["rhat"] for row in rows) < 1.01
    assert min(min(row["ess_bulk"], row["ess_tail"]) for row in rows) > 400
    assert found["how"]["divergences"] / (4 * found["how"]["draws"]) < 1e-3
