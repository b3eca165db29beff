"""Tables and real data for a network; they come standardised."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pandas as pd
import xarray as xr

from pyrovi.errors import DataError
from pyrovi.models.bayesian_neural_network.model import WIDEST, WIDTH
from pyrovi.models.bayesian_neural_network.outcome import classes_of, numbers_of
from pyrovi.models.options import Whole
from pyrovi.models.tables import Names, Table, standardise, standardise_columns
from pyrovi.tree import MISSING, data_tree

__all__ = ["breast_cancer", "diabetes", "digits", "read", "read_classes"]

DIGITS_WIDTH = 16

Width = Annotated[int, Whole(most=WIDEST)]


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
