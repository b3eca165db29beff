"""A fitted Pyro guide, of a family or of one's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pyrovi.approximations.base import Approximation, Draws
from pyrovi.approximations.gaussian import Gaussian
from pyrovi.bound import at_once_or_each, in_plate_of_draws, sample_nodes
from pyrovi.density import LogDensity
from pyrovi.errors import FitError, GuideError
from pyrovi.guides import FAMILIES, Family
from pyrovi.seeds import isolated
from pyrovi.tree import INDEPENDENT, POINTS


@dataclass(frozen=True)
class GuideDraws(Approximation):
    """A fitted Pyro guide.

    Attributes:
        guide: The guide; a module, or any callable with the parameters in the model's ``params``.
        family: The family that made it, if one did.
    """

    guide: Callable[..., Any]
    family: Family | None
    kind: ClassVar[str] = "guide"

    @property
    def draw_kind(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Independent draws, or the one point that some families are."""
        return POINTS if self.family is not None and self.family.point else INDEPENDENT

    @property
    def has_density(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.family is None or self.family.density

    def draw(self, draws: int, seed: int) -> Draws:
        with torch.no_grad(), isolated(seed):
            if self.family is not None and self.family.flat is not None:
                return self._from_flat(draws, self.family.flat)
            return self._from_traces(draws)

    def gaussian(self) -> Gaussian | None:
        """The distribution of a guide whose family is normal in the flat space."""
        family = self.family
        if family is None or family.flat is None or not family.gaussian:
            return None
        with torch.no_grad(), self.density.model.running():
            flat: Any = family.flat(self.guide)
            scale_tril = flat.stddev if family.factorises else flat.scale_tril
        return Gaussian(self.density, flat.mean.double(), scale_tril.double())

    def _from_flat(self, draws: int, distribution: Callable[[Any], Any]) -> Draws:
        with self.density.model.running():
            flat = distribution(self.guide)
            drawn = flat.rsample(torch.Size((draws,)))
            log_prob = flat.log_prob(drawn)
        by_site = None
        if self.family is not None and self.family.factorises:
            terms = flat.base_dist.log_prob(drawn)
            by_site = {p.site: terms[:, p.start : p.stop].sum(-1) for p in self.density.pieces}
        return Draws(drawn.double(), log_prob.double(), by_site)

    def _from_traces(self, draws: int) -> Draws:
        with self.density.model.running():
            traced = at_once_or_each(
                lambda: self._traced_together(draws),
                lambda _: self._traced(),
                range(draws),
                failures=(ValueError, RuntimeError, LookupError),
            )
        flat = self.density.unconstrain(traced["values"])
        if not self.has_density:
            return Draws(flat)
        return Draws(flat, traced["log_guide"] + self.density.explain(flat)["log_abs_det"])

    def _traced_together(self, draws: int) -> dict[str, Any] | None:
        """All draws in one run, in a plate left of all others; None if the guide cannot."""
        model, depth = self.density.model, self.density.model.max_plate_nesting
        trace = model.traced(in_plate_of_draws(self.guide, draws, depth))
        trace.compute_log_prob()
        log_guide = torch.zeros(draws, dtype=torch.float64)
        for node in sample_nodes(trace):
            terms = node["log_prob"]
            if terms.dim() < depth + 1 or terms.shape[0] != draws:
                return None
            log_guide = log_guide + terms.reshape(draws, -1).sum(-1).double()
        values = {}
        for site in (piece.site for piece in self.density.pieces):
            shape = model.prototype.nodes[site]["value"].shape
            values[site] = trace.nodes[site]["value"].reshape(draws, *shape)
        return {"values": values, "log_guide": log_guide}

    def _traced(self) -> dict[str, Any]:
        """One draw."""
        sites = [piece.site for piece in self.density.pieces]
        trace = self.density.model.traced(self.guide)
        lacking = [site for site in sites if site not in trace.nodes]
        if lacking:
            raise GuideError(
                f"The guide has no site {lacking[0]!r}. It needs a sample site for each "
                f"continuous latent site of the model: {', '.join(sites)}."
            )
        values = {site: trace.nodes[site]["value"] for site in sites}
        return {"values": values, "log_guide": torch.as_tensor(trace.log_prob_sum()).double()}

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

    @classmethod
    def restore(
        cls, density: LogDensity, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
    ) -> "GuideDraws":
        """As it was when it was written: the family makes the guide, the file fills it."""
        # JSON has no tuples; the families' options have no lists.
        saved = settings["options"].items()
        options = {key: tuple(v) if isinstance(v, list) else v for key, v in saved}
        family = FAMILIES[settings["family"]].with_options(**options)
        model = density.model
        with isolated(0), model.running():
            guide = family(model.handled())
            guide(*model.args, **model.kwargs)
            try:
                guide.load_state_dict(dict(tensors))
            except RuntimeError as error:
                raise ValueError(
                    "its guide has not the parameters of one for the model"
                ) from error
        return cls(density, guide, family)
