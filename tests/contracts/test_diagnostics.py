"""What every diagnostic is, held over the registry; and the verdict on what they found."""

import html
import subprocess
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import trees
from pyrovi import registry
from pyrovi.diagnostics import CHECKS, Row, asked, check, checked, table, verdict
from pyrovi.diagnostics.findings import ROW
from pyrovi.diagnostics.sentences import findings
from pyrovi.errors import DiagnosticError, TreeError
from pyrovi.evidence import Limit
from pyrovi.reports import report
from pyrovi.tree import grow, open_tree, save, validate

COLUMNS = [
    *("quantity", "check", "status", "kind", "value", "low", "high", "unit", "asked"),
    *("why", "action", "source"),
]

# A tree in which each check has something to find.
BAD = {
    "conditioned": {"observed": False},
    "convergence": {"status": "diverged"},
    "restarts": {"chains": 1, "restarts": 4},
    "modes": {"modes": (True, False)},
    "psis": {"shift": 6.0},
    "drift": {"shift": 0.5, "drift": True},
    "elbo": {"shift": 10.0, "draws": 50},
    "predictive": {"misfit": 6.0},
    "loo": {"shift": 6.0},
}


def outcome(diagnostic, tree):
    """The worst status, or the reason for not applying; any other error passes through."""
    try:
        return max(diagnostic(tree)["status"].to_numpy())
    except DiagnosticError as reason:
        return str(reason)


@pytest.fixture(scope="module")
def good():
    return trees.linear_gaussian_tree(chains=2, restarts=4, drift=True, modes=(True, True))


def test_every_check_is_shown_a_bad_tree():
    assert set(BAD) == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
class TestEveryCheck:
    def test_passes_on_the_good(self, name, good):
        assert set(CHECKS[name](good)["status"].values) == {"ok"}

    def test_sees_the_bad(self, name):
        found = CHECKS[name](trees.linear_gaussian_tree(**BAD[name]))
        assert {"warn", "fail"} & set(found["status"].values)

    def test_returns_the_columns_that_a_verdict_reads(self, name, good):
        found = CHECKS[name](good)
        for column in ROW:
            assert found[column].dims == ("quantity",)
        assert found["value"].dtype == float
        assert found.attrs["check"] == name
        assert found.attrs["title"]
        assert found.attrs["source"]
        assert found.attrs["about"] in {"fit", "model"}

    @pytest.mark.parametrize("kind", ["good", "bad"])
    def test_says_why_always_and_what_to_do_when_it_matters(self, name, kind, good):
        tree = good if kind == "good" else trees.linear_gaussian_tree(**BAD[name])
        found = CHECKS[name](tree)
        for why, action, status in zip(
            *(found[v].to_numpy() for v in ("why", "action", "status")), strict=True
        ):
            assert why.endswith(".")
            assert why[0].isupper() or why[0].isdigit() or why.startswith(("elpd", "k-hat", "-"))
            assert bool(action) == (status != "ok")
            assert not action or action.endswith(".")

    def test_names_each_quantity_once(self, name, good):
        assert CHECKS[name](good).indexes["quantity"].is_unique

    def test_is_a_function_of_the_tree_and_leaves_it_alone(self, name, good):
        before = good.copy(deep=True)
        assert CHECKS[name](good).identical(CHECKS[name](good))
        assert good.identical(before)

    def test_leaves_the_global_generator_alone(self, name, good):
        np.random.seed(3)  # noqa: NPY002
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        CHECKS[name](good)
        assert (np.random.get_state()[1] == before).all()  # noqa: NPY002

    def test_without_a_posterior_says_what_to_do(self, name):
        with pytest.raises(TreeError, match=r"pyrovi\.draw"):
            CHECKS[name](xr.DataTree())

    def test_with_a_posterior_alone_applies_or_says_why_not(self, name, good):
        alone = grow(xr.DataTree(), posterior=good["posterior"].to_dataset())
        assert "\n" not in outcome(CHECKS[name], alone)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_does_not_crash_on_densities_that_are_not_finite(self, name, value):
        tree = trees.linear_gaussian_tree(draws=100, chains=2)
        stats = tree["sample_stats"].to_dataset()
        for share in (1, 90, 200):
            joint = stats["log_joint"].to_numpy().copy()
            joint.ravel()[:share] = value
            broken = stats.assign(log_joint=(("chain", "draw"), joint))
            assert "\n" not in outcome(CHECKS[name], grow(tree, sample_stats=broken))


