r"""Bayesian neural network: a function of unknown form, and where it is not known.

A perceptron of :math:`L` hidden layers whose weights have normal priors,

.. math::  h_0 = x, \quad h_k = a(W_k h_{k-1} + b_k), \quad f(x) = W_{L+1} h_L + b_{L+1},

.. math::  W_k \sim N(0, s^2 / n_{k-1}), \quad b_k \sim N(0, s_b^2), \quad
           W_{L+1} \sim N(0, s_f^2 / n_L), \quad b_{L+1} \sim N(0, s_f^2),

where :math:`n_k` is the width of layer :math:`k`, so that wider is not wilder (Neal 1996): as the
widths grow the prior of :math:`f` tends to a Gaussian process. Weights are outputs by inputs.

- ``regression``, the default: :math:`y_i \sim N(f(x_i), \sigma)`, the noise learned;
- ``heteroscedastic``: :math:`f` has two outputs, the mean and the log of the noise;
- ``classification``: :math:`y_i` is of class :math:`c` with probability softmax
  :math:`f_c(x_i)`;
- ``deep``: as ``regression``, with two hidden layers of rectified units.

`network` makes any other: depth, activation. Widths and prior scales are data, for all of them.

**What a test can hold.** The weights have no meaning of their own: hidden units may be renamed
(declared) and, for odd activations, flipped in sign, so that :math:`2^n n!` modes mean
the same. What is known is the function: ``mean`` and ``sd`` or ``probability`` of each
row are deterministic sites, and summaries, checks and comparisons are read from those. Held to:
given the features, the exact Gaussian posterior of the last layer; long NUTS, at the rows; a
priori, the arc-cosine kernel, and with the width the Gaussian process.

**Units.** Covariates, and the outcome of a regression, are expected standardised; the real data
here are, and say so in their attributes ``centre`` and ``unit``.

References: Neal (1996), "Bayesian learning for neural networks"; Gal and Ghahramani (2016),
https://arxiv.org/abs/1506.02142
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
import xarray as xr
from torch import Tensor

from pyrovi.errors import DataError, ModelError
from pyrovi.models.entry import Variant, ZooModel, as_floats, run_forward, variant_named
from pyrovi.models.tables import Given, read_table, standardise, whole_number
from pyrovi.registry import nearest
from pyrovi.seeds import check_seed, stream
from pyrovi.structure import Exchangeable, declare
from pyrovi.tree import MISSING, data_tree

__all__ = [
    "BAYESIAN_NEURAL_NETWORK",
    "classification",
    "deep",
    "heteroscedastic",
    "network",
    "regression",
    "simulate",
]

WIDTH = 5
WIDEST = 10_000
DIGITS_WIDTH = 16
NOISE_LOC, NOISE_SCALE = math.log(0.5), 0.75  # of LogNormal, in sd of the outcome
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"tanh": torch.tanh, "relu": torch.relu, "silu": torch.nn.functional.silu, "none": lambda x: x}
)
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
        name: What to call it; of the kind, the depth and the activation if missing.

    Raises:
        ModelError: If there is no such kind or activation, or no hidden layer.

    >>> from pyrovi.structure import structure_of
    >>> structure_of(network(depth=2, activation="relu")).name
    'bayesian_neural_network:regression(depth=2, relu)'
    """
    _refuse_unknown("kind", kind, KINDS)
    _refuse_unknown("activation", activation, tuple(ACTIVATIONS))
    if depth < 1:
        raise ModelError(f"A network needs depth of 1 or more, and {depth} came.")
    parts = functools.partial(_layers, depth=depth)
    model = _model(kind, parts, ACTIVATIONS[activation])
    units = tuple(Exchangeable(f"unit_{layer}") for layer in range(1, depth + 1))
    dims = {f"weight_{layer}": (f"unit_{layer - 1}",) for layer in range(2, depth + 2)}
    if kind == "classification":
        dims["probability"] = ("class",)
    named = name or f"bayesian_neural_network:{kind}(depth={depth}, {activation})"
    return declare(name=named, exchangeable=units, dims={"weight_1": ("covariate",), **dims})(
        model
    )


def _refuse_unknown(what: str, came: str, known: Sequence[str]) -> None:
    if came not in known:
        raise ModelError(
            f"No {what} of a network is {came!r}{nearest(came, known)}. "
            f"There are: {', '.join(known)}."
        )


