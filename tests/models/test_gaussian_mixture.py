"""The mixture: its density by hand, its evidence by counting, and the irises."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, TraceEnum_ELBO
from pyro.infer.autoguide import AutoIAFNormal, AutoNormal
from pyro.infer.mcmc.util import initialize_model
from pyro.optim import Adam
from scipy import stats
from scipy.special import logsumexp
from sklearn.metrics import adjusted_rand_score

import pyrovi as vi
from pyrovi.bound import bind
from pyrovi.errors import DataError
from pyrovi.guides import maf
from pyrovi.models import gaussian_mixture as mixture, get
from pyrovi.models.gaussian_mixture.model import PRECISION_RATE, PRECISION_SHAPE
from pyrovi.seeds import isolated

REFERENCE = Path(__file__).parents[2] / "models" / "gaussian_mixture" / "reference.json"
VARIANTS = list(mixture.FORMS)
CLAIMED_RAND_INDEX = 0.85


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    with isolated(5):
        yield
    torch.set_default_dtype(torch.float32)


def potential(variant: str, given: dict[str, Any], seed: int) -> tuple[Any, Any, Any]:
    """Pyro's own unconstrained density, the assignments summed out, and a random start."""
    pyro.set_rng_seed(seed)
    model = mixture.FORMS[variant]
    start, function, transforms, _ = initialize_model(
        model, model_kwargs=given, max_plate_nesting=1
    )
    return start, function, transforms


def tril_of(values: dict[str, np.ndarray], k: int) -> np.ndarray:
    """The Cholesky factor of the covariance of one component, in any form of the model."""
    D = values["loc"].shape[-1]
    if "whitening_diagonal" in values:
        whitening = np.diag(values["whitening_diagonal"][k])
        if D > 1:
            whitening[np.tril_indices(D, -1)] = values["whitening_below"][k]
        return np.linalg.inv(whitening)
    tril = np.diag(values["scale"][k] if "scale" in values else np.ones(D))
    return tril @ values["corr_chol"][k] if "corr_chol" in values else tril


def by_component(y: np.ndarray, values: dict[str, np.ndarray]) -> np.ndarray:
    """log(weight) + log density of each observation under each component, by scipy."""
    columns = []
    for k, loc in enumerate(values["loc"]):
        tril = tril_of(values, k)
        weight = values["weight"][k] if "weight" in values else 1.0 / len(values["loc"])
        of_component = stats.multivariate_normal(loc, tril @ tril.T)
        columns.append(np.log(weight) + np.atleast_1d(of_component.logpdf(y)))
    return np.stack(columns, axis=-1)


# ------------------------------------------------------------------------- the density


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dimensions", [1, 3])
def test_with_the_assignments_summed_out_the_likelihood_is_the_mixture_by_hand(
    variant: str, dimensions: int
) -> None:
    """Two points share one prior and Jacobian when data change: their difference is likelihood."""
    tree = mixture.simulate(4, K=3, D=dimensions, n=20, variant=variant)
    given = dict(bind(mixture.full, tree).kwargs)
    other = {**given, "y": given["y"].flip(0) * 1.3 + 0.2}
    start, one, transforms = potential(variant, given, seed=1)
    _, two, _ = potential(variant, other, seed=1)
    values = {name: transforms[name].inv(value).numpy() for name, value in start.items()}
    hand = [
        logsumexp(by_component(each["y"].numpy(), values), axis=-1).sum()
        for each in (given, other)
    ]
    assert (two(start) - one(start)).item() == pytest.approx(hand[0] - hand[1], rel=1e-9)


