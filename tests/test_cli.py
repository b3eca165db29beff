"""The command line: the same verbs, one line for a mistake, and no folder half written."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pyrovi as vi
from pyrovi import models
from pyrovi.cli import main
from pyrovi.cli.folder import OF_A_RUN
from trees import linear_gaussian_tree

MODEL = """
import pyro, torch
import pyro.distributions as dist

def model(y, x=None):
    loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
    shift = 0.0 if x is None else x
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc + shift, 1.0), obs=y)

def matrix(y, X):
    beta = pyro.sample("beta", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(X @ beta, 1.0), obs=y)

def own_data():
    model(torch.tensor([1.0, 2.0, 3.5]))

def impossible(y):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    pyro.factor("never", torch.tensor(-torch.inf) + 0 * loc)

def scaled(y, scale):
    loc = pyro.sample("loc", dist.Normal(0.0, scale))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

def grouped(site, y, sites=3):
    with pyro.plate("site", sites):
        level = pyro.sample("level", dist.Normal(0.0, 10.0))
    with pyro.plate("row", len(site)):
        pyro.sample("y", dist.Normal(level[site], 1.0), obs=y)

number = 3
"""
GOOD = "y\n1.5\n2.0\n0.5\n1.0\n"


class Outcome:
    """What a command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def complaint(self) -> str:
        """The one line on standard error."""
        assert self.code == 2, (self.code, self.err)
        assert self.err.startswith("pyrovi: error: "), self.err
        assert self.err.count("\n") == 1, self.err
        assert self.out == ""
        return self.err


