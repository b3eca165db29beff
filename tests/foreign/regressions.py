"""Regressions and single samples, as tutorials, textbooks and forum questions write them."""

from itertools import product

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from scipy import stats
from torch import Tensor

from foreign.record import ENUMERATE, Collection, coins, noise, numbers
from foreign.truths import Moments, beta, gamma, in_logs, on_grid, pooled, ridge

__all__ = ["REGRESSIONS"]

REGRESSIONS = Collection()
TUTORIAL, FORUM, BOOK = "tutorial/source/", "forum.pyro.ai: ", "textbook: "

X = noise(24, seed=1)
WIDE = noise(30, 3, seed=2)
LINE = 1.0 + 2.0 * X + 0.5 * noise(24, seed=3)
X_ROWS, LINE_ROWS = X.numpy(), LINE.numpy()
DESIGN = np.stack([np.ones(24), X_ROWS], 1)


def _line(prior: tuple[float, float], sd: float, y: Tensor = LINE) -> Moments:
    mean, error = ridge(DESIGN, y, prior, sd)
    return {"a": (mean[0], error[0]), "b": (mean[1], error[1])}


@REGRESSIONS.add(
    TUTORIAL + "intro_long.ipynb: simple_model", X, LINE, truth=lambda: _line((10.0, 1.0), 0.5)
)
def line_of_known_noise(x: Tensor, y: Tensor) -> Tensor:
    a = pyro.sample("a", dist.Normal(0.0, 10.0))
    b = pyro.sample("b", dist.Normal(0.0, 1.0))
    mean = a + b * x
    with pyro.plate("data", len(x)):
        return pyro.sample("obs", dist.Normal(mean, 0.5), obs=y)


@REGRESSIONS.add(
    FORUM + "a site for each observation", X, LINE, truth=lambda: _line((5.0, 5.0), 0.5)
)
def line_in_a_loop(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 5.0))
    b = pyro.sample("b", dist.Normal(0.0, 5.0))
    for i in range(len(x)):
        pyro.sample(f"obs_{i}", dist.Normal(a + b * x[i], 0.5), obs=y[i])


@REGRESSIONS.add(TUTORIAL + "bayesian_regression.ipynb: plain", X, LINE)
def line_of_unknown_noise(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 10.0))
    b = pyro.sample("b", dist.Normal(0.0, 10.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("obs", dist.Normal(a + b * x, sigma), obs=y)


POWERS = np.vander(X_ROWS, 4, increasing=True)


@REGRESSIONS.add(
    BOOK + "polynomial regression",
    X,
    LINE,
    truth=lambda: {"coefficients": ridge(POWERS, LINE, 1.0, 0.5)},
)
def polynomial(x: Tensor, y: Tensor) -> None:
    powers = torch.stack([x**k for k in range(4)], -1)
    coefficients = pyro.sample("coefficients", dist.Normal(torch.zeros(4), 1.0).to_event(1))
    pyro.sample("obs", dist.Normal(powers @ coefficients, 0.5).to_event(1), obs=y)


def _normal_gamma() -> Moments:
    """mu | tau ~ N(0, 1 / tau), tau ~ Gamma(2, 1): tau is a Gamma again and mu a Student t."""
    n, mean = len(LINE_ROWS), LINE_ROWS.mean()
    shape = 2.0 + n / 2
    rate = 1.0 + 0.5 * (n * LINE_ROWS.var() + n * mean**2 / (1 + n))
    of_mu = stats.t(2 * shape, n * mean / (1 + n), np.sqrt(rate / shape / (1 + n)))
    return {"tau": gamma(shape, rate), "mu": (of_mu.mean(), of_mu.std())}


@REGRESSIONS.add(BOOK + "normal of unknown mean and precision", LINE, truth=_normal_gamma)
def normal_gamma(y: Tensor) -> None:
    tau = pyro.sample("tau", dist.Gamma(2.0, 1.0))
    mu = pyro.sample("mu", dist.Normal(0.0, tau.rsqrt()))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, tau.rsqrt()), obs=y)


