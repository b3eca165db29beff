"""Multi-task regression: related tasks that lend each other strength."""

from pyrovi.models.multitask_regression.forms import (
    MULTITASK_REGRESSION,
    binary,
    centered,
    complete_pooling,
    no_pooling,
    partial,
    simulate,
)

__all__ = [
    "MULTITASK_REGRESSION",
    "binary",
    "centered",
    "complete_pooling",
    "no_pooling",
    "partial",
    "simulate",
]
