"""Posterior moments from closed forms and quadrature, and what does not change with labels."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = [
    "Draws", "Moments", "beta", "gamma", "gaussian", "in_logs", "in_order", "on_grid", "outer",
    "pooled", "ridge", "weighted",
]  # fmt: skip

Moments = Mapping[str, tuple[Any, Any]]  # by site: means and standard deviations, flat or not
Draws = Mapping[str, np.ndarray]  # by site: (draw, *shape)


def gaussian(precision: Any, shift: Any) -> tuple[np.ndarray, np.ndarray]:
    """Of exp(-x'Px/2 + s'x)."""
    covariance = np.linalg.inv(np.asarray(precision, float))
    return covariance @ np.asarray(shift, float), np.sqrt(np.diag(covariance))


def ridge(X: Any, y: Any, prior: Any, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Weights of a linear regression: N(0, prior^2) before, noise known."""
    X, y = np.asarray(X, float), np.asarray(y, float)
    prior = np.broadcast_to(np.asarray(prior, float), X.shape[1:])
    return gaussian(X.T @ X / noise**2 + np.diag(prior**-2.0), X.T @ y / noise**2)


def pooled(y: Any, prior: float, noise: float = 1.0, loc: float = 0.0) -> tuple[float, float]:
    """The mean of normal numbers: N(loc, prior^2) before, noise known."""
    y = np.asarray(y, float) - loc
    mean, sd = ridge(np.ones((y.size, 1)), y.ravel(), prior, noise)
    return loc + mean[0], sd[0]


def beta(a: Any, b: Any) -> tuple[Any, Any]:
    a, b = np.asarray(a, float), np.asarray(b, float)
    return a / (a + b), np.sqrt(a * b / (a + b + 1)) / (a + b)


def gamma(shape: Any, rate: Any) -> tuple[Any, Any]:
    return shape / rate, np.sqrt(shape) / rate


def weighted(weights: Any, values: Any) -> tuple[float, float]:
    """Moments of values under weights that need not add up to one."""
    weights = np.asarray(weights) / np.sum(weights)
    mean = np.sum(weights * values)
    return float(mean), float(np.sqrt(np.sum(weights * (values - mean) ** 2)))


def on_grid(
    log_density: Callable[..., Any],
    quantities: Callable[..., Mapping[str, Any]] | None = None,
    /,
    **axes: tuple[float, float, int],
) -> Moments:
    """By quadrature on the midpoints of a grid: from, to and how many, by coordinate.

    Args:
        log_density: Of the mesh, a coordinate to an argument; up to a constant.
        quantities: Of the mesh, what is compared; the coordinates themselves if None.
        axes: The grid.
    """
    lines = [low + (np.arange(n) + 0.5) * (high - low) / n for low, high, n in axes.values()]
    mesh = np.meshgrid(*lines, indexing="ij")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        logs = log_density(*mesh)
    logs = np.where(np.isnan(logs), -np.inf, logs)
    weights = np.exp(logs - logs.max())
    found = quantities(*mesh) if quantities else dict(zip(axes, mesh, strict=True))
    return {name: weighted(weights, values) for name, values in found.items()}


# --- what stays when labels or signs are swapped ---------------------------------------------


def in_order(*sites: str) -> Callable[[Draws], Draws]:
    """The sites with their last axis in order of the first of them."""

    def compared(draws: Draws) -> Draws:
        order = np.argsort(draws[sites[0]], axis=-1)
        return {site: np.take_along_axis(draws[site], order, axis=-1) for site in sites}

    return compared


def outer(left: str, right: str | None = None) -> Callable[[Draws], Draws]:
    """Products summed over the last axis of (draw, row, factor): the same whatever the signs."""

    def compared(draws: Draws) -> Draws:
        a, b = draws[left], draws[right or left]
        return {"product": np.einsum("dif,djf->dij", a, b)}

    return compared


def in_logs(*sites: str) -> Callable[[Draws], Draws]:
    """Sites above zero, by their logs: of a Cauchy's tails no sd exists."""
    return lambda draws: {f"log {site}": np.log(np.abs(draws[site])) for site in sites}
