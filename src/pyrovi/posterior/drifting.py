"""Where short Markov chains take some draws: how these differ from the posterior."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pyrovi.approximations import Draws
from pyrovi.bound import BoundModel, conditional_draws
from pyrovi.density import LogDensity
from pyrovi.infer import Fit, Known, Run, judge, send_out, shown_by_weights
from pyrovi.optimise import Chains
from pyrovi.posterior import chain
from pyrovi.posterior.chain import Arrays, as_arrays, stack_chains
from pyrovi.seeds import stream
from pyrovi.tree import ACCEPTANCE

MIN_JUDGED = 200  # draws, fewer of which are not worth a judgement
DRIFT_STATS = "drift_stats"  # beside "drift", whose variables are sites of any name


def drift(
    fit: Fit, drawn: Sequence[Draws], computed: Sequence[dict[str, Arrays]]
) -> dict[str, Arrays]:
    """Where short Markov chains went from some draws, unless the weights alone could tell.

    Those that the fit was judged by, where there were some; of each restart as many.

    Args:
        fit: What was drawn from.
        drawn: The draws of each restart.
        computed: What the model says of them, as `one_chain` has it.
    """
    if len(drawn[0].flat) < MIN_JUDGED:
        return {}
    seeds = [stream(fit.seed, "drift", chain) for chain in range(len(drawn))]
    each = list(zip(fit.chains, drawn, seeds, strict=True))
    sent = [_sent(*one, known) for one, known in zip(each, computed, strict=True)]
    most = max((len(chains.start) for chains in sent if chains is not None), default=0)
    if not most:
        return {}
    full = [
        _filled(run.density, draws, seed, chains, most)
        for (run, draws, seed), chains in zip(each, sent, strict=True)
    ]
    fewest = min(len(chains.start) for chains in full)
    even = [Chains(**{n: value[:fewest] for n, value in vars(one).items()}) for one in full]
    return stack_chains(
        [_paths(run.density, one, seed) for (run, _, seed), one in zip(each, even, strict=True)]
    )


def _sent(run: Run, drawn: Draws, seed: int, known: dict[str, Arrays]) -> Chains | None:
    """The chains that one run is judged by; None where none were needed, or can be run."""
    before = run.judgement
    if before is not None and before.chains is not None:
        return before.chains
    if before is not None and before.passes and _agree(run.density, drawn, known):
        return None
    return judge(run.density, drawn, seed).chains


def _agree(density: LogDensity, drawn: Draws, known: dict[str, Arrays]) -> bool:
    """Whether the weights of draws say nothing against a fit that those of others have shown."""
    sites, stats = known["posterior"], known["sample_stats"]
    values = {piece.site: torch.as_tensor(sites[piece.site]) for piece in density.pieces}
    log_density = torch.as_tensor(stats["log_joint"])
    if drawn.log_guide is not None:  # it tells what the change of variables adds
        log_density = log_density + drawn.log_guide.detach() - torch.as_tensor(stats["log_guide"])
    return shown_by_weights(density, drawn, Known(values, log_density))


def _filled(
    density: LogDensity, drawn: Draws, seed: int, chains: Chains | None, count: int
) -> Chains:
    """The chains and others up to ``count``, as far as there are draws for them to start from."""
    sent = 0 if chains is None else len(chains.start)
    if chains is not None and sent >= min(count, len(drawn.flat)):
        return chains
    others = send_out(density, drawn, seed + 1, slice(sent, count))
    if chains is None:
        return others
    rest = vars(others)
    return Chains(**{name: torch.cat([own, rest[name]]) for name, own in vars(chains).items()})


def _paths(density: LogDensity, chains: Chains, seed: int) -> dict[str, Arrays]:
    """The sites along the way of each chain, and how often it moved."""
    path = torch.cat([chains.start[:, None], chains.states], dim=1)
    values = density.constrain(path.flatten(0, 1))
    values |= _deterministic(density.model, values, seed)
    of_path = {n: v.reshape(*path.shape[:2], *v.shape[1:]) for n, v in values.items()}
    return {
        "drift": as_arrays(of_path),
        DRIFT_STATS: as_arrays({ACCEPTANCE: chains.acceptance}),
    }


def _deterministic(
    model: BoundModel, values: Mapping[str, Tensor], seed: int
) -> dict[str, Tensor]:
    """What the model computes of its latent sites; not where discrete ones would be drawn too."""
    names = chain.computed(model)
    if not names or model.discrete:
        return {}
    observed = [site.name for site in model.observed]
    count = len(next(iter(values.values())))
    return conditional_draws(model, names, values, count, seed, kept=observed)
