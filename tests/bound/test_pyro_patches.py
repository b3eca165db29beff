"""A patch of Pyro does what it is for, and is gone afterwards, whatever happens within."""

import ast
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pyro.ops.einsum import torch_log
from pyro.poutine.subsample_messenger import SubsampleMessenger

import pyrovi
from pyrovi.bound.pyro_patches import made_for_many, plates, vmappable_contraction

PATCHES = {
    "whole plates": (partial(plates, {}, whole=True), SubsampleMessenger, "_subsample"),
    "made for many": (made_for_many, torch.linalg, "solve"),
    "contraction": (vmappable_contraction, torch_log, "safe_log"),
}


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_is_taken_back_after_an_error(name: str) -> None:
    patch, owner, attribute = PATCHES[name]
    before = vars(owner)[attribute]
    with contextlib.suppress(ZeroDivisionError), patch():
        assert vars(owner)[attribute] is not before
        _ = 1 // 0
    assert vars(owner)[attribute] is before


def indices(plate: Callable[[], Any]) -> list[int]:
    with plate() as index:
        return index.tolist()


def test_a_plate_is_whole_within_unless_it_was_given_its_indices() -> None:
    with plates({}, whole=True):
        assert indices(lambda: pyro.plate("row", 6, subsample_size=2)) == [0, 1, 2, 3, 4, 5]
        given = torch.tensor([4, 1])
        assert indices(lambda: pyro.plate("row", 6, subsample=given)) == [4, 1]
    assert len(indices(lambda: pyro.plate("row", 6, subsample_size=2))) == 2


def test_the_logarithm_of_the_contraction_has_a_finite_slope_at_zero_and_vmaps() -> None:
    with vmappable_contraction():
        rows = torch.tensor([0.0, 0.5], dtype=torch.float64, requires_grad=True)
        value = torch.func.vmap(torch_log.safe_log)(rows)  # pyright: ignore[reportPrivateImportUsage]
        (slope,) = torch.autograd.grad(value[1] + value.clamp(min=-1)[0], rows)
    assert slope.isfinite().all()
    assert slope[1] == 2.0


@pytest.mark.parametrize("shape", [(2,), (2, 1), (4, 2), (4, 2, 2)], ids=str)
def test_what_can_be_factorised_is_as_torch_does_it_and_the_rest_nan(
    shape: tuple[int, ...],
) -> None:
    good = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).expand(4, 2, 2).clone()
    right = torch.arange(1.0, 1.0 + torch.Size(shape).numel()).reshape(shape)
    expected = [
        torch.linalg.cholesky(good),
        torch.linalg.inv(good),
        torch.linalg.solve(good, right),
    ]
    bad = good.clone()
    bad[2] = 0.0
    with made_for_many():
        ours = [torch.linalg.cholesky(bad), torch.linalg.inv(bad), torch.linalg.solve(bad, right)]
    for value, its in zip(ours, expected, strict=True):
        assert value[2].isnan().all()
        torch.testing.assert_close(value[[0, 1, 3]], its[[0, 1, 3]], rtol=0, atol=0)


# ------------------------------------------------------------------------- one place for all

PACKAGE = Path(pyrovi.__file__).parent


def patched(source: str) -> list[str]:
    """What of Pyro and torch a module writes to."""
    nodes = list(ast.walk(ast.parse(source)))
    theirs = {
        (alias.asname or alias.name).partition(".")[0]
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if getattr(node, "module", alias.name).partition(".")[0] in ("pyro", "torch")
    }
    targets = [target for n in nodes if isinstance(n, ast.Assign) for target in n.targets]
    targets += [
        node.args[0] for node in nodes if isinstance(node, ast.Call) and _name(node) == "setattr"
    ]
    return [ast.unparse(target) for target in targets if _root(target) in theirs]


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _root(node: ast.expr) -> str | None:
    """The name that an attribute hangs on; None for a name of its own."""
    if isinstance(node, ast.Attribute):
        return _root(node.value) or ast.unparse(node.value)
    return None


def test_nothing_else_writes_to_pyro_or_torch() -> None:
    writes = {path.name: patched(path.read_text()) for path in PACKAGE.rglob("*.py")}
    assert not any(writes.values()), writes


@pytest.mark.parametrize(
    "source",
    [
        "from pyro.ops.einsum import torch_log\ntorch_log.safe_log = None",
        "import torch\ntorch.distributions.Distribution._validate_args = False",
        "from pyro.poutine import trace as t\nsetattr(t.Trace, 'log_prob_sum', None)",
    ],
)
def test_a_write_to_pyro_or_torch_is_seen(source: str) -> None:
    assert patched(source)


def test_a_write_to_ones_own_is_none() -> None:
    assert patched("import torch\nown = torch.nn.Module()\nown.weight = torch.ones(1)") == []
