"""Claims: linear response is exact on Gaussians, and the optimum's error bars cover."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch import Tensor

import pyrovi as vi
from infer.conjugate import Conjugate, model
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.infer.engines.dadvi import gain_of_a_turn
from pyrovi.optimise.fixed_draws import FixedDraws, fixed_noise
from pyrovi.optimise.quasi_newton import QuasiNewton

EXACT = Conjugate()


def test_linear_response_recovers_the_covariance_that_mean_field_leaves_out() -> None:
    fit = vi.fit(model, EXACT.data, vi.DADVI(linear_response=True, tolerance=1e-10), seed=0)
    (found,) = fit.approximations()
    covariance = found.scale_tril @ found.scale_tril.T
    torch.testing.assert_close(covariance, EXACT.cov, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.loc, EXACT.mean, rtol=1e-6, atol=1e-6)


def test_linear_response_of_chosen_quantities_is_the_same_without_the_dense_matrix() -> None:
    fit = vi.fit(model, EXACT.data, vi.DADVI(tolerance=1e-10), seed=0)
    found = vi.linear_response(fit, of=["coefficient[1]", "coefficient[3]"])
    exact = EXACT.cov[[1, 3]][:, [1, 3]]
    torch.testing.assert_close(
        torch.as_tensor(found["covariance"].values), exact, rtol=1e-6, atol=1e-6
    )
    conditional = EXACT.precision.diagonal().rsqrt()[[1, 3]]
    torch.testing.assert_close(
        torch.as_tensor(found["gaussian_sd"].values), conditional, rtol=1e-4, atol=1e-4
    )


def test_linear_response_in_a_turned_space_is_that_of_the_flat_space() -> None:
    fit = vi.fit(model, EXACT.data, vi.DADVI(whiten=True), seed=0)
    sd = torch.as_tensor(vi.linear_response(fit)["sd"].values)
    torch.testing.assert_close(sd, EXACT.sd, rtol=1e-6, atol=1e-6)


def test_linear_response_of_a_full_rank_guide_is_that_of_dadvi() -> None:
    fit = vi.fit(model, EXACT.data, vi.SVI(guide="full_rank"), seed=0)
    of = ["coefficient[1]", "coefficient[3]"]
    one = vi.linear_response(fit, of)
    other = vi.linear_response(vi.fit(model, EXACT.data, vi.DADVI(), seed=0), of)
    # The curvature of the log density is the same everywhere, so that no optimum is missed by it.
    np.testing.assert_allclose(one["covariance"], other["covariance"], rtol=1e-4, atol=1e-5)
    drawn = fit.draw(4000)[0].flat.std(0)[[1, 3]]
    np.testing.assert_allclose(one["gaussian_sd"], drawn, rtol=5 / 8000**0.5)


def test_products_with_the_second_derivatives_are_those_of_the_dense_matrix() -> None:
    def bent() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(x, (0.3 * x).exp()))
        pyro.sample("z", dist.Gamma(2.0, 1.0))

    density = LogDensity(bind_model(bent, bind(bent, {})))
    generator = torch.Generator().manual_seed(3)
    turn = torch.eye(3).double() + 0.3 * torch.ones(3, 3).double().tril(-1)
    problem = FixedDraws(density, fixed_noise(16, 3, 0), turn=turn, centre=torch.ones(3).double())
    at = 0.3 * torch.randn(6, generator=generator, dtype=torch.float64)
    dense = problem.hessian(at)
    columns = torch.stack([problem.hessian_product(at, row) for row in torch.eye(6).double()])
    torch.testing.assert_close(columns, dense)
    # And both are the derivative of the gradient.
    step = 1e-5
    for index in range(6):
        there, back = at.clone(), at.clone()
        there[index] += step
        back[index] -= step
        slope = (problem.evaluate(there)[1] - problem.evaluate(back)[1]) / (2 * step)
        torch.testing.assert_close(slope, dense[index], rtol=1e-5, atol=1e-6)


def test_the_average_curvature_by_gradients_is_exact_on_a_gaussian() -> None:
    """In units of the scales, off the diagonal too: no draw's error is left."""
    density = LogDensity(bind_model(model, bind(model, EXACT.data)))
    dim = density.dim
    problem = FixedDraws(density, fixed_noise(64, dim, 0), centre=EXACT.mean)
    scale = torch.linspace(0.1, 0.7, dim, dtype=torch.float64)
    found = problem.average_curvature(torch.cat([torch.zeros(dim).double(), scale.log()]), 0)
    torch.testing.assert_close(found, scale[:, None] * EXACT.precision * scale)


