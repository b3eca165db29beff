"""What `sample_stats` says of a fit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pyrovi as vi
from infer.conjugate import Conjugate, model
from pyrovi.tree import CHAINS, INDEPENDENT, POINTS, draw_kind, validate

EXACT = Conjugate()


@pytest.mark.parametrize(
    ("engine", "kind"),
    [
        (vi.Laplace(), INDEPENDENT),
        (vi.SVI(guide="map", max_steps=20), POINTS),
        (vi.NUTS(warmup=20, draws=30), CHAINS),
    ],
    ids=str,
)
def test_the_tree_says_what_the_draws_of_an_engine_are(engine: Any, kind: str) -> None:
    tree = vi.draw(vi.fit(model, EXACT.data, engine, seed=0), draws=20)
    assert tree["sample_stats"].attrs["draws"] == draw_kind(tree) == kind


def test_every_loss_of_a_run_is_kept_by_its_name_and_the_one_that_was_judged_first() -> None:
    fit = vi.fit(model, EXACT.data, vi.SVI(max_steps=30), seed=0, restarts=2)
    runs = [
        replace(run, losses={"wake": run.loss[: 20 + i], "sleep": np.ones(20 + i)})
        for i, run in enumerate(fit.restarts)
    ]
    tree = vi.draw(replace(fit, restarts=tuple(runs), kept=(0, 1)), draws=10)
    validate(tree)
    stats = tree["sample_stats"]
    np.testing.assert_array_equal(stats["loss"][1], runs[1].loss)
    assert np.isnan(stats["loss"][0, 20:]).all()
    np.testing.assert_array_equal(stats["loss_sleep"][1], np.ones(21))


def test_units_of_data_and_of_declared_sites_are_kept_with_what_is_drawn() -> None:
    entry = vi.models.get("gravity_inversion")
    tree = vi.draw(vi.fit(entry.model, entry.load(), vi.Laplace(), seed=0), draws=10)
    for group in ("posterior", "prior"):
        assert tree[group]["density"].attrs["units"] == "kg/m3"
        assert tree[group]["depth"].attrs["units"] == "m"
    predicted = tree["posterior_predictive"]["gravity"].attrs
    assert predicted == {"units": "mGal", "long_name": "gravity anomaly, positive down"}
