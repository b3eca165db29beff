"""Do the draws stay where they are? Short Markov chains from some of them, held against all.

Hamiltonian transitions leave the posterior as it is: draws of it stay draws of it, and draws of
anything else drift towards it. Unlike importance weights, this judges each quantity by itself, in
any dimension. It detects; it does not repair: chains this short have not arrived. A mode that no
draw is near stays unseen.
"""

from functools import partial

import numpy as np
import xarray as xr

from pyrovi.diagnostics.findings import CANNOT_TELL, Row, of_differences, table
from pyrovi.diagnostics.quantities import blocks
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import Difference, first_case, limits, moved
from pyrovi.tree import (
    ACCEPTANCE,
    POINTS,
    SAMPLE_DIMS,
    draw_kind,
    json_attr,
    quantities,
    require,
)
from pyrovi.words import listed

TITLE = "Guide against posterior (drift)"
SOURCE = (
    "Neal (2011), arXiv:1206.1901; as a check of an approximation, compare Salimans, Kingma & "
    "Welling (2015), ICML"
)


def drift(tree: xr.DataTree) -> xr.Dataset:
    """Judge each quantity by how its draws differ from where Markov chains took some of them.

    Returns:
        Rows ``joint``, about the chains, and one per quantity, with its `shift` and `ratio` and
        their Monte Carlo errors, in standard deviations of what the chains came to.

    Raises:
        DiagnosticError: If no chains were run from the draws.
    """
    require(tree, "posterior")
    if "drift" not in tree:
        raise DiagnosticError("no Markov chains were sent out: the importance weights could tell")
    group = tree["drift"].to_dataset()
    act = _advice(tree)
    labels, differences = _differences(tree["posterior"].to_dataset(), group)
    far = [label for label, d in zip(labels, differences, strict=True) if d.status == "fail"]
    rows = [_chains(group[ACCEPTANCE].to_numpy(), far, act)]
    points = draw_kind(tree) == POINTS
    rows += [_judge(*each, act, points=points) for each in zip(labels, differences, strict=True)]
    extra = of_differences([None, *differences])
    return table(rows, check="drift", title=TITLE, source=SOURCE, about="fit", extra=extra)


def _differences(posterior: xr.Dataset, group: xr.Dataset) -> tuple[list[str], list[Difference]]:
    shared = [name for name in group.data_vars if name in posterior.data_vars]
    after = dict(quantities(group[shared], dims=(*SAMPLE_DIMS, "state")))
    names: list[str] = []
    differences: list[Difference] = []
    for labels, draws in blocks(posterior[shared]):
        kept = [i for i, label in enumerate(labels) if np.isfinite(after[label]).all()]
        chains = np.stack([after[labels[i]].astype(float) for i in kept], axis=-1)
        before = draws[..., kept].reshape(-1, len(kept))
        path = chains.reshape(-1, *chains.shape[2:])
        names += [labels[i] for i in kept]
        differences += moved(before, path[:, 0], path[:, 1:])
    return names, differences


def _advice(tree: xr.DataTree) -> str:
    """What to do next: the ladder of engines, unless it was climbed."""
    if json_attr(tree, "rungs", []):
        return "Compare with NUTS, or fit a flow (SVI(guide='nsf')), or reparameterise the model."
    return "Fit with engine='auto', or a flow, or compare with NUTS."


def _chains(acceptance: np.ndarray, far: list[str], act: str) -> Row:
    """How the chains moved, and what a quantity that is far off says of those that lean on it."""
    mean = float(acceptance.mean())
    status = limits.ACCEPTED.status(mean)
    if far and status == "ok":
        why = (
            f"{mean:.0%} of the transitions of {acceptance.size} chains were accepted, and "
            f"{listed(far, 3)} moved far. Chains this short only begin to carry that to what "
            "depends on it: a quantity that they pass may be off as well."
        )
        return Row("joint", len(far), limits.FAR_OFF, why, "fail", act)
    if status == "ok":
        why = f"{acceptance.size} short Markov chains moved freely: {mean:.0%} were accepted."
        return Row("joint", mean, limits.ACCEPTED, why)
    why = f"Only {mean:.0%} of the transitions were accepted: the draws lie where it is too steep."
    return Row("joint", mean, limits.ACCEPTED, why, status, act)


def _judge(label: str, gap: Difference, act: str, *, points: bool) -> Row:
    off = (
        f"Mean off by {gap.shift:+.2f} sd (error {gap.shift_error:.2f}), sd {gap.ratio:.2f} "
        f"(error {gap.ratio_error:.2f}) of where Markov chains took the draws."
    )
    kept = f"The chains kept {gap.kept:.0%} of where they started."
    row = partial(Row, label, gap.value, gap.limit)
    return first_case(
        (gap.status != "ok", row(off, gap.status, act)),
        (gap.error_hides_failure, row(kept, "warn", act, CANNOT_TELL)),
        (points, row("The draws are points, and these have no sd.", "warn", act, CANNOT_TELL)),
        otherwise=row(off),
    )
