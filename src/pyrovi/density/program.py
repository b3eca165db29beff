"""A list of operations laid out in memory once, and run again and again with next to no overhead.

Every result has its place: a buffer that is made once, and taken by another result when the last
operation that reads it is done. What is a view of another tensor is made once, with the plan, and
costs nothing in a run. Small sums, products and the like are left to numpy, which gives the same
bits and takes a third of torch's time to begin; each step is adopted only if it gives, bit by bit,
what the recorded operation gave.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

SMALL = 16_384  # entries, up to which numpy is faster; above, torch has threads
SHORT = 64  # entries of a constant, up to which another of the same numbers is looked for
FEW_RUNS = 0.25  # of the parts of a stack, which are then copied run by run
MOSTLY = 0.9  # of what is stacked, from which it is written into the stack, and the rest copied
TELLING = 32  # sums, of which the bits of some would be others if the terms had another order
FEW_TERMS = 8  # of a sum, below which numpy adds one after another
ATEN: Any = torch.ops.aten


class Call:
    """One operation: what went in, and what came out.

    Attributes:
        taken: The tensors among the arguments.
        made: Those that came out.
        base: The tensor among those taken of which those made are views; None if they are not.
        changes: Whether it changes one of its arguments in place.
    """

    __slots__ = ("args", "base", "changes", "func", "kwargs", "made", "out", "taken")

    def __init__(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, base: Any = None
    ) -> None:
        self.func, self.args, self.kwargs, self.out = func, args, kwargs, out
        self.taken = tensors((*args, *kwargs.values()) if kwargs else args)
        self.made = tensors((out,))
        self.base = base
        self.changes = func._schema.is_mutable

    @classmethod
    def noted(cls, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> "Call":
        """A call just made, with the tensor that its results look into."""
        call = cls(func, args, kwargs, out)
        if call.made:
            memory = storage(call.made[0])
            for each in call.taken:
                if storage(each) == memory:
                    call.base = each
        return call


class Program:
    """The operations that lead from one tensor to the outputs.

    Attributes:
        steps: The functions in turn, each with its arguments; they write into fixed places.
        entries: How many numbers one step fills in, on average.
        size: How many bytes all places take together.
        noted: How many bytes all results took when they were recorded, each by itself.
        work: How many numbers it works out for each row of its input.
    """

    def __init__(self, calls: Sequence[Call], point: Tensor, outputs: Sequence[Tensor]) -> None:
        plan = _Plan(reduced(calls, outputs), point, outputs)
        self.steps, self.size = plan.steps, plan.size
        self.noted = sum(each.nbytes for call in calls for each in call.made)
        self.entries = plan.filled / max(1, len(plan.steps))
        self.work = plan.filled // len(point) if point.dim() else plan.filled
        self._input, self._outputs = plan.place(point), [plan.place(each) for each in outputs]

    def __call__(self, flat: Tensor) -> tuple[Tensor, ...]:
        self._input.copy_(flat)
        with np.errstate(all="ignore"), torch.no_grad():
            for function, arguments in self.steps:
                function(*arguments)
        return tuple(each.clone() for each in self._outputs)


def tensors(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among some arguments, and in lists of them."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors(value)
    return found


def storage(tensor: Tensor) -> int:
    """What is the same for two tensors that share memory."""
    return tensor.untyped_storage()._cdata


def reduced(calls: Sequence[Call], outputs: Sequence[Tensor]) -> list[Call]:
    """The calls without those that do something once more, or for nothing."""
    return _needed(_distinct(calls), outputs)


def _distinct(calls: Sequence[Call]) -> list[Call]:
    """The calls without those that work out once more what was worked out before."""
    first: dict[Any, Call] = {}
    same: dict[int, Tensor] = {}
    kept = []
    changed = {storage(each) for call in calls if call.changes for each in call.taken}
    made = {id(each) for call in calls for each in call.made}
    for call in calls:
        swapped = _with_same(call, same) if same else call
        if changed and any(storage(each) in changed for each in (*call.taken, *call.made)):
            kept.append(swapped)
            continue
        key = call.func, _key(swapped.args, made), _key(tuple(swapped.kwargs.items()), made)
        before = first.setdefault(key, swapped)
        if before is swapped:
            kept.append(swapped)
        else:
            same |= {id(new): old for new, old in zip(call.made, before.made, strict=True)}
    # An output may be one of those left out: it is made by a view that costs nothing.
    doubles = [each for call in calls for each in call.made if id(each) in same]
    return kept + [
        Call(ATEN.alias.default, (same[id(each)],), {}, each, base=same[id(each)])
        for each in doubles
    ]


def _with_same(call: Call, same: Mapping[int, Tensor]) -> Call:
    """The call with the tensors that stand for those that are left out."""
    if same.keys().isdisjoint([id(each) for each in call.taken]):
        return call
    base = same.get(id(call.base), call.base)
    return Call(call.func, swapped(call.args, same), swapped(call.kwargs, same), call.out, base)


def swapped(value: Any, same: Mapping[int, Tensor]) -> Any:
    """An argument with other tensors for some of those in it, which are named by `id`."""
    if isinstance(value, Tensor):
        return same.get(id(value), value)
    if isinstance(value, list | tuple):
        return type(value)(swapped(each, same) for each in value)
    if isinstance(value, dict):
        return {name: swapped(each, same) for name, each in value.items()}
    return value


def _key(value: Any, made: Collection[int]) -> Any:
    """What is the same for arguments that are: of short constants, the numbers in them."""
    if isinstance(value, Tensor):
        # a tensor without numbers, of torch's own making, has only its identity
        if id(value) in made or value.numel() > SHORT or value.is_meta:
            return id(value)
        return value.dtype, value.shape, value.detach().numpy().tobytes()
    if isinstance(value, list | tuple):
        return tuple(_key(each, made) for each in value)
    return type(value), repr(value) if isinstance(value, float) else value


def _needed(calls: Sequence[Call], outputs: Sequence[Tensor]) -> list[Call]:
    """The calls on which the outputs hang, and those that change something in place."""
    needed, kept = {id(each) for each in outputs}, []
    for call in reversed(calls):
        if call.changes or any(id(each) in needed for each in call.made):
            needed |= {id(each) for each in call.taken}
            kept.append(call)
    return kept[::-1]


class _Plan:
    """Where each result lies, and the steps that fill these places in turn."""

    def __init__(self, calls: Sequence[Call], point: Tensor, outputs: Sequence[Tensor]) -> None:
        self.steps: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.filled = self.size = 0  # numbers in all results, and bytes of all places
        self._places = {id(point): point.clone()}
        self._free: dict[int, list[Any]] = defaultdict(list)
        self._held: dict[int, Any] = {}  # by what lies there first: the memory of its place
        self._slots = _slots(calls)
        first = _lies_first(calls, self._slots)
        last = _last_uses(calls, first, (point, *outputs))
        with torch.no_grad(), np.errstate(all="ignore"):
            for number, call in enumerate(calls):
                self._add(call)
                for lying in last.get(number, ()):
                    if (held := self._held.pop(lying, None)) is not None:
                        self._free[held.nbytes].append(held)

    def place(self, tensor: Tensor) -> Tensor:
        """The place of a recorded tensor; what has none is a constant, and its own."""
        return self._places.get(id(tensor), tensor.detach())

    def _add(self, call: Call) -> None:
        args, kwargs = self._placed(call.args), self._placed(call.kwargs)
        if call.changes:
            self.steps.append((partial(call.func, **kwargs), args))
            call.func(*args, **kwargs)
        elif call.func is ATEN.stack.default and id(call.out) in self._places:
            self._complete(call, args[0])
        elif _is_stack(call) and len(runs := _runs(args[0])) <= FEW_RUNS * len(args[0]):
            self._copy(call.out, runs)
        elif call.base is not None:
            seen = tensors((call.func(*args, **kwargs),))
            self._places |= {id(old): new for old, new in zip(call.made, seen, strict=True)}
        else:
            self._fill(call, args, kwargs)

    def _complete(self, call: Call, parts: Sequence[Tensor]) -> None:
        """A stack that most of its parts were written into: the others are copied."""
        whole = self.place(call.out)
        for at, (part, recorded) in enumerate(zip(parts, call.args[0], strict=True)):
            if self._slots.get(id(recorded)) != (call, at):
                self.steps.append((whole[at].copy_, (part,)))
                whole[at].copy_(part)

    def _copy(self, stack: Tensor, runs: Sequence[Tensor]) -> None:
        """A stack of parts that mostly lie in one row in memory, or are the same one."""
        self._places[id(stack)] = whole = self._made(stack)
        for place, run in zip(whole.split([len(run) for run in runs]), runs, strict=True):
            self.steps.append((place.copy_, (run,)))
            place.copy_(run)

    def _fill(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Make places for what comes out, and the fastest step that fills them."""
        places = [self._made(each) for each in call.made]
        self._places |= {id(old): new for old, new in zip(call.made, places, strict=True)}
        if len(places) == 1:
            for step in _quick(call.func, args, kwargs, places[0]):
                if _gives(step, places[0], call.made[0]):
                    self.steps.append(step)
                    return
        step = partial(_copied, places, partial(call.func, **kwargs)), args
        step[0](*args)
        self.steps.append(step)

    def _made(self, like: Tensor) -> Tensor:
        """A place of the form of a recorded tensor, in memory that is free again.

        The memory is numpy's, so that no operation of torch's can move it elsewhere.
        """
        if id(like) in self._slots:
            stack, at = self._slots[id(like)]
            if id(stack.out) not in self._places:
                self._places[id(stack.out)] = self._made(stack.out)
            return self._places[id(stack.out)][at]
        form = torch.empty_like(like)
        size = form.untyped_storage().nbytes()
        if self._free[size]:
            memory = self._free[size].pop()
        else:
            memory = torch.from_numpy(np.empty(size, dtype=np.uint8))
            self.size += size
        self._held[id(like)] = memory
        self.filled += form.numel()
        return memory.view(form.dtype).as_strided(form.size(), form.stride())

    def _placed(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.place(value)
        if isinstance(value, list | tuple):
            return type(value)(self._placed(each) for each in value)
        if isinstance(value, dict):
            return {name: self._placed(each) for name, each in value.items()}
        return value


def _slots(calls: Sequence[Call]) -> dict[int, tuple[Call, int]]:
    """By result: the stack of many, and the place in it, into which it can be written at once."""
    changed = {storage(each) for call in calls if call.changes for each in call.taken}
    makers = {
        id(call.out): call
        for call in calls
        if call.base is None and not any(storage(each) in changed for each in call.made)
    }
    slots: dict[int, tuple[Call, int]] = {}
    for stack in calls:
        if not _is_stack(stack) or storage(stack.out) in changed:
            continue
        own = {}
        for at, part in enumerate(stack.args[0]):
            maker = makers.get(id(part))
            fits = part.is_contiguous() and part.dtype == stack.out.dtype
            if fits and maker is not None and not _is_stack(maker) and id(part) not in slots:
                own.setdefault(id(part), (stack, at))
        if len(own) >= MOSTLY * len(stack.args[0]):
            slots |= own
    return slots


def _runs(parts: Sequence[Tensor]) -> list[Tensor]:
    """Parts of a stack, those that follow each other at one distance in memory as one.

    >>> table = torch.arange(8.0).reshape(4, 2)
    >>> _runs([table[0], table[2], table[1], table[1], table[1]])
    [tensor([[0., 1.],
            [4., 5.]]), tensor([[2., 3.],
            [2., 3.],
            [2., 3.]])]
    """
    distances = [_distance(*both) for both in pairwise(parts)] + [-1]
    runs, at = [], 0
    while at < len(parts):
        distance, ends = distances[at], at + 1
        while distances[ends - 1] == distance >= 0:
            ends += 1
        size = ends - at, *parts[at].shape
        runs.append(parts[at].as_strided(size, (max(distance, 0), *parts[at].stride())))
        at = ends
    return runs


def _distance(part: Tensor, following: Tensor) -> int:
    """How far on in the same memory, and alike, the following part lies; -1 if it does not."""
    alike = (
        storage(part) == storage(following)
        and part.dtype == following.dtype
        and part.stride() == following.stride()
    )
    return int(following.storage_offset() - part.storage_offset()) if alike else -1


def _is_stack(call: Call) -> bool:
    """Whether a call puts tensors side by side on a new first axis."""
    return call.func is ATEN.stack.default and (*call.args[1:], 0)[0] == 0 and not call.kwargs


def _lies_first(calls: Sequence[Call], slots: Mapping[int, tuple[Call, int]]) -> dict[int, int]:
    """By what is a view, or is written into a stack: what lies first where it looks."""
    first = {part: id(stack.out) for part, (stack, _) in slots.items()}
    for call in calls:
        if call.base is not None:
            of_base = first.get(id(call.base), id(call.base))
            first |= {id(each): of_base for each in call.made}
    return first


def _last_uses(
    calls: Sequence[Call], first: Mapping[int, int], kept: Sequence[Tensor]
) -> dict[int, list[int]]:
    """By the number of a call: what lies first in memory that no later call reads or writes."""
    last: dict[int, int] = {}
    for number, call in enumerate(calls):
        last |= {first.get(id(each), id(each)): number for each in (*call.taken, *call.made)}
    for each in kept:
        last.pop(first.get(id(each), id(each)), None)
    by_number: dict[int, list[int]] = defaultdict(list)
    for each, number in last.items():
        by_number[number].append(each)
    return by_number


def _copied(places: Sequence[Tensor], function: Callable[..., Any], *args: Any) -> None:
    for place, made in zip(places, tensors((function(*args),)), strict=True):
        place.copy_(made)


def _gives(step: Any, place: Tensor, expected: Tensor) -> bool:
    """Whether a step gives what was recorded, bit by bit."""
    try:
        step[0](*step[1])
    except (TypeError, ValueError, RuntimeError):
        return False
    return place.numpy().tobytes() == expected.detach().numpy().tobytes()


def _quick(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], place: Tensor
) -> Iterator[tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Faster steps than calling the operation and copying what it makes."""
    if not kwargs and place.numel() <= SMALL and func in UFUNCS and _are_plain(args, place):
        inside = [each.numpy() if isinstance(each, Tensor) else float(each) for each in args]
        out = place.numpy()
        yield from ((ufunc, (*given, out)) for ufunc, given in UFUNCS[func](*inside))
    if func is ATEN.sum.dim_IntList and not kwargs and place.dtype == args[0].dtype:
        yield from _short_sum(*args, place=place)
    function = _with_out(func)
    if function is not None:
        yield partial(function, **kwargs, out=place), args


def _short_sum(
    terms: Tensor, dims: Sequence[int], keep: bool = False, *, place: Tensor
) -> Iterator[tuple[Callable[..., Any], tuple[Any, ...]]]:
    """A sum of few terms along one axis by numpy, if many sums can tell that the order is one."""
    small = terms.dtype == torch.float64 and terms.numel() <= SMALL
    few = FEW_TERMS if place.numel() >= TELLING else 3  # two have no order
    if small and len(dims) == 1 and terms.shape[dims[0]] < few:
        yield np.add.reduce, (terms.numpy(), dims[0], None, place.numpy(), keep)


def _are_plain(args: tuple[Any, ...], place: Tensor) -> bool:
    """Whether all are numbers in double precision; what comes out may be true or false."""
    return place.dtype in (torch.float64, torch.bool) and all(
        each.dtype == torch.float64 if isinstance(each, Tensor) else isinstance(each, int | float)
        for each in args
    )


@cache
def _with_out(func: Any) -> Callable[..., Any] | None:
    """Torch's function of the same name that takes a place for its result."""
    name = func.overloadpacket.__name__
    overloads = [getattr(func.overloadpacket, each) for each in func.overloadpacket.overloads()]
    takes = any("out" in {a.name for a in each._schema.arguments} for each in overloads)
    return getattr(torch, name, None) if takes else None


def _same(ufunc: Any) -> Callable[..., Any]:
    return lambda *args: [(ufunc, args)]


def _power(base: Any, exponent: float) -> list[Any]:
    ufunc = {1.0: np.positive, 2.0: np.square}.get(exponent)
    return [] if ufunc is None else [(ufunc, (base,))]


# Those alone of which the result is rounded right by any library, so that it is the same bits.
UFUNCS: dict[Any, Callable[..., Any]] = {
    ATEN.add.Tensor: _same(np.add),
    ATEN.add.Scalar: _same(np.add),
    ATEN.sub.Tensor: _same(np.subtract),
    ATEN.sub.Scalar: _same(np.subtract),
    ATEN.rsub.Scalar: lambda one, other: [(np.subtract, (other, one))],
    ATEN.mul.Tensor: _same(np.multiply),
    ATEN.mul.Scalar: _same(np.multiply),
    ATEN.div.Tensor: _same(np.divide),
    ATEN.div.Scalar: _same(np.divide),
    ATEN.neg.default: _same(np.negative),
    ATEN.abs.default: _same(np.abs),
    ATEN.sqrt.default: _same(np.sqrt),
    ATEN.reciprocal.default: lambda one: [(np.divide, (1.0, one))],
    ATEN.maximum.default: _same(np.maximum),
    ATEN.minimum.default: _same(np.minimum),
    ATEN.pow.Tensor_Scalar: _power,
    ATEN.clone.default: _same(np.positive),
    **{
        getattr(getattr(ATEN, name), kind): _same(getattr(np, long))
        for kind in ("Tensor", "Scalar")
        for name, long in (
            ("eq", "equal"),
            ("ne", "not_equal"),
            ("lt", "less"),
            ("le", "less_equal"),
            ("gt", "greater"),
            ("ge", "greater_equal"),
        )
    },
}
