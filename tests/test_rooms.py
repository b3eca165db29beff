"""How the package is laid out: what is private stays so, and no name stands for two things."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import pyrovi

SRC = Path(pyrovi.__file__).parent
SOURCES = sorted(SRC.rglob("*.py"))
TESTS = sorted(Path(__file__).parent.rglob("*.py"))
PACKAGES = [SRC, *(path.parent for path in SRC.glob("*/**/__init__.py"))]

by_file = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SRC)))


def imported(source: str) -> Iterator[tuple[str, list[str]]]:
    """The modules of pyrovi that a source imports from, and the names it takes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("pyrovi."):
            yield str(node.module), [each.name for each in node.names]


def foreign_modules(source: str, own: str) -> list[str]:
    """What a source of the package ``own`` imports that is a file inside another package."""
    return [
        module
        for module, _ in imported(source)
        for parts in [module.split(".")[1:]]
        if parts[0] != own and len(parts) > 1 and SRC.joinpath(*parts).with_suffix(".py").exists()
    ]


@by_file
def test_a_package_imports_another_package_and_not_a_file_of_it(path: Path) -> None:
    assert foreign_modules(path.read_text(), path.relative_to(SRC).parts[0]) == []


def test_an_import_of_a_file_of_another_package_is_seen() -> None:
    source = "def f():\n    from pyrovi.tree.ask import has"
    assert foreign_modules(source, "infer") == ["pyrovi.tree.ask"]
    assert foreign_modules(source, "tree") == []


@by_file
def test_a_module_is_private_by_what_its_package_exports_and_not_by_an_underscore(
    path: Path,
) -> None:
    assert not path.stem.startswith("_") or path.stem in {"__init__", "__main__"}
    taken = [name for _, names in imported(path.read_text()) for name in names]
    assert [name for name in taken if name.startswith("_") and name != "__version__"] == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(SRC.parent)))
def test_no_module_is_shadowed_by_a_name_of_its_package(package: Path) -> None:
    name = ".".join(package.relative_to(SRC.parent).parts)
    within = importlib.import_module(name)
    for each in dir(within):
        getattr(within, each)
    every = (part.name for part in pkgutil.iter_modules([str(package)]))
    parts = [part for part in every if part != "__main__"]
    for part in parts:
        importlib.import_module(f"{name}.{part}")
    hidden = [part for part in parts if not isinstance(vars(within).get(part), ModuleType)]
    assert hidden == []


CLOCKS = {"perf_counter", "process_time", "monotonic", "time", "thread_time"}


def asserted_clocks(source: str) -> list[int]:
    """Lines on which a source asserts something of a clock, or of a name that was set by one."""
    tree = ast.parse(source)
    timed = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _reads_a_clock(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
        and (
            _reads_a_clock(node.test)
            or timed & {each.id for each in ast.walk(node.test) if isinstance(each, ast.Name)}
        )
    ]


def _reads_a_clock(node: ast.AST) -> bool:
    return any(
        isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and each.func.attr in CLOCKS
        and isinstance(each.func.value, ast.Name)
        and each.func.value.id == "time"
        for each in ast.walk(node)
    )


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_no_test_depends_on_the_clock(path: Path) -> None:
    assert asserted_clocks(path.read_text()) == []


TOOK = "time.perf_counter() - began"


@pytest.mark.parametrize("source", [f"assert {TOOK} < 5", f"took = {TOOK}\nassert took < 2"])
def test_an_assertion_on_the_clock_is_seen(source: str) -> None:
    assert asserted_clocks(source)