# --- of two coefficients: quadrature ----------------------------------------------------------


def _plane(y: Tensor, log_of: str, width: float = 2.0, span: float = 6.0) -> Moments:
    """Moments of a and b, both N(0, width^2), where a link's log density is summed over rows."""

    def log_density(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        rows = zip(X_ROWS, y.numpy(), strict=True)
        likelihood = sum(LINKS[log_of](a + b * x, value) for x, value in rows)
        return likelihood - 0.5 * (a**2 + b**2) / width**2

    return on_grid(log_density, a=(-span, span, 400), b=(-span, span, 400))


LINKS = {
    "logit": lambda eta, y: y * eta - np.logaddexp(0, eta),
    "probit": lambda eta, y: stats.norm.logcdf(np.where(y > 0, eta, -eta)),
    "poisson": lambda eta, y: y * eta - np.exp(eta),
    "tobit": lambda eta, y: np.where(
        y > 0, stats.norm.logpdf(y - eta), stats.norm.logcdf(-eta)
    ),
    "cloglog": lambda eta, y: np.where(
        y > 0, np.log(-np.expm1(-np.exp(eta))), -np.exp(eta)
    ),
}  # fmt: skip
YES = (numbers(np.random.default_rng(4).logistic(size=24)) + 0.5 + X > 0).double()
COUNTS = numbers(np.random.default_rng(5).poisson(np.exp(0.4 + 0.7 * X_ROWS)))


@REGRESSIONS.add(
    FORUM + "logistic regression with probs=", X, YES, truth=lambda: _plane(YES, "logit")
)
def logistic_by_sigmoid(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    b = pyro.sample("b", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Bernoulli(probs=torch.sigmoid(a + b * x)), obs=y)


@REGRESSIONS.add(
    BOOK + "probit regression by the normal's cdf", X, YES, truth=lambda: _plane(YES, "probit")
)
def probit(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    b = pyro.sample("b", dist.Normal(0.0, 2.0))
    chance = dist.Normal(0.0, 1.0).cdf(a + b * x)
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Bernoulli(chance), obs=y)


@REGRESSIONS.add(
    BOOK + "probit regression with latent normals",
    X,
    YES,
    truth=lambda: _plane(YES, "probit"),
)
def probit_of_latent_normals(x: Tensor, y: Tensor) -> None:
    """Albert and Chib: a latent normal has the sign of its datum; here its size is drawn."""
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    b = pyro.sample("b", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(x)):
        size = pyro.sample("size", dist.Exponential(1.0))
        sign = 2 * y - 1
        pyro.factor("u", dist.Normal(a + b * x, 1.0).log_prob(sign * size) + size)


@REGRESSIONS.add(FORUM + "complementary log-log", X, YES, truth=lambda: _plane(YES, "cloglog"))
def complementary_log_log(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    b = pyro.sample("b", dist.Normal(0.0, 2.0))
    chance = 1 - torch.exp(-torch.exp(a + b * x))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Bernoulli(chance), obs=y)


@REGRESSIONS.add(BOOK + "Poisson regression", X, COUNTS, truth=lambda: _plane(COUNTS, "poisson"))
def poisson_regression(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    b = pyro.sample("b", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Poisson((a + b * x).exp()), obs=y)


CUT_OFF = (LINE - 1.0).clamp(min=0.0)


@REGRESSIONS.add(FORUM + "tobit by two masks", X, CUT_OFF, truth=lambda: _plane(CUT_OFF, "tobit"))
def tobit(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    b = pyro.sample("b", dist.Normal(0.0, 2.0))
    mean = a + b * x
    seen = y > 0
    with pyro.plate("data", len(x)):
        with poutine.mask(mask=seen):
            pyro.sample("y", dist.Normal(mean, 1.0), obs=y)
        with poutine.mask(mask=~seen):
            below = dist.Normal(0.0, 1.0).cdf(-mean).clamp(min=1e-12)
            pyro.sample("below", dist.Bernoulli(below), obs=torch.ones(len(x)))


DOSE, DEATHS = numbers([-0.86, -0.30, -0.05, 0.73]), numbers([0, 1, 3, 5])


def _bioassay() -> Moments:
    def log_density(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        rows = zip(DOSE.numpy(), DEATHS.numpy(), strict=True)
        likelihood = sum(y * (a + b * x) - 5 * np.logaddexp(0, a + b * x) for x, y in rows)
        return likelihood - 0.5 * ((a / 2) ** 2 + ((b - 10) / 10) ** 2)

    return on_grid(log_density, alpha=(-8, 12, 500), beta=(-30, 60, 900))


@REGRESSIONS.add(BOOK + "Gelman and others, section 3.7", DOSE, DEATHS, truth=_bioassay)
def bioassay(dose: Tensor, deaths: Tensor) -> None:
    alpha = pyro.sample("alpha", dist.Normal(0.0, 2.0))
    beta = pyro.sample("beta", dist.Normal(10.0, 10.0))
    with pyro.plate("group", 4):
        trials = dist.Binomial(total_count=5, logits=alpha + beta * dose)
        pyro.sample("deaths", trials, obs=deaths)


# --- other likelihoods ------------------------------------------------------------------------


@REGRESSIONS.add(FORUM + "negative binomial as GammaPoisson", X, COUNTS * 2)
def negative_binomial(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    b = pyro.sample("b", dist.Normal(0.0, 1.0))
    size = pyro.sample("size", dist.Gamma(2.0, 0.2))
    mean = (a + b * x).exp()
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.GammaPoisson(size, size / mean), obs=y)


@REGRESSIONS.add(FORUM + "negative binomial by logits", COUNTS * 2)
def negative_binomial_by_logits(y: Tensor) -> None:
    size = pyro.sample("size", dist.Exponential(0.2))
    logit = pyro.sample("logit", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.NegativeBinomial(size, logits=logit), obs=y)


GRADES = torch.tensor(np.digitize(X_ROWS + np.random.default_rng(6).logistic(size=24), [-1, 0, 1]))


@REGRESSIONS.add(FORUM + "ordinal regression with OrderedTransform", X, GRADES)
def ordinal(x: Tensor, grade: Tensor) -> None:
    slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
    base = dist.Normal(torch.zeros(3), 2.0).to_event(1)
    ordered = dist.TransformedDistribution(base, [dist.transforms.OrderedTransform()])
    cut = pyro.sample("cut", ordered)
    with pyro.plate("row", len(x)):
        pyro.sample("grade", dist.OrderedLogistic(slope * x, cut), obs=grade)


ZEROS = numbers([0, 0, 3, 0, 2, 0, 0, 4, 1, 0, 0, 2, 0, 5, 0, 3, 0, 0, 1, 2])


def _zero_inflated() -> Moments:
    def log_density(gate: np.ndarray, rate: np.ndarray) -> np.ndarray:
        none = float((ZEROS == 0).sum())
        some = len(ZEROS) - none
        likelihood = none * np.log(gate + (1 - gate) * np.exp(-rate))
        likelihood += some * (np.log1p(-gate) - rate) + float(ZEROS.sum()) * np.log(rate)
        return likelihood + np.log(rate) - 0.5 * rate

    return on_grid(log_density, gate=(0, 1, 500), rate=(0, 10, 1000))


@REGRESSIONS.add(FORUM + "ZeroInflatedPoisson", ZEROS, truth=_zero_inflated)
def zero_inflated(y: Tensor) -> None:
    gate = pyro.sample("gate", dist.Beta(1.0, 1.0))
    rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.ZeroInflatedPoisson(rate, gate=gate), obs=y)


@REGRESSIONS.add(
    FORUM + "zero inflation with enumerated gates", ZEROS, nesting=1, truth=_zero_inflated
)
def zero_inflated_by_enumeration(y: Tensor) -> None:
    gate = pyro.sample("gate", dist.Beta(1.0, 1.0))
    rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
    with pyro.plate("row", len(y)):
        closed = pyro.sample("closed", dist.Bernoulli(gate), infer=ENUMERATE)
        pyro.sample("y", dist.Poisson(rate * (1 - closed) + 1e-9), obs=y)


OUTLYING = LINE.clone()
OUTLYING[[3, 17]] += numbers([8.0, -6.0])


@REGRESSIONS.add(TUTORIAL + "robust regression with Student's t", X, OUTLYING)
def robust(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 5.0))
    b = pyro.sample("b", dist.Normal(0.0, 5.0))
    sigma = pyro.sample("sigma", dist.HalfCauchy(1.0))
    nu = pyro.sample("nu", dist.Gamma(2.0, 0.1))
    with pyro.plate("data", len(x)):
        pyro.sample("obs", dist.StudentT(nu, a + b * x, sigma), obs=y)


SHARES = torch.sigmoid(0.5 * X + 0.4 * noise(24, seed=7))


@REGRESSIONS.add(BOOK + "beta regression", X, SHARES)
def beta_regression(x: Tensor, y: Tensor) -> None:
    weights = pyro.sample("weights", dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1))
    phi = pyro.sample("phi", dist.Gamma(2.0, 0.1))
    mean = torch.sigmoid(weights[0] + weights[1] * x)
    with pyro.plate("data", len(x)):
        pyro.sample("obs", dist.Beta(mean * phi, (1 - mean) * phi), obs=y)


@REGRESSIONS.add(FORUM + "heteroscedastic regression", X, LINE * X.abs())
def heteroscedastic(x: Tensor, y: Tensor) -> None:
    with pyro.plate("weight", 2):
        w = pyro.sample("w", dist.Normal(0.0, 3.0))
        v = pyro.sample("v", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("obs", dist.Normal(w[0] + w[1] * x, (v[0] + v[1] * x.abs()).exp()), obs=y)


@REGRESSIONS.add(FORUM + "quantile regression with AsymmetricLaplace", X, LINE)
def quantile_regression(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 5.0))
    b = pyro.sample("b", dist.Normal(0.0, 5.0))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("obs", dist.AsymmetricLaplace(a + b * x, scale, 2.0), obs=y)


KINDS = torch.tensor(
    np.argmax(WIDE.numpy() + np.random.default_rng(8).gumbel(size=(30, 3)), axis=1)
)


@REGRESSIONS.add(TUTORIAL + "softmax regression on iris", WIDE[:, :2], KINDS)
def softmax_regression(x: Tensor, y: Tensor) -> None:
    w = pyro.sample("w", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
    b = pyro.sample("b", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Categorical(logits=x @ w + b), obs=y)


@REGRESSIONS.add(BOOK + "gamma regression", X, LINE.exp().clamp(max=50.0))
def gamma_regression(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 3.0))
    b = pyro.sample("b", dist.Normal(0.0, 3.0))
    shape = pyro.sample("shape", dist.HalfNormal(5.0))
    with pyro.plate("data", len(x)):
        pyro.sample("obs", dist.Gamma(shape, shape / (a + b * x).exp()), obs=y)


# --- shrinkage and selection ------------------------------------------------------------------

FEW = WIDE @ numbers([1.5, 0.0, 0.0]) + 0.7 * noise(30, seed=9)


@REGRESSIONS.add(
    BOOK + "horseshoe, non-centred", WIDE, FEW,
    compared=lambda draws: {"z": draws["z"], **in_logs("tau", "lam")(draws)},
)  # fmt: skip
def horseshoe(x: Tensor, y: Tensor) -> None:
    tau = pyro.sample("tau", dist.HalfCauchy(1.0))
    with pyro.plate("feature", 3):
        lam = pyro.sample("lam", dist.HalfCauchy(1.0))
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
    weights = pyro.deterministic("weights", z * lam * tau)
    with pyro.plate("data", len(x)):
        pyro.sample("obs", dist.Normal(x @ weights, 0.7), obs=y)


@REGRESSIONS.add(BOOK + "Bayesian lasso", WIDE, FEW)
def lasso(x: Tensor, y: Tensor) -> None:
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    weights = pyro.sample("weights", dist.Laplace(torch.zeros(3), scale).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("obs", dist.Normal(x @ weights, 0.7), obs=y)


def _spike_and_slab() -> Moments:
    """All eight subsets, each with its evidence and its Gaussian."""
    X, y = WIDE.numpy(), FEW.numpy()
    subsets = np.array(list(product([0.0, 1.0], repeat=3)))
    covariances = [0.49 * np.eye(30) + 4 * (X * taken) @ X.T for taken in subsets]
    logs = [stats.multivariate_normal(np.zeros(30), each).logpdf(y) for each in covariances]
    weights = np.exp(np.array(logs) - max(logs))
    weights /= weights.sum()
    means, sds = (
        np.array(part) for part in zip(*(ridge(X * s, y, 2.0, 0.7) for s in subsets), strict=True)
    )
    mean = weights @ means
    found = {"slab": (mean, np.sqrt(weights @ (means**2 + sds**2) - mean**2))}
    chances = weights @ subsets
    return found | {f"taken_{k}": (p, np.sqrt(p * (1 - p))) for k, p in enumerate(chances)}


@REGRESSIONS.add(FORUM + "spike and slab", WIDE, FEW, nesting=1, truth=_spike_and_slab)
def spike_and_slab(x: Tensor, y: Tensor) -> None:
    """Which weights are in is enumerated, one site to a feature."""
    slab = pyro.sample("slab", dist.Normal(torch.zeros(3), 2.0).to_event(1))
    mean: Tensor | float = 0.0
    for k in range(3):
        taken = pyro.sample(f"taken_{k}", dist.Bernoulli(0.5), infer=ENUMERATE)
        mean = mean + (taken * slab[k])[..., None] * x[:, k]
    mean = torch.as_tensor(mean)
    pyro.factor("obs", dist.Normal(mean, 0.7).log_prob(y).sum(-1))


# --- what was not measured as one would like --------------------------------------------------

NOISY_X = X + 0.4 * noise(24, seed=10)


@REGRESSIONS.add(BOOK + "errors in the covariate", NOISY_X, LINE)
def measurement_error(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    b = pyro.sample("b", dist.Normal(0.0, 2.0))
    with pyro.plate("row", len(x)):
        x_true = pyro.sample("x_true", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(x_true, 0.4), obs=x)
        pyro.sample("y", dist.Normal(a + b * x_true, 0.5), obs=y)


PRESENT = torch.arange(24) % 4 != 1


@REGRESSIONS.add(
    "tests/infer/test_valid_models.py: obs_mask of a covariate",
    torch.where(PRESENT, X, torch.zeros(24, dtype=torch.float64)),
    PRESENT,
    LINE,
    compared=lambda draws: {name: draws[name] for name in ("a", "b", "middle")},
)
def missing_covariate(x: Tensor, seen: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    b = pyro.sample("b", dist.Normal(0.0, 2.0))
    middle = pyro.sample("middle", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(x)):
        full = pyro.sample("x", dist.Normal(middle, 1.0), obs=x, obs_mask=seen)
        pyro.sample("y", dist.Normal(a + b * full, 0.5), obs=y)


LIVED = numbers(np.random.default_rng(11).exponential(2.0, 20)).clamp(max=3.0)
DIED = LIVED < 3.0


@REGRESSIONS.add(
    TUTORIAL + "survival with censoring by factor",
    LIVED,
    DIED,
    truth=lambda: {"rate": gamma(1.0 + int(DIED.sum()), 1.0 + float(LIVED.sum()))},
)
def censored_exponential(time: Tensor, died: Tensor) -> None:
    rate = pyro.sample("rate", dist.Gamma(1.0, 1.0))
    life = dist.Exponential(rate)
    with pyro.plate("patient", len(time)):
        pyro.factor("seen", torch.where(died, life.log_prob(time), -rate * time))


def _weibull() -> Moments:
    t, died = LIVED.numpy(), DIED.numpy()

    def log_density(shape: np.ndarray, scale: np.ndarray) -> np.ndarray:
        total = -0.5 * (shape / 2) ** 2 - 0.5 * (scale / 5) ** 2
        for time, dead in zip(t, died, strict=True):
            total = total - (time / scale) ** shape
            if dead:
                total = total + np.log(shape / scale) + (shape - 1) * np.log(time / scale)
        return total

    return on_grid(log_density, shape=(0, 4, 400), scale=(0, 25, 1000))


@REGRESSIONS.add(FORUM + "Weibull survival, two plates", LIVED, DIED, truth=_weibull)
def weibull(time: Tensor, died: Tensor) -> None:
    shape = pyro.sample("shape", dist.HalfNormal(2.0))
    scale = pyro.sample("scale", dist.HalfNormal(5.0))
    with pyro.plate("dead", int(died.sum())):
        pyro.sample("death", dist.Weibull(scale, shape), obs=time[died])
    with pyro.plate("alive", int((~died).sum())):
        pyro.factor("survival", -((time[~died] / scale) ** shape))


TALL = LINE[LINE > 0.0]


def _truncated() -> Moments:
    def log_density(mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        total = stats.norm.logpdf(mu, 0, 5) + stats.norm.logpdf(sigma, 0, 3)
        for y in TALL.numpy():
            total = total + stats.norm.logpdf(y, mu, sigma)
        return total - len(TALL) * stats.norm.logsf(0.0, mu, sigma)

    return on_grid(log_density, mu=(-20, 8, 700), sigma=(0, 12, 480))


@REGRESSIONS.add(FORUM + "truncated data", TALL, truth=_truncated)
def truncated(y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(3.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(mu, sigma), obs=y)
        pyro.factor("kept", -torch.log(torch.special.ndtr(mu / sigma)))


ROUNDED = LINE.round()


def _rounded() -> Moments:
    def log_density(mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        total = stats.norm.logpdf(mu, 0, 5) + stats.norm.logpdf(sigma, 0, 3)
        for y in ROUNDED.numpy():
            inside = stats.norm.cdf(y + 0.5, mu, sigma) - stats.norm.cdf(y - 0.5, mu, sigma)
            total = total + np.log(inside)
        return total

    return on_grid(log_density, mu=(-3, 5, 400), sigma=(0, 6, 400))


@REGRESSIONS.add(BOOK + "rounded data, as intervals", ROUNDED - 0.5, ROUNDED + 0.5, truth=_rounded)
def rounded(low: Tensor, high: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(3.0))
    normal = dist.Normal(mu, sigma)
    with pyro.plate("row", len(low)):
        pyro.factor("inside", torch.log(normal.cdf(high) - normal.cdf(low)))


# --- single samples ---------------------------------------------------------------------------

EXPOSURE = noise(12, seed=12).abs() + 0.5
EVENTS = numbers(np.random.default_rng(13).poisson(1.7 * EXPOSURE.numpy()))


@REGRESSIONS.add(
    BOOK + "a rate with exposures",
    EXPOSURE,
    EVENTS,
    truth=lambda: {"rate": gamma(2.0 + float(EVENTS.sum()), 1.0 + float(EXPOSURE.sum()))},
)
def exposed_rate(exposure: Tensor, events: Tensor) -> None:
    rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
    with pyro.plate("unit", len(events)):
        pyro.sample("events", dist.Poisson(rate * exposure), obs=events)


@REGRESSIONS.add(
    BOOK + "tries until the first success",
    ZEROS,
    truth=lambda: {"p": beta(1.0 + len(ZEROS), 1.0 + float(ZEROS.sum()))},
)
def geometric(tries: Tensor) -> None:
    p = pyro.sample("p", dist.Uniform(0.0, 1.0))
    with pyro.plate("row", len(tries)):
        pyro.sample("tries", dist.Geometric(p), obs=tries)


@REGRESSIONS.add(
    TUTORIAL + "svi_part_i.ipynb: fairness of a coin",
    coins(10, chance=0.6, seed=14),
    truth=lambda: {
        "latent_fairness": beta(
            10.0 + float(coins(10, chance=0.6, seed=14).sum()),
            20.0 - float(coins(10, chance=0.6, seed=14).sum()),
        )
    },
)
def coin_in_a_loop(data: Tensor) -> None:
    f = pyro.sample("latent_fairness", dist.Beta(10.0, 10.0))
    for i in range(len(data)):
        pyro.sample(f"obs_{i}", dist.Bernoulli(f), obs=data[i])


@REGRESSIONS.add(
    TUTORIAL + "intro_part_ii.ipynb: scale, with its one measurement",
    numbers(8.5),
    truth=lambda: {"weight": pooled([9.5], 1.0, 0.75, 8.5)},
)
def weigh(guess: Tensor) -> Tensor:
    weight = pyro.sample("weight", dist.Normal(guess, 1.0))
    return pyro.sample("measurement", dist.Normal(weight, 0.75), obs=numbers(9.5))


CAUCHY = numbers([-3.5, -3.0, -2.8, 3.1, 3.3, 2.9])


@REGRESSIONS.add(
    BOOK + "the location of a Cauchy, of two modes",
    CAUCHY,
    truth=lambda: on_grid(
        lambda m: (
            stats.norm.logpdf(m, 0.5, 10)
            + sum(stats.cauchy.logpdf(y, m, 0.8) for y in CAUCHY.numpy())
        ),
        m=(-15, 15, 6000),
    ),
)
def cauchy_of_two_modes(y: Tensor) -> None:
    m = pyro.sample("m", dist.Normal(0.5, 10.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Cauchy(m, 0.8), obs=y)


SERIALS = numbers([2.1, 5.7, 7.2, 3.3, 6.4])


def _highest() -> Moments:
    of = stats.pareto(2.5 + 5, scale=7.2)
    return {"top": (of.mean(), of.std())}


@REGRESSIONS.add(BOOK + "the end of a uniform (German tanks)", SERIALS, truth=_highest)
def uniform_end(serials: Tensor) -> None:
    top = pyro.sample("top", dist.Pareto(1.0, 2.5))
    with pyro.plate("row", len(serials)):
        pyro.sample("serials", dist.Uniform(torch.zeros(()), top), obs=serials)


@REGRESSIONS.add(
    BOOK + "Michaelis-Menten kinetics",
    numbers([0.5, 1.0, 2.0, 4.0, 8.0]),
    numbers([1.1, 1.9, 2.5, 3.4, 3.8]),
    truth=lambda: on_grid(
        lambda top, half: -0.5 * ((top - 5) / 3) ** 2 - 0.5 * (np.log(half) - 0.5) ** 2
        - np.log(half)
        - 0.5 / 0.3**2 * sum(
            (y - top * s / (half + s)) ** 2
            for s, y in [(0.5, 1.1), (1.0, 1.9), (2.0, 2.5), (4.0, 3.4), (8.0, 3.8)]
        ),
        top=(0, 15, 500), half=(0, 15, 1500),
    ),
)  # fmt: skip
def michaelis_menten(s: Tensor, y: Tensor) -> None:
    top = pyro.sample("top", dist.Normal(5.0, 3.0))
    half = pyro.sample("half", dist.LogNormal(0.5, 1.0))
    with pyro.plate("row", len(s)):
        pyro.sample("y", dist.Normal(top * s / (half + s), 0.3), obs=y)


@REGRESSIONS.add(
    FORUM + "a dozen means at once, no plate",
    noise(6, 4, seed=15),
    truth=lambda: {
        "m": tuple(np.array([pooled(c, 2.0) for c in noise(6, 4, seed=15).numpy().T]).T)
    },
)
def means_without_a_plate(y: Tensor) -> None:
    m = pyro.sample("m", dist.Normal(torch.zeros(4), 2.0))
    pyro.sample("y", dist.Normal(m, 1.0), obs=y)


def _two_levels() -> Moments:
    """b[0] and b[1] are each other's only difference in the data: their sum is known, they not."""
    return {"b": ridge(np.ones((10, 2)), np.full(10, 3.0), 1.0, 0.5)}


@REGRESSIONS.add(
    BOOK + "two coefficients of one covariate", numbers([3.0] * 10), truth=_two_levels
)
def not_identified(y: Tensor) -> None:
    b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(b.sum(), 0.5), obs=y)
