"""Mixtures, factors, networks of discrete sites, occupancy: what is behind the data."""

from itertools import product
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from pyro.ops.indexing import Vindex
from scipy import special, stats
from torch import Tensor

from foreign.record import ENUMERATE, Collection, noise, numbers
from foreign.truths import Draws, Moments, beta, in_order, on_grid, outer, weighted

__all__ = ["LATENT"]

LATENT = Collection()
TUTORIAL, FORUM, BOOK = "tutorial/source/", "forum.pyro.ai: ", "textbook: "
TWO = numbers([-2.3, -1.8, -2.6, -1.5, -2.2, 1.7, 2.4, 2.1, 1.6, 2.9, 2.2, 1.9])
NEAR = numbers([-1.2, -0.6, 0.1, 0.4, -0.9, 1.2, 0.8, 1.9, 0.2, -0.1, 1.5, -1.7])


def _two_means(y: Tensor) -> Moments:
    """Two unit normals of equal weight, sorted by their means."""

    def log_density(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        total = -(a**2 + b**2) / 18
        for value in y.numpy():
            total = total + np.logaddexp(-0.5 * (value - a) ** 2, -0.5 * (value - b) ** 2)
        return total

    def quantities(a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        return {"low": np.minimum(a, b), "high": np.maximum(a, b)}

    return on_grid(log_density, quantities, a=(-9, 9, 700), b=(-9, 9, 700))


def _low_and_high(draws: Draws) -> Draws:
    loc = np.sort(draws["loc"], axis=-1)
    return {"low": loc[..., 0], "high": loc[..., 1]}


@LATENT.add(TUTORIAL + "gmm.ipynb: two components, far apart", TWO, nesting=1,
            truth=lambda: _two_means(TWO), compared=_low_and_high)  # fmt: skip
@config_enumerate
def mixture_far_apart(y: Tensor) -> None:
    with pyro.plate("component", 2):
        loc = pyro.sample("loc", dist.Normal(0.0, 3.0))
    with pyro.plate("row", len(y)):
        which = pyro.sample("which", dist.Categorical(torch.ones(2) / 2))
        pyro.sample("y", dist.Normal(loc[which], 1.0), obs=y)


@LATENT.add(FORUM + "MixtureSameFamily, components that overlap", NEAR,
            truth=lambda: _two_means(NEAR), compared=_low_and_high)  # fmt: skip
def mixture_that_overlaps(y: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(torch.zeros(2), 3.0).to_event(1))
    mixture = dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(loc, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", mixture, obs=y)


def _share() -> Moments:
    def log_density(share: np.ndarray) -> np.ndarray:
        total = 0.0
        for y in NEAR.numpy():
            total = total + np.log(
                share * stats.norm.pdf(y, -1, 0.7) + (1 - share) * stats.norm.pdf(y, 1, 0.7)
            )
        return total + np.log(share) + np.log1p(-share)

    return on_grid(log_density, share=(0, 1, 4000))


@LATENT.add(FORUM + "the weight of a mixture of known parts", NEAR, truth=_share)
def share_of_known_parts(y: Tensor) -> None:
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    parts = dist.Normal(torch.tensor([-1.0, 1.0]), 0.7)
    weights = dist.Categorical(torch.stack([share, 1 - share]))
    pyro.sample("y", dist.MixtureSameFamily(weights, parts).expand([len(y)]).to_event(1), obs=y)


@LATENT.add(FORUM + "the weight by MaskedMixture of drawn masks", NEAR, nesting=1, truth=_share)
def share_by_torch_where(y: Tensor) -> None:
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    with pyro.plate("row", len(y)):
        left = pyro.sample("left", dist.Bernoulli(share), infer=ENUMERATE)
        pyro.sample("y", dist.Normal(torch.where(left > 0, -1.0, 1.0), 0.7), obs=y)


@LATENT.add(FORUM + "a mixture of Poissons in order", numbers([1, 0, 2, 9, 1, 11, 7, 0, 2, 8]))
def poissons_in_order(y: Tensor) -> None:
    base = dist.Normal(torch.tensor([0.0, 1.5]), 1.0).to_event(1)
    ordered = dist.TransformedDistribution(base, [dist.transforms.OrderedTransform()])
    log_rate = pyro.sample("log_rate", ordered)
    weights = pyro.sample("weights", dist.Dirichlet(2 * torch.ones(2)))
    mixture = dist.MixtureSameFamily(dist.Categorical(weights), dist.Poisson(log_rate.exp()))
    with pyro.plate("row", len(y)):
        pyro.sample("y", mixture, obs=y)


SLOPES_AT = noise(20, seed=60)
SLOPES = torch.where(torch.arange(20) % 2 == 0, 2.0, -1.0) * SLOPES_AT + 0.3 * noise(20, seed=61)


@LATENT.add(FORUM + "a mixture of two regressions", SLOPES_AT, SLOPES, nesting=1,
            compared=in_order("slope"))  # fmt: skip
def mixture_of_regressions(x: Tensor, y: Tensor) -> None:
    with pyro.plate("component", 2):
        slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("row", len(x)):
        which = pyro.sample("which", dist.Categorical(torch.ones(2) / 2), infer=ENUMERATE)
        pyro.sample("y", dist.Normal(slope[which] * x, sigma), obs=y)


LINE_AT = noise(18, seed=62)
LINE_WITH_OUTLIERS = 1 + 2 * LINE_AT + 0.4 * noise(18, seed=63)
LINE_WITH_OUTLIERS[[2, 9]] = numbers([9.0, -8.0])


@LATENT.add(BOOK + "Hogg and others: a line with outliers", LINE_AT, LINE_WITH_OUTLIERS)
def line_with_outliers(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 3.0))
    b = pyro.sample("b", dist.Normal(0.0, 3.0))
    bad = pyro.sample("bad", dist.Beta(1.0, 9.0))
    good = dist.Normal(a + b * x, 0.4).log_prob(y) + torch.log1p(-bad)
    poor = dist.Normal(0.0, 6.0).log_prob(y) + bad.log()
    with pyro.plate("row", len(x)):
        pyro.factor("y", torch.logaddexp(good, poor))


def _predictive_density(draws: Draws) -> Draws:
    """Of the truncated process at three points."""
    sticks = np.clip(draws["v"], 0, 1)
    left = np.cumprod(1 - sticks, axis=-1)
    weights = np.concatenate([sticks, np.ones_like(left[..., :1])], -1)
    weights[..., 1:] *= left
    at = np.array([-2.0, 0.0, 2.0])[:, None]
    return {"density": (weights[:, None] * stats.norm.pdf(at, draws["mu"][:, None], 0.8)).sum(-1)}


@LATENT.add(TUTORIAL + "dirichlet_process_mixture.ipynb, truncated", TWO, nesting=1,
            compared=_predictive_density)  # fmt: skip
def dirichlet_process(y: Tensor) -> None:
    alpha = pyro.sample("alpha", dist.Gamma(2.0, 2.0))
    with pyro.plate("stick", 3):
        v = pyro.sample("v", dist.Beta(1, alpha))
    with pyro.plate("part", 4):
        mu = pyro.sample("mu", dist.Normal(0.0, 3.0))
    left = torch.nn.functional.pad((1 - v).cumprod(-1), (1, 0), value=1.0)
    weights = torch.nn.functional.pad(v, (0, 1), value=1.0) * left
    with pyro.plate("row", len(y)):
        z = pyro.sample("z", dist.Categorical(weights), infer=ENUMERATE)
        pyro.sample("y", dist.Normal(mu[z], 0.8), obs=y)


ANSWERS = numbers(
    [[1, 1, 1, 0], [1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0],
     [1, 0, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]]
)  # fmt: skip


def _by_class(draws: Draws) -> Draws:
    """The class with the lower chance of the first item goes first."""
    p = draws["p"]
    order = np.argsort(p[..., :1], axis=-2)
    return {"p": np.take_along_axis(p, order, axis=-2)}


@LATENT.add(BOOK + "latent classes", ANSWERS, nesting=2, compared=_by_class)
def latent_classes(y: Tensor) -> None:
    p = pyro.sample("p", dist.Beta(2.0, 2.0).expand([2, 4]).to_event(2))
    item = pyro.plate("item", 4, dim=-1)
    with pyro.plate("person", len(y), dim=-2):
        which = pyro.sample("which", dist.Categorical(torch.ones(2) / 2), infer=ENUMERATE)
        with item as i:
            pyro.sample("y", dist.Bernoulli(Vindex(p)[which, i]), obs=y)


VERDICTS = torch.tensor(
    [[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1]]
)


@LATENT.add(FORUM + "Dawid and Skene: annotators", VERDICTS, nesting=2)
def annotators(verdicts: Tensor) -> None:
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    with pyro.plate("annotator", 3, dim=-1):
        right = pyro.sample("right", dist.Beta(6.0, 2.0))
    judge = pyro.plate("judge", 3, dim=-1)
    with pyro.plate("case", len(verdicts), dim=-2):
        true = pyro.sample("true", dist.Bernoulli(share), infer=ENUMERATE)
        with judge:
            chance = true * right + (1 - true) * (1 - right)
            pyro.sample("said", dist.Bernoulli(chance), obs=verdicts.double())


WORDS = torch.tensor([[0, 1, 0, 2, 1], [3, 3, 2, 3, 3], [0, 3, 1, 3, 0], [1, 0, 0, 1, 2]])


def _word_chances(draws: Draws) -> Draws:
    """Of each word in each document: the same whichever topic is the first."""
    return {"word": draws["share"] @ draws["topic"]}


@LATENT.add("examples/lda.py, its documents of equal length", WORDS, nesting=2,
            compared=_word_chances)  # fmt: skip
def topics(words: Tensor) -> None:
    with pyro.plate("topics", 2):
        topic = pyro.sample("topic", dist.Dirichlet(torch.ones(4)))
    with pyro.plate("documents", 4, dim=-1):
        share = pyro.sample("share", dist.Dirichlet(torch.ones(2)))
        with pyro.plate("words", 5, dim=-2):
            z = pyro.sample("z", dist.Categorical(share), infer=ENUMERATE)
            pyro.sample("w", dist.Categorical(Vindex(topic)[z]), obs=words.T)


# --- factors: signs and rotations -------------------------------------------------------------

FACTOR = noise(14, 1, seed=64) @ numbers([[1.0, -0.8, 0.6, 1.2]]) + 0.5 * noise(14, 4, seed=65)


def _one_factor(draws: Draws) -> Draws:
    loadings = draws["loadings"].reshape(len(draws["loadings"]), -1, 1)
    return outer("loadings")({"loadings": loadings})


@LATENT.add(FORUM + "factor analysis with drawn scores", FACTOR, compared=_one_factor)
def one_factor(y: Tensor) -> None:
    with pyro.plate("column", 4, dim=-1):
        loadings = pyro.sample("loadings", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y), dim=-2):
        score = pyro.sample("score", dist.Normal(0.0, 1.0))
        with pyro.plate("entry", 4, dim=-1):
            pyro.sample("y", dist.Normal(score * loadings, 0.5), obs=y)


@LATENT.add(FORUM + "probabilistic PCA by LowRankMultivariateNormal", FACTOR,
            compared=outer("W"))  # fmt: skip
def low_rank(y: Tensor) -> None:
    W = pyro.sample("W", dist.Normal(torch.zeros(4, 2), 1.0).to_event(2))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("row", len(y)):
        of_row = dist.LowRankMultivariateNormal(torch.zeros(4), W, sigma**2 * torch.ones(4))
        pyro.sample("y", of_row, obs=y)


TABLE = noise(5, 2, seed=66) @ noise(2, 4, seed=67) + 0.3 * noise(5, 4, seed=68)
FILLED = torch.arange(20).reshape(5, 4) % 5 != 2


@LATENT.add(FORUM + "matrix factorisation with gaps", TABLE, FILLED, compared=outer("U", "V"))
def matrix_factorisation(ratings: Tensor, filled: Tensor) -> None:
    with pyro.plate("user", 5):
        U = pyro.sample("U", dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1))
    with pyro.plate("film", 4):
        V = pyro.sample("V", dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1))
    with poutine.mask(mask=filled), pyro.plate("a", 5, dim=-2), pyro.plate("b", 4, dim=-1):
        pyro.sample("ratings", dist.Normal(U @ V.T, 0.3), obs=ratings)


