"""What a fit leaves behind: something that can be drawn from, and written to a file.

Every approximation draws in the flat unconstrained space of the model's density, so that
`pyrovi.posterior` and the diagnostics see one kind of thing, whatever the engine was.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor

from pyrovi.approximations.coordinates import unconstrained, updates_of
from pyrovi.bound import Trace
from pyrovi.density import LogDensity
from pyrovi.errors import FitError, GuideError
from pyrovi.evidence import smooth
from pyrovi.guides import FAMILIES, Family
from pyrovi.seeds import isolated
from pyrovi.structure import Factor

__all__ = [
    "APPROXIMATIONS",
    "Approximation",
    "Draws",
    "Empirical",
    "Factors",
    "Gaussian",
    "GaussianMixture",
    "GuideDraws",
    "Points",
    "Resampled",
]


@dataclass(frozen=True)
class Draws:
    """Draws in the flat unconstrained space.

    Attributes:
        flat: The draws.
        log_guide: The log density of each under the approximation, in the same space; None for
            draws of a sampler.
        by_site: Where the approximation factorises over sites, the log density of each site's
            piece of each draw.
        within: The Cholesky factor of the covariance within one mode, where there are several:
            that of all draws together is far too wide for any of them.
    """

    flat: Float[Tensor, "draw dim"]
    log_guide: Float[Tensor, "draw"] | None = None
    by_site: Mapping[str, Float[Tensor, "draw"]] | None = None
    within: Float[Tensor, "dim dim"] | None = None


@runtime_checkable
class Approximation(Protocol):
    """What every engine gives: see `Gaussian`, `GaussianMixture`, `GuideDraws` and `Empirical`."""

    kind: ClassVar[str]

    def draw(self, draws: int, seed: int) -> Draws:
        """``draws`` independent draws, the same for the same ``seed``."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What to write to a file of tensors."""
        ...

    def settings(self) -> dict[str, Any]:
        """What to write to a JSON file beside it."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution over the flat vector: of DADVI and Laplace.

    Attributes:
        density: The model's density.
        loc: The mean.
        scale_tril: The lower Cholesky factor of the covariance; or, as a vector, the scales of
            independent entries.
    """

    density: LogDensity
    loc: Float[Tensor, "dim"]
    scale_tril: Tensor
    kind: ClassVar[str] = "gaussian"

    @property
    def diagonal(self) -> bool:
        """Whether the entries are independent."""
        return self.scale_tril.dim() == 1

    @property
    def scale(self) -> Float[Tensor, "dim"]:
        """The marginal standard deviations."""
        return self.scale_tril if self.diagonal else self.scale_tril.square().sum(-1).sqrt()

    def draw(self, draws: int, seed: int) -> Draws:
        """``draws`` independent draws, the same for the same ``seed``."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(draws, len(self.loc), generator=generator, dtype=torch.float64)
        each = -0.5 * noise.square() - 0.5 * math.log(2 * math.pi)
        if not self.diagonal:
            # Laid out as a file will give it back: the product rounds by the layout.
            flat = self.loc + noise @ self.scale_tril.contiguous().T
            return Draws(flat, each.sum(-1) - self.scale_tril.diagonal().log().sum())
        terms = each - self.scale_tril.log()
        by_site = {p.site: terms[:, p.start : p.stop].sum(-1) for p in self.density.pieces}
        return Draws(self.loc + noise * self.scale_tril, terms.sum(-1), by_site)

    def tensors(self) -> dict[str, Tensor]:
        """The mean and the scale."""
        return {"loc": self.loc, "scale_tril": self.scale_tril}

    def settings(self) -> dict[str, Any]:
        """Nothing beside the tensors."""
        return {}

    @staticmethod
    def restore(
        density: LogDensity, tensors: Mapping[str, Tensor], _settings: Mapping[str, Any]
    ) -> "Gaussian":
        """As it was when it was written."""
        return Gaussian(density, tensors["loc"], tensors["scale_tril"])


@dataclass(frozen=True)
class GaussianMixture:
    """Several normal distributions over the flat vector, weighted: of Pathfinder with many paths.

    Attributes:
        density: The model's density.
        locs: The mean of each.
        scale_trils: The lower Cholesky factor of the covariance of each.
        weights: How much of the whole each is; they sum to one.
    """

    density: LogDensity
    locs: Float[Tensor, "component dim"]
    scale_trils: Float[Tensor, "component dim dim"]
    weights: Float[Tensor, "component"]
    kind: ClassVar[str] = "mixture"

    def draw(self, draws: int, seed: int) -> Draws:
        """``draws`` independent draws, the same for the same ``seed``."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(draws, self.locs.shape[1], generator=generator, dtype=torch.float64)
        chosen = torch.multinomial(self.weights, draws, replacement=True, generator=generator)
        flat = torch.empty_like(noise)
        for component in range(len(self.weights)):
            own = chosen == component
            scale_tril = self.scale_trils[component].contiguous()
            flat[own] = self.locs[component] + noise[own] @ scale_tril.T
        factors = self.scale_trils * self.weights.sqrt()[:, None, None]
        covariance = (factors @ factors.mT).sum(0)
        return Draws(flat, self.log_prob(flat), within=torch.linalg.cholesky(covariance))

    def log_prob(self, flat: Float[Tensor, "draw dim"]) -> Float[Tensor, "draw"]:
        """The log density of the mixture."""
        return (self.component_log_prob(flat) + self.weights.log()).logsumexp(-1)

    def component_log_prob(
        self, flat: Float[Tensor, "draw dim"]
    ) -> Float[Tensor, "draw component"]:
        """The log density of each normal distribution."""
        found = []
        for loc, scale_tril in zip(self.locs, self.scale_trils, strict=True):
            noise = torch.linalg.solve_triangular(scale_tril, (flat - loc).T, upper=False)
            each = -0.5 * noise.square() - 0.5 * math.log(2 * math.pi)
            found.append(each.sum(0) - scale_tril.diagonal().log().sum())
        return torch.stack(found, dim=-1)

    def tensors(self) -> dict[str, Tensor]:
        """The means, the scales and the weights."""
        return {"locs": self.locs, "scale_trils": self.scale_trils, "weights": self.weights}

    def settings(self) -> dict[str, Any]:
        """Nothing beside the tensors."""
        return {}

    @staticmethod
    def restore(
        density: LogDensity, tensors: Mapping[str, Tensor], _settings: Mapping[str, Any]
    ) -> "GaussianMixture":
        """As it was when it was written."""
        locs, scale_trils, weights = (tensors[name] for name in ("locs", "scale_trils", "weights"))
        if locs.shape[1] != density.dim:
            raise ValueError(
                f"it has {locs.shape[1]} latent dimensions, and the model {density.dim}"
            )
        return GaussianMixture(density, locs, scale_trils, weights)


