"""The same models in NumPyro, with its NUTS, its SVI and the long runs that all are held to."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array, lax
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal
from numpyro.infer.reparam import LocScaleReparam
from numpyro.infer.util import log_density

from peers.default.problems import PROBLEMS, Draws, compared
from peers.with_numpyro import eight_schools, radon

__all__ = ["MODELS", "Nuts", "Svi", "log_joint", "points", "reference"]

CHAINS = 4

Given = Mapping[str, Any]
sample: Any = numpyro.sample


def groups(x: Array, y: Array) -> None:
    mu = sample("mu", dist.Normal(0.0, 2.0))
    beta = sample("beta", dist.Normal(0.0, 1.0))
    tau = sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("group", y.shape[0], dim=-2):
        z = sample("z", dist.Normal(0.0, 1.0))
        log_rate = mu + tau * z + beta * x
        with numpyro.plate("row", y.shape[1], dim=-1):
            sample("y", dist.Poisson(jnp.exp(log_rate)), obs=y)


def gp_poisson(x: Array, y: Array) -> None:
    rho = sample("rho", dist.Gamma(25.0, 4.0))
    alpha = sample("alpha", dist.HalfNormal(2.0))
    K = alpha**2 * jnp.exp(-0.5 * (x[:, None] - x) ** 2 / rho**2)
    L = jnp.linalg.cholesky(K + 1e-6 * jnp.eye(len(x)))
    with numpyro.plate("latent", len(x)):
        z = sample("z", dist.Normal(0.0, 1.0))
    with numpyro.plate("place", len(x)):
        sample("y", dist.Poisson(jnp.exp(L @ z)), obs=y)


def mixture(y: Array, components: int, spread: float) -> None:
    """The demo's, with the priors of `pyrovi.models.gaussian_mixture`."""
    weight = sample("weight", dist.Dirichlet(2.0 * jnp.ones(components)))
    with numpyro.plate("component", components):
        loc = sample("loc", dist.Normal(jnp.zeros(4), spread).to_event(1))
        precision = dist.Gamma(2.0, 0.1 * spread**2 * jnp.ones(4)).to_event(1)
        power = dist.transforms.PowerTransform(-0.5)
        scale = sample("scale", dist.TransformedDistribution(precision, power))
        corr_chol = sample("corr_chol", dist.LKJCholesky(4, 2.0))
    each = dist.MultivariateNormal(loc, scale_tril=scale[..., None] * corr_chol)
    with numpyro.plate("observation", len(y)):
        mixed = dist.MixtureSameFamily(dist.Categorical(weight), each)
        sample("y", mixed, obs=y)


def arma(y: Array) -> None:
    mu = sample("mu", dist.Normal(0.0, 10.0))
    phi = sample("phi", dist.Uniform(-1.0, 1.0))
    theta = sample("theta", dist.Uniform(-1.0, 1.0))
    sigma = sample("sigma", dist.HalfCauchy(2.5))

    def step(mean: Array, now: Array) -> tuple[Array, Array]:
        following = mu + phi * now + theta * (now - mean)
        return following, following

    first = mu + phi * mu
    _, others = lax.scan(step, first, y[:-1])
    mean = jnp.concatenate([first[None], others])
    with numpyro.plate("time", len(y)):
        sample("y", dist.Normal(mean, sigma), obs=y)


def hidden_markov(y: Array) -> None:
    with numpyro.plate("state", 3):
        transition = sample("transition", dist.Dirichlet(jnp.ones(3)))
        loc = sample("loc", dist.Normal(jnp.array([-2.0, 0.0, 2.0]), 1.0))
        scale = sample("scale", dist.LogNormal(-0.5, 0.5))
    emission = dist.Normal(loc, scale).log_prob(y[:, None])

    def step(log_prob: Array, now: Array) -> tuple[Array, None]:
        before = log_prob[:, None] + jnp.log(transition)
        return jax.nn.logsumexp(before, axis=0) + now, None

    log_prob, _ = lax.scan(step, emission[0] - jnp.log(3.0), emission[1:])
    numpyro.factor("y", jax.nn.logsumexp(log_prob))


