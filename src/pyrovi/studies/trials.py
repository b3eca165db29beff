"""One engine tried on one model and its data: the fit, its draws, and its own verdict."""

from collections.abc import Callable, Mapping, Sequence
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

JUDGED = 2000
"""Draws that the verdict is on: what `pyrovi.draw` makes."""


@dataclass(frozen=True)
class Trial:
    """What one engine came to.

    Attributes:
        engine: Its name in the comparison.
        fitted: The fit.
        posterior: Its draws for the moments.
        tree: The tree that its verdict is on.
        verdict: The verdict.
    """

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

    def _of_check(self, name: str, variable: str) -> float:
        if not has(self.tree, f"diagnostics/{name}", variable):
            return np.nan
        return float(self.tree[f"diagnostics/{name}"].to_dataset()[variable])


def try_engine(
    name: str,
    engine: Any,
    model: Callable[..., Any],
    data: Any,
    draws: int,
    options: Mapping[str, Any],
) -> Trial | str:
    """One engine's fit, draws and verdict; what went wrong is a sentence and not an exception."""
    try:
        fitted = fit(model, data, engine, **options)
        tree = check(draw(fitted, draws=JUDGED))
        posterior = draw(fitted, draws=draws)["posterior"].to_dataset()
    except PyroviError as error:
        return " ".join(str(error).split())
    except Exception as error:  # noqa: BLE001 - a fault of one engine must not hide the others
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        return f"{type(error).__name__}: {first.strip()}"
    return Trial(name, fitted, posterior, tree, verdict(tree))


def best_of(trials: Sequence[Trial]) -> Reference | None:
    """What stands for the posterior where there is no reference; None if nothing was tried.

    A sampler that ended; else the highest ELBO of the trials that nothing speaks against, or of
    those that converged, or of all. Where something does speak against it, the words say so: a
    bound of what was stopped, or what its own verdict doubts, says little.
    """
    converged = [each for each in trials if each.status == "converged"]
    sampled = [each for each in converged if draw_kind(each.tree) == CHAINS]
    passed = [each for each in trials if not each.doubt]
    candidates = sampled[:1] or passed or converged or list(trials)
    if not candidates:
        return None
    chosen = max(candidates, key=lambda each: np.nan_to_num(each.elbo[0], nan=-np.inf))
    bound = ", the highest ELBO" if np.isfinite(chosen.elbo[0]) else ""
    words = "" if sampled else bound + " that passes" * bool(bound and passed) + chosen.doubt
    tree = xr.DataTree.from_dict({"posterior": chosen.posterior})
    return Reference.of(tree, f"{chosen.engine}{words}")
