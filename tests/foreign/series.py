"""Things in order: time series, Gaussian processes, hidden states, change points, equations."""

from collections.abc import Iterator

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy import special, stats
from torch import Tensor

from foreign.record import ENUMERATE, Collection, noise, numbers
from foreign.truths import Moments, gamma, gaussian, on_grid, ridge

__all__ = ["SERIES"]

SERIES = Collection()
TUTORIAL, FORUM, STAN = "tutorial/source/", "forum.pyro.ai: ", "Stan's guide, as Pyro: "
STEPS = noise(16, seed=40)
WALK = 0.6 * STEPS.cumsum(0) + 0.4 * noise(16, seed=41)


def autoregressive(count: int, phi: float, seed: int) -> Tensor:
    values = [0.0]
    for e in np.random.default_rng(seed).standard_normal(count):
        values.append(0.3 + phi * values[-1] + e)
    return numbers(values[1:])


AR = autoregressive(24, 0.6, 42)

# --- recursions -------------------------------------------------------------------------------


def _ar1() -> Moments:
    lagged = np.stack([np.ones(23), AR[:-1].numpy()], 1)
    mean, sd = ridge(lagged, AR[1:], [2.0, 1.0])
    return {"c": (mean[0], sd[0]), "phi": (mean[1], sd[1])}


@SERIES.add(FORUM + "AR(1) in a loop", AR, truth=_ar1)
def ar1_in_a_loop(y: Tensor) -> None:
    c = pyro.sample("c", dist.Normal(0.0, 2.0))
    phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
    for t in range(1, len(y)):
        pyro.sample(f"y_{t}", dist.Normal(c + phi * y[t - 1], 1.0), obs=y[t])


@SERIES.add(STAN + "AR(2), vectorised", AR)
def ar2(y: Tensor) -> None:
    phi = pyro.sample("phi", dist.Uniform(-torch.ones(2), torch.ones(2)).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfNormal(2.0))
    mean = phi[0] * y[1:-1] + phi[1] * y[:-2]
    with pyro.plate("time", len(y) - 2):
        pyro.sample("y", dist.Normal(mean, sigma), obs=y[2:])


