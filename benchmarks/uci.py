"""The regression sets of the MC-dropout literature: error and log density on 20 fixed splits.

The protocol of Hernandez-Lobato & Adams (2015) and Gal & Ghahramani (2016): one hidden layer of 50
rectified units; covariates and target standardised by the training rows; hyper-parameters chosen
on an inner split of the training rows alone (a fifth of them, by log density), then fitted again
to all training rows; RMSE and mean log density of the test rows, in the units of the target, with
the standard error over the splits.

The fits of every setting and every split are one program: parameters are stacked, products are
batched, and one Adam walks them all.

    python benchmarks/uci.py                      # all sets and methods, one after the other
    python benchmarks/uci.py yacht mc_dropout     # one set, one method
    python benchmarks/uci.py --table              # the table of what was saved

Needs the splits in ``../shared/uci`` (or the folder named by ``--folder``).
"""

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovi.diagnostics.calibration import coverage, mixture_log_density, mixture_quantile_rank
from pyrovi.guides.dropout import drop, weight_decay

ROOT = Path(__file__).parents[1]
FOLDER = ROOT.parent / "shared" / "uci"
FOUND = ROOT / "benchmarks" / "uci.json"
SETS = ("concrete", "energy", "yacht")
UNITS = 50
SPLITS = 20
LEVELS = (0.5, 0.9, 0.95)
PUBLISHED = {  # MC dropout, mean and standard error: ../shared/uci/README.md
    "concrete": {"rmse": (4.82, 0.16), "log_density": (-2.93, 0.02)},
    "energy": {"rmse": (0.54, 0.06), "log_density": (-1.21, 0.01)},
    "yacht": {"rmse": (0.67, 0.05), "log_density": (-1.25, 0.01)},
}