def test_the_priors_are_those_of_the_card() -> None:
    spread = 3.0
    tree = mixture.simulate(2, K=2, D=2, n=6, spread=spread)
    trace = poutine.trace(mixture.full).get_trace(**bind(mixture.full, tree).kwargs)
    log_prob = {n: trace.nodes[n]["fn"].log_prob for n in ("weight", "loc", "scale", "corr_chol")}
    weight, loc, scale = np.array([0.3, 0.7]), np.array([-1.0, 4.0]), np.array([0.5, 2.0])
    precision = stats.gamma(2.0, scale=1 / 0.1)
    expected = {
        "weight": stats.dirichlet([2.0, 2.0]).logpdf(weight),
        "loc": stats.norm(0, spread).logpdf(loc).sum(),
        "scale": (
            precision.logpdf((scale / spread) ** -2) + np.log(2 * scale**-3 * spread**2)
        ).sum(),
    }
    for name, value in {"weight": weight, "loc": loc, "scale": scale}.items():
        given = log_prob[name](torch.tensor(value))
        np.testing.assert_allclose(given, expected[name], rtol=1e-12)

    def correlated(r: float) -> float:
        tril = torch.tensor([[1.0, 0.0], [r, np.sqrt(1 - r**2)]])
        return log_prob["corr_chol"](tril)[0].item()

    assert correlated(0.6) - correlated(0.0) == pytest.approx(np.log(1 - 0.6**2))  # LKJ(2)


def evidence_by_counting(y: np.ndarray, components: int, spread: float) -> float:
    """log p(y) of ``unit`` in one dimension: a sum over all assignments of closed forms."""
    terms = []
    for assignment in itertools.product(range(components), repeat=len(y)):
        total = -len(y) * np.log(components)
        for k in range(components):
            own = y[np.equal(assignment, k)]
            cov = np.eye(len(own)) + spread**2
            total += (
                stats.multivariate_normal(np.zeros(len(own)), cov).logpdf(own) if len(own) else 0
            )
        terms.append(total)
    return float(logsumexp(terms))


def test_the_evidence_of_unit_is_the_sum_over_all_assignments() -> None:
    """The model's density, integrated over two locations, against the count."""
    y, spread = np.array([-1.3, -0.2, 0.4, 2.0, 2.9]), 1.5
    given = {"y": torch.tensor(y)[:, None], "components": 2, "spread": torch.tensor(spread)}
    _, function, _ = potential("unit", given, seed=1)
    grid, step = np.linspace(-7.0, 7.0, 36, retstep=True)  # trapezoids: exact for Gaussians
    locs = itertools.product(grid, repeat=2)
    log_density = [-float(function({"loc": torch.tensor(loc)[:, None]})) for loc in locs]
    evidence = logsumexp(log_density) + 2 * np.log(step)
    assert evidence == pytest.approx(evidence_by_counting(y, 2, spread), abs=1e-6)


def test_no_component_can_gain_without_bound_by_closing_on_tied_values() -> None:
    """29 irises share one petal width. A log-normal prior's tail would lose to 29 log(1/s)."""

    def gained(scale: float) -> float:
        rate = PRECISION_RATE
        prior = stats.gamma(PRECISION_SHAPE, scale=1 / rate).logpdf(scale**-2)
        return prior + np.log(2 * scale**-3) - 29 * np.log(scale)

    assert gained(0.05) > gained(0.02) > gained(0.005)
    assert gained(0.05) - gained(0.02) > 50


# ------------------------------------------------------------------------- simulated data


def test_simulated_data_have_the_sizes_asked_for() -> None:
    tree = get("gaussian_mixture").simulate(seed=3, K=4, D=3, n=11, spread=2.0)
    assert dict(tree["observed_data"].sizes) == {"observation": 11, "dimension": 3}
    assert int(tree["constant_data"]["components"]) == 4
    assert float(tree["constant_data"]["spread"]) == 2.0
    assert dict(tree["truth"].sizes) == {
        "component": 4,
        "dimension": 3,
        "other_dimension": 3,
        "observation": 11,
    }


