"""Does the answer hold every mode, and were all of them met?

Nothing that starts in one mode of a posterior sees another: draws, weights and chains that agree
with each other say nothing of it. Searches from all over do, and how often they met each mode says
whether others were likely missed.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import xarray as xr

from pyrovi.diagnostics.findings import Row, table
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import SEVERITY, limits, mixture_moments, off_without, unseen
from pyrovi.tree import MODE_SEARCHES, MODES_OF, OF_REST, has, require
from pyrovi.words import count

SOURCE = limits.MODES_ONCE.source
ACTION = "Compare with NUTS from several starts, or let the prior say which mode is meant."
Places = tuple[np.ndarray, np.ndarray]


def modes(tree: xr.DataTree) -> xr.Dataset:
    """Judge which modes the draws hold, and whether searches are likely to have met all.

    Returns:
        The rows ``modes held`` and ``modes met``; and ``rare modes``, where there are several
        whose places are known.

    Raises:
        DiagnosticError: If no search for modes was made, or none came to any.
    """
    require(tree, "posterior")
    if not has(tree, "sample_stats", "mode_found"):
        raise DiagnosticError(
            "no search for modes was made from all over: the engine makes none, or it was too dear"
        )
    rows = list(_rows(tree["sample_stats"].to_dataset(), _draws(tree)))
    return table(rows, check="modes", title="Modes", source=SOURCE, about="fit")


def _draws(tree: xr.DataTree) -> int:
    return tree["posterior"].sizes["chain"] * tree["posterior"].sizes["draw"]


def _rows(stats: xr.Dataset, draws: int) -> Iterator[Row]:
    found, share, held = (
        stats[name].to_numpy() for name in ("mode_found", "mode_share", "mode_held")
    )
    missed = float(share[~held.astype(bool)].sum())
    if stats.attrs.get(MODES_OF) == OF_REST:
        yield _judge_part(missed)
        return
    off, places = (0.0, 1.0), None
    if "mode_loc" in stats:
        places = stats["mode_loc"].to_numpy(), stats["mode_scale"].to_numpy()
        off = off_without(share, *places, held.astype(bool))
    yield _judge_held(missed, *off, len(share))
    yield _judge_met(found, share, int(stats.attrs.get(MODE_SEARCHES, found.sum())))
    if places is not None and len(share) > 1:
        yield _judge_rare(share, places, draws)


def _judge_part(missed: float) -> Row:
    """Of modes of the entries that are nearly Gaussian given the others."""
    status = limits.MODES_MISSED.status(missed)
    row = partial(Row, "modes held", missed, limits.MODES_MISSED)
    if status == "ok":
        return row("Searches from far off came to no other mode of what is Gaussian given a few.")
    why = (
        "Given the few entries that make the shape, the others have more modes than the one that "
        f"the draws hold: another has {missed:.0%} of the posterior of both."
    )
    return row(why, status, ACTION)


def _judge_held(missed: float, shift: float, ratio: float, modes: int) -> Row:
    judged = ((missed, limits.MODES_MISSED), (shift, limits.SHIFT), (ratio, limits.SD_RATIO))
    value, limit = max(judged, key=lambda each: SEVERITY[each[1].status(each[0])])
    row, status = partial(Row, "modes held", value, limit), limit.status(value)
    met = count(modes, "mode")
    if status == "ok":
        return row(f"The draws hold what counts of {met} that searches from all over came to.")
    why = f"Searches came to {met}, and the draws leave about {missed:.1%} of the posterior out."
    if shift > 0:
        why += f" Without it a mean is off by {shift:.2f} sd, or an sd {ratio:.2f} of what it is."
    return row(why, status, ACTION)


def _judge_rare(share: np.ndarray, places: Places, draws: int) -> Row:
    """Whether modes too rare for so many draws make an sd."""
    _, ratio = off_without(share, *places, draws * share >= limits.RARE_DRAWS)
    row = partial(Row, "rare modes", ratio, limits.SD_RATIO)
    kurtosis = float(mixture_moments(share, *places)[2].max())
    error = 0.5 * np.sqrt((kurtosis - 1) / draws)
    if error <= limits.RARE_ERROR or limits.SD_RATIO.status(ratio) == "ok":
        return row(f"No sd hangs on modes too rare for {count(draws, 'draw')}.")
    needed = (kurtosis - 1) / (2 * limits.RARE_ERROR) ** 2
    why = (
        f"Modes that are rare and far off make an sd, which is {ratio:.2f} of it without them: by "
        f"{count(draws, 'draw')} its error is {error:.0%}."
    )
    return row(
        why,
        "warn",
        f"Take {needed:,.0f} draws for one of {limits.RARE_ERROR:.0%}, or report quantiles.",
    )


def _judge_met(found: np.ndarray, share: np.ndarray, made: int) -> Row:
    once, new = float(share[found < 2].sum()), unseen(found, share, made)
    searches = count(made, "search", "searches")
    rare = limits.MODES_ONCE.status(once) == "ok"
    value, limit = (new, limits.MODES_UNSEEN) if rare else (once, limits.MODES_ONCE)
    status = limit.status(value)
    if status == "ok":
        why = f"{searches} met each mode that counts twice or more often."
        return Row("modes met", value, limit, why)
    why = (
        f"{searches} met {count(len(found), 'mode')}, and those with {once:.0%} of the posterior "
        f"only once: one more search would meet a new one with a chance of {new:.0%}."
    )
    act = "Fit with restarts=8 and compare, or give the model a prior that says where to look."
    return Row("modes met", value, limit, why, status, act)
