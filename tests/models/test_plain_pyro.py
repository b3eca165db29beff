"""Each entry of the zoo under plain Pyro: its model and a guide, and nothing else of pyrovi.

The loss is Pyro's own. What comes out is held against the shelf's reference, or a closed form.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
import xarray as xr
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoNormal, init_to_median

from pyrovi import guides
from pyrovi.models import ZOO, ZooModel
from pyrovi.models.gravity_inversion import FORMS, Exact
from pyrovi.tree import METADATA

SHELF = Path(__file__).parents[2] / "models"
DRAWS = 300
PARTICLES: Any = {"num_particles": 4, "vectorize_particles": True, "max_plate_nesting": 2}

Drawn = dict[str, np.ndarray]
Reference = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Case:
    """What is fitted, for how long, and what is known of it.

    Attributes:
        known: From draws by site to some numbers, and from a reference to the same numbers: a
            mean, and how far off it may be.
        steps: Of Adam.
        step_size: The first; it falls to a hundredth of that.
        data: The data; None for the entry's own.
        reference: Means and sds by label; None for those on the shelf.
    """

    known: Callable[[Drawn], dict[str, float]]
    steps: int = 250
    step_size: float = 0.05
    data: xr.DataTree | None = None
    reference: Callable[[], Reference] | None = None


def grand_effect(drawn: Drawn) -> dict[str, float]:
    return {"mu": drawn["mu"].mean()}


def setosa(drawn: Drawn) -> dict[str, float]:
    """The flower that is apart has the shortest petals; its share is in closed form 52 in 156."""
    loc, weight = drawn["loc"].mean(0), drawn["weight"].mean(0)
    least = loc[:, 2].argmin()
    return {"weight[0]": weight[least]}


def slopes(drawn: Drawn) -> dict[str, float]:
    return {"population_mean[situps]": drawn["population_mean"].mean(0)[2]}


def size(drawn: Drawn) -> dict[str, float]:
    return {"size": np.abs(drawn["x"]).mean()}


def function(drawn: Drawn) -> dict[str, float]:
    """What the network says of three of the patients: its weights have no meaning of their own."""
    x = ZOO["bayesian_neural_network"].load()["constant_data"]["x"].to_numpy()
    found = {}
    for row in (0, 11, 44):
        hidden = np.tanh(drawn["weight_1"] @ x[row] + drawn["bias_1"])
        value = (drawn["weight_2"][:, 0] * hidden).sum(-1) + drawn["bias_2"][:, 0]
        found[f"mean[{row}]"] = value.mean()
    return found


SURVEY = ZOO["gravity_inversion"].simulate(5, cells=(2, 1, 5), stations=8, sigma=0.5)


def ground(drawn: Drawn) -> dict[str, float]:
    """The density of each cell: linear in the field, so that its mean is that of the mean."""
    model, mean = ZOO["gravity_inversion"].model, torch.as_tensor(drawn["field"].mean(0))
    held = pyro.poutine.condition(model, data={"field": mean})
    nodes: Any = pyro.poutine.trace(held).get_trace(**of_tree(SURVEY)).nodes
    return {
        str(cell): value.item() for cell, value in enumerate(nodes["density"]["value"].ravel())
    }


def closed_form() -> Reference:
    exact = Exact.of(SURVEY)
    cells = enumerate(zip(exact.mean.ravel(), exact.sd.ravel(), strict=True))
    return {str(cell): {"mean": mean, "sd": sd} for cell, (mean, sd) in cells}


CASES = {
    "bayesian_neural_network": Case(function),
    "eight_schools": Case(grand_effect, step_size=0.15),
    "gaussian_mixture": Case(setosa),
    "gravity_inversion": Case(ground, step_size=0.1, data=SURVEY, reference=closed_form),
    "multitask_regression": Case(slopes, steps=120),
    "quadratic_observation": Case(size),
}
GUIDES = {"mean field": partial(AutoNormal, init_loc_fn=init_to_median), "flow": guides.maf}


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()
    torch.set_default_dtype(torch.float32)


def of_tree(tree: xr.DataTree) -> dict[str, Any]:
    """The variables of the data, as tensors and numbers: they are the model's arguments."""
    groups = [tree[group].to_dataset() for group in ("observed_data", "constant_data")]
    variables = {str(n): v for group in groups for n, v in group.data_vars.items()}
    values = {n: v.to_numpy() for n, v in variables.items() if METADATA not in v.attrs}
    return {n: torch.as_tensor(v) if v.ndim else v.item() for n, v in values.items()}