def test_what_is_error_in_an_average_curvature_turns_nothing() -> None:
    """Independent heavy tails: every entry off the diagonal is an error of the draws."""

    def independent() -> None:
        pyro.sample("x", dist.StudentT(3.0, torch.zeros(20)).to_event(1))

    density = LogDensity(bind_model(independent, bind(independent, {})))
    problem = FixedDraws(density, fixed_noise(64, 20, 0))
    parameters = torch.zeros(40, dtype=torch.float64)
    loc, log_scale = parameters.chunk(2)
    raw_noise = fixed_noise(320, 20, 1)
    gradient = density.value_and_gradient(loc + log_scale.exp() * raw_noise)[1]
    raw = -gradient.T @ raw_noise / len(raw_noise)
    found = problem.average_curvature(parameters, 0)
    assert (raw - torch.diag(raw.diagonal())).abs().max() > 0.03
    assert (found - torch.diag(found.diagonal())).abs().max() < 0.01


def test_the_gain_of_a_turn_is_the_gap_of_mean_field_on_a_gaussian() -> None:
    gap = gain_of_a_turn(EXACT.precision)
    exact = 0.5 * (EXACT.precision.diagonal().log().sum() - torch.logdet(EXACT.precision))
    assert gap == pytest.approx(float(exact), rel=1e-10)
    assert gain_of_a_turn(torch.tensor([[1.0, 2.0], [2.0, 1.0]]).double()) == float("inf")


