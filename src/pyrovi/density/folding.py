"""Operations that are the same but for their numbers, done in one stroke on a stacked axis.

A loop over time asks for one small operation after another, and most of them do not wait for each
other: what a step observes, what each step adds to a sum, and nearly all of a gradient beside the
one thing that is carried along. Calls of one operation on tensors of one shape are put off until
all of them can be done, and become one call under `torch.vmap`, as dynamic batching does it for
trees (Looks et al. 2017, https://arxiv.org/abs/1702.02181; Neubig et al. 2017,
https://arxiv.org/abs/1705.07860). Its results are slices of one tensor, which the next such call
takes whole.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pyrovi.density.program import ATEN, Call, storage, swapped

NEIGHBOURHOOD = 2  # calls before and behind, by which those of one kind are told from others
CACHED = 65_536  # numbers of a stack, of which a processor keeps some near by
FEWEST = 8  # equal calls, from which one on a stacked axis is quicker
Key = tuple[Any, ...]


@dataclass(eq=False)
class Node:
    """What is done at a time: one call, or the sum that many calls of ``add`` come to.

    Attributes:
        call: The call; of a sum the last one, whose result is the sum.
        terms: Those of a sum; none if it is a call.
        scattered: By shape and axis: what is to be put at which index of the axis of zeros of
            the shape, before it is added as well.
        before: The nodes that have to be done before.
    """

    call: Call
    terms: list[Tensor] = field(default_factory=list)
    scattered: dict[Key, list[tuple[int, Tensor]]] = field(default_factory=dict)
    before: list["Node"] = field(default_factory=list)

    @property
    def is_sum(self) -> bool:
        """Whether it stands for more than one call."""
        return bool(self.terms or self.scattered)

    @property
    def taken(self) -> Sequence[Tensor]:
        """The tensors that it reads."""
        put = [each for some in self.scattered.values() for _, each in some]
        return [*self.terms, *put] or self.call.taken


class Folded:
    """Some calls as a function of the point, with those that are alike done at once."""

    def __init__(self, calls: Sequence[Call], point: Tensor, outputs: Sequence[Tensor]) -> None:
        """The calls lead from ``point`` to ``outputs``, all as they were recorded."""
        calls, self._outputs = _unchanged(calls, outputs)
        self._point, self._memory = point, _changed(calls)
        nodes = _graph(calls, self._outputs)
        self._made = {id(each) for node in nodes for each in node.call.made} | {id(point)}
        uses = Counter(id(each) for node in nodes for each in node.taken)
        self._shared = {each for each, count in uses.items() if count >= FEWEST}
        self._place: dict[int, tuple[Any, int]] = {}  # by tensor: its stack, and where in it
        self._along: dict[Any, tuple[Tensor, int]] = {}  # by stack: the axis of what it is
        for node in nodes:
            self._note_slices(node.call)
        self._turns = [turn for ready in _in_turn(nodes) for turn in self._grouped(ready)]

    def _note_slices(self, call: Call) -> None:
        """What is taken out of one tensor along an axis lies in a stack as it is."""
        if call.func not in (ATEN.select.int, ATEN.unbind.int) or _touches(call, self._memory):
            return
        whole: Tensor = call.args[0]
        dim, *index = call.args[1:] or (0,)
        stack = ("along", id(whole), dim % whole.dim())
        self._along[stack] = whole, dim
        for at, each in enumerate(call.made, index[0] % whole.shape[dim] if index else 0):
            self._place[id(each)] = stack, at

    def __call__(self, point: Tensor) -> tuple[Tensor, ...]:
        self._known: dict[int, Tensor] = {id(self._point): point}
        self._stacks: dict[Any, Tensor] = {}
        for turn in self._turns:
            self._done(turn)
        return tuple(self._now(each) for each in self._outputs)

    def _grouped(self, ready: Sequence[Node]) -> Iterator[list[Node]]:
        """The nodes of one turn, those that are alike together."""
        alike: dict[Key, list[Node]] = defaultdict(list)
        for node in ready:
            if not any(id(each) in self._place for each in node.call.made):
                alike[self._key(node)].append(node)
        for nodes in alike.values():
            at_once = max(1, CACHED // max(1, sum(e.numel() for e in nodes[0].call.made)))
            if min(at_once, len(nodes)) < FEWEST:
                yield from ([node] for node in nodes)
                continue
            nodes.sort(key=lambda node: [self._place.get(id(e), (0, 0))[1] for e in node.taken])
            for start in range(0, len(nodes), at_once):
                some = nodes[start : start + at_once]
                if len(some) > 1:
                    self._note_stack(some)
                yield some

    def _note_stack(self, nodes: Sequence[Node]) -> None:
        for made in zip(*(node.call.made for node in nodes), strict=True):
            stack = len(self._place)
            self._place |= {id(each): (stack, at) for at, each in enumerate(made)}

    def _key(self, node: Node) -> Key:
        """What is the same for calls that can be done at once."""
        call = node.call
        alone = node.is_sum or call.changes or not call.made or not call.taken
        if alone or _touches(call, self._memory):
            return (id(node),)
        first: dict[int, int] = {}
        same = tuple(first.setdefault(id(each), at) for at, each in enumerate(call.taken))
        forms = tuple((tuple(e.shape), e.dtype, self._origin(e)) for e in call.taken)
        kwargs = tuple((name, _plain(each)) for name, each in call.kwargs.items())
        return call.func, same, forms, _plain(call.args), kwargs

    def _origin(self, tensor: Tensor) -> Any:
        """The stack that a tensor lies in; itself, where many take it; else what kind it is."""
        if id(tensor) in self._place:
            return self._place[id(tensor)][0]
        if id(tensor) in self._made:
            return id(tensor) if id(tensor) in self._shared else "alone"
        return "constant"

    def _done(self, turn: Sequence[Node]) -> None:
        call = turn[0].call
        if len(turn) > 1:
            self._at_once([node.call for node in turn])
        elif turn[0].is_sum:
            self._known[id(call.made[0])] = self._sum(turn[0])
        elif call.func is ATEN.stack.default and not call.kwargs:
            parts, *dim = call.args
            self._known[id(call.made[0])] = self._stacked(parts).movedim(0, dim[0] if dim else 0)
        else:
            now = {id(each): self._now(each) for each in call.taken}
            made = _tensors_of(call.func(*swapped(call.args, now), **swapped(call.kwargs, now)))
            self._known |= {id(each): new for each, new in zip(call.made, made, strict=True)}

    def _at_once(self, calls: Sequence[Call]) -> None:
        """Many calls as one, under vmap."""
        first = calls[0]
        columns = list(zip(*(call.taken for call in calls), strict=True))
        one_for_all = [len({id(each) for each in column}) == 1 for column in columns]
        given = [
            self._now(column[0]) if same else self._stacked(column)
            for column, same in zip(columns, one_for_all, strict=True)
        ]

        def one(*taken: Tensor) -> Any:
            now = {id(each): new for each, new in zip(first.taken, taken, strict=True)}
            return first.func(*swapped(first.args, now), **swapped(first.kwargs, now))

        if all(one_for_all):
            made = [each.expand(len(calls), *each.shape) for each in _tensors_of(one(*given))]
        else:
            in_dims = tuple(None if same else 0 for same in one_for_all)
            made = _tensors_of(torch.vmap(one, in_dims=in_dims)(*given))
        for each, stack in zip(first.made, made, strict=True):
            self._stacks[self._place[id(each)][0]] = stack

    def _now(self, tensor: Tensor) -> Tensor:
        """What stands for a recorded tensor; a constant for itself."""
        if id(tensor) in self._known:
            return self._known[id(tensor)]
        if id(tensor) not in self._place:
            return tensor.detach()
        stack, at = self._place[id(tensor)]
        self._known[id(tensor)] = self._whole(stack).select(0, at)
        return self._known[id(tensor)]

    def _whole(self, stack: Any) -> Tensor:
        if stack not in self._stacks:
            tensor, dim = self._along[stack]
            self._stacks[stack] = self._now(tensor).movedim(dim, 0)
        return self._stacks[stack]

    def _stacked(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors on a new first axis: what lies side by side already is not copied."""
        runs: list[list[Tensor]] = [[tensors[0]]]
        for before, each in pairwise(tensors):
            stack, at = self._place.get(id(before), (None, 0))
            if stack is not None and self._place.get(id(each)) == (stack, at + 1):
                runs[-1].append(each)
            else:
                runs.append([each])
        if len(runs) > len(tensors) // 2:
            return torch.stack([self._now(each) for each in tensors])
        parts = [self._run(run) for run in runs]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _run(self, run: Sequence[Tensor]) -> Tensor:
        if id(run[0]) not in self._place:
            return self._now(run[0])[None]
        stack, at = self._place[id(run[0])]
        whole = self._whole(stack)
        return whole if len(run) == len(whole) else whole[at : at + len(run)]

    def _sum(self, node: Node) -> Tensor:
        """The sum of many tensors: those of one stack at once."""
        together: dict[Any, list[Tensor]] = defaultdict(list)
        for each in node.terms:
            together[self._place.get(id(each), (None, 0))[0]].append(each)
        parts = [self._put(shape, dim, some) for (shape, dim), some in node.scattered.items()]
        for stack, some in together.items():
            if stack is not None:
                some.sort(key=lambda each: self._place[id(each)][1])
            parts.append(self._stacked(some).sum(0) if len(some) > 1 else self._now(some[0]))
        return _added(parts)

    def _put(self, shape: Sequence[int], dim: int, some: list[tuple[int, Tensor]]) -> Tensor:
        """Zeros with tensors added to them, each at its index of an axis."""
        by_index: dict[int, list[Tensor]] = defaultdict(list)
        for index, each in some:
            by_index[index % shape[dim]].append(each)
        parts = []
        for turn in range(max(map(len, by_index.values()))):
            at = sorted(index for index, own in by_index.items() if len(own) > turn)
            part = self._stacked([by_index[index][turn] for index in at])
            if len(at) < shape[dim]:  # the others come from a row of zeros at the end
                source = torch.full((shape[dim],), len(at))
                source[at] = torch.arange(len(at))
                part = torch.cat([part, torch.zeros_like(part[:1])]).index_select(0, source)
            parts.append(part)
        return _added(parts).movedim(0, dim)


