"""Eight schools: one posterior in two forms, and the one that others published."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor

from posteriordb import needs_posteriordb, posterior
from pyrovi.bound import bind
from pyrovi.models import get
from pyrovi.models.eight_schools import EIGHT_SCHOOLS, centered, noncentered
from pyrovi.seeds import isolated

REFERENCE = Path(__file__).parents[2] / "models" / "eight_schools" / "reference.json"
FALSE_ALARM = 5.0  # standard errors: 6e-7 per number, 2e-5 for all that are compared here


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    with isolated(8):
        yield
    torch.set_default_dtype(torch.float32)


def data() -> dict[str, Any]:
    return dict(bind(noncentered, EIGHT_SCHOOLS.load()).kwargs)


def log_joint(model: Any, given: dict[str, Any], **values: Tensor) -> Tensor:
    return poutine.trace(poutine.condition(model, values)).get_trace(**given).log_prob_sum()


def reference(variant: str) -> dict[str, Any]:
    return json.loads(REFERENCE.read_text())["variants"][variant]


def test_the_two_forms_are_one_distribution() -> None:
    """With theta = mu + tau theta_trans, the densities differ by the Jacobian tau**8."""
    given = data()
    for _ in range(5):
        mu, tau, theta_trans = torch.randn(()), torch.rand(()) * 10, torch.randn(8)
        theta = mu + tau * theta_trans
        one = log_joint(noncentered, given, mu=mu, tau=tau, theta_trans=theta_trans)
        other = log_joint(centered, given, mu=mu, tau=tau, theta=theta)
        torch.testing.assert_close(one, other + 8 * tau.log())


def test_theta_is_a_quantity_of_both_forms() -> None:
    for variant in EIGHT_SCHOOLS.variants.values():
        trace = poutine.trace(variant.model).get_trace(**data())
        assert trace.nodes["theta"]["value"].shape == (8,)


@needs_posteriordb
@pytest.mark.parametrize("variant", ["noncentered", "centered"])
def test_the_density_is_that_of_posteriordb(variant: str) -> None:
    theirs = posterior(f"eight_schools-eight_schools_{variant}")
    given = data()
    np.testing.assert_array_equal(given["y"], theirs.data["y"])
    np.testing.assert_array_equal(given["sigma"], theirs.data["sigma"])
    model = get(f"eight_schools:{variant}").model
    effect = "theta" if variant == "centered" else "theta_trans"
    for _ in range(5):
        values = {"mu": torch.randn(()), "tau": torch.rand(()) * 9, effect: torch.randn(8)}
        ours = log_joint(model, given, **values)
        torch.testing.assert_close(ours, log_joint(theirs.model, {"data": theirs.data}, **values))


@pytest.mark.parametrize("variant", ["noncentered", "centered"])
def test_the_reference_may_be_trusted(variant: str) -> None:
    rows = reference(variant)["quantities"].values()
    assert len(rows) == 10
    assert max(row["rhat"] for row in rows) < 1.01
    assert min(min(row["ess_bulk"], row["ess_tail"]) for row in rows) > 400
    if variant == "noncentered":
        assert reference(variant)["how"]["divergences"] == 0


def test_both_forms_have_one_reference_posterior() -> None:
    one, other = (reference(variant)["quantities"] for variant in ("noncentered", "centered"))
    for name, row in one.items():
        error = np.hypot(row["mcse_mean"], other[name]["mcse_mean"])
        assert abs(row["mean"] - other[name]["mean"]) < FALSE_ALARM * error, name


@needs_posteriordb
def test_the_reference_agrees_with_posteriordb() -> None:
    theirs = posterior("eight_schools-eight_schools_noncentered")
    ours = reference("noncentered")["quantities"]
    stan = [*(f"theta[{i}]" for i in range(1, 9)), "mu", "tau"]
    assert list(theirs.names) == stan
    names = [*(f"theta[{school}]" for school in "ABCDEFGH"), "mu", "tau"]
    for i, name in enumerate(names):
        error = np.hypot(ours[name]["mcse_mean"], theirs.mcse_mean[i])
        assert abs(ours[name]["mean"] - theirs.mean[i]) < FALSE_ALARM * error, name
        assert ours[name]["sd"] == pytest.approx(theirs.sd[i], rel=0.08), name


def test_simulated_effects_scatter_about_the_truth_as_the_errors_say() -> None:
    """(y - theta) / sigma is standard normal: over 50 x 8 values, chi-squared of 400."""
    total = 0.0
    for seed in range(50):
        tree = EIGHT_SCHOOLS.simulate(seed)
        residual = tree["observed_data"]["y"] - tree["truth"]["theta"]
        total += float(((residual / tree["constant_data"]["sigma"]) ** 2).sum())
    assert abs(total - 400) < 4.3 * np.sqrt(2 * 400)


def test_nothing_stays_in_the_parameter_store() -> None:
    EIGHT_SCHOOLS.simulate(1)
    assert not list(pyro.get_param_store())
