"""What fits are held against: mean and standard deviation of each quantity, from elsewhere.

The shelf of the zoo keeps them as ``models/NAME/reference.json``: long runs of NUTS, quadrature,
closed forms. Any tree with a posterior will do as well.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from pyrovi.errors import DataError, TreeError
from pyrovi.models import ZooModel
from pyrovi.tree import labels, quantities, require

REPOSITORY, PACKAGE = Path(__file__).parents[3], Path(__file__).parents[1]
SHELF = PACKAGE / "shelf" if (PACKAGE / "shelf").is_dir() else REPOSITORY / "models"
"""The zoo's cards and references: a wheel has them in the package, beside the code."""
CHOLESKY = "_chol"
"""What the name of a Cholesky factor of correlations ends with; the rest names the matrix."""
FARTHEST = 5.0
"""Standard deviations; components of a mixture that are farther apart than this are apart."""


@dataclass(frozen=True)
class Reference:
    """Posterior means and standard deviations, by quantity.

    Attributes:
        mean: The means, by label as `pyrovi.tree.quantities` gives it; correlations of a matrix
            ``corr`` by ``corr[row:column]``.
        sd: The standard deviations, all above zero, of the same quantities.
        about: Where they come from, in a few words.
        data: The name of the zoo's data set that they were made from, if it was one.
    """

    mean: Mapping[str, float] = field(repr=False)
    sd: Mapping[str, float] = field(repr=False)
    about: str = "a reference"
    data: str = ""

    @staticmethod
    def open(path: str | Path, variant: str | None = None) -> "Reference":
        """Read a variant of a ``reference.json`` of the shelf; None for the first in the file.

        Raises:
            DataError: If the file is no reference, or has no such variant.
        """
        variants = _variants(Path(path))
        chosen = next(iter(variants)) if variant is None else variant
        if chosen not in variants:
            raise DataError(f"{path} has no variant {chosen!r}. It has: {', '.join(variants)}.")
        return variants[chosen]

    @staticmethod
    def of(tree: xr.DataTree, about: str = "a tree's posterior") -> "Reference":
        """The moments of the draws of a tree; `TreeError` if there are none, or none varies."""
        require(tree, "posterior")
        mean, sd = moments(with_correlations(tree["posterior"].to_dataset()))
        sd = {name: value for name, value in sd.items() if 0 < value < np.inf}
        if not sd:
            raise TreeError("No quantity of the tree's posterior varies, so nothing is a scale.")
        return Reference({name: mean[name] for name in sd}, sd, about)


def _variants(path: Path) -> dict[str, Reference]:
    """The variants of a ``reference.json``; `DataError` where it is none."""
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
        data = str(contents.get("data", ""))
        variants = {str(name): _read(each, data) for name, each in contents["variants"].items()}
    except OSError as error:
        raise DataError(f"Cannot read the reference {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            "Expected a reference.json of the shelf (variants, quantities, mean and sd), and "
            f"{path} is none."
        ) from error
    if not variants:
        raise DataError(f"The reference {path} has no variant.")
    return variants


def _read(variant: Mapping[str, Any], data: str) -> Reference:
    rows = variant["quantities"].items()
    mean, sd = ({name: float(row[of]) for name, row in rows} for of in ("mean", "sd"))
    sd = {name: value for name, value in sd.items() if value > 0}
    return Reference({n: mean[n] for n in sd}, sd, _about(variant.get("how", {})), data)


def _about(how: Mapping[str, Any]) -> str:
    if "chains" in how and "draws" in how:
        lacking = how.get("elsewhere", 0.0)
        more = f" within a mode that lacks {lacking:.1%} of the posterior" if lacking else ""
        return f"NUTS, {how['chains']} chains of {how['draws']} draws{more}"
    return str(how.get("method") or how.get("sampler") or "the shelf's reference")


