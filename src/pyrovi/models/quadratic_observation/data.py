"""Worked examples and simulated data of the squared quantity; the numbers are made up."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr

from pyrovi.errors import DataError
from pyrovi.models.entry import run_forward
from pyrovi.models.quadratic_observation.model import NOISE_SCALE, PRIOR_SCALE, signed
from pyrovi.seeds import check_seed, stream
from pyrovi.tree import data_tree

TWO_MODES = (1.1, 2.6, 2.9, 1.4)  # mean 2.0: x is near -1.37 or 1.37
PEAK_AT_ZERO = (-1.3, 0.4, -0.9, -0.2)  # mean -0.5: no square is negative, so x is near zero


def simulate(
    seed: int | None = None,
    *,
    n: int = 4,
    prior_scale: float = PRIOR_SCALE,
    noise_scale: float = NOISE_SCALE,
) -> xr.DataTree:
    """``x`` drawn from the prior, and its square observed ``n`` times; with ``truth``.

    Args:
        seed: Of all random choices; a fresh one if missing.
        n: Observations.
        prior_scale: Standard deviation of the prior on x.
        noise_scale: Standard deviation of the noise, in the units of ``y``.

    Raises:
        DataError: If ``n`` is below one, or a scale is not above zero.
    """
    if n < 1 or not (prior_scale > 0 and noise_scale > 0):
        raise DataError(
            f"Observations of x^2 need n of at least 1 and scales above 0; {n=}, {prior_scale=}, "
            f"{noise_scale=} came."
        )
    arguments = {"y": torch.zeros(n, dtype=torch.float64), "prior_scale": prior_scale}
    arguments |= {"noise_scale": noise_scale}
    drawn = run_forward(signed, stream(check_seed(seed), "quadratic_observation"), arguments)
    return _data(drawn["y"], prior_scale, noise_scale, {"x": drawn["x"], "size": drawn["size"]})


def two_modes() -> xr.DataTree:
    """A worked example: four observations of mean 2, so that x is near -1.37 or 1.37."""
    return _data(np.array(TWO_MODES))


def peak_at_zero() -> xr.DataTree:
    """A worked example: four observations of mean -0.5, so that x is near zero."""
    return _data(np.array(PEAK_AT_ZERO))


def _data(
    y: np.ndarray,
    prior_scale: float = PRIOR_SCALE,
    noise_scale: float = NOISE_SCALE,
    truth: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    about = {"long_name": "the square of x, with noise", "comment": "made up, not measured"}
    return data_tree(
        observed={"y": ("observation", y, about)},
        constant={"prior_scale": prior_scale, "noise_scale": noise_scale},
        truth=truth,
    )
