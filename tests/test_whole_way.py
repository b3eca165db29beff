"""Every distribution of Pyro's is fitted, drawn, checked and reported, or is one sentence.

As a prior and as a likelihood; masked, in a mixture, in plates and in events. What is right about
them is held elsewhere: `density.test_every_distribution`. No form may end with an exception of
torch's or Pyro's.
"""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor

import pyrovi as vi
from density.test_every_distribution import MAKES, parameters, value_of
from pyrovi.bound import default_dtype
from pyrovi.errors import PyroviError

U = torch.tensor([0.1, 0.2, -0.1], dtype=torch.float64)
FEW = vi.SVI(max_steps=2, particles=2)
Wrap = Callable[[Any], Any]

# ------------------------------------------------------------------------------- refusals

ENDLESS = r"discrete and its support cannot be listed"
NO_MAP = r"cannot be fitted: no one-to-one map .*reparam"
VECTOR = r"each of its values has axes.*one_hot"
NO_PLATE = r"batch axes \(\d,\) that stand in no plate.*Open a pyro\.plate for them\.$"
EVENT = r"its axes are one event \(\.to_event\).*pyro\.plate"
MISSING = r"y: expected finite values"
PYROS_OWN = (
    r"cannot be run on this data: \w+Error: .*"  # where Pyro's own `expand` or `mask` fails
)
COUNTS = ("Bernoulli", "BetaBinomial", "Binomial", "ExtendedBetaBinomial", "ExtendedBinomial",
          "OrderedLogistic")  # fmt: skip
REFUSED_PRIORS = {
    **dict.fromkeys(
        ("DirichletMultinomial", "GammaPoisson", "Geometric", "LogNormalNegativeBinomial",
         "Multinomial", "NegativeBinomial", "Poisson", "ZeroInflatedDistribution",
         "ZeroInflatedNegativeBinomial", "ZeroInflatedPoisson"), ENDLESS),
    **dict.fromkeys(
        ("CoalescentTimes", "CoalescentTimesWithRate", "ProjectedNormal", "VonMises3D"), NO_MAP),
    **dict.fromkeys(
        ("OneHotCategorical", "OneHotCategoricalStraightThrough", "OneOneMatching",
         "OneTwoMatching", "SpanningTree"), VECTOR),
    "GeneralizedPareto": r"fails at each of 100 starting points",
    "GroupedNormalNormal": r"fails at each of 100 starting points",
}  # fmt: skip
NOT_EXPANDED = dict.fromkeys(
    ("AVFMultivariateNormal", "GroupedNormalNormal", "LKJ", "OMTMultivariateNormal",
     "SoftAsymmetricLaplace"), PYROS_OWN)  # fmt: skip
NAN = dict.fromkeys(("NanMaskedMultivariateNormal", "NanMaskedNormal"), MISSING)

# ------------------------------------------------------------------------------- forms


def prior(name: str, wrap: Wrap = lambda each: each, *, plate: bool = False) -> tuple[Any, Any]:
    def model(y: Tensor) -> None:
        pyro.sample("w", dist.Normal(0.0, 1.0))
        if plate:
            with pyro.plate("row", 2):
                x = pyro.sample("x", wrap(MAKES[name](U)))
        else:
            x = pyro.sample("x", wrap(MAKES[name](U)))
        pyro.sample("y", dist.Normal(torch.as_tensor(x).double().sum(), 1.0), obs=y)

    return model, torch.tensor(0.3, dtype=torch.float64)


def likelihood(
    name: str, wrap: Wrap = lambda each: each, *, plate: bool = False
) -> tuple[Any, Any]:
    value = value_of(name)

    def model(y: Tensor) -> None:
        made = wrap(MAKES[name](parameters()))
        if not plate:
            pyro.sample("y", made, obs=y)
            return
        with pyro.plate("row", 3, dim=-1 - len(made.batch_shape)):
            pyro.sample("y", made, obs=y)

    return model, value.expand(3, *value.shape).clone() if plate else value


