"""The problems: their data, and what is compared of their posteriors.

Each is written twice, in `with_pyro` and `with_numpyro`, under the same names. The data are made
here with fixed seeds, except where they are published.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from peers.problems import Data, eight_schools, radon

__all__ = ["PROBLEMS", "Draws", "Problem", "compared"]

Draws = dict[str, np.ndarray]  # by site: (draw, *shape)


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        name: What it is called.
        about: One line.
        data: Makes the data, the same every time.
        sites: The latent variables that are compared, all their entries.
        hierarchy: Whether it is one of those that a nested Laplace approximation is held to.
        reference: Whether a long run of NUTS is cheap enough to compare with.
        noncentred: Sites that the long run moves in non-centred form, out of a funnel's neck.
        even: Sites whose entries have no sign that the posterior knows: the long run, which seldom
            crosses from one mode to the other, gets random ones.
        linked: Whether its entries are so correlated that the long run needs a full mass matrix.
        bar: CPU seconds that fit, draws and verdict may take, where there is such a bar.
        of_bar: Which seconds the bar is for: ``cold``, ``warm`` or ``fit``.
        twin: Another problem of the same posterior, whose NumPyro sides stand for this one's too.
        arranged: Brings draws into one order, where the posterior is the same for several.
    """

    name: str
    about: str
    data: Callable[[], Data]
    sites: tuple[str, ...]
    hierarchy: bool = False
    reference: bool = True
    noncentred: tuple[str, ...] = ()
    even: tuple[str, ...] = ()
    linked: bool = False
    bar: float | None = None
    of_bar: str = "cold"
    twin: str = ""
    arranged: Callable[[Draws], Draws] = field(default=lambda draws: draws)


def compared(problem: Problem, draws: Draws) -> np.ndarray:
    """Every entry of every compared site, of shape (draw, entry)."""
    chosen = problem.arranged({site: draws[site] for site in problem.sites})
    return np.concatenate([each.reshape(len(each), -1) for each in chosen.values()], axis=1)


def poisson_groups(groups: int) -> Data:
    """Counts in groups of ten, with one covariate."""
    rng = np.random.default_rng(groups)
    x = rng.normal(size=(groups, 10))
    effect = 1.0 + 0.5 * rng.normal(size=(groups, 1))
    return {"x": x, "y": rng.poisson(np.exp(effect + 0.3 * x)).astype(float)}


def gp_poisson() -> Data:
    """Counts at eleven places, whose log rate is a smooth function."""
    rng = np.random.default_rng(13)
    x = np.linspace(-10, 10, 11)
    log_rate = 2.0 + 1.2 * np.sin(x / 4) + 0.5 * np.cos(x / 2)
    return {"x": x, "y": rng.poisson(np.exp(log_rate)).astype(float)}


def iris() -> Data:
    """Fisher's irises, standardised, for three components."""
    from sklearn.datasets import load_iris

    y = np.asarray(load_iris(return_X_y=True)[0])
    return {"y": (y - y.mean(0)) / y.std(0), "components": np.array(3), "spread": np.array(1.0)}


def by_petal(draws: Draws) -> Draws:
    """The mixture's components in the order of their petals' length, which tells them apart."""
    order = draws["loc"][..., 2].argsort(axis=1)
    rows = np.arange(len(order))[:, None]
    return {site: each[rows, order] for site, each in draws.items()}


def arma() -> Data:
    """Two hundred values of an autoregressive, moving average process."""
    rng = np.random.default_rng(200)
    y, error = np.empty(200), 0.15 * rng.normal(size=200)
    y[0] = 0.5 + error[0]
    for t in range(1, 200):
        y[t] = 0.1 + 0.7 * y[t - 1] + error[t] + 0.4 * error[t - 1]
    return {"y": y}


def hidden_markov() -> Data:
    """Four hundred noisy views of a chain with three states."""
    rng = np.random.default_rng(400)
    transition = np.array([[0.9, 0.08, 0.02], [0.05, 0.9, 0.05], [0.1, 0.1, 0.8]])
    state, states = 0, []
    for _ in range(400):
        state = rng.choice(3, p=transition[state])
        states.append(state)
    loc, scale = np.array([-2.0, 0.3, 2.5]), np.array([0.8, 0.6, 1.0])
    return {"y": loc[states] + scale[states] * rng.normal(size=400)}


