"""Data for a network: drawn from the prior, of a table, and real; they come standardised."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from pyrovi.errors import DataError
from pyrovi.models.bayesian_neural_network.model import FORMS, WIDEST, WIDTH
from pyrovi.models.bayesian_neural_network.outcome import classes_of, numbers_of
from pyrovi.models.entry import run_forward, variant_named
from pyrovi.models.options import whole
from pyrovi.models.tables import Names, Table, standardise, standardise_columns
from pyrovi.seeds import check_seed, stream
from pyrovi.tree import MISSING, data_tree


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


DIGITS_WIDTH = 16

Width = Annotated[int, whole(most=WIDEST)]


def read(
    frame: pd.DataFrame, *, outcome: str, covariates: Names | None = None, width: Width = WIDTH
) -> xr.DataTree:
    """The data of any table with a number to predict; covariates and outcome are standardised.

    Args:
        frame: The table. A row whose outcome is empty is predicted.
        outcome: The column to predict.
        covariates: The columns to predict from; all others if not given.
        width: Units of each hidden layer.

    Raises:
        DataError: If the table does not hold what is asked of it; the message says where.

    >>> frame = pd.DataFrame({"age": [1.0, 2.0, 3.0], "price": [5.0, 4.0, 0.0]})
    >>> read(frame, outcome="price")["observed_data"]["outcome"].attrs["centre"]
    3.0
    """
    table, names = _columns(frame, outcome, covariates)
    scaled = standardise(numbers_of(table, outcome))
    about = {**scaled.about, "long_name": outcome}
    return _tree(table.predictors(names), names, (scaled.z, about), width=width)


def read_classes(
    frame: pd.DataFrame, *, outcome: str, covariates: Names | None = None, width: Width = WIDTH
) -> xr.DataTree:
    """As `read`, for an outcome that names a class; the classes are numbered in sorted order.

    Raises:
        DataError: If the table does not hold what is asked of it; the message says where.
    """
    table, names = _columns(frame, outcome, covariates)
    index, classes = classes_of(table, outcome)
    x, about = table.predictors(names), {"long_name": outcome}
    return _tree(x, names, (index, about), width=width, classes=classes)


def _columns(
    frame: pd.DataFrame, outcome: str, covariates: Names | None
) -> tuple[Table, list[str]]:
    """The table, and the covariates: all other columns unless they are named."""
    table = Table.of(frame, each="case")
    others = [name for name in table.names if name != outcome]
    chosen = others if covariates is None else table.named(covariates)
    table.require([outcome, *chosen])
    if not chosen:
        raise DataError("The table has no column to predict from: the outcome is all there is.")
    return table, chosen


def _tree(
    x: np.ndarray,
    covariates: Sequence[str],
    outcome: tuple[np.ndarray, Mapping[str, Any]],
    *,
    width: int,
    classes: Sequence[str] = (),
) -> xr.DataTree:
    values, about = outcome
    missing = {MISSING: 1} if np.isnan(values).any() else {}
    scaled = standardise_columns(x)
    sizes = {"width": width, **({"classes": len(classes)} if classes else {})}
    return data_tree(
        observed={"outcome": ("row", values, {**about, **missing})},
        constant={"x": (("row", "covariate"), scaled.z, scaled.about), **sizes},
        coords={"covariate": list(covariates), **({"class": list(classes)} if classes else {})},
    )


def diabetes() -> xr.DataTree:
    """Efron's diabetics: the disease's progression in a year, of 442, from 10 measurements."""
    from sklearn.datasets import load_diabetes

    bunch: Any = load_diabetes(as_frame=True, scaled=False)
    return read(bunch.frame, outcome="target")


def breast_cancer() -> xr.DataTree:
    """Wolberg's breast tumours, malignant or benign: 569, from 30 measurements of the cells."""
    from sklearn.datasets import load_breast_cancer

    return _classified(load_breast_cancer(), width=WIDTH)


def digits() -> xr.DataTree:
    """Alpaydin's handwritten digits, 8 x 8 pixels: 1797, of 10 classes; blank pixels left out."""
    from sklearn.datasets import load_digits

    return _classified(load_digits(), width=DIGITS_WIDTH)


def _classified(bunch: Any, *, width: int) -> xr.DataTree:
    varies = np.ptp(bunch.data, axis=0) > 0
    covariates = [str(n) for n, kept in zip(bunch.feature_names, varies, strict=True) if kept]
    names = [str(name) for name in bunch.target_names]
    outcome = (np.asarray(bunch.target), {"long_name": "class"})
    return _tree(bunch.data[:, varies], covariates, outcome, width=width, classes=names)
