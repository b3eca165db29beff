"""Discrete sites summed out; a long chain of them in one stroke instead of one after another.

Pyro eliminates variables pair by pair, some thirty operations a step, which is right for any tree
of factors. Where the factors are a path, as a hidden Markov model's are, they are stacked and
neighbours are multiplied in pairs, all pairs at once: a parallel scan, as deep as the logarithm
of the length (Särkkä and García-Fernández 2021, https://arxiv.org/abs/2102.05743).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from opt_einsum import shared_intermediates
from pyro.infer.mcmc.util import TraceEinsumEvaluator
from pyro.ops.contract import contract_to_tensor
from pyro.ops.einsum import torch_log
from pyro.ops.rings import LogRing
from torch import Tensor

from pyrovi.bound import Trace

MANY_STEPS = 20  # below, Pyro's own way is as fast
SCANNED_ENTRIES = 20_000  # numbers at a point in all pairs at once; above, one step at a time


class Contraction(TraceEinsumEvaluator):
    """Pyro's sum over discrete sites, with chains of them contracted by `Paths`."""

    def log_prob(self, model_trace: Trace) -> Tensor:
        """The log density of a run, its enumerated sites summed out."""
        factors = self._get_log_factors(model_trace)
        with shared_intermediates() as cache:
            ring = Paths(cache=cache)
            return contract_to_tensor(factors, self._enum_dims, cache=cache, ring=ring)


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
        links: Between neighbours along the path, ``(link, *kept, state, state)``.
        constant: What hangs on no state, ``(*kept)``.
    """

    kept: str
    links: Tensor
    constant: Tensor

    def total(self) -> Tensor:
        """The log of the sum over all states, ``(*kept)``."""
        links = self.links
        scanned = links.numel() * links.shape[-1] / 2 <= SCANNED_ENTRIES
        product = _scanned(links) if scanned else _stepwise(links)
        return _log_sum(product.flatten(-2), -1) + self.constant


def _scanned(links: Tensor) -> Tensor:
    """The matrix product of all links, in logs; neighbours in pairs, and again."""
    while len(links) > 1:
        even = len(links) // 2 * 2
        pairs = links[0:even:2].unsqueeze(-1) + links[1:even:2].unsqueeze(-3)
        links = torch.cat([_log_sum(pairs, -2), links[even:]])
    return links[0]


def _stepwise(links: Tensor) -> Tensor:
    """Of the matrix product of all links, in logs, the sum over its rows, as one row."""
    first, *rest = links.unbind(0)
    ahead = _log_sum(first, -2)
    for link in rest:
        ahead = _log_sum(ahead.unsqueeze(-1) + link, -2)
    return ahead.unsqueeze(-2)


def _log_sum(terms: Tensor, dim: int) -> Tensor:
    """`logsumexp` whose gradient is finite where every term is minus infinity, as Pyro's is."""
    shift = terms.detach().amax(dim, keepdim=True).clamp(min=torch.finfo(terms.dtype).min)
    safe_log = torch_log.safe_log  # pyright: ignore[reportPrivateImportUsage]
    return safe_log((terms - shift).exp().sum(dim)) + shift.squeeze(dim)


def _path(terms: Sequence[Any], dims: frozenset[str]) -> Path | None:
    """The terms as a path of links, all of one number of states; None if they are not that."""
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

    pairs = list(pairwise(order))
    links = torch.stack([added(frozenset(pair), "".join(pair)) for pair in pairs])
    ends = torch.stack([added(frozenset(state), state) for state in order])
    links = links + ends[1:].unsqueeze(-2)
    links = torch.cat([links[:1] + ends[:1].unsqueeze(-1), links[1:]])
    return Path(kept, links, added(frozenset(), ""))


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
