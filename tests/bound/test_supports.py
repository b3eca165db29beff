"""Supports that torch has no map to: our own, with its Jacobian, or one sentence."""

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import biject_to, constraints
from torch.func import jacrev

import pyrovi as vi
from pyrovi.bound.supports import Covariances
from pyrovi.errors import ModelError

GENERATOR = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_map_to_covariances_is_one_to_one_and_has_its_jacobian(n: int) -> None:
    to = biject_to(constraints.positive_definite)
    assert isinstance(to, Covariances)
    count = n * (n + 1) // 2
    x = torch.randn(5, count, generator=GENERATOR, dtype=torch.float64)
    y: Any = to(x)
    assert (torch.linalg.eigvalsh(y) > 0).all()
    torch.testing.assert_close(to.inv(y), x)
    row, column = torch.tril_indices(n, n)
    matrix: Any = to
    for one, terms in zip(x, to.log_abs_det_jacobian(x, y), strict=True):
        jacobian = jacrev(lambda each: matrix(each)[row, column])(one)
        torch.testing.assert_close(terms, jacobian.slogdet()[1])
    assert to.inverse_shape(y.shape) == x.shape
    assert to.forward_shape(x.shape) == y.shape


@pytest.mark.parametrize("engine", ["auto", "svi:full_rank"])
def test_a_precision_with_a_wishart_prior_has_its_conjugate_posterior(engine: str) -> None:
    """Closed form: Wishart(df + n, (scale^-1 + S)^-1), whose mean is their product."""
    y = torch.randn(60, 2, generator=GENERATOR, dtype=torch.float64) @ torch.tensor(
        [[1.0, 0.5], [0.0, 2.0]], dtype=torch.float64
    )

    def model(y: Tensor) -> None:
        precision = pyro.sample("precision", dist.Wishart(torch.tensor(4.0), torch.eye(2)))
        with pyro.plate("row", len(y)):
            normal = dist.MultivariateNormal(torch.zeros(2), precision_matrix=precision)
            pyro.sample("y", normal, obs=y)

    tree = vi.draw(vi.fit(model, {"y": y}, engine, seed=0), draws=4000)
    drawn = torch.as_tensor(tree["posterior"]["precision"].to_numpy())[0]
    posterior = dist.Wishart(torch.tensor(64.0), (torch.eye(2) + y.mT @ y).inverse())
    sd = posterior.variance.sqrt()
    torch.testing.assert_close(
        ((drawn.mean(0) - posterior.mean) / sd).abs().max().item(), 0.0, rtol=0, atol=0.12
    )
    torch.testing.assert_close(drawn.std(0) / sd, torch.ones(2, 2).double(), rtol=0, atol=0.12)


def test_a_mixture_as_a_prior_is_drawn_from() -> None:
    """By quadrature over a grid."""

    def prior() -> dist.MixtureSameFamily:
        parts = dist.Normal(torch.tensor([-1.0, 1.0]), torch.tensor([0.5, 1.0]))
        return dist.MixtureSameFamily(dist.Categorical(torch.tensor([0.4, 0.6])), parts)

    def model(y: Tensor) -> None:
        x = pyro.sample("x", prior())
        pyro.sample("y", dist.Normal(x, 0.7), obs=y)

    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    weight = (prior().log_prob(grid) + dist.Normal(grid, 0.7).log_prob(torch.tensor(0.8))).softmax(
        0
    )
    mean = (weight * grid).sum()
    sd = (weight * (grid - mean) ** 2).sum().sqrt()
    drawn: Any = vi.draw(vi.fit(model, {"y": torch.tensor(0.8)}, seed=0), draws=4000)["posterior"][
        "x"
    ]
    assert float(drawn.mean()) == pytest.approx(float(mean), abs=0.15 * float(sd))
    assert float(drawn.std()) == pytest.approx(float(sd), rel=0.12)


UNMAPPED = {
    "ProjectedNormal": lambda: dist.ProjectedNormal(torch.tensor([1.0, 0.0])),
    "VonMises3D": lambda: dist.VonMises3D(torch.tensor([1.0, 0.0, 0.0])),
    "CoalescentTimes": lambda: dist.CoalescentTimes(torch.tensor([0.0, 0.1, 0.2])),
    "MixtureSameFamily": lambda: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)), dist.Uniform(torch.zeros(2), torch.tensor([1.0, 2.0]))
    ),
}


@pytest.mark.parametrize("name", UNMAPPED)
def test_a_support_without_a_map_is_one_sentence(name: str) -> None:
    def model() -> None:
        pyro.sample("x", UNMAPPED[name]())
        pyro.factor("y", torch.tensor(0.0))

    with pytest.raises(ModelError, match=rf"^Site 'x' \({name}\) cannot be fitted: .*reparam"):
        vi.fit(model, {}, seed=0)


def test_data_outside_of_a_support_that_hangs_on_a_rare_draw_do_not_refuse_the_model() -> None:
    """The end of a uniform: one draw of the prior in 140 is above the data; Pareto(7.5) after."""

    def model(y: Tensor) -> None:
        top = pyro.sample("top", dist.Pareto(1.0, 2.5))
        with pyro.plate("row", 5):
            pyro.sample("y", dist.Uniform(torch.zeros(()), top), obs=y)

    y = torch.tensor([2.1, 5.7, 7.2, 3.3, 6.4], dtype=torch.float64)
    fit = vi.fit(model, {"y": y}, seed=0)
    tree = vi.check(vi.draw(fit, draws=2000))
    top, exact, sd = tree["posterior"]["top"], 7.5 * 7.2 / 6.5, 7.2 / 6.5 * (7.5 / 5.5) ** 0.5
    right = abs(float(top.mean()) - exact) < 0.2 * sd and 0.8 < float(top.std()) / sd < 1.25
    assert right or vi.verdict(tree).fit_status != "ok"


def test_data_outside_of_a_support_of_their_own_are_refused() -> None:
    def model(y: Tensor) -> None:
        pyro.sample("rate", dist.Gamma(1.0, 1.0))
        with pyro.plate("row", 2):
            pyro.sample("y", dist.Uniform(torch.zeros(()), 1.0), obs=y)

    with pytest.raises(ModelError, match="within the support"):
        vi.fit(model, {"y": torch.tensor([0.5, 1.5])}, seed=0)
