"""Claims: the objective's gradient is its own, and scores tell which terms a map needs."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from infer.scripted import density_of
from pyrovi.approximations import CONSTANT, Transported, TriangularMap
from pyrovi.optimise import TransportedDraws, fixed_noise, terms_of


def plain(terms: Tensor, dim: int = 3) -> Transported:
    """Of three entries, whose log density bends."""

    def bends() -> None:
        x = pyro.sample("x", dist.Normal(torch.zeros(dim), 1.0).to_event(1))
        pyro.factor("bend", -torch.cosh(x[..., 0] * x[..., 1] - x[..., 2]))

    eye = torch.eye(dim, dtype=torch.float64)
    return Transported(density_of(bends), eye[0], eye, terms, TriangularMap(dim, terms).identity)


def test_the_gradient_of_the_loss_is_that_of_differences() -> None:
    terms = torch.tensor([[1, 0, CONSTANT], [2, 1, 0], [1, 0, 0], [2, 2, 1]])
    problem = TransportedDraws(plain(terms), fixed_noise(16, 3, seed=0))
    count = len(problem.base.parameters)
    generator = torch.Generator().manual_seed(1)
    at = 0.2 * torch.randn(count, generator=generator, dtype=torch.float64)
    gradient = problem.evaluate(at)[1]
    for step in 1e-5 * torch.eye(count, dtype=torch.float64):
        upper, lower = (problem.evaluate(at + s * step)[0] for s in (1, -1))
        assert abs((upper - lower) / 2e-5 - float(gradient[step > 0])) < 1e-8


def test_the_loss_of_the_base_is_that_at_its_parameters() -> None:
    problem = TransportedDraws(plain(torch.tensor([[2, 1, 0]])), fixed_noise(16, 3, seed=0))
    assert problem.loss() == pytest.approx(problem.evaluate(problem.base.parameters)[0])


def test_scores_are_zero_where_the_map_is_the_posterior() -> None:
    def banana() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x * x, 0.5))

    terms = torch.tensor([[1, 0, 0]])
    parameters = TriangularMap(2, terms).identity
    parameters[1], parameters[3], parameters[-1] = 1.0, torch.tensor(0.5).log(), 1.0
    loc, eye = torch.zeros(2).double(), torch.eye(2).double()
    exact = Transported(density_of(banana), loc, eye, terms, parameters)
    scores = TransportedDraws(exact, fixed_noise(32, 2, seed=0)).scores()
    torch.testing.assert_close(scores, torch.zeros(32, 2, dtype=torch.float64))


@pytest.mark.parametrize(
    "term", [(1, 0, 0), (2, 0, 0), (2, 1, 0), (2, 1, 1), (1, 1, 0), (2, 2, 1)]
)
def test_the_term_that_bends_a_normal_is_found_and_no_other(term: tuple[int, int, int]) -> None:
    noise = fixed_noise(4096, 3, seed=2)
    i, j, k = term
    x = noise.clone().requires_grad_()
    third = x[:, j] * x[:, k] * x[:, i]  # of the log density, beside the normal's
    (scores,) = torch.autograd.grad(0.1 * third.sum(), x)
    assert terms_of(scores, noise).tolist() == [[i, j, k]]


def test_skew_of_an_entry_by_itself_is_no_term_and_noise_is_none() -> None:
    noise = fixed_noise(1024, 3, seed=2)
    assert len(terms_of(0.3 * (noise.square() - 1), noise)) == 0
    assert len(terms_of(torch.zeros_like(noise), noise)) == 0
