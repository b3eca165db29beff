"""Engines, the one loop that runs them, and what a fit is."""

from pyrovi.infer.elsewhere import fit_of as fit_of
from pyrovi.infer.engine import (
    RECOVERIES as RECOVERIES,
    Capabilities as Capabilities,
    Engine as Engine,
    Outcome as Outcome,
)
from pyrovi.infer.fitting import fit as fit
from pyrovi.infer.ladder.judge import (
    Judgement as Judgement,
    Known as Known,
    importance_khat as importance_khat,
    judge as judge,
    send_out as send_out,
    shown_by_weights as shown_by_weights,
)
from pyrovi.infer.named import (
    engine_named as engine_named,
    ready_made as ready_made,
    settings_of as settings_of,
)
from pyrovi.infer.registry import ENGINES as ENGINES
from pyrovi.infer.response import linear_response as linear_response
from pyrovi.infer.result import Fit as Fit
from pyrovi.infer.run import Bound as Bound, Run as Run, Rung as Rung, Status as Status
