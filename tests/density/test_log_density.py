"""The density is the model's: Pyro's own potential is the reference, at random points."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor

from foreign import PYROS_OWN, ForeignModel
from pyrovi import models
from pyrovi.bound import Arguments, bind, bind_model, runs
from pyrovi.density import LogDensity
from pyrovi.errors import ModelError

RELATIVE = 1e-6
ZOO_MODELS = [
    pytest.param(name, variant, id=f"{name}:{variant}")
    for name in models.ZOO.members
    for variant in models.get(name).variants
]


def zoo_density(name: str, variant: str) -> LogDensity:
    entry = models.get(f"{name}:{variant}")
    return LogDensity(bind_model(entry.model, bind(entry.model, entry.load())))


def points(density: LogDensity, count: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.5 * torch.randn(count, density.dim, generator=generator, dtype=torch.float64)


def potential(density: LogDensity, nesting: int | None) -> list[float]:
    """Minus Pyro's own potential at `points`."""
    model = density.model
    default = torch.get_default_dtype()
    torch.set_default_dtype(model.dtype)
    try:
        with pyro.validation_enabled(False):
            # Pyro keeps the masks that a run leaves on distributions; a fresh one is made here.
            _, function, _, _ = initialize_model(
                model.model,
                model_args=model.args,
                model_kwargs=dict(model.kwargs),
                max_plate_nesting=nesting,
                skip_jit_warnings=True,
            )
            return [-float(function(_pieces(density, row))) for row in points(density)]
    finally:
        torch.set_default_dtype(default)


def _pieces(density: LogDensity, row: Tensor) -> dict[str, Tensor]:
    pieces = {}
    for piece in density.pieces:
        value = row[piece.start : piece.stop].reshape(piece.shape).to(density.model.dtype)
        if (free := density.model.free.get(piece.site)) is not None:
            # Pyro carries what obs_mask observed as latent too, where it changes nothing.
            full = torch.zeros(free.shape, dtype=value.dtype)
            full[free] = value
            value = full
        pieces[piece.site] = value
    return pieces


@pytest.mark.parametrize(("name", "variant"), ZOO_MODELS)
def test_the_density_of_a_zoo_model_is_pyros_potential(name: str, variant: str) -> None:
    density = zoo_density(name, variant)
    ours = density.log_prob(points(density)).tolist()
    nesting = density.model.max_plate_nesting
    assert ours == pytest.approx(potential(density, nesting), rel=RELATIVE)
    assert density.vectorised


@pytest.mark.parametrize("foreign", [f for f in PYROS_OWN if not f.subsampled], ids=str)
def test_the_density_of_a_model_from_pyro_is_pyros_potential(foreign: ForeignModel) -> None:
    density = LogDensity(bind_model(foreign.model, Arguments(foreign.args, foreign.kwargs)))
    ours = density.log_prob(points(density)).tolist()
    nesting = foreign.max_plate_nesting
    nesting = density.model.max_plate_nesting if nesting is None else nesting
    assert all(map(math.isfinite, ours))
    assert ours == pytest.approx(potential(density, nesting), rel=RELATIVE)


@pytest.mark.parametrize("foreign", PYROS_OWN, ids=str)
def test_gradients_are_those_of_the_looped_density(foreign: ForeignModel) -> None:
    density = LogDensity(bind_model(foreign.model, Arguments(foreign.args, foreign.kwargs)))
    rows = points(density, 2)
    _, together = density.value_and_gradient(rows)
    density.vectorised = False
    _, looped = density.value_and_gradient(rows)
    torch.testing.assert_close(together, looped, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("foreign", PYROS_OWN, ids=str)
def test_constraining_and_back_is_the_identity(foreign: ForeignModel) -> None:
    density = LogDensity(bind_model(foreign.model, Arguments(foreign.args, foreign.kwargs)))
    if density.model.free:
        pytest.skip("what obs_mask observed is not part of the flat vector")
    rows = points(density)
    tolerance = 1e-4 if density.model.dtype is torch.float32 else 1e-6
    torch.testing.assert_close(
        density.unconstrain(density.constrain(rows)), rows, rtol=tolerance, atol=tolerance
    )


def test_the_pointwise_log_likelihood_and_the_priors_add_up_to_the_log_joint() -> None:
    for name, variant in (("eight_schools", "centered"), ("gaussian_mixture", "full")):
        density = zoo_density(name, variant)
        parts = density.explain(points(density))
        terms = sum(
            value.reshape(len(value), -1).sum(-1)
            for key, value in parts.items()
            if key.startswith(("log_prior:", "log_likelihood:"))
        )
        torch.testing.assert_close(terms, parts["log_joint"])


def test_points_that_do_not_fit_one_run_have_what_each_has_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    density, parted = zoo_density("eight_schools", ""), zoo_density("eight_schools", "")
    rows = points(density, 7).requires_grad_()
    together = density.explain(rows.detach())
    slope = torch.autograd.grad(density.log_prob(rows).sum(), rows)[0]
    monkeypatch.setattr(runs, "OF_A_SITE", 24)  # three points of eight schools
    for name, value in parted.explain(rows.detach()).items():
        torch.testing.assert_close(value, together[name])
    torch.testing.assert_close(torch.autograd.grad(parted.log_prob(rows).sum(), rows)[0], slope)


def test_the_hessian_of_a_gaussian_is_minus_its_precision() -> None:
    cov = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=torch.float64)

    def model() -> None:
        pyro.sample("x", dist.MultivariateNormal(torch.zeros(2).double(), cov))

    density = LogDensity(bind_model(model, Arguments()))
    expected = -torch.linalg.inv(cov)
    torch.testing.assert_close(density.hessian(torch.ones(1, 2).double())[0], expected)


