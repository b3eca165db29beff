"""Data of a network that is drawn from the prior."""

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr

from pyrovi.errors import DataError
from pyrovi.models.bayesian_neural_network.model import FORMS
from pyrovi.models.entry import run_forward, variant_named
from pyrovi.seeds import check_seed, stream
from pyrovi.tree import data_tree

__all__ = ["simulate"]


def simulate(
    seed: int | None = None,
    *,
    n: int = 60,
    covariates: int = 2,
    width: int = 5,
    classes: int = 3,
    variant: str = "regression",
) -> xr.DataTree:
    """A network drawn from the prior, seen with its noise at covariates that are standard normal.

    Args:
        seed: Of all random choices; a fresh one if missing.
        n: Rows.
        covariates: How many.
        width: Units of each hidden layer.
        classes: How many, for ``classification``.
        variant: The form of the model that is drawn from.

    Returns:
        ``outcome`` (row), ``x`` (row, covariate), ``width``; and the drawn weights as ``truth``.

    Raises:
        DataError: If a size is below one.
    """
    if min(n, covariates, width, classes) < 1:
        raise DataError(
            f"A network needs n, covariates, width and classes of at least 1; {n=}, "
            f"{covariates=}, {width=}, {classes=} came."
        )
    seed = check_seed(seed)
    rng = np.random.default_rng(stream(seed, "bayesian_neural_network", "x"))
    x = rng.standard_normal((n, covariates))
    labelled = variant == "classification"
    blank = torch.zeros(n, dtype=torch.int64 if labelled else torch.float64)
    sizes = {"width": width, **({"classes": classes} if labelled else {})}
    arguments = {"outcome": blank, "x": torch.tensor(x), **sizes}
    model = variant_named(variant, FORMS)
    drawn = run_forward(model, stream(seed, "bayesian_neural_network", variant), arguments)
    outcome = drawn.pop("outcome")
    truth = {name: (_dims(name, drawn, labelled), value) for name, value in drawn.items()}
    return data_tree(
        observed={"outcome": ("row", outcome)},
        constant={"x": (("row", "covariate"), x), **sizes},
        truth=truth,
    )


def _dims(name: str, drawn: Mapping[str, np.ndarray], labelled: bool) -> tuple[str, ...]:
    """The dims of a site of `simulate`."""
    dims = {"mean": ("row",), "sd": ("row",), "noise": (), "probability": ("row", "class")}
    if name in dims:
        return dims[name]
    layer = int(name.rpartition("_")[2])
    top = "class" if labelled else "output"
    own = f"unit_{layer}" if f"weight_{layer + 1}" in drawn else top
    below = "covariate" if layer == 1 else f"unit_{layer - 1}"
    return (own, below) if name.startswith("weight") else (own,)
