"""The six problems: their data, and how their latent variables lie in one flat vector.

Each is written three times, in `with_pyro`, `with_numpyro` and `with_pymc`. What they share is
the order of the latent variables and the unconstrained space: a positive one stands as its
logarithm, any other as it is. So a Gaussian over the flat vector means the same in all three.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

__all__ = ["PROBLEMS", "Data", "Latent", "Problem"]

Data = dict[str, np.ndarray]


@dataclass(frozen=True)
class Latent:
    """One latent variable.

    Attributes:
        name: As all three libraries call it.
        shape: Its shape.
        positive: Whether it stands as its logarithm in the flat vector.
    """

    name: str
    shape: tuple[int, ...] = ()
    positive: bool = False

    @property
    def size(self) -> int:
        """How many entries of the flat vector it takes."""
        return prod(self.shape)


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        name: What it is called.
        about: One line.
        data: Makes the data, the same every time.
        latents: The latent variables, in the order of the flat vector.
        exact: Mean and sd of each entry of the flat vector, where they are known in closed form.
        start: Where the long run of NUTS starts, for a posterior with lesser modes elsewhere.
    """

    name: str
    about: str
    data: Callable[[], Data]
    latents: tuple[Latent, ...]
    exact: Callable[[Data], tuple[np.ndarray, np.ndarray]] | None = None
    start: Data | None = None

    @property
    def dim(self) -> int:
        """The length of the flat vector."""
        return sum(latent.size for latent in self.latents)

    @property
    def positive(self) -> np.ndarray:
        """Which entries of the flat vector are logarithms."""
        return np.concatenate([np.full(each.size, each.positive) for each in self.latents])


def eight_schools() -> Data:
    """Rubin (1981): effects of coaching, and their standard errors."""
    return {
        "y": np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
        "sigma": np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]),
    }


def radon() -> Data:
    """Log radon in 919 houses of 85 counties of very unequal size, simulated."""
    rng = np.random.default_rng(919)
    share = rng.dirichlet(np.full(85, 0.5))
    county = np.concatenate([np.arange(85), rng.choice(85, 919 - 85, p=share)])
    floor = (rng.random(919) < 0.17).astype(float)
    effect = 1.5 + 0.35 * rng.normal(size=85)
    y = effect[county] - 0.65 * floor + 0.75 * rng.normal(size=919)
    return {"county": county, "floor": floor, "y": y}


def logistic() -> Data:
    """Breast cancer: 569 tumours, 30 features, standardised."""
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    return {"X": (X - X.mean(0)) / X.std(0), "y": y.astype(float)}


def mixture() -> Data:
    """1,000 points from five Gaussians on a line."""
    rng = np.random.default_rng(5)
    component = rng.choice(5, 1000, p=MIXTURE_WEIGHT)
    truth = MIXTURE_TRUTH
    loc = truth["first"] + np.concatenate([[0.0], truth["gap"].cumsum()])
    return {"y": loc[component] + truth["scale"][component] * rng.normal(size=1000)}


MIXTURE_WEIGHT = np.array([0.1, 0.3, 0.2, 0.25, 0.15])
MIXTURE_TRUTH = {
    "first": np.array(-6.0),
    "gap": np.array([3.5, 2.5, 3.0, 4.0]),
    "scale": np.array([0.6, 0.8, 0.5, 0.9, 0.7]),
    "logit": np.log(MIXTURE_WEIGHT[1:] / MIXTURE_WEIGHT[0]),
}


def gp() -> Data:
    """100 noisy values of a smooth function."""
    rng = np.random.default_rng(100)
    x = np.sort(rng.uniform(0, 10, 100))
    return {"x": x, "y": np.sin(x) + 0.3 * x + 0.3 * rng.normal(size=100)}


def inverse() -> Data:
    """500 blurred, noisy views of a signal of 1,000 values."""
    rng = np.random.default_rng(1000)
    place = np.arange(1000)
    A = np.exp(-0.5 * ((place[1::2, None] - place) / 3.0) ** 2)
    A /= A.sum(1, keepdims=True)
    signal = rng.normal(size=1000)
    return {"A": A, "y": A @ signal + INVERSE_NOISE * rng.normal(size=500)}


INVERSE_NOISE = 0.1


def inverse_exact(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """The posterior is Gaussian: its means and standard deviations."""
    A, y = data["A"], data["y"]
    covariance = np.linalg.inv(np.eye(1000) + A.T @ A / INVERSE_NOISE**2)
    return covariance @ A.T @ y / INVERSE_NOISE**2, np.sqrt(np.diag(covariance))


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "eight_schools",
            "eight schools, non-centred",
            eight_schools,
            (Latent("mu"), Latent("tau", positive=True), Latent("z", (8,))),
        ),
        Problem(
            "radon",
            "hierarchical regression, 919 houses in 85 counties",
            radon,
            (
                Latent("mu"),
                Latent("beta"),
                Latent("sd_county", positive=True),
                Latent("sigma", positive=True),
                Latent("z", (85,)),
            ),
        ),
        Problem(
            "logistic",
            "logistic regression, breast cancer, 569 x 30",
            logistic,
            (Latent("intercept"), Latent("beta", (30,))),
        ),
        Problem(
            "mixture",
            "mixture of five Gaussians, 1,000 points, in order",
            mixture,
            (
                Latent("first"),
                Latent("gap", (4,), positive=True),
                Latent("scale", (5,), positive=True),
                Latent("logit", (4,)),
            ),
            start=MIXTURE_TRUTH,
        ),
        Problem(
            "gp",
            "Gaussian process regression, 100 points",
            gp,
            (
                Latent("rho", positive=True),
                Latent("alpha", positive=True),
                Latent("sigma", positive=True),
            ),
        ),
        Problem(
            "inverse",
            "linear inverse problem, 1,000 unknowns, 500 views",
            inverse,
            (Latent("x", (1000,)),),
            exact=inverse_exact,
        ),
    )
}
