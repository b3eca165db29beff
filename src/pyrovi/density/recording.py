"""A function of tensors as the flat list of operations it came down to, run without the rest.

Most of the time of a small model goes to Pyro's handlers and to autograd's bookkeeping. One run is
recorded below both, in milliseconds; what does not depend on the input is a constant. The list is
right only for a function that does the same operations at every point of one shape: `record`
checks it at a second point, and refuses what draws random numbers.
"""

import contextlib
import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

Outputs = tuple[Tensor, ...]
Function = Callable[[Tensor], Outputs]
REPEATS = 20  # evaluations for one number of points before a recording of it pays
MOST_CALLS = 1_500  # above, a recording takes long and the operations themselves take the time
AGREEMENT = 1e-9  # relative; the operations are the same ones, so they should agree to the bit


class NotRecordableError(Exception):
    """The function is not the same operations at every point."""


class Recordings:
    """The functions of one density that are asked for often, recorded by their number of rows.

    ``allowed`` says whether they are the same operations at all points, for a number of rows.
    """

    def __init__(self, allowed: Callable[[int], bool]) -> None:
        self.made: dict[tuple[str, int], Function] = {}
        self._allowed, self._asked = allowed, Counter[tuple[str, int]]()

    def of(self, kind: str, function: Function, rows: Tensor) -> Function | None:
        """The recording of ``function`` for this many rows, made once it is asked for often."""
        key = (kind, len(rows))
        self._asked[key] += 1
        if self._asked[key] == REPEATS and self._allowed(len(rows)):
            elsewhere = rows + 0.01 * torch.cos(torch.arange(rows.numel())).reshape(rows.shape)
            # Where it cannot be recorded, the function itself goes on: it is always right.
            with contextlib.suppress(NotRecordableError, RuntimeError):
                self.made[key] = record(function, rows, elsewhere)
        return self.made.get(key)


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


def record(function: Function, point: Tensor, other: Tensor) -> Any:
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
    point = point.detach().clone()
    listed = _Recorder()
    with listed:
        outputs = function(point)
    graph = _graph(listed.calls, point, outputs)
    with torch.no_grad():
        replayed = graph(other.detach().clone())
    for ours, its in zip(replayed, function(other.detach().clone()), strict=True):
        if not torch.allclose(ours, its, rtol=AGREEMENT, atol=AGREEMENT, equal_nan=True):
            raise NotRecordableError("another point takes other operations")
    return graph


Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]


class _Recorder(TorchDispatchMode):
    """Notes every operation below autograd and vmap, with what went in and what came out."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, a second, to say that it is not wanted

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise NotRecordableError(f"{func} draws random numbers")
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        if len(self.calls) > MOST_CALLS:
            raise NotRecordableError(f"more than {MOST_CALLS} operations, which save no time")
        return out


class _Builder:
    """The calls that depend on one tensor, as a graph; the others' results stand as constants."""

    def __init__(self, point: Tensor, changed: set[int]) -> None:
        self.graph, self.constants, self.changed = fx.Graph(), torch.nn.Module(), changed
        self.nodes: dict[int, fx.Node] = {id(point): self.graph.placeholder("flat")}

    def node_of(self, value: Any) -> Any:
        """The node that stands for a tensor; anything else as it is."""
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self.nodes:
            name = f"constant_{len(self.nodes)}"
            self.constants.register_buffer(name, value.detach())
            self.nodes[id(value)] = self.graph.get_attr(name)
        return self.nodes[id(value)]

    def add(self, call: Call) -> None:
        """Keep a call, if it is needed at another point."""
        func, args, _, out = call
        # A failed factorisation gives values that are not finite, and needs no check.
        if func is torch.ops.aten._linalg_check_errors.default or not self._varies(call):
            return
        if not _tensors(out):
            raise NotRecordableError(f"{func} reads a value that depends on the input")
        if func is torch.ops.aten.detach.default:  # for autograd's sake, which has no part here
            self.nodes[id(out)] = self.node_of(args[0])
        else:
            self._add_node(call)

    def _add_node(self, call: Call) -> None:
        func, args, kwargs, out = call
        node = self.graph.call_function(
            func, tree_map(self.node_of, args), tree_map(self.node_of, kwargs)
        )
        if isinstance(out, Tensor):
            self.nodes[id(out)] = node
            return
        for index, each in enumerate(out):
            if isinstance(each, Tensor):
                self.nodes[id(each)] = self.graph.call_function(operator.getitem, (node, index))

    def _varies(self, call: Call) -> bool:
        """Whether a call's result depends on the point, or is changed in place."""
        _, args, kwargs, out = call
        tensors = _tensors((args, kwargs))
        nodes = (self.nodes.get(id(each)) for each in tensors)
        if any(node is not None and node.op != "get_attr" for node in nodes):
            return True
        return any(_storage(each) in self.changed for each in (*tensors, *_tensors(out)))


def _graph(calls: list[Call], point: Tensor, outputs: Outputs) -> fx.GraphModule:
    builder = _Builder(point, {_storage(each) for call in calls for each in _written(call)})
    for call in calls:
        builder.add(call)
    builder.graph.output(tuple(builder.node_of(each) for each in outputs))
    builder.graph.eliminate_dead_code(_is_needed)
    return fx.GraphModule(builder.constants, builder.graph)


def _is_needed(node: fx.Node) -> bool:
    """Whether a node stays though nothing reads it."""
    writes = isinstance(node.target, OpOverload) and node.target._schema.is_mutable
    return writes or node.op in ("placeholder", "output")


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _written(call: Call) -> list[Tensor]:
    """The tensors that an operation changes in place: they are no constants."""
    func, args, kwargs, _ = call
    declared = func._schema.arguments
    given = dict(zip((each.name for each in declared), args, strict=False)) | kwargs
    changed = [each.name for each in declared if each.alias_info and each.alias_info.is_write]
    return [value for name in changed if isinstance(value := given.get(name), Tensor)]
