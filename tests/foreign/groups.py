"""Groups, items and contests: hierarchies as tutorials, BUGS examples and forums write them."""

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.reparam import LocScaleReparam
from scipy import special
from torch import Tensor

from foreign.record import Collection, noise, numbers
from foreign.truths import Draws, Moments, beta, gamma, gaussian, on_grid

__all__ = ["GROUPS"]

GROUPS = Collection()
TUTORIAL, FORUM, BUGS = "tutorial/source/", "forum.pyro.ai: ", "BUGS examples: "
GROUP = torch.arange(6).repeat_interleave(4)
_RNG = np.random.default_rng(30)
OF_GROUP = numbers(_RNG.normal(size=6))
LEVELS = OF_GROUP[GROUP] + noise(24, seed=31)
COVARIATE = noise(24, seed=32)
SLOPED = LEVELS + 0.8 * COVARIATE


def only(*sites: str) -> Any:
    """Some of the sites: the rest follow from them or are many."""

    def compared(draws: Draws) -> Draws:
        return {site: draws[site] for site in sites}

    return compared


# --- intercepts -------------------------------------------------------------------------------


@GROUPS.add(FORUM + "random intercepts, centred", LEVELS, GROUP)
def centred(y: Tensor, group: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    with pyro.plate("group", 6):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(theta[group], 1.0), obs=y)


@GROUPS.add(FORUM + "random intercepts, non-centred", LEVELS, GROUP)
def non_centred(y: Tensor, group: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    tau = pyro.sample("tau", dist.HalfCauchy(1.0))
    sigma = pyro.sample("sigma", dist.HalfCauchy(1.0))
    with pyro.plate("group", 6):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
    theta = pyro.deterministic("theta", mu + tau * z)
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(theta[group], sigma), obs=y)


@GROUPS.add(
    "tests/infer/reparam/test_loc_scale.py: poutine.reparam with a config",
    LEVELS,
    GROUP,
    name="reparametrised",
    compared=only("mu", "tau"),
)
def _reparametrised(y: Tensor, group: Tensor) -> None:
    with poutine.reparam(config={"theta": LocScaleReparam(centered=0.0)}):
        centred(y, group)


def _known_scales() -> Moments:
    """mu ~ N(0, 4), six theta ~ N(mu, 0.64), four data each ~ N(theta, 1)."""
    precision = np.diag([0.25 + 6 / 0.64, *[1 / 0.64 + 4.0] * 6])
    precision[0, 1:] = precision[1:, 0] = -1 / 0.64
    sums = LEVELS.reshape(6, 4).sum(1).tolist()
    mean, sd = gaussian(precision, [0.0, *sums])
    names = ("mu", *(f"theta_{g}" for g in range(6)))
    return {name: (m, s) for name, m, s in zip(names, mean, sd, strict=True)}