@dataclass(frozen=True)
class Empirical:
    """The draws of a sampler, kept as they are.

    Attributes:
        flat: The draws, in the order of the chain.
        diverging: Whether the sampler's path to each diverged; None for a sampler that keeps no
            order among its draws.
    """

    flat: Float[Tensor, "draw dim"]
    diverging: Tensor | None = None
    kind: ClassVar[str] = "empirical"

    def draw(self, draws: int, seed: int) -> Draws:
        """The last ``draws`` of the chain, or all of it if it is shorter."""
        return Draws(self.flat[-draws:])

    def tensors(self) -> dict[str, Tensor]:
        """The draws, and which diverged."""
        flags = {} if self.diverging is None else {"diverging": self.diverging}
        return {"flat": self.flat, **flags}

    def settings(self) -> dict[str, Any]:
        """Nothing beside the tensors."""
        return {}

    @staticmethod
    def restore(
        _density: LogDensity, tensors: Mapping[str, Tensor], _settings: Mapping[str, Any]
    ) -> "Empirical":
        """As it was when it was written."""
        return Empirical(tensors["flat"], tensors.get("diverging"))


@dataclass(frozen=True)
class Points:
    """A few points, equally weighted: of an ensemble. They have no density.

    Attributes:
        density: The model's density.
        flat: The points.
    """

    density: LogDensity
    flat: Float[Tensor, "member dim"]
    kind: ClassVar[str] = "points"

    def draw(self, draws: int, seed: int) -> Draws:
        """Each point as often as the others, give or take one, in random order."""
        generator = torch.Generator().manual_seed(seed)
        first = torch.randperm(len(self.flat), generator=generator)
        turns = first[torch.arange(draws) % len(self.flat)]
        return Draws(self.flat[turns[torch.randperm(draws, generator=generator)]])

    def tensors(self) -> dict[str, Tensor]:
        """The points."""
        return {"flat": self.flat}

    def settings(self) -> dict[str, Any]:
        """Nothing beside the tensors."""
        return {}

    @staticmethod
    def restore(
        density: LogDensity, tensors: Mapping[str, Tensor], _settings: Mapping[str, Any]
    ) -> "Points":
        """As it was when it was written."""
        return Points(density, tensors["flat"])


