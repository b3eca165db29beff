"""Claims: searches meet the modes there are, say how often, and see what an answer leaves out."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import config_enumerate
from torch import Tensor

import pyrovi as vi
from pyrovi.approximations import Gaussian, Rest, Split
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.evidence import limits
from pyrovi.optimise import mark_held, split_of, survey_modes, survey_rest
from pyrovi.optimise.survey import FIRST_SEARCHES
from pyrovi.tree import UP_TO_LABELS


def bound_to(model, data=None):
    return LogDensity(bind_model(model, bind(model, data or {})))


def humps():
    """Normals at (-6, 0) and (6, 3), the first three times as heavy, and wider."""
    prior = dist.Normal(torch.zeros(2), 5.0).to_event(1)
    x = pyro.sample("x", prior)
    pyro.factor("no prior", -prior.log_prob(x))
    first = dist.Normal(torch.tensor([-6.0, 0.0]), torch.tensor([2.0, 1.0])).to_event(1)
    second = dist.Normal(torch.tensor([6.0, 3.0]), 0.5).to_event(1)
    both = torch.stack([first.log_prob(x) + math.log(3.0), second.log_prob(x)])
    pyro.factor("humps", both.logsumexp(0))


def test_modes_their_shares_and_how_often_each_was_met():
    modes, survey = survey_modes(bound_to(humps), seed=0)
    assert len(modes) == 2
    assert np.abs(survey.shares - [0.75, 0.25]).max() < 0.01
    assert np.abs(survey.places[0] - [[-6.0, 0.0], [6.0, 3.0]]).max() < 0.02
    assert np.abs(survey.places[1] - [[2.0, 1.0], [0.5, 0.5]]).max() < 0.02
    assert sum(survey.found) == survey.searches >= FIRST_SEARCHES // 2
    assert survey.once == 0.0


def test_what_was_known_counts_once_and_is_not_met_as_another():
    density = bound_to(humps)
    modes, _ = survey_modes(density, seed=0)
    _, again = survey_modes(density, seed=0, known=modes)
    assert len(again.found) == 2
    assert min(again.found) >= 2
    assert again.searches == sum(again.found)


def test_searches_that_stay_far_below_what_is_known_are_counted_and_no_modes(monkeypatch):
    def far_below():
        """A narrow normal that no start comes near, 200 nats above a wide one at the origin."""
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        narrow = dist.Normal(60.0, 0.01).log_prob(x) + 200.0
        wide = dist.Normal(0.0, 1.0).log_prob(x)
        pyro.factor("both", torch.logaddexp(narrow, wide) - wide)

    monkeypatch.setattr("pyrovi.optimise.survey.PATIENCE", 0)
    density = bound_to(far_below)
    place, width = (
        torch.full(shape, value).double() for shape, value in (((1,), 60.0), ((1, 1), 0.01))
    )
    modes, survey = survey_modes(density, seed=0, known=[Gaussian(density, place, width)])
    assert len(modes) == 1
    assert survey.found == (1,)
    assert survey.searches > FIRST_SEARCHES
    assert survey.unseen == 1 / survey.searches


def test_draws_in_one_mode_hold_one():
    modes, survey = survey_modes(bound_to(humps), seed=0)
    normal = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)).double()
    first = modes[0].loc + normal * modes[0].scale
    one = mark_held(survey, modes, first)
    assert one.held == (True, False)
    assert one.misses
    assert one.missed == pytest.approx(0.25, abs=0.01)
    both = torch.cat([first[:300], modes[1].loc + normal[:100] * modes[1].scale])
    assert mark_held(survey, modes, both).held == (True, True)


def test_too_few_draws_do_not_tell_of_a_rare_mode():
    modes, survey = survey_modes(bound_to(humps), seed=0)
    few = modes[0].loc.expand(int(limits.RARE_DRAWS), -1)
    assert mark_held(survey, modes, few).held == (True, False)
    assert mark_held(survey, modes, few, begun=2).held == (True, True)


def line_of_clusters(y: Tensor) -> None:
    """Five Gaussians on a line, in order: many places where two share a cluster are modes."""
    first = pyro.sample("first", dist.Normal(0.0, 10.0))
    gap = pyro.sample("gap", dist.HalfNormal(5.0 * torch.ones(4)).to_event(1))
    scale = pyro.sample("scale", dist.HalfNormal(2.0 * torch.ones(5)).to_event(1))
    logit = pyro.sample("logit", dist.Normal(torch.zeros(5), 1.0).to_event(1))
    loc = torch.cat([first[None], first + gap.cumsum(-1)])
    with pyro.plate("point", len(y)):
        weight = dist.Categorical(logits=logit)
        pyro.sample("y", dist.MixtureSameFamily(weight, dist.Normal(loc, scale)), obs=y)


def test_of_many_modes_the_best_is_met_although_few_searches_are_affordable():
    rng = np.random.default_rng(5)
    centres = np.array([-6.0, -2.5, 0.0, 3.0, 7.0])
    which = rng.choice(5, 1000, p=[0.1, 0.3, 0.2, 0.25, 0.15])
    density = bound_to(line_of_clusters, {"y": torch.tensor(rng.normal(centres[which], 0.7))})
    modes, _ = survey_modes(density, seed=0)
    best = density.constrain(modes[0].loc[None])
    loc = best["first"] + torch.cat([torch.zeros(1, 1), best["gap"].cumsum(-1)], -1)
    assert np.allclose(loc[0].numpy(), centres, atol=0.3)


def labelled() -> None:
    """The humps by a discrete site that says which of them it is, 0.97 and 0.03."""
    which = pyro.sample("which", dist.Categorical(torch.tensor([0.97, 0.03])))
    x = pyro.sample("x", dist.Normal(torch.zeros(2), 5.0).to_event(1))
    loc = torch.tensor([[-6.0, 0.0], [6.0, 3.0]])[which]
    pyro.sample("y", dist.Normal(loc, 1.0).to_event(1), obs=x)


def test_too_few_climbs_do_not_tell_of_a_rare_mode_where_labels_may_be_exchanged():
    """Of sixteen draws of 0.97 in one and 0.03 in the other, six times in ten none is there."""
    modes, survey = survey_modes(bound_to(config_enumerate(labelled)), seed=0)
    first = modes[0].loc.expand(100, -1)
    assert 0.01 < survey.shares[1] < 0.1
    assert mark_held(survey, modes, first, begun=2).held == (True, True)
    assert mark_held(survey, modes, first, begun=1).held == (True, False)


def sine(t: Tensor, y: Tensor) -> None:
    """Of unknown period: tens of modes, of which one or a few count."""
    period = pyro.sample("log_period", dist.Uniform(math.log(2.0), math.log(30.0)))
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    b = pyro.sample("b", dist.Normal(0.0, 2.0))
    phase = 2 * math.pi * t / period.exp()
    with pyro.plate("row", len(t)):
        pyro.sample("y", dist.Normal(a * phase.sin() + b * phase.cos(), 1.0), obs=y)


def sine_data(seed: int) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 60, 25))
    y = 2 * np.sin(2 * np.pi * t / 3.1 + 0.7) + rng.normal(size=25)
    return {"t": torch.as_tensor(t), "y": torch.as_tensor(y)}


def sine_by_grid(data: dict[str, Tensor]) -> tuple[float, float]:
    """The mean and the sd of the log period: the amplitudes are integrated out exactly."""
    t, y = data["t"].numpy(), data["y"].numpy()
    grid = np.linspace(math.log(2.0), math.log(30.0), 20_001)
    phase = 2 * np.pi * t / np.exp(grid)[:, None]
    columns = np.stack([np.sin(phase), np.cos(phase)], -1)
    inner = columns.mT @ columns + np.eye(2) / 4
    seen = columns.mT @ y
    log_prob = 0.5 * np.einsum("gi,gij,gj->g", seen, np.linalg.inv(inner), seen)
    log_prob -= 0.5 * np.linalg.slogdet(inner)[1]
    weight = np.exp(log_prob - log_prob.max())
    weight /= weight.sum()
    mean = weight @ grid
    return float(mean), float(np.sqrt(weight @ (grid - mean) ** 2))


@pytest.mark.parametrize("seed", [1, 2, 3, 5])
def test_a_sine_of_unknown_period_is_right_or_said_to_be_wrong(seed: int) -> None:
    data = sine_data(seed)
    mean, sd = sine_by_grid(data)
    tree = vi.draw(vi.fit(sine, data, seed=0), draws=2000)
    found = tree["posterior"]["log_period"]
    right = abs(float(found.mean()) - mean) < 0.2 * sd and 0.8 < float(found.std()) / sd < 1.25
    assert abs(float(found.median()) - math.log(3.1)) < 0.1  # the mode with nearly all of it
    verdict = vi.verdict(tree)
    assert right or verdict.fit_status != "ok"
    assert verdict.fit_status == "ok" or seed == 3  # where two modes of 0.0005 make the sd


def squares(y: Tensor) -> None:
    """The sign of what was squared is anyone's guess: two modes for each unit, given the scale."""
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    with pyro.plate("unit", len(y)):
        a = pyro.sample("a", dist.Normal(0.0, tau))
        pyro.sample("y", dist.Normal(a**2, 0.4), obs=y)