def pharmacokinetics() -> Data:
    """Concentrations of a drug at twenty times, with noise of a tenth, as in posteriordb.

    The volume is 2 litres, the dose 30 mg; the true rate of absorption is 0.75 a day, and the
    Michaelis-Menten elimination has the constants 0.25 mg/L and 1 mg a day.
    """
    from scipy.integrate import solve_ivp

    def change(t: float, c: np.ndarray) -> np.ndarray:
        return 30 * 0.75 / 2 * np.exp(-0.75 * t) - 1.0 / 2 * c / (0.25 + c)

    times = np.arange(1, 21) / 2
    exact = solve_ivp(change, (0, 10), [0.0], t_eval=times, rtol=1e-9, atol=1e-9).y[0]
    noise = np.random.default_rng(20).normal(size=20)
    return {"times": times, "y": exact * np.exp(0.1 * noise)}


def ordinal() -> Data:
    """Marks of four grades, explained by three covariates."""
    rng = np.random.default_rng(250)
    X = rng.normal(size=(250, 3))
    score = X @ [1.0, -0.5, 0.2] + rng.logistic(size=250)
    return {"X": X, "y": np.searchsorted([-1.5, 0.3, 1.4], score)}


def _unequal(rng: np.random.Generator, groups: int, rows: int) -> np.ndarray:
    """The group of each row: each group has one, and the rest lie where they fall."""
    share = rng.dirichlet(np.ones(groups))
    return np.concatenate([np.arange(groups), rng.choice(groups, rows - groups, p=share)])


def gaussian_groups() -> Data:
    """Thirty groups of very unequal size."""
    rng = np.random.default_rng(30)
    group = _unequal(rng, 30, 300)
    y = 2.0 + 0.6 * rng.normal(size=30)[group] + rng.normal(size=300)
    return {"group": group, "y": y}


def poisson_unequal() -> Data:
    """Counts in forty groups of unequal size, small ones, with one covariate."""
    rng = np.random.default_rng(40)
    group, x = _unequal(rng, 40, 200), rng.normal(size=200)
    rate = np.exp(0.2 + 0.8 * rng.normal(size=40)[group] + 0.4 * x)
    return {"group": group, "x": x, "y": rng.poisson(rate).astype(float)}


def bernoulli_groups() -> Data:
    """Successes in fifty groups of unequal size, with one covariate."""
    rng = np.random.default_rng(50)
    group, x = _unequal(rng, 50, 400), rng.normal(size=400)
    logit = -0.5 + 1.0 * rng.normal(size=50)[group] + 0.7 * x
    return {
        "group": group,
        "x": x,
        "y": (rng.random(400) < 1 / (1 + np.exp(-logit))).astype(float),
    }


def student_groups() -> Data:
    """Twenty-five groups with noise that has heavy tails."""
    rng = np.random.default_rng(25)
    group = _unequal(rng, 25, 250)
    y = 1.0 + 0.7 * rng.normal(size=25)[group] + 0.8 * rng.standard_t(3, size=250)
    return {"group": group, "y": y}


def crossed() -> Data:
    """Marks that twenty raters gave to fifteen essays, a third of them missing."""
    rng = np.random.default_rng(15)
    seen = rng.random((20, 15)) > 1 / 3
    rater, essay = np.nonzero(seen)
    effect = 0.5 * rng.normal(size=20)[rater] + 0.9 * rng.normal(size=15)[essay]
    return {"rater": rater, "essay": essay, "y": 3.0 + effect + 0.7 * rng.normal(size=len(rater))}


def varying_slopes() -> Data:
    """Twenty groups, each with its own line; steep ones start low."""
    rng = np.random.default_rng(21)
    group, x = _unequal(rng, 20, 240), rng.normal(size=240)
    root = np.array([[0.8, 0.0], [-0.3, 0.4]])
    line = np.array([1.0, 0.5]) + rng.normal(size=(20, 2)) @ root.T
    y = line[group, 0] + line[group, 1] * x + 0.6 * rng.normal(size=240)
    return {"group": group, "x": x, "y": y}


def gp_length() -> Data:
    """Forty noisy values of a smooth function."""
    rng = np.random.default_rng(41)
    x = np.sort(rng.uniform(0, 10, 40))
    return {"x": x, "y": np.sin(x) + 0.3 * rng.normal(size=40)}


def bimodal_effects() -> Data:
    """Eight noisy squares: the sign of what was squared is anyone's guess."""
    rng = np.random.default_rng(8)
    return {"y": rng.normal(size=8) ** 2 + 0.8 + 0.6 * rng.normal(size=8)}


def single_bernoulli() -> Data:
    """Ten coins, each thrown once."""
    return {"y": np.array([1.0, 1, 0, 1, 1, 1, 0, 1, 1, 1])}


