"""Noise of its own for each row that ``torch.func.vmap`` carries through one run.

Torch's distributions fill fresh tensors in place (``torch.empty(shape).normal_()``), which vmap
refuses since such a tensor is one for all rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def _normal(like: Tensor, mean: Any = 0.0, std: Any = 1.0, **_: Any) -> Tensor:
    return mean + std * torch.randn(like.shape, dtype=like.dtype)


def _uniform(like: Tensor, low: Any = 0.0, high: Any = 1.0, **_: Any) -> Tensor:
    return low + (high - low) * torch.rand(like.shape, dtype=like.dtype)


def _exponential(like: Tensor, lambd: Any = 1.0, **_: Any) -> Tensor:
    return -torch.rand(like.shape, dtype=like.dtype).neg().log1p() / lambd


def _cauchy(like: Tensor, median: Any = 0.0, sigma: Any = 1.0, **_: Any) -> Tensor:
    return median + sigma * (torch.pi * (torch.rand(like.shape, dtype=like.dtype) - 0.5)).tan()


FILLING: Mapping[Any, Callable[..., Tensor]] = {
    torch.Tensor.normal_: _normal,
    torch.Tensor.uniform_: _uniform,
    torch.Tensor.exponential_: _exponential,
    torch.Tensor.cauchy_: _cauchy,
}


class OwnNoise(TorchFunctionMode):
    """Within it, what fills a tensor with noise gives another tensor, with noise for each row.

    The tensor itself is left as not a number: a model that goes on with it, and not with what the
    filling gave, is seen.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        filled = FILLING.get(func)
        if filled is None or not args[0].is_floating_point():
            return func(*args, **(kwargs or {}))
        args[0].fill_(torch.nan)
        return filled(*args, **(kwargs or {}))
