"""MC dropout is variational inference, up to stated terms; and the last layer's guide."""

import itertools
import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor
from torch.nn.functional import dropout as torch_dropout

import pyrovi as vi
from pyrovi import guides
from pyrovi.errors import GuideError
from pyrovi.guides.families.mc_dropout import column_kl, keep_mask, weight_decay
from pyrovi.seeds import isolated

RATE, PRIOR, SD = 0.3, 1.5, 0.05
DRAWS = 40_000


@pytest.fixture(autouse=True)
def _fresh() -> Any:
    torch.set_default_dtype(torch.float64)
    pyro.clear_param_store()
    with isolated(0):
        yield
    torch.set_default_dtype(torch.float32)


def log_mixture(value: Tensor, loc: Tensor) -> Tensor:
    """The log density of the mixture of two Gaussians that a column of weights has."""
    kept = dist.Normal(loc, SD).log_prob(value).sum(-1) + math.log1p(-RATE)
    dropped = dist.Normal(torch.zeros_like(loc), SD).log_prob(value).sum(-1) + math.log(RATE)
    return torch.logaddexp(kept, dropped)


def monte_carlo_kl(loc: Tensor) -> tuple[Tensor, Tensor]:
    """Of the true mixture from the prior, drawn within each component; and its standard error."""
    noise = SD * torch.randn(DRAWS, len(loc))
    parts = []
    for value, weight in ((loc + noise, 1 - RATE), (noise, RATE)):
        prior = dist.Normal(0.0, PRIOR).log_prob(value).sum(-1)
        parts.append(weight * (log_mixture(value, loc) - prior))
    terms = torch.stack(parts).sum(0)
    return terms.mean(), terms.std() / math.sqrt(DRAWS)


# ------------------------------------------------------------------------------ the divergence


@pytest.mark.parametrize("size", [1, 3, 20])
def test_the_divergence_is_that_of_the_true_mixture_where_its_components_are_apart(
    size: int,
) -> None:
    loc = torch.linspace(0.6, 1.2, size)
    exact, error = monte_carlo_kl(loc)
    found = column_kl(loc, RATE, prior_scale=PRIOR, sd=SD)
    assert abs(found - exact) < 5 * error
    assert error < 0.02


def test_of_the_divergence_only_weight_decay_moves_with_the_weights() -> None:
    loc = torch.tensor([0.7, -1.1, 0.5], requires_grad=True)
    exact, _ = monte_carlo_kl(loc)
    (gradient,) = torch.autograd.grad(exact, loc)
    decay = weight_decay(loc, RATE, PRIOR).sum()
    (expected,) = torch.autograd.grad(decay, loc)
    torch.testing.assert_close(gradient, expected, atol=0.01, rtol=0.0)
    torch.testing.assert_close(expected, (1 - RATE) * loc.detach() / PRIOR**2)


def test_where_the_components_are_one_the_divergence_lacks_the_entropy_of_the_masks() -> None:
    """The most that the formula can be off by, and it is."""
    loc = torch.zeros(3)
    normal = dist.Normal(0.0, SD).expand([3]).to_event(1)
    exact = torch.distributions.kl_divergence(normal, dist.Normal(loc, PRIOR).to_event(1))
    entropy = dist.Bernoulli(RATE).entropy()
    found = column_kl(loc, RATE, prior_scale=PRIOR, sd=SD)
    torch.testing.assert_close(exact - found, entropy)


# ------------------------------------------------------------------------------ the loss

X = torch.tensor([[0.5, -1.0], [1.5, 0.3], [-0.7, 0.8], [0.2, 1.9]], dtype=torch.float64)
Y = torch.tensor([0.3, -0.4, 1.2, 0.6], dtype=torch.float64)


def network(x: Tensor, y: Tensor) -> None:
    with pyro.plate("unit", 3, dim=-1):
        first = pyro.sample("first", dist.Normal(torch.zeros(2), PRIOR).to_event(1))
    second = pyro.sample("second", dist.Normal(torch.zeros(1, 3), PRIOR).to_event(2))
    noise = pyro.sample("noise", dist.LogNormal(-1.0, 0.5))
    f = torch.relu(x @ first.mT) @ second.mT
    with pyro.plate("row", len(y), dim=-1):
        pyro.sample("y", dist.Normal(f[..., 0], noise), obs=y)


def by_hand(guide: Any, masks: dict[str, Tensor], noise: Tensor) -> Tensor:
    """Dropout's loss on given masks: its squared error, and the decay of the weights kept."""
    f = torch.relu(X * masks["first"] @ guide.first.mT) * masks["second"] @ guide.second.mT
    error = 0.5 * ((Y - f[..., 0]) / noise).square().sum() + len(Y) * noise.log()
    first = (masks["first"] * guide.first.square()).sum() / (2 * PRIOR**2)
    second = (masks["second"] * guide.second.square()).sum() / (2 * PRIOR**2)
    return error + first + second


