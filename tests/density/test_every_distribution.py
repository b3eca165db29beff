"""Every distribution of Pyro's has, in one run for many draws, the density it has one by one.

The parameters hang on a latent vector; the value is data, and then hangs on it too.
"""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import biject_to

from pyrovi.bound import Arguments, bind_model, default_dtype
from pyrovi.density import LogDensity

Make = Callable[[Tensor], Any]  # from (3,) real numbers, about as small as 0.1
EYE = torch.eye(2, dtype=torch.float64)
STEPS = 5


def tril(u: Tensor) -> Tensor:
    return EYE + 0.3 * u[0] * torch.ones(2, 2).tril()


def hmm_parts(u: Tensor) -> tuple[Any, Tensor, Any, Tensor, Any]:
    """The parts of a linear HMM with two hidden and two observed axes."""
    noise = dist.MultivariateNormal(torch.zeros(2), scale_tril=tril(u))
    return noise, EYE * u[1].exp() * 0.5, noise, EYE + 0.1 * u[2], noise


MAKES: dict[str, Make] = {
    "AVFMultivariateNormal": lambda u: dist.AVFMultivariateNormal(
        u[:2], tril(u), torch.ones(2, 1, 2) * u[2]
    ),
    "AffineBeta": lambda u: dist.AffineBeta(2 * u[0].exp(), u[1].exp(), u[2] - 9.0, 20.0),
    "AsymmetricLaplace": lambda u: dist.AsymmetricLaplace(u[0], u[1].exp(), u[2].exp()),
    "Bernoulli": lambda u: dist.Bernoulli(logits=u),
    "Beta": lambda u: dist.Beta(u.exp(), 2.0),
    "BetaBinomial": lambda u: dist.BetaBinomial(u.exp(), 2.0, 10),
    "Binomial": lambda u: dist.Binomial(10, logits=u),
    "Categorical": lambda u: dist.Categorical(logits=u),
    "Cauchy": lambda u: dist.Cauchy(u[0], u[1:].exp()),
    "Chi2": lambda u: dist.Chi2(u.exp()),
    "CoalescentTimes": lambda u: dist.CoalescentTimes(
        torch.tensor([0.0, 0.1, 0.2, 0.3]), u[0].exp()
    ),
    "CoalescentTimesWithRate": lambda u: dist.CoalescentTimesWithRate(
        torch.tensor([0.0, 0.1, 0.2, 0.3]), u.exp()
    ),
    "ContinuousBernoulli": lambda u: dist.ContinuousBernoulli(logits=u),
    "Delta": lambda u: dist.Delta(torch.tensor(0.5), log_density=u[0]),
    "Dirichlet": lambda u: dist.Dirichlet(u.exp()),
    "DirichletMultinomial": lambda u: dist.DirichletMultinomial(u.exp(), 10),
    "DiscreteHMM": lambda u: dist.DiscreteHMM(
        u[:2], torch.stack([u[:2], -u[1:]]), dist.Normal(u[:2], u[2].exp()), duration=STEPS
    ),
    "Exponential": lambda u: dist.Exponential(u.exp()),
    "ExtendedBetaBinomial": lambda u: dist.ExtendedBetaBinomial(u.exp(), 2.0, 10),
    "ExtendedBinomial": lambda u: dist.ExtendedBinomial(10, logits=u),
    "FisherSnedecor": lambda u: dist.FisherSnedecor(u.exp(), 3.0),
    "FoldedDistribution": lambda u: dist.FoldedDistribution(dist.Normal(u, 1.0)),
    "Gamma": lambda u: dist.Gamma(u.exp(), 2.0),
    "GammaGaussianHMM": lambda u: dist.GammaGaussianHMM(
        dist.Gamma(3 * u[2].exp(), 2.0), *hmm_parts(u), duration=STEPS
    ),
    "GammaPoisson": lambda u: dist.GammaPoisson(u.exp(), 2.0),
    "GaussianHMM": lambda u: dist.GaussianHMM(*hmm_parts(u), duration=STEPS),
    "GaussianMRF": lambda u: dist.GaussianMRF(
        hmm_parts(u)[0],
        dist.MultivariateNormal(torch.zeros(4), torch.eye(4) * u[0].exp()),
        dist.MultivariateNormal(torch.zeros(4), torch.eye(4) * u[1].exp()),
    ),
    "GeneralizedPareto": lambda u: dist.GeneralizedPareto(u[0], u[1].exp(), u[2].exp()),
    "Geometric": lambda u: dist.Geometric(logits=u),
    "GroupedNormalNormal": lambda u: dist.GroupedNormalNormal(
        u[:2], u[1].exp(), u[2].exp(), torch.tensor([0, 0, 1])
    ),
    "Gumbel": lambda u: dist.Gumbel(u[0], u[1:].exp()),
    "HalfCauchy": lambda u: dist.HalfCauchy(u.exp()),
    "HalfNormal": lambda u: dist.HalfNormal(u.exp()),
    "Independent": lambda u: dist.Independent(dist.Normal(u, 1.0), 1),
    "IndependentHMM": lambda u: dist.IndependentHMM(
        dist.GaussianHMM(
            dist.MultivariateNormal(torch.zeros(2, 2), scale_tril=tril(u)),
            EYE.expand(2, 1, 2, 2) * 0.5,
            dist.MultivariateNormal(torch.zeros(2, 1, 2), scale_tril=tril(u)),
            torch.ones(2, 1, 2, 1) * u[1].exp(),
            dist.MultivariateNormal(torch.zeros(2, 1, 1), torch.ones(1, 1) * u[2].exp()),
            duration=STEPS,
        )
    ),
    "InverseGamma": lambda u: dist.InverseGamma(u.exp(), 2.0),
    "Kumaraswamy": lambda u: dist.Kumaraswamy(u.exp(), 2.0),
    "LKJ": lambda u: dist.LKJ(3, u[0].exp()),
    "LKJCholesky": lambda u: dist.LKJCholesky(3, u[0].exp()),
    "Laplace": lambda u: dist.Laplace(u[0], u[1:].exp()),
    "LogNormal": lambda u: dist.LogNormal(u[0], u[1:].exp()),
    "LogNormalNegativeBinomial": lambda u: dist.LogNormalNegativeBinomial(
        3.0, u[0], multiplicative_noise_scale=u[1].exp()
    ),
    "Logistic": lambda u: dist.Logistic(u[0], u[1:].exp()),
    "LogisticNormal": lambda u: dist.LogisticNormal(u[:2], u[1:].exp()),
    "LowRankMultivariateNormal": lambda u: dist.LowRankMultivariateNormal(
        u, torch.ones(3, 1) * u[0], u.exp()
    ),
    "MaskedMixture": lambda u: dist.MaskedMixture(
        torch.tensor([True, False, True]), dist.Normal(u, 1.0), dist.Laplace(0.0, u.exp())
    ),
    "MixtureOfDiagNormals": lambda u: dist.MixtureOfDiagNormals(
        torch.stack([u, -u]), torch.stack([u, u]).exp(), u[:2]
    ),
    "MixtureOfDiagNormalsSharedCovariance": lambda u: dist.MixtureOfDiagNormalsSharedCovariance(
        torch.stack([u, -u]), u.exp(), u[:2]
    ),
    "MixtureSameFamily": lambda u: dist.MixtureSameFamily(
        dist.Categorical(logits=u), dist.Normal(u, u.exp())
    ),
    "Multinomial": lambda u: dist.Multinomial(10, logits=u),
    "MultivariateNormal": lambda u: dist.MultivariateNormal(u[:2], tril(u) @ tril(u).mT),
    "MultivariateStudentT": lambda u: dist.MultivariateStudentT(
        4 * u[2].exp(), u[:2], scale_tril=tril(u)
    ),
    "NanMaskedMultivariateNormal": lambda u: dist.NanMaskedMultivariateNormal(
        u[:2], scale_tril=tril(u)
    ),
    "NanMaskedNormal": lambda u: dist.NanMaskedNormal(u, 1.0),
    "NegativeBinomial": lambda u: dist.NegativeBinomial(u.exp(), logits=u),
    "Normal": lambda u: dist.Normal(u[0], u[1:].exp()),
    "OMTMultivariateNormal": lambda u: dist.OMTMultivariateNormal(u[:2], tril(u)),
    "OneHotCategorical": lambda u: dist.OneHotCategorical(logits=u),
    "OneHotCategoricalStraightThrough": lambda u: dist.OneHotCategoricalStraightThrough(logits=u),
    "OneOneMatching": lambda u: dist.OneOneMatching(torch.stack([u, -u, u * 2])),
    "OneTwoMatching": lambda u: dist.OneTwoMatching(
        torch.stack([u, -u, u * 2, u - 1, u, u]).T.mT[:, :3]
    ),
    "OrderedLogistic": lambda u: dist.OrderedLogistic(
        u[:2], torch.stack([-u[2].exp(), u[2].exp()])
    ),
    "Pareto": lambda u: dist.Pareto(u[:1].exp(), u[1:].exp()),
    "Poisson": lambda u: dist.Poisson(u.exp()),
    "ProjectedNormal": dist.ProjectedNormal,
    "RelaxedBernoulli": lambda u: dist.RelaxedBernoulli(torch.tensor(0.5), logits=u),
    "RelaxedBernoulliStraightThrough": lambda u: dist.RelaxedBernoulliStraightThrough(
        torch.tensor(0.5), logits=u
    ),
    "RelaxedOneHotCategorical": lambda u: dist.RelaxedOneHotCategorical(
        torch.tensor(0.5), logits=u
    ),
    "RelaxedOneHotCategoricalStraightThrough": lambda u: (
        dist.RelaxedOneHotCategoricalStraightThrough(torch.tensor(0.5), logits=u)
    ),
    "SineBivariateVonMises": lambda u: dist.SineBivariateVonMises(
        u[0], u[1], u[0].exp(), u[1].exp(), correlation=0.1 * u[2]
    ),
    "SineSkewed": lambda u: dist.SineSkewed(
        dist.VonMises(u[:1], u[1:2].exp()).to_event(1), 0.5 * u[2:].tanh()
    ),
    "SkewLogistic": lambda u: dist.SkewLogistic(u[0], u[1].exp(), u[2].exp()),
    "SoftAsymmetricLaplace": lambda u: dist.SoftAsymmetricLaplace(u[0], u[1].exp(), u[2].exp()),
    "SoftLaplace": lambda u: dist.SoftLaplace(u[0], u[1:].exp()),
    "SpanningTree": dist.SpanningTree,
    "Stable": lambda u: dist.Stable(1.5 + 0.1 * u[0], 0.3 * u[1].tanh(), u[2].exp(), u[:2]),
    "StableWithLogProb": lambda u: dist.StableWithLogProb(
        1.5 + 0.1 * u[0], 0.3 * u[1].tanh(), u[2].exp(), u[:2]
    ),
    "StudentT": lambda u: dist.StudentT(3.0, u[0], u[1:].exp()),
    "TransformedDistribution": lambda u: dist.TransformedDistribution(
        dist.Normal(u[0], 1.0), [dist.transforms.AffineTransform(u[1], u[2].exp())]
    ),
    "TruncatedPolyaGamma": lambda u: dist.TruncatedPolyaGamma(u[0].new_ones(())),
    "Uniform": lambda u: dist.Uniform(-9 * u[0].exp(), 9 * u[1:].exp()),
    "VonMises": lambda u: dist.VonMises(u[0], u[1:].exp()),
    "VonMises3D": dist.VonMises3D,
    "Weibull": lambda u: dist.Weibull(u[0].exp(), u[1:].exp()),
    "Wishart": lambda u: dist.Wishart(9 * u[2].exp(), scale_tril=tril(u)),
    "ZeroInflatedDistribution": lambda u: dist.ZeroInflatedDistribution(
        dist.Poisson(u[:1].exp()), gate_logits=u[1]
    ),
    "ZeroInflatedNegativeBinomial": lambda u: dist.ZeroInflatedNegativeBinomial(
        total_count=u[0].exp(), logits=u[1], gate_logits=u[2]
    ),
    "ZeroInflatedPoisson": lambda u: dist.ZeroInflatedPoisson(u[0].exp(), gate_logits=u[1]),
}
VALUES = {  # of those that cannot be drawn from, or where a draw is too simple
    "CoalescentTimesWithRate": torch.tensor([-2.0, -1.2, -0.5]),
    "GammaGaussianHMM": torch.linspace(-1, 1, 2 * STEPS).reshape(STEPS, 2),
    "GaussianMRF": torch.linspace(-1, 1, 2 * STEPS).reshape(STEPS, 2),
    "GroupedNormalNormal": torch.tensor([0.3, -0.2, 1.0]),
    "LogNormalNegativeBinomial": torch.tensor(4.0),
    "NanMaskedMultivariateNormal": torch.tensor([[0.3, torch.nan], [0.1, 0.2], [torch.nan] * 2]),
    "NanMaskedNormal": torch.tensor([0.3, torch.nan, 1.0]),
    "Uniform": torch.tensor([0.5, -0.5]),
    "VonMises3D": torch.tensor([0.6, 0.0, 0.8]),
    "Wishart": torch.tensor([[9.0, 2.0], [2.0, 7.0]]),
}
LOOPED = {"SineBivariateVonMises": "how many terms of a series it takes hangs on its parameters"}
OTHERWISE = {
    "Empirical": "its parameters are draws",
    "ExpandedDistribution": "a wrapper that only repeats",
    "ExponentialFamily": "abstract",
    "GaussianScaleMixture": "Pyro cannot differentiate it: it writes into what it needs again",
    "ImproperUniform": "without parameters, and its log density is zero",
    "LKJCorrCholesky": "LKJCholesky by its old name, with a warning",
    "LinearHMM": "without a density",
    "MaskedDistribution": "a wrapper, which Pyro's handlers make",
    "Rejector": "a sampler, with a density of the user's own",
    "TorchDistribution": "abstract",
    "Unit": "what a factor is",
}


