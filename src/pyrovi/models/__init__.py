"""The zoo: models with real data, a simulator and a truth to be judged by."""

from pyrovi.models.entry import (
    Variant as Variant,
    ZooModel as ZooModel,
    run_forward as run_forward,
)
from pyrovi.models.registry import ZOO as ZOO, available as available, get as get