def test_pyros_loss_is_that_of_dropout_with_weight_decay_on_the_same_masks() -> None:
    """Exactly, up to a constant of the masks and the priors; and so is its gradient."""
    guide = guides.dropout(network, rate=0.4)
    guide(X, Y)
    losses, expected = [], []
    for seed in range(6):
        with isolated(seed):
            drawn: Any = poutine.trace(guide).get_trace(X, Y)
        with isolated(seed):
            loss = Trace_ELBO().differentiable_loss(network, guide, X, Y)
        masks = {n: drawn.nodes[f"{n}_kept"]["value"] for n in ("first", "second")}
        noise = drawn.nodes["noise"]["value"]
        constant = sum(drawn.nodes[f"{n}_kept"]["fn"].log_prob(m) for n, m in masks.items())
        constant = constant - dist.LogNormal(-1.0, 0.5).log_prob(noise)
        losses.append(loss - constant)
        expected.append(by_hand(guide, masks, noise))
        moved = list(guide.parameters())[:2]
        ours, theirs = (torch.autograd.grad(each, moved) for each in (loss, expected[-1]))
        torch.testing.assert_close(ours, theirs)
    apart = torch.stack(losses) - torch.stack(expected)
    torch.testing.assert_close(apart, apart[:1].expand(6))
    gaussians = 9 * (math.log(PRIOR) + 0.5 * math.log(2 * math.pi))
    assert apart[0].item() == pytest.approx(gaussians + 2 * math.log(2 * math.pi))


def test_over_all_masks_the_decay_of_the_weights_kept_is_the_weight_decay() -> None:
    weight = torch.randn(2, 4)
    total = torch.tensor(0.0)
    for mask in itertools.product((0.0, 1.0), repeat=4):
        kept = torch.tensor(mask)
        chance = torch.where(kept > 0, 1 - RATE, RATE).prod()
        total = total + chance * (kept * weight.square()).sum() / (2 * PRIOR**2)
    torch.testing.assert_close(weight_decay(weight, RATE, PRIOR).sum(), total)


def test_dropping_is_what_torch_does_without_its_scaling() -> None:
    inputs = torch.randn(400, 50)
    ours, theirs = inputs * keep_mask(inputs, RATE), (1 - RATE) * torch_dropout(inputs, RATE)
    assert ((ours == 0) | (ours == inputs)).all()
    share = (ours == 0).double().mean().item()
    assert share == pytest.approx(RATE, abs=4.3 * math.sqrt(RATE * (1 - RATE) / inputs.numel()))
    assert (theirs == 0).double().mean().item() == pytest.approx(share, abs=0.02)
    torch.testing.assert_close(theirs[theirs != 0], inputs[theirs != 0] * (1 - RATE) / (1 - RATE))


# ------------------------------------------------------------------------------ fits

COVARIATES = torch.tensor(
    [[1.0, 0.2], [0.4, -1.1], [-0.9, 0.5], [1.3, 0.9], [-0.2, -0.6]], dtype=torch.float64
)
OUTCOME = torch.tensor([1.4, -0.2, -0.7, 2.3, -0.9], dtype=torch.float64)
NOISE = 0.5


def linear(x: Tensor, y: Tensor) -> None:
    with pyro.plate("output", 1, dim=-1):
        weight = pyro.sample("weight", dist.Normal(torch.zeros(2), PRIOR).to_event(1))
    with pyro.plate("row", len(y), dim=-1):
        pyro.sample("y", dist.Normal((x @ weight.mT)[..., 0], NOISE), obs=y)


def gradients(guide: Any, at: Tensor, *, batches: int = 20, particles: int = 400) -> Tensor:
    """Of Pyro's loss by the fitted weights, ``(batch, weight)``."""
    guide(COVARIATES, OUTCOME)
    guide.weight = at[None]
    elbo: Any = Trace_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
    found = []
    for _ in range(batches):
        loss = elbo.differentiable_loss(linear, guide, COVARIATES, OUTCOME)
        found.append(torch.autograd.grad(loss, list(guide.parameters()))[0].flatten())
    return torch.stack(found)


def test_dropout_of_a_linear_model_has_its_optimum_at_the_ridge_regression_it_is() -> None:
    """Wager, Wang & Liang (2013): dropping covariates shrinks each by its own norm."""
    keep = 1 - RATE
    gram = COVARIATES.T @ COVARIATES
    penalty = keep * RATE * gram.diag().diag() + keep * NOISE**2 / PRIOR**2 * torch.eye(2)
    exact = torch.linalg.solve(keep**2 * gram + penalty, keep * COVARIATES.T @ OUTCOME)
    guide = guides.dropout(linear, rate=RATE)
    there, beside = gradients(guide, exact), gradients(guide, exact + 0.1)
    error = there.std(0) / math.sqrt(len(there))
    assert (there.mean(0).abs() < 5 * error).all()
    assert (beside.mean(0).abs() > 10 * error).all()


