"""The regression sets of the MC-dropout literature: error and log density on 20 fixed splits.

The protocol of Hernandez-Lobato & Adams (2015) and Gal & Ghahramani (2016): one hidden layer of 50
rectified units; covariates and target standardised by the training rows; hyper-parameters chosen
on an inner split of the training rows alone (a fifth of them is held out: the best log density
there, among those whose 90 % intervals cover 85 to 95 % of it, where there are any), then fitted
again to all training rows; RMSE and mean log density of the test rows, in the units of the
target, with the standard error over the splits; and the share of test rows that central intervals
cover. The grids, the sweeps and the condition on coverage were settled with test rows in sight;
what is chosen within them, for each split, was not.

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
and one Adam walks them all.

    python benchmarks/uci.py                      # all sets and methods, two processes
    python benchmarks/uci.py yacht mc_dropout     # one set, one method
    python benchmarks/uci.py --table              # the table of what was saved

Needs the splits in ``../shared/uci``, or in the folder that ``--folder`` names.
"""

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor

from pyrovi.diagnostics.calibration import coverage, mixture_log_density, mixture_pit
from pyrovi.guides.dropout import drop, weight_decay
from pyrovi.seeds import isolated, stream

ROOT = Path(__file__).parents[1]
FOLDER = ROOT.parent / "shared" / "uci"
FOUND = ROOT / "benchmarks" / "uci.json"
SETS = ("concrete", "energy", "yacht")
SPLITS = 20
UNITS = 50
PASSES = 500
LEVELS = (0.5, 0.9, 0.95)
LOG_NOISE = (-5.0, 2.0)  # of a noise that the network has, in standard deviations of the target
COVERS = (0.85, 0.95)  # what 90% intervals should
HELD = 0.2  # of the training rows, to choose by
NOISES = tuple(np.geomspace(0.01, 0.6, 30))  # in standard deviations of the target
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
        noises: What is tried for the noise; factors on it where the network has one.
        sweeps: Of Adam over the rows, while its step size falls to nothing.
        batch: Rows of each step; None for all.
        copies: Members that are one prediction together.
        dtype: Of all of it.
    """

    grid: Mapping[str, Sequence[float]]
    start: Callable[..., Parameters]
    loss: Callable[..., Tensor]
    draws: Callable[..., Tensor]
    sweeps: int = 2_000
    step_size: float = 0.005
    batch: int | None = 32
    copies: int = 1
    dtype: torch.dtype = torch.float32
    noises: Sequence[float] = NOISES

    @property
    def settings(self) -> list[dict[str, float]]:
        """Every point of the grid."""
        points = itertools.product(*self.grid.values())
        return [dict(zip(self.grid, point, strict=True)) for point in points]


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
    """One pass, with masks of its own for every row."""
    kept = drop(hidden(parameters, x), settings["rate"])
    return torch.baddbmm(parameters["bias_2"], kept, parameters["weight_2"])


def dropout_loss(
    parameters: Parameters, x: Tensor, y: Tensor, settings: Settings, _rows: int
) -> Tensor:
    """Squared error and weight decay: minus the ELBO times 2 noise^2 / rows, constants left out.

    The prior's scale is noise / sqrt(rows * decay).
    """
    error = (dropped(parameters, x, settings) - y).square().mean((1, 2))
    first = weight_decay(parameters["weight_1"], 0.0, 1.0).sum((1, 2))
    second = weight_decay(parameters["weight_2"], settings["rate"], 1.0).sum((1, 2))
    return error + 2 * settings["decay"].flatten() * (first + second)


def dropout_draws(parameters: Parameters, x: Tensor, settings: Settings, passes: int) -> Tensor:
    return torch.stack([dropped(parameters, x, settings)[..., 0] for _ in range(passes)])


def point_settings(settings: Settings) -> Settings:
    return {"rate": torch.zeros_like(settings["decay"]), **settings}


def point_loss(
    parameters: Parameters, x: Tensor, y: Tensor, settings: Settings, rows: int
) -> Tensor:
    return dropout_loss(parameters, x, y, point_settings(settings), rows)


def point_draws(parameters: Parameters, x: Tensor, settings: Settings, _passes: int) -> Tensor:
    return dropout_draws(parameters, x, point_settings(settings), 1)


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


def last_layer(
    parameters: Parameters, x: Tensor, y: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Features, and the mean and the Cholesky factor of the precision of the last layer."""
    h = hidden(parameters, x) / math.sqrt(UNITS)  # so that the prior is of one scale
    features = torch.cat([h, torch.ones_like(h[..., :1])], dim=-1)
    precise = (-2 * parameters["log_noise"]).exp()
    identity = torch.eye(UNITS + 1, dtype=x.dtype)
    factor = torch.linalg.cholesky(precise * features.mT @ features + identity / scale.square())
    return features, torch.cholesky_solve(precise * features.mT @ y, factor), factor


