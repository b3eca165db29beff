"""The package as a guest: what importing it costs, what it leaves alone, what it ships."""

import ast
import inspect
import json
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pyrovi

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "pyrovi").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(script: str) -> str:
    """What ``script`` prints in an interpreter of its own, where nothing is imported yet."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ------------------------------------------------------------------ the world is left alone

WORLD = """
import json, logging, os, random, sys, warnings
import arviz_base, h5py, matplotlib, numpy, pandas, pyro, scipy.stats, sklearn.datasets, torch
import tqdm, typer, xarray

def world():
    return {
        "validation of torch": torch.distributions.Distribution._validate_args,
        "validation of Pyro": pyro.infer.util.is_validation_enabled(),
        "settings of Pyro": {k: repr(v) for k, v in pyro.settings.get().items()},
        "parameter store": sorted(pyro.get_param_store().keys()),
        "dtype": str(torch.get_default_dtype()),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "state of torch": torch.get_rng_state().tolist()[:64],
        "state of NumPy": repr(numpy.random.get_state()),
        "state of random": repr(random.getstate()),
        "print options": repr(numpy.get_printoptions()),
        "warnings": repr(warnings.filters),
        "showwarning": repr(warnings.showwarning),
        "root logger": [logging.root.level, repr(logging.root.handlers)],
        "rcParams of matplotlib": repr(sorted(matplotlib.rcParams.items())),
        "rcParams of ArviZ": repr(sorted(arviz_base.rcParams.items())),
        "environment": dict(os.environ),
        "path": list(sys.path),
    }

before = world()
{deed}
after = world()
print(json.dumps([name for name in before if before[name] != after[name]]))
"""


def changed_by(deed: str) -> list[str]:
    return json.loads(run(WORLD.replace("{deed}", deed)))


def test_importing_pyrovi_leaves_the_world_alone() -> None:
    assert changed_by("import pyrovi") == []


def test_every_public_name_loads_and_leaves_the_world_alone() -> None:
    assert changed_by("import pyrovi\nfor name in dir(pyrovi): getattr(pyrovi, name)") == []


def test_loading_the_plots_of_arviz_leaves_the_world_alone() -> None:
    assert changed_by("from pyrovi import az\naz.plot_ppc_dist") == []


@pytest.mark.parametrize(
    ("deed", "what"),
    [
        (
            "torch.distributions.Distribution.set_default_validate_args(False)",
            "validation of torch",
        ),
        ("torch.set_default_dtype(torch.float64)", "dtype"),
        ("torch.randn(1)", "state of torch"),
        ("numpy.random.rand()", "state of NumPy"),
        ("warnings.simplefilter('error')", "warnings"),
        ("logging.basicConfig()", "root logger"),
        ("matplotlib.rcParams['lines.linewidth'] = 7", "rcParams of matplotlib"),
        ("pyro.param('w', torch.ones(1))", "parameter store"),
    ],
)
@pytest.mark.slow
def test_a_change_to_the_world_is_seen(deed: str, what: str) -> None:
    assert what in changed_by(deed)


# ------------------------------------------------------------------ what an import costs


def test_importing_pyrovi_loads_neither_torch_nor_arviz() -> None:
    loaded = run("import pyrovi, sys; print(*sys.modules)").split()
    assert {"torch", "pyro", "arviz_base", "matplotlib", "xarray"}.isdisjoint(loaded)


def test_plots_load_only_when_a_plot_is_asked_for() -> None:
    script = """
import sys
import pyrovi as vi
from pyrovi import az
az.summary, az.loo, az.extract, az.rcParams, vi.fit, vi.draw, vi.check, vi.verdict
print("arviz_plots" in sys.modules, "matplotlib.pyplot" in sys.modules)
az.plot_ppc_dist
print("arviz_plots" in sys.modules)
"""
    assert run(script).split() == ["False", "False", "True"]


def test_diagnostics_reports_and_the_tree_run_without_torch() -> None:
    script = """