def test_mean_field_of_many_dimensions_has_no_error_of_its_draws_on_a_gaussian() -> None:
    """Its scales are the conditional sds; with 512 draws they were 7 % off in 300 dimensions."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(600, 300, generator=generator, dtype=torch.float64)
    precision = rows.T @ rows / 600 + torch.eye(300)

    def correlated() -> None:
        zero = torch.zeros(300, dtype=torch.float64)
        pyro.sample("x", dist.MultivariateNormal(zero, precision_matrix=precision))

    fit = vi.fit(correlated, {}, vi.DADVI(), seed=0)
    (found,) = fit.approximations()
    torch.testing.assert_close(found.scale, precision.diagonal().rsqrt(), rtol=1e-3, atol=0.0)


def test_mean_field_is_sought_from_the_best_of_several_modes() -> None:
    """Two humps of unequal weight, the lesser one next to the start."""

    def humps() -> None:
        x = pyro.sample("x", dist.Normal(torch.zeros(2), 20.0).to_event(1))
        low = dist.Normal(-4.0, 0.5).log_prob(x).sum() - 20.0
        high = dist.Normal(4.0, 0.5).log_prob(x).sum()
        pyro.factor("two", torch.logaddexp(low, high))

    for seed in range(5):
        (found,) = vi.fit(humps, {}, vi.DADVI(), seed=seed).approximations()
        assert (found.loc - 4.0).abs().max() < 0.1


def poisson(y: Tensor) -> None:
    rate = pyro.sample("log_rate", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Poisson((rate[0] + rate[1]).exp() / 2), obs=y)


@pytest.mark.parametrize("particles", [32, 64])
def test_the_error_bars_of_the_optimum_cover_as_they_say(particles: int) -> None:
    """Nominal 90 % intervals about the optimum, over 300 sets of independent draws."""
    density = LogDensity(bind_model(poisson, bind(poisson, {"y": torch.tensor([2.0, 4.0, 1.0])})))
    start = torch.tensor([0.5, 0.5, -1.0, -1.0], dtype=torch.float64)

    def optimum(problem: FixedDraws) -> Tensor:
        search = QuasiNewton(problem.evaluate, start)
        for _ in range(60):
            search.step()
            if search.stuck or float(search.gradient.abs().max()) < 1e-7:
                break
        return search.point

    truth = optimum(FixedDraws(density, fixed_noise(16384, 2, 5)))[:2]
    covered, tries, reach = 0, 300, stats.norm.ppf(0.95)
    for seed in range(tries):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(particles, 2, generator=generator, dtype=torch.float64)
        problem = FixedDraws(density, noise, paired=False)
        found = optimum(problem)
        error = problem.linear_response(found)[1]
        covered += int(((found[:2] - truth).abs() < reach * error).sum())
    assert 0.85 <= covered / (2 * tries) <= 0.95


def test_draws_are_doubled_until_others_would_change_little() -> None:
    def skewed() -> None:
        x = pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.factor("tail", -(1.5 * x).exp().sum())

    loose = vi.fit(skewed, {}, vi.DADVI(error=10.0, matched=False), seed=0)
    tight = vi.fit(skewed, {}, vi.DADVI(error=0.02, matched=False), seed=0)
    assert tight.density.evaluations > 4 * loose.density.evaluations
    exact = vi.fit(skewed, {}, vi.DADVI(particles=4096), seed=0).approximations()[0]
    far = [
        float(((fit.approximations()[0].loc - exact.loc) / exact.scale).abs().max())
        for fit in (tight, loose)
    ]
    assert far[0] < 0.08
    assert far[0] < far[1]


def test_full_rank_with_too_few_draws_is_refused() -> None:
    with pytest.raises(vi.errors.EngineError, match=r"5 dimensions and particles=4 came"):
        vi.fit(model, EXACT.data, vi.DADVI(whiten=True, particles=4), seed=0)


def test_a_dense_covariance_of_thousands_of_dimensions_is_refused() -> None:
    def wide() -> None:
        pyro.sample("x", dist.Normal(torch.zeros(2001), 1.0).to_event(1))

    with pytest.raises(vi.errors.EngineError, match="linear_response"):
        vi.fit(wide, {}, vi.DADVI(linear_response=True), seed=0)


@pytest.mark.parametrize(
    ("of", "says"),
    [(["coeficient"], "no quantity 'coeficient'"), (["coefficient[9]"], "no quantity")],
)
def test_an_unknown_quantity_is_one_clear_line(of: list[str], says: str) -> None:
    fit = vi.fit(model, EXACT.data, vi.DADVI(), seed=0)
    with pytest.raises(vi.errors.EngineError, match=says):
        vi.linear_response(fit, of=of)


def test_linear_response_needs_a_gaussian() -> None:
    fit = vi.fit(model, EXACT.data, vi.SVI(guide="maf", max_steps=10), seed=0)
    with pytest.raises(vi.errors.EngineError, match="needs a Gaussian fit"):
        vi.linear_response(fit)


def test_a_valley_ten_thousand_times_as_long_as_wide_is_followed_to_its_end() -> None:
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(20, 20, generator=generator, dtype=torch.float64))[0]
    covariance = turn @ torch.diag(torch.logspace(0, -8, 20, dtype=torch.float64)) @ turn.T
    mean = torch.randn(20, generator=generator, dtype=torch.float64)
    factor = torch.linalg.cholesky(covariance)

    def narrow() -> None:
        pyro.sample("x", dist.MultivariateNormal(mean, scale_tril=factor))

    fit = vi.fit(narrow, {}, vi.DADVI(), seed=0)
    assert fit.status is vi.Status.CONVERGED
    (found,) = fit.approximations()
    assert float(((found.loc - mean) / covariance.diagonal().sqrt()).abs().max()) < 1e-3
    conditional = torch.linalg.inv(covariance).diagonal().rsqrt()
    torch.testing.assert_close(found.scale, conditional, rtol=1e-3, atol=0.0)