Layers = Callable[..., list[tuple[Tensor, Tensor]]]


def _model(
    kind: str, layers: Layers, activation: Callable[[Tensor], Tensor]
) -> Callable[..., None]:
    def continuous(
        outcome: Tensor,
        x: Tensor,
        width: Given = WIDTH,
        weight_scale: Tensor | float = 1.0,
        bias_scale: Tensor | float = 1.0,
        output_scale: Tensor | float = 1.0,
        batch: int | None = None,
    ) -> None:
        varying = kind == "heteroscedastic"
        scales = (weight_scale, bias_scale, output_scale)
        _check(outcome, x, scales, batch, width=width)
        x = as_floats(x)
        weights = layers(x, width, scales, outputs=1 + varying, plate="output")
        noise = None if varying else pyro.sample("noise", dist.LogNormal(NOISE_LOC, NOISE_SCALE))
        with pyro.plate("row", outcome.shape[-1], dim=-1, subsample_size=batch) as rows:
            f = propagate(_picked(x, rows, batch, dim=-2), weights, activation)
            mean = pyro.deterministic("mean", f[..., 0], event_dim=0)
            if noise is None:
                noise = torch.exp(NOISE_LOC + f[..., 1])
                noise = pyro.deterministic("sd", noise, event_dim=0)
            seen = _picked(outcome, rows, batch, dim=-1)
            pyro.sample("outcome", dist.Normal(mean, noise), obs=seen)

    def classes_of(
        outcome: Tensor,
        x: Tensor,
        classes: Given,
        width: Given = WIDTH,
        weight_scale: Tensor | float = 1.0,
        bias_scale: Tensor | float = 1.0,
        output_scale: Tensor | float = 1.0,
        batch: int | None = None,
    ) -> None:
        scales = (weight_scale, bias_scale, output_scale)
        _check(outcome, x, scales, batch, width=width, classes=classes)
        _check_classes(outcome, classes)
        x = as_floats(x)
        weights = layers(x, width, scales, outputs=classes, plate="class")
        with pyro.plate("row", outcome.shape[-1], dim=-1, subsample_size=batch) as rows:
            f = propagate(_picked(x, rows, batch, dim=-2), weights, activation)
            probability = f.softmax(-1)
            pyro.deterministic("probability", probability, event_dim=1)
            seen = _picked(outcome, rows, batch, dim=-1)
            pyro.sample("outcome", dist.Categorical(logits=f), obs=seen)

    return classes_of if kind == "classification" else continuous


def _check(outcome: Tensor, x: Tensor, scales: Sequence[Any], batch: Any, **sizes: Any) -> None:
    """Say what is wrong with the arguments; they may come from anyone."""
    if x.ndim != 2 or x.shape[:1] != outcome.shape:
        raise DataError(
            f"x is a matrix with a row for each value of outcome, and shapes {tuple(x.shape)} and "
            f"{tuple(outcome.shape)} came. Of one covariate, give x[:, None]."
        )
    rows = len(x)
    for name, came in {**sizes, **({} if batch is None else {"batch": batch})}.items():
        most = rows if name == "batch" else WIDEST
        if not isinstance(came, int) or isinstance(came, bool) or not 1 <= came <= most:
            shown = came.tolist() if isinstance(came, Tensor) else came
            raise DataError(f"{name} is a whole number from 1 to {most}, and {shown!r} came.")
    for name, came in zip(("weight", "bias", "output"), scales, strict=True):
        if not bool((torch.as_tensor(came) > 0).all()):
            shown = came.tolist() if isinstance(came, Tensor) else came
            raise DataError(
                f"{name}_scale is the standard deviation of a prior, above 0, and {shown!r} came."
            )


def _check_classes(outcome: Tensor, classes: int) -> None:
    low, high = outcome.min().item(), outcome.max().item()
    if low < 0 or high >= classes:
        raise DataError(
            f"outcome is the index of a class, 0 to {classes - 1}, and values from {low:g} to "
            f"{high:g} came. Number the classes from 0, and give how many: classes=3, say."
        )


def _picked(values: Tensor, rows: Tensor | None, batch: int | None, *, dim: int) -> Tensor:
    return values if batch is None or rows is None else values.index_select(dim, rows)


