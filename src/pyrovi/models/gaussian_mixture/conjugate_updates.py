"""Coordinate updates of the conjugate mixture: Dirichlet weights, normal-Wishart components.

They serve coordinate ascent and, as complete conditionals, Gibbs sampling. Equations are those of
Bishop (2006), Pattern Recognition and Machine Learning, section 10.2.
"""

from collections.abc import Mapping
from typing import Any

import torch

from pyrovi.models.gaussian_mixture.assignments import Assignments
from pyrovi.models.gaussian_mixture.factors import Components, Weights
from pyrovi.models.gaussian_mixture.priors import Mixture, prepare, start
from pyrovi.structure import Coordinate, CoordinateUpdates


def assign(problem: Mixture, statistics: Mapping[str, Any]) -> Assignments:
    """Bishop 10.46, without what all components share."""
    of, log_weight = statistics["components"], statistics["weight"]
    constant = log_weight + 0.5 * (of.log_det - of.square)
    return Assignments(problem.data, constant, of.linear, of.precision)


def weigh(problem: Mixture, statistics: Mapping[str, Any]) -> Weights:
    """Bishop 10.58."""
    return Weights(statistics["assignment"].count + problem.prior.concentration)


def locate(problem: Mixture, statistics: Mapping[str, Any]) -> Components:
    """Bishop 10.60 to 10.63, about the mean of the data."""
    of, prior = statistics["assignment"], problem.prior
    beta = of.count + prior.count
    first = of.first + prior.first
    mean = first / beta[:, None]
    inverse_scale = of.second + prior.second - first[:, :, None] * mean[:, None, :]
    tril, info = torch.linalg.cholesky_ex(inverse_scale)
    if info.any():
        # A matrix that rounding has spoilt makes the loss not a number, which the loop reports.
        tril = torch.where(info[:, None, None] > 0, torch.nan, tril)
    return Components(mean, beta, of.count + prior.degrees, tril, problem.data.centre)


def log_joint(problem: Mixture, statistics: Mapping[str, Any]) -> float:
    """The expected logs of Bishop 10.71 to 10.74, with their constants."""
    of, log_weight, component = (statistics[n] for n in ("assignment", "weight", "components"))
    prior = problem.prior
    of_weight = (of.count + (prior.concentration - 1)) * log_weight
    log_det = (of.count + (prior.degrees - problem.data.x.shape[0])) * component.log_det
    square = (of.count + prior.count) * component.square
    linear = ((of.first + prior.first) * component.linear).sum()
    trace = ((of.second + prior.second) * component.precision).sum()
    terms = (of_weight + 0.5 * (log_det - square)).sum() + linear - 0.5 * trace
    return float(terms) + prior.constant


CONJUGATE_UPDATES = CoordinateUpdates(
    prepare=prepare,
    start=start,
    coordinates={
        "assignment": Coordinate(assign),
        "weight": Coordinate(weigh, sites=("weight",), factor=Weights),
        "components": Coordinate(
            locate, sites=("whitening_diagonal", "whitening_below", "loc"), factor=Components
        ),
    },
    log_joint=log_joint,
)
