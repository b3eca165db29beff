"""What models do that one run for many points has no way for, and a way for it.

`torch.func.vmap` refuses three idioms that are common in models. A tensor that the model makes
holds one value for all points, and what is then written into it differs by point: here it is made
to hold one for each. A branch or a count hangs on a value: here the points that take one way are
run together, those that take another apart. What is written where a mask holds that hangs on a
value is written by `torch.where`. What nothing helps with is a `NotForManyError`.
"""

import sys
from collections.abc import Callable
from enum import Enum
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from pyrovi.density.culprit import of_a_library, place_of

WITHOUT_ADVICE = (
    "cannot be done for many draws at once",
    "Write it with torch's functions of whole tensors; a density, as a pyro.factor",
)
Line = tuple[str, int, str]  # a file, the number of a line in it, and a function called there
is_batched: Callable[[Tensor], bool] = torch._C._functorch.is_batchedtensor  # pyright: ignore[reportAttributeAccessIssue]


class Idiom(Enum):
    """What a model does that needs it run draw by draw: what that is, and what to write."""

    NUMBER = (
        "takes a number out of a tensor that hangs on a latent value",
        "Keep it a tensor, without .item(), float(), .tolist() or .numpy(), for torch's functions",
    )
    COPIED = (
        "makes a new tensor of latent values, which cuts their gradient",
        "Write torch.stack([a, b]) for torch.tensor([a, b])",
    )
    SELECTED = (
        "selects as many entries as a latent value says",
        "Keep all of them, and write torch.where(mask, x, 0.0) for x[mask]",
    )
    WRITTEN = (
        "writes a latent value into a tensor that the model did not make",
        "Write into a copy of it, x = x.clone(), or make the result by torch.where or torch.stack",
    )
    RANDOM = (
        "draws random numbers outside of pyro.sample",
        "Draw them once, before the model, and give them to it as data",
    )


class NotForManyError(Exception):
    """A model does what cannot be done for many points at once."""

    def __init__(self, idiom: Idiom) -> None:
        super().__init__(idiom.value[0])
        self.idiom = idiom


class ApartError(Exception):
    """Points take different ways: ``way`` says which, by an integer for each."""

    def __init__(self, way: Tensor) -> None:
        super().__init__("points take different ways")
        self.way = way


class MadeOnceError(Exception):
    """A tensor made at ``line`` is to hold a value for each point."""

    def __init__(self, line: Line) -> None:
        super().__init__(f"made at {line}")
        self.line = line


class Idioms(TorchFunctionMode):
    """Within this, inside of vmap, the idioms above have a way.

    Args:
        row: The flat vector, which differs by point.
        lines: Where tensors are made that are to hold a value for each point.
    """

    def __init__(self, row: Tensor, lines: frozenset[Line]) -> None:
        super().__init__()
        self.lines = lines
        self._differs = torch.zeros_like(row.reshape(-1)[0], dtype=torch.bool)
        self._made: dict[int, tuple[Tensor, Line]] = {}  # by storage; kept, or it is used again

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        writes, way = _writes(func, args), WAYS.get(func)
        if (writes or way is not None) and _hangs_on_the_point((args, kwargs)):
            if writes and not is_batched(args[0]):
                raise self._made_once(args[0])
            if way is not None:
                return way(*args, **kwargs)
        out = func(*args, **kwargs)
        if isinstance(out, Tensor) and not writes and not is_batched(out):
            return self._fresh(out, args, getattr(func, "__name__", ""))
        return out

    def _fresh(self, out: Tensor, args: tuple[Any, ...], function: str) -> Tensor:
        """What a function of the same at every point gives: as it is, or a value for each."""
        storage = _storage(out)
        if storage in self._made or any(_storage(each) == storage for each in _tensors(args)):
            return out
        line = _line(sys._getframe(2), function)
        if line in self.lines:
            return torch.where(self._differs, out, out)
        self._made[storage] = out, line
        return out

    def _made_once(self, written: Tensor) -> Exception:
        made = self._made.get(_storage(written))
        return NotForManyError(Idiom.WRITTEN) if made is None else MadeOnceError(made[1])


def _line(frame: FrameType | None, function: str) -> Line:
    """The line that made a tensor: the nearest outside of torch, for which one serves many."""
    while frame is not None and of_a_library(frame.f_code.co_filename, "torch"):
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno, function) if frame else ("", 0, function)


