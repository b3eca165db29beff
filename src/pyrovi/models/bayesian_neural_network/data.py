"""Data for a network: drawn from the prior, of a table, and real; they come standardised."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Bool, Float, Num

from pyrovi.errors import DataError
from pyrovi.models.bayesian_neural_network.model import FORMS, WIDEST, WIDTH
from pyrovi.models.entry import run_forward, variant_named
from pyrovi.models.options import whole
from pyrovi.models.tables import (
    FEWEST_ROWS,
    Names,
    Table,
    parsed,
    same_in_every_row,
    standardise,
    standardise_columns,
)
from pyrovi.seeds import check_seed, stream
from pyrovi.tree import MISSING, data_tree, held

NO_CLASS = ("", "na", "nan")  # "none" may be a class: of a headache, say
MOST_NUMBERED, MOST_CLASSES = 30, 200  # classes: digits are numbers, years are no classes
FEW_CLASSES = 10  # more than these, in fewer than two rows each, are names and no classes


def simulate(
    seed: int | None = None,
    *,
    n: int = 60,
    covariates: int = 2,
    width: int = 5,
    classes: int = 3,
    variant: str = "regression",
) -> xr.DataTree:
    """A network drawn from the prior, seen with its noise in ``n`` rows of normal covariates.

    ``classes`` are for the variant ``classification``.

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
    hidden = [f"unit_{layer}" for layer in (1, 2) if f"weight_{layer + 1}" in drawn]
    units = ["covariate", *hidden, "class" if labelled else "output"]
    dims = {"mean": ("row",), "sd": ("row",), "noise": (), "probability": ("row", "class")}
    for layer, (below, own) in enumerate(pairwise(units), 1):
        dims |= {f"weight_{layer}": (own, below), f"bias_{layer}": (own,)}
    return data_tree(
        observed={"outcome": ("row", outcome)},
        constant={"x": (("row", "covariate"), x), **sizes},
        truth={name: (dims[name], value) for name, value in drawn.items()},
    )


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
    scaled = standardise(_numbers(table, outcome))
    about = {**scaled.about, "long_name": outcome}
    return _tree(table.predictors(names), names, (scaled.z, about), width=width)


def read_classes(
    frame: pd.DataFrame, *, outcome: str, covariates: Names | None = None, width: Width = WIDTH
) -> xr.DataTree:
    """As `read`, for an outcome that names a class; the classes are numbered in sorted order."""
    table, names = _columns(frame, outcome, covariates)
    index, classes = _classes(table, outcome)
    x, about = table.predictors(names), {"long_name": outcome}
    return _tree(x, names, (index, about), width=width, classes=classes)


def read_new(frame: pd.DataFrame, fitted: xr.DataTree, **_options: Any) -> xr.DataTree:
    """New rows by the names of the ``fitted`` covariates, in their units."""
    given = held(fitted, "constant_data")["x"]
    x = Table.of(frame, each="case", fewest=1).as_fitted(given)
    return data_tree(observed={}, constant={"x": (("row", "covariate"), x)})


def _columns(
    frame: pd.DataFrame, outcome: str, covariates: Names | None
) -> tuple[Table, list[str]]:
    """The table, and the covariates: all other columns unless they are named."""
    table = Table.of(frame, each="case")
    chosen = table.chosen(covariates, [outcome])
    if not chosen:
        raise DataError("The table has no column to predict from: the outcome is all there is.")
    return table, chosen


def _numbers(table: Table, name: str) -> Float[np.ndarray, "row"]:
    """The outcome as numbers, NaN where it is to be predicted."""
    values = table.numbers(name, missing=True, advice="fit classes: --variant classification")
    _refuse_unseen(name, np.isfinite(values))
    if same_in_every_row(values):
        raise DataError(
            f"Column {name!r} is {np.nanmin(values):g} in every row, so there is nothing to "
            "explain. Name another as outcome."
        )
    return values


def _classes(table: Table, name: str) -> tuple[Num[np.ndarray, "row"], list[str]]:
    """The index of each row's class, NaN where it is to be predicted; and the classes' names."""
    cells = table.column(name)
    labels = np.array([str(cell).strip() for cell in cells])
    named = np.array([label.lower() not in NO_CLASS for label in labels])
    seen = named & cells.notna().to_numpy(dtype=bool)
    _refuse_unseen(name, seen)
    classes, index = np.unique(labels[seen], return_inverse=True)
    _refuse_few_or_many(name, classes, int(seen.sum()))
    if seen.all():
        return index.astype(np.int64), classes.tolist()
    values = np.full(len(labels), np.nan)
    values[seen] = index
    return values, classes.tolist()


def _refuse_unseen(name: str, seen: Bool[np.ndarray, "row"]) -> None:
    if seen.sum() < FEWEST_ROWS:
        raise DataError(
            f"Column {name!r} has {int(seen.sum())} values in {len(seen)} rows. Rows without one "
            f"are predicted, and {FEWEST_ROWS} or more are needed to learn from."
        )


def _refuse_few_or_many(name: str, classes: np.ndarray, rows: int) -> None:
    if len(classes) < 2:
        raise DataError(
            f"Every row is of class {str(classes[0])!r}, so there is nothing to explain. "
            "Name another column as outcome."
        )
    numbers = np.isfinite(parsed(pd.Series(classes))).all()
    most = min(MOST_NUMBERED if numbers else MOST_CLASSES, max(FEW_CLASSES, rows // 2))
    if len(classes) > most or len(classes) == rows:
        what = "numbers" if numbers else "words"
        raise DataError(
            f"Column {name!r} has {len(classes)} classes of {what} in {rows} rows. "
            + ("To predict a number take the variant regression. " if numbers else "")
            + "Join classes, or name another column as outcome."
        )


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

    return _classified(load_digits(), width=16)


def _classified(bunch: Any, *, width: int) -> xr.DataTree:
    varies = np.ptp(bunch.data, axis=0) > 0
    covariates = [str(n) for n, kept in zip(bunch.feature_names, varies, strict=True) if kept]
    names = [str(name) for name in bunch.target_names]
    outcome = (np.asarray(bunch.target), {"long_name": "class"})
    return _tree(bunch.data[:, varies], covariates, outcome, width=width, classes=names)
