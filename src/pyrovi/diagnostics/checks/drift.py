"""Do the draws stay where they are? Short Markov chains from some of them, held against all.

Hamiltonian transitions leave the posterior as it is: draws of it stay draws of it, and draws of
anything else drift towards it. Unlike importance weights, this judges each quantity by itself, in
any dimension. It detects; it does not repair: chains this short have not arrived. A mode that no
draw is near stays unseen.
"""

from functools import partial

import numpy as np
import xarray as xr

from pyrovi.diagnostics.findings import CANNOT_TELL, Row, of_differences, off, table
from pyrovi.diagnostics.quantities import blocks
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import Difference, limits, moved
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

SOURCE = (
    "Neal (2011), arXiv:1206.1901; as a check of an approximation, compare Salimans, Kingma & "
    "Welling (2015), ICML"
)
LADDER = "Fit with engine='auto', or a flow, or compare with NUTS."
BEYOND_THE_LADDER = (
    "Compare with NUTS, or fit a flow (SVI(guide='nsf')), or reparameterise the model."
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
        raise DiagnosticError("no Markov chains were sent out from these draws")
    group = tree["drift"].to_dataset()
    act = BEYOND_THE_LADDER if json_attr(tree, "rungs", []) else LADDER
    differences = _differences(tree["posterior"].to_dataset(), group)
    far = [label for label, gap in differences.items() if gap.status == "fail"]
    points = draw_kind(tree) == POINTS
    rows = [_chains(group[ACCEPTANCE].to_numpy(), far, act)]
    rows += [_judge(*each, act, points=points) for each in differences.items()]
    extra = of_differences([None, *differences.values()])
    title = "Guide against posterior (drift)"
    said = {"check": "drift", "title": title, "source": SOURCE, "extra": extra}
    return table(rows, about="fit", compares=True, **said)


def _differences(posterior: xr.Dataset, group: xr.Dataset) -> dict[str, Difference]:
    shared = [name for name in group.data_vars if name in posterior.data_vars]
    after = dict(quantities(group[shared], dims=(*SAMPLE_DIMS, "drift_state")))
    differences: dict[str, Difference] = {}
    for labels, draws in blocks(posterior[shared]):
        kept = [i for i, label in enumerate(labels) if np.isfinite(after[label]).all()]
        names = [labels[i] for i in kept]
        chains = np.stack([after[name].astype(float) for name in names], axis=-1)
        before = draws[..., kept].reshape(-1, len(kept))
        path = chains.reshape(-1, *chains.shape[2:])
        differences |= dict(zip(names, moved(before, path[:, 0], path[:, 1:]), strict=True))
    return differences


def _chains(acceptance: np.ndarray, far: list[str], act: str) -> Row:
    """How the chains moved, and what a quantity that is far off says of those that lean on it."""
    mean = float(acceptance.mean())
    status = limits.ACCEPTED.status(mean)
    if status != "ok":
        why = (
            f"Only {mean:.0%} of the transitions were accepted: the draws lie where it is too "
            "steep."
        )
        return Row("joint", mean, limits.ACCEPTED, why, status, act)
    if not far:
        why = f"{acceptance.size} short Markov chains moved freely: {mean:.0%} were accepted."
        return Row("joint", mean, limits.ACCEPTED, why)
    why = (
        f"{mean:.0%} of the transitions of {acceptance.size} chains were accepted, and "
        f"{listed(far, 3)} moved far. Chains this short only begin to carry that to what "
        "depends on it: a quantity that they pass may be off as well."
    )
    return Row("joint", len(far), limits.FAR_OFF, why, "fail", act)


def _judge(label: str, gap: Difference, act: str, *, points: bool) -> Row:
    row = partial(Row, label, gap.value, gap.limit)
    if gap.status == "ok" and gap.error_hides_failure:
        kept = f"The chains kept {gap.kept:.0%} of where they started."
        return row(kept, "warn", act, CANNOT_TELL)
    if gap.status == "ok" and points:
        return row("The draws are points, and these have no sd.", "warn", act, CANNOT_TELL)
    return row(off(gap, "where Markov chains took the draws."), gap.status, act)