def ode(times: Array, y: Array) -> None:
    k_a = sample("k_a", dist.HalfCauchy(1.0))
    K_m = sample("K_m", dist.HalfCauchy(1.0))
    V_m = sample("V_m", dist.HalfCauchy(1.0))
    sigma = sample("sigma", dist.HalfCauchy(1.0))

    def change(t: Array, c: Array) -> Array:
        dose = 30.0 * k_a / 2.0 * jnp.exp(-k_a * t)
        return dose - V_m / 2.0 * c / (K_m + c)

    def step(c: Array, place: tuple[Array, Array]) -> tuple[Array, Array]:
        t, h = place
        k1 = change(t, c)
        k2 = change(t + h / 2, c + h / 2 * k1)
        k3 = change(t + h / 2, c + h / 2 * k2)
        k4 = change(t + h, c + h * k3)
        c = c + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return c, c

    begin = jnp.concatenate([jnp.zeros(1), times[:-1]])
    h = (times - begin) / 4
    t = begin[:, None] + jnp.arange(4) * h[:, None]
    _, c = lax.scan(step, jnp.zeros_like(k_a), (t.ravel(), jnp.repeat(h, 4)))
    concentration = jnp.clip(c[3::4], 1e-10)
    with numpyro.plate("time", len(times)):
        sample("y", dist.LogNormal(jnp.log(concentration), sigma), obs=y)


def ordinal(X: Array, y: Array) -> None:
    beta = sample("beta", dist.Normal(jnp.zeros(3), 2.0).to_event(1))
    spread = dist.Normal(jnp.zeros(3), 2.0).to_event(1)
    in_order = dist.transforms.OrderedTransform()
    cut = sample("cut", dist.TransformedDistribution(spread, in_order))
    with numpyro.plate("row", len(y)):
        sample("y", dist.OrderedLogistic(X @ beta, cut), obs=y)


def gaussian_groups(group: Array, y: Array) -> None:
    mu = sample("mu", dist.Normal(0.0, 5.0))
    tau = sample("tau", dist.HalfNormal(2.0))
    sigma = sample("sigma", dist.HalfNormal(2.0))
    with numpyro.plate("group_plate", 30):
        effect = sample("effect", dist.Normal(mu, tau))
    with numpyro.plate("row", len(y)):
        sample("y", dist.Normal(effect[group], sigma), obs=y)


def poisson_unequal(group: Array, x: Array, y: Array) -> None:
    mu = sample("mu", dist.Normal(0.0, 2.0))
    beta = sample("beta", dist.Normal(0.0, 1.0))
    tau = sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("group_plate", 40):
        effect = sample("effect", dist.Normal(mu, tau))
    with numpyro.plate("row", len(y)):
        sample("y", dist.Poisson(jnp.exp(effect[group] + beta * x)), obs=y)


def bernoulli_groups(group: Array, x: Array, y: Array) -> None:
    mu = sample("mu", dist.Normal(0.0, 2.0))
    beta = sample("beta", dist.Normal(0.0, 1.0))
    tau = sample("tau", dist.HalfNormal(2.0))
    with numpyro.plate("group_plate", 50):
        z = sample("z", dist.Normal(0.0, 1.0))
    effect = mu + tau * z
    with numpyro.plate("row", len(y)):
        sample("y", dist.Bernoulli(logits=effect[group] + beta * x), obs=y)


def student_groups(group: Array, y: Array) -> None:
    mu = sample("mu", dist.Normal(0.0, 5.0))
    tau = sample("tau", dist.HalfNormal(2.0))
    sigma = sample("sigma", dist.HalfNormal(2.0))
    nu = sample("nu", dist.Gamma(2.0, 0.1))
    with numpyro.plate("group_plate", 25):
        effect = sample("effect", dist.Normal(mu, tau))
    with numpyro.plate("row", len(y)):
        sample("y", dist.StudentT(nu, effect[group], sigma), obs=y)


