"""The zoo's door: names, near misses, and entries of other packages."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest

import pyrovi as vi
from pyrovi import registry
from pyrovi.errors import DataError, PyroviWarning, UnknownModelError
from pyrovi.models import ZOO, available, get

MISSING = "no_such_package:MODEL"


def entry_point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, "pyrovi.models")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(*points: Any) -> None:
        monkeypatch.setattr(registry, "entry_points", lambda group: points)

    return install


def test_a_variant_is_the_entry_with_another_model() -> None:
    entry, variant = get("eight_schools"), get("eight_schools:centered")
    assert entry.name == "eight_schools"
    assert variant.name == "eight_schools:centered"
    assert variant.model is entry.variants["centered"].model is not entry.model
    assert variant.load().identical(entry.load())


def test_a_wrong_name_is_told_the_nearest_and_the_list() -> None:
    with pytest.raises(UnknownModelError, match="did you mean 'eight_schools'") as error:
        get("eight_scools")
    assert all(name in str(error.value) for name in ZOO)
    with pytest.raises(UnknownModelError, match=r"has no variant 'centred'.*'centered'"):
        get("eight_schools:centred")


def test_a_wrong_data_name_is_told_the_nearest_and_the_list() -> None:
    with pytest.raises(DataError, match=r"no data set 'irs' .*'iris'.*wine"):
        get("gaussian_mixture").load("irs")


def test_every_message_is_one_line() -> None:
    for ask in (
        lambda: get("x"),
        lambda: get("eight_schools:x"),
        lambda: ZOO["eight_schools"].load("x"),
    ):
        with pytest.raises((UnknownModelError, DataError)) as error:
            ask()
        assert "\n" not in str(error.value)


def test_an_entry_of_another_package_is_got_like_ours(installed: Any) -> None:
    theirs = get("eight_schools")
    installed(entry_point("theirs", "pyrovi.models.eight_schools:EIGHT_SCHOOLS"))
    assert get("theirs") is theirs
    assert get("theirs:centered").model is theirs.variants["centered"].model
    assert list(available()) == [*ZOO.members, "theirs"]


def test_ours_never_import_another_package(installed: Any) -> None:
    installed(entry_point("theirs", MISSING), entry_point("eight_schools", MISSING))
    assert get("eight_schools") is ZOO["eight_schools"]


@pytest.mark.parametrize("value", [MISSING, "json:dumps"])
def test_a_broken_entry_is_left_out_with_a_warning_and_ours_stay(
    installed: Any, value: str
) -> None:
    installed(entry_point("broken", value))
    with pytest.warns(PyroviWarning, match=r"'broken' .* is left out: "):
        assert list(available()) == list(ZOO.members)
    with pytest.raises(UnknownModelError, match="'broken' cannot be used: "):
        get("broken")


def test_a_near_miss_lists_the_names_of_other_packages_without_importing_them(
    installed: Any,
) -> None:
    installed(entry_point("their_model", MISSING))
    with pytest.raises(UnknownModelError, match="did you mean 'their_model'"):
        get("their_modl")


@pytest.mark.parametrize(
    "name", ["bayesian_neural_network", "gaussian_mixture", "multitask_regression"]
)
def test_an_unknown_variant_is_named_when_simulated_too(name: str) -> None:
    with pytest.raises(
        UnknownModelError, match=f"no variant 'x'.*{next(iter(ZOO[name].variants))}"
    ):
        ZOO[name].simulate(1, variant="x")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tasks": ["a", "a"], "sizes": [3, 3]}, "'a' is named twice"),
        ({"population": {"popluation_mean": 0.0}}, "did you mean 'population_mean'"),
    ],
)
def test_students_that_cannot_be_simulated_are_told(options: dict, said: str) -> None:
    with pytest.raises(DataError, match=said):
        ZOO["multitask_regression"].simulate(1, **options)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("bayesian_neural_network", {}),
        ("bayesian_neural_network:classification", {"classes": 2}),
        ("multitask_regression", {"task_index": np.arange(6) % 2}),
        ("multitask_regression:binary", {"task_index": np.arange(6) % 2}),
    ],
)
def test_whole_numbers_are_data_like_any_other(name: str, change: dict) -> None:
    x = np.array([[1, 0], [1, 1], [1, 2], [1, 3], [1, 4], [1, 6]])
    values = []
    for given in (x, x * 1.0):
        data = {"outcome": np.array([0, 0, 1, 0, 1, 1]), "x": given, **change}
        fit = vi.fit(get(name).model, data, vi.Laplace(), seed=0)
        values.append(vi.draw(fit, draws=10)["sample_stats"]["log_joint"].to_numpy())
    np.testing.assert_allclose(*values)


def test_importing_the_zoo_imports_no_entry() -> None:
    code = "import sys, pyrovi.models; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ran.stdout.split()
    assert "pyrovi.models.registry" in loaded
    assert not [name for name in ZOO.members if f"pyrovi.models.{name}" in loaded]
