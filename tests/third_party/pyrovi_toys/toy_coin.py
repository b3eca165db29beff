"""A coin, tossed many times: its posterior is a beta distribution, exactly.

Buffon tossed a coin 4,040 times and had 2,048 heads (Buffon 1777, "Essai d'arithmetique morale").
"""

import numpy as np
import pyro
import pyro.distributions as dist
import xarray as xr
from torch import Tensor

from pyrovi.models import Variant, ZooModel, run_forward
from pyrovi.tree import data_tree

TOSSES, HEADS = 4040, 2048


def coin(heads: Tensor) -> None:
    """Tosses of one coin, which may lean."""
    lean = pyro.sample("lean", dist.Beta(heads.new_tensor(2.0), heads.new_tensor(2.0)))
    with pyro.plate("toss", heads.shape[-1], dim=-1):
        pyro.sample("heads", dist.Bernoulli(lean), obs=heads)


def simulate(seed: int | None = None) -> xr.DataTree:
    """A hundred tosses of a coin from the prior."""
    import torch

    drawn = run_forward(coin, seed or 0, {"heads": torch.zeros(100, dtype=torch.float64)})
    return data_tree({"heads": ("toss", drawn["heads"])}, truth={"lean": drawn["lean"]})


def buffon() -> xr.DataTree:
    """Buffon's tosses, the heads first."""
    return data_tree({"heads": ("toss", (np.arange(TOSSES) < HEADS).astype(float))})


TOY_COIN = ZooModel(
    name="toy_coin",
    title="A coin, tossed many times",
    model=coin,
    simulate=simulate,
    loaders={"buffon": buffon},
    variants={"plain": Variant(model=coin)},
)