def crossed(rater: Array, essay: Array, y: Array) -> None:
    mu = sample("mu", dist.Normal(0.0, 5.0))
    sd_rater = sample("sd_rater", dist.HalfNormal(2.0))
    sd_essay = sample("sd_essay", dist.HalfNormal(2.0))
    sigma = sample("sigma", dist.HalfNormal(2.0))
    with numpyro.plate("raters", 20):
        rater_effect = sample("rater_effect", dist.Normal(0.0, sd_rater))
    with numpyro.plate("essays", 15):
        essay_effect = sample("essay_effect", dist.Normal(0.0, sd_essay))
    with numpyro.plate("mark", len(y)):
        mean = mu + rater_effect[rater] + essay_effect[essay]
        sample("y", dist.Normal(mean, sigma), obs=y)


def varying_slopes(group: Array, x: Array, y: Array) -> None:
    mean = sample("mean", dist.Normal(jnp.zeros(2), 2.0).to_event(1))
    sd = sample("sd", dist.HalfNormal(jnp.ones(2)).to_event(1))
    corr_chol = sample("corr_chol", dist.LKJCholesky(2, 2.0))
    sigma = sample("sigma", dist.HalfNormal(2.0))
    with numpyro.plate("group_plate", 20):
        prior = dist.MultivariateNormal(mean, scale_tril=sd[:, None] * corr_chol)
        line = sample("line", prior)
    with numpyro.plate("row", len(y)):
        sample("y", dist.Normal(line[group, 0] + line[group, 1] * x, sigma), obs=y)


def schools_centred(y: Array, sigma: Array) -> None:
    mu = sample("mu", dist.Normal(0.0, 5.0))
    tau = sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("school", len(y)):
        theta = sample("theta", dist.Normal(mu, tau))
        sample("y", dist.Normal(theta, sigma), obs=y)


def gp_length(x: Array, y: Array) -> None:
    rho = sample("rho", dist.LogNormal(0.0, 1.0))
    alpha = sample("alpha", dist.LogNormal(0.0, 1.0))
    sigma = sample("sigma", dist.HalfNormal(1.0))
    K = alpha**2 * jnp.exp(-0.5 * (x[:, None] - x) ** 2 / rho**2)
    L = jnp.linalg.cholesky(K + 1e-5 * jnp.eye(len(x)))
    z = sample("z", dist.Normal(jnp.zeros(len(x)), 1.0).to_event(1))
    with numpyro.plate("point", len(x)):
        sample("y", dist.Normal(L @ z, sigma), obs=y)


def bimodal_effects(y: Array) -> None:
    tau = sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("unit", len(y)):
        a = sample("a", dist.Normal(0.0, tau))
        sample("y", dist.Normal(a**2, 0.6), obs=y)


def single_bernoulli(y: Array) -> None:
    mu = sample("mu", dist.Normal(0.0, 2.0))
    tau = sample("tau", dist.HalfNormal(3.0))
    with numpyro.plate("coin", len(y)):
        effect = sample("effect", dist.Normal(mu, tau))
        sample("y", dist.Bernoulli(logits=effect), obs=y)


MODELS: Mapping[str, Callable[..., None]] = {
    each.__name__: each
    for each in (
        *(radon, gp_poisson, mixture, arma, ode, ordinal, eight_schools),
        *(gaussian_groups, poisson_unequal, bernoulli_groups, student_groups, crossed),
        *(varying_slopes, schools_centred, gp_length, bimodal_effects, single_bernoulli),
    )
} | {
    "groups_100": groups,
    "groups_5000": groups,
    "hmm_loop": hidden_markov,
    "hmm_markov": hidden_markov,
}


def arrays(data: Given) -> dict[str, Any]:
    """The data in NumPyro's own dtype, which is float32 unless told otherwise."""
    return {k: jnp.asarray(v) if isinstance(v, np.ndarray) else v for k, v in data.items()}


