"""Labels that have no meaning of their own, made to agree across draws and chains."""

from collections.abc import Mapping

import numpy as np

from pyrovi.bound import BoundModel
from pyrovi.posterior.chain import Arrays
from pyrovi.structure import Exchangeable

ROUNDS = 5
FEATURE_LIMIT = 10.0  # interquartile ranges; features beyond it are taken to be there


def relabelled(
    stacked: dict[str, Arrays], model: BoundModel, symmetry: Exchangeable
) -> dict[str, Arrays]:
    """Permute one plate's indices, draw by draw, so that all draws speak of the same components.

    Each draw is matched to the running mean of those already matched, by the permutation with
    the least squared distance (Stephens 2000, https://doi.org/10.1111/1467-9868.00265).
    """
    posterior = stacked["posterior"]
    axes = {
        site.name: site.dims.index(symmetry.plate)
        for site in model.sites
        if site.name in posterior and symmetry.plate in site.dims
    }
    # By what is latent alone: the states that chains went to hold nothing that is computed.
    latent = {site.name: axes[site.name] for site in model.latent if site.name in axes}
    if not latent:
        return stacked
    scale = _scale(posterior, latent)
    start = int(stacked["sample_stats"]["log_joint"].argmax())
    reference, order = _matching(_features(posterior, latent, scale), start)
    moved = _permuted(posterior, order, axes)
    moved |= {name: _renamed(moved[name], order) for name in symmetry.labels if name in moved}
    groups = stacked | {"posterior": moved, "unconstrained_posterior": {}}
    if "drift" in stacked:
        groups["drift"] = _states(stacked["drift"], axes, latent, scale, reference)
    return groups


def _states(
    drift: Arrays,
    axes: Mapping[str, int],
    latent: Mapping[str, int],
    scale: tuple[np.ndarray, np.ndarray],
    reference: np.ndarray,
) -> Arrays:
    """The same of the states that chains went to, whose axis stands behind the draw's."""
    states = {name: value for name, value in drift.items() if name in axes}
    flat = {n: v.reshape(len(v), -1, *v.shape[3:]) for n, v in states.items()}
    order = _assigned(_features(flat, latent, scale), reference)
    moved = _permuted(flat, order, axes)
    return drift | {name: value.reshape(states[name].shape) for name, value in moved.items()}


def _renamed(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Labels, ``(chain, draw, ...)``, that name each component by its new place."""
    ranks = np.argsort(order, axis=-1)
    flat = labels.reshape(len(ranks), -1)
    return np.take_along_axis(ranks, flat, axis=1).reshape(labels.shape)


def _permuted(values: Arrays, order: np.ndarray, axes: Mapping[str, int]) -> Arrays:
    return {
        name: _permute(value, order, axes[name]) if name in axes else value
        for name, value in values.items()
    }


def _permute(value: np.ndarray, order: np.ndarray, axis: int) -> np.ndarray:
    moved = np.moveaxis(value, 2 + axis, 2)
    index = order.reshape(*value.shape[:2], -1, *(1,) * (moved.ndim - 3))
    return np.moveaxis(np.take_along_axis(moved, index, axis=2), 2, 2 + axis)


def _columns(posterior: Arrays, axes: Mapping[str, int]) -> np.ndarray:
    """What tells components apart: ``(draw, component, feature)``."""
    floats = [n for n in axes if n in posterior and posterior[n].dtype.kind == "f"]
    values = [np.moveaxis(posterior[name], 2 + axes[name], 2) for name in floats]
    flat = [v.reshape(v.shape[0] * v.shape[1], v.shape[2], -1) for v in values]
    return np.concatenate(flat, axis=-1)


def _scale(posterior: Arrays, axes: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """The middle and the width of each feature, by quartiles: a few wild draws decide nothing."""
    low, middle, high = np.quantile(_columns(posterior, axes), [0.25, 0.5, 0.75], axis=(0, 1))
    return middle, high - low + 1e-12


def _features(
    posterior: Arrays, axes: Mapping[str, int], scale: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """What tells components apart, each on its own scale and bounded."""
    middle, width = scale
    standard = (_columns(posterior, axes) - middle) / width
    return np.clip(standard, -FEATURE_LIMIT, FEATURE_LIMIT)


def _matching(features: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """The running mean of matched components, and which of each draw's stands at each place."""
    count = features.shape[1]
    first = features[start]
    reference = first[np.lexsort(first.T[::-1])]  # by the first feature, so that places are stable
    order = np.tile(np.arange(count), (len(features), 1))
    for _ in range(ROUNDS):
        matched = _assigned(features, reference)
        if np.array_equal(matched, order):
            break
        order = matched
        reference = np.take_along_axis(features, order[..., None], axis=1).mean(0)
    return reference, order


def _assigned(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Which component of each draw is nearest to each of the reference, one to one."""
    from scipy.optimize import linear_sum_assignment  # which most models have no use for

    cost = np.square(reference[None, :, None] - features[:, None]).sum(-1)
    return np.stack([linear_sum_assignment(each)[1] for each in cost])
