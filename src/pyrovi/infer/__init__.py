"""Engines, the one loop that runs them, and what a fit is."""

from pyrovi.infer.engine import RECOVERIES, Capabilities, Engine, Outcome
from pyrovi.infer.fitting import engine_named, fit, settings_of
from pyrovi.infer.ladder.judge import Judgement, importance_khat, judge, send_out
from pyrovi.infer.registry import ENGINES
from pyrovi.infer.response import linear_response
from pyrovi.infer.result import Fit
from pyrovi.infer.run import Bound, Run, Rung, Status

__all__ = [
    "ENGINES",
    "RECOVERIES",
    "Bound",
    "Capabilities",
    "Engine",
    "Fit",
    "Judgement",
    "Outcome",
    "Run",
    "Rung",
    "Status",
    "engine_named",
    "fit",
    "importance_khat",
    "judge",
    "linear_response",
    "send_out",
    "settings_of",
]
