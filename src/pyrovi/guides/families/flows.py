"""Normalising flows over the flat unconstrained vector, by zuko, as Pyro autoguides.

A flow bends a standard normal and is then scaled and shifted, so that it starts as a narrow
Gaussian at the model's initial values, like the other families. Autoregressive networks are run in
the direction in which a draw takes one pass, since variational inference draws at every step.

Importing zuko turns validation of distributions off for the whole process. It is imported here
only, and validation is put back.
"""

from collections.abc import Callable, Iterable
from functools import partial
from operator import methodcaller
from typing import Any, ClassVar, cast

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.infer.autoguide import AutoContinuous, AutoIAFNormal, init_to_median
from pyro.nn.module import PyroParam
from torch import Size, Tensor
from torch.distributions import Distribution

from pyrovi.guides.family import Family


def _flow(loc: Tensor, network: str, transforms: int, hidden: tuple[int, ...]) -> Any:
    """A flow of vectors like ``loc``, which starts as almost no change at all."""
    validated = Distribution._validate_args
    import zuko  # here, because importing it has a side effect

    Distribution.set_default_validate_args(validated)
    # Scales by a tenth to ten, and no further: zuko's own bound is a thousand each way, and a few
    # of these in a row overflow in the first steps.
    affine = partial(zuko.transforms.MonotonicAffineTransform, slope=0.1)
    make = {
        "maf": partial(zuko.flows.MAF, transforms=transforms, univariate=affine),
        "nsf": partial(zuko.flows.NSF, transforms=transforms),
        "realnvp": partial(zuko.flows.RealNVP, transforms=2 * transforms, univariate=affine),
    }[network]
    flow = make(len(loc), hidden_features=hidden).to(loc.dtype)
    for transform in flow.transform.transforms:
        # By their weight, since zuko has a linear layer of its own beside torch's.
        linear = [each for each in transform.modules() if hasattr(each, "weight")]
        if linear:
            with torch.no_grad():
                linear[-1].weight.mul_(0.01)
                linear[-1].bias.mul_(0.0)
    return flow


class FlowPosterior(TorchDistribution):
    """A flow, scaled and shifted, as a distribution over the flat vector.

    The log density of a draw is computed on the way to it, and kept: going back through an
    autoregressive network takes as many passes as there are dimensions.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # pyright: ignore[reportIncompatibleMethodOverride]
    support = constraints.real_vector  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    has_rsample = True

    def __init__(
        self,
        transform: Any,
        loc: Tensor,
        scale: Tensor,
        turn: Tensor | None = None,
        batch_shape: Size = Size(),  # noqa: B008
    ) -> None:
        self._transform, self.loc, self.scale, self._turn = transform, loc, scale, turn
        self._kept: tuple[Tensor, Tensor] | None = None
        self._base: Any = dist.Normal(torch.zeros_like(loc), 1.0).to_event(1)
        super().__init__(batch_shape, loc.shape, validate_args=False)

    def rsample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008
        noise = self._base.sample(Size(sample_shape) + self.batch_shape)
        bent, log_abs_det = self._transform.call_and_ladj(noise)
        log_prob = self._base.log_prob(noise) - log_abs_det - self._stretch
        turned = self.scale * bent
        draw = self.loc + (turned if self._turn is None else turned @ self._turn.T)
        self._kept = (draw, log_prob)
        return draw

    def log_prob(self, value: Tensor) -> Tensor:
        if self._kept is not None and self._kept[0] is value:
            return self._kept[1]
        turned = value - self.loc
        if self._turn is not None:
            turned = torch.linalg.solve_triangular(self._turn, turned.mT, upper=False).mT
        noise, log_abs_det = self._transform.inv.call_and_ladj(turned / self.scale)
        return self._base.log_prob(noise) + log_abs_det - self._stretch

    @property
    def _stretch(self) -> Tensor:
        stretch = self.scale.log().sum()
        return stretch if self._turn is None else stretch + self._turn.diagonal().log().sum()

    def expand(self, batch_shape: Iterable[int], _instance: Any = None) -> TorchDistribution:
        """As many independent draws as the plates have places."""
        size = Size(batch_shape)
        if size == self.batch_shape:
            return self
        return FlowPosterior(self._transform, self.loc, self.scale, self._turn, size)


class AutoFlow(AutoContinuous):
    """A guide that lays a zuko flow over the joint unconstrained latent space.

    Args:
        model: A Pyro model.
        network: ``maf``, ``nsf`` or ``realnvp``.
        transforms: How many transforms are laid over one another.
        hidden: The widths of the hidden layers of each network.
        init_loc_fn: Where each site starts, as Pyro's autoguides take it.
        init_scale: The scale of the Gaussian that the flow starts as.
        turned: Whether to lay a fixed lower triangular matrix over the flow, the identity until
            its buffer ``turn`` is set: by a fitted Gaussian's, the flow starts as that Gaussian.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        network: str = "maf",
        transforms: int = 3,
        hidden: tuple[int, ...] = (64, 64),
        init_loc_fn: Callable[..., Any] = init_to_median,
        init_scale: float = 0.1,
        turned: bool = False,
    ) -> None:
        super().__init__(model, init_loc_fn=init_loc_fn)
        self._settings = (network, transforms, tuple(hidden))
        self._init_scale, self._turned = init_scale, turned

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        super()._setup_prototype(*args, **kwargs)
        loc = self._init_loc()
        self.flow = _flow(loc, *self._settings)
        self._forward = self._settings[0] != "realnvp"  # from the noise to the draws
        self.loc = torch.nn.Parameter(loc)
        self.scale = PyroParam(
            torch.full_like(loc, self._init_scale), constraints.softplus_positive
        )
        if self._turned:
            self.register_buffer("turn", torch.eye(len(loc), dtype=loc.dtype))

    def get_posterior(self, *args: Any, **kwargs: Any) -> FlowPosterior:
        """The distribution over the flat unconstrained vector."""
        transform = self.flow().transform
        scale = cast("Tensor", self.scale)  # a PyroParam reads as the tensor it holds
        turn = cast("Tensor", self.turn) if self._turned else None
        return FlowPosterior(transform if self._forward else transform.inv, self.loc, scale, turn)


STEP_SIZE = 0.005  # of networks' weights

flow = partial(Family, flat=methodcaller("get_posterior"), step_size=STEP_SIZE)
iaf = flow("iaf", AutoIAFNormal, takes_start=False)
maf = flow("maf", partial(AutoFlow, network="maf"))
nsf = flow("nsf", partial(AutoFlow, network="nsf"))
realnvp = flow("realnvp", partial(AutoFlow, network="realnvp"))