def test_a_model_that_cannot_be_run_for_many_points_is_looped_and_says_so() -> None:
    def model() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        scale = 2.0 if x.item() > 0 else 1.0
        pyro.sample("y", dist.Normal(x, scale), obs=torch.tensor(0.5))

    density = LogDensity(bind_model(model, Arguments()))
    value = density.log_prob(torch.tensor([[1.0], [-1.0]], dtype=torch.float64))
    expected = [
        dist.Normal(0.0, 1.0).log_prob(torch.tensor(1.0)) + dist.Normal(1.0, 2.0).log_prob(_HALF),
        dist.Normal(0.0, 1.0).log_prob(torch.tensor(-1.0))
        + dist.Normal(-1.0, 1.0).log_prob(_HALF),
    ]
    torch.testing.assert_close(value, torch.stack(expected).double(), rtol=1e-6, atol=1e-6)
    assert any("draw by draw" in note for note in density.notes)


_HALF = torch.tensor(0.5)


def test_a_model_that_vmap_carries_to_another_density_is_looped_and_says_so() -> None:
    runs = []

    def model() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        runs.append(x)
        pyro.factor("learnt", x * len(runs))  # each run is another density

    density = LogDensity(bind_model(model, Arguments()))
    assert not density.vectorised
    assert any("another density" in note for note in density.notes)


def test_where_a_looped_model_fails_its_density_is_zero() -> None:
    def model() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        if x > 1:
            raise ValueError("x is too large for this model")

    density = LogDensity(bind_model(model, Arguments()))
    value = density.log_prob(torch.tensor([[0.0], [2.0]], dtype=torch.float64))
    assert value.tolist() == [pytest.approx(-0.5 * math.log(2 * math.pi)), -math.inf]


def test_one_matrix_that_cannot_be_factorised_spoils_no_other_row() -> None:
    """Of all rows in one call, one failing Cholesky would fail them all."""

    def model() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        cov = torch.eye(2) * (1 - x)
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(2), cov), obs=torch.zeros(2))

    density = LogDensity(bind_model(model, Arguments()))
    value = density.log_prob(torch.tensor([[0.0], [3.0]], dtype=torch.float64))
    assert density.vectorised
    assert value.tolist() == [pytest.approx(-1.5 * math.log(2 * math.pi)), -math.inf]


def test_a_subsampled_plate_is_taken_whole() -> None:
    y = torch.arange(10.0, dtype=torch.float64)

    def model(y: Tensor, batch: int | None) -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("row", 10, subsample_size=batch) as index:
            pyro.sample("y", dist.Normal(x, 1.0), obs=y[index])

    flat = torch.tensor([[0.3]], dtype=torch.float64)
    whole, part = (
        LogDensity(bind_model(model, Arguments((), {"y": y, "batch": batch})))
        for batch in (None, 3)
    )
    assert part.model.subsampled
    assert not whole.model.subsampled
    torch.testing.assert_close(part.log_prob(flat), whole.log_prob(flat))


def test_a_support_that_depends_on_another_site_is_mapped_right() -> None:
    """x ~ U(0, 1), y ~ U(0, x): the density of the sigmoids, by hand."""

    def model() -> None:
        x = pyro.sample("x", dist.Uniform(0.0, 1.0))
        pyro.sample("y", dist.Uniform(0.0, x))

    density = LogDensity(bind_model(model, Arguments()))
    flat = torch.tensor([[0.4, -0.7]], dtype=torch.float64)
    s, t = flat[0].sigmoid()
    # p(x) p(y | x) = 1 / x, with dx = s (1 - s) and dy = x t (1 - t).
    expected = (s * (1 - s) * t * (1 - t)).log()
    torch.testing.assert_close(density.log_prob(flat)[0], expected)


def test_a_model_that_is_impossible_everywhere_names_the_site_at_fault() -> None:
    def model() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("impossible", torch.where(x.abs() < 1e9, -torch.inf, 0.0))

    with pytest.raises(ModelError, match=r"not finite at any of 100 .* 'impossible'"):
        LogDensity(bind_model(model, Arguments())).start(seed=0)


def test_what_obs_mask_observed_is_not_a_latent_dimension() -> None:
    y = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    seen = torch.tensor([True, False, True])

    def model() -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("row", 3):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y, obs_mask=seen)

    density = LogDensity(bind_model(model, Arguments()))
    assert [(piece.site, piece.shape) for piece in density.pieces] == [
        ("loc", ()),
        ("y_unobserved", (1,)),
    ]
    flat = torch.tensor([[0.2, 0.9]], dtype=torch.float64)
    normal = torch.distributions.Normal
    expected = (
        normal(0.0, 1.0).log_prob(flat[0, 0])
        + normal(flat[0, 0], 1.0).log_prob(y[seen]).sum()
        + normal(flat[0, 0], 1.0).log_prob(flat[0, 1])
    )
    torch.testing.assert_close(density.log_prob(flat)[0], expected)


def test_values_are_worked_out_without_what_comes_after_the_last_latent_site() -> None:
    reached: list[bool] = []

    def model(y: Tensor) -> None:
        scale = pyro.sample("scale", dist.HalfNormal(1.0))
        loc = pyro.sample("loc", dist.Normal(0.0, scale))
        reached.append(True)
        pyro.sample("y", dist.Normal(loc, scale), obs=y)

    density = LogDensity(bind_model(model, Arguments((torch.zeros(2),), {})))
    flat = torch.tensor([[0.5, 2.0], [-1.0, 0.0]], dtype=torch.float64)
    density.log_prob(flat)
    seen = len(reached)
    values = density.constrain(flat)
    assert len(reached) == seen
    assert torch.allclose(values["scale"], flat[:, 0].exp())
    assert torch.equal(values["loc"], flat[:, 1])
