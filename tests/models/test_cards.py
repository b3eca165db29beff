"""What a card shows is run as it stands: other priors, another likelihood, and plain Pyro."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch

from pyrovi.infer import Fit
from pyrovi.models import ZOO

SHELF = Path(__file__).parents[2] / "models"
SECTION = r"## Other priors, another likelihood, plain Pyro\n(.*?)\n## "
BLOCK = r"```python\n(.*?)```"


def blocks(name: str) -> list[str]:
    card = (SHELF / name / "README.md").read_text(encoding="utf-8")
    [section] = re.findall(SECTION, card, re.DOTALL)
    return re.findall(BLOCK, section, re.DOTALL)


@pytest.mark.parametrize("name", ZOO.members)
def test_the_code_of_a_card_runs_and_does_what_it_says(name: str) -> None:
    shown: dict[str, Any] = {}
    pyro.clear_param_store()
    try:
        for block in blocks(name):
            exec(compile(block, f"models/{name}/README.md", "exec"), shown)
    finally:
        torch.set_default_dtype(torch.float32)
        pyro.clear_param_store()
    fits = {key: each for key, each in shown.items() if isinstance(each, Fit)}
    assert {"fit", "fit_heavy"} <= fits.keys()
    assert all(np.isfinite(each.loss[-1]) for each in fits.values())
    assert fits["fit"].model.replaced
    [heavy] = fits["fit_heavy"].model.replaced
    assert heavy.site in {site.name for site in fits["fit_heavy"].model.observed}
    losses = shown["losses"]
    assert np.isfinite(losses).all()
    tenth = len(losses) // 10
    assert np.mean(losses[-tenth:]) < np.mean(losses[:tenth])