def groups(y: Tensor) -> None:
    """Counts in groups, of which each has one mode given the scale."""
    mu, tau = pyro.sample("mu", dist.Normal(0.0, 2.0)), pyro.sample("tau", dist.HalfNormal(1.0))
    with pyro.plate("group", len(y)):
        rate = pyro.sample("rate", dist.Normal(mu, tau)).exp()
        pyro.sample("y", dist.Poisson(rate), obs=y)


SQUARES = torch.linspace(1.5, 4.0, 14)
COUNTS = torch.tensor([0.0, 3, 1, 7, 2, 2, 4, 1, 0, 5, 3, 9, 2, 1])


@pytest.mark.parametrize(
    ("model", "data", "several"), [(squares, SQUARES, 1), (groups, COUNTS, 0)]
)
def test_the_rest_has_other_modes_or_has_not(model, data: Tensor, several: int) -> None:
    density = bound_to(model, {"y": data})
    split = split_of(density, density.start(0), 0)
    assert split is not None
    rest = Rest(density, split)
    few = torch.zeros(16, len(split.few), dtype=torch.float64)
    given = rest.given(few, torch.full((16, len(split.rest)), 1.0, dtype=torch.float64))
    survey = survey_rest(rest, few, given, seed=0)
    assert survey is not None
    assert survey.misses == bool(several)
    assert len(survey.found) == 1 + several
    if several:  # a unit's mode and its mirror image are alike
        assert survey.missed == pytest.approx(0.5, abs=0.01)


