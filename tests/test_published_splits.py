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
        short = dataclasses.replace(method, sweeps=40, grid=grid)
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


@pytest.mark.parametrize(("covered", "passes"), [(253, True), (254, False), (236, True), (235, False)])
def test_intervals_that_hold_too_few_or_too_many_come_last(
    uci: Any, covered: int, passes: bool
) -> None:
    # Of 270 rows: 0.95 less, and 0.85 plus, a standard error of a share are 252.9 and 235.4.
    # Half a row either way decides, so the counts are of the shares themselves.
    low, high = (p * 270 + w * math.sqrt(270 * p * (1 - p)) for p, w in ((0.85, 1), (0.95, -1)))
    inside = np.linspace(-1.6, 1.6, covered)
    y = np.concatenate([inside, np.full(270 - covered, 1.7)])
    found = uci.score(y, np.zeros((1, 270)), np.ones((1, 270)))
    assert (low <= covered <= high) == (found > -1e5)
    assert passes == (low <= covered <= high)


def test_the_noise_and_the_rate_are_chosen_by_rows_that_no_fit_has_seen(
    uci: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    x, y = datasets.load_diabetes(return_X_y=True)
    write_set(tmp_path / "diabetes", x, y, splits=2, test=42)
    rows, _ = uci.load(tmp_path, "diabetes")
    seen_and_new = []

    def oracle(_method: Any, points: Any, split: Any, seen: Any, new: Any, passes: int) -> Any:
        seen_and_new.append((seen.x.shape[1], new.x.shape[1]))
        for k in range(len(seen.x)):
            old = {tuple(row.round(6)) for row in seen.x[k]}
            assert not any(tuple(row.round(6)) in old for row in new.x[k])
        noise = np.random.default_rng(0).normal(0, 0.2, (passes, len(points), 1))
        return new.y[split] + noise, np.ones((1, len(points), new.y.shape[1]))

    monkeypatch.setattr(uci, "predict", oracle)
    _, noise = uci.choose(uci.METHODS["mc_dropout"], rows, seed=0)
    assert seen_and_new == [(360, 40)] * 7
    assert (noise == uci.NOISES[0]).all() or (noise < 0.1).all()


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
    mean, _ = uci.predict(uci.METHODS["ensemble"], points, split, rows, rows)
    assert sizes == [10, 5]
    assert mean.shape == (5, 3, 60)
    assert np.sqrt(np.mean((mean.mean(0) - rows.y) ** 2)) < 0.3
