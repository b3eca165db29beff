"""Claims: an engine of another package goes by its name, its settings and what it declares."""

from importlib.metadata import EntryPoint

import pytest
import torch
from torch import Tensor

import pyrovi as vi
from infer.scripted import Script, Scripted, normal
from pyrovi import registry
from pyrovi.density import LogDensity
from pyrovi.errors import EngineError
from pyrovi.infer import Capabilities, engine_named, ready_made, settings_of
from pyrovi.studies import default_engines


class Plain:
    """No dataclass: an engine by what it has alone."""

    capabilities = Capabilities()
    max_steps = 10

    def __init__(self, loss: float = 1.0, guide: str = "its own") -> None:
        self.loss, self.guide = loss, guide

    def init(self, density: LogDensity, start: Tensor, seed: int) -> Script:
        return Script(density)

    def step(self, state: Script) -> float:
        return Scripted((self.loss,)).step(state)

    def converged(self, state: Script) -> bool:
        return True

    def outcome(self, state: Script) -> object:
        return Scripted().outcome(state)


class Needy(Plain):
    def __init__(self, width: float, loss: float = 1.0) -> None:
        super().__init__(loss)
        self.width = width


class Guided(Plain):
    capabilities = Capabilities(guide=True)


def no_engine() -> int:
    return 3


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"plain": Plain, "needy": Needy, "guided": Guided, "none": no_engine}
    points = [EntryPoint(n, f"{__name__}:{made[n].__name__}", "pyrovi.engines") for n in made]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if "eng" in group else [])


def test_the_settings_of_an_engine_are_what_its_maker_takes() -> None:
    assert settings_of("plain") == ("loss", "guide")
    assert settings_of("needy") == ("width", "loss")
    made = engine_named("plain", loss=2.0)
    assert isinstance(made, Plain)
    assert made.loss == 2.0
    with pytest.raises(EngineError, match=r"no setting 'los' \(did you mean 'loss'\?\)"):
        engine_named("plain", los=2.0)


def test_an_engine_that_is_no_dataclass_fits_by_its_name() -> None:
    fit = vi.fit(normal, {}, "plain", seed=0)
    assert fit.status is vi.Status.CONVERGED
    assert torch.equal(fit.draw(5)[0].flat, fit.draw(5)[0].flat)


def test_a_setting_that_is_required_is_named_where_it_is_lacking() -> None:
    for call in (
        lambda: engine_named("needy", loss=2.0),
        lambda: vi.fit(normal, {}, "needy", seed=0),
        lambda: vi.compare(normal, {}, engines=["needy"], seed=0),
    ):
        with pytest.raises(EngineError, match="'needy' needs the setting 'width'"):
            call()
    made = engine_named("needy", width=0.5)
    assert isinstance(made, Needy)
    assert made.width == 0.5


def test_what_needs_a_setting_or_is_no_engine_is_not_compared_by_default() -> None:
    assert {"plain", "guided"} <= set(ready_made())
    assert not {"needy", "none"} & set(ready_made())
    assert "plain" in default_engines()
    assert "guided:full_rank" in default_engines()
    assert "needy" not in default_engines()


def test_a_guide_goes_to_engines_that_declare_one_and_the_others_name_these() -> None:
    made = engine_named("guided:full_rank")
    assert isinstance(made, Guided)
    assert made.guide == "full_rank"
    for name in ("plain", "needy", "dadvi", "auto"):
        with pytest.raises(EngineError, match=r"takes no guide.*Use svi:maf or guided:maf"):
            engine_named(f"{name}:maf")


def test_what_is_no_engine_says_what_it_lacks() -> None:
    with pytest.raises(EngineError, match="3 came, which lacks capabilities, max_steps"):
        vi.fit(normal, {}, "none", seed=0)


@pytest.mark.parametrize("engine", [vi.SVI, vi.Laplace, Needy])
def test_a_class_is_refused_in_one_line_that_says_what_to_write(engine: type) -> None:
    said = f"the class {engine.__name__} came. Write {engine.__name__}"
    with pytest.raises(EngineError, match=said):
        vi.fit(normal, {}, engine, seed=0)  # pyright: ignore[reportArgumentType]
