"""Data for the mixture: drawn from the prior, of a table, and real; they come standardised."""

from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from pyrovi.errors import DataError
from pyrovi.models.entry import run_forward, variant_named
from pyrovi.models.gaussian_mixture.model import DIMS, FORMS, MOST_COMPONENTS
from pyrovi.models.options import number, one_of, whole_number
from pyrovi.models.tables import LARGEST, Names, Table, standardise_columns
from pyrovi.seeds import check_seed, stream
from pyrovi.tree import data_tree, held


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
    y, scale = torch.zeros(n, D, dtype=torch.float64), torch.tensor(spread, dtype=torch.float64)
    seed = stream(check_seed(seed), "gaussian_mixture", variant)
    form = variant_named(variant, FORMS)
    drawn = run_forward(form, seed, {"y": y, "components": K, "spread": scale})
    y = drawn.pop("y")
    plates = dict.fromkeys(drawn, ("component",)) | {"weight": (), "assignment": ("observation",)}
    truth = {name: (plates[name] + DIMS.get(name, ()), value) for name, value in drawn.items()}
    return data_tree(
        observed={"y": (("observation", "dimension"), y)},
        constant={"components": K, "spread": spread},
        truth=truth,
    )


def read(
    frame: pd.DataFrame,
    *,
    components: Any,
    columns: Names | None = None,
    spread: Annotated[float, number(1 / LARGEST, LARGEST)] = 1.0,
    standardised: Annotated[str, one_of(("each", "centred"))] = "each",
) -> xr.DataTree:
    """The data of any table whose rows are observations; each dimension is standardised.

    Args:
        frame: The table. Every cell of the columns is a number.
        components: How many, at most one for each row.
        columns: The dimensions; all columns if not given.
        spread: Prior standard deviation of the locations, in the units of the dimensions.
        standardised: ``each`` dimension, since the priors are for that; or ``centred``, where
            the units are to stay, as the variant ``unit`` may want it.

    Raises:
        DataError: If the table does not hold what is asked of it (the message says where), or has
            fewer rows than components: the model can do that, and a person hardly means it.

    >>> frame = pd.DataFrame({"length": [1.0, 2.0, 6.0], "width": [0.0, 3.0, 0.0]})
    >>> read(frame, components=2)["observed_data"]["y"].attrs["centre"]
    [3.0, 1.0]
    """
    table = Table.of(frame, each="observation")
    chosen = table.chosen(columns)
    if not chosen:
        raise DataError(f"Expected the names of columns, and none came. There is: {table.listed}.")
    x = table.predictors(chosen, "columns")
    count = whole_number("components", components, most=min(MOST_COMPONENTS, len(frame)))
    about = standardise_columns(x).about
    if standardised == "centred":
        about = {"centre": about["centre"], "unit": [1.0] * len(chosen)}
    y = (x - about["centre"]) / about["unit"]
    return data_tree(
        observed={"y": (("observation", "dimension"), y, about)},
        constant={"components": count, "spread": spread},
        coords={"dimension": chosen},
    )


def read_new(frame: pd.DataFrame, fitted: xr.DataTree, **_options: Any) -> xr.DataTree:
    """New observations, in the units of the ``fitted`` ones."""
    given = held(fitted, "observed_data")["y"]
    y = Table.of(frame, each="observation", fewest=1).as_fitted(given)
    return data_tree(observed={"y": (("observation", "dimension"), y)})


def iris() -> xr.DataTree:
    """Fisher's irises, standardised: 150 flowers, 4 lengths; ``truth`` holds the species."""
    from sklearn.datasets import load_iris

    return _classified(load_iris(), "species")


def wine() -> xr.DataTree:
    """Forina's wines, standardised: 178 wines, 13 assays; ``truth`` holds the cultivar."""
    from sklearn.datasets import load_wine

    return _classified(load_wine(), "cultivar")


def _classified(bunch: Any, label: str) -> xr.DataTree:
    kind = np.asarray(bunch.target_names)[bunch.target].astype(str)
    names = [name.removesuffix(" (cm)") for name in bunch.feature_names]
    y, *_ = scaled = standardise_columns(bunch.data)
    about = {**scaled.about, "comment": "each dimension standardised"}
    return data_tree(
        observed={"y": (("observation", "dimension"), y, about)},
        constant={"components": len(bunch.target_names), "spread": 1.0},
        coords={"dimension": names},
        truth={label: ("observation", kind)},
    )