def _added(parts: Sequence[Tensor]) -> Tensor:
    total, *others = parts
    for each in others:
        total = total + each
    return total


def _tensors_of(made: Any) -> tuple[Tensor, ...]:
    return (made,) if isinstance(made, Tensor) else tuple(made)


def _plain(value: Any) -> Any:
    """An argument without its tensors, as what can be compared."""
    if isinstance(value, Tensor):
        return Tensor
    if isinstance(value, list | tuple):
        return tuple(_plain(each) for each in value)
    return type(value), repr(value) if isinstance(value, float) else value


def _changed(calls: Iterable[Call]) -> set[int]:
    """The memory that some call changes in place."""
    return {storage(each) for call in calls if call.changes for each in call.taken}


def _unchanged(
    calls: Sequence[Call], outputs: Sequence[Tensor]
) -> tuple[list[Call], list[Tensor]]:
    """The calls with a new result for each change in place of what is changed as a whole."""
    simple = _changed_as_a_whole(calls)
    latest: dict[int, Tensor] = {}
    kept = []
    for call in calls:
        memory = storage(call.made[0]) if call.made else 0
        now = {id(e): latest[storage(e)] for e in call.taken if storage(e) in latest}
        if memory in simple and call.base is not None and not call.changes:
            continue  # another name of the same
        func = _pure(call.func) if memory in simple and call.changes else call.func
        args, kwargs = swapped(call.args, now), swapped(call.kwargs, now)
        out = call.out
        if memory in simple:
            out = latest[memory] = torch.empty_like(call.made[0])
        kept.append(Call(func, args, kwargs, out, now.get(id(call.base), call.base)))
    return kept, [latest.get(storage(each), each) for each in outputs]