@dataclass(frozen=True)
class Factors:
    """Independent factors, each of a family of its own: of CAVI.

    Attributes:
        density: The model's density.
        factors: The factor of each coordinate with continuous sites, by its name.
        elbo: The ELBO of all factors, those of discrete sites too, in nats, where it is known
            exactly.
    """

    density: LogDensity
    factors: Mapping[str, Factor]
    elbo: float | None = None
    kind: ClassVar[str] = "factors"

    def draw(self, draws: int, seed: int) -> Draws:
        """``draws`` independent draws, the same for the same ``seed``."""
        generator = torch.Generator().manual_seed(seed)
        values: dict[str, Tensor] = {}
        terms: dict[tuple[str, ...], Tensor] = {}
        for factor in self.factors.values():
            own = factor.draw(draws, generator)
            values |= own
            terms[tuple(own)] = factor.log_prob(own)
        flat, jacobians = unconstrained(self.density, values)
        by_coordinate = {
            sites: term + torch.stack([jacobians[site] for site in sites]).sum(0)
            for sites, term in terms.items()
        }
        by_site = {sites[0]: term for sites, term in by_coordinate.items() if len(sites) == 1}
        whole = torch.stack(list(by_coordinate.values())).sum(0)
        return Draws(flat, whole, by_site if len(by_site) == len(terms) else None)

    def tensors(self) -> dict[str, Tensor]:
        """Every factor's parameters, as ``coordinate:parameter``."""
        return {
            f"{name}:{key}": value.contiguous()
            for name, factor in self.factors.items()
            for key, value in factor.tensors().items()
        }

    def settings(self) -> dict[str, Any]:
        """The ELBO."""
        return {"elbo": self.elbo}

    @staticmethod
    def restore(
        density: LogDensity, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
    ) -> "Factors":
        """As it was when it was written: the model's record makes the factors."""
        factors = {}
        for name, coordinate in updates_of(density, "CAVI").coordinates.items():
            prefix = f"{name}:"
            own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if coordinate.factor is not None and own:
                factors[name] = coordinate.factor(**own)
        return Factors(density, factors, settings.get("elbo"))


@dataclass(frozen=True)
class GuideDraws:
    """A fitted Pyro guide.

    Attributes:
        density: The model's density.
        guide: The guide; a module, or any callable with the parameters in ``store``.
        family: The family that made it, if one did.
        store: The state of Pyro's parameter store that the guide runs under.
    """

    density: LogDensity
    guide: Callable[..., Any]
    family: Family | None
    store: Any
    kind: ClassVar[str] = "guide"

    def draw(self, draws: int, seed: int) -> Draws:
        """``draws`` independent draws, the same for the same ``seed``."""
        with torch.no_grad(), isolated(seed):
            if self.family is not None and self.family.flat is not None:
                return self._from_flat(draws, self.family.flat)
            return self._from_traces(draws)

    def _from_flat(self, draws: int, distribution: Callable[[Any], Any]) -> Draws:
        with self.density.model.running():
            flat = distribution(self.guide)
            drawn = flat.rsample(torch.Size((draws,)))
            log_prob = flat.log_prob(drawn)
        by_site = None
        if self.family is not None and self.family.name == "mean_field":
            terms = flat.base_dist.log_prob(drawn)
            by_site = {p.site: terms[:, p.start : p.stop].sum(-1) for p in self.density.pieces}
        return Draws(drawn.double(), log_prob.double(), by_site)

    def _from_traces(self, draws: int) -> Draws:
        values, log_guide = self._traced_together(draws) or self._traced_one_by_one(draws)
        flat = self.density.unconstrain(values)
        if self.family is not None and not self.family.density:
            return Draws(flat)
        log_abs_det = self.density.explain(flat)["log_abs_det"]
        return Draws(flat, log_guide + log_abs_det)

    def _sites(self) -> list[str]:
        return [piece.site for piece in self.density.pieces]

    def _traced_together(self, draws: int) -> tuple[dict[str, Tensor], Tensor] | None:
        """All draws in one run, in a plate left of all others; None if the guide cannot."""
        model = self.density.model
        depth = model.max_plate_nesting
        try:
            with (
                model.running(),
                pyro.get_param_store().scope(self.store),
                pyro.plate("_draws", draws, dim=-1 - depth),
            ):
                trace: Trace = poutine.trace(self.guide).get_trace(*model.args, **model.kwargs)
        except (ValueError, RuntimeError, IndexError):
            return None
        trace.compute_log_prob()
        values, log_guide = {}, torch.zeros(draws, dtype=torch.float64)
        for name, node in trace.nodes.items():
            if node["type"] != "sample" or name.startswith("_draws") or _is_index(node):
                continue
            terms = node["log_prob"]
            if terms.dim() < depth + 1 or terms.shape[0] != draws:
                return None
            log_guide = log_guide + terms.reshape(draws, -1).sum(-1).double()
            if name in self._sites():
                values[name] = node["value"].reshape(draws, *self._shape(name))
        return values, log_guide

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.density.model.prototype.nodes[name]["value"].shape)

    def _traced_one_by_one(self, draws: int) -> tuple[dict[str, Tensor], Tensor]:
        model = self.density.model
        rows: dict[str, list[Tensor]] = {name: [] for name in self._sites()}
        log_guide = []
        with model.running(), pyro.get_param_store().scope(self.store):
            for _ in range(draws):
                trace: Trace = poutine.trace(self.guide).get_trace(*model.args, **model.kwargs)
                log_guide.append(torch.as_tensor(trace.log_prob_sum()).double())
                for name, row in rows.items():
                    if name not in trace.nodes:
                        raise GuideError(_lacks(name, self._sites()))
                    row.append(trace.nodes[name]["value"])
        return {name: torch.stack(row) for name, row in rows.items()}, torch.stack(log_guide)

    def tensors(self) -> dict[str, Tensor]:
        """The guide's parameters."""
        if not isinstance(self.guide, torch.nn.Module):
            raise FitError(
                "This fit's guide is a plain function, which cannot be written to a file. "
                "Use a family of pyrovi.guides, or keep the draws: pyrovi.save(tree, path)."
            )
        return {name: value.contiguous() for name, value in self.guide.state_dict().items()}

    def settings(self) -> dict[str, Any]:
        """The family and its options, by which the guide can be made again."""
        if self.family is None:
            raise FitError(
                "This fit's guide is not of a family of pyrovi.guides, so it cannot be made "
                "again from a file. Keep the draws instead: pyrovi.save(tree, path)."
            )
        # Where a guide started is a function, and what it came to is in the file of tensors.
        options = {key: value for key, value in self.family.options.items() if not callable(value)}
        return {"family": self.family.name, "options": options}

    @staticmethod
    def restore(
        density: LogDensity, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
    ) -> "GuideDraws":
        """As it was when it was written: the family makes the guide, the file fills it."""
        family = FAMILIES[settings["family"]].with_options(**_options(settings["options"]))
        model = density.model
        with model.running():
            guide = family(model.handled())
            guide(*model.args, **model.kwargs)
            guide.load_state_dict(dict(tensors))
        return GuideDraws(density, guide, family, None)


