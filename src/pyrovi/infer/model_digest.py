"""Whether a model is the one that was fitted: what its sites say at a few points.

No file can hold a model. Its densities at fixed points tell any other prior, likelihood or formula
from those of the fit, whichever way they were changed.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from pyrovi.bound import Replacement
from pyrovi.density import LogDensity
from pyrovi.errors import TreeError

ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-2}  # relative: sums differ between machines
TOLD_APART = "log_prior:", "log_likelihood:"


def densities(density: LogDensity) -> dict[str, list[float]]:
    """The log density of each site, and of all together, at two points of the flat space."""
    steps = torch.arange(1.0, density.dim + 1, dtype=torch.float64)
    terms = density.explain(torch.stack([(steps * k).sin() / 2 for k in (1.0, 2.0)]))
    kept = {n: v for n, v in terms.items() if n == "log_joint" or n.startswith(TOLD_APART)}
    return {n: v.detach().reshape(len(v), -1).sum(1).tolist() for n, v in kept.items()}


def check_densities(fitted: Mapping[str, Sequence[float]], density: LogDensity) -> None:
    """Raise a `TreeError` unless the model is the one that had these `densities`."""
    now, tolerance = densities(density), ROUNDING[density.model.dtype]
    other = [
        name.partition(":")[2] or "the joint density"
        for name in sorted({*fitted, *now}, key=lambda name: name == "log_joint")
        if not _same(fitted.get(name), now.get(name), tolerance)
    ]
    if other:
        raise TreeError(
            f"The fit is of another model than this one, {density.model.name!r}: the density of "
            f"{other[0]} is not what it was. Bring the model as it was fitted, with its priors."
        )


def _same(one: Sequence[float] | None, other: Sequence[float] | None, tolerance: float) -> bool:
    if one is None or other is None:
        return False
    return np.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)


def check_replaced(fitted: Sequence[Mapping[str, str]], now: Sequence[Replacement]) -> None:
    """Raise a `TreeError` unless the same sites have other distributions than the model's own."""
    were = {each["site"]: each["now"] for each in fitted}
    lacking = [site for site in were if site not in {each.site for each in now}]
    more = [each for each in now if each.site not in were]
    if lacking:
        told = "; ".join(f"{site}: {were[site]}" for site in lacking)
        raise TreeError(
            f"The fit was made with other distributions than the model's own ({told}). Give them "
            "again: Fit.open(folder, model, data, priors={...}), or pyrovi.with_likelihood."
        )
    if more:
        raise TreeError(
            f"The fit was made with the model's own distribution of {more[0].site!r}, and "
            f"{more[0].now} came for it. Leave it out."
        )
