"""How the fit came to its answer: the engine, the loss, the restarts and the bound."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.diagnostics import Verdict
from pyrovi.reports.numbers import MINUS, fixed, seconds, short
from pyrovi.reports.parts import Column, Plot, Section, Table, numbers, present
from pyrovi.reports.sections.groups import attrs, diagnostic, group
from pyrovi.tree import json_attr
from pyrovi.words import count

WRONG = ("warn", "fail")
SAME_LOSS = 1e-9
LOSS_POINTS = 300
"""Points of a loss curve that are drawn: more than that is wider than the figure."""

ELBO_TERMS = (
    ("ELBO", "elbo"),
    ("= accuracy: the expected log likelihood", "accuracy"),
    (f"{MINUS} complexity: the divergence of the guide from the prior", "complexity"),
    ("= the expected log joint density", "expected_log_joint"),
    ("+ the entropy of the guide", "entropy"),
)
SITE_TERMS = (
    ("Expected log prior", "site_log_prior"),
    ("Entropy", "site_entropy"),
    ("Complexity", "site_complexity"),
)


def fit_section(tree: xr.DataTree, verdict: Verdict) -> Section:
    """The fit."""
    record, stats = attrs(tree), group(tree, "sample_stats")
    losses = stats["loss"].to_numpy() if "loss" in stats else np.empty((0, 0))
    facts = {
        "Engine": record.get("engine"),
        "Why this engine": record.get("engine_reason"),
        "How it ended": record.get("status"),
        "Time": seconds(float(stats["seconds"].sum())) if "seconds" in stats else None,
        "Steps": ", ".join(f"{n:,}" for n in np.isfinite(losses).sum(-1).tolist()),
        "Draws": _draws(group(tree, "posterior")),
        "Divergent draws": int(stats["diverging"].sum()) if "diverging" in stats else None,
    }
    bound = diagnostic(tree, "elbo")
    tables = (
        _rung_table(tree, verdict),
        _elbo_table(bound),
        _site_table(bound),
        _restart_table(stats),
    )
    return Section(
        id="fit",
        title="Fit",
        facts=present(facts),
        tables=tuple(table for table in tables if table.rows),
        plots=_loss_plots(losses),
    )


def _draws(posterior: xr.Dataset) -> str | None:
    if "draw" not in posterior.sizes:
        return None
    each = count(posterior.sizes["draw"], "draw")
    chains = posterior.sizes["chain"]
    return each if chains == 1 else f"{each} from each of {chains} fits"


def _rung_table(tree: xr.DataTree, verdict: Verdict) -> Table:
    """What was tried in turn, where several engines were; the one that was kept is marked."""
    rungs = json_attr(tree, "rungs", [])
    expected = any(rung.get("predicted") for rung in rungs)
    columns = (
        Column("Tried in turn"),
        Column("Held against the posterior", "status"),
        Column("Farthest off"),
        *numbers("k-hat", "Steps", "Time of its own", *["Expected"] * expected),
    )
    rows = (
        (
            f"{rung['engine']}{' (kept)' if rung['chosen'] else ''}",
            rung["status"],
            _worst(rung),
            "" if rung["khat"] is None else fixed(rung["khat"], 2),
            "" if rung.get("of") else f"{rung['steps']:,}",
            seconds(rung["seconds"]),
            *[seconds(rung["predicted"]) if rung.get("predicted") else ""] * expected,
        )
        for rung in rungs
        if len(rungs) > 1
    )
    note = " ".join(_about_rungs(rungs, verdict))
    return Table.capped("Engines, in the order that they were tried", columns, rows, note=note)


def _about_rungs(rungs: Sequence[Mapping[str, Any]], verdict: Verdict) -> Iterator[str]:
    """What the status of a rung is of, wherever it could be taken for that of the answer."""
    kept = [rung for rung in rungs if rung["chosen"]]
    others = {rung["status"] for rung in rungs if not rung["chosen"]}
    if others - {"ok"}:
        yield "Only what was kept is the answer; a status beside another says nothing of it."
    if kept and kept[0]["status"] == "ok" and "ok" in others:
        yield "Of those that held, what takes the fewest draws for each that it gives was kept."
    if any(rung.get("of") for rung in rungs):
        yield "What is resampled are the draws of the engine above, which took the time."
    if not kept or kept[0]["status"] not in WRONG:
        return
    if not any(rung["status"] == "ok" for rung in rungs):
        yield "None held against the posterior; the nearest was kept."
    if verdict.fit_status == "ok":
        yield (
            "What was kept has its status from the draws that the ladder judged it by; the checks "
            "of this report, on draws of their own, found no fault in it."
        )


def _worst(rung: Mapping[str, Any]) -> str:
    if not rung["worst"]:
        return ""
    shift, ratio = (  # null in the tree, where it was not finite
        "unknown" if rung[part] is None else fixed(rung[part], 2) for part in ("shift", "ratio")
    )
    return f"{rung['worst']}: mean {shift} sd off, sd {ratio} of what it should be"


def _elbo_table(bound: xr.Dataset) -> Table:
    """The bound in both of its splits; either pair of terms gives the first row."""
    rows = (
        (words, fixed(float(bound[name]), 2), short(float(bound[f"{name}_error"]), 2))
        for words, name in ELBO_TERMS
        if name in bound and f"{name}_error" in bound
    )
    columns = (Column("Term"), *numbers("Nats", "Monte Carlo error"))
    return Table.capped("Evidence lower bound (ELBO)", columns, rows)


def _site_table(bound: xr.Dataset) -> Table:
    """Each site's share: what a latent site costs, what an observed one earns."""
    terms = {words: _listed(bound, name) for words, name in SITE_TERMS if name in bound}
    shares = zip(_listed(bound, "site"), *terms.values(), strict=True)
    latent = [(str(site), *(fixed(value, 2) for value in values), "") for site, *values in shares]
    names, likelihoods = _listed(bound, "observed"), _listed(bound, "observed_log_likelihood")
    earned = zip(names, likelihoods, strict=True)
    observed = [(str(name), *("" for _ in terms), fixed(value, 2)) for name, value in earned]
    columns = (Column("Site"), *numbers(*terms, "Expected log likelihood"))
    return Table.capped("The ELBO by site, in nats", columns, latent + observed, folded=True)