@pytest.mark.parametrize(
    "sizes", [{"K": 0}, {"D": 0}, {"n": 0}, {"spread": 0.0}, {"spread": np.nan}]
)
def test_a_size_that_cannot_be_is_an_error(sizes: dict[str, float]) -> None:
    with pytest.raises(DataError, match="at least 1"):
        mixture.simulate(1, **sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", VARIANTS)
def test_simulated_observations_are_standard_normal_about_their_component(variant: str) -> None:
    """Mahalanobis distances squared: chi-squared, mean n D and variance 2 n D."""
    tree = mixture.simulate(6, K=5, D=2, n=2000, variant=variant)
    truth = {name: value.to_numpy() for name, value in tree["truth"].data_vars.items()}
    own = truth["assignment"]
    residual = tree["observed_data"]["y"].to_numpy() - truth["loc"][own]
    tril = np.stack([tril_of(truth, k) for k in range(5)])
    whitened = np.linalg.solve(tril[own], residual[..., None])
    assert abs((whitened**2).sum() - 4000) < 4.3 * np.sqrt(2 * 4000)


def test_a_variant_simulates_from_itself() -> None:
    assert "scale" not in get("gaussian_mixture:unit").simulate(1)["truth"]
    assert "corr_chol" not in get("gaussian_mixture:diagonal").simulate(1)["truth"]
    assert "corr_chol" in get("gaussian_mixture").simulate(1)["truth"]
    assert "whitening_below" in get("gaussian_mixture:conjugate").simulate(1)["truth"]


# ------------------------------------------------------------------------- real data


@pytest.mark.parametrize(
    ("name", "shape", "label", "sizes"),
    [("iris", (150, 4), "species", [50, 50, 50]), ("wine", (178, 13), "cultivar", [59, 71, 48])],
)
def test_real_data_are_standardised_and_the_classes_are_kept_from_the_model(
    name: str, shape: tuple[int, int], label: str, sizes: list[int]
) -> None:
    tree = get("gaussian_mixture").load(name)
    y = tree["observed_data"]["y"].to_numpy()
    assert y.shape == shape
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-12)
    assert np.unique(tree["truth"][label], return_counts=True)[1].tolist() == sizes
    assert label not in {*tree["observed_data"].data_vars, *tree["constant_data"].data_vars}


def mode(variant: str, given: dict[str, Any], restarts: int) -> dict[str, np.ndarray]:
    """The highest of several modes of the density with the assignments summed out."""
    found = []
    for seed in range(restarts):
        start, function, transforms = potential(variant, given, seed)
        flat = {name: value.detach().clone().requires_grad_() for name, value in start.items()}
        optimiser = torch.optim.LBFGS(flat.values(), max_iter=300, line_search_fn="strong_wolfe")

        def closure(flat: Any = flat, function: Any = function, optimiser: Any = optimiser) -> Any:
            optimiser.zero_grad()
            loss = function(flat)
            loss.backward()
            return loss

        optimiser.step(closure)
        values = {n: transforms[n].inv(v.detach()).numpy() for n, v in flat.items()}
        found.append((function(flat).item(), values))
    return min(found, key=lambda pair: pair[0])[1]


def test_the_best_mode_finds_the_species_of_the_irises() -> None:
    """The claim of the card. scikit-learn's full-covariance mixture reaches 0.90."""
    tree = get("gaussian_mixture").load("iris")
    given = dict(bind(mixture.full, tree).kwargs)
    assigned = by_component(given["y"].numpy(), mode("full", given, restarts=8)).argmax(-1)
    assert adjusted_rand_score(tree["truth"]["species"], assigned) >= CLAIMED_RAND_INDEX


# ------------------------------------------------------------------------- plain Pyro


def trained(variant: str, guide: Any, given: dict[str, Any], steps: int) -> np.ndarray:
    """The losses of Pyro's own SVI, the assignments summed out."""
    model = mixture.FORMS[variant]
    bound = TraceEnum_ELBO(max_plate_nesting=1)
    with pyro.get_param_store().scope():
        part = guide(poutine.block(model, hide=["assignment"]))
        svi = SVI(model, part, Adam({"lr": 0.02}), bound)
        return np.array([svi.step(**given) for _ in range(steps)])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("guide", [AutoNormal, AutoIAFNormal, maf])