def _changed_as_a_whole(calls: Sequence[Call]) -> set[int]:
    """Memory that holds one tensor alone, made by a call and changed by calls that have a twin."""
    found = _changed(call for call in calls if call.changes)
    for call in calls:
        for each in (*call.taken, *call.made):
            if storage(each) in found and each.nbytes != each.untyped_storage().nbytes():
                found.discard(storage(each))
        if call.changes and not _has_twin(call):
            found -= {storage(each) for each in call.taken}
    made = {storage(e) for c in calls if not c.changes and c.base is None for e in c.made}
    return found & made


def _has_twin(call: Call) -> bool:
    """Whether there is an operation that gives what this one leaves in its first argument."""
    target = call.args[0] if call.args else None
    alike = isinstance(target, Tensor) and all(e.dtype == target.dtype for e in call.taken)
    return alike and len(call.made) == 1 and _pure(call.func) is not None


def _pure(func: Any) -> Any:
    name = func.overloadpacket.__name__
    packet = getattr(ATEN, name[:-1], None) if name.endswith("_") else None
    return getattr(packet, func._overloadname, None)


def _graph(calls: Sequence[Call], outputs: Sequence[Tensor]) -> list[Node]:
    """The calls, long sums as one node each, and which of them wait for which.

    What touches memory that is changed in place stays in the order it was in.
    """
    changed = _changed(calls)
    nodes = _nodes(calls, outputs, changed)
    maker: dict[int, Node] = {}
    serial = None
    for node in nodes:
        node.before = [maker[id(each)] for each in node.taken if id(each) in maker]
        if _touches(node.call, changed):
            node.before += [serial] if serial is not None else []
            serial = node
        maker |= {id(each): node for each in node.call.made}
    return nodes


def _touches(call: Call, memory: set[int]) -> bool:
    return bool(memory) and any(storage(e) in memory for e in (*call.taken, *call.made))


