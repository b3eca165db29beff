"""Data of a mixture that is drawn from the prior."""

import torch
import xarray as xr

from pyrovi.errors import DataError
from pyrovi.models.entry import run_forward, variant_named
from pyrovi.models.gaussian_mixture.model import DIMS, FORMS
from pyrovi.seeds import check_seed, stream
from pyrovi.tree import data_tree

__all__ = ["simulate"]


def simulate(
    seed: int | None = None,
    *,
    K: int = 5,
    D: int = 2,
    n: int = 500,
    spread: float = 5.0,
    variant: str = "full",
) -> xr.DataTree:
    """A mixture with everything drawn from the prior, as in the reference's first study.

    Args:
        seed: Of all random choices; a fresh one if missing.
        K: Components.
        D: Dimensions.
        n: Observations.
        spread: Prior standard deviation of the locations.
        variant: The form of the model that is drawn from.

    Returns:
        ``y`` (observation, dimension), ``components``, ``spread``; and the drawn parameters and
        assignments as ``truth``.

    Raises:
        DataError: If a size is below one, or ``spread`` is not above zero.
    """
    whole = all(isinstance(size, int) for size in (K, D, n))
    if not whole or min(K, D, n) < 1 or not spread > 0:
        raise DataError(
            f"A mixture needs whole K, D, n of at least 1 and spread above 0; {K=}, {D=}, {n=}, "
            f"{spread=} came."
        )
    arguments = {
        "y": torch.zeros(n, D, dtype=torch.float64),
        "components": K,
        "spread": torch.tensor(spread, dtype=torch.float64),
    }
    seed = stream(check_seed(seed), "gaussian_mixture", variant)
    drawn = run_forward(variant_named(variant, FORMS), seed, arguments)
    y = drawn.pop("y")
    plates = dict.fromkeys(drawn, ("component",)) | {"weight": (), "assignment": ("observation",)}
    truth = {name: (plates[name] + DIMS.get(name, ()), value) for name, value in drawn.items()}
    return data_tree(
        observed={"y": (("observation", "dimension"), y)},
        constant={"components": K, "spread": spread},
        truth=truth,
    )
