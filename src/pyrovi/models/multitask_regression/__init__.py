"""Multi-task regression: related tasks that lend each other strength."""

from pyrovi.models.multitask_regression.data import simulate
from pyrovi.models.multitask_regression.entry import MULTITASK_REGRESSION
from pyrovi.models.multitask_regression.model import FORMS, centered, complete_pooling, partial

__all__ = [
    "FORMS",
    "MULTITASK_REGRESSION",
    "centered",
    "complete_pooling",
    "partial",
    "simulate",
]