def discrete(model: Callable[..., Any], given: dict[str, Any]) -> bool:
    nodes = pyro.poutine.trace(model).get_trace(**given).nodes.values()
    latent = [n for n in nodes if n["type"] == "sample" and not n["is_observed"]]
    return any(node["fn"].has_enumerate_support for node in latent)


def trained(entry: ZooModel, family: Any, case: Case, seed: int) -> tuple[list[float], Drawn]:
    """The losses of plain SVI, and draws from the guide."""
    pyro.set_rng_seed(seed)
    given = of_tree(entry.load() if case.data is None else case.data)
    model, elbo = entry.model, Trace_ELBO(**PARTICLES)
    hidden = model
    if discrete(model, given):
        model, elbo = config_enumerate(model), TraceEnum_ELBO(**PARTICLES)
        hidden = pyro.poutine.block(model, hide_fn=_enumerated)
    guide = family(model if isinstance(family, guides.Family) else hidden)
    falling = pyro.optim.ClippedAdam({"lr": case.step_size, "lrd": 0.01 ** (1 / case.steps)})
    svi: Any = SVI(model, guide, falling, elbo)
    losses = [svi.step(**given) for _ in range(case.steps)]
    with torch.no_grad():
        drawn = [guide(**given) for _ in range(DRAWS)]
    return losses, {n: np.stack([each[n].numpy() for each in drawn]) for n in drawn[0]}


def shelved(name: str) -> Reference:
    kept = json.loads((SHELF / name / "reference.json").read_text())
    return next(iter(kept["variants"].values()))["quantities"]


def _enumerated(node: Any) -> bool:
    return node["type"] == "sample" and getattr(node["fn"], "has_enumerate_support", False)


def test_every_entry_has_a_case() -> None:
    assert CASES.keys() == ZOO.members.keys()


@pytest.mark.parametrize("kind", GUIDES)
@pytest.mark.parametrize("name", CASES)
def test_an_entry_trains_under_plain_pyro_and_finds_what_is_known(name: str, kind: str) -> None:
    entry, case = ZOO[name], CASES[name]
    losses, drawn = trained(entry, GUIDES[kind], case, seed=0)
    assert np.isfinite(losses).all()
    tenth = len(losses) // 10
    assert np.mean(losses[-tenth:]) < np.mean(losses[:tenth])
    reference = shelved(name) if case.reference is None else case.reference()
    for label, value in case.known(drawn).items():
        row = reference[label]
        assert abs(value - row["mean"]) < 0.5 * row["sd"], label


@pytest.mark.parametrize("variant", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_form_of_the_ground_takes_its_strength_as_a_number(
    variant: str, dtype: torch.dtype
) -> None:
    torch.set_default_dtype(dtype)
    model, given = FORMS[variant], of_tree(SURVEY)
    assert isinstance(given["strength"], float)
    tensors = {n: v.to(dtype) for n, v in given.items() if isinstance(v, torch.Tensor)}
    family = AutoNormal(model, init_loc_fn=init_to_median)
    svi: Any = SVI(model, family, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    losses = [svi.step(**{**given, **tensors}) for _ in range(3)]
    assert np.isfinite(losses).all()
    both = [
        pyro.poutine.trace(pyro.poutine.seed(model, rng_seed=0)).get_trace(
            **{**given, **tensors, "strength": strength}
        )
        for strength in (given["strength"], torch.tensor(given["strength"], dtype=dtype))
    ]
    density: list[Any] = [trace.nodes["density"]["value"] for trace in both]
    assert density[0].dtype == dtype
    torch.testing.assert_close(*density)
