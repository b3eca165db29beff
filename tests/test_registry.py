"""Registries and stubs: each name is listed once, and imported when it is asked for."""

import ast
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pyrovi import lazy, registry
from pyrovi.errors import EngineError, PyroviWarning
from pyrovi.registry import Registry

SRC = Path(lazy.__file__).parent
STUBS = sorted(SRC.rglob("*.pyi"))


def numbers() -> Registry[float]:
    return Registry(
        "number",
        {"pi": "math:pi"},
        group="pyrovi.none",
        accepts=lambda each: isinstance(each, float),
        asked="a float",
        unknown=EngineError,
    )


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        EntryPoint("tau", "math:tau", "pyrovi.none"),
        EntryPoint("pi", "math:e", "pyrovi.none"),
        EntryPoint("word", "string:digits", "pyrovi.none"),
        EntryPoint("gone", "no_such_module:x", "pyrovi.none"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: others)


def test_a_member_is_what_its_home_holds() -> None:
    import math

    assert numbers()["pi"] == math.pi
    assert dict(numbers()) == {"pi": math.pi}


def test_a_name_that_is_not_there_names_the_nearest_and_all() -> None:
    with pytest.raises(EngineError, match=r"no number 'p' \(did you mean 'pi'\?\). There is: pi"):
        numbers()["p"]


@pytest.mark.usefixtures("points")
def test_another_package_adds_members_and_takes_no_name() -> None:
    import math

    assert list(numbers()) == ["pi", "tau", "word", "gone"]
    assert len(numbers()) == 4
    assert numbers()["tau"] == math.tau
    assert numbers()["pi"] == math.pi


@pytest.mark.usefixtures("points")
@pytest.mark.parametrize(
    ("name", "why"), [("word", "it is a str, and a float was"), ("gone", "ModuleNotFoundError")]
)
def test_a_member_of_another_package_that_cannot_be_used_says_why(name: str, why: str) -> None:
    with pytest.raises(EngineError, match=why):
        numbers()[name]


@pytest.mark.usefixtures("points")
def test_what_is_available_leaves_broken_members_out_with_a_warning_each() -> None:
    with pytest.warns(PyroviWarning) as warned:
        found = numbers().available()
    assert list(found) == ["pi", "tau"]
    assert sorted(str(each.message).split()[1] for each in warned) == ["'gone'", "'word'"]


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: str(path.parent.relative_to(SRC.parent)))
def test_every_name_of_a_stub_is_there_and_listed_once(stub: Path) -> None:
    package = ".".join(stub.parent.relative_to(SRC.parent).parts)
    homes = lazy.exported(package)
    body = ast.parse(stub.read_text()).body
    listed = [
        each.asname or each.name
        for node in body
        if isinstance(node, ast.ImportFrom)
        for each in node.names
        if each.name != "*"
    ]
    assert len(listed) == len(set(listed))
    module = __import__(package, fromlist=["*"])
    assert module.__all__ == list(homes)
    for name, home in homes.items():
        assert getattr(module, name) is lazy.load(home)


def test_a_package_with_a_stub_imports_nothing_before_it_is_asked() -> None:
    code = "import pyrovi, sys; print('torch' in sys.modules, 'DADVI' in dir(pyrovi))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