import sys
import pyrovi.diagnostics, pyrovi.reports, pyrovi.tree
print({"torch", "pyro"} & set(sys.modules))
"""
    assert run(script).strip() == "set()"


# ------------------------------------------------------------------ the front door


@pytest.mark.parametrize("name", pyrovi.__all__)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    assert inspect.getdoc(getattr(pyrovi, name))


def test_the_verb_report_and_the_package_reports_are_two_things() -> None:
    assert callable(pyrovi.report)
    assert isinstance(pyrovi.reports, ModuleType)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pyrovi.nonsense


def test_the_version_is_the_one_of_the_project() -> None:
    assert pyrovi.__version__ == version("pyrovi") == PROJECT["version"]


# ------------------------------------------------------------------ one spelling of ArviZ


@pytest.mark.parametrize("package", ["arviz_base", "arviz_stats", "arviz_plots"])
def test_az_has_every_public_name_of_arviz(package: str) -> None:
    from pyrovi import az

    module = pytest.importorskip(package)
    names = {n for n in dir(module) if not n.startswith("_")}
    names -= {n for n in names if inspect.ismodule(getattr(module, n)) and n not in az.__all__}
    assert len(names) > 20
    assert {n for n in names if getattr(az, n) is not getattr(module, n)} == set()
    assert names <= set(dir(az))


def test_az_can_be_imported_with_a_star() -> None:
    assert run("from pyrovi.az import *\nprint(plot_dist.__name__, labels.__name__)").split() == [
        "plot_dist",
        "arviz_base.labels",
    ]


def test_a_name_that_arviz_has_not_is_an_attribute_error() -> None:
    from pyrovi import az

    with pytest.raises(AttributeError, match="no public name 'plot_nonsense'"):
        _ = az.plot_nonsense


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="ArviZ 1.x no longer needs the repair")
def test_plots_load_beside_a_matplotlib_that_hides_its_style_core() -> None:
    script = """
import sys, matplotlib.style
del matplotlib.style.core, sys.modules["matplotlib.style.core"]
{way}
"""
    assert run(script.replace("{way}", "from pyrovi import az; print(az.plot_dist.__name__)"))
    with pytest.raises(AssertionError, match="no attribute 'core'"):
        run(script.replace("{way}", "import arviz_plots"))


# ------------------------------------------------------------------ what is shipped


def test_the_only_top_level_name_of_the_wheel_is_pyrovi(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pyrovi"}
    shipped = {"pyrovi/py.typed", *(f"pyrovi/{s.relative_to(SOURCES[0].parent)}" for s in SOURCES)}
    assert shipped <= set(names)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_dependency_is_pinned_within_its_range(python: str) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    extras = [PROJECT["optional-dependencies"][name] for name in ("test", "dev", "docs")]
    here = {"python_version": python}

    def holding(texts: list[str]) -> list[Requirement]:
        requirements = [Requirement(text) for text in texts if text and not text.startswith("#")]
        return [r for r in requirements if r.marker is None or r.marker.evaluate(here)]

    pins = {canonicalize_name(r.name): next(iter(r.specifier)).version for r in holding(lines)}
    wanted = holding([*PROJECT["dependencies"], *(text for extra in extras for text in extra)])
    loose = [r for r in wanted if pins.get(canonicalize_name(r.name), "0") not in r.specifier]
    assert [str(r) for r in loose] == []


# ------------------------------------------------------------------ files run no code

UNSAFE_MODULES = {"cloudpickle", "dill", "marshal", "pickle", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "torch.load", "torch.save", "joblib.load", "pandas.read_pickle"}


def unsafe(source: str) -> list[str]:
    """What in ``source`` could run code that a file or a string holds."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [n.name for n in names if n.name.partition(".")[0] in UNSAFE_MODULES]
            case ast.ImportFrom(module=str(module), names=names):
                full = [f"{module}.{n.name}" for n in names]
                found += [n for n in full if n in UNSAFE_CALLS or module in UNSAFE_MODULES]
            case ast.Call(func=func) if ast.unparse(func) in UNSAFE_CALLS:
                found.append(ast.unparse(func))
            case ast.keyword(arg="allow_pickle"):
                found.append("allow_pickle")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_module_runs_code_from_a_file_or_a_string(path: Path) -> None:
    assert unsafe(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "from torch import load",
        "torch.load(path)",
        "eval('1')",
        "def f():\n    exec(text)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_code_from_a_file_or_a_string_is_seen(source: str) -> None:
    assert unsafe(source)


def test_a_method_called_eval_is_none() -> None:
    assert unsafe("module.eval()\nre.compile('x')") == []
