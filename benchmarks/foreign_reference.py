"""Long runs of Pyro's own NUTS on the foreign models that have no closed form.

    python benchmarks/foreign_reference.py                 those that the file has not
    python benchmarks/foreign_reference.py --model lkj     one model, again; may be repeated
    python benchmarks/foreign_reference.py --limit 300     CPU seconds for the chains of a model

Two chains of 500 + 1,000 from starts of their own, on one thread. Of each quantity the mean and
the standard deviation are kept in ``tests/foreign/reference.json`` where split R-hat is below
1.01 and the bulk effective sample size above 400 (Vehtari and others, 2021), and null elsewhere.
Where Pyro's NUTS fails, the file says how.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import pyro
import torch
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size, split_gelman_rubin

from foreign import FOREIGN, ForeignModel

FILE = Path(__file__).parents[1] / "tests" / "foreign" / "reference.json"
CHAINS, WARM_UP, DRAWS = 2, 500, 1000
HIGHEST_RHAT, LEAST_ESS = 1.01, 400  # Vehtari and others, 2021
DIGITS = 5


def main() -> None:
    """Run what is asked for, and write the file after each model."""
    asked = _arguments()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    kept = json.loads(FILE.read_text()) if FILE.is_file() else {}
    for model in FOREIGN:
        again = model.name in asked.model if asked.model else model.name not in kept
        if again and model.truth is None and not model.subsampled:
            kept[model.name] = reference(model, asked.limit)
            held = json.loads(FILE.read_text()) if FILE.is_file() else {}
            held[model.name] = kept[model.name]
            lines = (f"{json.dumps(n)}: {json.dumps(held[n])}" for n in sorted(held))
            FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
            print(model.name, json.dumps(kept[model.name])[:160], flush=True)


def reference(model: ForeignModel, limit: float) -> dict[str, Any]:
    """What two chains say of each quantity; or why they say nothing."""
    began = time.process_time()
    try:
        chains = [_chain(model, seed, began + limit) for seed in range(CHAINS)]
    except Exception as error:  # noqa: BLE001 -- whatever NUTS fails with is what is recorded
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:160]}
    found = {name: _moments(np.stack([c[name] for c in chains])) for name in chains[0]}
    return {"seconds": round(time.process_time() - began), "quantities": found}


def _chain(model: ForeignModel, seed: int, end: float) -> dict[str, np.ndarray]:
    def watch(*_: Any) -> None:
        if time.process_time() > end:
            raise TimeoutError("not back in time")

    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    kernel = NUTS(
        model.model,
        jit_compile=True,
        ignore_jit_warnings=True,
        max_plate_nesting=model.max_plate_nesting,
        target_accept_prob=0.9,
    )
    run = MCMC(kernel, DRAWS, WARM_UP, hook_fn=watch, disable_progbar=True)
    run.run(*model.args, **model.kwargs)
    draws = {site: v.detach().double().numpy() for site, v in run.get_samples().items()}
    return dict(model.compared(draws) if model.compared else draws)


def _moments(chains: np.ndarray) -> dict[str, Any]:
    flat = torch.as_tensor(chains.reshape(*chains.shape[:2], -1))
    rhat, ess = split_gelman_rubin(flat), effective_sample_size(flat)
    sure = ((rhat < HIGHEST_RHAT) & (ess > LEAST_ESS)).tolist()
    each = flat.flatten(0, 1)
    return {
        "mean": _where(sure, each.mean(0)),
        "sd": _where(sure, each.std(0)),
        "rhat": _rounded(float(rhat.max())),
        "ess": round(float(ess.min())),
    }


def _where(sure: list[bool], values: torch.Tensor) -> list[float | None]:
    return [_rounded(v) if s else None for s, v in zip(sure, values.tolist(), strict=True)]


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Pyro's NUTS on the foreign models.")
    parser.add_argument("--model", action="append", default=[], help="only this one, again")
    parser.add_argument("--limit", type=float, default=180.0, help="CPU seconds of a model")
    return parser.parse_args()


if __name__ == "__main__":
    main()
