"""Claims: what is missing counts for nothing, and NaN that reaches the density is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

import pyrovi as vi

RNG = np.random.default_rng(0)
WHOLE = RNG.normal(1.0, 1.0, 30)
GONE = np.isin(np.arange(30), [2, 5, 11, 29])
HOLES = np.where(GONE, np.nan, WHOLE)
SEEN = WHOLE[~GONE]
PRECISION = 1 / 2.0**2 + len(SEEN)
MEAN, SD = SEEN.sum() / PRECISION, PRECISION**-0.5


def seen_in(y: Tensor) -> Any:
    return ~torch.isnan(y)


def location() -> Tensor:
    return pyro.sample("loc", dist.Normal(0.0, 2.0))


def plain(y: Tensor) -> None:
    loc = location()
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


def by_obs_mask(y: Tensor) -> None:
    loc = location()
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y, obs_mask=seen_in(y))


def by_a_mask_around(y: Tensor) -> None:
    loc = location()
    with pyro.plate("row", len(y)), poutine.mask(mask=seen_in(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


def by_a_mask_inside(y: Tensor) -> None:
    loc = location()
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0).mask(seen_in(y)), obs=y)


def by_a_number_in_its_place(y: Tensor) -> None:
    loc, gone = location(), torch.isnan(y)
    with pyro.plate("row", len(y)), poutine.mask(mask=seen_in(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=torch.where(gone, 0.0, y))


def by_choice(y: Tensor) -> None:
    loc, seen = location(), y[seen_in(y)]
    with pyro.plate("seen", len(seen)):
        pyro.sample("obs", dist.Normal(loc, 1.0), obs=seen)


def by_imputation(y: Tensor) -> None:
    loc, gone = location(), torch.isnan(y)
    with pyro.plate("gap", int(gone.sum())):
        fill = pyro.sample("fill", dist.Normal(loc, 1.0))
    full = torch.nan_to_num(y).index_put(gone.nonzero(as_tuple=True), fill)
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0).mask(~gone), obs=full.detach())


def by_minibatches(y: Tensor) -> None:
    loc = location()
    with pyro.plate("row", len(y), subsample_size=15) as rows:
        of_these = y[rows]
        with poutine.mask(mask=seen_in(of_these)):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=of_these)


HANDLED = (
    by_obs_mask,
    by_a_mask_around,
    by_a_mask_inside,
    by_a_number_in_its_place,
    by_choice,
    by_imputation,
)


@pytest.mark.parametrize("model", HANDLED)
def test_a_model_that_hides_nan_has_the_posterior_of_what_was_seen(
    model: Callable[..., Any],
) -> None:
    fit = vi.fit(model, {"y": HOLES}, seed=0)
    tree = vi.check(vi.draw(fit, draws=4000))
    loc = tree["posterior"]["loc"].to_numpy()
    assert abs(loc.mean() - MEAN) < 0.09 * SD
    assert abs(np.log(loc.std() / SD)) < 0.06
    assert vi.verdict(tree).status == "ok"


def test_data_that_a_model_closes_over_may_have_gaps_too() -> None:
    y = torch.as_tensor(HOLES)
    closed = vi.fit(lambda: by_obs_mask(y), {}, vi.Laplace(), seed=0)
    given = vi.fit(by_obs_mask, {"y": HOLES}, vi.Laplace(), seed=0)
    assert torch.equal(closed.draw(5)[0].flat, given.draw(5)[0].flat)


def test_nothing_that_is_missing_counts_in_a_minibatch() -> None:
    fit = vi.fit(by_minibatches, {"y": HOLES}, vi.SVI(guide="mean_field", max_steps=2000), seed=0)
    tree = vi.draw(fit, draws=1000)
    assert abs(tree["posterior"]["loc"].to_numpy().mean() - MEAN) < 1.5 * SD
    np.testing.assert_array_equal(np.isnan(tree["observed_data"]["y"]), GONE)


@pytest.mark.parametrize("model", HANDLED[:3])
def test_checks_count_what_was_observed_alone(model: Callable[..., Any]) -> None:
    tree = vi.check(vi.draw(vi.fit(model, {"y": HOLES}, vi.Laplace(), seed=0), draws=500))
    site = "y_observed" if model is by_obs_mask else "y"
    np.testing.assert_array_equal(np.isnan(tree["observed_data"][site]), GONE)
    assert np.isfinite(tree["log_likelihood"][site]).all()
    judged = tree["diagnostics/predictive"][f"pit_{site}"]
    assert len(judged) == len(SEEN)
    of_each = tree["diagnostics/loo"][f"k_{site}"].to_numpy()
    assert np.isfinite(of_each).sum() == len(SEEN)


def test_data_with_gaps_are_saved_fitted_again_and_predicted_from(tmp_path: Path) -> None:
    fit = vi.fit(by_obs_mask, {"y": HOLES}, vi.Laplace(), seed=0)
    fit.save(tmp_path)
    opened = vi.Fit.open(tmp_path, by_obs_mask, {"y": HOLES})
    predicted = [vi.predict(each, {"y": np.zeros(3)}, draws=2000) for each in (fit, opened)]
    xr.testing.assert_identical(*(each["predictions"].to_dataset() for each in predicted))
    assert abs(predicted[0]["predictions"]["y_observed"].to_numpy().mean() - MEAN) < 0.1
    tree = vi.open_tree(vi.save(vi.draw(fit, draws=20), tmp_path / "tree.nc"))
    again = vi.draw(vi.fit(by_obs_mask, tree, vi.Laplace(), seed=0), draws=20)
    xr.testing.assert_identical(again["posterior"].to_dataset(), tree["posterior"].to_dataset())


# -------------------------------------------------------------------------------- refusals


def by_where_alone(y: Tensor) -> None:
    loc, gone = location(), torch.isnan(y)
    terms = torch.where(gone, 0.0, dist.Normal(loc, 1.0).log_prob(y))
    pyro.factor("terms", terms.sum())


def of_two(x: Tensor, y: Tensor) -> None:
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)), poutine.mask(mask=seen_in(y)):
        pyro.sample("y", dist.Normal(slope * x, 1.0), obs=y)


REFUSED: dict[str, tuple[Callable[..., Any], Any, str]] = {
    "unmasked": (plain, {"y": HOLES}, r"y: .* 4 NaN\(s\) came, the first at index 2.*density"),
    "the slope": (by_where_alone, {"y": HOLES}, r"y: .* 4 NaN.*slope .*torch\.nan_to_num\(y\)"),
    "a covariate": (of_two, {"x": HOLES, "y": WHOLE}, r"^x: .* 4 NaN"),
    "one of two": (of_two, {"x": HOLES[::-1].copy(), "y": HOLES}, r"^x: .* 4 NaN"),
    "infinity": (by_obs_mask, {"y": np.where(GONE, np.inf, WHOLE)}, r"y: .* 4 infinite value"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nan_that_reaches_the_density_is_refused_by_the_name_of_its_argument(case: str) -> None:
    model, data, message = REFUSED[case]
    with pytest.raises(vi.errors.DataError, match=message) as caught:
        vi.fit(model, data, seed=0)
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------- partly missing rows

COVARIANCE = np.array([[1.0, 0.6, 0.2], [0.6, 2.0, 0.3], [0.2, 0.3, 0.5]])
ROWS = RNG.multivariate_normal([1.0, -1.0, 0.0], COVARIANCE, 30)
LOST = RNG.random((30, 3)) < 0.25
LOST[7] = True


def correlated(y: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(torch.zeros(3), 2.0).to_event(1))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.MultivariateNormal(loc, torch.as_tensor(COVARIANCE)), obs=y)


def independent(y: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(torch.zeros(3), 2.0).to_event(1))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0).to_event(1), obs=y)


@pytest.mark.parametrize(
    ("model", "covariance"), [(correlated, COVARIANCE), (independent, np.eye(3))]
)
def test_rows_that_are_partly_missing_count_by_what_was_seen_of_them(
    model: Callable[..., Any], covariance: np.ndarray
) -> None:
    precision, shift = np.eye(3) / 2.0**2, np.zeros(3)
    for row, seen in zip(ROWS, ~LOST, strict=True):
        both = np.ix_(seen, seen)
        weight = np.linalg.inv(covariance[both])
        precision[both] += weight
        shift[seen] += weight @ row[seen]
    exact = np.linalg.inv(precision)
    fit = vi.fit(model, {"y": np.ma.array(ROWS, mask=LOST)}, seed=0)
    tree = vi.check(vi.draw(fit, draws=4000))
    loc = tree["posterior"]["loc"].to_numpy()[0]
    sd = np.sqrt(np.diag(exact))
    assert (np.abs(loc.mean(0) - exact @ shift) < 0.09 * sd).all()
    np.testing.assert_allclose(loc.std(0), sd, rtol=0.06)
    assert vi.verdict(tree).status == "ok"
    np.testing.assert_array_equal(np.isnan(tree["observed_data"]["y"]), LOST)
    assert np.isfinite(tree["posterior_predictive"]["y"]).all()  # what is missing is predicted
    assert (tree["log_likelihood"]["y"].to_numpy()[..., 7] == 0).all()
    drawn, seen, terms = loc[0], ~LOST[0], tree["log_likelihood"]["y"].to_numpy()
    own = dist.MultivariateNormal(
        torch.as_tensor(drawn[seen]), torch.as_tensor(covariance[np.ix_(seen, seen)])
    )
    np.testing.assert_allclose(terms[0, 0, 0], own.log_prob(torch.as_tensor(ROWS[0, seen])))


def test_an_event_without_marginals_is_refused_with_the_reason() -> None:
    def shares(y: Tensor) -> None:
        weight = pyro.sample("weight", dist.Gamma(torch.ones(3), 1.0).to_event(1))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Dirichlet(weight), obs=y)

    y = np.ma.array(np.full((4, 3), 1 / 3), mask=np.eye(4, 3, dtype=bool))
    with pytest.raises(vi.errors.DataError, match=r"inside the events of site 'y', a Dirichlet"):
        vi.fit(shares, {"y": y}, seed=0)
