"""Trees of every kind that a report may be asked for."""

import json
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.tree import data_tree, grow, safe_name
from trees import linear_gaussian_tree

PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><style>*{display:none}</style>",
    "</title><h1>taken over</h1>",
    "{{7*7}}{% raw %}",
    "javascript:alert(1)",
    "--><svg/onload=alert(1)>",
    "&lt;b&gt;&amp;",
    "' autofocus onfocus='alert(1)",
    "<a href='http://example.com'>x</a>",
    "$\\frac{1}{0$ and $_$",
    "]]><iframe src=//example.com>",
    "line\nbreak\ttab",
    "\N{RIGHT-TO-LEFT OVERRIDE}reversed",
    "\N{CJK UNIFIED IDEOGRAPH-6F22}\N{SAUROPOD}",
    "%s%n%x",
    "x" * 3000,
)
DIMS = ("chain", "draw")


def posterior(draws: int = 500, *, seed: int = 0, **shapes: tuple[int, ...]) -> xr.Dataset:
    """Standard normal draws of variables with these shapes."""
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {
            name: (
                (*DIMS, *(f"{name}_dim_{i}" for i in range(len(shape)))),
                rng.normal(size=(1, draws, *shape)),
            )
            for name, shape in shapes.items()
        }
    )


def bare_tree() -> xr.DataTree:
    """Draws from somewhere, and nothing else."""
    return grow(xr.DataTree(), posterior=posterior(a=(), b=(3,)))


def nuts_tree() -> xr.DataTree:
    """Two chains of dependent draws; no guide, no predictions."""
    rng = np.random.default_rng(0)
    draws = xr.Dataset({"a": (DIMS, rng.normal(size=(2, 400)))})
    stats = xr.Dataset({"diverging": (DIMS, rng.random((2, 400)) < 0.01)})
    stats.attrs = {"engine": "NUTS(warmup=500)", "model": "nuts_model"}
    return grow(data_tree({"y": 3.0}), posterior=draws, sample_stats=stats)


def predicted_tree(observed: Any, predicted: Any, **shapes: tuple[int, ...]) -> xr.DataTree:
    """A posterior with predictions (draw, ...) of one observed variable `y`."""
    observed, predicted = np.asarray(observed), np.asarray(predicted)
    tree = data_tree({"y": observed})
    dims = tree["observed_data"]["y"].dims
    return grow(
        tree,
        posterior=posterior(len(predicted), **(shapes or {"a": ()})),
        posterior_predictive=xr.Dataset({"y": ((*DIMS, *dims), predicted[None])}),
    )


def discrete_tree(size: int = 60) -> xr.DataTree:
    """A mixture's tree: an assignment for each observation, two features, a missing value."""
    rng = np.random.default_rng(0)
    observed = rng.normal(size=(size, 2))
    observed[3, 1] = np.nan
    tree = predicted_tree(observed, rng.normal(size=(200, size, 2)), loc=(3, 2), weights=(3,))
    kinds = rng.choice(3, size=(1, 200, size), p=[0.6, 0.3, 0.1])
    draws = tree["posterior"].to_dataset().assign(kind=((*DIMS, "i"), kinds))
    stats = xr.Dataset(attrs={"sites": json.dumps([{"name": "kind", "discrete": True}])})
    return grow(tree, posterior=draws, sample_stats=stats)


def counts_tree() -> xr.DataTree:
    rng = np.random.default_rng(0)
    return predicted_tree(rng.poisson(4.0, 80), rng.poisson(4.0, (200, 80)))


def binary_tree() -> xr.DataTree:
    rng = np.random.default_rng(0)
    p = rng.random(200)
    return predicted_tree(rng.random(200) < p, (rng.random((300, 200)) < p).astype(int))


def many_tree(size: int = 3000) -> xr.DataTree:
    return grow(xr.DataTree(), posterior=posterior(200, a=(), theta=(size,)))


def bad_tree() -> xr.DataTree:
    """A fit that is wrong in several ways, so that the verdict has much to say."""
    return linear_gaussian_tree(
        shift=3.0, scale=0.4, misfit=4.0, status="stopped", mean_field=True, chains=2, restarts=4
    )


def hostile_tree() -> xr.DataTree:
    """A complete tree in which every name and text that a user can choose is a payload."""
    tree = linear_gaussian_tree(draws=300)
    names = [safe_name(payload) for payload in PAYLOADS]
    rng = np.random.default_rng(0)
    size = len(PAYLOADS)
    draws = tree["posterior"].to_dataset()
    for i, name in enumerate(names[:10]):
        draws[name] = (DIMS, rng.normal(size=(1, 300)) + i)
    draws["vector"] = ((*DIMS, names[10]), rng.normal(size=(1, 300, size)))
    draws = draws.assign_coords({names[10]: list(PAYLOADS)})
    rename = {"y": names[1], "station": names[2]}
    groups = {
        group: tree[group].to_dataset().rename(rename)
        for group in ("observed_data", "posterior_predictive", "log_likelihood")
    }
    stats = tree["sample_stats"].to_dataset()
    sites = [
        {"name": p, "kind": p, "distribution": p, "support": p, "dims": [p], "shape": [1]}
        for p in PAYLOADS
    ]
    stats.attrs |= {
        "model": PAYLOADS[1],
        "engine": PAYLOADS[0],
        "engine_reason": PAYLOADS[2],
        "created": PAYLOADS[3],
        "status": PAYLOADS[6],
        "notes": json.dumps(PAYLOADS),
        "versions": json.dumps({p: p for p in PAYLOADS}),
        "sites": json.dumps(sites),
    }
    return grow(tree, posterior=draws, sample_stats=stats, **groups)


TREES = {
    "complete": linear_gaussian_tree,
    "bad": bad_tree,
    "bare": bare_tree,
    "nuts": nuts_tree,
    "discrete": discrete_tree,
    "counts": counts_tree,
    "binary": binary_tree,
    "many": many_tree,
    "hostile": hostile_tree,
}