def _layers(
    x: Tensor,
    width: int,
    scales: tuple[Tensor | float, Tensor | float, Tensor | float],
    *,
    outputs: int,
    plate: str,
    depth: int,
) -> list[tuple[Tensor, Tensor]]:
    """The weights and biases of each layer, drawn from their priors."""
    weight_scale, bias_scale, output_scale = scales
    below, found = x.shape[-1], []
    for layer in range(1, depth + 2):
        top = layer == depth + 1
        size, name = (outputs, plate) if top else (width, f"unit_{layer}")
        scale = output_scale if top else weight_scale
        with pyro.plate(name, size, dim=-1):
            spread = x.new_ones(below) * scale / math.sqrt(below)
            weight = pyro.sample(
                f"weight_{layer}", dist.Normal(x.new_zeros(below), spread).to_event(1)
            )
            spread = x.new_tensor(1.0) * (output_scale if top else bias_scale)
            bias = pyro.sample(f"bias_{layer}", dist.Normal(x.new_tensor(0.0), spread))
        found.append((weight, bias))
        below = size
    return found


regression = network("regression", name="bayesian_neural_network")
heteroscedastic = network("heteroscedastic", name="bayesian_neural_network:heteroscedastic")
classification = network("classification", name="bayesian_neural_network:classification")
deep = network("regression", depth=2, activation="relu", name="bayesian_neural_network:deep")

FORMS: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        "regression": regression,
        "heteroscedastic": heteroscedastic,
        "classification": classification,
        "deep": deep,
    }
)


def simulate(
    seed: int | None = None,
    *,
    n: int = 60,
    covariates: int = 2,
    width: int = 5,
    classes: int = 3,
    variant: str = "regression",
) -> xr.DataTree:
    """A network drawn from the prior, seen with its noise at covariates that are standard normal.

    Args:
        seed: Of all random choices; a fresh one if missing.
        n: Rows.
        covariates: How many.
        width: Units of each hidden layer.
        classes: How many, for ``classification``.
        variant: The form of the model that is drawn from.

    Returns:
        ``outcome`` (row), ``x`` (row, covariate), ``width``; and the drawn weights as ``truth``.

    Raises:
        DataError: If a size is below one.
    """
    if min(n, covariates, width, classes) < 1:
        raise DataError(
            f"A network needs n, covariates, width and classes of at least 1; {n=}, "
            f"{covariates=}, {width=}, {classes=} came."
        )
    seed = check_seed(seed)
    rng = np.random.default_rng(stream(seed, "bayesian_neural_network", "x"))
    x = rng.standard_normal((n, covariates))
    labelled = variant == "classification"
    blank = torch.zeros(n, dtype=torch.int64 if labelled else torch.float64)
    sizes = {"width": width, **({"classes": classes} if labelled else {})}
    arguments = {"outcome": blank, "x": torch.tensor(x), **sizes}
    model = variant_named(variant, FORMS)
    drawn = run_forward(model, stream(seed, "bayesian_neural_network", variant), arguments)
    outcome = drawn.pop("outcome")
    truth = {name: (_dims(name, drawn, labelled), value) for name, value in drawn.items()}
    return data_tree(
        observed={"outcome": ("row", outcome)},
        constant={"x": (("row", "covariate"), x), **sizes},
        truth=truth,
    )


def _dims(name: str, drawn: Mapping[str, np.ndarray], labelled: bool) -> tuple[str, ...]:
    """The dims of a site of `simulate`."""
    known = {"mean": ("row",), "sd": ("row",), "noise": (), "probability": ("row", "class")}
    if name in known:
        return known[name]
    layer = int(name.rpartition("_")[2])
    top = "class" if labelled else "output"
    own = f"unit_{layer}" if f"weight_{layer + 1}" in drawn else top
    below = "covariate" if layer == 1 else f"unit_{layer - 1}"
    return (own, below) if name.startswith("weight") else (own,)


# ------------------------------------------------------------------------------ real data


