"""What is read off a model: plates as dims, supports, shapes, kinds; and how it runs."""

import functools
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints

from pyrovi.bound import Arguments, BoundModel, Site, bind, bind_model, hidden_values
from pyrovi.errors import DataError, ModelError
from pyrovi.structure import declare

Y = torch.arange(6.0, dtype=torch.float64).reshape(2, 3)


def crossed(y: Tensor) -> None:
    """Two plates, a vector in one of them, a deterministic site and a factor."""
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with pyro.plate("subject", 3, dim=-1):
        trait = pyro.sample("trait", dist.Normal(torch.zeros(4), 1.0).to_event(1))
        mean = pyro.deterministic("mean", trait.mean(-1), event_dim=0)
        with pyro.plate("item", 2, dim=-2):
            easy = pyro.sample("easy", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(mean + easy, scale), obs=y)
    pyro.factor("nudge", -scale)


def read(model: Any = crossed, **kwargs: Any) -> BoundModel:
    return bind_model(model, Arguments(kwargs=kwargs or {"y": Y}))


def one_site(distribution: Any) -> Site:
    """The site ``z`` of a model that has only it, and a number beside it."""

    def model() -> None:
        pyro.sample("beside", dist.Normal(0.0, 1.0))
        pyro.sample("z", distribution())

    return bind_model(model, Arguments()).site("z")


# ------------------------------------------------------------------------- dims and shapes

AXES = {
    "scale": ((), ()),
    "trait": ((3, 4), ("subject", "trait_dim_1")),
    "mean": ((3,), ("subject",)),
    "easy": ((2, 3), ("item", "subject")),
    "y": ((2, 3), ("item", "subject")),
}


@pytest.mark.parametrize("name", AXES)
def test_plates_are_dims_from_the_outermost_in_and_event_axes_come_last(name: str) -> None:
    site = read().site(name)
    assert (site.shape, site.dims) == AXES[name]


def test_sites_are_in_the_model_s_order_and_of_their_kind() -> None:
    kinds = {site.name: site.kind for site in read().sites}
    assert list(kinds) == ["scale", "trait", "mean", "easy", "y", "nudge"]
    assert [kinds[name] for name in ("mean", "y", "nudge")] == [
        "deterministic",
        "observed",
        "factor",
    ]
    assert [site.name for site in read().latent] == ["scale", "trait", "easy"]


def test_a_plate_knows_its_size_and_the_nesting_is_counted() -> None:
    model = read()
    assert {plate.name: plate.size for plate in model.plates.values()} == {"subject": 3, "item": 2}
    assert model.max_plate_nesting == 2


