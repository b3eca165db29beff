"""Every kind of approximation is the same from a file, says what it is, and knows its model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyrovi import guides
from pyrovi.approximations import (
    Approximation,
    Empirical,
    Factors,
    Gaussian,
    GaussianMixture,
    GuideDraws,
    Nested,
    Points,
    Resampled,
    Transported,
    restored,
)
from pyrovi.approximations.base import KINDS
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.errors import TreeError
from pyrovi.structure import Coordinate, CoordinateUpdates, declare
from pyrovi.tree import CHAINS, INDEPENDENT, POINTS


@dataclass(frozen=True)
class Normal:
    """A factor of a vector."""

    loc: Tensor

    @property
    def of(self) -> Any:
        return torch.distributions.Independent(torch.distributions.Normal(self.loc, 1.0), 1)

    def draw(self, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
        noise = torch.randn(draws, len(self.loc), generator=generator, dtype=torch.float64)
        return {"x": self.loc + noise}

    def log_prob(self, values: Mapping[str, Tensor]) -> Tensor:
        return self.of.log_prob(values["x"])

    def tensors(self) -> dict[str, Tensor]:
        return {"loc": self.loc}

    def expected(self) -> Any: ...

    def entropy(self) -> Any: ...

    def sample(self, generator: torch.Generator) -> Any: ...


UPDATES = CoordinateUpdates(
    prepare=lambda: None,
    start=lambda data, seed: {},
    coordinates={"x": Coordinate(lambda data, given: None, ("x",), Normal)},  # pyright: ignore[reportArgumentType]
    log_joint=lambda data, given: 0.0,
)


def density_of(dim: int) -> LogDensity:
    @declare(coordinate_updates=UPDATES)
    def model() -> None:
        pyro.sample("x", dist.Normal(torch.zeros(dim), 1.0).to_event(1))

    return LogDensity(bind_model(model, bind(model, {})))


def guided(density: LogDensity, family: guides.Family = guides.full_rank) -> GuideDraws:
    model = density.model
    with model.running():
        guide = family(model.handled())
        guide(*model.args, **model.kwargs)
    return GuideDraws(density, guide, family)


def nested(density: LogDensity) -> Nested:
    """The first entry by a t distribution, the others at their mode given it."""
    first, others = torch.tensor([0]), torch.tensor([1, 2])
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    smooth = (zero, one[:, None], torch.zeros(0, 0, dtype=torch.float64))
    mixture = (one, zero[:, None], one[:, None, None], 5 * one)
    known = (zero[:, None], torch.zeros(1, 2, dtype=torch.float64))
    split = first, others, others[:0].reshape(0, 0)
    return Nested(density, *split, *mixture, *smooth, torch.tensor(True), *known)


DENSITY = density_of(3)
ROWS = torch.arange(60.0, dtype=torch.float64).reshape(20, 3) / 30
LOC, EYE = ROWS[0], torch.eye(3, dtype=torch.float64)
GAUSSIAN = Gaussian(DENSITY, LOC, EYE)
MIXTURE = GaussianMixture(
    DENSITY, ROWS[:2], EYE.expand(2, 3, 3), torch.tensor([0.5, 0.5]).double()
)
TERMS = torch.tensor([[2, 1, 0], [1, 1, 0]])
MADE: dict[str, Callable[[], Approximation]] = {
    "gaussian": lambda: GAUSSIAN,
    "diagonal": lambda: Gaussian(DENSITY, LOC, EYE[0] + 1),
    "mixture": lambda: MIXTURE,
    "chain": lambda: Empirical(DENSITY, ROWS, ROWS[:, 0] > 1),
    "pool": lambda: Empirical(DENSITY, ROWS, in_order=False),
    "nested": lambda: nested(DENSITY),
    "transported": lambda: Transported(DENSITY, LOC, ROWS[1:4], TERMS, ROWS.flatten()[:14]),
    "points": lambda: Points(DENSITY, ROWS),
    "factors": lambda: Factors(DENSITY, {"x": Normal(LOC)}),
    "guide": lambda: guided(DENSITY),
    "map": lambda: guided(DENSITY, guides.map),
    "resampled": lambda: Resampled(DENSITY, GAUSSIAN),
}
DECLARED = {
    "chain": (CHAINS, False),
    "pool": (INDEPENDENT, False),
    "points": (POINTS, False),
    "map": (POINTS, False),
    "resampled": (INDEPENDENT, False),
}


def written(made: Approximation) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return {name: value.clone() for name, value in made.tensors().items()}, made.settings()


def test_there_is_one_of_every_kind_here() -> None:
    ours = {kind for kind, each in KINDS.items() if each.__module__.startswith("pyrovi.")}
    assert {make().kind for make in MADE.values()} == ours


@pytest.mark.parametrize("name", MADE)
def test_what_is_read_is_what_was_written(name: str) -> None:
    made = MADE[name]()
    again = restored(made.kind, DENSITY, *written(made))
    one, other = made.draw(50, seed=3), again.draw(50, seed=3)
    assert torch.equal(one.flat, other.flat)
    assert (one.log_guide is None) == (other.log_guide is None)
    assert one.log_guide is None or torch.equal(one.log_guide, other.log_guide)  # pyright: ignore[reportArgumentType]
    assert dict(one.stats).keys() == dict(other.stats).keys()
    assert (again.draw_kind, again.has_density) == (made.draw_kind, made.has_density)


@pytest.mark.parametrize("name", MADE)
def test_reading_moves_no_random_generator(name: str) -> None:
    made = MADE[name]()
    before = torch.get_rng_state()
    restored(made.kind, DENSITY, *written(made))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", MADE)
def test_what_was_written_of_another_model_is_refused(name: str) -> None:
    made = MADE[name]()
    with pytest.raises(
        ValueError, match=r"it has 3 latent dimensions, and the model 2|parameters"
    ):
        restored(made.kind, density_of(2), *written(made))


@pytest.mark.parametrize("name", MADE)
def test_an_approximation_declares_what_its_draws_are(name: str) -> None:
    made = MADE[name]()
    assert (made.draw_kind, made.has_density) == DECLARED.get(name, (INDEPENDENT, True))
    assert (made.draw(5, seed=0).log_guide is not None) == made.has_density


def test_a_chain_says_which_of_its_draws_diverged() -> None:
    drawn = MADE["chain"]().draw(4, seed=0)
    assert torch.equal(drawn.flat, ROWS[-4:])
    assert torch.equal(drawn.stats["diverging"], ROWS[-4:, 0] > 1)
    assert not MADE["pool"]().draw(4, seed=0).stats


def test_a_class_of_ones_own_is_opened_by_its_kind() -> None:
    @dataclass(frozen=True)
    class Shifted(Gaussian):
        kind = "shifted"

    try:
        made = Shifted(DENSITY, LOC + 1, EYE)
        again = restored("shifted", DENSITY, *written(made))
    finally:
        del KINDS["shifted"]
    assert type(again) is Shifted
    assert torch.equal(again.draw(5, 0).flat, made.draw(5, 0).flat)
    assert KINDS["gaussian"] is Gaussian


def test_a_kind_that_is_not_loaded_says_whose_package_to_import() -> None:
    said = "No approximation of kind 'theirs' is loaded. Import the package that made it"
    with pytest.raises(TreeError, match=said):
        restored("theirs", DENSITY, {}, {})


@pytest.mark.parametrize("name", MADE)
def test_what_is_normal_gives_itself_as_a_gaussian(name: str) -> None:
    made = MADE[name]()
    same = made.gaussian()
    assert (same is not None) == (name in {"gaussian", "diagonal", "guide"})
    assert (same is made) == isinstance(made, Gaussian)


@pytest.mark.parametrize("family", [guides.mean_field, guides.full_rank, guides.low_rank])
def test_a_guide_as_a_gaussian_has_its_density(family: guides.Family) -> None:
    made = guided(DENSITY, family)
    same = made.gaussian()
    assert same is not None
    assert same.diagonal == family.factorises
    drawn = made.draw(20, seed=0)
    normal = torch.distributions.MultivariateNormal(same.loc, scale_tril=same.factor)
    assert drawn.log_guide is not None
    torch.testing.assert_close(drawn.log_guide, normal.log_prob(drawn.flat))
