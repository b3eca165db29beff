"""Do independent fits find the same answer?

Which restarts reached the best optimum, and whether those that did agree on every quantity.
"""

import numpy as np
import xarray as xr

from pyrovi.diagnostics.checks.convergence import is_nuts
from pyrovi.diagnostics.findings import Row, asked, table
from pyrovi.diagnostics.quantities import blocks
from pyrovi.errors import DiagnosticError
from pyrovi.evidence import SAME_OPTIMUM_ERRORS, SAME_OPTIMUM_NATS, Difference, farthest_chains
from pyrovi.tree import has, require

__all__ = ["restarts"]

TITLE = "Restarts agreeing"
SOURCE = "Dhaka et al. (2020), NeurIPS; Yao, Vehtari & Gelman (2022), JMLR 23(79)"


def restarts(tree: xr.DataTree) -> xr.Dataset:
    """Judge how many restarts found the best optimum, and how far those that did agree.

    Returns:
        The row ``best optimum``; then, with two chains or more, one row per quantity.

    Raises:
        DiagnosticError: If there was one restart only, or the draws are a sampler's.
    """
    require(tree, "posterior")
    if is_nuts(tree):
        raise DiagnosticError(
            f"chains of {_sampler(tree)} are compared by R-hat, under convergence"
        )
    rows = [*_search(tree), *_agreement(tree)]
    if not rows:
        raise DiagnosticError(
            "one restart cannot disagree with itself; fit with restarts=4 to see other optima"
        )
    return table(rows, check="restarts", title=TITLE, source=SOURCE, about="fit")


def _sampler(tree: xr.DataTree) -> str:
    """The engine's name, without its settings; NUTS where draws say so and no record does."""
    engine = str(tree["sample_stats"].attrs.get("engine", ""))
    return engine.partition("(")[0] or "NUTS"


def _search(tree: xr.DataTree) -> list[Row]:
    if not has(tree, "sample_stats", "restart_elbo"):
        return []
    elbo = tree["sample_stats"]["restart_elbo"].to_numpy().astype(float)
    # Markov chains have no ELBO: of those that were kept, the quantities say whether they agree.
    unbounded = np.isfinite(elbo).sum() < 2 <= tree["posterior"].sizes["chain"]
    return [_judge_search(elbo, _tolerance(tree))] if len(elbo) > 1 and not unbounded else []


def _tolerance(tree: xr.DataTree) -> float:
    """Nats between two ELBOs that may be one optimum, given how well an ELBO is known."""
    if not has(tree, "sample_stats", "log_joint", "log_guide"):
        return SAME_OPTIMUM_NATS
    stats = tree["sample_stats"]
    terms = (stats["log_joint"] - stats["log_guide"]).to_numpy()
    terms = terms[np.isfinite(terms)]
    error = float(terms.std() / np.sqrt(len(terms))) if len(terms) else 0.0
    return max(SAME_OPTIMUM_NATS, SAME_OPTIMUM_ERRORS * np.sqrt(2) * error)


def _judge_search(elbo: np.ndarray, tolerance: float) -> Row:
    tried, finite = len(elbo), elbo[np.isfinite(elbo)]
    reached = int((finite > finite.max() - tolerance).sum()) if len(finite) else 0
    lost = f"; {tried - len(finite)} ended without an ELBO" * (len(finite) < tried)
    if reached > 1:
        optima = _optima(finite, tolerance)
        others = f" of {optima} that were found" * (optima > 1)
        why = f"{reached} of {tried} restarts reached the best optimum{others}{lost}."
        return Row("best optimum", reached, ">= 2 restarts", why)
    if not reached:
        why = f"None of {tried} restarts ended with a finite ELBO."
        act = "Use a smaller learning rate, or look for a mistake in the model."
        return Row("best optimum", 0, ">= 2 restarts", why, "fail", act)
    gap = f", {np.ptp(np.sort(finite)[-2:]):.3g} nats above the next" * (len(finite) > 1)
    why = (
        f"Only 1 of {tried} restarts reached the best optimum{gap}{lost}: a better one may exist."
    )
    act = f"Fit with more restarts (restarts={4 * tried}), or start them nearer to the answer."
    return Row("best optimum", 1, ">= 2 restarts", why, "warn", act)


def _optima(finite: np.ndarray, tolerance: float) -> int:
    return 1 + int((np.diff(np.sort(finite)) > tolerance).sum())


def _agreement(tree: xr.DataTree) -> list[Row]:
    rows: list[Row] = []
    for names, draws in blocks(tree["posterior"].to_dataset()):
        if draws.shape[0] < 2:
            return []
        found = farthest_chains(draws)
        rows += [_judge(label, each) for label, each in zip(names, found, strict=True)]
    return rows


def _judge(label: str, difference: Difference) -> Row:
    status = difference.status
    if status == "ok":
        facts = (
            f"means within {difference.shift:.2f} sd, sds within a ratio of {difference.ratio:.2f}"
        )
        return Row(
            label,
            difference.value,
            asked(difference.limit.low, difference.limit.high, difference.limit.unit),
            f"Restarts agree: {facts}.",
        )
    why = (
        f"Restarts that should agree do not: means {difference.shift:.2f} sd apart, sds in the "
        f"ratio {difference.ratio:.2f}."
    )
    act = "Fit for longer; if it stays, the quantity is not identified: report one that is."
    return Row(
        label,
        difference.value,
        asked(difference.limit.low, difference.limit.high, difference.limit.unit),
        why,
        status,
        act,
    )
