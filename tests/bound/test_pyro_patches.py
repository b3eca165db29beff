"""A patch of Pyro does what it is for, and is gone afterwards, whatever happens within."""

import contextlib
from collections.abc import Callable
from typing import Any

import pyro
import pytest
import torch
from pyro.ops.einsum import torch_log
from pyro.poutine.subsample_messenger import SubsampleMessenger

from pyrovi.bound.pyro_patches import vmappable_contraction, whole_plates

PATCHES = {
    "whole plates": (whole_plates, SubsampleMessenger, "_subsample"),
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
    with whole_plates():
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
