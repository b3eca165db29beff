"""Other priors and likelihoods: the answers are those of formulas, and what does not fit is said.

The truth for a normal mean with a normal prior, known noise: precision 1 / s^2 + n / sigma^2, mean
that of the data by their share of it. For a Student likelihood it is quadrature.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor

import pyrovi as vi
from pyrovi.bound import BoundModel, bind, bind_model
from pyrovi.errors import ClosedFormError, ModelError, TreeError

Y = np.array([1.2, 0.4, 2.1, 1.7, 0.9])
SCHOOLS = vi.models.get("eight_schools")
DRAWS = 4000
FAR = 4.3  # standard errors: two-sided 2e-5


def model(y: Tensor) -> None:
    """A mean, the noise known to be one."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


class Module(torch.nn.Module):
    """The same as a module."""

    def forward(self, y: Tensor) -> None:
        model(y)


def pair(y: Tensor) -> None:
    """Sites of several shapes."""
    vector = pyro.sample("vector", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("group", 3):
        scale = pyro.sample("scale", dist.HalfCauchy(1.0))
    with pyro.plate("row", 3):
        pyro.sample("y", dist.Normal(vector, scale), obs=y)


def posterior(fit: vi.Fit, draws: int = DRAWS) -> Any:
    return vi.draw(fit, draws)["posterior"].to_dataset()


def bound_with(model: Any, data: Any, priors: dict[str, Any]) -> BoundModel:
    wrapped = vi.with_priors(model, priors)
    return bind_model(wrapped, bind(wrapped, data))


def exact(loc: float, scale: float) -> tuple[float, float]:
    precision = 1 / scale**2 + len(Y)
    return (loc / scale**2 + Y.sum()) / precision, precision**-0.5


def test_the_posterior_under_another_prior_is_that_of_the_formula() -> None:
    mean, sd = exact(-3.0, 0.2)
    for each in (model, Module()):
        fit = vi.fit(each, {"y": Y}, vi.Laplace(), priors={"mu": dist.Normal(-3.0, 0.2)}, seed=0)
        assert fit.density.model.dtype == torch.float64
        drawn = posterior(fit)["mu"]
        assert abs(float(drawn.mean()) - mean) < FAR * sd / DRAWS**0.5
        assert abs(float(drawn.std()) / sd - 1) < FAR / (2 * DRAWS) ** 0.5


@pytest.mark.parametrize("engine", ["auto", vi.NUTS(draws=1500, warmup=200)])
def test_engines_and_restarts_have_the_new_prior(engine: Any) -> None:
    mean, sd = exact(-3.0, 0.2)
    priors = {"mu": dist.Normal(-3.0, 0.2)}
    fit = vi.fit(model, {"y": Y}, engine, priors=priors, seed=0, restarts=2)
    assert abs(float(posterior(fit)["mu"].mean()) - mean) < 0.2 * sd


def test_the_prior_predictive_and_predictions_have_the_new_prior() -> None:
    priors = {"mu": dist.Normal(50.0, 0.1)}
    fit = vi.fit(model, {"y": Y}, vi.Laplace(), priors=priors, seed=0)
    tree: Any = vi.draw(fit, DRAWS)
    seen = tree["prior"]["mu"]
    assert abs(float(seen.mean()) - 50.0) < FAR * 0.1 / seen.size**0.5
    replicated = tree["prior_predictive"]["y"]
    assert abs(float(replicated.std()) - 1.01**0.5) < 0.1
    mean, sd = exact(50.0, 0.1)
    predicted: Any = vi.predict(fit, {"y": np.zeros(2)}, DRAWS)
    ahead = predicted["predictions"]["y"]
    assert abs(float(ahead.mean()) - mean) < FAR * (1 + sd**2) ** 0.5 / (DRAWS) ** 0.5


def test_a_group_effect_of_a_new_level_has_the_new_prior() -> None:
    priors = {"mu": dist.Normal(0.0, 1e-3), "tau": dist.Uniform(9.999, 10.001)}
    data = SCHOOLS.load()
    fit = vi.fit(SCHOOLS.variant("centered").model, data, vi.Laplace(), priors=priors, seed=0)
    named = vi.data_tree(
        observed={},
        constant={"sigma": ("school", np.full(20, 1e-3))},
        coords={"school": list("abcdefghijklmnopqrst")},
    )
    predicted: Any = vi.predict(fit, named, 500, new_levels="draw")
    ahead = predicted["predictions"]["y"]
    assert abs(float(ahead.std()) / 10 - 1) < FAR / (2 * ahead.size) ** 0.5


def test_a_prior_that_hangs_on_other_sites_and_a_likelihood_are_functions_of_the_own() -> None:
    heavy = {"y": lambda own: dist.StudentT(3.0, own.loc, own.scale)}
    fit = vi.fit(vi.with_likelihood(model, heavy), {"y": np.array([0.0, 0.5, 9.0])}, seed=0)
    grid = np.linspace(-5, 9, 20001)
    log = -(grid**2) / 2 + sum(-2 * np.log1p((y - grid) ** 2 / 3) for y in (0.0, 0.5, 9.0))
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = float((grid * weight).sum())
    sd = float(((grid - mean) ** 2 * weight).sum()) ** 0.5
    tree: Any = vi.draw(fit, DRAWS)
    assert abs(float(tree["posterior"]["mu"].mean()) - mean) < 0.1 * sd
    [said] = json.loads(tree["sample_stats"].attrs["replaced"])
    assert said == {
        "site": "y",
        "own": "Normal(loc=..., scale=1)",
        "now": "StudentT(df=3, loc=..., scale=1)",
    }
    given = {"theta": lambda own: dist.StudentT(4.0, own.loc, own.scale)}
    schools = bound_with(SCHOOLS.variant("centered").model, SCHOOLS.load(), given)
    assert schools.site("theta").distribution == "StudentT"
    assert schools.replaced[0].now == "StudentT(df=4, loc=..., scale=...)"


def test_the_tree_says_which_priors_there_were() -> None:
    fit = vi.fit(model, {"y": Y}, vi.Laplace(), priors={"mu": dist.Normal(-3.0, 0.2)}, seed=0)
    tree = vi.draw(fit, 50)
    assert json.loads(tree["sample_stats"].attrs["replaced"]) == [
        {"site": "mu", "own": "Normal(loc=0, scale=1)", "now": "Normal(loc=-3, scale=0.2)"}
    ]


def test_shapes_are_stretched_to_those_of_the_site() -> None:
    wide, scales = dist.Normal(0.0, 5.0), torch.tensor([1.0, 2.0, 3.0])
    given = {"vector": wide, "scale": dist.HalfNormal(scales)}
    bound = bound_with(pair, {"y": Y[:3]}, given)
    nodes = bound.prototype.nodes
    assert nodes["vector"]["fn"].event_shape == (3,)
    assert nodes["vector"]["fn"].base_dist.scale.tolist() == [5.0] * 3
    assert nodes["scale"]["fn"].scale.tolist() == [1.0, 2.0, 3.0]
    assert nodes["scale"]["fn"].scale.dtype == torch.float64


def test_a_covariance_in_single_precision_is_taken_in_the_models_own() -> None:
    given = {"vector": dist.MultivariateNormal(torch.zeros(3), torch.eye(3) + 0.5)}
    bound = bound_with(pair, {"y": Y[:3]}, given)
    assert (bound.dtype, bound.notes) == (torch.float64, ())


REFUSED = {
    "no such site": ({"mue": dist.Normal(0.0, 1.0)}, r"did you mean 'mu'.*It has: mu"),
    "observed": ({"y": dist.Normal(0.0, 1.0)}, r"observed.*with_likelihood"),
    "a number": ({"mu": 2.0}, r"expected a distribution.*2.0 came"),
    "a class": ({"mu": dist.Normal}, r"expected a distribution"),
    "a function of nothing": ({"mu": lambda: dist.Normal(0.0, 1.0)}, r"function fails"),
    "a function of a number": ({"mu": lambda own: own.loc}, r"gave a Tensor"),
    "its shape": ({"mu": dist.Normal(torch.zeros(3), 1.0)}, r"shape \(3,\).*site has \(\)"),
    "its event": ({"mu": dist.Normal(torch.zeros(3), 1.0).to_event(1)}, r"shape \(3,\)"),
    "discrete": ({"mu": dist.Bernoulli(0.5)}, r"support"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_with_its_site_is_refused_in_a_sentence(case: str) -> None:
    given, said = REFUSED[case]
    with pytest.raises(ModelError, match=said):
        vi.fit(model, {"y": Y}, vi.Laplace(), priors=given, seed=0)


def test_a_support_must_lie_within_that_of_the_own_prior() -> None:
    data = SCHOOLS.load()
    with pytest.raises(ModelError, match=r"'real'.*'from 0 up'"):
        vi.fit(SCHOOLS.model, data, vi.Laplace(), priors={"tau": dist.Normal(0.0, 1.0)}, seed=0)
    narrow = {"tau": dist.Uniform(0.0, 20.0), "mu": dist.LogNormal(0.0, 1.0)}
    fit = vi.fit(SCHOOLS.model, data, vi.Laplace(), priors=narrow, seed=0)
    drawn = posterior(fit, 500)
    assert 0 < float(drawn["tau"].min()) < float(drawn["tau"].max()) < 20
    assert float(drawn["mu"].min()) > 0


def test_a_guide_that_was_made_of_the_model_follows_its_new_priors() -> None:
    guide = AutoNormal(SCHOOLS.model)
    priors = {"tau": dist.Uniform(0.0, 2.0)}
    fit = vi.fit(
        SCHOOLS.model, SCHOOLS.load(), vi.SVI(guide=guide, max_steps=30), priors=priors, seed=0
    )
    assert float(posterior(fit, 500)["tau"].max()) < 2


def test_rows_of_a_subsampled_plate_have_no_priors_of_their_own() -> None:
    def rows(y: Tensor) -> None:
        with pyro.plate("row", len(y), subsample_size=2) as index:
            loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y[index])

    given = {"loc": dist.Normal(torch.zeros(2), 1.0)}
    with pytest.raises(ModelError, match="a part at a time"):
        vi.fit(rows, {"y": Y}, vi.SVI(max_steps=2), priors=given, seed=0)


MIXTURE = vi.models.get("gaussian_mixture")


@pytest.mark.parametrize("engine", [vi.CAVI(), vi.Gibbs()])
def test_closed_forms_of_the_own_prior_are_refused_under_another(engine: Any) -> None:
    entry = MIXTURE.variant("conjugate")
    data = entry.simulate(1)
    site = "weight"
    given = {site: lambda own: dist.Dirichlet(own.concentration * 9)}
    assert vi.fit(entry.model, data, engine, seed=0).status
    with pytest.raises(ClosedFormError, match="wrapped around"):
        vi.fit(entry.model, data, engine, priors=given, seed=0)
    scaled = pyro.poutine.scale(entry.model, scale=2.0)
    with pytest.raises(ClosedFormError, match="wrapped around"):
        vi.fit(scaled, data, engine, seed=0)


def test_components_are_relabelled_only_while_their_priors_are_alike() -> None:
    data = MIXTURE.simulate(1)
    weights = {"weight": lambda own: dist.Dirichlet(own.concentration * 3)}
    alike = vi.with_priors(MIXTURE.model, weights)
    told = vi.with_priors(
        MIXTURE.model,
        {"weight": lambda own: dist.Dirichlet(1.0 + torch.arange(own.concentration.numel()))},
    )
    kept = [bind_model(each, bind(each, data)) for each in (alike, told)]
    assert [len(each.structure.exchangeable) for each in kept] == [1, 0]


def test_a_saved_fit_is_opened_with_the_same_priors_alone(tmp_path: Path) -> None:
    given = {"mu": dist.Normal(-3.0, 0.2)}
    fit = vi.fit(model, {"y": Y}, vi.Laplace(), priors=given, seed=0)
    fit.save(tmp_path)
    again = vi.Fit.open(tmp_path, model, {"y": Y}, priors={"mu": dist.Normal(-3.0, 0.2)})
    assert torch.equal(again.draw(5)[0].flat, fit.draw(5)[0].flat)
    assert again.model.replaced == fit.model.replaced
    with pytest.raises(TreeError, match=r"mu: Normal\(loc=-3, scale=0.2\).*priors="):
        vi.Fit.open(tmp_path, model, {"y": Y})
    with pytest.raises(TreeError, match="density of mu"):
        vi.Fit.open(tmp_path, model, {"y": Y}, priors={"mu": dist.Normal(-3.0, 0.3)})
    vi.fit(model, {"y": Y}, vi.Laplace(), seed=0).save(tmp_path)
    with pytest.raises(TreeError, match="model's own distribution of 'mu'"):
        vi.Fit.open(tmp_path, model, {"y": Y}, priors=given)


def test_a_saved_fit_is_not_opened_with_an_edited_model(tmp_path: Path) -> None:
    def edited(y: Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(mu, 1.1), obs=y)

    vi.fit(model, {"y": Y}, vi.Laplace(), seed=0).save(tmp_path)
    with pytest.raises(TreeError, match="density of y"):
        vi.Fit.open(tmp_path, edited, {"y": Y})