class Nuts:
    """Four chains of 500 + 500, one after the other."""

    half = 500

    def __init__(self, name: str) -> None:
        self.kernel = NUTS(MODELS[name])

    def cold(self, data: Given) -> Draws:
        """``MCMC.run`` as it is documented, which compiles its loops anew for every chain."""
        run = _chains(self.kernel, warmup=self.half, draws=self.half)
        run.run(jax.random.PRNGKey(0), **data)
        return _numpy(run.get_samples())

    def kept(self, data: Given) -> Callable[[int], None]:
        """One chain compiled by hand, and kept; what is given runs it for four keys."""
        kernel = self.kernel

        @jax.jit
        def chain(key: Array) -> Any:
            def one(state: Any, _: None) -> tuple[Any, Any]:
                state = kernel.sample(state, (), data)
                return state, state.z

            state = kernel.init(key, self.half, None, (), data)
            state = lax.fori_loop(0, self.half, lambda _, each: one(each, None)[0], state)
            drawn = lax.scan(one, state, None, length=self.half)[1]
            return jax.vmap(kernel.postprocess_fn((), data))(drawn)

        def four(seed: int) -> None:
            for key in jax.random.split(jax.random.PRNGKey(seed), CHAINS):
                jax.block_until_ready(chain(key))

        return four


class Svi:
    """10,000 steps of Adam at 0.01 on a mean-field Gaussian."""

    steps = 10_000

    def __init__(self, name: str) -> None:
        self.guide = AutoNormal(MODELS[name])
        self.svi = SVI(MODELS[name], self.guide, numpyro.optim.Adam(0.01), Trace_ELBO())

    def cold(self, data: Given) -> Draws:
        """``svi.run`` as it is documented, which compiles its loop whenever it is called."""
        key = jax.random.PRNGKey(0)
        found = self.svi.run(key, self.steps, **data, progress_bar=False)
        shape = (2000,)
        return _numpy(self.guide.sample_posterior(key, found.params, sample_shape=shape))

    def kept(self, data: Given) -> Callable[[int], None]:
        """The loop compiled by hand, and kept; what is given runs it."""

        @jax.jit
        def all_steps(key: Array) -> Any:
            def one(state: Any, _: None) -> Any:
                return self.svi.update(state, **data)

            state, _ = lax.scan(one, self.svi.init(key, **data), None, length=self.steps)
            return self.svi.get_params(state)

        return lambda seed: jax.block_until_ready(all_steps(jax.random.PRNGKey(seed)))


def reference(name: str, data: Given) -> dict[str, np.ndarray]:
    """Four chains of 4,000 draws in float64: what is compared, R-hat and the effective draws."""
    problem = PROBLEMS[name]
    apart = {site: LocScaleReparam(0) for site in problem.noncentred}
    model = numpyro.handlers.reparam(MODELS[name], config=apart)
    kernel = NUTS(model, target_accept_prob=0.95, dense_mass=problem.linked)
    run = _chains(kernel, warmup=2000, draws=4000)
    run.run(jax.random.PRNGKey(2), **arrays(data))
    draws = _numpy(run.get_samples())
    signs = np.random.default_rng(0)
    draws |= {
        site: signs.choice([-1, 1], draws[site].shape) * draws[site] for site in problem.even
    }
    values = compared(problem, draws)
    chains = values.reshape(CHAINS, -1, values.shape[1])
    moving = chains.std(axis=(0, 1)) > 0
    return {
        "values": values,
        "rhat": split_gelman_rubin(chains[..., moving]),
        "ess": effective_sample_size(chains[..., moving]),
        "divergent": np.asarray(run.get_extra_fields()["diverging"].sum()),
    }


def points(name: str, data: Given, count: int) -> list[Draws]:
    """Values drawn from the prior, at which the densities are compared."""
    found = []
    for seed in range(count):
        with numpyro.handlers.seed(rng_seed=seed), numpyro.handlers.trace() as trace:
            MODELS[name](**arrays(data))
        latent = [s for s in trace.values() if s["type"] == "sample" and not s["is_observed"]]
        found.append({site["name"]: np.asarray(site["value"]) for site in latent})
    return found


def log_joint(name: str, data: Given, values: Given) -> float:
    """The log density of data and values."""
    return float(log_density(MODELS[name], (), arrays(data), dict(values))[0])


def _chains(kernel: NUTS, *, warmup: int, draws: int) -> MCMC:
    return MCMC(
        kernel,
        num_warmup=warmup,
        num_samples=draws,
        num_chains=CHAINS,
        chain_method="sequential",
        progress_bar=False,
    )


def _numpy(draws: Any) -> Draws:
    return {site: np.asarray(value) for site, value in draws.items()}