# --- networks of discrete sites ---------------------------------------------------------------

WET = {(0, 0): 0.05, (0, 1): 0.9, (1, 0): 0.8, (1, 1): 0.99}


def _rain() -> Moments:
    """All four states, by Bayes' rule; the chance of rain, Beta(2, 8), has one more datum."""
    weights = {
        (r, s): (0.2 if r else 0.8) * ((0.1 if r else 0.4) if s else (0.9 if r else 0.6)) * wet
        for (r, s), wet in WET.items()
    }
    total = sum(weights.values())
    rain, sprinkler = (sum(w for at, w in weights.items() if at[k]) / total for k in range(2))
    chance = on_grid(
        lambda p: (
            np.log(p) + 7 * np.log1p(-p) + np.log(rain * p / 0.2 + (1 - rain) * (1 - p) / 0.8)
        ),
        chance=(0, 1, 4000),
    )
    return {"rain": _coin(rain), "sprinkler": _coin(sprinkler), **chance}


def _coin(p: float) -> tuple[float, float]:
    return p, np.sqrt(p * (1 - p))


@LATENT.add(TUTORIAL + "a Bayesian network: rain, sprinkler, wet grass", numbers(1.0), nesting=0,
            truth=_rain)  # fmt: skip
def sprinkler(wet: Tensor) -> None:
    chance = pyro.sample("chance", dist.Beta(2.0, 8.0))
    rain = pyro.sample("rain", dist.Bernoulli(chance))
    sprinkler = pyro.sample("sprinkler", dist.Bernoulli(0.4 - 0.3 * rain))
    soaked = torch.where(rain > 0, 0.8 + 0.19 * sprinkler, 0.05 + 0.85 * sprinkler)
    pyro.sample("wet", dist.Bernoulli(soaked), obs=wet)


