"""A function of tensors as the flat list of operations it came down to, run without the rest.

Most of the time of a small model goes to Pyro's handlers and to autograd's bookkeeping. One run is
recorded below both, in milliseconds; what does not depend on the input is a constant. The list is
right only for a function that does the same operations at every point of one shape: `record`
checks it at a second point, and refuses what draws random numbers. How it is run again is the
business of `program`.
"""

import contextlib
import gc
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pyrovi.density.folding import Folded
from pyrovi.density.program import Call, Program, reduced, storage

Outputs = tuple[Tensor, ...]
Function = Callable[[Tensor], Outputs]
REPEATS = 20  # evaluations for one number of points before a recording of it pays
LONG = 500  # operations of one evaluation, above which it pays much sooner
MOST_PARTS = 8  # in which a short recording of fewer rows serves more
MOST_FILLED = 3  # times the rows of a short one that are asked for, worked out in its recording
EARLY = 2  # evaluations of a long gradient before it is
VALUES = 100  # times that it is run for values alone, which takes as long as to record them
ROWS = (16, 256)  # that a long function is recorded for: many take little more time than one
WIDE = 16_384  # numbers in one operation, on average, above which more rows are no quicker
WORTH: dict[Hashable, int] = {
    "gradient": 8,
    "value": 2,
}  # times the fewest rows, which a recording of more is to serve
RECORDED_BYTES = 500_000_000  # of all results together, which are held while it is recorded
AGREEMENT = 1e-9  # relative; the operations are the same ones, so they should agree to the bit


class NotRecordableError(Exception):
    """The function is not the same operations at every point."""


class Recordings:
    """The functions of one density that are asked for often, recorded by their number of rows.

    A long one, most of whose time does not hang on the number of rows, is recorded early, and the
    first time for the fewest of `ROWS`: they tell what more would take. Rows that lack are filled
    up with the last, and of more than fit one part is done after another.

    Attributes:
        made: By the function's name and the number of rows.
        long: Whether one evaluation is known to be many operations.
    """

    def __init__(self, most: Callable[[], int]) -> None:
        """``most()`` says how many rows may be recorded, 0 if it is not the same operations."""
        self.made: dict[tuple[Hashable, int], Program] = {}
        self.long = False
        self._most, self._asked = most, Counter[tuple[Hashable, int]]()
        self._values_asked = 0
        self._refused: set[int] = set()  # numbers of rows for which none can be made

    def of(self, kind: Hashable, function: Function, rows: Tensor) -> Function | None:
        """The recording of ``function`` for this many rows, made once it is asked for often.

        Second derivatives of a long function, whose rows belong together, are not recorded.
        """
        if not len(rows) or (self.long and kind not in ("gradient", "value")):
            return None
        if kind == "value":
            self._values_asked += math.ceil(len(rows) / self._size("gradient", len(rows)))
        size = self._size(kind, len(rows))
        key = (kind, size)
        self._asked[key] += 1
        if self._pays(kind, self._asked[key]) and 0 < size <= self._most():
            # Where it cannot be recorded, the function itself goes on: it is always right.
            try:
                self._make(kind, function, _filled(rows[:size], size))
            except (NotRecordableError, RuntimeError):
                self._refused.add(size)
        if key not in self.made and not self.long:
            size = self._nearest(kind, len(rows))
        program = self.made.get((kind, size))
        return None if program is None else partial(_in_parts, program, size)

    def _nearest(self, kind: Hashable, rows: int) -> int:
        """Which recorded number of rows serves so many with the fewest for nothing; 0 if none.

        In few parts: a recording of one row, run again for each of many, takes longer than a run.
        """
        sizes = [size for own, size in self.made if own == kind and rows <= MOST_PARTS * size]
        done = {size: math.ceil(rows / size) * size for size in sizes}
        best = min(sizes, key=lambda size: (done[size], -size), default=0)
        return best if done.get(best, math.inf) <= MOST_FILLED * rows else 0

    def _make(self, kind: Hashable, function: Function, rows: Tensor) -> None:
        """Record a function; of a long gradient the values, which come first, alone as well."""
        kinds = ("gradient", "value") if kind == "gradient" and self.long else (kind,)
        outputs = (None, 1)[: len(kinds)]
        programs = recorded(function, rows, _beside(rows), outputs)
        self.made |= {(each, len(rows)): own for each, own in zip(kinds, programs, strict=True)}

    def _pays(self, kind: Hashable, asked: int) -> bool:
        """Whether a recording begins to pay when it is asked for so many times."""
        if kind == "value":
            return self._values_pay and asked == 1
        return asked == (EARLY if self.long else REPEATS)

    @property
    def _values_pay(self) -> bool:
        """Whether values alone are asked for so often that more at once may be recorded."""
        return self._values_asked >= VALUES

    def _size(self, kind: Hashable, rows: int) -> int:
        """How many rows are recorded, to serve so many."""
        if not self.long:
            return rows
        few, some = ROWS
        known = self.made.get((kind, few))
        if rows <= few or known is None or WORTH[kind] * known.entries > WIDE:
            return few
        if kind == "value" and not self._values_pay:
            return self._size("gradient", rows)
        fit = RECORDED_BYTES // known.noted * few
        narrow = int(WIDE / known.entries) * few
        size = max(few, min(some, narrow, self._most(), fit))
        return few if size in self._refused else size

    @property
    def work(self) -> int:
        """How many numbers a point's share of a long gradient works out, 0 if it is not known."""
        made = [each for (kind, _), each in self.made.items() if kind == "gradient" and self.long]
        return max((each.work for each in made[-1:]), default=0)


def _beside(rows: Tensor) -> Tensor:
    """Another point for each row, not far off."""
    return rows + 0.01 * torch.cos(torch.arange(rows.numel())).reshape(rows.shape)