def test_an_axis_between_two_plates_that_no_plate_owns_is_dropped() -> None:
    def gapped() -> None:
        with pyro.plate("outer", 2, dim=-3), pyro.plate("inner", 4, dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    site = bind_model(gapped, Arguments()).site("z")
    assert (site.shape, site.dims) == ((2, 4), ("outer", "inner"))


def test_a_plate_of_one_keeps_its_axis() -> None:
    def single() -> None:
        with pyro.plate("only", 1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    site = bind_model(single, Arguments()).site("z")
    assert (site.shape, site.dims) == ((1,), ("only",))


def test_an_axis_labelled_with_the_name_of_a_site_gets_another_dim() -> None:
    """A variable and a dim of one name clash in a dataset."""

    def model(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(loc, 1.0).expand(y.shape).to_event(1), obs=y)

    clashing = bind_model(model, Arguments(kwargs={"y": Y[0]}, dims={"y": ("loc",)}))
    assert clashing.site("y").dims == ("loc_plate",)


def test_declared_dims_name_the_event_axes() -> None:
    @declare(dims={"slope": ("feature",)})
    def declared() -> None:
        with pyro.plate("group", 2):
            pyro.sample("slope", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    assert bind_model(declared, Arguments()).site("slope").dims == ("group", "feature")


def test_labels_of_the_data_name_the_axes_of_what_observes_them() -> None:
    def flat(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(loc, 1.0).expand(y.shape).to_event(2), obs=y)

    kwargs = {"y": Y}
    assert bind_model(flat, Arguments(kwargs=kwargs)).site("y").dims == ("y_dim_0", "y_dim_1")
    named = bind_model(flat, Arguments(kwargs=kwargs, dims={"y": ("item", "subject")}))
    assert named.site("y").dims == ("item", "subject")


def test_a_plate_that_subsamples_is_read_at_its_full_size_and_run_whole() -> None:
    y = torch.zeros(10, dtype=torch.float64)

    def batched(y: Tensor) -> None:
        with pyro.plate("row", 10, subsample_size=4) as index:
            own = pyro.sample("own", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(own, 1.0), obs=y[index])

    model = read(batched, y=y)
    assert model.subsampled
    assert model.plates["row"].size == 10
    assert model.site("own").shape == (10,)
    assert model.site("own").subsampled
    assert model.prototype.nodes["own"]["value"].shape == (10,)


# ------------------------------------------------------------------------- supports

SUPPORTS = {
    "real": (lambda: dist.Normal(0.0, 1.0), "real"),
    "positive": (lambda: dist.LogNormal(0.0, 1.0), "above 0"),
    "not negative": (lambda: dist.Gamma(2.0, 1.0), "from 0 up"),
    "interval": (lambda: dist.Uniform(-1.0, 2.5), "-1 to 2.5"),
    "unit interval": (lambda: dist.Beta(2.0, 2.0), "0 to 1"),
    "simplex": (lambda: dist.Dirichlet(torch.ones(3)), "simplex"),
    "truth values": (lambda: dist.Bernoulli(0.5), "0, 1"),
    "categories": (lambda: dist.Categorical(torch.ones(3)), "0, ..., 2"),
    "shifted": (lambda: dist.Pareto(1.5, 2.0), "from 1.5 up"),
    "events": (lambda: dist.LogNormal(torch.ones(2), 1.0).to_event(1), "above 0"),
    "correlations": (lambda: dist.LKJCholesky(3, 1.0), "Correlation cholesky"),
}


@pytest.mark.parametrize("name", SUPPORTS)
def test_a_support_is_said_as_people_say_it(name: str) -> None:
    distribution, text = SUPPORTS[name]
    assert one_site(distribution).support == text


@pytest.mark.parametrize(
    ("distribution", "discrete", "enumerable"),
    [
        (lambda: dist.Normal(0.0, 1.0), False, False),
        (lambda: dist.Bernoulli(0.5), True, True),
        (lambda: dist.Categorical(torch.ones(3)), True, True),
        (lambda: dist.Binomial(3, torch.tensor(0.5)), True, True),
    ],
    ids=["normal", "bernoulli", "categorical", "binomial"],
)
def test_a_site_is_discrete_or_not_and_can_be_summed_out_or_not(
    distribution: Any, discrete: bool, enumerable: bool
) -> None:
    site = one_site(distribution)
    assert (site.discrete, site.enumerable, site.continuous) == (
        discrete,
        enumerable,
        not discrete,
    )


def test_an_observed_count_is_discrete_and_no_hindrance() -> None:
    def counts(y: Tensor) -> None:
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Poisson(rate), obs=y)

    model = read(counts, y=torch.tensor([1.0, 4.0], dtype=torch.float64))
    assert model.site("y").discrete
    assert model.discrete == ()


@pytest.mark.parametrize(
    "distribution",
    [
        lambda: dist.ImproperUniform(constraints.real, (), ()),
        lambda: dist.Normal(0.0, 1.0).mask(False),
    ],
    ids=["improper", "masked"],
)
def test_a_prior_without_mass_is_improper_and_has_a_value_to_start_from(distribution: Any) -> None:
    assert one_site(distribution).improper
    assert not one_site(lambda: dist.Normal(0.0, 1.0)).improper


# ------------------------------------------------------------------------- names


def test_a_model_is_called_as_it_declares_or_as_its_function_or_class() -> None:
    class Written:
        def __call__(self, y: Tensor) -> None:
            crossed(y)

    @declare(name="two_way")
    def named(y: Tensor) -> None:
        crossed(y)

    assert read().name == "crossed"
    assert read(functools.partial(crossed)).name == "crossed"
    assert read(Written()).name == "Written"
    assert read(functools.partial(named)).name == "two_way"


# ------------------------------------------------------------------------- how it runs


def test_a_run_leaves_dtype_validation_parameters_and_generators_alone() -> None:
    def with_parameter(y: Tensor) -> None:
        pyro.param("free", torch.tensor(1.0))
        crossed(y)

    pyro.clear_param_store()
    torch.set_default_dtype(torch.float32)
    state = torch.get_rng_state()
    model = read(with_parameter, y=Y)
    model.trace(seed=1)
    assert torch.get_default_dtype() is torch.float32
    assert torch.distributions.Distribution._validate_args
    assert len(pyro.get_param_store()) == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert model.parameters


def test_a_seed_repeats_a_run() -> None:
    first, same, other = (read().trace(seed=seed).nodes["easy"]["value"] for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_model_computes_in_double_whatever_its_priors_are_made_of() -> None:
    single = torch.zeros(3, dtype=torch.float32)

    seen = []

    def mixed() -> None:
        seen.append(pyro.sample("z", dist.Normal(single, 1.0).to_event(1)).dtype)

    bind_model(mixed, Arguments()).trace(seed=0)
    assert set(seen) == {torch.float64}


def test_a_masked_value_takes_no_part_in_the_likelihood() -> None:
    def normal(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("row", 3):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    y = torch.tensor([0.5, 99.0, -0.5], dtype=torch.float64)
    gone = torch.tensor([False, True, False])
    model = bind_model(normal, Arguments(kwargs={"y": y}, missing={"y": gone}))
    at = torch.tensor(0.25, dtype=torch.float64)
    trace = model.trace(lambda each: poutine.condition(each, {"loc": at}))
    trace.compute_log_prob()
    expected = dist.Normal(at, 1.0).log_prob(y[~gone]).sum()
    torch.testing.assert_close(trace.nodes["y"]["log_prob_sum"], expected)


def test_a_model_on_whole_data_is_run_once_to_read_its_sites() -> None:
    runs = []

    def counted(y: Tensor, batch: int | None = None) -> None:
        runs.append(1)
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y), subsample_size=batch) as rows:
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y if batch is None else y[rows])

    y = torch.arange(6, dtype=torch.float64)
    whole = bind_model(counted, Arguments(kwargs={"y": y}))
    assert tuple(whole.prototype.nodes["y"]["value"].shape) == (6,)
    assert len(runs) == 1
    # A minibatch is not all there is: the prototype is of all rows.
    batched = bind_model(counted, Arguments(kwargs={"y": y, "batch": 2}))
    assert tuple(batched.prototype.nodes["y"]["value"].shape) == (6,)
    assert len(runs) == 3


# ------------------------------------------------------------------------- mistakes


def test_a_masked_value_inside_an_event_cannot_be_left_out_and_says_why() -> None:
    def joint(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.MultivariateStudentT(3.0, loc.expand(3), torch.eye(3)), obs=y)

    y, gone = torch.zeros(3, dtype=torch.float64), torch.tensor([True, False, False])
    with pytest.raises(DataError, match=r"inside the events of site 'y'.*without \.to_event"):
        bind_model(joint, Arguments(kwargs={"y": y}, missing={"y": gone}))


def test_values_made_not_finite_inside_the_model_are_told() -> None:
    def logged(y: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("log_y", dist.Normal(loc, 1.0), obs=y.log())

    y = torch.tensor(np.array([0.0, 1.0]))
    with pytest.raises((DataError, ModelError), match=r"log_y|cannot be run"):
        bind_model(logged, Arguments(kwargs={"y": y}))


# What masks hide

SEEN = torch.tensor([[True, False, True], [True, True, False]])


def around(y: Tensor) -> None:
    """`poutine.mask` around a site, in two plates."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("item", 2, dim=-2), pyro.plate("subject", 3, dim=-1), poutine.mask(mask=SEEN):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def inside(y: Tensor) -> None:
    """A mask inside of an event."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    noise = dist.Normal(mean, 1.0).expand([2, 3]).mask(SEEN)
    with pyro.plate("item", 2):
        pyro.sample("y", noise.to_event(1), obs=y)


def by_row(y: Tensor) -> None:
    """A mask of whole events."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("item", 2), poutine.mask(mask=SEEN[:, 1]):
        pyro.sample("y", dist.Normal(mean, 1.0).expand([2, 3]).to_event(1), obs=y)


def beside_a_prior(y: Tensor) -> None:
    """A factor that is hidden just as the site is, which observes nothing that it hides."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("item", 2, dim=-2), pyro.plate("subject", 3, dim=-1), poutine.mask(mask=SEEN):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)
        pyro.factor("nudge", -mean.expand(2, 3))


def censored(y: Tensor) -> None:
    """What is not seen is known to be above."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    noise = dist.Normal(mean, 1.0)
    with pyro.plate("item", 2, dim=-2), pyro.plate("subject", 3, dim=-1):
        with poutine.mask(mask=SEEN):
            pyro.sample("y", noise, obs=y)
        with poutine.mask(mask=~SEEN):
            pyro.sample("above", dist.Bernoulli(1 - noise.cdf(y)), obs=torch.ones(2, 3))


def censored_by_a_factor(y: Tensor) -> None:
    """The same by one factor for all."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    noise = dist.Normal(mean, 1.0)
    with pyro.plate("item", 2, dim=-2), pyro.plate("subject", 3, dim=-1), poutine.mask(mask=SEEN):
        pyro.sample("y", noise, obs=y)
    pyro.factor("above", (1 - noise.cdf(y[~SEEN])).log().sum())


ROWS = SEEN[:, 1:2].expand(2, 3)


@pytest.mark.parametrize(
    ("model", "seen", "selected"),
    [
        (around, SEEN, False),
        (inside, SEEN, False),
        (by_row, ROWS, False),
        (beside_a_prior, SEEN, False),
        (censored, SEEN, True),
        (censored_by_a_factor, SEEN, True),
    ],
)
def test_what_masks_hide_is_read_off(model: Any, seen: Tensor, selected: bool) -> None:
    found = hidden_values(read(model))["y"]
    np.testing.assert_array_equal(found.entries, ~seen.numpy())
    assert found.selected == selected


def test_a_model_without_masks_hides_nothing() -> None:
    assert hidden_values(read()) == {}


def test_missing_values_are_hidden_and_not_selected() -> None:
    y = np.ma.masked_array(Y.numpy(), ~SEEN.numpy())
    found = hidden_values(bind_model(crossed, bind(crossed, {"y": y})))["y"]
    np.testing.assert_array_equal(found.entries, ~SEEN.numpy())
    assert not found.selected
