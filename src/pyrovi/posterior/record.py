"""The group `sample_stats`: densities of the draws, the fit's history, and its record in attrs."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.bound import Site, to_numpy
from pyrovi.infer import Fit, Run, Rung, Status
from pyrovi.optimise import Survey
from pyrovi.posterior.chain import Arrays
from pyrovi.tree import DRAWS, MODE_SEARCHES, MODES_OF, OUT_OF_TIME, SAMPLE_DIMS

PACKAGES = ("pyrovi", "torch", "pyro-ppl", "arviz-base", "arviz-stats", "xarray", "numpy")


def sample_stats(
    fit: Fit, densities: Arrays, notes: Sequence[str], late: Sequence[str] = ()
) -> xr.Dataset:
    """What is kept of the fit beside its draws.

    Args:
        fit: What was drawn from.
        densities: Those of the draws, and a sampler's own.
        notes: What the user should know.
        late: The groups that there was no time for, of those that checks read.
    """
    bounds = [np.nan if run.bound is None else run.bound.value for run in fit.restarts]
    variables: dict[str, Any] = {
        **{name: (SAMPLE_DIMS, value) for name, value in densities.items()},
        **_losses(fit.chains),
        "status": ("chain", [run.status.value for run in fit.chains]),
        "seconds": ("chain", [run.seconds for run in fit.chains]),
        "restart_index": ("chain", list(fit.kept)),
        "restart_status": ("restart", [run.status.value for run in fit.restarts]),
        "restart_elbo": ("restart", bounds),
    }
    if fit.best.survey is not None:
        variables |= _modes(fit.best.survey)
        variables["latent"] = ("latent", fit.density.labels())
    errors = [to_numpy(run.errors) for run in fit.chains if run.errors is not None]
    if len(errors) == len(fit.chains):
        variables["optimum_error"] = (("chain", "latent"), np.stack(errors))
        variables["latent"] = ("latent", fit.density.labels())
    attrs = _record(fit, notes) | ({OUT_OF_TIME: json.dumps(list(late))} if late else {})
    return xr.Dataset(variables, attrs=attrs)


def _losses(runs: Sequence[Run]) -> dict[str, tuple[tuple[str, str], np.ndarray]]:
    """``loss``, which was judged, and others as ``loss_<name>``; NaN after the end of a run."""
    first, *others = runs[0].losses
    names = {first: "loss"} | {name: f"loss_{name}" for name in others}
    steps = max(len(run.loss) for run in runs)
    return {
        key: (("chain", "step"), np.stack([_padded(run, name, steps) for run in runs]))
        for name, key in names.items()
    }


def _padded(run: Run, name: str, steps: int) -> np.ndarray:
    values = run.losses.get(name, np.empty(0))
    return np.pad(values, (0, steps - len(values)), constant_values=np.nan)


def _modes(survey: Survey) -> dict[str, Any]:
    """What searches for modes came to, the mode with most evidence first."""
    made: dict[str, Any] = {
        "mode_found": ("mode", list(survey.found)),
        "mode_share": ("mode", survey.shares),
        "mode_held": ("mode", list(survey.held)),
    }
    if survey.loc:
        loc, scale = survey.places
        made["mode_loc"], made["mode_scale"] = (
            (("mode", "latent"), loc),
            (("mode", "latent"), scale),
        )
    return made


def _record(fit: Fit, notes: Sequence[str]) -> dict[str, Any]:
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    worst = [status for status in Status if any(run.status is status for run in fit.chains)][-1]
    return {
        "model": fit.model.name,
        "engine": fit.method,
        "rungs": json.dumps([_rung_record(rung) for rung in fit.rungs]),
        "engine_reason": fit.engine_reason,
        DRAWS: fit.approximations()[0].draw_kind,
        "status": worst.value,
        "why": fit.best.why,
        "seed": fit.seed,
        "seconds_total": fit.seconds,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": json.dumps(versions),
        **_searched(fit.best.survey),
        "notes": json.dumps(list(dict.fromkeys(notes))),
        "sites": json.dumps([_site_record(site) for site in fit.model.sites]),
        "replaced": json.dumps([asdict(each) for each in fit.model.replaced]),
    }


def _searched(survey: Survey | None) -> dict[str, Any]:
    """What the searches for modes were of, and how many; nothing where there were none."""
    return {} if survey is None else {MODES_OF: survey.of, MODE_SEARCHES: survey.searches}


def _rung_record(rung: Rung) -> dict[str, Any]:
    """A rung as JSON, which has no NaN."""
    return {key: None if value != value else value for key, value in asdict(rung).items()}  # noqa: PLR0124


def _site_record(site: Site) -> dict[str, Any]:
    names = ("name", "kind", "distribution", "support", "discrete", "subsampled", "improper")
    of_axes = {"shape": list(site.shape), "dims": list(site.dims)}
    return {name: getattr(site, name) for name in names} | of_axes
