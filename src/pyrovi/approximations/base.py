"""What a fit leaves behind: something that can be drawn from, and written to a file.

Every approximation draws in the flat unconstrained space of the model's density, so that
`pyrovi.posterior` and the diagnostics see one kind of thing, whatever the engine was.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from pyrovi.density import LogDensity
from pyrovi.tree import INDEPENDENT

KINDS: dict[str, type["Approximation"]] = {}
"""The class of each approximation, by the kind that stands in a file; a class adds itself."""


@dataclass(frozen=True)
class Draws:
    """Draws in the flat unconstrained space.

    Attributes:
        flat: The draws.
        log_guide: The log density of each under the approximation, in the same space; None for
            draws that have none.
        by_site: Where the approximation factorises over sites, the log density of each site's
            piece of each draw.
        within: The Cholesky factor of the covariance within one mode, where there are several:
            that of all draws together is far too wide for any of them.
        stats: What a sampler says of each draw, by its name in `sample_stats`.
    """

    flat: Float[Tensor, "draw dim"]
    log_guide: Float[Tensor, "draw"] | None = None
    by_site: Mapping[str, Float[Tensor, "draw"]] | None = None
    within: Float[Tensor, "dim dim"] | None = None
    stats: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Approximation(ABC):
    """What every engine gives: see `Gaussian`, `GuideDraws` and `Empirical`.

    A frozen dataclass whose fields are tensors is written to a file, and read, as it stands.

    Attributes:
        density: The density of the model, with the parameters that the engine learnt.
        kind: What stands for the class in a file.
        draw_kind: What its draws are to each other, one of `pyrovi.tree.DRAW_KINDS`.
        has_density: Whether its draws come with their log density.
    """

    density: LogDensity
    kind: ClassVar[str]
    draw_kind: ClassVar[str] = INDEPENDENT
    has_density: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "kind" in cls.__dict__:
            KINDS[cls.kind] = cls

    @property
    def dim(self) -> int:
        """The dimension of its draws."""
        return self.draw(1, seed=0).flat.shape[1]

    @abstractmethod
    def draw(self, draws: int, seed: int) -> Draws:
        """``draws`` draws, the same for the same ``seed``; independent ones but of a chain."""

    def tensors(self) -> dict[str, Tensor]:
        """What to write to a file of tensors."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def settings(self) -> dict[str, Any]:
        """What to write to a JSON file beside it."""
        return {}

    @classmethod
    def restore(
        cls, density: LogDensity, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
    ) -> "Approximation":
        """As it was when its tensors and settings were written."""
        return cls(density, **tensors, **settings)


def restored(
    kind: str, density: LogDensity, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> Approximation:
    """The approximation of a kind that its tensors and settings were written of.

    Raises:
        ValueError: If its draws are not of the density's dimension.
    """
    made = KINDS[kind].restore(density, tensors, settings)
    if made.dim != density.dim:
        raise ValueError(f"it has {made.dim} latent dimensions, and the model {density.dim}")
    return made
