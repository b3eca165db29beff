"""Do independent fits find the same answer?

Which restarts reached the best optimum, and whether those that did agree on every quantity.
"""

from functools import partial

import numpy as np
import xarray as xr

from pyrovi.diagnostics.findings import CANNOT_TELL, UNSAID, Row, table
from pyrovi.diagnostics.quantities import blocks, log_ratios
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import Difference, farthest_chains, limits, optimum_tolerance
from pyrovi.tree import CHAINS, POINTS, draw_kind, has, require

SOURCE = "Dhaka et al. (2020), NeurIPS; Yao, Vehtari & Gelman (2022), JMLR 23(79)"


def restarts(tree: xr.DataTree) -> xr.Dataset:
    """Judge how many restarts reached the best optimum, and how far those that did agree.

    Returns:
        The row ``best optimum``; then, with two chains or more, one row per quantity.

    Raises:
        DiagnosticError: If there was one restart only, or the draws are a sampler's, or may be.
    """
    require(tree, "posterior")
    if draw_kind(tree) == CHAINS:
        engine = tree["sample_stats"].attrs.get("engine") or "a sampler"
        raise DiagnosticError(f"chains of {engine} are compared by R-hat, under convergence")
    rows = [*_search(tree), *_agreement(tree)]
    if not rows and draw_kind(tree) == "" and tree["posterior"].sizes["chain"] > 1:
        raise DiagnosticError(f"{UNSAID}; until then R-hat compares them, under convergence")
    if not rows:
        raise DiagnosticError(
            "one restart cannot disagree with itself; fit with restarts=4 to see other optima"
        )
    return table(rows, check="restarts", title="Restarts agreeing", source=SOURCE, about="fit")


def _search(tree: xr.DataTree) -> list[Row]:
    if not has(tree, "sample_stats", "restart_elbo"):
        return []
    elbo = tree["sample_stats"]["restart_elbo"].to_numpy().astype(float)
    # Markov chains have no ELBO: of those that were kept, the quantities say whether they agree.
    unbounded = np.isfinite(elbo).sum() < 2 <= tree["posterior"].sizes["chain"]
    return [_judge_search(elbo, _tolerance(tree))] if len(elbo) > 1 and not unbounded else []


def _tolerance(tree: xr.DataTree) -> float:
    """Nats between two ELBOs that may be one optimum, given the error of an ELBO."""
    terms = log_ratios(tree)
    terms = np.empty(0) if terms is None else terms[np.isfinite(terms)]
    error = float(terms.std() / np.sqrt(len(terms))) if len(terms) else 0.0
    return optimum_tolerance(error, error)


def _judge_search(elbo: np.ndarray, tolerance: float) -> Row:
    tried, finite = len(elbo), np.sort(elbo[np.isfinite(elbo)])
    reached = int((finite[-1] - finite <= tolerance).sum()) if len(finite) else 0
    row = partial(Row, "best optimum", reached, limits.RESTARTS_AT_BEST)
    status = limits.RESTARTS_AT_BEST.status(float(reached))
    if status == "fail":
        why = f"None of {tried} restarts ended with a finite ELBO."
        act = "Use a smaller learning rate, or look for a mistake in the model."
        return row(why, status, act)
    lost = f"; {tried - len(finite)} ended without an ELBO" * (len(finite) < tried)
    gaps = np.diff(finite)
    if status == "ok":
        optima = 1 + int((gaps > tolerance).sum())
        others = f" of {optima} that were found" * (optima > 1)
        return row(f"{reached} of {tried} restarts reached the best optimum{others}{lost}.")
    gap = f", {gaps[-1]:.3g} nats above the next" if len(gaps) else ""
    why = (
        f"Only 1 of {tried} restarts reached the best optimum{gap}{lost}: a better one may exist."
    )
    more = f"Fit with more restarts (restarts={4 * tried}), or start them nearer to the answer."
    return row(why, status, more)


def _agreement(tree: xr.DataTree) -> list[Row]:
    kind = draw_kind(tree)
    if kind == "":  # the draws of a chain hang together, and its mean is worse than it seems here
        return []
    rows: list[Row] = []
    for names, draws in blocks(tree["posterior"].to_dataset()):
        if draws.shape[0] < 2:
            return []
        pairs = zip(names, farthest_chains(draws), strict=True)
        rows += [_judge(*pair, points=kind == POINTS) for pair in pairs]
    return rows


def _judge(label: str, gap: Difference, *, points: bool) -> Row:
    row = partial(Row, label, gap.value, gap.limit)
    if gap.status != "ok":
        apart = f"means {gap.shift:.2f} sd apart, sds in the ratio {gap.ratio:.2f}."
        act = "Fit for longer; if it stays, the quantity is not identified: report one that is."
        return row(f"Restarts that should agree do not: {apart}", gap.status, act)
    if points:
        act = "Fit a guide with a spread (full_rank), or judge it by predictions."
        return row("The draws are points, and these have no sd.", "warn", act, CANNOT_TELL)
    within = f"means within {gap.shift:.2f} sd, sds within a ratio of {gap.ratio:.2f}."
    return row(f"Restarts agree: {within}")
