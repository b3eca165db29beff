"""Models that strangers wrote: each is fitted, drawn, checked and reported, and right or flagged.

What is right comes from closed forms and quadrature, or from long runs
(`benchmarks/foreign_reference.py`): means within 0.2 standard deviations, and ratios of standard
deviations within 0.8 and 1.25. ``python benchmarks/accuracy.py --set foreign`` prints the table.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import pyrovi as vi
from foreign import FOREIGN, ForeignModel, errors, known

FAST = {
    "line_of_known_noise", "line_in_a_loop", "normal_gamma", "probit", "poisson_regression",
    "zero_inflated", "censored_exponential", "weigh", "groups_in_a_loop", "compositions",
    "correlation", "ar1_in_a_loop", "two_states_as_a_distribution", "discrete_change",
    "mixture_that_overlaps", "sprinkler", "pyro_module", "dependent_priors", "conditioned",
    "scaled_whole", "keywords_alone", "booleans", "method", "lkj",
}  # fmt: skip
# Where long runs did not come together in their time, as reference.json says.
NO_TRUTH = {
    "capture_recapture_by_year", "garch", "hmm", "low_rank",
    "stochastic_volatility", "walk_of_unknown_scales",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def through_all_stages(model: ForeignModel) -> tuple[dict[str, Any], str]:
    """Draws by site, and the verdict on the fit."""
    fit = vi.fit(model.model, model.data, seed=0)
    tree = vi.check(vi.draw(fit))
    assert "<html" in vi.report(tree).html
    sites = tree["posterior"].data_vars.items()
    draws = {str(site): values.to_numpy() for site, values in sites}
    flat = {site: values.reshape(-1, *values.shape[2:]) for site, values in draws.items()}
    return flat, vi.verdict(tree).fit_status


MODELS = [
    pytest.param(model, id=model.name, marks=() if model.name in FAST else pytest.mark.slow)
    for model in FOREIGN
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.filterwarnings("ignore")  # Pyro's and torch's own, at what strangers write
def test_a_foreign_model_goes_all_the_way_and_is_right_or_flagged(model: ForeignModel) -> None:
    draws, status = through_all_stages(model)
    off = [error for error in errors(model, draws) if not error.right]
    assert not off or status in {"warn", "fail"}


def test_there_are_as_many_foreign_models_as_were_promised_and_a_truth_for_nearly_each() -> None:
    assert len({model.name for model in FOREIGN}) == len(FOREIGN) >= 120
    assert {model.name for model in FOREIGN if not is_known(model)} == NO_TRUTH


def is_known(model: ForeignModel) -> bool:
    return any(np.isfinite(np.asarray(sd, float)).any() for _, sd in known(model).values())
