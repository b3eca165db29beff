"""Another package adds one more of everything through entry points, and pyrovi knows it by name.

The package is `tests/third_party/pyrovi_toys`, installed as far as the import system can tell: its
folder is on the path, and so is its ``dist-info``.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import pyrovi as vi
from pyrovi.diagnostics import CHECKS
from pyrovi.guides import FAMILIES
from pyrovi.infer import ENGINES
from pyrovi.models import ZOO
from pyrovi.reports import SECTIONS
from pyrovi.tree import CHAINS, draw_kind

HERE = Path(__file__).parent / "third_party"
DRAWS = 190  # so few that no Markov chains go out from them
LEAN = {"mean": 2050 / 4044, "sd": (2050 * 1994 / 4044**2 / 4045) ** 0.5}
"""Of the beta posterior: two heads and two tails of the prior, and Buffon's 2,048 of 4,040."""


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        entry = vi.models.get("toy_coin")
        fit = vi.fit(entry.model, entry.load(), "toy_sampler", seed=0, progress=False)
        return vi.check(vi.draw(fit, draws=DRAWS))


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        (ZOO, "toy_coin"),
        (ENGINES, "toy_sampler"),
        (FAMILIES, "toy_diagonal"),
        (CHECKS, "toy_symmetry"),
        (SECTIONS, "toy_words"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_each_registry_knows_its_toy_after_its_own_members(registry, name: str) -> None:
    assert name in registry
    assert name not in registry.members
    assert list(registry)[: len(registry.members)] == list(registry.members)
    assert registry.available()[name] is registry[name]


def test_its_sampler_fits_its_model_and_the_tree_says_that_its_draws_are_chains(tree) -> None:
    assert draw_kind(tree) == CHAINS
    lean = tree["posterior"]["lean"].to_numpy()
    effective = float(vi.az.ess(lean.reshape(1, -1)))
    assert abs(lean.mean() - LEAN["mean"]) < 5 * LEAN["sd"] / np.sqrt(effective)
    assert 0.6 < lean.std() / LEAN["sd"] < 1.6


def test_its_draws_are_judged_by_r_hat_as_a_sampler_s_are(tree) -> None:
    assert "rhat" in tree["diagnostics/convergence"]


def test_its_diagnostic_is_run_and_its_rows_are_in_the_verdict(tree) -> None:
    table = vi.verdict(tree).table
    (row,) = table[table["check"] == "toy_symmetry"].to_dict("records")
    assert row["quantity"] == "lean"
    assert row["status"] == "ok"
    assert (row["low"], row["high"]) == (-1.0, 1.0)


def test_its_section_is_in_the_report(tree) -> None:
    report = vi.report(tree)
    assert report.sections[-1].title == "Last words"
    assert f"{DRAWS} draws were judged" in report.html


def test_its_guide_is_fitted_by_svi_and_recovers_the_posterior() -> None:
    entry = vi.models.get("toy_coin")
    fit = vi.fit(entry.model, entry.load(), "svi:toy_diagonal", seed=0, progress=False)
    lean = vi.draw(fit, draws=2000)["posterior"]["lean"].to_numpy()
    assert abs(lean.mean() - LEAN["mean"]) < 0.15 * LEAN["sd"]
    assert 0.85 < lean.std() / LEAN["sd"] < 1.15


def test_the_command_line_lists_and_runs_them(tmp_path: Path) -> None:
    where = os.pathsep.join([str(HERE), *sys.path])
    command = [sys.executable, "-W", "ignore", "-m", "pyrovi"]

    def said(*arguments: str) -> str:
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": where},
        )
        return done.stdout

    assert "toy_coin" in said("list")
    options = (
        "--engine",
        "toy_sampler",
        "--set",
        "draws=500",
        "--draws",
        "190",
        "--seed",
        "0",
        "--out",
        "run",
    )
    said("run", "toy_coin", *options)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Last words" in page
    assert "ToySampler(draws=500" in page