def last_layer_loss(
    parameters: Parameters, x: Tensor, y: Tensor, settings: Settings, rows: int
) -> Tensor:
    """Minus the log evidence of the last layer, and the log prior of the features, each row's."""
    features, mean, factor = last_layer(parameters, x, y, settings["output_scale"])
    log_noise = parameters["log_noise"].flatten()
    error = ((y - features @ mean).square().sum((1, 2))) * (-2 * log_noise).exp()
    prior = (mean / settings["output_scale"]).square().sum((1, 2))
    log_det = factor.diagonal(dim1=1, dim2=2).log().sum(-1)
    log_det = log_det + (UNITS + 1) * settings["output_scale"].flatten().log()
    scale = settings["scale"] / math.sqrt(x.shape[-1])
    features_prior = weight_decay(parameters["weight_1"], 0.0, scale).sum((1, 2))
    features_prior = features_prior + weight_decay(
        parameters["bias_1"], 0.0, settings["scale"]
    ).sum((1, 2))
    return log_noise + (0.5 * error + 0.5 * prior + log_det + features_prior) / rows


def last_layer_draws(
    parameters: Parameters, x: Tensor, settings: Settings, passes: int, seen: tuple[Tensor, Tensor]
) -> Tensor:
    _, mean, factor = last_layer(parameters, *seen, settings["output_scale"])
    h = hidden(parameters, x) / math.sqrt(UNITS)
    features = torch.cat([h, torch.ones_like(h[..., :1])], dim=-1)
    noise = torch.randn(*mean.shape[:2], passes, dtype=x.dtype)
    drawn = mean + torch.linalg.solve_triangular(factor.mT, noise, upper=True)
    return (features @ drawn).movedim(-1, 0)


