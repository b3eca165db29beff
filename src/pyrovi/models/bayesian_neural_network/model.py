r"""Bayesian neural network: a function of unknown form, and where it is not known.

A perceptron of :math:`L` hidden layers whose weights have normal priors,

.. math::  h_0 = x, \quad h_k = a(W_k h_{k-1} + b_k), \quad f(x) = W_{L+1} h_L + b_{L+1},

.. math::  W_k \sim N(0, s^2 / n_{k-1}), \quad b_k \sim N(0, s_b^2), \quad
           W_{L+1} \sim N(0, s_f^2 / n_L), \quad b_{L+1} \sim N(0, s_f^2),

where :math:`n_k` is the width of layer :math:`k`, so that wider is not wilder (Neal 1996): as the
widths grow the prior of :math:`f` tends to a Gaussian process. Weights are outputs by inputs.

- ``regression``, the default: :math:`y_i \sim N(f(x_i), \sigma)`, the noise learned;
- ``heteroscedastic``: :math:`f` has two outputs, the mean and the log of the noise;
- ``classification``: :math:`y_i` is of class :math:`c` with probability softmax :math:`f_c(x_i)`;
- ``deep``: as ``regression``, with two hidden layers of rectified units.

`network` makes any other: depth, activation. Widths and prior scales are data, for all of them.

**What a test can hold.** The weights have no meaning of their own: hidden units may be renamed
(declared) and, for odd activations, flipped in sign, so that :math:`2^n n!` modes mean the same.
What is learned is the function: ``mean`` and ``sd`` or ``probability`` of each row are
deterministic sites, and all is judged by those. Held to: given the features, the exact Gaussian
posterior of the last layer; long NUTS, at the rows; a priori, the arc-cosine kernel, and with the
width the Gaussian process.

**Units.** Covariates, and the outcome of a regression, are expected standardised; the real data
here are, and say so in their attributes ``centre`` and ``unit``.

References: Neal (1996), "Bayesian learning for neural networks"; Gal and Ghahramani (2016),
https://arxiv.org/abs/1506.02142
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovi.errors import DataError, ModelError
from pyrovi.models.entry import as_floats
from pyrovi.models.options import scale, whole_number
from pyrovi.registry import refuse_unknown
from pyrovi.structure import Exchangeable, declare

WIDTH, WIDEST = 5, 10_000
NOISE_LOC, NOISE_SCALE = math.log(0.5), 0.75  # of LogNormal, in sd of the outcome
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": torch.nn.functional.silu,
    "none": lambda x: x,
}
KINDS = ("regression", "heteroscedastic", "classification")


def propagate(
    x: Tensor, layers: Sequence[tuple[Tensor, Tensor]], activation: Callable[[Tensor], Tensor]
) -> Tensor:
    """The network's outputs, ``(..., row, output)``, whatever axes stand on the left.

    Args:
        x: Covariates, ``(row, covariate)``.
        layers: The weights ``(..., output, input)`` and biases ``(..., output)`` of each layer.
        activation: Between each two layers.

    >>> halve = (torch.tensor([[0.5]]), torch.tensor([1.0]))
    >>> propagate(torch.tensor([[2.0], [4.0]]), [halve], torch.tanh)
    tensor([[2.],
            [3.]])
    """
    (weight, bias), *rest = layers
    outputs = x @ weight.mT + bias.unsqueeze(-2)
    return propagate(activation(outputs), rest, activation) if rest else outputs


def network(
    kind: str = "regression", *, depth: int = 1, activation: str = "tanh", name: str | None = None
) -> Callable[..., None]:
    """The model of a network of ``depth`` hidden layers.

    Its arguments are ``outcome`` and ``x``; ``width``, and the prior's ``weight_scale``,
    ``bias_scale`` and ``output_scale``; for ``classification``, ``classes``; and ``batch``, the
    rows to draw for each step of a fit by minibatches.

    Args:
        kind: ``regression``, ``heteroscedastic`` or ``classification``.
        depth: Hidden layers.
        activation: ``tanh``, ``relu``, ``silu``, or ``none`` for a linear model.
        name: What to call it; of the other three if missing.

    Raises:
        ModelError: If there is no such kind or activation, or no hidden layer.

    >>> from pyrovi.structure import structure_of
    >>> structure_of(network(depth=2, activation="relu")).name
    'bayesian_neural_network:regression(depth=2, relu)'
    """
    for what, came, there in (("kind", kind, KINDS), ("activation", activation, ACTIVATIONS)):
        said = f"No {what} of a network is {came!r}"
        refuse_unknown(came, there, ModelError, said, there="There are")
    if depth < 1:
        raise ModelError(f"A network needs depth of 1 or more, and {depth} came.")
    layers = functools.partial(_layers, depth=depth)
    model = _model(kind, layers, ACTIVATIONS[activation])
    units = tuple(Exchangeable(f"unit_{layer}") for layer in range(1, depth + 1))
    dims = {f"weight_{layer}": (f"unit_{layer - 1}",) for layer in range(2, depth + 2)}
    if kind == "classification":
        dims["probability"] = ("class",)
    named = name or f"bayesian_neural_network:{kind}(depth={depth}, {activation})"
    dims["weight_1"] = ("covariate",)
    return declare(name=named, exchangeable=units, dims=dims)(model)


def _model(
    kind: str, layers: Callable[..., Any], activation: Callable[[Tensor], Tensor]
) -> Callable[..., None]:
    def continuous(
        outcome: Tensor,
        x: Tensor,
        width: Any = WIDTH,
        weight_scale: Tensor | float = 1.0,
        bias_scale: Tensor | float = 1.0,
        output_scale: Tensor | float = 1.0,
        batch: int | None = None,
    ) -> None:
        varying = kind == "heteroscedastic"
        scales = (weight_scale, bias_scale, output_scale)
        x = _checked(outcome, x, scales, batch)
        weights = layers(x, width, scales, outputs=1 + varying, plate="output")
        noise = None if varying else pyro.sample("noise", dist.LogNormal(NOISE_LOC, NOISE_SCALE))
        with pyro.plate("row", outcome.shape[-1], dim=-1, subsample_size=batch) as rows:
            f = propagate(_picked(x, rows, batch, dim=-2), weights, activation)
            mean = pyro.deterministic("mean", f[..., 0], event_dim=0)
            if noise is None:
                noise = pyro.deterministic("sd", torch.exp(NOISE_LOC + f[..., 1]), event_dim=0)
            seen = _picked(outcome, rows, batch, dim=-1)
            pyro.sample("outcome", dist.Normal(mean, noise), obs=seen)

    def classes_of(
        outcome: Tensor,
        x: Tensor,
        classes: Any,
        width: Any = WIDTH,
        weight_scale: Tensor | float = 1.0,
        bias_scale: Tensor | float = 1.0,
        output_scale: Tensor | float = 1.0,
        batch: int | None = None,
    ) -> None:
        scales = (weight_scale, bias_scale, output_scale)
        x, classes = _checked(outcome, x, scales, batch), _class_count(outcome, classes)
        weights = layers(x, width, scales, outputs=classes, plate="class")
        with pyro.plate("row", outcome.shape[-1], dim=-1, subsample_size=batch) as rows:
            f = propagate(_picked(x, rows, batch, dim=-2), weights, activation)
            pyro.deterministic("probability", f.softmax(-1), event_dim=1)
            seen = _picked(outcome, rows, batch, dim=-1)
            pyro.sample("outcome", dist.Categorical(logits=f), obs=seen)

    return classes_of if kind == "classification" else continuous


def _checked(outcome: Tensor, x: Tensor, scales: Sequence[Any], batch: Any) -> Tensor:
    """``x`` as floats; what is wrong with the arguments is said, as they may come from anyone."""
    if x.ndim != 2 or x.shape[:1] != outcome.shape:
        raise DataError(
            f"x is a matrix with a row for each value of outcome, and shapes {tuple(x.shape)} and "
            f"{tuple(outcome.shape)} came. Of one covariate, give x[:, None]."
        )
    for name, value in zip(("weight", "bias", "output"), scales, strict=True):
        scale(f"{name}_scale", value, of="a prior")
    if batch is not None:
        whole_number("batch", batch, most=len(x))
    return as_floats(x)


def _class_count(outcome: Tensor, given: Any) -> int:
    classes = whole_number("classes", given, most=WIDEST)
    low, high = outcome.min().item(), outcome.max().item()
    if low < 0 or high >= classes:
        raise DataError(
            f"outcome is the index of a class, 0 to {classes - 1}, and values from {low:g} to "
            f"{high:g} came. Number the classes from 0, and give how many: classes=3, say."
        )
    return classes


def _picked(values: Tensor, rows: Tensor | None, batch: int | None, *, dim: int) -> Tensor:
    return values if batch is None or rows is None else values.index_select(dim, rows)


def _layers(
    x: Tensor, width: Any, scales: Sequence[Any], *, outputs: int, plate: str, depth: int
) -> list[tuple[Tensor, Tensor]]:
    """The weights and biases of each layer, drawn from their priors."""
    weight_scale, bias_scale, output_scale = scales
    width = whole_number("width", width, most=WIDEST)
    below, layers = x.shape[-1], []
    for layer in range(1, depth + 2):
        top = layer == depth + 1
        size, name = (outputs, plate) if top else (width, f"unit_{layer}")
        of_weight, of_bias = (output_scale,) * 2 if top else (weight_scale, bias_scale)
        spread = x.new_ones(below) * of_weight / math.sqrt(below)
        weights = dist.Normal(x.new_zeros(below), spread).to_event(1)
        biases = dist.Normal(x.new_tensor(0.0), x.new_tensor(1.0) * of_bias)
        with pyro.plate(name, size, dim=-1):
            weight = pyro.sample(f"weight_{layer}", weights)
            layers.append((weight, pyro.sample(f"bias_{layer}", biases)))
        below = size
    return layers


FORMS: Mapping[str, Callable[..., None]] = {
    "regression": network("regression", name="bayesian_neural_network"),
    "heteroscedastic": network("heteroscedastic", name="bayesian_neural_network:heteroscedastic"),
    "classification": network("classification", name="bayesian_neural_network:classification"),
    "deep": network(depth=2, activation="relu", name="bayesian_neural_network:deep"),
}
