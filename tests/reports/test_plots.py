"""Claims about the report's pictures: what is drawn of what, and that they show what is so."""

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import trees
from pyrovi.diagnostics import Verdict, check, verdict
from pyrovi.infer import Rung
from pyrovi.reports.figures import draw
from pyrovi.reports.numbers import short
from pyrovi.reports.parts import Table
from pyrovi.reports.sections.fit import fit_section
from pyrovi.reports.sections.maps import field_plots, is_field, station_plots
from pyrovi.reports.sections.model import model_section
from pyrovi.reports.sections.predictive import predictive_section
from pyrovi.tree import grow

NOTHING = Verdict(pd.DataFrame(columns=["check"]), "ok", "unknown", {})
"""A verdict without a row."""
DEPTH, EAST, NORTH = np.array([50.0, 150.0, 300.0]), np.arange(4) * 100.0, np.array([0.0, 90.0])


def field(values: np.ndarray, **coords: np.ndarray) -> xr.DataArray:
    """Draws with the given coordinates, one to a dim."""
    return xr.DataArray(values, dims=("chain", "draw", *coords), coords=coords)


def normals(*shape: int, sd: float = 1.0) -> np.ndarray:
    return sd * np.random.default_rng(0).normal(size=(1, 500, *shape))


def of(**groups: xr.DataArray) -> xr.DataTree:
    return grow(xr.DataTree(), **{n: xr.Dataset({"density": v}) for n, v in groups.items()})


def test_a_grid_of_places_is_a_field_and_a_table_of_groups_is_not() -> None:
    assert is_field(field(normals(3, 4), depth=DEPTH, easting=EAST))
    assert is_field(field(normals(3, 1, 4), depth=DEPTH, northing=NORTH[:1], easting=EAST))
    assert not is_field(field(normals(3, 4), group=np.arange(3), covariate=np.arange(4)))
    assert not is_field(field(normals(4), easting=EAST))
    assert not is_field(field(normals(3, 4), depth=DEPTH[[1, 0, 2]], easting=EAST))


def test_down_is_where_depth_grows() -> None:
    mean = np.arange(12.0).reshape(3, 4)
    drawn = field(normals(3, 4, sd=1e-6) + mean, depth=DEPTH, easting=EAST)
    plot = next(field_plots(of(posterior=drawn)))
    along, from_bottom, values = plot.arrays
    np.testing.assert_array_equal(along, EAST)
    np.testing.assert_array_equal(from_bottom, DEPTH[::-1])
    np.testing.assert_allclose(values, mean[::-1], atol=1e-6)
    north = field(normals(2, 4), northing=NORTH, easting=EAST)
    np.testing.assert_array_equal(next(field_plots(of(posterior=north))).arrays[1], NORTH)


def test_what_the_data_resolve_is_the_variance_that_they_took() -> None:
    drawn = field(normals(3, 4, sd=0.5), depth=DEPTH, easting=EAST)
    prior = field(normals(3, 4), depth=DEPTH, easting=EAST)
    plots = {p.title: p for p in field_plots(of(posterior=drawn, prior=prior))}
    assert list(plots) == [f"density: {t}" for t in ("mean", "sd", "one draw", "resolved")]
    np.testing.assert_allclose(plots["density: resolved"].arrays[2], 0.75, atol=1e-9)
    np.testing.assert_allclose(plots["density: sd"].arrays[2], 0.5, rtol=0.2)
    wider = field(normals(3, 4, sd=1.1), depth=DEPTH, easting=EAST)
    *_, unseen = field_plots(of(posterior=wider, prior=prior))
    assert (unseen.arrays[2] == 0).all()


def test_a_body_is_cut_where_it_is_densest() -> None:
    values = normals(3, 2, 4, sd=0.1)
    values[:, :, :, 1] += 2.0
    drawn = field(values, depth=DEPTH, northing=NORTH, easting=EAST)
    plot = next(field_plots(of(posterior=drawn)))
    assert plot.arrays[2].shape == (3, 4)
    assert plot.caption.endswith("Cut at northing 90.")
    assert plot.arrays[2].min() > 1.5


def surveyed(position: np.ndarray, y: np.ndarray) -> xr.DataTree:
    where = (("station", "coordinate"), position)
    names = {"coordinate": ["easting", "northing", "height"]}
    return grow(
        xr.DataTree(),
        observed_data=xr.Dataset({"gravity": ("station", y)}),
        constant_data=xr.Dataset({"position": where}, names),
    )