def event(each: Any) -> Any:
    return each.to_event(len(each.batch_shape))


def hidden(each: Any) -> Any:
    shown = torch.rand(torch.Size(each.batch_shape), generator=torch.Generator().manual_seed(0))
    return each.mask(shown > 0.4)


def mixed(each: Any) -> Any:
    return dist.MaskedMixture(torch.ones(torch.Size(each.batch_shape)).bool(), each, each)


MASKED = {"MaskedMixture": PYROS_OWN}  # its attribute `mask` is in the method's place
FORMS: dict[str, Any] = {  # of a form, how a model of it is made; and the refusals
    "a prior": (prior, REFUSED_PRIORS | dict.fromkeys(COUNTS, NO_PLATE)),
    "a likelihood": (likelihood, NAN),
    "a prior in a plate": (
        lambda name: prior(name, event, plate=True),
        REFUSED_PRIORS
        | dict.fromkeys(COUNTS, EVENT)
        | NOT_EXPANDED
        | {"SpanningTree": PYROS_OWN, "TruncatedPolyaGamma": PYROS_OWN},
    ),
    "a masked prior": (
        lambda name: prior(name, hidden),
        REFUSED_PRIORS | dict.fromkeys(COUNTS, NO_PLATE) | MASKED,
    ),
    "a masked likelihood": (lambda name: likelihood(name, hidden), NAN | MASKED),
    "a likelihood in a plate": (lambda name: likelihood(name, plate=True), NAN | NOT_EXPANDED),
    "a likelihood in an event": (lambda name: likelihood(name, event), NAN),
    "events in a plate": (lambda name: likelihood(name, event, plate=True), NAN | NOT_EXPANDED),
    "a mixture": (
        lambda name: likelihood(name, mixed),
        NAN | {"GaussianMRF": PYROS_OWN, "VonMises3D": PYROS_OWN},
    ),
}
QUICK = ("a prior", "a likelihood", "a mixture")
SLOW = ("GammaGaussianHMM", "GaussianHMM", "GaussianMRF", "IndependentHMM",
        "SineBivariateVonMises", "Stable", "StableWithLogProb")  # fmt: skip
REPORTED_EVERY = 8  # of the quick ones: a page takes longer than all else


def cases() -> list[Any]:
    return [
        pytest.param(
            form,
            name,
            form not in QUICK or index % REPORTED_EVERY == 0,
            marks=[] if form in QUICK and name not in SLOW else pytest.mark.slow,
            id=f"{form}-{name}",
        )
        for form in FORMS
        for index, name in enumerate(MAKES)
    ]


def whole_way(model: Any, data: Tensor, *, report: bool) -> str:
    tree = vi.check(vi.draw(vi.fit(model, {"y": data}, FEW, seed=0), draws=20))
    return vi.report(tree).html if report else str(vi.verdict(tree))


@pytest.mark.filterwarnings("ignore")  # of Pyro's own, of parameters that two steps came to
@pytest.mark.parametrize(("form", "name", "report"), cases())
def test_every_distribution_goes_the_whole_way_or_is_one_sentence(
    form: str, name: str, report: bool
) -> None:
    make, refused = FORMS[form]
    with default_dtype(torch.float64), pyro.validation_enabled(False):
        model, data = make(name)
    if name not in refused:
        assert whole_way(model, data, report=report)
        return
    with pytest.raises(PyroviError, match=refused[name]) as caught:
        whole_way(model, data, report=report)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------- predictions