def test_a_rest_that_is_one_border_is_surveyed_too() -> None:
    density = bound_to(groups, {"y": COUNTS})
    border = torch.arange(2, density.dim)
    rest = Rest(density, Split(torch.arange(2), border, torch.zeros(0, 0, dtype=torch.long)))
    few = torch.zeros(16, 2, dtype=torch.float64)
    given = rest.given(few, torch.ones(16, len(border), dtype=torch.float64))
    survey = survey_rest(rest, few, given, seed=0)
    assert survey is not None
    assert len(survey.found) == 1


def test_modes_without_number_are_said_to_be() -> None:
    fit = vi.fit(squares, {"y": SQUARES}, seed=0)
    verdict = vi.verdict(vi.draw(fit, draws=500))
    assert verdict.fit_status == "fail"
    rows = verdict.table.query("check == 'modes'").set_index("quantity")
    assert rows.loc["modes held", "status"] == "fail"


def test_labels_that_may_be_exchanged_make_one_mode_of_many() -> None:
    def mixture(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(torch.zeros(3), 5.0).to_event(1))
        with pyro.plate("row", len(y)):
            k = pyro.sample("k", dist.Categorical(torch.ones(3)), infer={"enumerate": "parallel"})
            pyro.sample("y", dist.Normal(loc[k], 0.5), obs=y)

    y = torch.cat([torch.linspace(c - 0.5, c + 0.5, 8) for c in (-4.0, 0.0, 5.0)])
    found = survey_modes(bound_to(mixture, {"y": y}), seed=0)
    assert found is not None
    assert found[1].shares[0] > 0.99
    assert found[1].once < 0.01
    assert found[1].of == UP_TO_LABELS


def test_draws_from_the_prior_are_flat_vectors_of_it() -> None:
    def model() -> None:
        pyro.sample("scale", dist.LogNormal(1.0, 0.5))
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=torch.tensor(0.0))

    drawn = bound_to(model).prior_draws(400, seed=0)
    assert drawn.shape == (400, 1)
    assert abs(float(drawn.mean()) - 1.0) < 4 * 0.5 / 20
    assert abs(float(drawn.std()) / 0.5 - 1) < 0.15


def test_gaussians_are_those_of_the_modes() -> None:
    modes, _ = survey_modes(bound_to(humps), seed=1)
    assert all(isinstance(mode, Gaussian) for mode in modes)
    covariance = modes[1].scale_tril @ modes[1].scale_tril.T
    assert torch.allclose(covariance, 0.25 * torch.eye(2, dtype=torch.float64), atol=0.01)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_mixture_whose_first_search_ends_in_a_bad_place_is_right(seed: int) -> None:
    """From one of these starts the best of 32 scouts is 109 nats lower, two groups as one."""
    entry = vi.models.get("gaussian_mixture:unit")
    fit = vi.fit(entry.model, entry.simulate(seed=3), seed=seed)
    assert fit.best.bound is not None
    assert fit.best.bound.value > -2170
    assert fit.best.survey is not None
    assert not fit.best.survey.misses


def test_the_evidence_of_a_mode_is_not_taken_from_its_curvature_alone() -> None:
    """A hump with a flat top, seventh powers: by its curvature it would hold nearly everything."""

    def model() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 10.0))
        flat = -(((x - 8.0) / 2.0) ** 8) - 1e-8 * (x - 8.0) ** 2 - math.log(3.77)
        peak = dist.Normal(-8.0, 1.0).log_prob(x)
        pyro.factor("no prior", -dist.Normal(0.0, 10.0).log_prob(x))
        pyro.factor("humps", torch.stack([flat, peak]).logsumexp(0))

    found = survey_modes(bound_to(model), seed=0)
    assert found is not None
    peak = [i for i, mode in enumerate(found[0]) if float(mode.loc) < 0]
    assert len(peak) == 1
    assert found[1].shares[peak[0]] > 0.3
