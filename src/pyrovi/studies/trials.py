"""One engine tried on one model and its data: the fit, its draws, and its own verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.diagnostics import Verdict, check, verdict
from pyrovi.errors import PyroviError
from pyrovi.infer import Fit, fit
from pyrovi.posterior import draw
from pyrovi.studies.reference import Reference
from pyrovi.tree import CHAINS, draw_kind, has
from pyrovi.words import one_line

JUDGED = 2000
"""Draws that the verdict is on: what `pyrovi.draw` makes."""
STOPPED, CONVERGED, PASSED, SAMPLED = range(4)
"""Of a trial: not converged; converged; and with a verdict that is ok; and by a sampler."""


@dataclass(frozen=True)
class Trial:
    """What one engine came to: draws for the moments, and the tree that its verdict is on."""

    engine: str
    fitted: Fit
    posterior: xr.Dataset
    tree: xr.DataTree
    verdict: Verdict

    @property
    def status(self) -> str:
        """How the fit ended."""
        return self.fitted.status.value

    @property
    def elbo(self) -> tuple[float, float]:
        """The ELBO of the draws and its Monte Carlo error, in nats; NaN where there is none."""
        return self._of_check("elbo", "elbo"), self._of_check("elbo", "elbo_error")

    @property
    def khat(self) -> float:
        """The joint k-hat; NaN where there is none."""
        return self._of_check("psis", "khat")

    @property
    def doubt(self) -> str:
        """What keeps the answer from standing for the posterior; empty if nothing does."""
        if self.status != "converged":
            return f", which was {self.status}"
        status = self.verdict.fit_status
        return "" if status == "ok" else f", whose own verdict is {status}"

    @property
    def standing(self) -> tuple[int, float]:
        """How well it may stand for the posterior, the higher the better; then its ELBO."""
        bound = np.nan_to_num(self.elbo[0], nan=-np.inf)
        if self.status != "converged":
            return STOPPED, bound
        if draw_kind(self.tree) == CHAINS:
            return SAMPLED, 0.0
        return CONVERGED if self.doubt else PASSED, bound

    def _of_check(self, name: str, variable: str) -> float:
        if not has(self.tree, f"diagnostics/{name}", variable):
            return np.nan
        return float(self.tree[f"diagnostics/{name}"].to_dataset()[variable])


def try_engine(
    name: str, engine: Any, model: Callable[..., Any], data: Any, draws: int, **options: Any
) -> Trial | str:
    """One engine's fit, draws and verdict; what went wrong is a sentence and not an exception."""
    try:
        fitted = fit(model, data, engine, **options)
        tree = check(draw(fitted, draws=JUDGED))
        posterior = draw(fitted, draws=draws)["posterior"].to_dataset()
    except PyroviError as error:
        return " ".join(str(error).split())
    except Exception as error:  # noqa: BLE001 - a fault of one engine must not hide the others
        return one_line(error)
    return Trial(name, fitted, posterior, tree, verdict(tree))


def best_of(trials: Sequence[Trial]) -> Reference | None:
    """What stands for the posterior where there is no reference; None if nothing was tried.

    A sampler that ended; else the highest ELBO of the trials that nothing speaks against, or of
    those that converged, or of all, with words for what does speak against it.
    """
    if not trials:
        return None
    chosen = max(trials, key=lambda each: each.standing)
    kind, _ = chosen.standing
    passes = " that passes" if kind == PASSED else ""
    bound = f", the highest ELBO{passes}" if np.isfinite(chosen.elbo[0]) else ""
    words = "" if kind == SAMPLED else f"{bound}{chosen.doubt}"
    tree = xr.DataTree.from_dict({"posterior": chosen.posterior})
    return Reference.of(tree, f"{chosen.engine}{words}")