@pytest.mark.parametrize("line", [True, False])
def test_stations_along_a_line_are_a_profile_and_others_are_maps(line: bool) -> None:
    rng = np.random.default_rng(0)
    position = rng.uniform(0, 1000, (20, 3)) * [1.0, 0.0 if line else 1.0, 0.0]
    y, predicted = rng.normal(size=20), rng.normal(size=(300, 20))
    tree = surveyed(position, y)
    plots = list(station_plots(tree, "gravity", tree["observed_data"]["gravity"], predicted))
    assert [plot.kind for plot in plots] == (["profile"] if line else ["stations", "stations"])
    if line:
        place, seen, mean, low, high = plots[0].arrays[0]
        order = np.argsort(position[:, 0])
        np.testing.assert_array_equal(place, position[order, 0])
        np.testing.assert_array_equal(seen, y[order])
        assert (low < mean).all()
        assert (mean < high).all()
    else:
        expected = (y - predicted.mean(0)) / predicted.std(0)
        np.testing.assert_allclose(plots[1].arrays[2], expected)
    for plot in plots:
        assert "<svg" in draw(plot).light


def test_axes_name_the_units_that_the_data_name() -> None:
    position = np.random.default_rng(0).uniform(0, 1000, (20, 3)) * [1.0, 0.0, 0.0]
    tree = surveyed(position, position[:, 0])
    observed = tree["observed_data"]["gravity"]
    bare = next(station_plots(tree, "gravity", observed, np.ones((9, 20))))
    assert bare.labels == ("easting", "gravity")
    tree["constant_data"]["position"].attrs["units"] = "m"
    observed = observed.assign_attrs(units="mGal")
    named = next(station_plots(tree, "gravity", observed, np.ones((9, 20))))
    assert named.labels == ("easting (m)", "gravity (mGal)")

    drawn = field(normals(3, 4), depth=DEPTH, easting=EAST)
    places = {"depth": ("depth", DEPTH, {"units": "km"}), "easting": ("easting", EAST)}
    shown = grow(of(posterior=drawn), constant_data=xr.Dataset(coords=places))
    assert next(field_plots(shown)).labels == ("easting", "depth (km)", "")
    assert next(field_plots(of(posterior=drawn))).labels == ("easting", "depth", "")
    drawn.attrs["units"] = "kg/m3"
    plots = {p.title: p.labels[2] for p in field_plots(of(posterior=drawn, prior=drawn))}
    assert list(plots.values()) == ["kg/m3", "kg/m3", "kg/m3", "share"]


def test_without_positions_there_is_no_map() -> None:
    tree = surveyed(np.zeros((20, 3)), np.zeros(20))
    del tree["constant_data"]
    observed = tree["observed_data"]["gravity"]
    assert not list(station_plots(tree, "gravity", observed, np.zeros((10, 20))))


def test_a_map_is_drawn() -> None:
    drawn = field(normals(3, 4), depth=DEPTH, easting=EAST)
    for plot in field_plots(of(posterior=drawn, prior=drawn)):
        assert draw(plot).light.startswith("<svg")


def regression(*, alike: bool) -> xr.DataTree:
    """Forty observations, each with a mean of its own, or with one for all."""
    rng = np.random.default_rng(0)
    mean = np.zeros(40) if alike else np.linspace(-3, 3, 40)
    drawn = mean + 0.3 * rng.normal(size=(1, 500, 1 if alike else 40))
    rows = ("chain", "draw", "row")
    shape = np.broadcast_to(drawn, (1, 500, 40))
    return grow(
        xr.DataTree(),
        observed_data=xr.Dataset({"y": ("row", mean + rng.normal(size=40))}),
        posterior=xr.Dataset({"mean": (rows, shape), "noise": (rows[:2], np.ones((1, 500)))}),
        posterior_predictive=xr.Dataset({"y": (rows, shape + rng.normal(size=shape.shape))}),
    )


def test_the_sites_of_a_loop_are_drawn_as_one_and_without_what_a_mask_hides() -> None:
    tree = trees.in_a_loop(trees.linear_gaussian_tree(draws=200))
    hidden = xr.Dataset({"y_3": ((), True, {"selected": 0})})
    plots = {
        p.kind: p for p in predictive_section(check(grow(tree, masked=hidden)), NOTHING).plots
    }
    assert plots["density"].arrays[0].shape == (39,)
    assert plots["pit"].arrays[0].shape == (39,)


