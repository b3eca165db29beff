"""What is true of every guide family: above all, that it runs under plain Pyro."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import init_to_mean, init_to_value
from torch import Tensor

import pyrovi as vi
from pyrovi import guides
from pyrovi.errors import GuideError

Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])


def schools(y: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 5.0))
    spread = pyro.sample("spread", dist.LogNormal(1.0, 0.5))
    with pyro.plate("school", len(y)):
        effect = pyro.sample("effect", dist.Normal(loc, spread))
        pyro.sample("y", dist.Normal(effect, 10.0), obs=y)


def mixture(y: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(torch.tensor([-10.0, 20.0]), 5.0).to_event(1))
    with pyro.plate("row", len(y)):
        kind = pyro.sample("kind", dist.Categorical(torch.ones(2)))
        pyro.sample("y", dist.Normal(loc[..., kind], 5.0), obs=y)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


@pytest.mark.parametrize("family", guides.FAMILIES.values(), ids=guides.FAMILIES)
def test_a_family_learns_under_plain_pyro_svi(family: guides.Family) -> None:
    guide = family(schools)
    elbo = Trace_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    svi = SVI(schools, guide, pyro.optim.Adam({"lr": 0.02}), elbo)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue, reportCallIssue]
    losses = [svi.step(Y) for _ in range(150)]
    assert all(map(torch.isfinite, map(torch.tensor, losses)))
    assert sum(losses[-30:]) < sum(losses[:30])
    drawn = Predictive(schools, guide=guide, num_samples=5)(Y)
    assert drawn["effect"].shape == (5, 8)


@pytest.mark.parametrize("family", guides.FAMILIES.values(), ids=guides.FAMILIES)
def test_a_family_leaves_discrete_sites_to_enumeration(family: guides.Family) -> None:
    guide = family(mixture)
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    model = pyro.infer.config_enumerate(mixture)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), elbo)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue, reportCallIssue]
    losses = [svi.step(Y) for _ in range(10)]
    assert all(map(torch.isfinite, map(torch.tensor, losses)))
    assert "kind" not in pyro.poutine.trace(guide).get_trace(Y).nodes


@pytest.mark.parametrize("name", ["maf", "nsf", "realnvp"])
def test_a_flows_log_density_is_that_of_its_draws(name: str) -> None:
    """Going back through the flow gives the density that was kept on the way."""
    guide = guides.FAMILIES[name](schools)
    guide(Y)
    posterior = guide.get_posterior()  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue, reportCallIssue]
    drawn = posterior.rsample(torch.Size((7,)))
    kept, recomputed = posterior.log_prob(drawn), posterior.log_prob(drawn.clone())
    torch.testing.assert_close(kept, recomputed, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["maf", "nsf", "realnvp"])
def test_a_flow_starts_as_a_narrow_gaussian_at_the_initial_values(name: str) -> None:
    start = {"loc": torch.tensor(3.0), "spread": torch.tensor(2.0), "effect": Y}
    init = pyro.infer.autoguide.init_to_value(values=start)
    guide = guides.FAMILIES[name](schools, init_loc_fn=init)
    guide(Y)
    drawn = guide.get_posterior().rsample(torch.Size((4000,)))  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue, reportCallIssue]
    expected = torch.cat([torch.tensor([3.0, 2.0]).double().float(), Y])
    expected[1] = expected[1].log()
    torch.testing.assert_close(drawn.mean(0), expected, atol=0.02, rtol=0.0)
    torch.testing.assert_close(drawn.std(0), torch.full((10,), 0.1), atol=0.02, rtol=0.0)


def test_importing_zuko_leaves_validation_as_it_was() -> None:
    guides.maf(schools)(Y)
    with pytest.raises(ValueError, match="constraint"):
        torch.distributions.Normal(0.0, -1.0)


def test_an_option_that_a_family_does_not_take_is_named() -> None:
    with pytest.raises(GuideError, match=r"'low_rank'.*colour"):
        guides.low_rank(schools, colour="blue")


def test_options_make_another_family_of_the_same_name() -> None:
    guide = guides.low_rank.with_options(rank=2)(schools)
    guide(Y)
    assert guide.cov_factor.shape == (10, 2)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue, reportCallIssue]


def test_a_start_among_a_family_s_options_is_where_an_engine_starts_it() -> None:
    at = init_to_value(values={"loc": torch.tensor(3.25)}, fallback=init_to_mean)
    family = guides.full_rank.with_options(init_loc_fn=at)
    fit = vi.fit(schools, {"y": Y}, vi.SVI(guide=family, max_steps=1, step_size=1e-9), seed=0)
    (found,) = fit.approximations()
    assert found.guide.loc[0].item() == pytest.approx(3.25)  # pyright: ignore[reportAttributeAccessIssue]