PROBLEMS = {
    each.name: each
    for each in (
        Problem(
            "radon",
            "hierarchical regression, 919 houses in 85 counties, non-centred",
            radon,
            ("mu", "beta", "sd_county", "sigma", "z"),
            bar=3,
        ),
        Problem(
            "groups_100",
            "Poisson hierarchy, 100 groups x 10, non-centred",
            lambda: poisson_groups(100),
            ("mu", "beta", "tau", "z"),
            bar=3,
        ),
        Problem(
            "groups_5000",
            "Poisson hierarchy, 5,000 groups x 10, non-centred",
            lambda: poisson_groups(5000),
            ("mu", "beta", "tau", "z"),
            reference=False,
            bar=30,
        ),
        Problem(
            "gp_poisson",
            "latent Gaussian process under counts, 13 dimensions",
            gp_poisson,
            ("rho", "alpha", "z"),
            bar=7,
        ),
        Problem(
            "mixture",
            "mixture of three Gaussians with correlations, iris: the demo",
            iris,
            ("weight", "loc", "scale"),
            bar=15,
            of_bar="fit",
            arranged=by_petal,
        ),
        Problem(
            "arma",
            "ARMA(1, 1), 200 steps, a loop over time",
            arma,
            ("mu", "phi", "theta", "sigma"),
            bar=3,
        ),
        Problem(
            "hmm_loop",
            "hidden Markov model, 3 states, 400 steps, the forward algorithm in a loop",
            hidden_markov,
            ("transition", "loc", "scale"),
            bar=20,
        ),
        Problem(
            "hmm_markov",
            "the same by pyro.markov and enumeration",
            hidden_markov,
            ("transition", "loc", "scale"),
            bar=10,
            twin="hmm_loop",
        ),
        Problem(
            "ode",
            "one-compartment pharmacokinetics, 4 parameters, Runge-Kutta in a loop",
            pharmacokinetics,
            ("k_a", "K_m", "V_m", "sigma"),
            bar=60,
        ),
        Problem(
            "ordinal",
            "ordered logistic regression, 6 parameters, 250 rows",
            ordinal,
            ("beta", "cut"),
            bar=4,
        ),
        Problem(
            "eight_schools",
            "eight schools, non-centred",
            eight_schools,
            ("mu", "tau", "z"),
            bar=1,
            of_bar="warm",
        ),
        Problem(
            "gaussian_groups",
            "Gaussian, 30 unequal groups, centred",
            gaussian_groups,
            ("mu", "tau", "sigma", "effect"),
            hierarchy=True,
        ),
        Problem(
            "poisson_unequal",
            "Poisson, 40 unequal groups, centred",
            poisson_unequal,
            ("mu", "beta", "tau", "effect"),
            hierarchy=True,
        ),
        Problem(
            "bernoulli_groups",
            "Bernoulli, 50 unequal groups, non-centred",
            bernoulli_groups,
            ("mu", "beta", "tau", "z"),
            hierarchy=True,
        ),
        Problem(
            "student_groups",
            "Student-t with learned tails, 25 unequal groups, centred",
            student_groups,
            ("mu", "tau", "sigma", "nu", "effect"),
            hierarchy=True,
        ),
        Problem(
            "crossed",
            "crossed effects, 20 raters and 15 essays, Gaussian",
            crossed,
            ("mu", "sd_rater", "sd_essay", "sigma", "rater_effect", "essay_effect"),
            hierarchy=True,
            linked=True,
        ),
        Problem(
            "varying_slopes",
            "varying intercepts and slopes with a learned correlation, 20 groups",
            varying_slopes,
            ("mean", "sd", "corr_chol", "sigma", "line"),
            hierarchy=True,
        ),
        Problem(
            "schools_centred",
            "eight schools, centred",
            eight_schools,
            ("mu", "tau", "theta"),
            hierarchy=True,
            noncentred=("theta",),
        ),
        Problem(
            "gp_length",
            "latent Gaussian process with learned length, 40 points",
            gp_length,
            ("rho", "alpha", "sigma", "z"),
            hierarchy=True,
            linked=True,
        ),
        Problem(
            "bimodal_effects",
            "effects seen by their squares: given the scales, each has two modes",
            bimodal_effects,
            ("tau", "a"),
            hierarchy=True,
            even=("a",),
        ),
        Problem(
            "single_bernoulli",
            "one Bernoulli to a group, 10 groups: skewed given the scale, which is hardly known",
            single_bernoulli,
            ("mu", "tau", "effect"),
            hierarchy=True,
            noncentred=("effect",),
        ),
    )
}