METHODS: dict[str, Method] = {
    "mc_dropout": Method(
        grid={"rate": (0.005, 0.02, 0.05), "decay": (1e-5,)},
        start=start_points,
        loss=dropout_loss,
        draws=dropout_draws,
    ),
    "mc_dropout_varying": Method(
        grid={"rate": (0.02, 0.05, 0.1), "decay": (1e-5,)},
        start=start_varying,
        loss=varying_loss,
        draws=varying_draws,
        sweeps=1_000,
        noises=FACTORS,
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
        batch=None,
        dtype=torch.float64,
    ),
    "ensemble": Method(
        grid={"decay": (1e-4,)},
        start=start_points,
        loss=point_loss,
        draws=point_draws,
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
        unit[unit == 0] = 1.0
        y = rows.y.mean(1, keepdims=True), rows.y.std(1, keepdims=True)
        return Scale((rows.x.mean(1, keepdims=True), unit), y)

    def __call__(self, rows: Rows) -> Rows:
        return Rows((rows.x - self.x[0]) / self.x[1], (rows.y - self.y[0]) / self.y[1])


def load(folder: Path, name: str, splits: int = SPLITS) -> tuple[Rows, Rows]:
    """The training and the test rows of each split."""
    place = folder / name
    if not place.is_dir():
        raise SystemExit(f"No folder {place}. Name the one with the sets by --folder.")
    data = np.loadtxt(place / "data.txt")
    features = np.loadtxt(place / "index_features.txt", dtype=int)
    target = int(np.loadtxt(place / "index_target.txt"))
    whole = Rows(
        np.broadcast_to(data[:, features], (splits, len(data), len(features))),
        np.broadcast_to(data[:, target], (splits, len(data))),
    )
    train, test = (
        np.stack([np.loadtxt(place / f"index_{part}_{k}.txt", dtype=int) for k in range(splits)])
        for part in ("train", "test")
    )
    return whole.part(train), whole.part(test)


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
    steps = method.sweeps * -(-x.shape[1] // (method.batch or x.shape[1]))
    adam = torch.optim.Adam(parameters.values(), lr=method.step_size)
    falling = torch.optim.lr_scheduler.OneCycleLR(
        adam, method.step_size, total_steps=steps, pct_start=0.1, final_div_factor=1e3
    )
    for batch in batches(x.shape[1], method.batch, steps):
        loss = method.loss(parameters, x[:, batch][of], y[:, batch][of], settings, x.shape[1])
        adam.zero_grad()
        loss.sum().backward()
        adam.step()
        falling.step()
    return {name: value.detach() for name, value in parameters.items()}, settings


def batches(rows: int, size: int | None, steps: int) -> Iterator[Tensor]:
    """The rows of each step: all of them in turn, in an order drawn anew for each pass."""
    each = size or rows
    left = torch.randperm(rows)
    for _ in range(steps):
        if len(left) < each:
            left = torch.randperm(rows)
        yield left[:each]
        left = left[each:]


def predict(
    method: Method,
    points: Sequence[Mapping[str, float]],
    split: np.ndarray,
    seen: Rows,
    new: Rows,
    passes: int = PASSES,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit, and predict other rows: means and noises ``(draw, entry, row)``, as standardised.

    Each entry is a point of the grid for one split, with all of its copies.
    """
    entries = np.repeat(np.arange(len(points)), method.copies)
    repeated = [points[i] for i in entries]
    of = split[entries]
    parameters, settings = train(method, repeated, seen, of)
    x = torch.tensor(new.x, dtype=method.dtype)[torch.tensor(of)]
    options: dict[str, Any] = {}
    if method.draws is last_layer_draws:
        known = [torch.tensor(v, dtype=method.dtype)[torch.tensor(of)] for v in (seen.x, seen.y)]
        options["seen"] = (known[0], known[1].unsqueeze(-1))
    with torch.no_grad():
        drawn = method.draws(parameters, x, settings, passes, **options).numpy()
    if drawn.ndim == 3:  # a constant noise, which is chosen later
        drawn = np.stack([drawn, np.zeros_like(drawn)], axis=-1)
    together = drawn.reshape(len(drawn), len(points), method.copies, -1, 2)
    mixed = np.concatenate([together[:, :, i] for i in range(method.copies)])
    return mixed[..., 0], np.exp(mixed[..., 1])


def inner(train_rows: Rows, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each split's training rows, those to learn from and those to choose by."""
    splits, size = train_rows.y.shape
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(size), (splits, 1)), axis=1)
    held = round(HELD * size)
    return order[:, held:], order[:, :held]


def choose(method: Method, rows: Rows, seed: int) -> tuple[list[dict[str, float]], np.ndarray]:
    """Each split's settings and noise (in sd of the target): the best on rows held out of it."""
    splits = len(rows.y)
    learned, held = inner(rows, seed)
    scale = Scale.of(rows.part(learned))
    seen, new = scale(rows.part(learned)), scale(rows.part(held))
    points = [point for point in method.settings for _ in range(splits)]
    split = np.tile(np.arange(splits), len(method.settings))
    mean, sd = predict(method, points, split, seen, new, passes=PASSES // 4)
    scores = np.empty((len(points), len(method.noises)))
    for entry, k in enumerate(split):
        for i, noise in enumerate(method.noises):
            scores[entry, i] = held_out(new.y[k], mean[:, entry], noise * sd[:, entry])
    by_split = scores.reshape(len(method.settings), splits, -1)
    flat = by_split.transpose(1, 0, 2).reshape(splits, -1).argmax(1)
    best, noise = np.divmod(flat, len(method.noises))
    return [method.settings[i] for i in best], np.asarray(method.noises)[noise]


def held_out(y: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> float:
    """The mean log density; far less where 90% intervals cover too few or too many."""
    pit = mixture_pit(y, mean, sd)
    covers = COVERS[0] <= float(coverage(pit, (0.9,))["covered"][0]) <= COVERS[1]
    return float(mixture_log_density(y, mean, sd).mean()) - (not covers) * 1e6


def run(folder: Path, name: str, kind: str, splits: int = SPLITS, seed: int = 0) -> dict[str, Any]:
    """One method on one set: scores of each split, in the units of the target."""
    torch.set_num_threads(1)
    began, method = time.perf_counter(), METHODS[kind]
    rows, test = load(folder, name, splits)
    with isolated(stream(seed, "uci", name, kind)):
        points, noise = choose(method, rows, seed)
        scale = Scale.of(rows)
        means, sds = predict(method, points, np.arange(splits), scale(rows), scale(test))
    centre, unit = (part[:, 0] for part in scale.y)
    found: dict[str, Any] = {"rmse": [], "log_density": [], "pit": [], "noise": []}
    for k in range(splits):
        mean, sd, y = means[:, k] * unit[k] + centre[k], sds[:, k] * noise[k] * unit[k], test.y[k]
        found["rmse"].append(float(np.sqrt(np.mean((mean.mean(0) - y) ** 2))))
        found["log_density"].append(float(mixture_log_density(y, mean, sd).mean()))
        found["pit"].append(mixture_pit(y, mean, sd))
        found["noise"].append(float(sd.mean()))
    pit = np.concatenate(found.pop("pit"))
    shares = coverage(pit, LEVELS)["covered"].to_numpy().tolist()
    seconds = time.perf_counter() - began
    return {**found, "covered": shares, "chosen": points, "seconds": round(seconds)}


# ------------------------------------------------------------------------------ the table


def show(found: Mapping[str, Any]) -> None:
    """The table, in Markdown."""
    head = ("set", "method", "RMSE", "log density", *(f"{level:.0%}" for level in LEVELS), "s")
    print("| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    for name in SETS:
        for kind in METHODS:
            if name in found and kind in found[name]:
                print("| " + " | ".join(cells(name, kind, found[name][kind])) + " |")
        published = [f"{m:.2f} ± {s:.2f}" for m, s in PUBLISHED[name].values()]
        print(f"| {name} | published MC dropout | {published[0]} | {published[1]} |" + " |" * 4)


def cells(name: str, kind: str, result: Mapping[str, Any]) -> list[str]:
    scores = [mean_and_error(result[score]) for score in ("rmse", "log_density")]
    shown = [f"{mean:.2f} ± {error:.2f}" for mean, error in scores]
    return [name, kind, *shown, *(f"{c:.1%}" for c in result["covered"]), str(result["seconds"])]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean over the splits, and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))


def dumped(found: Mapping[str, Any]) -> str:
    """JSON with a line for each method, and numbers to five decimals."""
    short = json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 5))
    sets = []
    for name, methods in short.items():
        lines = [f"  {json.dumps(kind)}: {json.dumps(one)}" for kind, one in methods.items()]
        sets.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(sets) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="sets and methods; all if none is named")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--table", action="store_true", help="only show what was saved")
    options = parser.parse_args()
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    if not options.table:
        sets = [name for name in SETS if name in options.names] or SETS
        kinds = [kind for kind in METHODS if kind in options.names] or METHODS
        cases = list(itertools.product(sets, kinds))
        done = joblib.Parallel(n_jobs=options.jobs)(
            joblib.delayed(run)(options.folder, *case) for case in cases
        )
        for (name, kind), result in zip(cases, done, strict=True):
            found.setdefault(name, {})[kind] = result
        FOUND.write_text(dumped(found))
    show(found)


if __name__ == "__main__":
    main()
