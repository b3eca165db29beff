"""The models in NumPyro, fitted by its SVI, and the reference by its NUTS."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array, lax
from numpyro.infer import MCMC, NUTS, SVI, Trace_ELBO, init_to_uniform, init_to_value
from numpyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from numpyro.infer.util import potential_energy

from peers.clock import CHUNK, Clock, Gaussian, cpu_seconds
from peers.problems import INVERSE_NOISE, PROBLEMS, Data

__all__ = ["density", "fit", "kept", "reference", "timed"]


def eight_schools(y: Array, sigma: Array) -> None:
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("school", len(y)):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mu + tau * z, sigma), obs=y)


def radon(county: Array, floor: Array, y: Array) -> None:
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 5.0))
    sd_county = numpyro.sample("sd_county", dist.HalfNormal(2.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2.0))
    with numpyro.plate("county_plate", 85):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
    with numpyro.plate("house", len(y)):
        mean = mu + sd_county * z[county] + beta * floor
        numpyro.sample("y", dist.Normal(mean, sigma), obs=y)


def logistic(X: Array, y: Array) -> None:
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 5.0))
    beta = numpyro.sample("beta", dist.Normal(jnp.zeros(30), 1.0).to_event(1))
    with numpyro.plate("tumour", len(y)):
        numpyro.sample("y", dist.Bernoulli(logits=intercept + X @ beta), obs=y)


def mixture(y: Array) -> None:
    first = numpyro.sample("first", dist.Normal(0.0, 10.0))
    gap = numpyro.sample("gap", dist.HalfNormal(5.0 * jnp.ones(4)).to_event(1))
    scale = numpyro.sample("scale", dist.HalfNormal(2.0 * jnp.ones(5)).to_event(1))
    logit = numpyro.sample("logit", dist.Normal(jnp.zeros(4), 1.0).to_event(1))
    loc = jnp.concatenate([first[None], first + jnp.cumsum(gap)])
    weight = dist.Categorical(logits=jnp.concatenate([jnp.zeros(1), logit]))
    with numpyro.plate("point", len(y)):
        numpyro.sample("y", dist.MixtureSameFamily(weight, dist.Normal(loc, scale)), obs=y)


def gp(x: Array, y: Array) -> None:
    rho = numpyro.sample("rho", dist.LogNormal(0.0, 1.0))
    alpha = numpyro.sample("alpha", dist.LogNormal(0.0, 1.0))
    sigma = numpyro.sample("sigma", dist.LogNormal(-1.0, 1.0))
    square = jnp.square(x[:, None] - x)
    noise = jnp.square(sigma) * jnp.eye(len(x))
    covariance = jnp.square(alpha) * jnp.exp(-0.5 * square / jnp.square(rho)) + noise
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(len(x)), covariance), obs=y)


def inverse(A: Array, y: Array) -> None:
    x = numpyro.sample("x", dist.Normal(jnp.zeros(A.shape[1]), 1.0).to_event(1))
    with numpyro.plate("view", len(y)):
        numpyro.sample("y", dist.Normal(A @ x, INVERSE_NOISE), obs=y)


MODELS: Mapping[str, Callable[..., None]] = {
    each.__name__: each for each in (eight_schools, radon, logistic, mixture, gp, inverse)
}
GUIDES = {"mean-field": AutoNormal, "full-rank": AutoMultivariateNormal}


def density(name: str, data: Data, flats: np.ndarray) -> np.ndarray:
    """The log density of the unconstrained space, in float64."""
    jax.config.update("jax_enable_x64", val=True)
    given = _arrays(data)

    def one(flat: Array) -> Array:
        return -potential_energy(MODELS[name], (), given, _split(name, flat))

    return np.array([one(jnp.asarray(flat)) for flat in flats])


def fit(name: str, data: Data, family: str, rate: float, clock: Clock) -> None:
    """The loop of ``svi.run``, in compiled pieces between which the parameters are noted."""
    guide, svi, state, piece = _prepared(name, data, family, rate)
    order = None
    step = 0
    while not clock.over(step):
        state = jax.block_until_ready(piece(state))
        step += CHUNK
        if clock.due(step):
            began = cpu_seconds()
            order = _order(name, guide) if order is None else order
            clock.paused += cpu_seconds() - began
            clock.note(step, _moments(name, svi.get_params(state), order))


def timed(name: str, data: Data, family: str, rate: float, steps: int) -> None:
    """``svi.run`` as it is documented, which compiles its loop each time that it is called."""
    svi = SVI(MODELS[name], GUIDES[family](MODELS[name]), _adam(rate), Trace_ELBO())
    found = svi.run(jax.random.PRNGKey(0), steps, **_arrays(data), progress_bar=False)
    jax.block_until_ready(found.params)


def kept(name: str, data: Data, family: str, rate: float, steps: int) -> Callable[[], None]:
    """The same with the compiled loop kept by hand; what is given runs it once more."""
    given = _arrays(data)
    svi = SVI(MODELS[name], GUIDES[family](MODELS[name]), _adam(rate), Trace_ELBO())

    @jax.jit
    def all_steps(key: Array) -> Any:
        def one(state: Any, _: None) -> Any:
            return svi.update(state, **given)

        state, _ = lax.scan(one, svi.init(key, **given), None, length=steps)
        return svi.get_params(state)

    return lambda: jax.block_until_ready(all_steps(jax.random.PRNGKey(0)))


def reference(name: str, data: Data) -> np.ndarray:
    """Draws of the flat vector by a long run of NUTS: four chains of 5,000 draws."""
    jax.config.update("jax_enable_x64", val=True)
    start = PROBLEMS[name].start
    strategy = init_to_uniform if start is None else init_to_value(values=start)
    kernel = NUTS(MODELS[name], target_accept_prob=0.95, init_strategy=strategy)
    run = MCMC(
        kernel,
        num_warmup=2000,
        num_samples=5000,
        num_chains=4,
        chain_method="sequential",
        progress_bar=False,
    )
    run.run(jax.random.PRNGKey(1), **_arrays(data))
    drawn = run.get_samples()
    columns = []
    for latent in PROBLEMS[name].latents:
        value = np.asarray(drawn[latent.name]).reshape(-1, latent.size)
        columns.append(np.log(value) if latent.positive else value)
    return np.concatenate(columns, axis=1)


def _adam(rate: float) -> Any:
    return numpyro.optim.Adam(rate)


def _arrays(data: Data) -> dict[str, Array]:
    return {name: jnp.asarray(value) for name, value in data.items()}


def _prepared(name: str, data: Data, family: str, rate: float) -> tuple[Any, SVI, Any, Any]:
    given = _arrays(data)
    guide = GUIDES[family](MODELS[name])
    svi = SVI(MODELS[name], guide, _adam(rate), Trace_ELBO())
    state = svi.init(jax.random.PRNGKey(0), **given)

    @jax.jit
    def piece(state: Any) -> Any:
        return lax.scan(lambda s, _: svi.update(s, **given), state, None, length=CHUNK)[0]

    return guide, svi, state, piece


def _split(name: str, flat: Array) -> dict[str, Array]:
    found, start = {}, 0
    for latent in PROBLEMS[name].latents:
        found[latent.name] = flat[start : start + latent.size].reshape(latent.shape)
        start += latent.size
    return found


def _order(name: str, guide: Any) -> np.ndarray | None:
    """Where the entries of the flat vector lie in a joint guide's own, which sorts by name."""
    if isinstance(guide, AutoNormal):
        return None
    own = guide._unpack_latent(jnp.arange(PROBLEMS[name].dim, dtype=float))
    pieces = [np.asarray(own[latent.name]).reshape(-1) for latent in PROBLEMS[name].latents]
    return np.concatenate(pieces).astype(int)


def _moments(name: str, params: Mapping[str, Array], order: np.ndarray | None) -> Gaussian:
    if order is None:
        names = [latent.name for latent in PROBLEMS[name].latents]
        loc, scale = (
            np.concatenate([np.ravel(params[f"{each}_auto_{part}"]) for each in names])
            for part in ("loc", "scale")
        )
        return Gaussian(loc.astype(np.float64), scale.astype(np.float64))
    loc, scale = (np.asarray(params[f"auto_{p}"], np.float64) for p in ("loc", "scale_tril"))
    return Gaussian(loc[order], scale[order])  # rows in another order: still a root