def test_each_observation_is_shown_beside_its_prediction_where_these_differ() -> None:
    plots = {p.kind: p for p in predictive_section(regression(alike=False), NOTHING).plots}
    assert list(plots) == ["density", "against", "parts"]
    mean, observed, low, high = plots["against"].arrays[0]
    assert (np.diff(mean) >= 0).all()
    inside = ((low < observed) & (observed < high)).mean()
    assert 0.75 < inside < 1.0
    noise, ignorance = plots["parts"].arrays
    np.testing.assert_allclose(noise, 1.0)
    np.testing.assert_allclose(ignorance, 0.09, rtol=0.35)
    for plot in plots.values():
        assert "<svg" in draw(plot).light


def rung_table(*tried: Rung) -> Table:
    without_nan = [
        {k: None if v != v else v for k, v in asdict(each).items()}  # noqa: PLR0124
        for each in tried
    ]
    stats = xr.Dataset(attrs={"rungs": json.dumps(without_nan)})
    return fit_section(grow(xr.DataTree(), sample_stats=stats), NOTHING).tables[0]


BEFORE = Rung("DADVI()", "It is cheap.", 3, 1.5, status="warn", worst="x", shift=0.4, ratio=0.8)
RUNGS = {
    "the answer is ok after one that warned": (
        (BEFORE, Rung("Polish(...)", "", 36, 20.0, status="ok", chosen=True)),
        ["Only what was kept is the answer"],
    ),
    "resampled": (
        (BEFORE, Rung("DADVI(), resampled", "", 3, 1e-4, status="ok", chosen=True, of="DADVI()")),
        ["Only what was kept is the answer", "draws of the engine above"],
    ),
    "none held, and the verdict finds no fault": (
        (BEFORE, Rung("Polish(...)", "", 36, 20.0, status="warn", chosen=True)),
        ["Only what was kept", "None held against the posterior", "the checks of this report"],
    ),
    "all held": (
        (replace(BEFORE, status="ok"), Rung("Polish()", "", 1, 1.0, status="ok", chosen=True)),
        ["Of those that held"],
    ),
}


@pytest.mark.parametrize("case", RUNGS)
def test_a_status_of_a_rung_is_never_left_to_be_taken_for_that_of_the_answer(case: str) -> None:
    tried, said = RUNGS[case]
    table = rung_table(*tried)
    assert "passed" not in table.title
    assert table.note.count(". ") + bool(table.note) == len(said)
    assert all(sentence in table.note for sentence in said)


def test_what_was_resampled_shows_no_steps_of_its_own() -> None:
    table = rung_table(*RUNGS["resampled"][0])
    shown = [dict(zip((c.title for c in table.columns), row, strict=True)) for row in table.rows]
    assert [row["Steps"] for row in shown] == ["3", ""]


def test_each_rung_says_how_long_it_was_expected_to_take() -> None:
    tried = (
        Rung("DADVI()", "It is cheap.", 3, 1.5),
        Rung("Polish(...)", "It is the last.", 36, 20.0, 0.3, "ok", "x", 0.01, 1.02, True, 25.0),
    )
    table = rung_table(*tried)
    shown = [dict(zip((c.title for c in table.columns), row, strict=True)) for row in table.rows]
    assert [row["Expected"] for row in shown] == ["", "25 s"]


def test_the_sd_of_data_is_one_number_wherever_the_report_has_it() -> None:
    tree = check(trees.linear_gaussian_tree())
    y = tree["observed_data"]["y"].to_numpy()
    data = {row[0]: row for t in model_section(tree, NOTHING).tables for row in t.rows}
    why = next(row["why"] for row in verdict(tree).records if row["quantity"] == "sd(y)")
    assert data["y"][-2] == short(y.std())
    assert f"{float(why.split()[0]):.3g}" == f"{y.std():.3g}"


def test_a_loss_that_is_exact_at_once_has_no_curve() -> None:
    for end, shown in ((1e-12, 0), (1.0, 1)):
        stats = xr.Dataset({"loss": (("chain", "step"), [[-30.0, -30.0 - end]])})
        assert len(fit_section(grow(xr.DataTree(), sample_stats=stats), NOTHING).plots) == shown
