"""What every approximation is: it draws in the flat unconstrained space of the model's density."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from pyrovi.density import LogDensity
from pyrovi.errors import TreeError
from pyrovi.tree import INDEPENDENT

if TYPE_CHECKING:
    from pyrovi.approximations.gaussian import Gaussian

KINDS: dict[str, type["Approximation"]] = {}
"""The class of each approximation, by the kind that stands in a file; a class adds itself."""


LOG_TWO_PI = math.log(2 * math.pi)


def log_normal(noise: Float[Tensor, "*entry"]) -> Float[Tensor, "*entry"]:
    """The log density of each standard normal entry."""
    return -0.5 * noise.square() - 0.5 * LOG_TWO_PI


@dataclass(frozen=True)
class Draws:
    """Draws in the flat unconstrained space.

    Attributes:
        flat: The draws.
        log_guide: The log density of each under the approximation, in the same space; or None.
        by_site: Where the approximation factorises over sites, the log density of each site's
            piece of each draw.
        within: Where there are several modes, the Cholesky factor of the covariance within one.
        mode: Where there are several, which of them each draw is about.
        stats: What a sampler says of each draw, by its name in `sample_stats`.
    """

    flat: Float[Tensor, "draw dim"]
    log_guide: Float[Tensor, "draw"] | None = None
    by_site: Mapping[str, Float[Tensor, "draw"]] | None = None
    within: Float[Tensor, "dim dim"] | None = None
    mode: Int[Tensor, "draw"] | None = None
    stats: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Approximation(ABC):
    """What every engine gives; one whose fields are tensors is written and read as it stands.

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

    def gaussian(self) -> "Gaussian | None":
        """The same as a `Gaussian`; None where it is no normal distribution."""
        return None

    def tensors(self) -> dict[str, Tensor]:
        """What to write to a file of tensors."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

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
        TreeError: If there is no such kind.
        ValueError: If its draws are not of the density's dimension.
    """
    if kind not in KINDS:
        raise TreeError(
            f"No approximation of kind {kind!r} is loaded. Import the package that made it."
        )
    made = KINDS[kind].restore(density, tensors, settings)
    if made.dim != density.dim:
        raise ValueError(f"it has {made.dim} latent dimensions, and the model {density.dim}")
    return made