# check


def test_check_grows_a_valid_tree_by_every_check(good):
    tree = check(good)
    validate(tree)
    assert list(tree["diagnostics"].children) == list(CHECKS)
    assert not verdict(tree).skipped
    assert "diagnostics" not in good


def test_what_does_not_apply_is_named_with_its_reason():
    tree = trees.linear_gaussian_tree(draws=100)
    del tree["log_likelihood"]
    skipped = verdict(check(tree)).skipped
    assert set(skipped) == {"restarts", "modes", "loo", "drift"}
    assert "restarts=4" in skipped["restarts"]


def toy(tree):
    """A check of another package: is there a variable called alpha?"""
    if "alpha" not in tree["posterior"]:
        raise DiagnosticError("there is no alpha")
    limit = Limit("the number of alphas", "a test", high=0.0, unit="alphas")
    row = Row("alpha", 1, limit, "There is an alpha.", limit.status(1.0), "Rename it.")
    return table([row], check="toy", title="Alphas", source="a test", about="model")


@pytest.fixture
def installed(monkeypatch):
    """A package that registers `toy`, and one that cannot be imported."""
    module = ModuleType("toys")
    module.toy = toy
    monkeypatch.setitem(sys.modules, "toys", module)
    points = [EntryPoint("toy", "toys:toy", "pyrovi.diagnostics")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


@pytest.mark.usefixtures("installed")
def test_a_check_of_another_package_that_compares_with_the_posterior_counts(good, monkeypatch):
    def compared(tree):
        row = Row("alpha", 0.0, Limit("a distance", "a test", high=1.0), "It is near.")
        told = {"check": "toy", "title": "Alphas", "source": "a test"}
        return table([row], about="fit", compares=True, **told)

    alone = grow(xr.DataTree(), posterior=good["posterior"].to_dataset())
    assert "Nothing here compares" in str(verdict(alone))
    monkeypatch.setattr(sys.modules["toys"], "toy", compared)
    assert "Nothing here compares" not in str(verdict(alone))


@pytest.mark.usefixtures("installed")
def test_a_check_of_another_package_is_run_and_read_after_ours(good):
    assert list(CHECKS)[-1] == "toy"
    rows = verdict(good).table.query("check == 'toy'")
    assert rows[["quantity", "status", "asked"]].to_numpy().tolist() == [
        ["alpha", "warn", "<= 0 alphas"]
    ]
    without = good["posterior"].to_dataset().rename(alpha="omega")
    assert verdict(grow(good, posterior=without)).skipped["toy"] == "there is no alpha"


def test_what_an_older_version_found_is_found_anew(good):
    tree = check(trees.linear_gaussian_tree(shift=6.0))
    older = tree["diagnostics/psis"].to_dataset().drop_vars(["low", "high", "unit", "kind"])
    assert verdict(grow(tree, **{"diagnostics/psis": older})).fit_status == "fail"


def test_checking_again_replaces_what_was_found(good):
    twice = check(check(good))
    assert twice.identical(check(good))


def test_a_checked_tree_survives_a_file_with_its_verdict(good, tmp_path):
    tree = check(trees.linear_gaussian_tree(shift=0.3))
    back = open_tree(save(tree, tmp_path / "t.nc"))
    assert back.identical(tree)
    assert str(verdict(back)) == str(verdict(tree))


def test_a_tree_that_is_not_built_as_trees_are_is_refused(good):
    odd = xr.Dataset({"a": ("sample", np.zeros(5))})
    with pytest.raises(TreeError, match="chain, draw"):
        check(grow(good, posterior=odd))


def test_no_diagnostic_loads_torch():
    code = "import pyrovi.diagnostics, sys; sys.exit(bool({'torch', 'pyro'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# verdict


def test_a_good_fit_is_ok_and_says_so_first(good):
    found = verdict(good)
    assert found.status == found.fit_status == found.model_status == "ok"
    assert str(found).startswith("OK")
    assert "linear_gaussian by SVI" in str(found)
    assert found.summary().startswith("ok")


def test_the_status_is_the_worst_and_the_fit_is_told_from_the_model():
    found = verdict(trees.linear_gaussian_tree(misfit=6.0))
    assert (found.status, found.fit_status, found.model_status) == ("warn", "ok", "warn")
    found = verdict(trees.linear_gaussian_tree(status="diverged"))
    assert (found.status, found.fit_status, found.model_status) == ("fail", "fail", "ok")


def test_a_misfit_seen_through_a_failed_fit_is_called_that():
    assert "seen through a fit that failed" in str(verdict(trees.linear_gaussian_tree(shift=6.0)))


def test_the_table_has_a_row_per_quantity_and_check_the_worst_first():
    found = verdict(trees.linear_gaussian_tree(shift=6.0, misfit=3.0)).table
    assert isinstance(found, pd.DataFrame)
    assert list(found.columns) == COLUMNS
    assert not found.duplicated(["quantity", "check"]).any()
    ranks = found["status"].map({"fail": 0, "warn": 1, "ok": 2})
    assert ranks.is_monotonic_increasing
    assert found["status"].iloc[0] == "fail"


def test_the_text_names_every_fault_with_its_next_step_and_counts_the_rest():
    found = verdict(trees.linear_gaussian_tree(shift=0.3))
    text = str(found)
    wrong = found.table[found.table["status"] != "ok"]
    assert all(name in text for name in wrong["quantity"])
    assert "Next: Use the reweighted mean" in text
    assert "ok " in text
    assert "findings: " in text
    assert max(map(len, text.splitlines())) <= 100


def test_many_faults_of_one_kind_are_said_together():
    rng = np.random.default_rng(0)
    tree = trees.gaussian_tree(np.eye(40) * 1.0, np.eye(40), draws=4000)
    draws = tree["posterior"]["theta"].to_numpy() * 1.5
    ratios = -0.5 * (rng.normal(size=(1, 4000)) * 0.05)
    stats = tree["sample_stats"].to_dataset()
    weights = (("chain", "draw"), ratios)
    stats = stats.assign(log_joint=weights, log_guide=(("chain", "draw"), 0 * ratios))
    shifted = xr.concat([xr.Dataset({"theta": (("chain", "draw", "axis"), draws)})], "draw")
    text = str(verdict(grow(tree, posterior=shifted, sample_stats=stats)))
    assert len(text.splitlines()) < 30


def test_silence_about_the_accuracy_is_not_ok(good):
    alone = grow(xr.DataTree(), posterior=good["posterior"].to_dataset())
    found = verdict(alone)
    assert found.status == "warn"
    assert found.model_status == "unknown"
    assert "Nothing here compares the draws with the posterior" in str(found)


def test_nuts_is_judged_by_its_chains_and_not_for_lack_of_a_guide():
    rng = np.random.default_rng(0)
    tree = grow(
        xr.DataTree(),
        posterior=xr.Dataset({"a": (("chain", "draw"), rng.normal(size=(4, 1000)))}),
        sample_stats=xr.Dataset(
            {"diverging": (("chain", "draw"), np.zeros((4, 1000), bool))},
            attrs={"engine": "NUTS()"},
        ),
    )
    assert verdict(tree).status == "ok"


def test_what_users_wrote_stays_inert_in_html():
    evil = "<script>alert(1)"
    tree = trees.linear_gaussian_tree(shift=6.0)
    stats = tree["sample_stats"].to_dataset().assign_attrs(model=evil)
    posterior = tree["posterior"].to_dataset().rename(alpha=evil)
    found = verdict(grow(tree, posterior=posterior, sample_stats=stats))
    assert evil in str(found)
    assert "<script" not in found._repr_html_()


@pytest.mark.parametrize("wrong", [{"shift": 6.0, "misfit": 3.0}, {"scale": 1.5}, {"drift": True}])
def test_terminal_notebook_and_page_say_the_same(wrong):
    tree = check(trees.linear_gaussian_tree(**wrong, draws=4000))
    found = verdict(tree)
    terminal = " ".join(str(found).split())
    notebook = html.unescape(found._repr_html_())
    page = html.unescape(report(tree).html)
    for finding in found.findings:
        for line in finding.lines:
            assert line in terminal
            assert line in notebook
        assert f"{finding.status} {finding.lines[0]}" in terminal
        assert f"<b>{finding.status}</b> {finding.lines[0]}" in notebook
        assert f'<li class="finding {finding.status}">' in page
        for words in (finding.quantities, finding.numbers, finding.why, finding.action):
            assert words in page
    assert all(
        why in terminal and why in notebook and why in page for why in found.skipped.values()
    )
    assert found.headline in terminal
    assert found.headline in page


def test_what_is_asked_is_rendered_from_the_numbers():
    table = verdict(trees.linear_gaussian_tree(shift=6.0, misfit=3.0)).table
    for row in table.itertuples():
        assert row.asked == asked(row.low, row.high, row.unit)
        assert row.asked or np.isnan(row.low)


def test_the_worst_of_many_is_quoted():
    """By how far it is beyond its limits, on either side of them."""
    ratios = dict.fromkeys(["theta[0]"], 3.0) | {"theta[1]": 0.5, "theta[2]": 1.2, "theta[3]": 1.3}
    rows = [
        {"quantity": name, "check": "c", "status": "warn", "kind": "judged", "value": value}
        | {"low": 1 / 1.1, "high": 1.1, "unit": "", "why": f"It is {value}.", "action": "Act."}
        for name, value in ratios.items()
    ]
    (said,) = findings(rows)
    assert said.why == "The worst is theta[0]. It is 3.0."
    assert said.names == tuple(ratios)
    rows[0]["value"] = 1.2
    assert findings(rows)[0].why.startswith("The worst is theta[1]. ")


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [
        (0.01, 0.99, (0.009, 1.0, 0.995, 0.008)),
        (1 / 1.1, 1.1, (0.55, 2.0, 1.2, 1.9)),
        (0.9, 1.1, (1.5, 0.2, 0.5, 1.6)),
        (-0.1, 0.1, (-0.2, 0.3, 0.2, -0.25)),
        (0.0, 0.0, (1.0, 5.0, 2.0, 3.0)),
        (-np.inf, 1.01, (1.02, 1.5, 1.1, 1.2)),
        (400.0, np.inf, (390.0, 20.0, 100.0, 200.0)),
    ],
)
def test_the_worst_is_measured_on_the_scale_of_its_limit(low, high, values):
    """The second is the worst, whichever side of the limits it is on."""
    rows = [
        {"quantity": f"q{i}", "check": "c", "status": "warn", "kind": "judged", "value": value}
        | {"low": low, "high": high, "unit": "", "why": f"It is {value}.", "action": "Act."}
        for i, value in enumerate(values)
    ]
    assert findings(rows)[0].why.startswith("The worst is q1. ")