def read(
    frame: pd.DataFrame,
    *,
    outcome: str,
    covariates: str | Sequence[str] | None = None,
    width: Given = WIDTH,
) -> xr.DataTree:
    """The data of any table with a number to predict; covariates and outcome are standardised.

    Args:
        frame: The table. A row whose outcome is empty is predicted.
        outcome: The column to predict.
        covariates: The columns to predict from; all others if not given.
        width: Units of each hidden layer.

    Raises:
        DataError: If the table does not hold what is asked of it; the message says where.

    >>> frame = pd.DataFrame({"age": [1.0, 2.0, 3.0], "price": [5.0, 4.0, 0.0]})
    >>> read(frame, outcome="price")["observed_data"]["outcome"].attrs["centre"]
    3.0
    """
    table = read_table(frame, outcome=outcome, covariates=covariates)
    values, centre, unit = standardise(table.numbers())
    about = {"units": "standard deviations", "centre": centre, "unit": unit, "long_name": outcome}
    return _tree(table.x, table.covariates, (values, about), width=width)


def read_classes(
    frame: pd.DataFrame,
    *,
    outcome: str,
    covariates: str | Sequence[str] | None = None,
    width: Given = WIDTH,
) -> xr.DataTree:
    """As `read`, for an outcome that names a class; the classes are numbered in sorted order.

    Raises:
        DataError: If the table does not hold what is asked of it; the message says where.
    """
    table = read_table(frame, outcome=outcome, covariates=covariates)
    index, names = table.classes()
    values = index if np.isnan(index).any() else index.astype(np.int64)
    about = {"long_name": outcome}
    return _tree(table.x, table.covariates, (values, about), width=width, names=names)


def _tree(
    x: np.ndarray,
    covariates: Sequence[str],
    outcome: tuple[np.ndarray, Mapping[str, Any]],
    *,
    width: Given,
    names: Sequence[str] | None = None,
) -> xr.DataTree:
    width = whole_number("width", width, most=WIDEST)
    values, own = outcome
    missing = {MISSING: 1} if np.isnan(values).any() else {}
    columns = [standardise(column) for column in x.T]
    about = {
        "units": "standard deviations",
        "centre": [centre for _, centre, _ in columns],
        "unit": [unit for *_, unit in columns],
    }
    given = np.column_stack([values for values, *_ in columns])
    sizes = {"width": width, **({"classes": len(names)} if names else {})}
    return data_tree(
        observed={"outcome": ("row", values, {**own, **missing})},
        constant={"x": (("row", "covariate"), given, about), **sizes},
        coords={"covariate": list(covariates), **({"class": list(names)} if names else {})},
    )


def diabetes() -> xr.DataTree:
    """Efron's diabetics: the disease's progression in a year, of 442, from 10 measurements."""
    from sklearn.datasets import load_diabetes

    bunch: Any = load_diabetes(as_frame=True, scaled=False)
    return read(bunch.frame, outcome="target")


def breast_cancer() -> xr.DataTree:
    """Wolberg's breast tumours, malignant or benign: 569, from 30 measurements of the cells."""
    from sklearn.datasets import load_breast_cancer

    return _classified(load_breast_cancer(), width=WIDTH)


def digits() -> xr.DataTree:
    """Alpaydin's handwritten digits, 8 x 8 pixels: 1797, of 10 classes; blank pixels left out."""
    from sklearn.datasets import load_digits

    return _classified(load_digits(), width=DIGITS_WIDTH)


def _classified(bunch: Any, *, width: int) -> xr.DataTree:
    varies = np.ptp(bunch.data, axis=0) > 0
    covariates = [str(n) for n, kept in zip(bunch.feature_names, varies, strict=True) if kept]
    names = [str(name) for name in bunch.target_names]
    outcome = (np.asarray(bunch.target), {"long_name": "class"})
    return _tree(bunch.data[:, varies], covariates, outcome, width=width, names=names)


def own(name: str, **others: Any) -> Variant:
    """The form of that name, which simulates itself."""
    return Variant(model=FORMS[name], simulate=functools.partial(simulate, variant=name), **others)


BAYESIAN_NEURAL_NETWORK = ZooModel(
    name="bayesian_neural_network",
    title="Bayesian neural network: a function of unknown form, and where it is not known",
    model=regression,
    simulate=simulate,
    loaders={"diabetes": diabetes},
    variants={
        **{name: own(name) for name in FORMS},
        "classification": own(
            "classification",
            loaders={"breast_cancer": breast_cancer, "digits": digits},
            reader=read_classes,
        ),
    },
    reader=read,
)