def _nodes(calls: Sequence[Call], outputs: Sequence[Tensor], changed: set[int]) -> list[Node]:
    """The calls one by one, but for those that make up a long sum."""
    uses = Counter(id(each) for call in calls for each in call.taken)
    uses.update(id(each) for each in outputs)
    inner = {
        id(call.made[0]): call
        for call in calls
        if len(call.made) == 1 and uses[id(call.made[0])] == 1 and not _touches(call, changed)
    }
    inside: set[int] = set()
    nodes = []
    for call in reversed(calls):
        if id(call) in inside:
            continue
        nodes.append(Node(call))
        if _adds(call) and not _touches(call, changed):
            summed, own = _summed(call, inner)
            if len(summed.taken) >= FEWEST:
                nodes[-1] = summed
                inside |= own
    return nodes[::-1]


def _summed(last: Call, inner: dict[int, Call]) -> tuple[Node, set[int]]:
    """The sum that ends in a call of ``add``, and the calls that it stands for.

    Args:
        last: The call.
        inner: By its result: a call whose result is taken once.
    """
    node, own, waiting = Node(last), {id(last)}, [*last.taken]
    while waiting:
        each = waiting.pop()
        call = inner.get(id(each))
        if call is not None and _adds(call):
            own.add(id(call))
            waiting += call.taken
        elif call is not None and call.func is ATEN.select_backward.default:
            own.add(id(call))
            put, shape, dim, index = call.args
            where = tuple(shape), dim % len(shape)
            node.scattered.setdefault(where, []).append((index, put))
        else:
            node.terms.append(each)
    node.terms.reverse()
    return node, own


def _adds(call: Call) -> bool:
    """Whether a call adds two tensors of one shape."""
    if call.func is not ATEN.add.Tensor or call.kwargs or len(call.taken) < 2:
        return False
    form = call.made[0].shape, call.made[0].dtype
    return all((each.shape, each.dtype) == form for each in call.taken)


def _in_turn(nodes: Sequence[Node]) -> Iterator[list[Node]]:
    """The nodes in an order to do them: those that can be done at one time together.

    A kind of which none waits for another of the kind is done when all of it can be; the others
    when they can be. Where all wait, the kind goes ahead of which most can be done.
    """
    kind = _kinds(nodes)
    members = Counter(kind.values())
    patient = set(members) - _waiting_for_their_kind(nodes, kind)
    lacking = {id(node): len({id(each) for each in node.before}) for node in nodes}
    after = _after(nodes)
    ready: dict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        if not lacking[id(node)]:
            ready[kind[id(node)]].append(node)
    while ready:
        some = [each for each in ready if each not in patient or len(ready[each]) == members[each]]
        some = some or [max(ready, key=lambda each: len(ready[each]))]
        turn = [node for each in some for node in ready.pop(each)]
        yield turn
        for node in turn:
            members[kind[id(node)]] -= 1
            for each in after[id(node)]:
                lacking[id(each)] -= 1
                if not lacking[id(each)]:
                    ready[kind[id(each)]].append(each)


def _after(nodes: Sequence[Node]) -> dict[int, list[Node]]:
    """By node: those that wait for it, each once."""
    after: dict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        for each in {id(before) for before in node.before}:
            after[each].append(node)
    return after


def _kinds(nodes: Sequence[Node]) -> dict[int, int]:
    """By node: a number, the same for those of the same operation, shapes and neighbourhood."""
    after = _after(nodes)
    numbers: dict[Any, int] = {}
    kind = {
        id(node): numbers.setdefault(
            (node.call.func, node.is_sum, *(tuple(each.shape) for each in node.call.taken)),
            len(numbers),
        )
        for node in nodes
    }
    for _ in range(NEIGHBOURHOOD):
        numbers, former = {}, kind
        kind = {}
        for node in nodes:
            before = () if node.is_sum else tuple(former[id(each)] for each in node.before)
            behind = tuple(sorted({former[id(each)] for each in after[id(node)]}))
            form = former[id(node)], before, behind
            kind[id(node)] = numbers.setdefault(form, len(numbers))
    return kind


def _waiting_for_their_kind(nodes: Sequence[Node], kind: dict[int, int]) -> set[int]:
    """The kinds of which one waits for another, however many others lie between."""
    ahead: dict[int, int] = {}  # by node: the kinds that it waits for, as bits of a number
    found = set()
    for node in nodes:
        kinds = 0
        for each in node.before:
            kinds |= ahead[id(each)] | 1 << kind[id(each)]
        ahead[id(node)] = kinds
        if kinds >> kind[id(node)] & 1:
            found.add(kind[id(node)])
    return found
