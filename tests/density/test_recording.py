"""Claims: a recording is the function at every point, and what cannot be one is refused."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from posteriordb import POSTERIORS, posterior
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.density.recording import REPEATS, NotRecordableError, record


@pytest.mark.parametrize("name", POSTERIORS)
def test_the_recorded_density_is_the_density_to_the_last_bit(name: str) -> None:
    target = posterior(name)
    bound = bind_model(target.model, bind(target.model, {"data": target.data}))
    density, fresh = LogDensity(bound), LogDensity(bound)
    generator = torch.Generator().manual_seed(1)
    start = density.start(0)
    for _ in range(REPEATS + 2):
        rows = start + 0.1 * torch.randn(4, density.dim, generator=generator, dtype=start.dtype)
        value, gradient = density.value_and_gradient(rows)
        expected, expected_gradient = fresh._differentiated(rows)
        assert torch.equal(value, expected)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=0.0)
    long = name == "hmm_example-hmm_example"  # its loop is too many operations to gain by it
    assert (("gradient", 4) in density.recordings.made) != long


def test_a_function_that_draws_random_numbers_is_refused() -> None:
    with pytest.raises(NotRecordableError, match="random"):
        record(lambda x: (x + torch.rand(2),), torch.zeros(2), torch.ones(2))


def test_a_function_that_branches_on_its_input_is_refused() -> None:
    def branches(x: Tensor) -> tuple[Tensor]:
        return (x if float(x.sum()) < 1 else -x,)

    with pytest.raises(NotRecordableError):
        record(branches, torch.zeros(2), torch.ones(2))


def test_a_function_that_is_another_at_another_point_is_refused() -> None:
    calls = []

    def counts(x: Tensor) -> tuple[Tensor]:
        calls.append(x)
        return (x * len(calls),)

    with pytest.raises(NotRecordableError, match="another point"):
        record(counts, torch.ones(2), 2 * torch.ones(2))


def test_what_is_changed_in_place_is_no_constant() -> None:
    def counts(x: Tensor) -> tuple[Tensor]:
        held = torch.zeros(2)
        held.add_(x)
        return (held.clone(),)

    again = record(counts, torch.ones(2), 2 * torch.ones(2))
    first, second = again(torch.full((2,), 3.0)), again(torch.full((2,), 3.0))
    assert torch.equal(first[0], torch.full((2,), 3.0))
    assert torch.equal(first[0], second[0])


def test_a_fit_never_loads_torchs_compiler() -> None:
    # A second of a first fit's time, where it was met before: torch.optim and dispatch modes.
    code = """
import sys, pyro, pyro.distributions as dist, pyrovi as vi
def model():
    pyro.sample("x", dist.Normal(0.0, 1.0))
fit = vi.fit(model, {}, seed=0)
assert fit.density.recordings.made or fit.density.evaluations
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
