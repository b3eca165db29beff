"""Do the draws stay where they are? Short Markov chains from some of them, held against all.

Hamiltonian transitions leave the posterior as it is: draws of it stay draws of it, and draws of
anything else drift towards it. Unlike importance weights, this judges each quantity by itself, in
any dimension. It detects; it does not repair: chains this short have not arrived. A mode that no
draw is near stays unseen.
"""

import numpy as np
import xarray as xr

from pyrovi.diagnostics.findings import Row, asked, table
from pyrovi.diagnostics.quantities import blocks
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import ACCEPTED, Difference, moved
from pyrovi.tree import ACCEPTANCE, SAMPLE_DIMS, quantities, require

__all__ = ["drift"]

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
    found = _differences(tree["posterior"].to_dataset(), group)
    rows = [_chains(group[ACCEPTANCE].to_numpy(), found, act)]
    rows += [_judge(label, difference, act) for label, difference in found]
    differences: list[Difference | None] = [None, *(difference for _, difference in found)]
    columns = ("shift", "shift_error", "ratio", "ratio_error", "mean", "sd")
    extra = {
        name: ("quantity", [np.nan if d is None else getattr(d, name) for d in differences])
        for name in columns
    }
    return table(rows, check="drift", title=TITLE, source=SOURCE, about="fit", extra=extra)


def _differences(posterior: xr.Dataset, group: xr.Dataset) -> list[tuple[str, Difference]]:
    shared = [name for name in group.data_vars if name in posterior.data_vars]
    after = dict(quantities(group[shared], dims=(*SAMPLE_DIMS, "state")))
    found = []
    for labels, draws in blocks(posterior[shared]):
        kept = [i for i, label in enumerate(labels) if np.isfinite(after[label]).all()]
        chains = np.stack([after[labels[i]].astype(float) for i in kept], axis=-1)
        before = draws[..., kept].reshape(-1, len(kept))
        path = chains.reshape(-1, *chains.shape[2:])
        both = moved(before, path[:, 0], path[:, 1:])
        found += [(labels[i], each) for i, each in zip(kept, both, strict=True)]
    return found


def _advice(tree: xr.DataTree) -> str:
    """What to do next: the default, unless it is what was done."""
    engine = str(tree["sample_stats"].attrs.get("engine", "")) if "sample_stats" in tree else ""
    if engine.startswith("auto"):
        return "Compare with NUTS, or fit a flow (SVI(guide='nsf')), or reparameterise the model."
    return "Fit with engine='auto', or a flow, or compare with NUTS."


def _chains(acceptance: np.ndarray, found: list[tuple[str, Difference]], act: str) -> Row:
    """How the chains moved, and what a quantity that is far off says of those that lean on it."""
    mean = float(acceptance.mean())
    far = [label for label, difference in found if difference.status == "fail"]
    if far and mean > ACCEPTED.low:
        named = ", ".join(far[:3]) + (f" and {len(far) - 3} more" if len(far) > 3 else "")
        why = (
            f"{mean:.0%} of the transitions of {acceptance.size} chains were accepted, and "
            f"{named} moved far. Chains this short only begin to carry that to what depends on "
            "it: a quantity that they pass may be off as well."
        )
        return Row("joint", mean, f"> {ACCEPTED.low:g}", why, "fail", act)
    status = "fail" if mean < ACCEPTED.fail_low else "warn" if mean < ACCEPTED.low else "ok"
    if status == "ok":
        why = f"{acceptance.size} short Markov chains moved freely: {mean:.0%} were accepted."
        return Row("joint", mean, f"> {ACCEPTED.low:g}", why)
    why = f"Only {mean:.0%} of the transitions were accepted: the draws lie where it is too steep."
    return Row("joint", mean, f"> {ACCEPTED.low:g}", why, status, act)


def _judge(label: str, found: Difference, act: str) -> Row:
    why = (
        f"Mean off by {found.shift:+.2f} sd (error {found.shift_error:.2f}), sd {found.ratio:.2f} "
        f"(error {found.ratio_error:.2f}) of where Markov chains took the draws."
    )
    if found.status == "ok" and found.error_hides_failure:
        why = f"Cannot tell: the chains kept {found.kept:.0%} of where they started."
        return Row(
            label,
            found.value,
            asked(found.limit.low, found.limit.high, found.limit.unit),
            why,
            "warn",
            act,
        )
    act = "" if found.status == "ok" else act
    return Row(
        label,
        found.value,
        asked(found.limit.low, found.limit.high, found.limit.unit),
        why,
        found.status,
        act,
    )