def value_of(name: str) -> Tensor:
    if name in VALUES:
        return VALUES[name].double()
    with pyro.validation_enabled(False), torch.random.fork_rng():
        torch.manual_seed(1)
        return MAKES[name](torch.tensor([0.1, 0.2, -0.1])).sample().detach()


def both_ways(model: Callable[[], None]) -> tuple[LogDensity, list[Tensor]]:
    """Values and gradients at four points, in one run and in a run each."""
    density = LogDensity(bind_model(model, Arguments()))
    generator = torch.Generator().manual_seed(0)
    rows = 0.3 * torch.randn(4, density.dim, generator=generator, dtype=torch.float64)
    together = density.value_and_gradient(rows)
    density.vectorised = False
    return density, [*together, *density.value_and_gradient(rows)]


def assert_same(values: list[Tensor]) -> None:
    together, slopes, looped, its_slopes = values
    assert looped.isfinite().all()
    torch.testing.assert_close(together, looped, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(slopes, its_slopes, rtol=1e-8, atol=1e-8)


def parameters() -> Tensor:
    return pyro.sample("u", dist.Normal(torch.zeros(3), 1.0).to_event(1))


def test_all_of_pyros_distributions_are_here() -> None:
    theirs = {
        name
        for name, each in vars(dist).items()
        if isinstance(each, type) and issubclass(each, TorchDistributionMixin)
    }
    assert theirs == MAKES.keys() | OTHERWISE.keys()


@pytest.mark.parametrize("name", MAKES)
def test_of_data_the_density_in_one_run_is_that_of_single_runs(name: str) -> None:
    with default_dtype(torch.float64):
        value = value_of(name)

    def model() -> None:
        pyro.factor("y", MAKES[name](parameters()).log_prob(value))

    density, values = both_ways(model)
    assert_same(values)
    assert bool(density.notes) == (name in LOOPED)


HELD = {  # where a value in the support is no matter of the support alone, or has no map to it
    "Delta": "one point",
    "GeneralizedPareto": "its support hangs on its parameters, and is not said to",
    "VonMises3D": "a sphere",
}


def is_latent(name: str) -> bool:
    with default_dtype(torch.float64), pyro.validation_enabled(False):
        support = MAKES[name](torch.tensor([0.1, 0.2, -0.1])).support
    try:
        biject_to(support)
    except NotImplementedError:
        return False
    return name not in HELD and not (name in VALUES and VALUES[name].isnan().any())


@pytest.mark.parametrize("name", [*filter(is_latent, MAKES)])
def test_of_a_latent_value_too(name: str) -> None:
    with default_dtype(torch.float64), pyro.validation_enabled(False):
        value = value_of(name)
        flat = biject_to(MAKES[name](torch.tensor([0.1, 0.2, -0.1])).support).inv(value)

    def model() -> None:
        u = parameters()
        made = MAKES[name](u)
        pyro.factor("y", made.log_prob(biject_to(made.support)(flat + 0.1 * u[0])))

    density, values = both_ways(model)
    assert_same(values)
    assert bool(density.notes) == (name in LOOPED)


# --------------------------------------------------------------- what one case does not show

EDGES: dict[str, Callable[[Tensor], Tensor]] = {
    "counts that are floats, some of them of probability zero": lambda u: dist.Multinomial(
        5, probs=torch.stack([u[0].exp(), u[1].exp(), u[2] * 0.0])
    ).log_prob(torch.tensor([2.0, 3.0, 0.0])),
    "counts of several rows": lambda u: dist.Multinomial(7, logits=u).log_prob(
        torch.tensor([[2, 3, 2], [7, 0, 0]])
    ),
    "grades in a plate": lambda u: (
        dist.OrderedLogistic(
            u[0] * torch.linspace(-1, 1, 5), torch.stack([-u[1].exp(), u[2].exp()])
        )
        .expand([4, 5])
        .log_prob(torch.arange(20).reshape(4, 5) % 3)
    ),
    "a stable distribution near the hole at one": lambda u: dist.Stable(
        1.0 + 0.04 * torch.stack([u[0], u[0] * 0 + 1.2]), 0.3, u[1].exp(), u[2]
    ).log_prob(torch.tensor([0.4, 2.0])),
    "a stable distribution near its own zero": lambda u: dist.Stable(
        1.5, 0.0, u[1].exp(), 0.0001 * u[2]
    ).log_prob(torch.tensor([0.0001, 2.0, -0.0003])),
    "the other coordinates of a stable distribution": lambda u: dist.Stable(
        1.5 + 0.1 * u[0], 0.3, u[1].exp(), u[2], coords="S"
    ).log_prob(torch.tensor([0.4, 2.0])),
    "a hidden chain that sees categories, long": lambda u: dist.DiscreteHMM(
        u, torch.stack([u, -u, 2 * u]), dist.Categorical(logits=torch.stack([u, u**2, -u]))
    ).log_prob(torch.arange(37) % 3),
    "a hidden chain with impossible steps": lambda u: dist.DiscreteHMM(
        u[:2],
        torch.stack([u[:2], torch.stack([u[0] * 0 - torch.inf, u[0]])]),
        dist.Normal(u[:2], 1.0),
    ).log_prob(torch.linspace(-1, 1, 6)),
}


@pytest.mark.parametrize("edge", EDGES)
def test_in_one_run_as_in_single_ones_with(edge: str) -> None:
    density, values = both_ways(lambda: pyro.factor("y", EDGES[edge](parameters())) and None)
    assert_same(values)
    assert not density.notes
