"""Discrete sites summed out; a long chain of them in one stroke instead of one after another.

Pyro eliminates variables pair by pair, some thirty operations a step, which is right for any tree
of factors. Where the factors are a path, as a hidden Markov model's are, they are stacked and
neighbours are multiplied in pairs, all pairs at once: a parallel scan, as deep as the logarithm
of the length (Särkkä and García-Fernández 2021, https://arxiv.org/abs/2102.05743).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from opt_einsum import shared_intermediates
from pyro.infer.mcmc.util import TraceEinsumEvaluator
from pyro.ops import packed
from pyro.ops.contract import contract_to_tensor
from pyro.ops.einsum import torch_log
from pyro.ops.rings import LogRing
from torch import Tensor

from pyrovi.bound import Trace

MANY_STEPS = 20  # below, Pyro's own way is as fast
SCANNED_ENTRIES = 20_000  # numbers at a point in all pairs at once; above, one step at a time
TINY = 1e-300
FEWEST_LINKS = 8  # that are multiplied one after another


class NotAPathError(Exception):
    """The discrete sites are no path, or few."""


class Contraction(TraceEinsumEvaluator):
    """Pyro's sum over discrete sites, with chains of them contracted by `Paths`."""

    def log_prob(self, model_trace: Trace) -> Tensor:
        """The log density of a run, its enumerated sites summed out."""
        factors = self._get_log_factors(model_trace)
        with shared_intermediates() as cache:
            ring = Paths(cache=cache)
            return contract_to_tensor(factors, self._enum_dims, cache=cache, ring=ring)

    def chain_draw(self, model_trace: Trace) -> dict[str, Tensor] | None:
        """The states of each enumerated site, drawn given the data; None where they are no path.

        Filtered from the last to the first, and drawn from the first to the last, as they are
        counted in their supports, by site, ``(*batch)``.
        """
        factors = self._get_log_factors(model_trace)
        dims = frozenset(self._enum_dims)
        own = [terms for terms in factors.values() if any(dims & {*t._pyro_dims} for t in terms)]
        chain = _chain(own[0], dims) if len(own) == 1 and len(dims) >= MANY_STEPS else None
        if chain is None:
            return None
        drawn = dict(zip(chain.order, chain.drawn(), strict=True))
        return {
            name: packed.unpack(_packed(drawn[dim], chain.kept), model_trace.symbol_to_dim)
            for name, dim in _dims_of(model_trace, dims).items()
        }


def _dims_of(trace: Trace, dims: frozenset[str]) -> dict[str, str]:
    """The packed dim of each enumerated site."""
    nodes = (node for node in trace.nodes.values() if node["type"] == "sample")
    named = (
        (node["name"], infer["_dim_to_symbol"].get(infer["_enumerate_dim"]))
        for node in nodes
        if "_enumerate_dim" in (infer := node["infer"])
    )
    return {name: dim for name, dim in named if dim in dims}


def _packed(value: Tensor, dims: str) -> Tensor:
    packed_value: Any = value
    packed_value._pyro_dims = dims
    return value


class Paths(LogRing):
    """The log-sum-exp ring, which contracts factors that are a path in one stroke."""

    def sumproduct(self, terms: Sequence[Any], dims: Iterable[str]) -> Any:
        """The sum over ``dims`` of the product of all terms, in logs."""
        dims = frozenset(dims)
        path = _path(terms, dims) if len(dims) >= MANY_STEPS else None
        if path is None:
            return super().sumproduct(terms, dims)
        result: Any = path.total()
        result._pyro_dims = path.kept
        return result


@dataclass(frozen=True)
class Path:
    """Factors along a path.

    Attributes:
        kept: The dims that are not summed out.
        links: Between neighbours along the path, ``(*kept, state, state, link)``.
        halvings: How often half of them are multiplied by the other half, all at once; before
            each, the link at place i is followed along the path by that at i in the other half.
        constant: What hangs on no state, ``(*kept)``.
    """

    kept: str
    links: Tensor
    halvings: int
    constant: Tensor

    def total(self) -> Tensor:
        """The log of the sum over all states, ``(*kept)``."""
        return _log_sum(_stepwise(_halved(self.links, self.halvings)), -1) + self.constant


@dataclass(frozen=True)
class Chain:
    """Factors along a path in its order.

    Attributes:
        order: The dims of the states along it.
        kept: The dims that are not summed out.
        first: Of the first state, ``(*kept, state)``.
        links: From each state to the next, ``(*kept, state, state)``.
        ends: Of each state but the first, ``(*kept, state)``.
        constant: What hangs on no state, ``(*kept)``.
    """

    order: list[str]
    kept: str
    first: Tensor
    links: list[Tensor]
    ends: list[Tensor]
    constant: Tensor

    def drawn(self) -> list[Tensor]:
        """The states along the path, ``(*kept)`` each, drawn by their weights."""
        behind, following = [torch.zeros_like(self.first)], []
        for link, end in zip(reversed(self.links), reversed(self.ends), strict=True):
            following.append(link + (end + behind[-1]).unsqueeze(-2))
            behind.append(following[-1].logsumexp(-1))  # differentiated by nobody
        states = [_one_of(self.first + behind[-1])]
        for link in reversed(following):
            at = states[-1][..., None, None].expand(*link.shape[:-2], 1, link.shape[-1])
            states.append(_one_of(link.take_along_dim(at, -2).squeeze(-2)))
        return states


