"""Models from Pyro's own examples, tutorials and tests, for pyrovi to meet as a stranger would.

Each states the generative process of the source named in its record, site for site, in this
project's words; sizes are cut so that a density costs milliseconds. They use what zoo models
avoid on purpose: vectors outside plates, discrete sites without an annotation, models that close
over their data, take dicts or return values.

Run them under a float64 default dtype. The data are fixed numbers or come from a fixed generator.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroModule, PyroSample
from pyro.ops.indexing import Vindex
from torch import Tensor

from foreign.record import ENUMERATE, ForeignModel, coins, noise, numbers
from foreign.truths import Draws, Moments, beta, gaussian, in_logs, in_order, pooled, weighted

__all__ = ["PYROS_OWN"]

# --- examples/baseball.py ---------------------------------------------------------------------

AT_BATS = torch.full((18,), 45.0, dtype=torch.float64)
# Efron and Morris (1975), hits in the first 45 times at bat of 18 players
HITS = numbers([18, 17, 16, 15, 14, 14, 13, 12, 11, 11, 10, 10, 10, 10, 10, 9, 8, 7])


def baseball_fully_pooled(at_bats: Tensor, hits: Tensor) -> Tensor:
    phi = pyro.sample("phi", dist.Uniform(at_bats.new_tensor(0.0), at_bats.new_tensor(1.0)))
    return pyro.sample("obs", dist.Binomial(at_bats, phi), obs=hits)


def baseball_not_pooled(at_bats: Tensor, hits: Tensor) -> Tensor:
    with pyro.plate("num_players", len(at_bats)):
        phi = pyro.sample("phi", dist.Uniform(at_bats.new_tensor(0.0), at_bats.new_tensor(1.0)))
        return pyro.sample("obs", dist.Binomial(at_bats, phi), obs=hits)


def baseball_partially_pooled(at_bats: Tensor, hits: Tensor) -> Tensor:
    m = pyro.sample("m", dist.Uniform(at_bats.new_tensor(0.0), at_bats.new_tensor(1.0)))
    kappa = pyro.sample("kappa", dist.Pareto(at_bats.new_tensor(1.0), at_bats.new_tensor(1.5)))
    with pyro.plate("num_players", len(at_bats)):
        phi = pyro.sample("phi", dist.Beta(m * kappa, (1 - m) * kappa))
        return pyro.sample("obs", dist.Binomial(at_bats, phi), obs=hits)


def baseball_with_logit(at_bats: Tensor, hits: Tensor) -> Tensor:
    loc = pyro.sample("loc", dist.Normal(at_bats.new_tensor(-1.0), at_bats.new_tensor(1.0)))
    scale = pyro.sample("scale", dist.HalfCauchy(scale=at_bats.new_tensor(1.0)))
    with pyro.plate("num_players", len(at_bats)):
        alpha = pyro.sample("alpha", dist.Normal(loc, scale))
        return pyro.sample("obs", dist.Binomial(at_bats, logits=alpha), obs=hits)


# --- examples/eight_schools/mcmc.py -----------------------------------------------------------

EFFECT = numbers([28, 8, -3, 7, -1, 1, 18, 12])
STANDARD_ERROR = numbers([15, 10, 16, 11, 9, 11, 10, 18])


def _eight_schools(sigma: Tensor) -> Tensor:
    """No plate, shape-(1,) latents, and an observation given by `poutine.condition`."""
    eta = pyro.sample("eta", dist.Normal(torch.zeros(8), torch.ones(8)))
    mu = pyro.sample("mu", dist.Normal(torch.zeros(1), 10 * torch.ones(1)))
    tau = pyro.sample("tau", dist.HalfCauchy(scale=25 * torch.ones(1)))
    return pyro.sample("obs", dist.Normal(mu + tau * eta, sigma))


eight_schools_conditioned = poutine.condition(_eight_schools, data={"obs": EFFECT})


# --- examples/lkj.py --------------------------------------------------------------------------


def lkj(y: Tensor) -> Tensor:
    rows, columns = y.shape
    theta = pyro.sample("theta", dist.HalfCauchy(y.new_ones(columns)))
    correlation = pyro.sample("L_omega", dist.LKJCholesky(columns, y.new_ones(())))
    scale_tril = torch.mm(torch.diag(theta.sqrt()), correlation)
    with pyro.plate("observations", rows):
        of_row = dist.MultivariateNormal(y.new_zeros(columns), scale_tril=scale_tril)
        return pyro.sample("obs", of_row, obs=y)


# --- examples/hmm.py --------------------------------------------------------------------------


def hmm(sequences: Tensor, lengths: Tensor, hidden_dim: int) -> None:
    """model_1: sequences of unequal length in nested plates, enumerated along time, masked."""
    count, _, tones = map(int, sequences.shape)
    probs_x = pyro.sample("probs_x", dist.Dirichlet(0.9 * torch.eye(hidden_dim) + 0.1).to_event(1))
    probs_y = pyro.sample("probs_y", dist.Beta(0.1, 0.9).expand([hidden_dim, tones]).to_event(2))
    tone = pyro.plate("tones", tones, dim=-1)
    with pyro.plate("sequences", count, dim=-2) as batch:
        lengths = lengths[batch]
        x: Any = 0
        for t in pyro.markov(range(int(lengths.max()))):
            with poutine.mask(mask=(t < lengths).unsqueeze(-1)):
                x = pyro.sample(f"x_{t}", dist.Categorical(probs_x[x]), infer=ENUMERATE)
                with tone:
                    on = dist.Bernoulli(probs_y[x.squeeze(-1)])
                    pyro.sample(f"y_{t}", on, obs=sequences[batch, t])


def factorial_hmm(sequences: Tensor, hidden_dim: int) -> None:
    """model_3: two hidden chains that meet in each observation."""
    count, length, tones = map(int, sequences.shape)
    prior = dist.Dirichlet(0.9 * torch.eye(hidden_dim) + 0.1).to_event(1)
    probs_w = pyro.sample("probs_w", prior)
    probs_x = pyro.sample("probs_x", prior)
    probs_y = pyro.sample(
        "probs_y", dist.Beta(0.1, 0.9).expand([hidden_dim, hidden_dim, tones]).to_event(3)
    )
    tone_plate = pyro.plate("tones", tones, dim=-1)
    with pyro.plate("sequences", count, dim=-2) as batch:
        w: Any = 0
        x: Any = 0
        for t in pyro.markov(range(length)):
            w = pyro.sample(f"w_{t}", dist.Categorical(probs_w[w]), infer=ENUMERATE)
            x = pyro.sample(f"x_{t}", dist.Categorical(probs_x[x]), infer=ENUMERATE)
            with tone_plate as tone:
                pyro.sample(f"y_{t}", dist.Bernoulli(probs_y[w, x, tone]), obs=sequences[batch, t])


# --- examples/capture_recapture/cjs.py --------------------------------------------------------

CAPTURES = numbers(
    [[1, 1, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 0, 0]]
)
SEX = numbers([1, 0, 1, 1, 0, 0])


def _recapture(
    t: int, alive: Tensor, seen_before: Tensor, phi: Any, rho: Tensor, captures: Tensor
) -> Tensor:
    """One step of the capture history; alive is certain until the first capture."""
    survives = seen_before.to(captures) * phi * alive + (1 - seen_before.to(captures))
    with poutine.mask(mask=seen_before):
        alive = pyro.sample(f"z_{t}", dist.Bernoulli(survives), infer=ENUMERATE)
        pyro.sample(f"y_{t}", dist.Bernoulli(rho * alive), obs=captures[:, t])
    return alive


def capture_recapture(captures: Tensor, sex: Tensor) -> None:
    """model_4: survival by sex; model_1 is the case of one sex."""
    animals, occasions = captures.shape
    phi_male = pyro.sample("phi_male", dist.Uniform(0.0, 1.0))
    phi_female = pyro.sample("phi_female", dist.Uniform(0.0, 1.0))
    phi = sex * phi_male + (1.0 - sex) * phi_female
    rho = pyro.sample("rho", dist.Uniform(0.0, 1.0))
    with pyro.plate("animals", animals, dim=-1):
        alive, seen = torch.ones(animals), torch.zeros(animals, dtype=torch.bool)
        for t in pyro.markov(range(occasions)):
            alive = _recapture(t, alive, seen, phi, rho, captures)
            seen = seen | captures[:, t].bool()


def capture_recapture_by_year(captures: Tensor, sex: Tensor | None = None) -> None:
    """model_3: survival varies by occasion, drawn between two visits of the same plate."""
    animals, occasions = captures.shape
    phi_mean = pyro.sample("phi_mean", dist.Uniform(0.0, 1.0))
    phi_sigma = pyro.sample("phi_sigma", dist.Uniform(0.0, 10.0))
    rho = pyro.sample("rho", dist.Uniform(0.0, 1.0))
    alive, seen = torch.ones(animals), torch.zeros(animals, dtype=torch.bool)
    animal = pyro.plate("animals", animals, dim=-1)
    for t in pyro.markov(range(occasions)):
        phi: Any = torch.tensor(0.5)
        if t > 0:
            around = dist.Normal(torch.logit(phi_mean), phi_sigma)
            phi = torch.sigmoid(pyro.sample(f"phi_logit_{t}", around))
        with animal:
            alive = _recapture(t, alive, seen, phi, rho, captures)
        seen = seen | captures[:, t].bool()


# --- examples/minipyro.py, examples/sparse_gamma_def.py, examples/sparse_regression.py --------


def minipyro(data: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(data), dim=-1):
        pyro.sample("obs", dist.Normal(loc, 1.0), obs=data)


def sparse_gamma(x: Tensor, top: int, middle: int) -> None:
    """Two gamma layers of the three; flat weights in a plate, reshaped to a matrix."""
    rows, columns = x.shape
    with pyro.plate("w_top_plate", top * middle):
        w_top = pyro.sample("w_top", dist.Gamma(0.1, 0.3))
    with pyro.plate("w_bottom_plate", middle * columns):
        w_bottom = pyro.sample("w_bottom", dist.Gamma(0.1, 0.3))
    with pyro.plate("data", rows):
        z_top = pyro.sample("z_top", dist.Gamma(0.1, 0.1).expand([top]).to_event(1))
        mean = torch.matmul(z_top, w_top.reshape(-1, top, middle))
        z_bottom = pyro.sample("z_bottom", dist.Gamma(0.1, 0.1 / mean).to_event(1))
        rate = torch.matmul(z_bottom, w_bottom.reshape(-1, middle, columns))
        pyro.sample("obs", dist.Poisson(rate).to_event(1), obs=x)


HYPERS = {
    "expected_sparsity": 1.0,
    "alpha1": 3.0,
    "beta1": 1.0,
    "alpha2": 3.0,
    "beta2": 1.0,
    "alpha3": 1.0,
    "c": 1.0,
    "alpha_obs": 3.0,
    "beta_obs": 1.0,
}


def sparse_regression(X: Tensor, Y: Tensor, hypers: Mapping[str, float]) -> None:
    """Half-Cauchy shrinkage of a quadratic kernel; the hyperparameters come as a dict."""
    rows, columns = X.shape
    sparsity = hypers["expected_sparsity"]
    sigma = pyro.sample("sigma", dist.HalfNormal(hypers["alpha3"]))
    phi = sigma * (sparsity / rows**0.5) / (columns - sparsity)
    eta1 = pyro.sample("eta1", dist.HalfCauchy(phi))
    msq = pyro.sample("msq", dist.InverseGamma(hypers["alpha1"], hypers["beta1"]))
    xisq = pyro.sample("xisq", dist.InverseGamma(hypers["alpha2"], hypers["beta2"]))
    eta2 = eta1**2 * xisq.sqrt() / msq
    lam = pyro.sample("lambda", dist.HalfCauchy(torch.ones(columns)).to_event(1))
    kappa = msq.sqrt() * lam / (msq + (eta1 * lam) ** 2).sqrt()
    var_obs = pyro.sample("var_obs", dist.InverseGamma(hypers["alpha_obs"], hypers["beta_obs"]))
    Z = kappa * X
    linear, squares = Z @ Z.T, (Z**2) @ (Z**2).T
    kernel = 0.5 * eta2**2 * ((1.0 + linear) ** 2 - squares - 1.0)
    kernel = kernel + (eta1**2 - eta2**2) * linear + hypers["c"] ** 2
    noise = (var_obs + 1.0e-4) * torch.eye(rows)
    of_y = dist.MultivariateNormal(torch.zeros(rows), covariance_matrix=kernel + noise)
    pyro.sample("Y", of_y, obs=Y)


# --- tutorial/source/bayesian_regression_ii.ipynb, bayesian_regression.ipynb ------------------


def rugged(is_cont_africa: Tensor, ruggedness: Tensor, log_gdp: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 10.0))
    b_a = pyro.sample("bA", dist.Normal(0.0, 1.0))
    b_r = pyro.sample("bR", dist.Normal(0.0, 1.0))
    b_ar = pyro.sample("bAR", dist.Normal(0.0, 1.0))
    sigma = pyro.sample("sigma", dist.Uniform(0.0, 10.0))
    mean = a + b_a * is_cont_africa + b_r * ruggedness + b_ar * is_cont_africa * ruggedness
    with pyro.plate("data", len(ruggedness)):
        pyro.sample("obs", dist.Normal(mean, sigma), obs=log_gdp)


class BayesianRegression(PyroModule):
    """Weights of a linear layer lifted to random variables; returns the mean."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.linear = PyroModule[torch.nn.Linear](inputs, 1)
        zero, one, ten = numbers(0), numbers(1), numbers(10)
        self.linear.weight = PyroSample(dist.Normal(zero, one).expand([1, inputs]).to_event(2))
        self.linear.bias = PyroSample(dist.Normal(zero, ten).expand([1]).to_event(1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        sigma = pyro.sample("sigma", dist.Uniform(0.0, 10.0))
        mean = self.linear(x).squeeze(-1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("obs", dist.Normal(mean, sigma), obs=y)
        return mean


# --- tests/infer/mcmc/test_hmc.py and test_nuts.py --------------------------------------------


def gaussian_chain(data: Tensor) -> None:
    """GaussianChain: vectors outside any plate."""
    loc, scale = torch.zeros(data.shape[-1]), torch.ones(data.shape[-1])
    for i in range(1, 4):
        loc = pyro.sample(f"loc_{i}", dist.Normal(loc, scale))
    pyro.sample("obs", dist.Normal(loc, scale), obs=data)


COEFFICIENTS = numbers([1.0, 2.0, 3.0])
LOGISTIC_X = noise(40, 3)
LABELS = (LOGISTIC_X @ COEFFICIENTS > 0).to(torch.float64)


def logistic_regression(data: Tensor) -> Tensor:
    """Closes over its labels, and returns them."""
    beta = pyro.sample("beta", dist.Normal(torch.zeros(3), torch.ones(3)))
    return pyro.sample("y", dist.Bernoulli(logits=(beta * data).sum(-1)), obs=LABELS)


def dirichlet_categorical(data: Tensor) -> Tensor:
    p_latent = pyro.sample("p_latent", dist.Dirichlet(torch.tensor([1.0, 1.0, 1.0])))
    pyro.sample("obs", dist.Categorical(p_latent), obs=data)
    return p_latent


def beta_bernoulli(data: Tensor) -> Tensor:
    """A plate at dim -2 and no plate at dim -1, which is 2 long."""
    p_latent = pyro.sample("p_latent", dist.Beta(torch.full((2,), 1.1), torch.full((2,), 1.1)))
    with pyro.plate("data", data.shape[0], dim=-2):
        pyro.sample("obs", dist.Bernoulli(p_latent), obs=data)
    return p_latent


def gamma_normal(data: Tensor) -> Tensor:
    p_latent = pyro.sample("p_latent", dist.Gamma(torch.ones(2), torch.ones(2)))
    pyro.sample("obs", dist.Normal(3.0, p_latent), obs=data)
    return p_latent


def gamma_beta(data: Tensor) -> None:
    alpha = pyro.sample("alpha", dist.Gamma(concentration=1.0, rate=1.0))
    beta = pyro.sample("beta", dist.Gamma(concentration=1.0, rate=1.0))
    pyro.sample("x", dist.Beta(concentration1=alpha, concentration0=beta), obs=data)


def gaussian_mixture(data: Tensor) -> Tensor:
    """Assignments without an annotation: NUTS enumerates them all the same."""
    phi = pyro.sample("phi", dist.Dirichlet(torch.ones(3)))
    with pyro.plate("num_clusters", 3):
        means = pyro.sample("cluster_means", dist.Normal(torch.arange(3.0), 1.0))
    with pyro.plate("data", data.shape[0]):
        assignments = pyro.sample("assignments", dist.Categorical(phi))
        pyro.sample("obs", dist.Normal(means[assignments], 1.0), obs=data)
    return means


def bernoulli_latent(data: Tensor) -> None:
    """A global discrete site above local ones, and one that nothing depends on."""
    y_prob = pyro.sample("y_prob", dist.Beta(1.0, 1.0))
    y = pyro.sample("y", dist.Bernoulli(y_prob))
    with pyro.plate("data", data.shape[0]):
        z = pyro.sample("z", dist.Bernoulli(0.65 * y + 0.1))
        pyro.sample("obs", dist.Normal(2.0 * z, 1.0), obs=data)
    pyro.sample("nuisance", dist.Bernoulli(0.3))


def gaussian_hmm(data: Tensor) -> None:
    """Scalar states along time, without any plate around them."""
    states = 4
    initialize = pyro.sample("initialize", dist.Dirichlet(torch.ones(states)))
    with pyro.plate("states", states):
        transition = pyro.sample("transition", dist.Dirichlet(torch.ones(states, states)))
        loc = pyro.sample("emission_loc", dist.Normal(torch.zeros(states), torch.ones(states)))
        scale = pyro.sample(
            "emission_scale", dist.LogNormal(torch.zeros(states), torch.ones(states))
        )
    x = None
    for t, y in pyro.markov(enumerate(data)):
        probs = initialize if x is None else transition[x]
        x = pyro.sample(f"x_{t}", dist.Categorical(probs), infer=ENUMERATE)
        pyro.sample(f"y_{t}", dist.Normal(loc[x], scale[x]), obs=y)


# --- tests/infer/mcmc/test_valid_models.py ----------------------------------------------------


def nested_plates_in_a_tree() -> None:
    """Four plates, three of them inside the fourth; takes no arguments at all."""
    outer = pyro.plate("outer", 3, dim=-1)
    inner1 = pyro.plate("inner1", 4, dim=-3)
    inner2 = pyro.plate("inner2", 5, dim=-2)
    inner3 = pyro.plate("inner3", 6, dim=-4)
    p = pyro.sample("p", dist.Uniform(0.0, 1.0))
    y = pyro.sample("y", dist.Bernoulli(p))
    q = 0.5 + 0.25 * y
    with outer, inner2:
        z0 = pyro.sample("z0", dist.Bernoulli(q))
        pyro.sample("obs0", dist.Normal(2 * z0 - 1, 1.0), obs=torch.ones(5, 3))
    with outer:
        v = pyro.sample("v", dist.Bernoulli(q))
        r = 0.4 + 0.1 * v
        with inner1, inner3:
            z1 = pyro.sample("z1", dist.Bernoulli(r))
            pyro.sample("obs1", dist.Normal(2 * z1 - 1, 1.0), obs=torch.ones(6, 4, 1, 3))
        with inner2:
            z2 = pyro.sample("z2", dist.Bernoulli(r))
            pyro.sample("obs2", dist.Normal(2 * z2 - 1, 1.0), obs=torch.ones(5, 3))


def two_plates_of_one_discrete(data: Tensor) -> None:
    p = pyro.sample("p", dist.Beta(1.1, 1.1))
    y = pyro.sample("y", dist.Bernoulli(p))
    with pyro.plate("data1", len(data)):
        pyro.sample("obs1", dist.Bernoulli(0.5 + 0.25 * y), obs=data)
    with pyro.plate("data2", len(data)):
        pyro.sample("obs2", dist.Bernoulli(0.4 + 0.2 * y), obs=data)


# --- tests/infer/test_valid_models.py ---------------------------------------------------------

COMPOSITION = numbers([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])


def scaled(data: Tensor) -> None:
    """test_dirichlet_scale-like: each row counted twice by `poutine.scale`."""
    c = pyro.sample("c", dist.LogNormal(0.0, 1.0).expand([3]).to_event(1))
    with pyro.plate("data", len(data)), poutine.scale(scale=2.0):
        pyro.sample("obs", dist.Dirichlet(c), obs=data)


def masked(data: Tensor, mask: Tensor) -> None:
    """The same with rows left out by `poutine.mask`."""
    c = pyro.sample("c", dist.LogNormal(0.0, 1.0).expand([3]).to_event(1))
    with pyro.plate("data", len(data)), poutine.mask(mask=mask):
        pyro.sample("obs", dist.Dirichlet(c), obs=data)


def partly_observed(data: Tensor, mask: Tensor) -> None:
    """test_obs_mask_ok: entries that the mask leaves out are latent."""
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    with pyro.plate("plate", len(data)):
        pyro.sample("y", dist.Normal(x, 1.0), obs=data, obs_mask=mask)


# --- tests/infer/test_inspect.py --------------------------------------------------------------


def factors(data: Tensor) -> None:
    """test_factor and test_plate_coupling: two `pyro.factor`, and a sum over a plate."""
    with pyro.plate("p", len(data)):
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
    pyro.factor("b", torch.tensor(0.25))
    pyro.factor("c", -x.abs().sum(-1))
    pyro.sample("y", dist.Normal(x.sum(-1), 1.0), obs=data.sum())


def plate_collider(data: Tensor) -> None:
    row = pyro.plate("i", data.shape[0], dim=-2)
    column = pyro.plate("j", data.shape[1], dim=-1)
    with row:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
    with column:
        y = pyro.sample("y", dist.Normal(0.0, 1.0))
    with row, column:
        pyro.sample("z", dist.Normal(x, y.exp()), obs=data)


# --- tests/infer/test_predictive.py, test_log_likelihood.py -----------------------------------


def deterministic(y: Tensor) -> Tensor:
    with pyro.plate("plate", 3):
        x = pyro.sample("x", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        x2 = pyro.deterministic("x2", x**2, event_dim=1)
    pyro.deterministic("x3", x2)
    return pyro.sample("obs", dist.Normal(x2, 0.1).to_event(), obs=y)


def several_observations(data: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """model2 of test_log_likelihood.py, its inputs and outputs in one dict; returns a dict."""
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    b = pyro.sample("b", dist.Normal(0.0, 1.0))
    sigma = pyro.sample("sigma", dist.Exponential(1.0))
    with pyro.plate("obs", len(data["x_0"])):
        for i in range(2):
            mean = m * data[f"x_{i}"] + b
            pyro.sample(f"y_{i}", dist.Normal(mean, sigma), obs=data[f"y_{i}"])
    return {"slope": m, "intercept": b}


# --- tests/infer/reparam/test_neutra.py, tutorial/source/tensor_shapes.ipynb ------------------


def neals_funnel(dim: int) -> None:
    y = pyro.sample("y", dist.Normal(0.0, 3.0))
    with pyro.plate("D", dim):
        pyro.sample("x", dist.Normal(0.0, torch.exp(y / 2)))


def minibatch(data: Tensor) -> None:
    """`plate(subsample_size=...)`: the density is that of a minibatch, scaled up."""
    mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
    with pyro.plate("data", len(data), subsample_size=5) as index:
        pyro.sample("x", dist.Normal(mean, 1.0), obs=data[index])


def sequential_plate(data: Tensor) -> None:
    """`for i in pyro.plate(...)`: a site per datum and no vectorised plate."""
    mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
    for i in pyro.plate("data", len(data)):
        local = pyro.sample(f"local_{i}", dist.Normal(mean, 1.0))
        pyro.sample(f"x_{i}", dist.Normal(local, 1.0), obs=data[i])


def discrete_in_an_outer_plate(data: Tensor) -> None:
    """tutorial/source/enumeration.ipynb: a component per row, indexed by Vindex."""
    rows, columns = data.shape
    with pyro.plate("components", 2):
        p = pyro.sample("p", dist.Beta(2.0, 2.0))
    row = pyro.plate("row", rows, dim=-2)
    column = pyro.plate("column", columns, dim=-1)
    with row:
        which = pyro.sample("which", dist.Categorical(torch.ones(2)), infer=ENUMERATE)
        with column:
            pyro.sample("coin", dist.Bernoulli(Vindex(p)[..., which]), obs=data)


# --- truths, and what is compared where states may swap their labels --------------------------


def a_chain() -> Moments:
    """loc_1 .. loc_3 and the datum 1 are steps of unit variance from 0."""
    precision = np.diag([2.0, 2.0, 2.0]) - np.eye(3, k=1) - np.eye(3, k=-1)
    mean, sd = gaussian(precision, [0.0, 0.0, 1.0])
    return {f"loc_{i + 1}": (np.full(5, mean[i]), np.full(5, sd[i])) for i in range(3)}


def in_sequence() -> Moments:
    """A common mean and three locals, each with a datum of its own."""
    precision = np.diag([0.01 + 3.0, 2.0, 2.0, 2.0])
    precision[0, 1:] = precision[1:, 0] = -1.0
    mean, sd = gaussian(precision, [0.0, *TIMES[:3].tolist()])
    names = ("mean", "local_0", "local_1", "local_2")
    return {name: (m, s) for name, m, s in zip(names, mean, sd, strict=True)}


def square_roots() -> Moments:
    """Six entries, each alone: x ~ N(0, 1) and 4 ~ N(x^2, 0.1), of two modes."""
    x = np.linspace(-4, 4, 80_001)
    mean, sd = weighted(np.exp(-0.5 * x**2 - 0.5 * ((4 - x**2) / 0.1) ** 2), x)
    return {"x": (np.full(6, mean), np.full(6, sd))}


def emissions(draws: Draws) -> Draws:
    """The states by their locations; the scales, of log normal tails, by their logs."""
    found = in_order("emission_loc", "emission_scale")(draws)
    return {"loc": found["emission_loc"], **in_logs("emission_scale")(found)}


def over_states(draws: Draws) -> Draws:
    """The chances of each tone in the state where the first tone is rarest, and so on up."""
    p = draws["probs_y"]
    order = np.argsort(p[..., :1], axis=-2)
    return {"probs_y": np.take_along_axis(p, order, axis=-2)}


def over_pairs(draws: Draws) -> Draws:
    """The chances of each tone over all pairs of states."""
    return {"tone": draws["probs_y"].mean((-3, -2))}


def expected_counts(draws: Draws) -> Draws:
    """The Poisson rates: layers may swap, and trade scale."""
    w = draws["w_bottom"]
    z = draws["z_bottom"]
    return {"rate": z.reshape(len(z), -1, 2) @ w.reshape(len(w), 2, -1)}


EXAMPLES, TUTORIAL, TESTS = "examples/", "tutorial/source/", "tests/infer/"
TIMES = noise(6)
SEQUENCES = coins(3, 4, 2, chance=0.4)

PYROS_OWN = (
    ForeignModel(
        "baseball_fully_pooled",
        EXAMPLES + "baseball.py: fully_pooled",
        baseball_fully_pooled,
        (AT_BATS, HITS),
    ),
    ForeignModel(
        "baseball_not_pooled",
        EXAMPLES + "baseball.py: not_pooled",
        baseball_not_pooled,
        (AT_BATS, HITS),
    ),
    ForeignModel(
        "baseball_partially_pooled",
        EXAMPLES + "baseball.py: partially_pooled",
        baseball_partially_pooled,
        (AT_BATS, HITS),
    ),
    ForeignModel(
        "baseball_with_logit",
        EXAMPLES + "baseball.py: partially_pooled_with_logit",
        baseball_with_logit,
        (AT_BATS, HITS),
    ),
    ForeignModel(
        "eight_schools_conditioned",
        EXAMPLES + "eight_schools/mcmc.py: conditioned_model",
        eight_schools_conditioned,
        (STANDARD_ERROR,),
    ),
    ForeignModel("lkj", EXAMPLES + "lkj.py: model", lkj, (noise(20, 3),)),
    ForeignModel(
        "hmm",
        EXAMPLES + "hmm.py: model_1",
        hmm,
        (SEQUENCES, torch.tensor([4, 2, 3])),
        {"hidden_dim": 3},
        max_plate_nesting=2,
        compared=over_states,
    ),
    ForeignModel(
        "factorial_hmm",
        EXAMPLES + "hmm.py: model_3",
        factorial_hmm,
        (SEQUENCES,),
        {"hidden_dim": 2},
        max_plate_nesting=2,
        compared=over_pairs,
    ),
    ForeignModel(
        "capture_recapture",
        EXAMPLES + "capture_recapture/cjs.py: model_4",
        capture_recapture,
        (CAPTURES, SEX),
        max_plate_nesting=1,
    ),
    ForeignModel(
        "capture_recapture_by_year",
        EXAMPLES + "capture_recapture/cjs.py: model_3",
        capture_recapture_by_year,
        (CAPTURES, None),
        max_plate_nesting=1,
    ),
    ForeignModel(
        "minipyro",
        EXAMPLES + "minipyro.py: model",
        minipyro,
        (TIMES + 3.0,),
        truth=lambda: {"loc": pooled(TIMES + 3.0, 1.0)},
    ),
    ForeignModel(
        "sparse_gamma",
        EXAMPLES + "sparse_gamma_def.py: SparseGammaDEF.model",
        sparse_gamma,
        (numbers([[3, 0, 1, 2], [0, 1, 4, 0], [2, 2, 0, 1]]),),
        {"top": 3, "middle": 2},
        compared=expected_counts,
    ),
    ForeignModel(
        "sparse_regression",
        EXAMPLES + "sparse_regression.py: model",
        sparse_regression,
        (noise(12, 4), noise(12, seed=22), HYPERS),
        compared=in_logs("sigma", "eta1", "msq", "xisq", "lambda", "var_obs"),
    ),
    ForeignModel(
        "rugged",
        TUTORIAL + "bayesian_regression_ii.ipynb: model",
        rugged,
        kwargs={
            "is_cont_africa": coins(30, chance=0.3),
            "ruggedness": noise(30).abs(),
            "log_gdp": 8.5 + noise(30, seed=23),
        },
    ),
    ForeignModel(
        "bayesian_regression_module",
        TUTORIAL + "bayesian_regression.ipynb: BayesianRegression",
        BayesianRegression(2),
        (noise(20, 2), noise(20, seed=24)),
    ),
    ForeignModel(
        "gaussian_chain",
        TESTS + "mcmc/test_hmc.py: GaussianChain",
        gaussian_chain,
        (torch.ones(1, 5, dtype=torch.float64),),
        truth=a_chain,
    ),
    ForeignModel(
        "logistic_regression",
        TESTS + "mcmc/test_hmc.py: test_logistic_regression",
        logistic_regression,
        (LOGISTIC_X,),
    ),
    ForeignModel(
        "dirichlet_categorical",
        TESTS + "mcmc/test_hmc.py: test_dirichlet_categorical",
        dirichlet_categorical,
        (torch.tensor([0, 1, 1, 2, 1, 1, 2, 1]),),
        truth=lambda: {"p_latent": beta([2, 6, 3], [9, 5, 8])},
    ),
    ForeignModel(
        "beta_bernoulli",
        TESTS + "mcmc/test_hmc.py: test_beta_bernoulli",
        beta_bernoulli,
        (coins(30, 2, chance=0.7),),
        max_plate_nesting=2,
    ),
    ForeignModel(
        "gamma_normal",
        TESTS + "mcmc/test_nuts.py: test_gamma_normal",
        gamma_normal,
        (3.0 + noise(25, 2),),
    ),
    ForeignModel(
        "gamma_beta",
        TESTS + "mcmc/test_nuts.py: test_gamma_beta",
        gamma_beta,
        (torch.sigmoid(2.0 + noise(25)),),
    ),
    ForeignModel(
        "gaussian_mixture",
        TESTS + "mcmc/test_nuts.py: test_gaussian_mixture_model",
        gaussian_mixture,
        (numbers([0, 0, 3, 3, 3, 5, 5]),),
        max_plate_nesting=1,
    ),
    ForeignModel(
        "bernoulli_latent",
        TESTS + "mcmc/test_hmc.py: test_bernoulli_latent_model",
        bernoulli_latent,
        (1.0 + noise(15),),
        max_plate_nesting=1,
    ),
    ForeignModel(
        "gaussian_hmm",
        TESTS + "mcmc/test_nuts.py: test_gaussian_hmm",
        gaussian_hmm,
        (TIMES,),
        max_plate_nesting=1,
        compared=emissions,
    ),
    ForeignModel(
        "nested_plates_in_a_tree",
        TESTS + "mcmc/test_valid_models.py: test_log_prob_eval_iterates_in_correct_order",
        nested_plates_in_a_tree,
        max_plate_nesting=4,
    ),
    ForeignModel(
        "two_plates_of_one_discrete",
        TESTS + "mcmc/test_valid_models.py: test_enum_log_prob_multiple_plate",
        two_plates_of_one_discrete,
        (numbers([1, 0, 1]),),
        max_plate_nesting=1,
    ),
    ForeignModel("scaled", TESTS + "test_valid_models.py: scale", scaled, (COMPOSITION,)),
    ForeignModel(
        "masked",
        TESTS + "test_valid_models.py: mask",
        masked,
        (COMPOSITION, torch.tensor([True, False])),
    ),
    ForeignModel(
        "partly_observed",
        TESTS + "test_valid_models.py: test_obs_mask_ok",
        partly_observed,
        (numbers([7, 7, 7]), torch.tensor([False, True, False])),
        compared=lambda draws: {"x": draws["x"]},
    ),
    ForeignModel(
        "factors", TESTS + "test_inspect.py: test_factor, test_plate_coupling", factors, (TIMES,)
    ),
    ForeignModel(
        "plate_collider",
        TESTS + "test_inspect.py: test_plate_collider",
        plate_collider,
        (noise(3, 2),),
    ),
    ForeignModel(
        "deterministic",
        TESTS + "test_predictive.py: test_deterministic",
        deterministic,
        (torch.full((3, 2), 4.0, dtype=torch.float64),),
        truth=square_roots,
    ),
    ForeignModel(
        "several_observations",
        TESTS + "test_log_likelihood.py: model2",
        several_observations,
        ({name: noise(10, seed=i) for i, name in enumerate(("x_0", "y_0", "x_1", "y_1"))},),
    ),
    ForeignModel(
        "neals_funnel",
        TESTS + "reparam/test_neutra.py: neals_funnel",
        neals_funnel,
        (4,),
        truth=lambda: {"y": (0.0, 3.0)},
    ),
    ForeignModel(
        "minibatch",
        TUTORIAL + "svi_part_ii.ipynb: subsampling",
        minibatch,
        (noise(20),),
        subsampled=True,
        truth=lambda: {"mean": pooled(noise(20), 10.0)},
    ),
    ForeignModel(
        "sequential_plate",
        TUTORIAL + "svi_part_ii.ipynb: sequential plate",
        sequential_plate,
        (TIMES[:3],),
        truth=in_sequence,
    ),
    ForeignModel(
        "discrete_in_an_outer_plate",
        TUTORIAL + "enumeration.ipynb: plates",
        discrete_in_an_outer_plate,
        (coins(5, 4, chance=0.5),),
        max_plate_nesting=2,
    ),
)