def _filled(rows: Tensor, size: int) -> Tensor:
    """The rows, and the last over again, until there are so many."""
    lacking = size - len(rows)
    return torch.cat([rows, rows[-1:].expand(lacking, -1)]) if lacking else rows


def _in_parts(program: Program, size: int, rows: Tensor) -> Outputs:
    """What a recording of ``size`` rows gives for any number of them."""
    if len(rows) == size:
        return program(rows)
    parts = [program(_filled(part, size)) for part in rows.split(size)]
    return tuple(torch.cat(each)[: len(rows)] for each in zip(*parts, strict=True))


class Replayed(torch.autograd.Function):
    """Of rows, and a function from them to values and gradients: once differentiable values."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, function: Function) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        value, gradient = function(rows)
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = ctx.saved_tensors
        return upstream[:, None] * gradient, None


def is_long(value: Tensor) -> bool:
    """Whether autograd noted more than `LONG` operations on the way to a value."""
    seen: set[Any] = set()
    ahead = [value.grad_fn]
    while ahead and len(seen) <= LONG:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            ahead += [before for before, _ in node.next_functions]
    return len(seen) > LONG


def record(function: Function, point: Tensor, other: Tensor) -> Program:
    """The operations of ``function`` at ``point``, as a function of tensors of the same shape.

    It takes one tensor to a tuple of tensors, and may differentiate inside. The recording is
    checked at ``other``, another point of the same shape.

    Raises:
        NotRecordableError: If it draws random numbers, reads a value that depends on the input,
            or is something else at the other point.

    >>> squares = record(lambda x: (x.square(), x + torch.ones(2)), torch.ones(2), torch.zeros(2))
    >>> squares(torch.tensor([3.0, 4.0]))
    (tensor([ 9., 16.]), tensor([4., 5.]))
    """
    return recorded(function, point, other, (None,))[0]


def recorded(
    function: Function, point: Tensor, other: Tensor, outputs: Sequence[int | None]
) -> list[Program]:
    """The same, once for each number of outputs: so many of the first, or all."""
    point = point.detach().clone()
    with _kept_in_memory():
        calls, made = _listed(function, point)
        noted = sum(each.nbytes for call in calls for each in call.made)
        calls, made = _folded(calls, made, point)
        programs = [Program(calls, point, made[:some]) for some in outputs]
    programs[0].noted += noted
    its = function(other.detach().clone())
    for program in programs:
        for ours, each in zip(program(other.detach()), its, strict=False):
            if not torch.allclose(ours, each, rtol=AGREEMENT, atol=AGREEMENT, equal_nan=True):
                raise NotRecordableError("another point takes other operations")
    return programs


def _listed(function: Function, point: Tensor) -> tuple[list[Call], Outputs]:
    """What a function does at a point, and what comes out."""
    listed = _Recorder()
    with listed:
        outputs = function(point)
    return list(_varying(listed.calls, point)), outputs


def _folded(calls: list[Call], outputs: Outputs, point: Tensor) -> tuple[Sequence[Call], Outputs]:
    """The calls with those that are alike done at once, where that is shorter."""
    calls = reduced(calls, outputs)
    if len(calls) < LONG:
        return calls, outputs
    with contextlib.suppress(NotRecordableError, RuntimeError), torch.no_grad():
        folded, made = _listed(Folded(calls, point, outputs), point)
        folded = reduced(folded, made)
        if len(folded) < len(calls):
            return folded, made
    return calls, outputs


@contextlib.contextmanager
def _kept_in_memory() -> Iterator[None]:
    """Within this, Python does not look for what nobody needs: all is needed, and is much."""
    looking = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looking:
            gc.enable()


ATEN: Any = torch.ops.aten
FORGETFUL = frozenset(  # what comes out hangs on the shape of what goes in alone
    {
        ATEN.new_zeros.default,
        ATEN.new_ones.default,
        ATEN.zeros_like.default,
        ATEN.ones_like.default,
        ATEN.new_full.default,
        ATEN.full_like.default,
    }
)


class _Recorder(TorchDispatchMode):
    """Notes every operation below autograd and vmap, with what went in and what came out."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.size = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, a second, to say that it is not wanted

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise NotRecordableError(f"{func} draws random numbers")
        call = Call.noted(func, args, kwargs or {}, func(*args, **(kwargs or {})))
        self.calls.append(call)
        self.size += sum(each.nbytes for each in call.made)
        if self.size > RECORDED_BYTES:
            raise NotRecordableError(f"more than {RECORDED_BYTES} bytes in all results together")
        return call.out


def _varying(calls: list[Call], point: Tensor) -> Iterator[Call]:
    """The calls whose results depend on the point, or are changed in place."""
    changed = {storage(each) for call in calls if call.changes for each in _written(call)}
    varying = {id(point)}
    for call in calls:
        # A failed factorisation gives values that are not finite, and needs no check.
        if call.func is torch.ops.aten._linalg_check_errors.default:
            continue
        depends = any(id(each) in varying for each in call.taken)
        depends &= call.func not in FORGETFUL
        if not depends and not any(storage(e) in changed for e in (*call.taken, *call.made)):
            continue
        if not call.made:
            raise NotRecordableError(f"{call.func} reads a value that depends on the input")
        varying |= {id(each) for each in call.made}
        yield call


def _written(call: Call) -> list[Tensor]:
    """The tensors that an operation changes in place: they are no constants."""
    declared = call.func._schema.arguments
    given = dict(zip((each.name for each in declared), call.args, strict=False)) | call.kwargs
    changed = [each.name for each in declared if each.alias_info and each.alias_info.is_write]
    return [value for name in changed if isinstance(value := given.get(name), Tensor)]