CALLS = numbers([[1, 1], [0, 0], [0, 1], [0, 0], [1, 1], [0, 0], [1, 0]])


def _alarms() -> Moments:
    def log_density(share: np.ndarray) -> np.ndarray:
        total = np.log(share) + 7 * np.log1p(-share)
        for john, mary in CALLS.numpy():
            on = (0.9 if john else 0.1) * (0.7 if mary else 0.3)
            off = (0.05 if john else 0.95) * (0.1 if mary else 0.9)
            total = total + np.log(share * on + (1 - share) * off)
        return total

    return on_grid(log_density, share=(0, 1, 4000))


@LATENT.add(BOOK + "alarms: callers of an unseen alarm", CALLS, nesting=1, truth=_alarms)
def alarms(calls: Tensor) -> None:
    share = pyro.sample("share", dist.Beta(2.0, 8.0))
    with pyro.plate("day", len(calls)):
        alarm = pyro.sample("alarm", dist.Bernoulli(share), infer=ENUMERATE)
        john = torch.where(alarm > 0, torch.tensor(0.9), torch.tensor(0.05))
        mary = torch.where(alarm > 0, torch.tensor(0.7), torch.tensor(0.1))
        pyro.sample("john", dist.Bernoulli(john), obs=calls[:, 0])
        pyro.sample("mary", dist.Bernoulli(mary), obs=calls[:, 1])