def _restart_table(stats: xr.Dataset) -> Table:
    columns = (Column("Restart"), Column("Ended"), Column("ELBO (nats)", "number"), Column("Kept"))
    elbo = np.array(_listed(stats, "restart_elbo"))
    ended = _listed(stats, "restart_status") or [""] * elbo.size
    kept = set(_listed(stats, "restart_index"))
    best_first = np.argsort(-np.nan_to_num(elbo, nan=-np.inf), kind="stable").tolist()
    rows = (
        (str(i), str(ended[i]), fixed(float(elbo[i]), 2), "yes" if i in kept else "no")
        for i in best_first
        if elbo.size > 1
    )
    return Table.capped("Restarts, the best first", columns, rows, order="best")


def _listed(dataset: xr.Dataset, name: str) -> list[Any]:
    return dataset[name].to_numpy().tolist() if name in dataset else []


def _loss_plots(losses: np.ndarray) -> tuple[Plot, ...]:
    thinned = {f"fit {i}": _thinned(loss) for i, loss in enumerate(losses)}
    curves = {name: curve for name, curve in thinned.items() if _moves(curve[1])}
    if not curves:
        return ()
    ends = ", ".join(short(curve[1, -1]) for curve in curves.values())
    plot = Plot(
        kind="loss",
        title="Loss",
        alt=f"The loss at each step of {count(len(curves), 'fit')}, ending at {ends} nats.",
        caption="What was minimised, in nats: minus the ELBO, or minus the mean log density for "
        "Markov chains. The first tenth of the steps may leave the frame.",
        arrays=tuple(curves.values()),
        labels=tuple(curves),
    )
    return (plot,)


def _moves(loss: np.ndarray) -> bool:
    """Whether there is more to see than a last digit; what is exact at once has no curve."""
    return bool(loss.size > 1 and np.ptp(loss) > SAME_LOSS * max(1.0, np.abs(loss).max()))


def _thinned(loss: np.ndarray) -> np.ndarray:
    """Steps and loss, shape (2, points): means of blocks, at most `LOSS_POINTS` of them."""
    steps = np.flatnonzero(np.isfinite(loss))
    if not steps.size:
        return np.empty((2, 0))
    blocks = np.array_split(np.stack([steps + 1.0, loss[steps]]), min(LOSS_POINTS, steps.size), 1)
    return np.stack([block.mean(1) for block in blocks], 1)