def _one_of(logits: Tensor) -> Tensor:
    """One of the last axis by its weight: the largest with noise of Gumbel's added."""
    noise = torch.rand(logits.shape, dtype=logits.dtype).clamp(min=TINY)
    return (logits - noise.log().neg().log()).argmax(-1)


def _halved(links: Tensor, halvings: int) -> Tensor:
    """Products of so many links that follow each other, in logs."""
    for _ in range(halvings):
        ahead, behind = links.chunk(2, -1)
        links = _log_sum(ahead.unsqueeze(-2) + behind.unsqueeze(-4), -3)
    return links


def _stepwise(links: Tensor) -> Tensor:
    """Of the matrix product of all links, in logs, the sum over its rows."""
    first, *rest = links.unbind(-1)
    ahead = _log_sum(first, -2)
    for link in rest:
        ahead = _log_sum(ahead.unsqueeze(-1) + link, -2)
    return ahead


def _arranged(count: int, entries: int) -> tuple[int, list[int]]:
    """How often links are to be halved, and in which order they lie for that.

    Numbers from ``count`` on stand for links that change nothing: halves are equally long.

    >>> _arranged(18, 100)
    (1, [0, 2, 4, 6, 8, 10, 12, 14, 16, 1, 3, 5, 7, 9, 11, 13, 15, 17])
    """
    halvings = max(0, int(math.log2(count / FEWEST_LINKS))) if entries <= SCANNED_ENTRIES else 0
    together = 2**halvings
    halves = torch.arange(-(-count // together) * together).reshape(-1, *[2] * halvings)
    return halvings, halves.permute(*range(halvings, -1, -1)).flatten().tolist()


def _log_sum(terms: Tensor, dim: int) -> Tensor:
    """`logsumexp` whose gradient is finite where every term is minus infinity, as Pyro's is."""
    shift = terms.detach().amax(dim, keepdim=True).clamp(min=torch.finfo(terms.dtype).min)
    safe_log = torch_log.safe_log  # pyright: ignore[reportPrivateImportUsage]
    return safe_log((terms - shift).exp().sum(dim)) + shift.squeeze(dim)


def _chain(terms: Sequence[Any], dims: frozenset[str]) -> Chain | None:
    """The terms as a path, all of one number of states; None if they are not that."""
    by_states: dict[frozenset[str], list[Tensor]] = defaultdict(list)
    for term in terms:
        by_states[dims & frozenset(term._pyro_dims)].append(term)
    order = _in_order([states for states in by_states if len(states) > 1], dims)
    sizes = {d: n for term in terms for d, n in zip(term._pyro_dims, term.shape, strict=True)}
    if order is None or len({sizes[dim] for dim in dims}) > 1:
        return None
    kept = "".join(sorted(set(sizes) - dims))
    shape = [sizes[dim] for dim in kept]

    def added(states: frozenset[str], axes: str) -> Tensor:
        """All terms that hang on these states, as ``(*kept, *axes)``."""
        aligned = [_aligned(term, kept + axes) for term in by_states.get(states, [])]
        return sum(aligned, torch.zeros([*shape, *(sizes[each] for each in axes)]))

    return Chain(
        order,
        kept,
        added(frozenset(order[:1]), order[0]),
        [added(frozenset(pair), "".join(pair)) for pair in pairwise(order)],
        [added(frozenset(state), state) for state in order[1:]],
        added(frozenset(), ""),
    )


def _path(terms: Sequence[Any], dims: frozenset[str]) -> Path | None:
    """The terms as links in the order in which they are halved; None if they are no path."""
    chain = _chain(terms, dims)
    if chain is None:
        return None
    shape, states, count = chain.constant.shape, chain.first.shape[-1], len(chain.links)
    halvings, places = _arranged(count, count * shape.numel() * states**3 // 2)
    lacking = max(places) + 1 - count
    nothing = torch.eye(states).log().expand(*shape, -1, -1)
    links = [*chain.links] + [nothing] * lacking
    ends = [*chain.ends] + [torch.zeros(*shape, states)] * lacking
    links[0] = links[0] + chain.first.unsqueeze(-1)
    # What is done to all alike lies side by side.
    stacked = torch.stack([links[i] for i in places]).movedim(0, -1).contiguous()
    behind = torch.stack([ends[i] for i in places]).movedim(0, -1).contiguous()
    stacked = stacked + behind.unsqueeze(-3)
    return Path(chain.kept, stacked, halvings, chain.constant)


def _in_order(pairs: Sequence[frozenset[str]], dims: frozenset[str]) -> list[str] | None:
    """The dims in their order along a path that has these pairs for its links, if it is one."""
    beside: dict[str, list[str]] = {dim: [] for dim in dims}
    for pair in pairs:
        if len(pair) > 2:
            return None
        one, other = pair
        beside[one].append(other)
        beside[other].append(one)
    ends = sorted(dim for dim, others in beside.items() if len(others) == 1)
    if len(ends) != 2 or any(len(others) > 2 for others in beside.values()):
        return None
    order = [ends[0]]
    while following := [each for each in beside[order[-1]] if each not in order[-2:]]:
        order += following
    return order if len(order) == len(dims) else None


def _aligned(term: Any, dims: str) -> Tensor:
    """A packed term with an axis for each of ``dims``, of length one where it has none."""
    own = term._pyro_dims
    permuted = term.permute([own.index(dim) for dim in dims if dim in own])
    sizes = dict(zip(own, term.shape, strict=True))
    return permuted.reshape([sizes.get(dim, 1) for dim in dims])
