"""Data of another shape than their distribution, and plates that are given their rows."""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor

import pyrovi as vi
from pyrovi.errors import DataError, ModelError, PyroviError

ROWS, GIVEN = 400, 40
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(ROWS, generator=GENERATOR, dtype=torch.float64)
Y = 1 + X + torch.randn(ROWS, generator=GENERATOR, dtype=torch.float64)
DATA = {"x": X, "y": Y}


def column(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 3.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(a + x, 1.0), obs=y[:, None])


def column_of_the_mean(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 3.0))
    pyro.sample("y", dist.Normal(a + x[:, None], 1.0).to_event(0), obs=y + 0)


def stretched_by_its_plate(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 3.0))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(a + x[:, None], 1.0), obs=y + 0)


@pytest.mark.parametrize("model", [column, column_of_the_mean, stretched_by_its_plate])
def test_a_column_against_a_row_is_refused_and_both_shapes_are_named(
    model: Callable[..., Any],
) -> None:
    with pytest.raises(DataError, match=r"^y: .*\(400.*\(400,.*axis of one is in the way"):
        vi.fit(model, DATA, seed=0)


def test_a_constant_may_be_observed_of_a_whole_vector_and_many_values_of_one_distribution() -> (
    None
):
    def model(y: Tensor) -> None:
        a = pyro.sample("a", dist.Normal(torch.zeros(5), 1.0).to_event(1))
        pyro.sample("steps", dist.Normal(a.diff(), 1.0), obs=torch.zeros(()))
        pyro.sample("y", dist.Normal(a.sum(), 1.0), obs=y)

    assert vi.fit(model, {"y": Y[:7]}, vi.Laplace(), seed=0).status == "converged"


def no_event(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(torch.zeros(2), 3.0).to_event(1))
    with pyro.plate("row", len(x)):
        pyro.sample("y", dist.Normal(a * x[:, None], 1.0), obs=torch.stack([y, y], 1))


def test_a_missing_to_event_gets_the_hint() -> None:
    with pytest.raises(PyroviError, match=r"\.to_event\(1\)"):
        vi.fit(no_event, DATA, seed=0)


def test_batches_that_stand_in_no_plate_get_the_hint_where_sites_are_summed_out() -> None:
    def model(y: Tensor) -> None:
        a = pyro.sample("a", dist.Normal(torch.zeros(2), 3.0))
        with pyro.plate("row", len(y)):
            z = pyro.sample("z", dist.Bernoulli(0.4))
            pyro.sample("y", dist.Normal(a[z.long()], 1.0), obs=y)

    with pytest.raises(ModelError, match=r"^Site 'a' has batch axes \(2,\).*\.to_event\(1\)\.$"):
        vi.fit(model, {"y": Y}, seed=0)


# ------------------------------------------------------------------------------- plates


def rows(index: Callable[[], Tensor]) -> Callable[..., None]:
    def model(x: Tensor, y: Tensor) -> None:
        a = pyro.sample("a", dist.Normal(0.0, 3.0))
        with pyro.plate("row", ROWS, subsample=index()) as i:
            pyro.sample("y", dist.Normal(a + x[i], 1.0), obs=y[i])

    return model


def posterior(kept: slice) -> tuple[float, float]:
    """Closed form, each row of those counted as often as makes them all rows."""
    residuals = (Y - X)[kept]
    precision = ROWS + 1 / 9
    return float(residuals.mean()) * ROWS / precision, precision**-0.5


def same() -> Tensor:
    return torch.arange(GIVEN)


def drawn() -> Tensor:
    return torch.randperm(ROWS)[:GIVEN]


ENGINES: dict[str, Any] = {"auto": "auto", "SVI": vi.SVI(guide=AutoNormal, max_steps=1500)}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("index", [same, drawn])
def test_a_plate_that_is_given_rows_has_the_posterior_that_these_stand_for(
    index: Callable[[], Tensor], engine: str
) -> None:
    fit = vi.fit(rows(index), DATA, ENGINES[engine], seed=0)
    tree = vi.check(vi.draw(fit, draws=2000))
    mean, sd = posterior(slice(GIVEN) if index is same else slice(None))
    a = tree["posterior"]["a"].to_numpy()
    assert a.mean() == pytest.approx(mean, abs=0.35 * sd)
    assert a.std() == pytest.approx(sd, rel=0.25)
    assert tree["posterior_predictive"]["y"].sizes["row"] == (GIVEN if index is same else ROWS)
    assert any("'row' is given" in note for note in fit.notes)
    vi.report(tree)


def test_local_latents_of_a_plate_that_is_given_rows_are_those_rows() -> None:
    """Closed form: each row's own value, given its one observation."""

    def model(y: Tensor, index: Tensor) -> None:
        with pyro.plate("row", ROWS, subsample=index) as i:
            own = pyro.sample("own", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(own, 1.0), obs=y[i])

    data = {"y": Y, "index": torch.tensor([3, 141, 59])}
    for engine in (vi.Laplace(), vi.SVI(guide=AutoNormal, max_steps=1500)):
        fit = vi.fit(model, data, engine, seed=0)
        own = vi.draw(fit, draws=2000)["posterior"]["own"]
        assert own.sizes["row"] == 3
        expected = Y[data["index"]] / 2
        error = torch.as_tensor(own.mean(("chain", "draw")).to_numpy()) - expected
        assert error.abs().max() < 0.2
        assert "index" not in " ".join(note for note in fit.notes if "depends" in note)


def test_rows_that_the_model_draws_and_indexes_by_itself_are_one_sentence() -> None:
    def model(x: Tensor, y: Tensor) -> None:
        a = pyro.sample("a", dist.Normal(0.0, 3.0))
        index = drawn()
        with pyro.plate("row", ROWS, subsample=index):
            pyro.sample("y", dist.Normal(a + x[index], 1.0), obs=y[index])

    with pytest.raises(ModelError, match=r"take the rows from the plate"):
        vi.fit(model, DATA, seed=0)
