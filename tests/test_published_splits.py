"""The benchmark on published splits: its rules, and sets that are not in the box."""

import dataclasses
import importlib.util
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import datasets

from pyrovi.seeds import isolated

ROOT = Path(__file__).parents[1]


@pytest.fixture
def uci(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark, with fits that take a moment."""
    module = whole_benchmark()
    for kind, method in module.METHODS.items():
        grid = {name: values[:1] for name, values in method.grid.items()}
        short = dataclasses.replace(method, sweeps=25, grid=grid, beyond={})
        monkeypatch.setitem(module.METHODS, kind, short)
    return module


def whole_benchmark() -> Any:
    spec: Any = importlib.util.spec_from_file_location(
        "uci_benchmark", ROOT / "benchmarks" / "uci.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["uci_benchmark"] = module
    spec.loader.exec_module(module)
    return module


def published(uci: Any) -> Path:
    if not uci.FOLDER.is_dir():
        pytest.skip(f"the splits are not there: {uci.FOLDER}")
    return uci.FOLDER


def write_set(place: Path, x: np.ndarray, y: np.ndarray, *, splits: int, test: int) -> Path:
    """A set in the format of the published ones."""
    place.mkdir(parents=True)
    np.savetxt(place / "data.txt", np.column_stack([x, y]))
    np.savetxt(place / "index_features.txt", np.arange(x.shape[1]), fmt="%d")
    np.savetxt(place / "index_target.txt", [x.shape[1]], fmt="%d")
    for k in range(splits):
        order = np.random.default_rng(k).permutation(len(y))
        np.savetxt(place / f"index_test_{k}.txt", order[:test], fmt="%d")
        np.savetxt(place / f"index_train_{k}.txt", order[test:], fmt="%d")
    return place


# ------------------------------------------------------------------------------ the rules


@pytest.mark.parametrize(("rows", "folds"), [(277, 10), (691, 4), (927, 3), (2500, 1), (50000, 1)])
def test_tenths_are_held_out_until_there_are_250_rows_to_choose_by(
    uci: Any, rows: int, folds: int
) -> None:
    assert uci.folds(rows) == folds


def test_no_set_takes_more_than_sixty_thousand_steps() -> None:
    dropout = whole_benchmark().METHODS["mc_dropout"]
    assert dropout.plan(277) == (32, 2_000 * 9)
    assert dropout.plan(927) == (32, 2_000 * 29)
    assert dropout.plan(1_439) == (48, 60_000)
    assert dropout.plan(41_157) == (256, 60_000)
    last_layer = whole_benchmark().METHODS["last_layer"]
    assert last_layer.plan(927) == (927, 800)
    assert last_layer.plan(41_157) == (4_096, 800)


@pytest.mark.parametrize(
    ("covered", "stands"), [(235, False), (236, True), (252, True), (253, False)]
)
def test_intervals_that_hold_too_few_or_too_many_come_last(
    uci: Any, covered: int, stands: bool
) -> None:
    # Of 270 rows, 0.85 and a standard error are 235.4, and 0.95 less one is 252.9.
    y = np.concatenate([np.linspace(-1.6, 1.6, covered), np.full(270 - covered, 1.7)])
    found = uci.score(y, np.zeros((1, 270)), np.ones((1, 270)))
    expected = stats.norm.logpdf(y).mean()
    assert found == pytest.approx(expected if stands else expected - 1e6, abs=1e-9)


def test_the_noise_is_chosen_by_rows_that_no_fit_has_seen(
    uci: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    x, y = datasets.load_diabetes(return_X_y=True)
    write_set(tmp_path / "diabetes", x, y, splits=2, test=42)
    rows, _ = uci.load(tmp_path, "diabetes")
    seen_and_new, rng = [], np.random.default_rng(0)

    def oracle(_method: Any, points: Any, split: Any, seen: Any, new: Any, passes: int) -> Any:
        seen_and_new.append((seen.x.shape[1], new.x.shape[1]))
        for k in range(len(seen.x)):
            old = {tuple(row.round(6)) for row in seen.x[k]}
            assert not any(tuple(row.round(6)) in old for row in new.x[k])
        error = rng.normal(0, 0.2, (1, len(points), new.y.shape[1]))
        return (new.y[split] + error).repeat(passes, 0), np.ones_like(error)

    monkeypatch.setattr(uci, "predict", oracle)
    _, noise = uci.choose(uci.METHODS["mc_dropout"], rows, seed=0)
    assert seen_and_new == [(360, 40)] * 7
    np.testing.assert_allclose(noise, 0.2, rtol=0.25)  # a step of its grid is 15 %


def test_splits_at_the_edge_of_the_grid_are_given_more_to_choose_from(
    uci: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The data of split 0 ask for the strongest of all, those of split 1 for the smallest rate."""
    x, y = datasets.load_diabetes(return_X_y=True)
    write_set(tmp_path / "diabetes", x, y, splits=2, test=42)
    rows, _ = uci.load(tmp_path, "diabetes")
    tried, rng = [], np.random.default_rng(0)

    def oracle(_method: Any, points: Any, split: Any, _seen: Any, new: Any, passes: int) -> Any:
        tried.extend(zip(split.tolist(), points, strict=True))
        strength = np.array([p["rate"] * (1 + 1e3 * p["decay"]) for p in points])
        sd = np.where(split == 0, 0.4 / (1 + 20 * strength), 0.1 + strength)[:, None]
        error = sd * rng.normal(size=(1, len(points), new.y.shape[1]))
        return (new.y[split] + error).repeat(passes, 0), np.ones_like(error)

    monkeypatch.setattr(uci, "predict", oracle)
    chosen, _ = uci.choose(whole_benchmark().METHODS["mc_dropout"], rows, seed=0)
    assert chosen == [{"rate": 0.2, "decay": 0.01}, {"rate": 0.005, "decay": 1e-5}]
    assert {k for k, point in tried if point["decay"] > 1e-5} == {0}


# ------------------------------------------------------------------------------ the methods


def test_a_pass_drops_units_and_members_share_the_draw(uci: Any) -> None:
    with isolated(0):
        parameters = uci.start_varying(3, 4, {})
        x = torch.randn(3, 5, 4)
        rate = torch.tensor([0.0, 0.3, 0.3]).view(3, 1, 1)
        state = torch.get_rng_state()
        found = uci.dropped(parameters, x, {"rate": rate})
        torch.set_rng_state(state)
        kept = (torch.rand(1, 5, uci.UNITS) >= rate).float()
    units = torch.relu(x @ parameters["weight_1"] + parameters["bias_1"]) * kept
    expected = units @ parameters["weight_2"] + parameters["bias_2"]
    torch.testing.assert_close(found, expected)


def test_the_last_layers_gradient_is_that_of_its_evidence(uci: Any) -> None:
    with isolated(0):
        like = {"dtype": torch.float64}
        parameters = uci.start_features(2, 3, {}, **like)
        x, y = torch.randn(2, 20, 3, **like), torch.randn(2, 20, 1, **like)
    for value in parameters.values():
        value.requires_grad_()
    settings = {
        "scale": torch.tensor([1.0, 2.0], **like).view(2, 1, 1),
        "output_scale": torch.tensor([3.0, 0.5], **like).view(2, 1, 1),
    }
    loss = uci.last_layer_loss(parameters, x, y, settings, 20).sum()
    found = torch.autograd.grad(loss, list(parameters.values()))
    features = torch.relu(x @ parameters["weight_1"] + parameters["bias_1"]) / math.sqrt(uci.UNITS)
    features = torch.cat([features, torch.ones(2, 20, 1, **like)], -1)
    noise = (2 * parameters["log_noise"]).exp() * torch.eye(20, **like)
    covariance = settings["output_scale"].square() * features @ features.mT + noise
    outcome = torch.distributions.MultivariateNormal(torch.zeros(2, 20, **like), covariance)
    first = torch.distributions.Normal(0.0, settings["scale"] / math.sqrt(3))
    bias = torch.distributions.Normal(0.0, settings["scale"])
    log_joint = outcome.log_prob(y[..., 0]).sum() + first.log_prob(parameters["weight_1"]).sum()
    log_joint = log_joint + bias.log_prob(parameters["bias_1"]).sum()
    expected = torch.autograd.grad(-log_joint / 20, list(parameters.values()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    # Half of a table of which each row is there twice says what the whole table says.
    twice = [torch.cat([part, part], 1) for part in (x, y)]
    loss = uci.last_layer_loss(parameters, *twice, settings, 40).sum()
    expected = torch.autograd.grad(loss, list(parameters.values()))
    loss = uci.last_layer_loss(parameters, x, y, settings, 40).sum()
    found = torch.autograd.grad(loss, list(parameters.values()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_fits_in_parts_are_as_many_and_as_good_as_fits_together(
    uci: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.linspace(-1, 1, 60).reshape(1, 60, 1)
    rows = uci.Rows(x.repeat(3, 0), np.sin(3 * x[..., 0]).repeat(3, 0))
    points, split = [{"decay": 1e-4}] * 3, np.arange(3)
    sizes = []
    trained = uci.train

    def counted(method: Any, points: Sequence[Any], *rest: Any) -> Any:
        sizes.append(len(points))
        return trained(method, points, *rest)

    monkeypatch.setattr(uci, "train", counted)
    monkeypatch.setattr(uci, "NUMBERS", 2 * 5 * 60 * uci.UNITS)
    method = dataclasses.replace(uci.METHODS["ensemble"], sweeps=200)
    mean, _ = uci.predict(method, points, split, rows, rows)
    assert sizes == [10, 5]
    assert mean.shape == (5, 3, 60)
    assert np.sqrt(np.mean((mean.mean(0) - rows.y) ** 2)) < 0.3


def test_a_short_run_on_two_splits_of_yacht_is_near_what_is_published(uci: Any) -> None:
    short = dataclasses.replace(uci.METHODS["mc_dropout"], sweeps=150)
    uci.METHODS["mc_dropout"] = dataclasses.replace(
        short, grid={"rate": (0.02,), "decay": (1e-5,)}
    )
    found = uci.run(published(uci), "yacht", "mc_dropout", splits=2)
    assert np.mean(found["rmse"]) < 2.5  # of an outcome whose standard deviation is 15
    assert np.mean(found["log_density"]) > -2.5


@pytest.mark.slow
def test_mc_dropout_on_five_splits_of_energy_is_as_good_as_published() -> None:
    uci = whole_benchmark()
    found = uci.run(published(uci), "energy", "mc_dropout", splits=5)
    for score, sign in (("rmse", 1), ("log_density", -1)):
        mean, error = uci.PUBLISHED["energy"][score]
        assert sign * np.mean(found[score]) < sign * mean + error


# ------------------------------------------------------------------------------ other sets


def test_any_set_of_the_format_is_run_with_as_many_splits_as_it_has(
    uci: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = datasets.load_diabetes(return_X_y=True)
    x = np.column_stack([x, np.full(len(y), 0.998), np.zeros(len(y))])  # as two of `naval` are
    write_set(tmp_path / "diabetes", x, y, splits=3, test=44)
    kept, out = uci.FOUND.read_text(), tmp_path / "found.json"
    uci.main(["--folder", str(tmp_path), "--jobs", "1", "--out", str(out), "diabetes"])
    printed = capsys.readouterr()
    assert (
        "diabetes mc_dropout: 398 training rows, 12 covariates, 3 splits, 7 folds" in printed.err
    )
    assert "published" not in printed.out
    assert uci.FOUND.read_text() == kept
    for kind in uci.METHODS:
        assert f"| diabetes | {kind} |" in printed.out
    uci.main(["--table", "--out", str(out)])
    assert capsys.readouterr().out == printed.out
    found = uci.keep({}, out)["diabetes"]
    for kind, one in found.items():
        assert len(one["rmse"]) == 3
        assert np.mean(one["rmse"]) < 0.9 * y.std(), (
            kind
        )  # the variance explained is half, at best


def test_a_covariate_that_is_constant_but_for_rounding_is_not_blown_up(uci: Any) -> None:
    x = np.full((1, 400, 2), 0.998)
    x[..., 0] += 1e-6 * np.arange(400)  # this one does vary
    rows = uci.Rows(x, np.arange(400.0).reshape(1, 400))
    assert rows.x[..., 1].std() > 0
    scaled = uci.Scale.of(rows)(rows).x
    assert np.abs(scaled[..., 1]).max() < 1e-12
    assert scaled[..., 0].std() == pytest.approx(1.0)


def test_a_single_covariate_and_many_rows_are_a_set_too(uci: Any, tmp_path: Path) -> None:
    images = datasets.load_digits().images  # of a row of pixels, how bright is the one below it?
    x, y = images[:, :-1].mean(-1).reshape(-1, 1), images[:, 1:].mean(-1).reshape(-1)
    place = write_set(tmp_path / "strokes", x, y, splits=2, test=1_000)
    uci.METHODS["ensemble"] = dataclasses.replace(uci.METHODS["ensemble"], sweeps=5)
    (place / "index_features.txt").write_text("0.000000000000000000e+00\n")
    found = uci.run(tmp_path, "strokes", "ensemble")
    line = np.polynomial.Polynomial.fit(x[:, 0], y, 1)(x[:, 0])
    assert np.mean(found["rmse"]) < 0.99 * np.sqrt(np.mean((line - y) ** 2))  # it is curved
    assert 0.88 < found["covered"][1] < 0.93  # with a noise of nine tenths of the whole spread


def test_a_set_that_the_card_does_not_show_is_kept_nowhere_unless_asked(
    uci: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = {"rmse": [1.0], "log_density": [0.0], "covered": [0.5, 0.9, 0.95], "seconds": 1}
    monkeypatch.setattr(uci, "run", lambda *_: result)
    monkeypatch.setattr(uci, "FOUND", tmp_path / "uci.json")
    for name in ("boston", "yacht"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.txt").write_text("1 2\n")
    uci.main(["--folder", str(tmp_path), "--jobs", "1", "mc_dropout"])
    assert list(uci.keep({}, tmp_path / "uci.json")) == ["yacht"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        ["| boston", "mc_dropout"],
        ["| yacht", "mc_dropout"],
        ["| yacht", "published MC dropout"],
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"index_train_1.txt": None}, "3 splits were asked for, and 1 are there"),
        ({"index_test_2.txt": None}, "index_test_2.txt: expected numbers"),
        ({"index_test_2.txt": "1\n2\n"}, "test rows of different numbers"),
        ({"index_train_0.txt": "1\n600\n"}, "whole numbers from 0 to 59"),
        ({"index_test_2.txt": "1\n1.5\n"}, "whole numbers from 0 to 59"),
        ({"index_target.txt": "1"}, "one target, which is no covariate"),
        ({"data.txt": "1,2,3\n"}, "expected numbers between spaces"),
        ({"data.txt": "1 nan 3\n" * 60}, "expected finite numbers"),
        ({"data.txt": "1 2 3\n" * 60}, "the target is the same in all training rows"),
    ],
)
def test_a_set_that_is_not_of_the_format_gets_one_clear_error(
    uci: Any, tmp_path: Path, change: dict[str, str | None], words: str
) -> None:
    rng = np.random.default_rng(0)
    place = write_set(
        tmp_path / "odd", rng.normal(size=(60, 2)), rng.normal(size=60), splits=3, test=6
    )
    for name, text in change.items():
        (place / name).write_text(text) if text is not None else (place / name).unlink()
    with pytest.raises(SystemExit, match=words):
        uci.load(tmp_path, "odd", splits=3)


def test_what_is_not_there_is_said_before_anything_is_fitted(uci: Any, tmp_path: Path) -> None:
    with pytest.raises(
        SystemExit, match=r"No sets in .*Name the folder with the sets by --folder"
    ):
        uci.main(["--folder", str(tmp_path / "none")])
    (tmp_path / "wine").mkdir()
    (tmp_path / "wine" / "data.txt").write_text("1 2\n")
    with pytest.raises(SystemExit, match=r"'bostn' is no method .*nor a set in .*\(wine\)"):
        uci.main(["--folder", str(tmp_path), "wine", "bostn"])