def reference_of(
    entry: ZooModel, variant: str | None = None, data: str | None = None
) -> Reference | None:
    """What the shelf knows of a zoo entry's posterior; None where it has nothing.

    Args:
        entry: The entry, or one of its variants.
        variant: Which form of the model; None for the entry's own, or its default.
        data: The name of the data set; None for the default.

    Raises:
        UnknownModelError: If the entry has no such variant.
        DataError: If the file on the shelf is no reference.
    """
    name, _, own = entry.name.partition(":")
    variant = variant or own or next(iter(entry.variants), "")
    entry = entry.variant(variant) if not own else entry
    path = SHELF / name / "reference.json"
    reference = _variants(path).get(variant) if path.is_file() else None
    wanted = next(iter(entry.datasets), "") if data is None else data
    return reference if reference is not None and reference.data == wanted else None


def moments(posterior: xr.Dataset) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation of each continuous quantity; NaN where a draw is not finite."""
    mean: dict[str, float] = {}
    sd: dict[str, float] = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for label, values in quantities(posterior):
            if values.dtype.kind == "f":
                mean[label], sd[label] = float(values.mean()), float(values.std(ddof=1))
    return mean, sd


def with_correlations(posterior: xr.Dataset) -> xr.Dataset:
    """The posterior with the correlations of each Cholesky factor: ``corr[row:column]``."""
    own = {str(name).removesuffix(CHOLESKY): str(name) for name in posterior.data_vars}
    return posterior.assign(
        {
            name: _correlations(posterior[factor], factor)
            for name, factor in own.items()
            if name not in posterior and _is_square(posterior[factor])
        }
    )


def _is_square(factor: xr.DataArray) -> bool:
    return factor.ndim >= 4 and factor.shape[-1] == factor.shape[-2]


def _correlations(factor: xr.DataArray, name: str) -> xr.DataArray:
    below = np.tril_indices(factor.shape[-1], -1)
    ticks = factor[factor.dims[-2]].to_numpy()
    pairs = [f"{ticks[i]}:{ticks[j]}" for i, j in zip(*below, strict=True)]
    corr = np.einsum("...ik,...jk->...ij", factor.to_numpy(), factor.to_numpy())
    plates = {dim: factor[dim] for dim in factor.dims[2:-2] if dim in factor.coords}
    return xr.DataArray(
        corr[..., below[0], below[1]],
        dims=(*factor.dims[:-2], f"{name}_pair"),
        coords={f"{name}_pair": pairs, **plates},
    )


def aligned(
    posterior: xr.Dataset, plates: Sequence[str], reference: Reference
) -> dict[str, np.ndarray]:
    """For each plate whose indices have no meaning, the order that is nearest the reference.

    The labels of one index are matched to those of the reference by the permutation with the
    least squared distance of the means, in standard deviations of the reference, each bounded.
    """
    orders = {}
    for plate in plates:
        costs = [
            _cost(variable, str(name), plate, reference)
            for name, variable in posterior.data_vars.items()
            if plate in variable.dims and variable.dtype.kind == "f"
        ]
        if costs:
            orders[plate] = linear_sum_assignment(np.sum(costs, axis=0).T)[1]
    return orders


def _cost(variable: xr.DataArray, name: str, plate: str, reference: Reference) -> np.ndarray:
    """Squared distance of each of our indices (row) from each of the reference's (column)."""
    axis = [dim for dim in variable.dims if dim not in ("chain", "draw")].index(plate)
    ours = variable.mean(("chain", "draw"))
    names = np.array(labels(ours, name, sample=())).reshape(ours.shape)
    mean = np.vectorize(lambda label: reference.mean.get(label, np.nan))(names)
    sd = np.vectorize(lambda label: reference.sd.get(label, np.nan))(names)
    size = ours.sizes[plate]
    own, mean, sd = (
        np.moveaxis(np.asarray(each, dtype=float), axis, 0).reshape(size, -1)
        for each in (ours.to_numpy(), mean, sd)
    )
    z = (own[:, None] - mean[None]) / sd[None]
    return np.nansum(np.minimum(z**2, FARTHEST**2), axis=-1)
