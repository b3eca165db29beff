"""The models in Pyro, fitted by plain Pyro SVI."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from torch import Tensor

from peers.clock import Clock, Gaussian, cpu_seconds
from peers.problems import INVERSE_NOISE, PROBLEMS, Data

__all__ = ["MODELS", "fit", "timed"]


def eight_schools(y: Tensor, sigma: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * z, sigma), obs=y)


def radon(county: Tensor, floor: Tensor, y: Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    beta = pyro.sample("beta", dist.Normal(0.0, 5.0))
    sd_county = pyro.sample("sd_county", dist.HalfNormal(2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(2.0))
    with pyro.plate("county_plate", 85):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
    with pyro.plate("house", len(y)):
        mean = mu + sd_county * z[..., county] + beta * floor
        pyro.sample("y", dist.Normal(mean, sigma), obs=y)


def logistic(X: Tensor, y: Tensor) -> None:
    intercept = pyro.sample("intercept", dist.Normal(0.0, 5.0))
    beta = pyro.sample("beta", dist.Normal(torch.zeros(30), 1.0).to_event(1))
    with pyro.plate("tumour", len(y)):
        pyro.sample("y", dist.Bernoulli(logits=intercept + X @ beta), obs=y)


def mixture(y: Tensor) -> None:
    first = pyro.sample("first", dist.Normal(0.0, 10.0))
    gap = pyro.sample("gap", dist.HalfNormal(5.0 * torch.ones(4)).to_event(1))
    scale = pyro.sample("scale", dist.HalfNormal(2.0 * torch.ones(5)).to_event(1))
    logit = pyro.sample("logit", dist.Normal(torch.zeros(4), 1.0).to_event(1))
    loc = torch.cat([first[None], first + gap.cumsum(-1)])
    weight = dist.Categorical(logits=torch.cat([torch.zeros(1, dtype=logit.dtype), logit]))
    with pyro.plate("point", len(y)):
        pyro.sample("y", dist.MixtureSameFamily(weight, dist.Normal(loc, scale)), obs=y)


def gp(x: Tensor, y: Tensor) -> None:
    rho = pyro.sample("rho", dist.LogNormal(0.0, 1.0))
    alpha = pyro.sample("alpha", dist.LogNormal(0.0, 1.0))
    sigma = pyro.sample("sigma", dist.LogNormal(-1.0, 1.0))
    square = (x[:, None] - x).square()
    noise = sigma.square() * torch.eye(len(x), dtype=x.dtype)
    covariance = alpha.square() * torch.exp(-0.5 * square / rho.square()) + noise
    zero = torch.zeros(len(x), dtype=x.dtype)
    pyro.sample("y", dist.MultivariateNormal(zero, covariance), obs=y)


def inverse(A: Tensor, y: Tensor) -> None:
    x = pyro.sample("x", dist.Normal(torch.zeros(A.shape[1]), 1.0).to_event(1))
    with pyro.plate("view", len(y)):
        pyro.sample("y", dist.Normal(A @ x, INVERSE_NOISE), obs=y)


MODELS: Mapping[str, Callable[..., None]] = {
    each.__name__: each for each in (eight_schools, radon, logistic, mixture, gp, inverse)
}
GUIDES = {"mean-field": AutoNormal, "full-rank": AutoMultivariateNormal}


def tensors(data: Data) -> dict[str, Tensor]:
    """The data in Pyro's own dtype, which is float32; indices as they are."""
    made = {name: torch.as_tensor(value) for name, value in data.items()}
    default = torch.get_default_dtype()
    return {k: v.to(default) if v.is_floating_point() else v for k, v in made.items()}


def fit(
    name: str,
    data: Data,
    family: str,
    rate: float,
    clock: Clock,
    judge: Callable[[Gaussian], bool] | None = None,
) -> None:
    """Step by step, as in Pyro's tutorials; ``judge`` says if it may stop, off the clock."""
    given = tensors(data)
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    guide = GUIDES[family](MODELS[name])
    adam = pyro.optim.Adam({"lr": rate})
    svi = SVI(MODELS[name], guide, adam, Trace_ELBO())
    step = 0
    while not clock.over(step):
        svi.step(**given)
        step += 1
        if clock.due(step):
            clock.note(step, moments(name, guide))
            began = cpu_seconds()
            clock.enough = judge is not None and judge(clock.noted[-1][2])
            clock.paused += cpu_seconds() - began


def timed(name: str, data: Data, family: str, rate: float, steps: int) -> None:
    """So many steps, and nothing else."""
    fit(name, data, family, rate, Clock(np.inf, steps))


def moments(name: str, guide: Any) -> Gaussian:
    """The guide's parameters, in the order of the flat vector."""
    with torch.no_grad():
        if isinstance(guide, AutoNormal):
            names = [latent.name for latent in PROBLEMS[name].latents]
            loc = torch.cat([getattr(guide.locs, each).reshape(-1) for each in names])
            scale = torch.cat([getattr(guide.scales, each).reshape(-1) for each in names])
        else:
            loc, scale = guide.loc, guide.scale[:, None] * guide.scale_tril
        return Gaussian(loc.double().numpy().copy(), scale.double().numpy().copy())