@GROUPS.add(
    FORUM + "a loop over groups and a plate within", LEVELS.reshape(6, 4), truth=_known_scales
)
def groups_in_a_loop(y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    for g in pyro.plate("groups", 6):
        theta = pyro.sample(f"theta_{g}", dist.Normal(mu, 0.8))
        with pyro.plate(f"within_{g}", 4):
            pyro.sample(f"y_{g}", dist.Normal(theta, 1.0), obs=y[g])


def _stacked() -> Moments:
    known = _known_scales()
    theta = np.array([known[f"theta_{g}"] for g in range(6)]).T
    return {"mu": known["mu"], "theta": (theta[0], theta[1])}


@GROUPS.add(
    TUTORIAL + "tensor_shapes.ipynb: two plates by their dims",
    LEVELS.reshape(6, 4).T.contiguous(),
    truth=_stacked,
)
def groups_in_plates(y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    group = pyro.plate("group", 6, dim=-1)
    within = pyro.plate("within", 4, dim=-2)
    with group:
        theta = pyro.sample("theta", dist.Normal(mu, 0.8))
        with within:
            pyro.sample("y", dist.Normal(theta, 1.0), obs=y)


@GROUPS.add(FORUM + "varying intercepts and slopes with LKJ", SLOPED, COVARIATE, GROUP,
            compared=only("mean", "spread", "effects"))  # fmt: skip
def correlated_effects(y: Tensor, x: Tensor, group: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(torch.zeros(2), 2.0).to_event(1))
    spread = pyro.sample("spread", dist.HalfNormal(torch.ones(2)).to_event(1))
    corr = pyro.sample("corr", dist.LKJCholesky(2, torch.tensor(2.0)))
    factor = spread.unsqueeze(-1) * corr
    with pyro.plate("group", 6):
        effects = pyro.sample("effects", dist.MultivariateNormal(mean, scale_tril=factor))
    of_row = effects[group]
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(of_row[:, 0] + of_row[:, 1] * x, 1.0), obs=y)


ITEM = torch.arange(4).repeat(6)
RATINGS = 3.0 + LEVELS + numbers([0.5, -0.5, 1.0, -1.0])[ITEM]


@GROUPS.add(FORUM + "crossed effects of subject and item", RATINGS, GROUP, ITEM)
def crossed(y: Tensor, subject: Tensor, item: Tensor) -> None:
    intercept = pyro.sample("intercept", dist.Normal(3.0, 2.0))
    of_subject = pyro.sample("of_subject", dist.HalfNormal(1.0))
    of_item = pyro.sample("of_item", dist.HalfNormal(1.0))
    with pyro.plate("subject", 6):
        a = pyro.sample("a", dist.Normal(0.0, of_subject))
    with pyro.plate("item", 4):
        b = pyro.sample("b", dist.Normal(0.0, of_item))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(intercept + a[subject] + b[item], 1.0), obs=y)


@GROUPS.add(FORUM + "pupils in classes in schools", LEVELS.reshape(2, 3, 4))
def nested_groups(y: Tensor) -> None:
    base = pyro.sample("base", dist.Normal(0.0, 2.0))
    with pyro.plate("school", 2, dim=-3):
        school = pyro.sample("school_effect", dist.Normal(base, 0.5))
        with pyro.plate("class", 3, dim=-2):
            room = pyro.sample("class_effect", dist.Normal(school, 0.7))
            with pyro.plate("pupil", 4, dim=-1):
                pyro.sample("y", dist.Normal(room, 1.0), obs=y)


