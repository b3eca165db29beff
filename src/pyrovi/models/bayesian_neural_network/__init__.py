"""Bayesian neural network: a function of unknown form, and where it is not known."""

from pyrovi.models.bayesian_neural_network.data import simulate
from pyrovi.models.bayesian_neural_network.entry import BAYESIAN_NEURAL_NETWORK
from pyrovi.models.bayesian_neural_network.model import network, propagate

__all__ = ["BAYESIAN_NEURAL_NETWORK", "network", "propagate", "simulate"]
