"""Claims: a bar counts to what is expected, and judging and searching have bars of their own."""

from typing import Any, Self

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
from torch import Tensor

import pyrovi as vi
from pyrovi.infer import judge
from pyrovi.infer.ladder.judge import TRANSITIONS
from pyrovi.progress import shown


class Recorded:
    """What tqdm would show."""

    made: list["Recorded"]

    def __init__(self, *, total: int, desc: str, disable: bool, **_: Any) -> None:
        self.total, self.label, self.hidden = total, desc, disable
        self.done, self.totals = 0, [total]
        self.made.append(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.totals.append(self.total)

    def set_postfix(self, **_: Any) -> None: ...

    def update(self) -> None:
        self.done += 1
        assert self.done <= self.total
        self.totals.append(self.total)


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Recorded]:
    Recorded.made = []
    monkeypatch.setattr("tqdm.auto.tqdm", Recorded)
    return Recorded.made


def banana(y: Tensor) -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    z = pyro.sample("z", dist.Normal(x * x, 0.3))
    w = pyro.sample("w", dist.Normal(z * z, 0.3))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(z + w, 5.0), obs=y)


DATA = {"y": np.random.default_rng(0).normal(1.0, 1.0, 30)}


def test_the_bar_of_a_ladder_counts_to_the_steps_of_its_rungs(bars: list[Recorded]) -> None:
    fit = vi.fit(banana, DATA, seed=0, progress=True)
    whole = next(each for each in bars if each.label == "fit")
    assert len(fit.rungs) > 1
    assert whole.done == sum(rung.steps for rung in fit.rungs if not rung.of)
    assert max(whole.totals[1:]) < 5_000  # and not the 100,000 that it might take at the most


def test_the_search_for_modes_has_a_bar_of_its_own(bars: list[Recorded]) -> None:
    vi.fit(banana, DATA, seed=0, progress=True)
    searching = [each for each in bars if each.label == "searching for modes"]
    assert searching
    assert all(0 < each.done <= each.total for each in searching)
    assert not any(each.hidden for each in bars)


def test_judging_by_chains_has_a_bar_of_its_own(bars: list[Recorded]) -> None:
    fit = vi.fit(banana, DATA, vi.SVI(guide="mean_field", max_steps=100), seed=0, progress=False)
    bars.clear()
    with shown(True):
        assert judge(fit.density, fit.draw(1000)[0], 0).chains is not None
    assert {each.label for each in bars} == {"judging"}
    assert all(each.done == each.total == TRANSITIONS and not each.hidden for each in bars)


@pytest.mark.parametrize("progress", [False, None])
def test_no_bar_is_shown_unasked_where_nobody_can_see_it(
    bars: list[Recorded], progress: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(__import__("sys").modules, "ipykernel", raising=False)
    vi.draw(vi.fit(banana, DATA, seed=0, progress=progress), draws=300)
    assert bars
    assert all(each.hidden for each in bars)