def _writes(func: Any, args: tuple[Any, ...]) -> bool:
    name = getattr(func, "__name__", "")
    changes = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
    return changes and bool(args) and isinstance(args[0], Tensor)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _hangs_on_the_point(tree: Any) -> bool:
    return any(is_batched(each) for each in _tensors(tree))


def _storage(tensor: Tensor) -> int:
    return 0 if is_batched(tensor) else tensor.untyped_storage()._cdata


# ------------------------------------------------------------------------------- ways


def _agreed(kind: Callable[[Any], Any]) -> Callable[..., Any]:
    """A value as a truth, a count or a number, where all points agree on it."""

    def way(tensor: Tensor, *_: Any, **__: Any) -> Any:
        if tensor.numel() != 1:
            raise ValueError("a tensor of several values is no truth and no number")
        by_point = torch.func.debug_unwrap(tensor).detach().reshape(-1)
        if (by_point == by_point[0]).all():
            return kind(by_point[0].item())
        answers = [kind(each) for each in by_point.tolist()]
        different = {answer: place for place, answer in enumerate(dict.fromkeys(answers))}
        if len(different) == 1:
            return answers[0]
        if isinstance(answers[0], float) and 2 * len(different) > len(answers):
            raise NotForManyError(Idiom.NUMBER)
        raise ApartError(torch.tensor([different[answer] for answer in answers]))

    return way


def _refused(idiom: Idiom) -> Callable[..., Any]:
    def way(*_: Any, **__: Any) -> Any:
        raise NotForManyError(idiom)

    return way


def _get(tensor: Tensor, index: Any) -> Tensor:
    if any(each.dtype is torch.bool and is_batched(each) for each in _tensors(index)):
        raise NotForManyError(Idiom.SELECTED)
    return tensor[index]


def _set(tensor: Tensor, index: Any, value: Any) -> None:
    if not isinstance(index, Tensor) or index.dtype is not torch.bool or not is_batched(index):
        tensor[index] = value
        return
    value, rest = torch.as_tensor(value, dtype=tensor.dtype), tensor.dim() - index.dim()
    if value.dim() > rest:  # a value for each entry that is selected
        raise NotForManyError(Idiom.SELECTED)
    mask = index.reshape(index.shape + (1,) * rest)
    tensor.copy_(torch.where(mask, value, tensor))


def _copy(data: Any, **kwargs: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise NotForManyError(Idiom.COPIED)
    return torch.as_tensor(data.detach().clone(), **kwargs)


def _where(*args: Any, **kwargs: Any) -> Any:
    if len(args) + len(kwargs) == 1:
        raise NotForManyError(Idiom.SELECTED)
    return torch.where(*args, **kwargs)


def _as_tensor(data: Any, **kwargs: Any) -> Tensor:
    return torch.as_tensor(data, **kwargs) if isinstance(data, Tensor) else _copy(data, **kwargs)


WAYS: dict[Any, Callable[..., Any]] = {
    Tensor.__bool__: _agreed(bool),
    Tensor.__int__: _agreed(int),
    Tensor.__index__: _agreed(int),
    Tensor.__float__: _agreed(float),
    Tensor.item: _agreed(lambda number: number),
    Tensor.__getitem__: _get,
    Tensor.__setitem__: _set,
    Tensor.data.__get__: Tensor.detach,  # pyright: ignore[reportAttributeAccessIssue]
    torch.tensor: _copy,
    torch.as_tensor: _as_tensor,
    torch.where: _where,
    **dict.fromkeys((Tensor.tolist, Tensor.numpy, Tensor.__array__), _refused(Idiom.NUMBER)),
    **dict.fromkeys(
        (
            Tensor.nonzero,
            Tensor.unique,
            Tensor.masked_select,
            torch.nonzero,
            torch.unique,
            torch.masked_select,
        ),
        _refused(Idiom.SELECTED),
    ),
}
"""What is done instead of a function of torch's, of what differs by point."""


def why_draw_by_draw(error: Exception) -> str:
    """A note for the user: which line of the model is in the way, and what to write there."""
    what, advice = WITHOUT_ADVICE
    if isinstance(error, NotForManyError):
        what, advice = error.idiom.value
    elif "randomness" in str(error):  # torch's own word
        what, advice = Idiom.RANDOM.value
    place = place_of(error) or "something in it"
    return f"The model is run draw by draw, which takes longer: {place} {what}. {advice}."
