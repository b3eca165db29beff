"""Bayesian neural network: a function of unknown form, and where it is not known."""

from pyrovi.models.bayesian_neural_network.forms import (
    BAYESIAN_NEURAL_NETWORK,
    classification,
    deep,
    heteroscedastic,
    network,
    regression,
    simulate,
)

__all__ = [
    "BAYESIAN_NEURAL_NETWORK",
    "classification",
    "deep",
    "heteroscedastic",
    "network",
    "regression",
    "simulate",
]