def _options(saved: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no tuples; the families' options have no lists."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in saved.items()}


def _is_index(node: Any) -> bool:
    return type(node["fn"]).__name__ == "_Subsample"


def _lacks(name: str, sites: list[str]) -> str:
    return (
        f"The guide has no site {name!r}. It needs a sample site for each continuous latent site "
        f"of the model: {', '.join(sites)}."
    )


@dataclass(frozen=True)
class Resampled:
    """Another approximation's draws, resampled by their importance weights.

    It has no density of its own, and is closer to the posterior than its base wherever the tail
    of the weights is light (k-hat below 0.7).

    Attributes:
        density: The model's density.
        base: The approximation whose draws are weighed.
    """

    density: LogDensity
    base: Approximation
    kind: ClassVar[str] = "resampled"

    def draw(self, draws: int, seed: int) -> Draws:
        """``draws`` draws out of ten times as many of the base's, by smoothed weights.

        Resampling is systematic, so that a draw of average weight comes once at the most.
        """
        pool = self.base.draw(POOL * draws, seed)
        if pool.log_guide is None:
            return Draws(pool.flat[:draws])
        log_ratios = (self.density.log_prob(pool.flat) - pool.log_guide).detach().numpy()
        log_ratios = np.where(np.isfinite(log_ratios), log_ratios, -np.inf)
        finite = np.isfinite(log_ratios)
        weights = np.zeros(len(log_ratios))
        weights[finite] = np.exp(smooth(log_ratios[finite])[0])
        generator = np.random.default_rng(seed)
        places = (np.arange(draws) + generator.random()) / draws
        reached = np.cumsum(weights / weights.sum())
        chosen = np.searchsorted(reached, places).clip(max=len(weights) - 1)
        order = torch.as_tensor(generator.permutation(chosen))
        return Draws(pool.flat[order], within=pool.within)

    def tensors(self) -> dict[str, Tensor]:
        """The base's."""
        return self.base.tensors()

    def settings(self) -> dict[str, Any]:
        """What the base is."""
        return {"base": self.base.kind, "settings": self.base.settings()}

    @staticmethod
    def restore(
        density: LogDensity, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
    ) -> "Resampled":
        """As it was when it was written."""
        restore = APPROXIMATIONS[settings["base"]]
        return Resampled(density, restore(density, tensors, settings["settings"]))


POOL = 10  # draws of the base for each that is resampled

APPROXIMATIONS: dict[str, Callable[..., Approximation]] = {
    Gaussian.kind: Gaussian.restore,
    GaussianMixture.kind: GaussianMixture.restore,
    Empirical.kind: Empirical.restore,
    Factors.kind: Factors.restore,
    GuideDraws.kind: GuideDraws.restore,
    Points.kind: Points.restore,
    Resampled.kind: Resampled.restore,
}
