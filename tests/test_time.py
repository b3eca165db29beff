"""Claims: no stage takes more time than it is given, and what it leaves out for that is said.

Time is counted by a clock that the work itself moves, so that no test depends on the machine.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from torch import Tensor

import pyrovi as vi
from pyrovi import clock
from pyrovi.diagnostics import CHECKS
from pyrovi.tree import OUT_OF_TIME, json_attr

Y = np.random.default_rng(0).normal(1.0, 1.0, 30)
SLOW = 1e-3  # seconds of one evaluation of the density


def normal(y: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


def banana(y: Tensor) -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    z = pyro.sample("z", dist.Normal(x * x, 0.3))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(z, 5.0), obs=y)


@pytest.fixture(scope="module")
def fitted() -> vi.Fit:
    return vi.fit(normal, {"y": Y}, seed=0)


@pytest.fixture(scope="module")
def wrong() -> vi.Fit:
    """A fit that Markov chains have to judge."""
    return vi.fit(banana, {"y": Y}, vi.SVI(guide="mean_field", max_steps=300), seed=0)


@pytest.fixture(scope="module")
def tree(fitted: vi.Fit) -> xr.DataTree:
    return vi.draw(fitted, draws=500)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes at each look at the clock."""
    ticks: Iterator[int] = itertools.count()
    monkeypatch.setattr(clock, "perf_counter", lambda: float(next(ticks)))


@pytest.fixture
def working(monkeypatch: pytest.MonkeyPatch) -> Callable[[vi.Fit], Callable[[], float]]:
    """Time passes as the density of a fit is evaluated or explained, and in no other way."""

    def on(fit: vi.Fit) -> Callable[[], float]:
        density, explained = fit.density, [0]
        explain, before = density.explain, density.evaluations

        def counted(flat: Tensor) -> Any:
            explained.append(len(flat))
            return explain(flat)

        def spent() -> float:
            return SLOW * (density.evaluations - before + sum(explained))

        monkeypatch.setattr(density, "explain", counted)
        monkeypatch.setattr(clock, "perf_counter", spent)
        return spent

    return on


def without_times(tree: xr.DataTree) -> xr.DataTree:
    bare = tree.copy()
    del bare["sample_stats"].attrs["created"]
    return bare


# -------------------------------------------------------------------------------------------- draw


def test_a_limit_that_is_not_reached_changes_nothing(fitted: vi.Fit, tree: xr.DataTree) -> None:
    limited = vi.draw(fitted, draws=500, max_seconds=1e6)
    xr.testing.assert_identical(without_times(limited), without_times(tree))
    judged = vi.check(tree, max_seconds=1e6)
    xr.testing.assert_identical(judged, vi.check(tree))
    assert vi.report(judged, max_seconds=1e6).html == vi.report(judged).html


def test_there_are_as_many_draws_as_there_is_time_for_and_the_tree_says_so(
    fitted: vi.Fit, working: Any
) -> None:
    spent = working(fitted)
    tree = vi.draw(fitted, draws=5000, max_seconds=1.0)
    assert spent() <= 1.2
    draws = tree["posterior"].sizes["draw"]
    assert 50 <= draws < 1000
    assert tree["log_likelihood"].sizes["draw"] == draws
    notes = " ".join(json_attr(tree, "notes"))
    assert f"There was time for {draws} of the 5,000 draws" in notes
    assert "There was time" in vi.report(tree).html


def test_no_time_is_one_sentence_and_no_tree(fitted: vi.Fit, working: Any) -> None:
    working(fitted)
    with pytest.raises(vi.errors.EngineError, match=r"no time for 5,000 draws of 'normal'"):
        vi.draw(fitted, draws=5000, max_seconds=0.03)