@SERIES.add(STAN + "ARMA(1, 1)", AR)
def arma(y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    phi = pyro.sample("phi", dist.Normal(0.0, 0.5))
    theta = pyro.sample("theta", dist.Normal(0.0, 0.5))
    sigma = pyro.sample("sigma", dist.HalfCauchy(1.0))
    error = y[0] - mu
    for t in range(1, len(y)):
        mean = mu + phi * y[t - 1] + theta * error
        pyro.sample(f"y_{t}", dist.Normal(mean, sigma), obs=y[t])
        error = y[t] - mean


@SERIES.add(STAN + "GARCH(1, 1)", AR - AR.mean())
def garch(y: Tensor) -> None:
    base = pyro.sample("base", dist.HalfNormal(1.0))
    shock = pyro.sample("shock", dist.Uniform(0.0, 1.0))
    memory = pyro.sample("memory", dist.Uniform(torch.zeros(()), 1 - shock))
    variance = torch.ones(())
    scales = []
    for t in range(len(y)):
        scales.append(variance.sqrt())
        variance = base + shock * y[t] ** 2 + memory * variance
    pyro.sample("y", dist.Normal(torch.zeros(len(y)), torch.stack(scales)).to_event(1), obs=y)


VECTOR = noise(16, 2, seed=43).cumsum(0) * 0.5


def _vector() -> Moments:
    columns = [ridge(VECTOR[:-1], VECTOR[1:, k], 1.0) for k in range(2)]
    return {"A": tuple(np.stack([c[i] for c in columns], 1) for i in range(2))}


@SERIES.add(FORUM + "a vector autoregression", VECTOR, truth=_vector)
def vector_autoregression(y: Tensor) -> None:
    A = pyro.sample("A", dist.Normal(torch.zeros(2, 2), torch.ones(2, 2)).to_event(2))
    with pyro.plate("time", len(y) - 1):
        step = dist.MultivariateNormal(y[:-1] @ A, torch.eye(2))
        pyro.sample("y", step, obs=y[1:])


MONTH = torch.arange(24, dtype=torch.float64)
WAVES = torch.stack(
    [torch.ones(24), MONTH / 24, (MONTH * np.pi / 6).sin(), (MONTH * np.pi / 6).cos()], -1
).double()
SEASONAL = WAVES @ numbers([1.0, 2.0, -0.7, 0.4]) + 0.5 * noise(24, seed=44)


@SERIES.add(
    TUTORIAL + "forecasting_i.ipynb: trend and season",
    SEASONAL,
    WAVES,
    truth=lambda: {"weight": ridge(WAVES, SEASONAL, 3.0, 0.5)},
)
def trend_and_season(y: Tensor, features: Tensor) -> None:
    with pyro.plate("feature", 4, dim=-1):
        weight = pyro.sample("weight", dist.Normal(0.0, 3.0))
    mean = (weight * features).sum(-1)
    with pyro.plate("time", len(y), dim=-1):
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


# --- states -----------------------------------------------------------------------------------


def _walk_precision(sd: float, noise_sd: float) -> tuple[np.ndarray, np.ndarray]:
    """Of a walk from 0 with normal steps, observed with normal noise."""
    differences = np.eye(16) - np.eye(16, k=-1)
    precision = differences.T @ differences / sd**2 + np.eye(16) / noise_sd**2
    return precision, WALK.numpy() / noise_sd**2


def _walk() -> Moments:
    mean, sd = gaussian(*_walk_precision(0.6, 0.4))
    return {f"x_{t}": (mean[t], sd[t]) for t in range(16)}


@SERIES.add(TUTORIAL + "ssm: a local level by pyro.markov", WALK, truth=_walk)
def local_level(y: Tensor) -> None:
    x: Tensor | float = 0.0
    for t in pyro.markov(range(len(y))):
        x = pyro.sample(f"x_{t}", dist.Normal(x, 0.6))
        pyro.sample(f"y_{t}", dist.Normal(x, 0.4), obs=y[t])


def _innovations() -> Moments:
    return {"step": ridge(0.6 * np.tril(np.ones((16, 16))), WALK, 1.0, 0.4)}


@SERIES.add(FORUM + "a random walk by cumsum", WALK, truth=_innovations)
def walk_by_cumsum(y: Tensor) -> Tensor:
    with pyro.plate("time", len(y)):
        step = pyro.sample("step", dist.Normal(0.0, 1.0))
    level = pyro.deterministic("level", 0.6 * step.cumsum(-1))
    with pyro.plate("seen", len(y)):
        pyro.sample("y", dist.Normal(level, 0.4), obs=y)
    return level


@SERIES.add(FORUM + "a random walk of unknown scales", WALK)
def walk_of_unknown_scales(y: Tensor) -> None:
    drift = pyro.sample("drift", dist.HalfNormal(1.0))
    spread = pyro.sample("spread", dist.HalfNormal(1.0))
    step = pyro.sample("step", dist.Normal(torch.zeros(len(y)), 1.0).to_event(1))
    level = drift * step.cumsum(-1)
    pyro.sample("y", dist.Normal(level, spread).to_event(1), obs=y)


def _filtered() -> Moments:
    """The walk summed out, for each scale of the noise."""

    def log_density(noise_sd: np.ndarray) -> np.ndarray:
        covariance = 0.36 * np.minimum.outer(np.arange(1, 17), np.arange(1, 17))
        logs = [
            stats.multivariate_normal(np.zeros(16), covariance + s**2 * np.eye(16)).logpdf(WALK)
            for s in noise_sd
        ]
        return np.array(logs) - 0.5 * noise_sd**2

    return on_grid(log_density, noise_sd=(0.01, 3, 600))


@SERIES.add("tests/distributions/test_hmm.py: GaussianHMM", WALK, truth=_filtered)
def gaussian_hmm_as_a_distribution(y: Tensor) -> None:
    noise_sd = pyro.sample("noise_sd", dist.HalfNormal(1.0))
    one, zero = torch.eye(1), torch.zeros(1)
    of_state = dist.MultivariateNormal(zero, 0.36 * one)
    seen = dist.MultivariateNormal(zero, noise_sd**2 * one)
    start = dist.MultivariateNormal(zero, 1e-8 * one)
    chain = dist.GaussianHMM(start, one, of_state, one, seen, duration=len(y))
    pyro.sample("y", chain, obs=y.unsqueeze(-1))


@SERIES.add("examples/svi_sv: stochastic volatility", 0.5 * noise(14, seed=45))
def stochastic_volatility(returns: Tensor) -> None:
    level = pyro.sample("level", dist.Normal(-1.0, 1.0))
    phi = pyro.sample("phi", dist.Beta(10.0, 2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(0.5))
    h = level
    for t in pyro.markov(range(len(returns))):
        shock = pyro.sample(f"shock_{t}", dist.Normal(0.0, 1.0))
        h = level + phi * (h - level) + sigma * shock
        pyro.sample(f"r_{t}", dist.Normal(0.0, (h / 2).exp()), obs=returns[t])


STATES = numbers([-1.2, -0.8, -1.1, 0.9, 1.4, 0.7, 1.2, -0.6, -1.3, -0.9, 1.1, 0.8])


def _forward(stay: np.ndarray, loc: float = 1.0, scale: float = 0.8) -> np.ndarray:
    """Log likelihood of two states by the forward algorithm, for each chance to stay."""
    filtered = np.stack([0.5 * np.ones_like(stay)] * 2)
    total = np.zeros_like(stay)
    for t, y in enumerate(STATES.numpy()):
        if t:
            filtered = stay * filtered + (1 - stay) * filtered[::-1]
        seen = np.array([stats.norm.pdf(y, -loc, scale), stats.norm.pdf(y, loc, scale)])
        filtered = filtered * seen.reshape(2, *[1] * stay.ndim)
        total = total + np.log(filtered.sum(0))
        filtered = filtered / filtered.sum(0)
    return total


def _stay() -> Moments:
    return on_grid(lambda s: _forward(s) + 3 * np.log(s) + np.log1p(-s), stay=(0, 1, 4000))


@SERIES.add(
    TUTORIAL + "hmm.ipynb: enumerated in a pyro.markov loop", STATES, nesting=0, truth=_stay
)
def two_states_in_a_loop(y: Tensor) -> None:
    stay = pyro.sample("stay", dist.Beta(4.0, 2.0))
    rows = torch.stack([torch.stack([stay, 1 - stay]), torch.stack([1 - stay, stay])])
    loc = torch.tensor([-1.0, 1.0])
    state = None
    for t in pyro.markov(range(len(y))):
        chance = torch.tensor([0.5, 0.5]) if state is None else rows[state]
        state = pyro.sample(f"state_{t}", dist.Categorical(chance), infer=ENUMERATE)
        pyro.sample(f"y_{t}", dist.Normal(loc[state], 0.8), obs=y[t])


@SERIES.add("tests/distributions/test_hmm.py: DiscreteHMM", STATES, truth=_stay)
def two_states_as_a_distribution(y: Tensor) -> None:
    stay = pyro.sample("stay", dist.Beta(4.0, 2.0))
    rows = torch.stack([torch.stack([stay, 1 - stay]), torch.stack([1 - stay, stay])])
    start = torch.tensor([0.5, 0.5]).log()
    seen = dist.Normal(torch.tensor([-1.0, 1.0]), 0.8)
    pyro.sample("y", dist.DiscreteHMM(start, rows.log(), seen, duration=len(y)), obs=y)


# --- Gaussian processes -----------------------------------------------------------------------

PLACES = torch.linspace(0, 3, 10, dtype=torch.float64)
CURVE = (2 * PLACES).sin() + 0.3 * noise(10, seed=46)


def kernel(x: Tensor, length: Tensor | float, jitter: float = 1e-5) -> Tensor:
    return (-0.5 * ((x[:, None] - x) / length) ** 2).exp() + jitter * torch.eye(len(x))


def _process() -> Moments:
    K = kernel(PLACES, 0.7).double().numpy()
    return {"f": gaussian(np.linalg.inv(K) + np.eye(10) / 0.09, CURVE.numpy() / 0.09)}


@SERIES.add(TUTORIAL + "gp.ipynb by hand", PLACES, CURVE, truth=_process)
def process(x: Tensor, y: Tensor) -> None:
    f = pyro.sample("f", dist.MultivariateNormal(torch.zeros(len(x)), kernel(x, 0.7)))
    pyro.sample("y", dist.Normal(f, 0.3).to_event(1), obs=y)


def _learnt_length() -> Moments:
    squares = (PLACES[:, None] - PLACES).numpy() ** 2

    def log_density(length: np.ndarray, spread: np.ndarray) -> np.ndarray:
        covariance = np.exp(-0.5 * squares / length[..., None, None] ** 2)
        covariance = covariance + (spread[..., None, None] ** 2 + 1e-5) * np.eye(10)
        solved = np.linalg.solve(covariance, CURVE.numpy()[:, None])[..., 0]
        total = -0.5 * (solved * CURVE.numpy()).sum(-1) - 0.5 * np.linalg.slogdet(covariance)[1]
        return total + 2 * np.log(length) - 2 * length - 0.5 * spread**2

    return on_grid(log_density, length=(0.02, 8, 250), spread=(0.02, 3, 150))


@SERIES.add(TUTORIAL + "gp.ipynb: length and noise learnt", PLACES, CURVE, truth=_learnt_length)
def process_of_unknown_length(x: Tensor, y: Tensor) -> None:
    length = pyro.sample("length", dist.Gamma(3.0, 2.0))
    spread = pyro.sample("spread", dist.HalfNormal(1.0))
    covariance = kernel(x, length) + spread**2 * torch.eye(len(x))
    pyro.sample("y", dist.MultivariateNormal(torch.zeros(len(x)), covariance), obs=y)


BUDS = numbers(np.random.default_rng(47).poisson(np.exp(1 + np.sin(2 * PLACES.numpy()))))


@SERIES.add(FORUM + "a log Gaussian Cox process", PLACES, BUDS)
def cox_process(x: Tensor, counts: Tensor) -> None:
    level = pyro.sample("level", dist.Normal(0.0, 2.0))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    root = torch.linalg.cholesky(kernel(x, 0.8, 1e-4))
    with pyro.plate("knot", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
    rate = (level + scale * (root @ z)).exp()
    with pyro.plate("place", len(x)):
        pyro.sample("counts", dist.Poisson(rate), obs=counts)


# --- changes ----------------------------------------------------------------------------------

MINES = numbers([4, 5, 4, 1, 0, 4, 3, 4, 0, 6, 3, 3, 4, 0, 1, 1, 0, 1, 0, 0, 1, 2, 0, 1])


def _mines() -> Moments:
    """Both rates are gammas given the year; the years are weighed by their evidence."""
    y, weights, found = MINES.numpy(), [], []
    for year in range(24):
        parts = [(1 + y[:year].sum(), 0.5 + year), (1 + y[year:].sum(), 24.5 - year)]
        weights.append(sum(special.gammaln(a) - a * np.log(b) for a, b in parts))
        found.append([gamma(a, b) for a, b in parts])
    weights = np.exp(np.array(weights) - max(weights))
    weights /= weights.sum()
    each = np.array(found)  # year, rate, (mean, sd)
    mean = weights @ each[..., 0]
    square = weights @ (each**2).sum(-1)
    return dict(
        zip(("early", "late"), zip(mean, np.sqrt(square - mean**2), strict=True), strict=True)
    )


@SERIES.add(FORUM + "coal mining: a discrete change point", MINES, nesting=1, truth=_mines)
def discrete_change(y: Tensor) -> None:
    early = pyro.sample("early", dist.Exponential(0.5))
    late = pyro.sample("late", dist.Exponential(0.5))
    year = pyro.sample("year", dist.Categorical(torch.ones(24) / 24), infer=ENUMERATE)
    with pyro.plate("time", len(y)):
        before = torch.arange(24) < year
        pyro.sample("y", dist.Poisson(torch.where(before, early, late)), obs=y)


def _smooth_change() -> Moments:
    y = MINES.numpy()

    def log_density(when: np.ndarray, early: np.ndarray, late: np.ndarray) -> np.ndarray:
        total = -0.5 * (early + late)
        for t in range(24):
            share = special.expit(2.0 * (when - t))
            rate = share * early + (1 - share) * late
            total = total + y[t] * np.log(rate) - rate
        return total

    return on_grid(log_density, when=(0, 24, 240), early=(0, 8, 100), late=(0, 8, 100))


@SERIES.add(FORUM + "coal mining: a smooth change point", MINES, truth=_smooth_change)
def smooth_change(y: Tensor) -> None:
    when = pyro.sample("when", dist.Uniform(0.0, 24.0))
    early = pyro.sample("early", dist.Exponential(0.5))
    late = pyro.sample("late", dist.Exponential(0.5))
    share = torch.sigmoid(2.0 * (when - torch.arange(24)))
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Poisson(share * early + (1 - share) * late), obs=y)


def _period_data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(48)
    t = np.sort(rng.uniform(0, 60, 25))
    return t, 2 * np.sin(2 * np.pi * t / 3.1 + 0.7) + rng.normal(0, 1, 25)


def _period() -> Moments:
    """The two amplitudes are integrated out exactly on a fine grid of the period."""
    t, y = _period_data()

    def log_density(log_period: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * t / np.exp(log_period)[:, None]
        X = np.stack([np.sin(angle), np.cos(angle)], -1)
        covariance = np.eye(25) + 4 * X @ X.transpose(0, 2, 1)
        solved = np.linalg.solve(covariance, y[:, None])[..., 0]
        return -0.5 * (solved * y).sum(-1) - 0.5 * np.linalg.slogdet(covariance)[1]

    return on_grid(log_density, log_period=(np.log(2.0), np.log(30.0), 20_000))


@SERIES.add(
    FORUM + "a sine of unknown period", *map(numbers, _period_data()), truth=_period,
    compared=lambda draws: {"log_period": draws["log_period"]},
)  # fmt: skip
def period(t: Tensor, y: Tensor) -> None:
    log_period = pyro.sample("log_period", dist.Uniform(np.log(2.0), np.log(30.0)))
    a = pyro.sample("a", dist.Normal(0.0, 2.0))
    b = pyro.sample("b", dist.Normal(0.0, 2.0))
    angle = 2 * np.pi * t / log_period.exp()
    with pyro.plate("row", len(t)):
        pyro.sample("y", dist.Normal(a * angle.sin() + b * angle.cos(), 1.0), obs=y)


# --- equations --------------------------------------------------------------------------------

DECAY_AT = numbers([0.0, 0.5, 1.0, 2.0, 4.0])
DECAY = numbers([3.1, 2.3, 1.9, 1.0, 0.4])


def _decay() -> Moments:
    def log_density(size: np.ndarray, rate: np.ndarray) -> np.ndarray:
        total = -0.5 * (size / 5) ** 2 - 0.5 * rate**2
        for t, y in zip(DECAY_AT.numpy(), DECAY.numpy(), strict=True):
            total = total - 0.5 * ((y - size * np.exp(-rate * t)) / 0.2) ** 2
        return total

    return on_grid(log_density, size=(0, 6, 600), rate=(0, 3, 600))


@SERIES.add(FORUM + "exponential decay", DECAY_AT, DECAY, truth=_decay)
def decay(t: Tensor, y: Tensor) -> None:
    size = pyro.sample("size", dist.HalfNormal(5.0))
    rate = pyro.sample("rate", dist.HalfNormal(1.0))
    with pyro.plate("row", len(t)):
        pyro.sample("y", dist.Normal(size * torch.exp(-rate * t), 0.2), obs=y)


def _logistic_growth(r, K, steps: int = 12, width: float = 0.5) -> Iterator:
    """Runge-Kutta of fourth order from 0.5; for NumPy and torch alike."""
    x = 0.5 + 0 * r

    def slope(x):
        return r * x * (1 - x / K)

    for _ in range(steps):
        k1 = slope(x)
        k2 = slope(x + 0.5 * width * k1)
        k3 = slope(x + 0.5 * width * k2)
        k4 = slope(x + width * k3)
        x = x + width / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        yield x


GROWN = numbers(
    np.array(list(_logistic_growth(np.array(1.1), np.array(6.0))))
    + 0.4 * noise(12, seed=49).numpy()
)


def _growth() -> Moments:
    def log_density(r: np.ndarray, K: np.ndarray) -> np.ndarray:
        total = -0.5 * (np.log(r) / 0.5) ** 2 - np.log(r) - 0.5 * ((K - 5) / 3) ** 2
        for x, y in zip(_logistic_growth(r, K), GROWN.numpy(), strict=True):
            total = total - 0.5 * ((y - x) / 0.4) ** 2
        return total

    return on_grid(log_density, r=(0.3, 3, 500), K=(3, 12, 500))


@SERIES.add(FORUM + "an ODE: logistic growth by Runge-Kutta", GROWN, truth=_growth)
def logistic_growth(y: Tensor) -> None:
    r = pyro.sample("r", dist.LogNormal(0.0, 0.5))
    K = pyro.sample("K", dist.Normal(5.0, 3.0))
    x = torch.stack(list(_logistic_growth(r, K)), -1)
    pyro.sample("y", dist.Normal(x, 0.4).to_event(1), obs=y)


def _lotka_volterra(a, b, c, d, steps: int = 20, width: float = 0.15) -> Iterator:
    prey, hunter = 1.5 + 0 * a, 1.0 + 0 * a
    for _ in range(steps):
        prey, hunter = (
            prey * torch.exp(width * (a - b * hunter)),
            hunter * torch.exp(width * (d * prey - c)),
        )
        yield torch.stack([prey, hunter], -1)


PREY = torch.stack(list(_lotka_volterra(*numbers([1.0, 0.8, 1.0, 0.7]))))
PREY = PREY * torch.exp(0.2 * noise(20, 2, seed=50))


@SERIES.add("Stan's case study: Lotka-Volterra, as Pyro", PREY)
def lotka_volterra(y: Tensor) -> None:
    with pyro.plate("rate", 4):
        rate = pyro.sample("theta", dist.LogNormal(0.0, 0.5))
    sigma = pyro.sample("sigma", dist.LogNormal(-1.0, 1.0))
    path = torch.stack(list(_lotka_volterra(*rate)))
    pyro.sample("y", dist.LogNormal(path.log(), sigma).to_event(2), obs=y)


def _epidemic(beta, recovery, steps: int = 14) -> Iterator:
    susceptible, infected = 0.98 + 0 * beta, 0.02 + 0 * beta
    for _ in range(steps):
        caught = susceptible * (1 - np.exp(-1) ** (beta * infected))
        susceptible, infected = susceptible - caught, infected + caught - recovery * infected
        yield 100 * caught


CASES = numbers(
    np.random.default_rng(51).poisson(list(_epidemic(np.array([0.9]), np.array([0.3]))))
)[:, 0]  # fmt: skip


def _sir() -> Moments:
    def log_density(beta: np.ndarray, recovery: np.ndarray) -> np.ndarray:
        total = -0.5 * (np.log(beta) / 0.5) ** 2 - np.log(beta)
        total = total + 2 * np.log(recovery) + 4 * np.log1p(-recovery)
        for rate, y in zip(_epidemic(beta, recovery), CASES.numpy(), strict=True):
            total = total + y * np.log(rate) - rate
        return total

    return on_grid(log_density, beta=(0.1, 3, 500), recovery=(0, 1, 500))


@SERIES.add("examples/sir_hmc.py: an epidemic, its means", CASES, truth=_sir)
def epidemic(cases: Tensor) -> None:
    beta = pyro.sample("beta", dist.LogNormal(0.0, 0.5))
    recovery = pyro.sample("recovery", dist.Beta(3.0, 5.0))
    for t, rate in enumerate(_epidemic(beta, recovery)):
        pyro.sample(f"cases_{t}", dist.Poisson(rate), obs=cases[t])


@SERIES.add(
    "examples/sir_hmc.py: an epidemic with continuous compartments",
    CASES[:8],
    compared=lambda draws: {k: v for k, v in draws.items() if k in ("beta", "recovery")},
)
def relaxed_epidemic(cases: Tensor) -> None:
    """The infections of a day are a normal of its mean's mean and variance."""
    beta = pyro.sample("beta", dist.LogNormal(0.0, 0.5))
    recovery = pyro.sample("recovery", dist.Beta(3.0, 5.0))
    susceptible, infected = torch.tensor(98.0), torch.tensor(2.0)
    for t in pyro.markov(range(len(cases))):
        mean = susceptible * -torch.expm1(-beta * infected / 100)
        u = pyro.sample(f"u_{t}", dist.Normal(0.0, 1.0))
        caught = torch.nn.functional.softplus(mean + u * (mean + 0.1).sqrt())
        susceptible = (susceptible - caught).clamp(min=0.1)
        infected = infected + caught - recovery * infected
        pyro.sample(f"cases_{t}", dist.Poisson(caught), obs=cases[t])