def test_it_trains_under_plain_pyro_with_an_autoguide_and_with_a_flow(
    variant: str, guide: Any
) -> None:
    given = dict(bind(mixture.full, mixture.simulate(4, K=2, n=40, variant=variant)).kwargs)
    losses = trained(variant, guide, given, steps=100)
    assert np.isfinite(losses).all()
    assert losses[-30:].mean() < losses[:30].mean()


@pytest.mark.parametrize("guide", [AutoNormal, maf])
def test_what_plain_pyro_reaches_lies_just_below_the_evidence(guide: Any) -> None:
    """One of the two modes that renaming makes is worth log 2 less than the evidence."""
    y, spread = np.array([-2.3, -2.2, -1.4, 2.0, 2.9]), 1.5
    given = {"y": torch.tensor(y)[:, None], "components": 2, "spread": torch.tensor(spread)}
    losses = trained("unit", guide, given, steps=600)[-150:]
    error = losses.std() / np.sqrt(len(losses) / 10)  # steps are correlated; ten is plenty
    gap = evidence_by_counting(y, 2, spread) + losses.mean()
    assert -4.3 * error < gap < 1.0


# ------------------------------------------------------------------------- the shelf


KEPT = ("full", "conjugate")


def reference(variant: str) -> dict[str, Any]:
    return json.loads(REFERENCE.read_text())["variants"][variant]


@pytest.mark.parametrize("variant", KEPT)
def test_the_reference_may_be_trusted(variant: str) -> None:
    rows = reference(variant)["quantities"].values()
    assert max(row["rhat"] for row in rows) < 1.01
    assert min(min(row["ess_bulk"], row["ess_tail"]) for row in rows) > 400
    assert reference(variant)["how"]["divergences"] == 0


@pytest.mark.parametrize("variant", KEPT)
def test_the_reference_has_setosa_apart_and_its_share_right(variant: str) -> None:
    """Setosa is linearly separable: its weight is Dirichlet, (2 + 50) / (6 + 150)."""
    found = reference(variant)["quantities"]["weight[0]"]
    assert found["mean"] == pytest.approx(52 / 156, abs=0.003)
    assert found["sd"] == pytest.approx(np.sqrt(52 * 104 / 156**2 / 157), rel=0.05)


@pytest.mark.slow
def test_gibbs_and_nuts_agree_on_the_conjugate_mixture_within_its_best_mode() -> None:
    """Two samplers that share no code: one with the assignments sampled, one without them."""
    entry = get("gaussian_mixture:conjugate")
    fit = vi.fit(entry.model, entry.load("iris"), vi.Gibbs(draws=15_000), seed=1)
    weight, loc = (fit.density.constrain(fit.draw(15_000)[0].flat)[n] for n in ("weight", "loc"))
    order = loc[..., 2].argsort(1)
    drawn = {
        "weight": weight.gather(1, order),
        "loc": loc.gather(1, order[..., None].expand_as(loc)),
    }
    inside = drawn["weight"][:, 2] > 0.22  # the other mode has a third component of a tenth
    assert inside.double().mean() > 0.9
    known = reference("conjugate")["quantities"]
    names = entry.load("iris")["observed_data"]["dimension"].to_numpy()
    for k in range(3):
        columns = {f"weight[{k}]": drawn["weight"][inside, k]}
        columns |= {f"loc[{k},{name}]": drawn["loc"][inside, k, i] for i, name in enumerate(names)}
        for label, values in columns.items():
            row = known[label]
            assert abs(float(values.mean()) - row["mean"]) < 0.12 * row["sd"], label
            assert float(values.std()) == pytest.approx(row["sd"], rel=0.12), label
