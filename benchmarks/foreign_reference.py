"""Long runs of Hamiltonian Monte Carlo on the foreign models that have no closed form.

    python benchmarks/foreign_reference.py                 those that the file has not
    python benchmarks/foreign_reference.py --model lkj     one model, again; may be repeated
    python benchmarks/foreign_reference.py --limit 300     CPU seconds for the chains of a model

32 chains from starts of their own, on one thread and on Pyro's own potential
(`peers.side_by_side`); two of NUTS, 500 + 1,000, where that cannot be recorded. Of each quantity
the mean and the standard deviation are kept in ``tests/foreign/reference.json`` where split R-hat
is below 1.01 and the effective sample size above 400 (Vehtari and others, 2021), and null
elsewhere. Where the sampler fails, the file says how.
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
from peers.side_by_side import sample
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size, split_gelman_rubin

from foreign import FOREIGN, ForeignModel

FILE = Path(__file__).parents[1] / "tests" / "foreign" / "reference.json"
DRAWS = 150  # more at a time
NUTS_DRAWS = 1000  # of each of its two chains
HIGHEST_RHAT, LEAST_ESS = 1.01, 400  # Vehtari and others, 2021
DIGITS = 5


def main() -> None:
    """Run what is asked for, and write the file after each model."""
    asked = _arguments()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    pyro.enable_validation(False)  # it looks at values, which a recording has not
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
    """What the chains say of each quantity; or why they say nothing."""
    began = time.process_time()
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    how = "side by side"
    try:
        draws = sample(
            model.model,
            model.args,
            model.kwargs,
            nesting=model.max_plate_nesting,
            draws=DRAWS,
            enough=lambda values: all(_sure(v).all() for v in _compared(model, values).values()),
            end=began + limit,
        )
    except TimeoutError as error:
        return {"failed": str(error)}
    except RuntimeError:  # what cannot be recorded, or not be mapped
        how, draws = "NUTS", _by_nuts(model)  # however long that takes
    found = {name: _moments(values) for name, values in _compared(model, draws).items()}
    return {"how": how, "seconds": round(time.process_time() - began), "quantities": found}


def _by_nuts(model: ForeignModel) -> dict[str, np.ndarray]:
    """Two chains of Pyro's own NUTS, one after the other."""
    chains = []
    for seed in (0, 1):
        pyro.set_rng_seed(seed)
        kernel = NUTS(
            model.model,
            jit_compile=True,
            ignore_jit_warnings=True,
            max_plate_nesting=model.max_plate_nesting,
        )
        run = MCMC(kernel, NUTS_DRAWS, NUTS_DRAWS // 2, disable_progbar=True)
        run.run(*model.args, **model.kwargs)
        chains.append({n: v.detach().numpy() for n, v in run.get_samples().items()})
    return {name: np.stack([chain[name] for chain in chains]) for name in chains[0]}


def _compared(model: ForeignModel, draws: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is compared, (chain, draw, entry); without entries that never vary."""
    chains = [{n: v[k] for n, v in draws.items()} for k in range(len(next(iter(draws.values()))))]
    each = [model.compared(c) if model.compared else c for c in chains]
    stacked = {n: np.stack([c[n] for c in each]) for n in each[0]}
    return {n: v.reshape(*v.shape[:2], -1) for n, v in stacked.items()}


def _judged(chains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R-hat and effective sample size of each entry; what never varies is known."""
    values = torch.as_tensor(chains)
    fixed = values.flatten(0, 1).std(0) < 1e-12
    rhat, ess = split_gelman_rubin(values), effective_sample_size(values)
    rhat = torch.where(fixed, 1.0, rhat.nan_to_num(nan=torch.inf))
    return rhat.numpy(), torch.where(fixed, torch.inf, ess.nan_to_num(nan=0.0)).numpy()


def _sure(chains: np.ndarray) -> np.ndarray:
    rhat, ess = _judged(chains)
    return (rhat < HIGHEST_RHAT) & (ess > LEAST_ESS)


def _moments(chains: np.ndarray) -> dict[str, Any]:
    rhat, ess = _judged(chains)
    sure = _sure(chains).tolist()
    each = chains.reshape(-1, chains.shape[-1])
    return {
        "mean": _where(sure, each.mean(0)),
        "sd": _where(sure, each.std(0)),
        "rhat": _rounded(float(rhat.max())),
        "ess": min(round(float(min(ess.min(), each.shape[0]))), each.shape[0]),
    }


def _where(sure: list[bool], values: np.ndarray) -> list[float | None]:
    return [_rounded(v) if s else None for s, v in zip(sure, values.tolist(), strict=True)]


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Long runs on the foreign models.")
    parser.add_argument("--model", action="append", default=[], help="only this one, again")
    parser.add_argument("--limit", type=float, default=60.0, help="CPU seconds of a model")
    return parser.parse_args()


if __name__ == "__main__":
    main()
