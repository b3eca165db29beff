"""What is true of every guide family: above all, that it runs under plain Pyro."""

from dataclasses import replace
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoNormal, init_to_mean, init_to_value
from torch import Tensor
from torch.distributions import (
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
)

import pyrovi as vi
from pyrovi import guides
from pyrovi.approximations import GuideDraws
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.errors import GuideError
from pyrovi.seeds import isolated
from pyrovi.tree import INDEPENDENT, POINTS

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


def layers(y: Tensor) -> None:
    """With a matrix, whose columns can be dropped."""
    loc = pyro.sample("loc", dist.Normal(0.0, 5.0))
    weight = pyro.sample("weight", dist.Normal(torch.zeros(2, 4), 1.0).to_event(2))
    with pyro.plate("school", len(y)):
        pyro.sample("y", dist.Normal(loc + weight.sum((-1, -2)), 10.0), obs=y)


def made(family: guides.Family, own: Any = schools, **options: Any) -> GuideDraws:
    density = LogDensity(bind_model(own, bind(own, {"y": Y})))
    model = density.model
    with model.running(), isolated(1):
        guide = family(model.handled(), **options)
        guide(*model.args, **model.kwargs)
    return GuideDraws(density, guide, family)


@pytest.mark.parametrize("family", guides.FAMILIES.values(), ids=guides.FAMILIES)
def test_what_a_family_declares_of_its_draws_is_so(family: guides.Family) -> None:
    found = made(family, layers)
    drawn = found.draw(40, seed=0)
    assert (drawn.log_guide is not None) == family.density == found.has_density
    assert (len(torch.unique(drawn.flat, dim=0)) == 1) == family.point
    assert found.draw_kind == (POINTS if family.point else INDEPENDENT)
    assert (drawn.by_site is not None) == family.factorises
    if drawn.by_site is not None:
        whole = torch.stack([drawn.by_site[piece.site] for piece in found.density.pieces]).sum(0)
        torch.testing.assert_close(whole, drawn.log_guide)


@pytest.mark.parametrize("family", guides.FAMILIES.values(), ids=guides.FAMILIES)
def test_what_a_family_declares_of_its_flat_distribution_is_so(family: guides.Family) -> None:
    """A Gaussian can be held fixed, without which its gradient is never free of noise."""
    found = made(family)
    flat = None if family.flat is None else family.flat(found.guide)
    base = flat.base_dist if isinstance(flat, Independent) else flat
    normal = isinstance(base, Normal | MultivariateNormal | LowRankMultivariateNormal)
    assert family.gaussian == normal
    assert family.factorises == isinstance(base, Normal)
    if flat is not None and normal:
        held, rows = guides.detached(flat), found.draw(3, seed=0).flat.to(flat.mean.dtype)
        torch.testing.assert_close(held.log_prob(rows), flat.log_prob(rows))
        assert flat.log_prob(rows).requires_grad
        assert not held.log_prob(rows).requires_grad


@pytest.mark.parametrize("family", guides.FAMILIES.values(), ids=guides.FAMILIES)
def test_a_family_takes_a_start_where_it_says_so(family: guides.Family) -> None:
    at = init_to_value(values={"loc": torch.tensor(40.0).double()}, fallback=init_to_mean)
    if not family.takes_start:
        with pytest.warns(FutureWarning, match="init_loc_fn"):
            made(family, init_loc_fn=at)
        return
    drawn = made(family, init_loc_fn=at).draw(50, seed=0).flat[:, 0]
    assert float(drawn.median()) == pytest.approx(40.0, abs=1.0)


def test_an_engine_reads_of_a_family_of_ones_own_what_it_declares() -> None:
    own = guides.Family(
        "own", AutoNormal, guides.mean_field.flat, gaussian=True, joint=False, step_size=0.02
    )
    assert vi.SVI(guide=own).first_step_size == 0.02
    assert vi.SVI(guide=own, step_size=0.3).first_step_size == 0.3
    assert vi.SVI(guide="nsf").first_step_size == guides.nsf.step_size < 0.01
    ours, theirs = (
        vi.fit(schools, {"y": Y}, vi.SVI(guide=each, max_steps=20), seed=0)
        for each in (replace(own, step_size=guides.mean_field.step_size), "mean_field")
    )
    assert ours.loss.tolist() == theirs.loss.tolist()


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


def test_a_turn_stretches_a_flows_density_by_its_determinant() -> None:
    guide: Any = guides.maf(schools, turned=True)
    guide(Y)
    plain, turn = guide.get_posterior(), torch.eye(10) + torch.ones(10, 10).tril() / 5
    value = plain.rsample(torch.Size((5,))).detach()
    expected = plain.log_prob(value.clone()) - turn.diagonal().log().sum()
    guide.turn.copy_(turn)
    there = guide.loc + (value - guide.loc) @ turn.T
    torch.testing.assert_close(guide.get_posterior().log_prob(there), expected, rtol=0, atol=0.01)


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