def test_what_cannot_be_drawn_costs_its_predictions_alone_and_says_so() -> None:
    """Counts of several totals, which Pyro cannot draw; by quadrature over the one parameter."""
    y = torch.tensor([[3.0, 2.0, 0.0], [1.0, 4.0, 5.0], [0.0, 0.0, 2.0], [9.0, 1.0, 3.0]]).double()

    totals: Any = y.sum(-1)

    def model(y: Tensor, z: Tensor) -> None:
        a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
        pyro.deterministic("log_a", a.log())
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.DirichletMultinomial(a * torch.ones(3), totals), obs=y)
            pyro.sample("z", dist.Normal(0.0, 1.0), obs=z)

    fit = vi.fit(model, {"y": y, "z": torch.zeros(4)}, seed=0)
    tree = vi.check(vi.draw(fit, draws=4000))
    assert set(tree["posterior_predictive"].data_vars) == {"z"}
    assert set(tree["prior_predictive"].data_vars) == {"z"}
    assert {"y", "z"} <= set(tree["log_likelihood"].data_vars)
    log_a = torch.linspace(-5, 5, 2001, dtype=torch.float64)
    counts = dist.DirichletMultinomial(log_a.exp()[:, None, None].expand(-1, 1, 3), totals)
    weight = (counts.log_prob(y).sum(-1) - log_a**2 / 2).softmax(0)
    mean = float((weight * log_a).sum())
    sd = float((weight * (log_a - mean) ** 2).sum()) ** 0.5
    drawn = tree["posterior"]["log_a"].to_numpy()
    assert drawn.mean() == pytest.approx(mean, abs=0.1 * sd)
    assert drawn.std() == pytest.approx(sd, rel=0.1)
    page = vi.report(tree).html
    assert "y is not drawn from its distribution" in page
    assert "Inhomogeneous total count" in page


def test_zero_inflated_counts_have_their_posterior_and_their_predictions() -> None:
    """By quadrature over both parameters."""
    y = torch.tensor([0.0] * 14 + [1.0, 2, 2, 3, 3, 3, 4, 4, 5, 6, 3, 2, 1, 4, 2, 3]).double()

    def model(y: Tensor) -> None:
        rate = pyro.sample("rate", dist.LogNormal(0.0, 1.0))
        gate = pyro.sample("gate", dist.Beta(1.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.ZeroInflatedPoisson(rate, gate=gate), obs=y)

    rate = torch.linspace(0.5, 7, 400, dtype=torch.float64)[:, None, None]
    gate = torch.linspace(0.001, 0.999, 400, dtype=torch.float64)[None, :, None]
    poisson = -rate + y * rate.log() - torch.lgamma(y + 1)
    terms = torch.where(
        y == 0, (gate + (1 - gate) * (-rate).exp()).log(), (1 - gate).log() + poisson
    )
    log = terms.sum(-1) - rate.log()[..., 0] ** 2 / 2 - rate.log()[..., 0]
    weight = log.flatten().softmax(0).reshape(log.shape)
    tree = vi.draw(vi.fit(model, {"y": y}, seed=0), draws=4000)
    for name, grid in (("rate", rate[..., 0]), ("gate", gate[..., 0])):
        mean = float((weight * grid).sum())
        sd = float((weight * (grid - mean) ** 2).sum()) ** 0.5
        drawn = tree["posterior"][name].to_numpy()
        assert drawn.mean() == pytest.approx(mean, abs=0.1 * sd)
        assert drawn.std() == pytest.approx(sd, rel=0.1)
    zeros = float((weight * (gate + (1 - gate) * (-rate).exp())[..., 0]).sum())
    predicted = tree["posterior_predictive"]["y"].to_numpy()
    assert (predicted == 0).mean() == pytest.approx(zeros, abs=0.02)


# ------------------------------------------------------------------------------- a user's mistake


class Brittle(dist.Normal):
    """A distribution that fails after it was called so many times."""

    calls = 0

    def log_prob(self, value: Tensor) -> Tensor:
        Brittle.calls += 1
        if Brittle.calls > 40:
            raise KeyError("the user's own mistake")
        return super().log_prob(value)


def test_a_mistake_that_comes_late_is_one_sentence_that_says_where() -> None:
    def model(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        pyro.sample("y", Brittle(loc, 1.0), obs=y)

    Brittle.calls = 0
    with pytest.raises(PyroviError, match=r"cannot be fitted: .*own mistake") as caught:
        vi.fit(model, {"y": torch.ones(3)}, vi.SVI(guide=AutoNormal), seed=0)
    assert isinstance(caught.value.__cause__, KeyError)