@GROUPS.add(BUGS + "dyes: two components of variance", LEVELS.reshape(6, 4))
def variance_components(y: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
    between = pyro.sample("between", dist.InverseGamma(2.0, 1.0))
    within = pyro.sample("within", dist.InverseGamma(2.0, 1.0))
    with pyro.plate("batch", 6, dim=-2):
        batch = pyro.sample("batch_mean", dist.Normal(mean, between.sqrt()))
        with pyro.plate("sample", 4, dim=-1):
            pyro.sample("y", dist.Normal(batch, within.sqrt()), obs=y)


WEEKS = numbers([-1.0, -0.5, 0.0, 0.5, 1.0])
RATS = 5 + OF_GROUP[:, None] + (2 + 0.3 * OF_GROUP[:, None]) * WEEKS + 0.4 * noise(6, 5, seed=33)


@GROUPS.add(BUGS + "rats: growth curves", RATS, WEEKS)
def growth_curves(y: Tensor, week: Tensor) -> None:
    alpha_mean = pyro.sample("alpha_mean", dist.Normal(0.0, 10.0))
    beta_mean = pyro.sample("beta_mean", dist.Normal(0.0, 10.0))
    alpha_sd = pyro.sample("alpha_sd", dist.HalfNormal(2.0))
    beta_sd = pyro.sample("beta_sd", dist.HalfNormal(2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(2.0))
    with pyro.plate("rat", 6, dim=-2):
        alpha = pyro.sample("alpha", dist.Normal(alpha_mean, alpha_sd))
        beta = pyro.sample("beta", dist.Normal(beta_mean, beta_sd))
        with pyro.plate("week", 5, dim=-1):
            pyro.sample("y", dist.Normal(alpha + beta * week, sigma), obs=y)


# --- counts -----------------------------------------------------------------------------------

FAILURES = numbers([5, 1, 5, 14, 3, 19, 1, 1, 4, 22])
HOURS = numbers([94.3, 15.7, 62.9, 126, 5.24, 31.4, 1.05, 1.05, 2.1, 10.5])


@GROUPS.add(BUGS + "pumps", FAILURES, HOURS)
def pumps(failures: Tensor, hours: Tensor) -> None:
    alpha = pyro.sample("alpha", dist.Exponential(1.0))
    beta = pyro.sample("beta", dist.Gamma(0.1, 1.0))
    with pyro.plate("pump", 10):
        theta = pyro.sample("theta", dist.Gamma(alpha, beta))
        pyro.sample("failures", dist.Poisson(theta * hours), obs=failures)


SEEDS = numbers([10, 23, 23, 26, 17, 5, 53, 55, 32, 46])
SOWN = numbers([39, 62, 81, 51, 39, 6, 74, 72, 51, 79])
CUCUMBER = numbers([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])


@GROUPS.add(BUGS + "seeds: overdispersed binomials", SEEDS, SOWN, CUCUMBER)
def seeds(r: Tensor, n: Tensor, x: Tensor) -> None:
    a0 = pyro.sample("a0", dist.Normal(0.0, 2.0))
    a1 = pyro.sample("a1", dist.Normal(0.0, 2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("plate", len(r)):
        b = pyro.sample("b", dist.Normal(0.0, sigma))
        pyro.sample("r", dist.Binomial(n, logits=a0 + a1 * x + b), obs=r)


SURGERY = numbers([0, 18, 8, 46, 8, 13]), numbers([47, 148, 119, 810, 211, 196])


@GROUPS.add(BUGS + "surgical: hospitals", *SURGERY)
def surgical(deaths: Tensor, operations: Tensor) -> Tensor:
    mu = pyro.sample("mu", dist.Normal(0.0, 3.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("hospital", 6):
        b = pyro.sample("b", dist.Normal(mu, sigma))
        p = pyro.deterministic("p", torch.sigmoid(b))
        pyro.sample("deaths", dist.Binomial(total_count=operations, probs=p), obs=deaths)
    return p


TUMOURS = numbers([0, 0, 1, 2, 2, 5, 4, 9]), numbers([20, 18, 20, 20, 25, 48, 19, 24])


def _tumours() -> Moments:
    y, n = (each.numpy() for each in TUMOURS)

    def log_density(mean: np.ndarray, size: np.ndarray) -> np.ndarray:
        a, b = mean * size, (1 - mean) * size
        total = -size / 10.0
        for of, out in zip(y, n, strict=True):
            total = total + special.betaln(a + of, b + out - of) - special.betaln(a, b)
        return total

    return on_grid(log_density, mean=(0, 1, 500), size=(0, 150, 1500))


@GROUPS.add("textbook: rat tumours by BetaBinomial", *TUMOURS, truth=_tumours)
def tumours(y: Tensor, n: Tensor) -> None:
    mean = pyro.sample("mean", dist.Uniform(0.0, 1.0))
    size = pyro.sample("size", dist.Exponential(0.1))
    with pyro.plate("group", len(y)):
        pyro.sample("y", dist.BetaBinomial(mean * size, (1 - mean) * size, n), obs=y)


@GROUPS.add(FORUM + "overdispersed counts, an effect to each row",
            numbers([0, 3, 1, 9, 2, 0, 4, 1, 14, 2]))  # fmt: skip
def overdispersed_counts(y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("row", len(y)):
        eps = pyro.sample("eps", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Poisson((mu + sigma * eps).exp()), obs=y)


TREATED = numbers([3, 7, 5, 18, 8, 6]), numbers([38, 114, 69, 153, 88, 59])
CONTROL = numbers([3, 14, 11, 27, 6, 3]), numbers([39, 116, 93, 155, 52, 52])


@GROUPS.add(BUGS + "blockers: a meta-analysis of trials", (*TREATED, *CONTROL))
def meta_analysis(trials: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    """Its data are one tuple."""
    treated, n_treated, control, n_control = trials
    d = pyro.sample("d", dist.Normal(0.0, 2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(0.5))
    with pyro.plate("trial", len(treated)):
        mu = pyro.sample("mu", dist.Normal(-2.0, 1.5))
        delta = pyro.sample("delta", dist.Normal(d, sigma))
        pyro.sample("control", dist.Binomial(n_control, logits=mu), obs=control)
        pyro.sample("treated", dist.Binomial(n_treated, logits=mu + delta), obs=treated)


VOTES = numbers([[3, 5, 2], [8, 1, 1], [4, 4, 12], [0, 6, 4]])


def _votes() -> Moments:
    shape = VOTES.numpy() + np.array([1.0, 2.0, 3.0])
    return {"p": beta(shape, shape.sum(1, keepdims=True) - shape)}


@GROUPS.add(TUTORIAL + "compositions: a Dirichlet to a row", VOTES, truth=_votes)
def compositions(votes: Tensor) -> None:
    with pyro.plate("district", len(votes)):
        p = pyro.sample("p", dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0])))
        pyro.sample("votes", dist.Multinomial(probs=p, validate_args=False), obs=votes)


def _concentration() -> Moments:
    def log_density(c: np.ndarray) -> np.ndarray:
        total = -0.5 * np.log(c) ** 2 - np.log(c)
        for row in VOTES.numpy():
            total = total + special.gammaln(3 * c) - special.gammaln(3 * c + row.sum())
            total = total + sum(special.gammaln(c + v) - special.gammaln(c) for v in row)
        return total

    return on_grid(log_density, concentration=(0, 60, 60_000))


@GROUPS.add("tests/distributions: DirichletMultinomial", VOTES, truth=_concentration)
def dirichlet_multinomial(votes: Tensor) -> None:
    concentration = pyro.sample("concentration", dist.LogNormal(0.0, 1.0))
    of_row = dist.DirichletMultinomial(concentration * torch.ones(3), votes.sum(-1))
    with pyro.plate("district", len(votes)):
        pyro.sample("votes", of_row, obs=votes)


@GROUPS.add(
    TUTORIAL + "A/B test with the lift as a deterministic",
    numbers([14, 22]),
    numbers([100, 100]),
    truth=lambda: {"rate": beta([15.0, 23.0], [87.0, 79.0])},
)
def a_b_test(bought: Tensor, shown: Tensor) -> Tensor:
    with pyro.plate("arm", 2):
        rate = pyro.sample("rate", dist.Beta(1.0, 1.0))
        pyro.sample("bought", dist.Binomial(shown, rate), obs=bought)
    return pyro.deterministic("lift", rate[1] / rate[0] - 1)


@GROUPS.add(
    "textbook: rates of several units",
    FAILURES,
    HOURS,
    truth=lambda: {"theta": gamma(1.5 + FAILURES.numpy(), 2.0 + HOURS.numpy())},
)
def rates_of_units(failures: Tensor, hours: Tensor) -> None:
    theta = pyro.sample("theta", dist.Gamma(1.5, 2.0).expand([10]).to_event(1))
    pyro.sample("failures", dist.Poisson(theta * hours).to_event(1), obs=failures)


# --- items and contests -----------------------------------------------------------------------

ABILITY, DIFFICULTY = numbers(_RNG.normal(size=10)), numbers([-1.0, -0.5, 0.0, 0.5, 1.0])
SOLVED = numbers(_RNG.random((10, 5)) < special.expit((ABILITY[:, None] - DIFFICULTY).numpy()))


@GROUPS.add(FORUM + "item response, one parameter", SOLVED)
def rasch(solved: Tensor) -> None:
    student = pyro.plate("student", 10, dim=-2)
    item = pyro.plate("item", 5, dim=-1)
    with student:
        ability = pyro.sample("ability", dist.Normal(0.0, 1.0))
    with item:
        difficulty = pyro.sample("difficulty", dist.Normal(0.0, 2.0))
    with student, item:
        pyro.sample("solved", dist.Bernoulli(logits=ability - difficulty), obs=solved)


@GROUPS.add(FORUM + "item response, two parameters", SOLVED)
def two_parameter_items(solved: Tensor) -> None:
    with pyro.plate("student", 10):
        ability = pyro.sample("ability", dist.Normal(0.0, 1.0))
    with pyro.plate("item", 5):
        difficulty = pyro.sample("difficulty", dist.Normal(0.0, 1.0))
        slope = pyro.sample("slope", dist.LogNormal(0.0, 0.5))
    logits = slope * (ability.unsqueeze(-1) - difficulty)
    pyro.sample("solved", dist.Bernoulli(logits=logits).to_event(2), obs=solved)


HOME = torch.tensor([0, 0, 0, 1, 1, 2, 3, 4, 4, 2, 3, 1])
AWAY = torch.tensor([1, 2, 3, 2, 4, 3, 4, 0, 2, 0, 1, 0])
WON = numbers([1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 1, 0])


@GROUPS.add(FORUM + "Bradley-Terry", HOME, AWAY, WON)
def bradley_terry(home: Tensor, away: Tensor, won: Tensor) -> None:
    spread = pyro.sample("spread", dist.HalfNormal(1.0))
    with pyro.plate("team", 5):
        skill = pyro.sample("skill", dist.Normal(0.0, spread))
    with pyro.plate("match", len(won)):
        pyro.sample("won", dist.Bernoulli(logits=skill[home] - skill[away]), obs=won)


@GROUPS.add(TUTORIAL + "elo-like skills, probit contests", HOME, AWAY, WON)
def skills(home: Tensor, away: Tensor, won: Tensor) -> None:
    skill = pyro.sample("skill", dist.Normal(torch.zeros(5), 1.0).to_event(1))
    with pyro.plate("match", len(won)):
        chance = torch.special.ndtr((skill[home] - skill[away]) / 2**0.5)
        pyro.sample("won", dist.Bernoulli(chance), obs=won)


GOALS = numbers(np.random.default_rng(34).poisson(1.4, (12, 2)))


@GROUPS.add(FORUM + "football: attack and defence", HOME, AWAY, GOALS)
def football(home: Tensor, away: Tensor, goals: Tensor) -> None:
    advantage = pyro.sample("advantage", dist.Normal(0.0, 1.0))
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    with pyro.plate("team", 5):
        attack = pyro.sample("attack", dist.Normal(0.0, 0.4))
        defence = pyro.sample("defence", dist.Normal(0.0, 0.4))
    with pyro.plate("match", len(home)):
        of_home = (level + advantage + attack[home] - defence[away]).exp()
        of_away = (level + attack[away] - defence[home]).exp()
        pyro.sample("home_goals", dist.Poisson(of_home), obs=goals[:, 0])
        pyro.sample("away_goals", dist.Poisson(of_away), obs=goals[:, 1])


PAIRS = noise(30, 2, seed=35) @ numbers([[1.0, 0.6], [0.0, 0.8]])


def _correlation() -> Moments:
    x, y = PAIRS.numpy().T

    def log_density(r: np.ndarray) -> np.ndarray:
        squares = (x**2).sum() - 2 * r * (x * y).sum() + (y**2).sum()
        return -0.5 * squares / (1 - r**2) - 15 * np.log1p(-(r**2))

    return on_grid(log_density, r=(-1, 1, 20_000))


def _of_cholesky(draws: Draws) -> Draws:
    return {"r": draws["L"][..., 1, 0]}


@GROUPS.add(
    TUTORIAL + "a correlation by LKJCholesky", PAIRS, truth=_correlation, compared=_of_cholesky
)
def correlation(y: Tensor) -> None:
    L = pyro.sample("L", dist.LKJCholesky(2, torch.tensor(1.0)))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(2), scale_tril=L), obs=y)


def _copula() -> Moments:
    """Margins are exponential, so their normal scores are data; the correlation is uniform."""
    return _correlation()


MARGINS = -torch.log1p(-torch.special.ndtr(PAIRS))


@GROUPS.add(FORUM + "a Gaussian copula of exponential margins", MARGINS, truth=_copula)
def copula(y: Tensor) -> None:
    r = pyro.sample("r", dist.Uniform(-1.0, 1.0))
    score = torch.special.ndtri(dist.Exponential(1.0).cdf(y))
    one = torch.ones_like(r)
    covariance = torch.stack([torch.stack([one, r]), torch.stack([r, one])])
    with pyro.plate("row", len(y)):
        joint = dist.MultivariateNormal(torch.zeros(2), covariance_matrix=covariance)
        pyro.factor("copula", joint.log_prob(score) - dist.Normal(0, 1).log_prob(score).sum(-1))
