"""The zoo: models with real data, a simulator and a truth to be judged by."""

from pyrovi.models.entry import Variant, ZooModel, run_forward
from pyrovi.models.registry import ZOO, available, get

__all__ = ["ZOO", "Variant", "ZooModel", "available", "get", "run_forward"]