def _bag() -> Moments:
    """Three urns of red shares .2, .5, .8, five balls with four red; weights as one more datum."""
    chance = np.array([p**4 * (1 - p) for p in (0.2, 0.5, 0.8)])
    chance /= chance.sum()
    mean = chance @ np.arange(3)
    weights = (1 + chance) / 4
    squares = chance * 6 / 20 + (1 - chance) * 2 / 20
    return {
        "urn": (mean, np.sqrt(chance @ (np.arange(3) - mean) ** 2)),
        "weights": (weights, np.sqrt(squares - weights**2)),
    }


@LATENT.add(TUTORIAL + "enumeration.ipynb: which urn", numbers([1, 1, 0, 1, 1]), nesting=1,
            truth=_bag)  # fmt: skip
def urns(balls: Tensor) -> Tensor:
    weights = pyro.sample("weights", dist.Dirichlet(torch.ones(3)))
    urn = pyro.sample("urn", dist.Categorical(weights), infer=ENUMERATE)
    red = torch.tensor([0.2, 0.5, 0.8])[urn]
    with pyro.plate("ball", len(balls)):
        pyro.sample("balls", dist.Bernoulli(red), obs=balls)
    return urn


# --- seen and unseen --------------------------------------------------------------------------

VISITS = numbers([3, 0, 2, 0, 0, 1, 0, 4, 0, 2])


def _occupancy() -> Moments:
    def log_density(psi: np.ndarray, p: np.ndarray) -> np.ndarray:
        total = 0.0
        for y in VISITS.numpy():
            seen = psi * p**y * (1 - p) ** (5 - y)
            total = total + np.log(seen + (1 - psi if y == 0 else 0.0))
        return total

    return on_grid(log_density, psi=(0, 1, 500), p=(0, 1, 500))