def test_what_is_beside_the_draws_is_left_out_and_the_verdict_warns(
    wrong: vi.Fit, working: Any
) -> None:
    assert "drift" in vi.draw(wrong, draws=500)
    spent = working(wrong)
    tree = vi.draw(wrong, draws=500, max_seconds=2.0)
    assert spent() <= 2.4
    assert "drift" not in tree
    assert json_attr(tree, OUT_OF_TIME) == ["drift"]
    assert "There was no time for drift" in " ".join(json_attr(tree, "notes"))
    verdict = vi.verdict(tree)
    late = verdict.table.query("check == 'drift'")
    assert late["kind"].tolist() == ["not run"]
    assert late["status"].tolist() == ["warn"]
    assert "out of time" in str(verdict)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_time_is_positive(fitted: vi.Fit, tree: xr.DataTree, seconds: float) -> None:
    stages: tuple[Callable[[], Any], ...] = (
        lambda: vi.draw(fitted, max_seconds=seconds),
        lambda: vi.check(tree, max_seconds=seconds),
        lambda: vi.report(tree, max_seconds=seconds),
    )
    for stage in stages:
        with pytest.raises(vi.PyroviError, match="max_seconds must be positive"):
            stage()


# ------------------------------------------------------------------------------- check and report


@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize("seconds", [0.5, 3.5, 8.5])
def test_each_check_is_made_or_named_as_out_of_time(tree: xr.DataTree, seconds: float) -> None:
    judged = vi.check(tree, max_seconds=seconds)
    verdict, group = vi.verdict(judged), judged["diagnostics"]
    kinds = dict(zip(group["check"].to_numpy(), group["kind"].to_numpy(), strict=True))
    assert {*group.children, *kinds} == set(CHECKS)
    late = [name for name, kind in kinds.items() if kind == "out of time"]
    assert late
    assert verdict.status == "warn"
    rows = verdict.table[verdict.table["check"].isin(late)]
    assert set(rows["check"]) == set(late)
    assert set(rows["status"]) == {"warn"}
    assert "with a larger max_seconds" in str(verdict)


def test_what_was_out_of_time_is_so_after_saving(
    tree: xr.DataTree, ticking: None, tmp_path: Path
) -> None:
    del ticking
    judged = vi.check(tree, max_seconds=3.5)
    again = vi.open_tree(vi.save(judged, tmp_path / "tree.nc"))
    assert str(vi.verdict(again)) == str(vi.verdict(judged))


def test_a_long_check_ends_within_itself() -> None:
    from pyrovi.evidence import as_rows

    with clock.until(0.0), pytest.raises(clock.OutOfTime):
        next(as_rows(np.zeros((5, 40))))


def test_a_report_says_which_sections_and_figures_it_had_no_time_for(
    tree: xr.DataTree, ticking: None
) -> None:
    del ticking
    judged = vi.check(tree)
    whole = vi.report(judged)
    short = vi.report(judged, max_seconds=4.5)
    assert short.sections[0].id == whole.sections[0].id == "verdict"
    assert short.sections[1].title == "Left out"
    facts = dict(short.sections[1].facts)
    made = {each.id for each in short.sections}
    for section in whole.sections:
        assert (section.id in made) != (section.id in facts.get("Sections", ""))
    undrawn = [plot.title for each in short.drawings.values() for plot, one in each if one is None]
    assert undrawn
    assert all(title in facts["Figures"] for title in undrawn)
    assert "4.5 s" in short.html


def test_an_earlier_deadline_holds_within_a_later_one_and_not_after_it() -> None:
    with clock.until(-1.0), clock.within(1e6), pytest.raises(clock.OutOfTime):
        clock.check_time()
    clock.check_time()


def test_rows_that_are_run_one_by_one_keep_the_time() -> None:
    def looping(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        for i in range(len(y)):
            pyro.sample(f"y_{i}", dist.Normal(float(loc.detach()) * 0 + loc, 1.0), obs=y[i])

    from pyrovi.bound import bind, bind_model, predictions

    model = bind_model(looping, bind(looping, {"y": Y[:3]}))
    with clock.until(0.0), pytest.raises(clock.OutOfTime):
        predictions(model, {"loc": torch.zeros(5, dtype=torch.float64)}, 0)
