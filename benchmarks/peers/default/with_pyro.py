"""The models in Pyro, as people write them."""

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch import Tensor

from peers.with_pyro import eight_schools, radon

__all__ = ["MODELS", "log_joint", "model_of"]


def groups(x: Tensor, y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    beta = pyro.sample("beta", dist.Normal(0.0, 1.0))
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    with pyro.plate("group", y.shape[0], dim=-2):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        log_rate = mu + tau * z + beta * x
        with pyro.plate("row", y.shape[1], dim=-1):
            pyro.sample("y", dist.Poisson(torch.exp(log_rate)), obs=y)


def gp_poisson(x: Tensor, y: Tensor) -> None:
    rho = pyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = pyro.sample("alpha", dist.HalfNormal(2.0))
    K = alpha**2 * torch.exp(-0.5 * (x[:, None] - x) ** 2 / rho**2)
    L = torch.linalg.cholesky(K + 1e-6 * torch.eye(len(x)))
    with pyro.plate("latent", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
    with pyro.plate("place", len(x)):
        pyro.sample("y", dist.Poisson(torch.exp(L @ z)), obs=y)


def arma(y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
    phi = pyro.sample("phi", dist.Uniform(-1.0, 1.0))
    theta = pyro.sample("theta", dist.Uniform(-1.0, 1.0))
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    mean = [mu + phi * mu]
    for t in range(1, len(y)):
        error = y[t - 1] - mean[-1]
        mean.append(mu + phi * y[t - 1] + theta * error)
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Normal(torch.stack(mean), sigma), obs=y)


def hmm_loop(y: Tensor) -> None:
    with pyro.plate("state", 3):
        transition = pyro.sample("transition", dist.Dirichlet(torch.ones(3)))
        loc = pyro.sample("loc", dist.Normal(torch.tensor([-2.0, 0.0, 2.0]), 1.0))
        scale = pyro.sample("scale", dist.LogNormal(-0.5, 0.5))
    emission = dist.Normal(loc, scale).log_prob(y[:, None])
    log_prob = emission[0] + torch.full((3,), 1 / 3).log()
    for t in range(1, len(y)):
        log_prob = torch.logsumexp(log_prob[:, None] + transition.log(), 0) + emission[t]
    pyro.factor("y", torch.logsumexp(log_prob, 0))


@config_enumerate
def hmm_markov(y: Tensor) -> None:
    transition = pyro.sample("transition", dist.Dirichlet(torch.ones(3, 3)).to_event(1))
    loc = pyro.sample("loc", dist.Normal(torch.tensor([-2.0, 0.0, 2.0]), 1.0).to_event(1))
    scale = pyro.sample("scale", dist.LogNormal(-0.5 * torch.ones(3), 0.5).to_event(1))
    x: Any = None
    for t in pyro.markov(range(len(y))):
        probs = torch.full((3,), 1 / 3) if x is None else transition[x]
        x = pyro.sample(f"x_{t}", dist.Categorical(probs), infer={"enumerate": "parallel"})
        pyro.sample(f"y_{t}", dist.Normal(loc[x], scale[x]), obs=y[t])


def ode(times: Tensor, y: Tensor) -> None:
    k_a = pyro.sample("k_a", dist.HalfCauchy(1.0))
    K_m = pyro.sample("K_m", dist.HalfCauchy(1.0))
    V_m = pyro.sample("V_m", dist.HalfCauchy(1.0))
    sigma = pyro.sample("sigma", dist.HalfCauchy(1.0))

    def change(t: Tensor, c: Tensor) -> Tensor:
        dose = 30.0 * k_a / 2.0 * torch.exp(-k_a * t)
        return dose - V_m / 2.0 * c / (K_m + c)

    c = torch.zeros_like(k_a)
    seen = []
    for n in range(len(times)):
        begin = times[n - 1] if n else torch.zeros_like(times[0])
        h = (times[n] - begin) / 4
        for step in range(4):
            t = begin + step * h
            k1 = change(t, c)
            k2 = change(t + h / 2, c + h / 2 * k1)
            k3 = change(t + h / 2, c + h / 2 * k2)
            k4 = change(t + h, c + h * k3)
            c = c + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        seen.append(c)
    concentration = torch.stack(seen).clamp(min=1e-10)
    with pyro.plate("time", len(times)):
        pyro.sample("y", dist.LogNormal(concentration.log(), sigma), obs=y)


def ordinal(X: Tensor, y: Tensor) -> None:
    beta = pyro.sample("beta", dist.Normal(torch.zeros(3), 2.0).to_event(1))
    spread = dist.Normal(torch.zeros(3), 2.0).to_event(1)
    in_order = [dist.transforms.OrderedTransform()]
    cut = pyro.sample("cut", dist.TransformedDistribution(spread, in_order))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.OrderedLogistic(X @ beta, cut), obs=y)


def gaussian_groups(group: Tensor, y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfNormal(2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(2.0))
    with pyro.plate("group_plate", 30):
        effect = pyro.sample("effect", dist.Normal(mu, tau))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(effect[group], sigma), obs=y)


def poisson_unequal(group: Tensor, x: Tensor, y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    beta = pyro.sample("beta", dist.Normal(0.0, 1.0))
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    with pyro.plate("group_plate", 40):
        effect = pyro.sample("effect", dist.Normal(mu, tau))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Poisson(torch.exp(effect[group] + beta * x)), obs=y)


def bernoulli_groups(group: Tensor, x: Tensor, y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    beta = pyro.sample("beta", dist.Normal(0.0, 1.0))
    tau = pyro.sample("tau", dist.HalfNormal(2.0))
    with pyro.plate("group_plate", 50):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
    effect = mu + tau * z
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Bernoulli(logits=effect[group] + beta * x), obs=y)


def student_groups(group: Tensor, y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfNormal(2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(2.0))
    nu = pyro.sample("nu", dist.Gamma(2.0, 0.1))
    with pyro.plate("group_plate", 25):
        effect = pyro.sample("effect", dist.Normal(mu, tau))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.StudentT(nu, effect[group], sigma), obs=y)


def crossed(rater: Tensor, essay: Tensor, y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    sd_rater = pyro.sample("sd_rater", dist.HalfNormal(2.0))
    sd_essay = pyro.sample("sd_essay", dist.HalfNormal(2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(2.0))
    with pyro.plate("raters", 20):
        rater_effect = pyro.sample("rater_effect", dist.Normal(0.0, sd_rater))
    with pyro.plate("essays", 15):
        essay_effect = pyro.sample("essay_effect", dist.Normal(0.0, sd_essay))
    with pyro.plate("mark", len(y)):
        mean = mu + rater_effect[rater] + essay_effect[essay]
        pyro.sample("y", dist.Normal(mean, sigma), obs=y)


def varying_slopes(group: Tensor, x: Tensor, y: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(torch.zeros(2), 2.0).to_event(1))
    sd = pyro.sample("sd", dist.HalfNormal(torch.ones(2)).to_event(1))
    corr_chol = pyro.sample("corr_chol", dist.LKJCholesky(2, 2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(2.0))
    with pyro.plate("group_plate", 20):
        prior = dist.MultivariateNormal(mean, scale_tril=sd[:, None] * corr_chol)
        line = pyro.sample("line", prior)
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(line[group, 0] + line[group, 1] * x, sigma), obs=y)


def schools_centred(y: Tensor, sigma: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def gp_length(x: Tensor, y: Tensor) -> None:
    rho = pyro.sample("rho", dist.LogNormal(0.0, 1.0))
    alpha = pyro.sample("alpha", dist.LogNormal(0.0, 1.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    K = alpha**2 * torch.exp(-0.5 * (x[:, None] - x) ** 2 / rho**2)
    L = torch.linalg.cholesky(K + 1e-5 * torch.eye(len(x)))
    z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0).to_event(1))
    with pyro.plate("point", len(x)):
        pyro.sample("y", dist.Normal(L @ z, sigma), obs=y)


def bimodal_effects(y: Tensor) -> None:
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    with pyro.plate("unit", len(y)):
        a = pyro.sample("a", dist.Normal(0.0, tau))
        pyro.sample("y", dist.Normal(a**2, 0.6), obs=y)


def single_bernoulli(y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    tau = pyro.sample("tau", dist.HalfNormal(3.0))
    with pyro.plate("coin", len(y)):
        effect = pyro.sample("effect", dist.Normal(mu, tau))
        pyro.sample("y", dist.Bernoulli(logits=effect), obs=y)


MODELS: Mapping[str, Callable[..., None]] = {
    each.__name__: each
    for each in (
        *(radon, gp_poisson, arma, hmm_loop, hmm_markov, ode, ordinal, eight_schools),
        *(gaussian_groups, poisson_unequal, bernoulli_groups, student_groups, crossed),
        *(varying_slopes, schools_centred, gp_length, bimodal_effects, single_bernoulli),
    )
} | {"groups_100": groups, "groups_5000": groups}


def model_of(name: str) -> Callable[..., None]:
    """The problem's model; the mixture's is the demo's, as it stands in the zoo."""
    if name == "mixture":
        from pyrovi.models import get

        return get("gaussian_mixture").model
    return MODELS[name]


def log_joint(name: str, data: Mapping[str, Any], values: Mapping[str, Any]) -> float:
    """The log density of data and values, discrete sites summed out, in float64."""
    torch.set_default_dtype(torch.float64)
    given = {k: torch.as_tensor(v) if hasattr(v, "ndim") else v for k, v in data.items()}
    known = {site: torch.as_tensor(value) for site, value in values.items()}
    fixed = pyro.condition(model_of(name), known)
    return -TraceEnum_ELBO(max_plate_nesting=2).loss(fixed, lambda **_: None, **given)
