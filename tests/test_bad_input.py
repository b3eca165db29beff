"""Every bad input gives one clear line: what was expected, what came, what to do."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from torch import Tensor

import pyrovi as vi
from pyrovi.errors import PyroviError

Y = np.array([1.0, 2.0, 3.0])


def weighed(y: Tensor, sigma: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("row", 3):
        pyro.sample("y", dist.Normal(loc, sigma), obs=y)


def normal(y: Tensor) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, 1.0), obs=y)


def impossible() -> None:
    pyro.sample("loc", dist.Normal(0.0, 1.0))
    pyro.factor("never", torch.tensor(-torch.inf))


def no_latent(y: Tensor) -> None:
    pyro.sample("y", dist.Normal(0.0, 1.0).expand(y.shape).to_event(1), obs=y)


def endless() -> None:
    pyro.sample("count", dist.Poisson(3.0))


def only_discrete() -> None:
    pyro.sample("coin", dist.Bernoulli(0.5))


def broken(y: Tensor) -> None:
    raise KeyError("the user's own mistake")


def particular(y: Tensor) -> None:
    raise vi.errors.DataError("y: expected four values. Give four.")


DATA: dict[str, tuple[Any, Any, str]] = {
    "NaN": (normal, {"y": np.array([1.0, np.nan])}, r"y: expected finite .* 1 NaN.* index 1"),
    "infinity": (normal, {"y": np.array([np.inf, 1.0])}, r"y: .* infinite value.* index 0"),
    "empty": (normal, {"y": np.array([])}, r"y: expected at least one value"),
    "all masked": (normal, {"y": np.ma.masked_all(3)}, r"y: every value is masked"),
    "one value for three": (weighed, {"y": Y[:1], "sigma": Y}, r"y: .*\(3,\).*\(1,\)"),
    "too short": (weighed, {"y": Y[:2], "sigma": Y}, r"cannot be run.*y \(2,\), sigma \(3,\)"),
    "unknown column": (normal, pd.DataFrame({"y": Y, "z": Y}), r"has z, .* it takes y"),
    "lacking column": (weighed, {"y": Y}, r"needs sigma, and the data has y"),
    "words": (normal, pd.DataFrame({"y": ["a", "b"]}), r"y: expected numbers.*\('a', 'b'\)"),
    "objects": (normal, {"y": np.array([1, None])}, r"y: expected numbers.*object"),
    "complex": (normal, {"y": torch.tensor([1j])}, r"y: expected real numbers"),
    "ragged": (normal, {"y": [[1.0], [1.0, 2.0]]}, r"y: .*ragged"),
    "a column twice": (normal, pd.DataFrame([[1.0, 2.0]], columns=["y", "y"]), r"'y' is .* twice"),
    "too many": (normal, (Y, Y), r"takes 1 argument\(s\) \(y\), and 2 came"),
    "too few": (weighed, (Y,), r"also needs sigma"),
    "a tree without data": (normal, xr.DataTree(), r"observed_data or constant_data"),
    "masked covariate": (weighed, {"y": Y, "sigma": np.ma.masked_less(Y, 2)}, r"sigma has masked"),
    "no latent sites": (no_latent, {"y": Y}, r"'no_latent' has no latent sites"),
    "endless support": (endless, {}, r"'count' is discrete and its support cannot be listed"),
    "only discrete": (only_discrete, {}, r"only discrete latent sites"),
    "impossible": (impossible, {}, r"not finite at any .* 'never' is the first at fault"),
    "the model's own complaint": (particular, {"y": Y}, r"^y: expected four values. Give four.$"),
    "the model's own error": (broken, {"y": Y}, r"'broken' cannot be run.*the user's own mistake"),
}


@pytest.mark.parametrize("name", DATA)
def test_bad_data_or_a_bad_model_is_one_clear_line(name: str) -> None:
    model, data, message = DATA[name]
    with pytest.raises(PyroviError, match=message) as caught:
        vi.fit(model, data, seed=0)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith((".", ")"))


CALLS: dict[str, tuple[Any, str]] = {
    "engine": (lambda: vi.fit(normal, {"y": Y}, "advi"), r"'advi'.*auto, svi, dadvi"),
    "restarts": (lambda: vi.fit(normal, {"y": Y}, restarts=0), r"restarts .* 0 came"),
    "time": (lambda: vi.fit(normal, {"y": Y}, max_seconds=-1.0), r"max_seconds .* -1.0 came"),
    "seed": (lambda: vi.fit(normal, {"y": Y}, seed=-1), r"seed .* -1 came"),
    "family": (lambda: vi.SVI(guide="nope"), r"'nope'.*mean_field"),
    "step size": (lambda: vi.SVI(step_size=0.0), r"step_size of SVI must be a positive"),
    "particles": (lambda: vi.DADVI(particles=3), r"even number, and 3 came"),
    "draws": (lambda: vi.draw(vi.fit(normal, {"y": Y}, seed=0), draws=0), r"draws .* 0 came"),
    "zoo": (lambda: vi.models.get("eight_scools"), r"eight_schools"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_bad_setting_is_one_clear_line(name: str) -> None:
    call, message = CALLS[name]
    with pytest.raises(PyroviError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


UNTYPED = """
import numpy as np, pyrovi as vi
from test_bad_input import Y, normal, weighed
for call in (
    lambda: vi.fit(normal, {"y": np.array([np.nan])}),
    lambda: vi.fit(weighed, {"y": Y[:1], "sigma": Y}),
    lambda: vi.fit("normal", {"y": Y}),
    lambda: vi.fit(normal, {"y": Y}, 3),
    lambda: vi.fit(normal, {"y": Y}, seed="a"),
    lambda: vi.fit(normal, {"y": Y}, restarts=2.5),
):
    try:
        call()
    except vi.PyroviError as error:
        print(error)
"""


def test_nothing_depends_on_assertions_or_type_checks_being_on() -> None:
    """Python's -O switches assertions off, and with them Pyro's validation."""
    done = subprocess.run(
        [sys.executable, "-O", "-c", UNTYPED],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    said = done.stdout.splitlines()
    assert len(said) == 6, done.stdout + done.stderr
    expected = ("1 NaN", "(3,)", "str came", "3 came", "'a' came", "2.5 came")
    assert all(part in line for part, line in zip(expected, said, strict=True)), said