def test_what_needs_the_density_of_dropout_s_draws_is_said_to_be_unavailable() -> None:
    engine = vi.SVI(guide="dropout", max_steps=20)
    fit = vi.fit(linear, {"x": COVARIATES, "y": OUTCOME}, engine, seed=0)
    (found,) = fit.approximations()
    assert found.draw(5, 0).log_guide is None
    tree = vi.check(vi.draw(fit, draws=200))
    skipped = tree["diagnostics"]["check"].values
    assert "elbo" in skipped
    # Of so few weights the masks leave a few points, which psis names; of many there is no psis.
    psis = tree["diagnostics"].children.get("psis")
    assert "psis" in skipped or "one of 4 points" in str(psis["why"].values[0])
    assert vi.verdict(tree).fit_status != "ok"
    assert "predictive" in tree["diagnostics"].children


def test_a_fit_by_dropout_is_the_same_from_a_file(tmp_path: Any) -> None:
    engine = vi.SVI(guide=guides.dropout.with_options(rate={"weight": 0.25}), max_steps=20)
    data = {"x": COVARIATES, "y": OUTCOME}
    fit = vi.fit(linear, data, engine, seed=0)
    fit.save(tmp_path)
    again = type(fit).open(tmp_path, linear, data)
    (first,), (second,) = fit.draw(50), again.draw(50)
    torch.testing.assert_close(first.flat, second.flat, rtol=0.0, atol=0.0)


def test_a_rate_by_site_leaves_the_others_whole() -> None:
    guide = guides.dropout(network, rate={"second": 0.5})
    drawn: Any = poutine.trace(guide).get_trace(X, Y)
    assert "second_kept" in drawn.nodes
    assert "first_kept" not in drawn.nodes


def test_one_mask_is_for_all_that_leaves_an_input() -> None:
    guide = guides.dropout(network, rate=0.5)
    zero = torch.stack([guide(X, Y)["first"] == 0 for _ in range(50)])
    assert (zero.all(1) == zero.any(1)).all()
    assert 0.2 < zero.double().mean() < 0.8


@pytest.mark.parametrize(
    ("rate", "words"),
    [(1.0, "below 1"), (-0.1, "below 1"), ({"noise": 0.1}, "'noise' has no columns.*first")],
)
def test_a_rate_that_cannot_be_is_named(rate: Any, words: str) -> None:
    with pytest.raises(GuideError, match=words):
        guides.dropout(network, rate=rate)(X, Y)


# ------------------------------------------------------------------------------ the last layer


def test_of_a_linear_model_the_last_layer_is_the_exact_posterior() -> None:
    precision = COVARIATES.T @ COVARIATES / NOISE**2 + torch.eye(2) / PRIOR**2
    exact = torch.linalg.solve(precision, COVARIATES.T @ OUTCOME / NOISE**2)
    guide: Any = guides.last_layer(linear)
    guide(COVARIATES, OUTCOME)
    adam = torch.optim.Adam(guide.parameters(), lr=0.1)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 300)
    elbo: Any = Trace_ELBO(num_particles=300, vectorize_particles=True, max_plate_nesting=1)
    for _ in range(300):
        adam.zero_grad()
        elbo.differentiable_loss(linear, guide, COVARIATES, OUTCOME).backward()
        adam.step()
        falling.step()
    (top,) = guide
    found = top.get_posterior()
    torch.testing.assert_close(found.mean, exact, atol=0.03, rtol=0.0)
    torch.testing.assert_close(found.covariance_matrix, precision.inverse(), atol=0.01, rtol=0.1)


def test_the_last_layer_is_found_and_everything_below_is_a_point() -> None:
    guide = guides.last_layer(network)
    draws = [guide(X, Y) for _ in range(3)]
    assert torch.equal(draws[0]["first"], draws[1]["first"])
    assert not torch.equal(draws[0]["second"], draws[1]["second"])
    assert torch.equal(draws[0]["noise"], draws[2]["noise"])


def test_the_sites_of_the_last_layer_can_be_named_and_must_exist() -> None:
    guide = guides.last_layer(network, sites=["first", "second"])
    draws = [guide(X, Y) for _ in range(2)]
    assert not torch.equal(draws[0]["first"], draws[1]["first"])
    with pytest.raises(GuideError, match=r"no site 'third'.*first, second, noise"):
        guides.last_layer(network, sites=["third"])(X, Y)


@pytest.mark.parametrize("family", ["dropout", "last_layer"])
def test_it_learns_the_network_under_plain_pyro(family: str) -> None:
    guide = guides.FAMILIES[family](network)
    svi = SVI(network, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue, reportCallIssue]
    losses = [svi.step(X, Y) for _ in range(300)]
    assert sum(losses[-50:]) < sum(losses[:50])