def test_advice_that_differs_is_not_left_out():
    rows = [
        {"quantity": f"q{i}", "check": "c", "status": "warn", "kind": "judged", "value": 2.0}
        | {"low": 0.0, "high": 1.0, "unit": "", "why": "It is 2.", "action": f"Do {i % 2}."}
        for i in range(10)
    ]
    assert [said.action for said in findings(rows)] == ["Do 0.", "Do 1."]


def test_what_is_no_tree_is_refused_in_the_same_words():
    """In a process of its own: in this one the annotations are checked before the words."""
    code = """
from pyrovi.diagnostics import check, checked, verdict
from pyrovi.errors import TreeError
from pyrovi.reports import report
for verb in (check, checked, verdict, report):
    try:
        verb(None)
    except TreeError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    said = done.stdout.splitlines()
    assert len(said) == 4
    assert set(said) == {said[0]}
    assert said[0].startswith("Expected an xarray.DataTree, and a NoneType came.")


def test_a_report_checks_anew_what_an_older_version_found(good):
    tree = check(good)
    older = tree["diagnostics/psis"].to_dataset().drop_vars(["low", "high", "unit", "kind"])
    anew = grow(tree, **{"diagnostics/psis": older})
    assert (checked(tree), checked(anew), checked(good)) == (True, False, False)
    assert report(anew).html == report(tree).html


def test_the_summary_is_one_short_line():
    for tree in (trees.linear_gaussian_tree(), trees.linear_gaussian_tree(shift=6.0, misfit=6.0)):
        text = verdict(tree).summary()
        assert "\n" not in text
        assert len(text) < 200
