"""The report says what the verdict says, on every tree, and says it harmlessly."""

import json
import logging
import re
import sys
from html.parser import HTMLParser
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt

import pyrovi as vi
from pyrovi import registry
from pyrovi.errors import OutputError
from pyrovi.reports.numbers import decimals, fixed, seconds, short
from pyrovi.reports.parts import ROWS_CAP, Section
from reports.samples import PAYLOADS, TREES, hostile_tree, many_tree, nuts_tree, predicted_tree
from trees import linear_gaussian_tree

ORDER = ["verdict", "model", "fit", "posterior", "predictive", "provenance"]
VOID = {"meta", "link", "img", "source", "br"}


class Page(HTMLParser):
    """The elements of a page, their attributes, and whether they nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module", params=list(TREES))
def case(request: pytest.FixtureRequest) -> tuple[str, vi.Report]:
    return request.param, vi.report(TREES[request.param]())


def section(report: vi.Report, name: str) -> Section:
    return next(each for each in report.sections if each.id == name)


def table(report: vi.Report, name: str, title: str) -> list[tuple[str, ...]]:
    found = [each for each in section(report, name).tables if each.title.startswith(title)]
    return [row for each in found for row in each.rows]


def test_every_kind_of_tree_has_a_report_whose_figures_can_all_be_drawn(
    case: tuple[str, vi.Report], caplog: pytest.LogCaptureFixture
) -> None:
    name, report = case
    with caplog.at_level(logging.WARNING):
        html = report.html
    assert not caplog.records
    assert "could not be drawn" not in html
    assert [each.id for each in report.sections] == ORDER, name


def test_the_page_is_well_formed_needs_no_network_and_can_run_nothing(
    case: tuple[str, vi.Report],
) -> None:
    page = Page(case[1].html)
    assert page.open == []
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base", "video", "svg"}
    policy = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy[0] is not None
    assert policy[0].startswith("default-src 'none'")
    for tag, attrs in page.elements:
        assert not [key for key in attrs if key.startswith("on")], (tag, attrs)
        for key in ("src", "srcset", "href"):
            assert re.match(r"data:|#", attrs.get(key) or "#"), (tag, attrs)
    style = re.search(r"<style>(.*?)</style>", case[1].html, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_every_image_has_words_and_every_table_headers(case: tuple[str, vi.Report]) -> None:
    page = Page(case[1].html)
    assert all((image.get("alt") or "").strip() for image in page.all("img"))
    assert all(image.get("width") and image.get("height") for image in page.all("img"))
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(header.get("scope") == "col" for header in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_the_verdict_comes_first_and_is_the_one_that_the_tree_gets(
    case: tuple[str, vi.Report],
) -> None:
    name, report = case
    verdict = vi.verdict(TREES[name]())
    first = report.sections[0]
    assert first.status == verdict.status
    wrong = verdict.table[verdict.table["status"] != "ok"]
    said = " ".join(finding.why + finding.action for finding in first.findings)
    told = {finding.check for finding in first.findings}
    assert told == set(wrong["check"])
    assert all(action in said for action in set(wrong["action"]))
    worst = [finding.status for finding in first.findings]
    assert worst == sorted(worst, key=["fail", "warn", "ok"].index)


def words(tree: xr.DataTree, verdict: vi.Verdict) -> Section | None:
    """A section of another package, on trees that name a model."""
    if "sample_stats" not in tree:
        return None
    return Section(id="words", title="Last words", text=(f"It is {verdict.status}.",))


def test_a_section_of_another_package_comes_after_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("toys")
    module.words = words
    monkeypatch.setitem(sys.modules, "toys", module)
    points = [EntryPoint("words", "toys:words", "pyrovi.sections")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if "sect" in group else ())
    report = vi.report(TREES["nuts"]())
    assert [each.id for each in report.sections] == [*ORDER, "words"]
    assert "It is warn." in report.html
    assert [each.id for each in vi.report(TREES["bare"]()).sections] == ORDER


def test_each_row_of_the_summary_is_what_numpy_says_of_the_draws() -> None:
    tree = linear_gaussian_tree()
    rows = {row[0]: row[2:] for row in table(vi.report(tree), "posterior", "Summary")}
    assert set(rows) == {"alpha", "beta[slope]", "beta[curve]"}
    draws = tree["posterior"]["beta"].sel(feature="curve").to_numpy()
    expected = [draws.mean(), draws.std(ddof=1), *np.quantile(draws, [0.05, 0.5, 0.95])]
    shown = [float(cell.replace("\N{MINUS SIGN}", "-")) for cell in rows["beta[curve]"]]
    np.testing.assert_allclose(shown, expected, atol=0.0051)


def test_the_elbo_is_shown_in_both_of_its_splits() -> None:
    rows = table(vi.report(linear_gaussian_tree()), "fit", "Evidence")
    nats = {words.split(" ")[1].rstrip(":"): n for words, n, _ in rows[1:]}
    value = {key: float(n.replace("\N{MINUS SIGN}", "-")) for key, n in nats.items()}
    elbo = float(rows[0][1].replace("\N{MINUS SIGN}", "-"))
    assert value["accuracy"] - value["complexity"] == pytest.approx(elbo, abs=0.02)
    terms = [float(n.replace("\N{MINUS SIGN}", "-")) for _, n, _ in rows[3:]]
    assert sum(terms) == pytest.approx(elbo, abs=0.02)


def test_rhat_and_ess_are_shown_for_a_sampler_alone() -> None:
    def headings(tree: xr.DataTree) -> list[str]:
        tables = section(vi.report(tree), "posterior").tables
        return [column.title for column in tables[0].columns]

    assert {"R-hat", "ESS"} <= set(headings(nuts_tree()))
    assert not {"R-hat", "ESS"} & set(headings(linear_gaussian_tree(chains=2)))


def test_a_doubt_about_a_variable_is_a_doubt_about_each_of_its_elements() -> None:
    rows = table(vi.report(TREES["bad"]()), "posterior", "Summary")
    assert {row[1] for row in rows} == {"warn"}


def test_a_table_of_thousands_is_cut_and_says_so_with_the_worst_first() -> None:
    tree = many_tree()
    verdict = vi.verdict(tree)
    label = "theta[2718]"
    doubted = verdict.table.iloc[[0]].assign(quantity=label, status="fail")
    from pyrovi.diagnostics import Verdict
    from pyrovi.reports.sections import contents

    altered = Verdict(doubted, "fail", "unknown", {})
    posterior = next(s for s in contents(vi.check(tree), altered)[0] if s.id == "posterior")
    rows = [row for each in posterior.tables for row in each.rows]
    assert rows[0][:2] == (label, "fail")
    assert len(rows) == ROWS_CAP
    assert "200 of 3,001 quantities" in posterior.tables[0].note
    assert label in [plot.title for plot in posterior.plots]


def test_discrete_sites_are_summed_up_by_their_most_frequent_value() -> None:
    tree = TREES["discrete"]()
    report = vi.report(tree)
    assert not any(row[0].startswith("kind") for row in table(report, "posterior", "Summary"))
    rows = table(report, "posterior", "Discrete")
    draws = tree["posterior"]["kind"].to_numpy()[0]
    label, mode, probability, _ = rows[0]
    shares = (draws == int(mode)).mean(0)
    assert float(probability) == pytest.approx(shares[int(label[5:-1])], abs=6e-4)
    assert float(probability) <= min(shares.max(), float(rows[-1][2]))


def test_missing_observations_are_counted_and_left_out_of_the_figures() -> None:
    report = vi.report(TREES["discrete"]())
    row = table(report, "model", "Data")[0]
    assert row[3] == "1"
    plots = section(report, "predictive").plots
    assert plots
    assert all(np.isfinite(array).all() for plot in plots for array in plot.arrays)


def test_the_mean_of_centred_data_is_none_and_not_what_rounding_left() -> None:
    y = np.random.default_rng(0).normal(1.0, 2.0, size=442)
    y = (y - y.mean()) / y.std()
    assert y.mean() != 0
    report = vi.report(predicted_tree(y, y + np.zeros((50, 1))))
    assert table(report, "model", "Data")[0][5] == "0"


def test_a_prediction_of_another_shape_than_the_data_costs_its_figure_alone() -> None:
    tree = predicted_tree(np.zeros(5), np.random.default_rng(0).normal(size=(50, 5)))
    wrong = tree["posterior_predictive"].to_dataset().isel(y_dim_0=0, drop=True)
    tree["posterior_predictive"] = xr.DataTree(wrong)
    tree["diagnostics"] = vi.check(TREES["bare"]())["diagnostics"]
    assert section(vi.report(tree), "predictive").plots == ()


def test_every_payload_arrives_as_text_and_none_as_markup() -> None:
    trees = (linear_gaussian_tree(), hostile_tree())
    clean, hostile = (Page(vi.report(tree).html) for tree in trees)
    known = {tag for tag, _ in clean.elements} | {"ul", "li", "strong"}
    assert {tag for tag, _ in hostile.elements} <= known
    text = "".join(hostile.text)
    assert all(payload in text for payload in PAYLOADS)
    titles = [tag for tag, _ in hostile.elements if tag in {"title", "h1", "style"}]
    assert sorted(titles) == ["h1", "style", "title"]


def test_a_report_is_the_same_each_time() -> None:
    tree = vi.check(linear_gaussian_tree())
    assert vi.report(tree).html == vi.report(tree).html


def test_the_session_s_matplotlib_is_as_it_was() -> None:
    plt.switch_backend("agg")
    with mpl.rc_context({"text.color": "red", "lines.linewidth": 7.0}):
        mine = plt.figure()
        before = dict(mpl.rcParams)
        assert vi.report(TREES["complete"]()).html
        assert dict(mpl.rcParams) == before
        assert plt.get_fignums() == [mine.number]
        assert plt.gcf() is mine
        plt.close(mine)


def test_the_session_s_style_does_not_change_the_figures() -> None:
    tree = vi.check(linear_gaussian_tree())
    plain = vi.report(tree).html
    with plt.style.context("dark_background"), mpl.rc_context({"font.size": 30}):
        assert vi.report(tree).html == plain


def test_the_input_is_not_changed() -> None:
    tree = linear_gaussian_tree()
    before = tree.copy(deep=True)
    assert vi.report(tree).html
    assert tree.identical(before)


def test_a_written_page_is_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    report = vi.report(linear_gaussian_tree())
    path = report.write(tmp_path / "a report.html")
    assert path.read_text(encoding="utf-8") == report.html
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("where", ["file/x.html", "missing/x.html", "."])
def test_a_page_that_cannot_be_written_is_one_line_and_leaves_nothing(
    tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="Cannot write") as caught:
        vi.report(TREES["nuts"]()).write(tmp_path / where)
    assert "\n" not in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.71234, "0.712"),
        (-3.0, "\N{MINUS SIGN}3"),
        (float("-inf"), "\N{MINUS SIGN}infinite"),
        (123456.7, "123457"),
        (1e-9, "1e\N{MINUS SIGN}09"),
        (0.0, "0"),
    ],
)
def test_numbers_have_the_digits_they_deserve(value: float, text: str) -> None:
    assert short(value) == text


def test_rounding_to_nothing_is_no_negative_zero() -> None:
    assert fixed(-0.004, 1) == "0.0"
    assert fixed(-1e-12, None) == "\N{MINUS SIGN}1.00e\N{MINUS SIGN}12"
    assert decimals(0.0) == 3
    assert decimals(float("nan")) == 3
    assert seconds(float("nan")) == "unknown"


def test_a_rung_whose_distance_was_not_finite_is_called_unknown() -> None:
    tree = linear_gaussian_tree()
    rung = {
        "engine": "DADVI()", "chosen": False, "status": "warn", "worst": "w", "shift": None,
        "ratio": 0.5, "khat": None, "steps": 3, "seconds": 1.0,
    }  # fmt: skip
    tree["sample_stats"].attrs["rungs"] = json.dumps([rung, {**rung, "chosen": True}])
    assert "w: mean unknown sd off, sd 0.50 of what it should be" in vi.report(tree).html
