"""What is known of a foreign model, and what its data are made with."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreign.truths import Draws, Moments

__all__ = ["ENUMERATE", "Collection", "ForeignModel", "coins", "noise", "numbers"]

ENUMERATE = {"enumerate": "parallel"}


@dataclass(frozen=True, eq=False)
class ForeignModel:
    """One model with the arguments it is called with.

    Attributes:
        name: For test ids.
        source: File of the repository pyro-ppl/pyro and the name in it, or where else people
            write it so.
        model: The Pyro callable.
        args: Positional arguments.
        kwargs: Keyword arguments.
        max_plate_nesting: For `pyro.infer.mcmc.util.initialize_model`, which needs it to
            enumerate.
        subsampled: The density itself is random: each call draws a minibatch. Pyro's own
            `initialize_model` refuses such a model.
        truth: Moments of the posterior, from a closed form or quadrature; where there is none,
            ``reference.json`` holds those of a long run of NUTS.
        compared: From draws by site, (draw, *shape), to what is compared: where labels or signs
            may swap, what does not change with them. None for the sites themselves.
    """

    name: str
    source: str
    model: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    max_plate_nesting: int | None = None
    subsampled: bool = False
    truth: Callable[[], Moments] | None = None
    compared: Callable[[Draws], Draws] | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def data(self) -> Any:
        """The arguments as `pyrovi.fit` takes them: by name where some have to be named."""
        if not self.kwargs:
            return self.args
        names = inspect.signature(self.model).parameters
        return dict(zip(names, self.args, strict=False)) | dict(self.kwargs)


class Collection(list[ForeignModel]):
    """The models of one file, each entered where it is written."""

    def add(
        self,
        source: str,
        *args: Any,
        name: str = "",
        kwargs: Mapping[str, Any] | None = None,
        nesting: int | None = None,
        truth: Callable[[], Moments] | None = None,
        compared: Callable[[Draws], Draws] | None = None,
    ) -> Callable[[Any], Any]:
        """A decorator that enters a model; its name is the function's if ``name`` is empty."""

        def enter(model: Any) -> Any:
            called = name or model.__name__
            given = dict(kwargs or {})
            self.append(
                ForeignModel(
                    called, source, model, args, given, nesting, truth=truth, compared=compared
                )
            )
            return model

        return enter


def numbers(values: Any) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def noise(*shape: int, seed: int = 20) -> Tensor:
    return numbers(np.random.default_rng(seed).standard_normal(shape))


def coins(*shape: int, chance: float, seed: int = 21) -> Tensor:
    return numbers(np.random.default_rng(seed).random(shape) < chance)