@LATENT.add(FORUM + "occupancy of sites", VISITS, nesting=1, truth=_occupancy)
def occupancy(seen: Tensor) -> None:
    psi = pyro.sample("psi", dist.Uniform(0.0, 1.0))
    p = pyro.sample("p", dist.Uniform(0.0, 1.0))
    with pyro.plate("site", len(seen)):
        there = pyro.sample("there", dist.Bernoulli(psi), infer=ENUMERATE)
        pyro.sample("seen", dist.Binomial(5, there * p), obs=seen)


CAUGHT = numbers([12, 8, 6])


def _removal() -> Moments:
    """Animals from 26 to 80, all the same before; caught without return on three nights."""
    sizes = np.arange(26, 81)

    def log_density(p: np.ndarray, size: np.ndarray) -> np.ndarray:
        total, left = 0.0, sizes[np.clip(size.astype(int), 0, 54)].astype(float)
        for y in CAUGHT.numpy():
            total = total + special.gammaln(left + 1) - special.gammaln(left - y + 1)
            total = total + y * np.log(p) + (left - y) * np.log1p(-p)
            left = left - y
        return total

    found = on_grid(log_density, p=(0, 1, 2000), size=(0, 55, 55))
    return {"p": found["p"]}


@LATENT.add("examples/capture_recapture: removal, an unknown size", CAUGHT, nesting=0,
            truth=_removal)  # fmt: skip
def removal(caught: Tensor) -> None:
    p = pyro.sample("p", dist.Uniform(0.0, 1.0))
    size = pyro.sample("size", dist.Categorical(torch.ones(55)), infer=ENUMERATE)
    left = size.double() + 26
    for night in range(3):
        pyro.sample(f"night_{night}", dist.Binomial(left, p), obs=caught[night])
        left = left - caught[night]


MARKED = numbers([[1, 0, 1], [1, 1, 1], [0, 1, 0], [1, 0, 0], [0, 1, 1]])


@LATENT.add(BOOK + "recaptures of marked animals", MARKED,
            truth=lambda: {"p": beta([4.0, 4.0, 4.0], [4.0, 4.0, 4.0])})  # fmt: skip
def recaptures(seen: Tensor) -> None:
    with pyro.plate("night", 3, dim=-1):
        p = pyro.sample("p", dist.Beta(1.0, 2.0))
        with pyro.plate("animal", 5, dim=-2):
            pyro.sample("seen", dist.Bernoulli(p), obs=seen)


TIES = [(0, 1, 1), (0, 2, 0), (0, 3, 0), (1, 2, 0), (1, 3, 1), (2, 3, 1)]


def _network() -> Moments:
    """All sixteen ways, and the chance of a tie within a kind on a grid: Beta(4, 1) before."""
    same = (np.arange(2000) + 0.5) / 2000
    ways = []
    for kinds in product([0, 1], repeat=4):
        weight = same**3 * (0.9 if kinds[0] else 0.1)
        for i, j, tie in TIES:
            chance = same if kinds[i] == kinds[j] else 0.2 + 0 * same
            weight = weight * (chance if tie else 1 - chance)
        ways.append((weight, kinds))
    total = sum(w.sum() for w, _ in ways)
    found = {
        f"kind_{k}": _coin(sum(w.sum() for w, kinds in ways if kinds[k]) / total) for k in range(4)
    }
    return {**found, "same": weighted(sum(w for w, _ in ways), same)}


@LATENT.add(FORUM + "kinds of four people by their ties", numbers([t for *_, t in TIES]),
            nesting=0, truth=_network)  # fmt: skip
def kinds_by_ties(ties: Tensor) -> None:
    same = pyro.sample("same", dist.Beta(4.0, 1.0))
    kinds: list[Any] = [pyro.sample("kind_0", dist.Bernoulli(0.9))]
    kinds += [pyro.sample(f"kind_{k}", dist.Bernoulli(0.5)) for k in range(1, 4)]
    for n, (i, j, _) in enumerate(TIES):
        alike = kinds[i] * kinds[j] + (1 - kinds[i]) * (1 - kinds[j])
        pyro.sample(f"tie_{n}", dist.Bernoulli(alike * same + (1 - alike) * 0.2), obs=ties[n])