@pytest.fixture
def pyrovi(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path):
    monkeypatch.chdir(home)

    def call(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(each) for each in arguments])
        captured = capsys.readouterr()
        return Outcome(int(caught.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MODEL)
    (tmp_path / "good.csv").write_text(GOOD)
    return tmp_path


RUN = ("run", "mine.py:model", "--seed", "0", "--draws", "200", "--engine", "laplace")


def own(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


# What works


def test_predict_takes_a_table_of_new_rows_without_what_is_observed(pyrovi, home: Path) -> None:
    (home / "rows.csv").write_text("y,X[a],X[b]\n1,1.0,0\n2,1,1\n5,1,3\n4,1,3\n0,1,-1.0\n")
    (home / "new.csv").write_text("X[a],X[b]\n1.0,2\n1,-4.0\n")
    of_file = ("--model", "mine.py:matrix")
    fit = ("fit", "mine.py:matrix", "--seed", "0", "--engine", "laplace", "--data", "rows.csv")
    assert pyrovi(*fit, "--out", "fitted").code == 0
    done = pyrovi("predict", "fitted", "--data", "new.csv", *of_file)
    assert done.code == 0, done.err
    tree = vi.open_tree(home / done.out.strip())
    x = np.array([[1, 0], [1, 1], [1, 3], [1, 3], [1, -1]])
    mean = np.linalg.solve(np.eye(2) + x.T @ x, x.T @ [1, 2, 5, 4, 0])
    predicted = tree["predictions"]["y"].mean(("chain", "draw"))
    np.testing.assert_allclose(predicted, [[1, 2], [1, -4]] @ mean, atol=0.15)
    (home / "other.csv").write_text("Z\n1\n")
    assert "Z" in pyrovi("predict", "fitted", "--data", "other.csv", *of_file).complaint


def test_a_column_of_words_is_one_of_labels_from_fit_to_prediction(pyrovi, home: Path) -> None:
    (home / "rows.csv").write_text("site,y\nwest,1\neast,5\nnorth hill,9\neast,7\n")
    (home / "new.csv").write_text("site\neast\nwest\n")
    (home / "other.csv").write_text("site\nsouth\n")
    of_file = ("--model", "mine.py:grouped")
    fit = ("run", "mine.py:grouped", "--seed", "0", "--engine", "laplace", "--data", "rows.csv")
    assert pyrovi(*fit, "--out", "fitted").code == 0
    level = vi.open_tree(home / "fitted" / "posterior.nc")["posterior"]["level"]
    assert level["site"].to_numpy().tolist() == ["east", "north hill", "west"]
    # a level ~ N(0, 10) and n observations of mean m: its posterior mean is n m / (n + 0.01)
    assert float(level.sel(site="east").mean()) == pytest.approx(12 / 2.01, abs=0.1)
    done = pyrovi("predict", "fitted", "--data", "new.csv", *of_file)
    predicted = vi.open_tree(home / done.out.strip())["predictions"]["y"].mean(("chain", "draw"))
    np.testing.assert_allclose(predicted, [12 / 2.01, 1 / 1.01], atol=0.15)
    assert "'south'" in pyrovi("predict", "fitted", "--data", "other.csv", *of_file).complaint


def test_what_a_stage_has_no_time_for_is_said_and_replaces_nothing(pyrovi, home: Path) -> None:
    assert pyrovi(*RUN, "--data", "good.csv", "--out", "timed").code == 0
    before = (home / "timed" / "posterior.nc").read_bytes()
    no_time, of_file = ("--max-seconds", "1e-9"), ("--model", "mine.py:model")
    assert "no time for 2,000 draws" in pyrovi("draw", "timed", *no_time, *of_file).complaint
    assert (home / "timed" / "posterior.nc").read_bytes() == before
    assert "Left out" in Path(pyrovi("report", "timed", *no_time).out.strip()).read_text()
    checked = pyrovi("check", "timed", *no_time)
    assert checked.out.startswith("WARN")
    assert "predictive not run: out of time" in checked.out


def test_run_writes_all_its_files_and_prints_the_verdict_and_the_report_s_path(
    pyrovi, home: Path
) -> None:
    done = pyrovi(*RUN, "--data", "good.csv", "--out", "runs/one")
    assert done.code == 0, done.err
    folder = home / "runs" / "one"
    assert own(folder) == set(OF_A_RUN)
    tree = vi.open_tree(folder / "posterior.nc")
    assert str(vi.verdict(tree)) in done.out
    assert done.out.rstrip().endswith("runs/one/report.html")
    # loc ~ N(0, 10), n = 4, mean 1.25: the posterior mean is 4 * 1.25 / (4 + 0.01)
    assert float(tree["posterior"]["loc"].mean()) == pytest.approx(5 / 4.01, abs=0.15)
    table = pd.read_csv(folder / "verdict.csv", keep_default_na=False)
    assert list(table["quantity"]) == list(vi.verdict(tree).table["quantity"])


def test_the_stages_one_by_one_give_what_run_gives(pyrovi, home: Path) -> None:
    pyrovi(*RUN, "--data", "good.csv", "--out", "all")
    fit = ("fit", *RUN[1:3], "0", "--engine", "laplace", "--data", "good.csv", "--out", "some")
    assert pyrovi(*fit).code == 0
    assert own(home / "some") == {"fit.json", "fit.safetensors", "data.nc", "run.json"}
    drawn = pyrovi("draw", "some", "--draws", "200", "--model", "mine.py:model")
    assert drawn.code == 0, drawn.err
    assert pyrovi("check", "some").out.startswith(("OK", "WARN", "FAIL"))
    assert pyrovi("report", "some").out.strip() == "some/report.html"
    assert own(home / "some") == set(OF_A_RUN)
    one, other = (vi.open_tree(home / name / "posterior.nc") for name in ("all", "some"))
    for group in ("posterior", "posterior_predictive", "log_likelihood"):
        assert one[group].to_dataset().equals(other[group].to_dataset()), group


def test_a_zoo_model_runs_on_its_default_data_in_the_variant_asked_for(pyrovi, home: Path) -> None:
    done = pyrovi(
        *("run", "eight_schools", "--variant", "centered", "--seed", "1"),
        *("--engine", "laplace", "--draws", "100", "--out", "es"),
    )
    assert done.code == 0, done.err
    tree = vi.open_tree(home / "es" / "posterior.nc")
    assert tree["posterior"]["theta"].sizes["school"] == 8
    assert "theta_trans" not in tree["posterior"]


def test_a_zoo_model_without_real_data_runs_on_simulated_data_and_says_so(
    pyrovi, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = dataclasses.replace(models.get("eight_schools"), name="unmeasured", loaders={})
    monkeypatch.setattr(models, "get", lambda name: entry)
    done = pyrovi("run", "unmeasured", "--engine", "laplace", "--draws", "100", "--out", "sim")
    assert done.code == 0, done.err
    assert done.err.startswith(
        "pyrovi: warning: 'unmeasured' has no real data, so these are simul"
    )
    tree = vi.open_tree(home / "sim" / "posterior.nc")
    assert tree["observed_data"].equals(entry.simulate(0)["observed_data"])


def test_bracketed_columns_are_the_columns_of_a_matrix(pyrovi, home: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 2))
    y = X @ [1.0, -2.0] + 0.1 * rng.normal(size=50)
    frame = pd.DataFrame({"X[a]": X[:, 0], "y": y, "X[b]": X[:, 1]})
    frame.to_csv(home / "matrix.csv", index=False)
    arguments = ("run", "mine.py:matrix", *RUN[2:], "--data", "matrix.csv", "--out", "m")
    assert pyrovi(*arguments).code == 0
    beta = vi.open_tree(home / "m" / "posterior.nc")["posterior"]["beta"].mean(("chain", "draw"))
    np.testing.assert_allclose(beta, [1.0, -2.0], atol=0.3)


MARKS = """pupil,subject,hours,mark
a,mathematics,2,51
b,mathematics,4,58
d,mathematics,6,70
a,physics,2,48
b,physics,4,
d,physics,6,66
a,chemistry,2,55
b,chemistry,4,60
c,chemistry,5,63
"""
TABLE = ("run", "multitask_regression", "--seed", "0", "--draws", "100", "--engine", "laplace")


def test_a_zoo_entry_reads_a_table_by_options_of_its_own(pyrovi, home: Path) -> None:
    (home / "marks.csv").write_text(MARKS)
    columns = ("--task", "subject", "--outcome=mark", "--covariates", "hours")
    done = pyrovi(*TABLE, "--data", "marks.csv", *columns, "--out", "marks")
    assert done.code == 0, done.err
    posterior = vi.open_tree(home / "marks" / "posterior.nc")["posterior"]
    assert posterior["beta"].dims == ("chain", "draw", "task", "covariate")
    assert posterior["task"].to_numpy().tolist() == ["mathematics", "physics", "chemistry"]
    redrawn = pyrovi("draw", "marks", "--draws", "50")  # the missing mark is kept with the data
    assert redrawn.code == 0, redrawn.err
    assert vi.open_tree(home / "marks" / "posterior.nc")["posterior_predictive"].sizes["row"] == 9


BAD_TABLES = {
    "an unknown column": (("--task", "subjct", "--outcome", "mark"), "did you mean 'subject'"),
    "no outcome": (("--task", "subject"), "needs the option 'outcome'"),
    "no options": ((), "needs the option 'outcome'"),
    "an option of nothing": (("--tsk", "subject"), "Did you mean --task?"),
    "an option without a value": (("--task",), "--task with a value"),
    "a word too many": (("subject",), "the word 'subject' came"),
    "a text as a covariate": (
        ("--task", "subject", "--outcome", "mark"),
        "marks.csv, line 2, column 'pupil': expected a number, and 'a' came",
    ),
    "a task with one mark": (
        ("--task", "pupil", "--outcome", "mark", "--covariates", "hours"),
        "marks.csv: Task 'c' has 1 mark, and a task needs at least 2",
    ),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_table_that_cannot_be_read_is_one_line_with_its_place(
    pyrovi, home: Path, case: str
) -> None:
    options, said = BAD_TABLES[case]
    (home / "marks.csv").write_text(MARKS)
    assert said in pyrovi(*TABLE, "--data", "marks.csv", "--out", "o", *options).complaint


FLOWERS = "length,width,species\n" + "".join(
    f"{1 + i % 7 + 5 * (i % 2)},{i % 5 / 2},{'ab'[i % 2]}\n" for i in range(30)
)


def test_a_mixture_reads_a_table_of_one_s_own(pyrovi, home: Path) -> None:
    (home / "FLOWERS.CSV").write_text(FLOWERS)
    asked = ("run", "gaussian_mixture", *RUN[2:], "--data", "FLOWERS.CSV", "--out", "two")
    assert pyrovi(*asked, "--columns", "length,width", "--components=2").code == 0
    y = vi.open_tree(home / "two" / "posterior.nc")["observed_data"]["y"]
    assert y["dimension"].to_numpy().tolist() == ["length", "width"]
    assert pyrovi("draw", "two", "--draws", "20").code == 0


def test_a_network_takes_its_width_and_predicts_rows_without_an_outcome(
    pyrovi, home: Path
) -> None:
    rows = "".join(f"{i},{i % 5}\n" if i % 4 else f"{i},\n" for i in range(20))
    (home / "gaps.csv").write_text("x,y\n" + rows)
    asked = ("run", "bayesian_neural_network", *RUN[2:], "--data", "gaps.csv", "--out", "net")
    assert pyrovi(*asked, "--outcome", "y", "--width", "3").code == 0
    tree = vi.open_tree(home / "net" / "posterior.nc")
    assert tree["posterior"].sizes["unit_1"] == 3
    assert tree["posterior_predictive"].sizes["row"] == 20
    assert int(np.isnan(tree["observed_data"]["outcome"]).sum()) == 5


BAD_OPTIONS = {
    "no components": ((), "needs the option 'components' (--components)"),
    "a column of words": (("--components", "2"), "line 2, column 'species': expected a number"),
    "an option twice": (
        ("--components", "2", "--columns", "width", "--columns=length"),
        "--columns came twice. Give it once; several names go with commas.",
    ),
    "half a component": (("--components", "2.5", "--columns", "width"), "and '2.5' came"),
    "a setting of half": (("--set", "components=2.5"), "from 1 to 10000, and 2.5 came"),
    "settings that are words": (("--set", "components=a"), "--set components: expected a number"),
    "settings that are nothing": (("--set", "spread=null"), "--set spread: expected a number"),
    "settings that are lists": (("--set", "components=[1,2]"), "1 to 10000"),
    "a ragged setting": (("--set", "components=[1,[2]]"), "--set components: expected a number"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_of_a_mixture_are_one_line(pyrovi, home: Path, case: str) -> None:
    options, said = BAD_OPTIONS[case]
    (home / "flowers.csv").write_text(FLOWERS)
    data = "iris" if "--set" in options else "flowers.csv"
    before = own(home)
    asked = ("run", "gaussian_mixture", "--data", data, "--out", "o", "--engine", "laplace")
    assert said in pyrovi(*asked, *options).complaint
    assert own(home) == before


def test_options_for_a_table_are_for_entries_that_read_one_and_for_a_file(pyrovi) -> None:
    refused = pyrovi("run", "eight_schools", "--task", "subject", "--out", "o").complaint
    assert "No such option: --task. For a table 'eight_schools' takes: none." in refused
    lone = pyrovi("run", "multitask_regression", "--task", "subject", "--out", "o").complaint
    assert "--task is for a table of your own, and none came" in lone
    own = pyrovi("run", "gaussian_mixture", "--components", "2", "--out", "o").complaint
    assert "or change that of the data by --set components=2." in own
    gone = pyrovi("run", "gaussian_mixture", "--data", "no.cvs", "--components", "2", "--out", "o")
    assert "No such file: no.cvs" in gone.complaint


def test_a_model_that_closes_over_its_data_needs_no_data(pyrovi) -> None:
    assert pyrovi("run", "mine.py:own_data", *RUN[2:], "--out", "closed").code == 0


def test_set_gives_the_model_its_constants_and_the_engine_its_settings(pyrovi, home: Path) -> None:
    arguments = ("run", "mine.py:scaled", "--seed", "0", "--draws", "100", "--data", "good.csv")
    sets = ("--set", "scale=0.01", "--set", "max_steps=60", "--engine", "svi", "--out", "s")
    assert pyrovi(*arguments, *sets).code == 0
    tree = vi.open_tree(home / "s" / "posterior.nc")
    assert abs(float(tree["posterior"]["loc"].mean())) < 0.1
    assert tree["sample_stats"].sizes["step"] <= 60


def test_a_csv_with_a_byte_order_mark_and_windows_line_ends_is_read(pyrovi, home: Path) -> None:
    (home / "bom.csv").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert pyrovi(*RUN, "--data", "bom.csv", "--out", "bom").code == 0


def test_a_tree_from_elsewhere_can_be_checked_and_reported(pyrovi, home: Path) -> None:
    vi.save(linear_gaussian_tree(draws=300), home / "theirs.nc")
    assert pyrovi("check", "theirs.nc").code == 0
    assert pyrovi("report", "theirs.nc").out.strip() == "theirs.html"
    assert (home / "theirs.html").read_text().startswith("<!doctype html>")


def test_list_names_every_entry_with_its_data(pyrovi) -> None:
    text = pyrovi("list").out
    for name, entry in vi.models.available().items():
        assert name in text
        assert entry.title in text
        assert all(data in text for data in entry.datasets)


@pytest.mark.parametrize("command", ["run", "fit", "compare"])
def test_the_help_names_all_that_the_registries_hold(pyrovi, command: str) -> None:
    said = " ".join(pyrovi(command, "--help").out.split())
    for name in (*vi.infer.ENGINES, *(vi.guides.FAMILIES if command != "compare" else ())):
        assert f" {name}," in said or f" {name}." in said, name
    for entry in models.available().values():
        assert f"{entry.name}: {', '.join(entry.variants)}" in said
        assert all(f"--{option.replace('_', '-')}" in said for option in entry.options)


# What does not


BAD_CSV = {
    "an empty file": (b"", "empty"),
    "only a header": (b"y\n", "no rows"),
    "a NaN": (b"y\n1\nnan\n", "line 3, column 'y'"),
    "a gap": (b"y,x\n1,2\n1,\n", "line 3, column 'x': expected a number, and the cell is empty"),
    "a word": (b"y\n1\n\ntwo\n", "line 4, column 'y': expected a number, and 'two' came"),
    "an infinity": (b"y\ninf\n", "line 2"),
    "an unknown column": (b"y,z\n1,2\n", "z"),
    "a lacking column": (b"x\n1\n2\n", "y"),
    "a short row": (b"y,x\n1,2\n3\n", "line 3: expected 2 cells, and 1 came. Fill the row in"),
    "decimal commas": (b"y,x\n1,5,2,5\n", "line 2: expected 2 cells, and 4 came. Write decimals"),
    "an open quote": (b'y,x\n1,2\n"3,4\n5,6\n', "Is there a quote that nothing closes?"),
    "latin-1": ("y,\xe9\n1,2\n".encode("latin-1"), "UTF-8"),
    "semicolons": (b"y;x\n1;2\n", "commas"),
    "a column twice": (b"y,y\n1,2\n", "'y' is there twice"),
    "no header": (b"1,2\n3,4\n", "name the columns"),
    "a nameless column": (b"y,\n1,2\n", "column 2 has no name"),
    "a NUL": (b"y\n1\x00\n", "line"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_data_is_one_line_and_leaves_no_folder(pyrovi, home: Path, case: str) -> None:
    content, said = BAD_CSV[case]
    (home / "bad.csv").write_bytes(content)
    before = own(home)
    assert said in pyrovi(*RUN, "--data", "bad.csv", "--out", "runs/deep/out").complaint
    assert own(home) == before


BAD_COMMANDS = {
    "an unknown model": (("run", "eight_scools", "--out", "o"), "did you mean 'eight_schools'"),
    "an unknown variant": (
        ("run", "eight_schools", "--variant", "centred", "--out", "o"),
        "did you mean 'centered'",
    ),
    "an unknown data set": (("run", "gaussian_mixture", "--data", "irs", "--out", "o"), "iris"),
    "a missing file": ((*RUN, "--data", "nowhere.csv", "--out", "o"), "No such file"),
    "a folder for a file": ((*RUN, "--data", ".", "--out", "o"), "is a folder"),
    "another kind of file": ((*RUN, "--data", "mine.py", "--out", "o"), ".csv or a .nc"),
    "a missing Python file": (("run", "other.py:model", "--out", "o"), "other.py:model"),
    "no callable named": (("run", "mine.py", "--out", "o"), "my_model.py:model"),
    "an unknown callable": (("run", "mine.py:modell", "--out", "o"), "It has: model, "),
    "what cannot be called": (("run", "mine.py:number", "--out", "o"), "no callable 'number'"),
    "an unknown engine": ((*RUN[:-1], "adam", "--data", "good.csv", "--out", "o"), "laplace"),
    "no closed forms": (
        ("run", "gaussian_mixture", "--engine", "cavi", "--out", "o"),
        "These variants have them: unit, conjugate (--variant unit).",
    ),
    "no closed forms at all": (
        ("run", "eight_schools", "--engine", "gibbs", "--out", "o"),
        "Gibbs needs closed-form updates, and 'eight_schools' declares none.",
    ),
    "an unknown guide": (
        ("run", "mine.py:model", "--data", "good.csv", "--guide", "wide", "--out", "o"),
        "full_rank",
    ),
    "an unknown setting": (
        (*RUN, "--data", "good.csv", "--set", "lr=1", "--out", "o"),
        "'lr' is no setting of the engine laplace",
    ),
    "a setting of nothing": ((*RUN, "--set", "lr", "--out", "o"), "name=value"),
    "no density": (("run", "mine.py:impossible", "--data", "good.csv", "--out", "o"), "density"),
    "an unknown command": (("rum",), "Did you mean 'run'"),
    "an unknown option": ((*RUN, "--out", "o", "--forse"), "--force"),
    "a word for a number": ((*RUN, "--out", "o", "--restarts", "two"), "valid integer"),
    "no restarts": ((*RUN, "--out", "o", "--restarts", "0"), "--restarts"),
    "a negative seed": (("run", "eight_schools", "--seed", "-1", "--out", "o"), "seed"),
    "a folder that is not there": (("draw", "nowhere"), "No such folder"),
    "a folder without a fit": (("draw", "."), "run.json"),
    "a folder without draws": (("check", "."), "posterior.nc"),
    "a damaged tree": (("report", "good.csv"), "good.csv"),
}


@pytest.mark.parametrize("case", BAD_COMMANDS)
def test_a_mistake_is_one_line_with_what_to_do_and_leaves_nothing(
    pyrovi, home: Path, case: str
) -> None:
    arguments, said = BAD_COMMANDS[case]
    before = own(home)
    assert said in pyrovi(*arguments).complaint
    assert own(home) - {"__pycache__"} == before


@pytest.mark.parametrize(
    "out", ["good.csv", "good.csv/below", "/proc/nothing", "/dev/null/x", "loop/x", "full"]
)
def test_a_folder_that_cannot_be_had_is_said_before_any_work(
    pyrovi, home: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "loop").symlink_to(home / "loop")
    (home / "full").mkdir()
    (home / "full" / "mine.txt").write_text("mine")
    monkeypatch.setattr("pyrovi.cli.stages.fit", lambda *_: pytest.fail("it began to fit"))
    before = own(home)
    assert out in pyrovi(*RUN, "--data", "good.csv", "--out", out).complaint
    assert own(home) == before


def test_force_replaces_what_pyrovi_wrote_and_keeps_what_it_did_not(pyrovi, home: Path) -> None:
    arguments = (*RUN, "--data", "good.csv", "--out", "again")
    assert pyrovi(*arguments).code == 0
    folder = home / "again"
    (folder / "notes.txt").write_text("mine")
    first = (folder / "posterior.nc").read_bytes()
    assert "--force" in pyrovi(*arguments).complaint
    fit_only = ("fit", *RUN[1:3], "5", "--data", "good.csv", "--out", "again", "--force")
    assert pyrovi(*fit_only).code == 0
    assert own(folder) == {"fit.json", "fit.safetensors", "data.nc", "run.json", "notes.txt"}
    assert pyrovi(*arguments, "--force").code == 0
    assert own(folder) == {*OF_A_RUN, "notes.txt"}
    assert (folder / "notes.txt").read_text() == "mine"
    assert len((folder / "posterior.nc").read_bytes()) == len(first)


def test_force_does_not_take_a_file_that_only_has_the_same_name(pyrovi, home: Path) -> None:
    (home / "theirs").mkdir()
    (home / "theirs" / "report.html").write_text("mine")
    complaint = pyrovi(*RUN, "--data", "good.csv", "--out", "theirs", "--force").complaint
    assert "report.html" in complaint
    assert (home / "theirs" / "report.html").read_text() == "mine"


def test_a_fit_that_breaks_half_way_leaves_the_old_run_untouched(
    pyrovi, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (*RUN, "--data", "good.csv", "--out", "kept")
    assert pyrovi(*arguments).code == 0
    before = {each: each.read_bytes() for each in (home / "kept").iterdir()}

    def broken(*_: object) -> None:
        raise vi.PyroviError("the page\ndoes not print")

    monkeypatch.setattr("pyrovi.cli.stages.report", broken)
    assert "the page does not print" in pyrovi(*arguments, "--force").complaint
    assert {each: each.read_bytes() for each in (home / "kept").iterdir()} == before


def test_a_folder_from_a_stranger_cannot_have_a_file_of_theirs_run(pyrovi, home: Path) -> None:
    folder = home / "strange"
    folder.mkdir()
    (folder / "evil.py").write_text("open('ran', 'w')\ndef model(): pass")
    (folder / "run.json").write_text(json.dumps({"model": f"{folder}/evil.py:model"}))
    assert "--model" in pyrovi("draw", "strange").complaint
    assert not (home / "ran").exists()


def test_a_fault_is_one_line_too_and_debug_shows_where(pyrovi, home: Path) -> None:
    (home / "faulty.py").write_text("1 / 0\n")
    arguments = ("run", "faulty.py:model", "--out", "o")
    assert "ZeroDivisionError" in pyrovi(*arguments).complaint
    with pytest.raises(vi.PyroviError) as caught:
        main([*arguments, "--debug"])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


# Engines beside one another

COMPARE = ("compare", "mine.py:model", "--data", "good.csv", "--seed", "0", "--draws", "500")


def test_compare_prints_a_row_for_each_engine_and_keeps_the_table(pyrovi, home: Path) -> None:
    done = pyrovi(*COMPARE, "--engines", "laplace,dadvi", "--out", "table.csv")
    assert (done.code, done.err) == (0, "")
    first, head, *rows = done.out.splitlines()
    assert first.startswith("model, against ")
    assert first.endswith(", the highest ELBO that passes; seed 0")
    assert head.split()[:2] == ["engine", "error"]
    assert [line.split()[0] for line in rows[:2]] == ["laplace", "dadvi"]
    assert max(map(len, done.out.splitlines())) <= 120
    table = pd.read_csv(home / "table.csv")
    assert list(table["engine"]) == ["laplace", "dadvi"]
    assert table["error"].min() == 0.0  # of the one that the other is held against


def test_compare_holds_a_zoo_entry_against_the_shelf_and_ends_well_with_all_outside(
    pyrovi, home: Path
) -> None:
    asked = ("compare", "eight_schools", "--engines", "laplace", "--seed", "0", "--draws", "500")
    done = pyrovi(*asked)
    assert done.code == 0, done.err
    assert done.out.startswith("eight_schools, against NUTS, 4 chains of 5000 draws; seed 0\n")
    assert "10 of 10" in done.out
    assert "no engine" in done.out
    asked = ("compare", "quadratic_observation", *asked[2:])
    assert "against trapezoid rule" in pyrovi(*asked).out
    done = pyrovi(*asked, "--set", "prior_scale=2.5")
    assert "against laplace" in done.out, done.err


def test_compare_takes_a_reference_from_a_file(pyrovi, home: Path) -> None:
    rows = {"loc": {"mean": 5 / 4.01, "sd": 4.01**-0.5}}
    kept = {"variants": {"only": {"quantities": rows, "how": {"method": "a closed form"}}}}
    (home / "known.json").write_text(json.dumps(kept))
    done = pyrovi(*COMPARE, "--engines", "laplace", "--reference", "known.json")
    assert done.out.startswith("model, against a closed form; seed 0\n")
    assert "within 0.1 sd and sd ratios of 0.9 to 1.1: laplace" in done.out
    (home / "known.json").write_text("{}")
    asked = (*COMPARE, "--reference", "known.json")
    assert "and known.json is none" in pyrovi(*asked).complaint


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--engines", "advi"), "No engine 'advi' (did you mean 'dadvi'?). There is: auto, svi"),
        (("--engines", "laplace,svi:full"), "There is no guide family 'full'"),
        (("--engines", "laplace:maf"), "takes no guide, and 'maf' came"),
        (("--engines", ""), "No engine ''"),
        (("--out", "table.txt"), "name of a .csv file"),
        (("--out", "nowhere/table.csv"), "no folder nowhere"),
        (("--reference", "none.json"), "Cannot read the reference none.json"),
        (("--set", "tolerance=1"), "'tolerance' is no argument of the model (y, x)"),
        (("--draws", "1"), "--draws"),
        (("--speed", "3"), "Did you mean --seed?"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_told_in_one_line(pyrovi, given, said: str) -> None:
    assert said in pyrovi(*COMPARE, *given).complaint


# The process


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from pyrovi.cli import main; main()", *arguments]


def test_help_loads_no_torch(home: Path) -> None:
    code = (
        "import sys\nfrom pyrovi.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print([m for m in ('torch', 'pyro', 'xarray') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=home
    )
    assert done.stdout.endswith("[]\n")
    assert all(word in done.stdout for word in ("run", "fit", "draw", "check", "report", "list"))


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_nothing_behind(
    home: Path, sent: signal.Signals, code: int
) -> None:
    (home / "slow.py").write_text(
        "import pathlib, time, pyro, pyro.distributions as dist\n"
        "def model():\n"
        "    pathlib.Path('started').touch()\n"
        "    time.sleep(0.05)\n"
        "    pyro.sample('a', dist.Normal(0., 1.))\n"
    )
    arguments = ("run", "slow.py:model", "--engine", "nuts", "--out", "runs/slow")
    process = subprocess.Popen(
        command(*arguments),
        cwd=home,
        text=True,
        stderr=subprocess.PIPE,
        env=os.environ,
        # A shell's background jobs ignore interrupts, and hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    deadline = time.monotonic() + 60
    while not (home / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    if sent is signal.SIGINT:
        assert err.strip().splitlines()[-1] == "pyrovi: interrupted; nothing was written."
    assert not (home / "runs").exists()


def test_a_closed_pipe_is_no_traceback(home: Path) -> None:
    with subprocess.Popen(
        command("list"), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
