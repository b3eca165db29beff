r"""MC dropout as a variational family (Gal and Ghahramani 2016).

A layer's weights :math:`W`, outputs by inputs as ``torch.nn.Linear`` keeps them, are a matrix
:math:`M` that is fitted, of which each column (all weights that leave one input) is dropped with
probability ``rate``:

.. math::  W = M \operatorname{diag}(z) + \sigma \varepsilon, \quad
           z_j \sim \text{Bernoulli}(1 - \text{rate}), \quad \sigma \to 0.

Each column is then a mixture of two Gaussians of width :math:`\sigma`. Its divergence from the
prior :math:`N(0, s^2 I)` in :math:`K` dimensions is, where the two do not overlap,

.. math::  \text{KL} = \frac{\text{keep}\, |m|^2}{2 s^2}
           + \frac K2 \Big(\frac{\sigma^2}{s^2} - 1 - \log \frac{\sigma^2}{s^2}\Big)
           - H(\text{rate}), \quad \text{keep} = 1 - \text{rate}.

Only the first term depends on :math:`M`: it is weight decay. A pass with one draw of the masks
estimates the expected log likelihood, so **the loss of dropout with weight decay is minus the
ELBO, up to constants** (and a term for the overlap, which vanishes with :math:`\sigma / |m|`).
These have no bound as :math:`\sigma \to 0`: the loss ranks fits of one rate, and bounds no
evidence. The draws have no density, so it is judged by its predictions alone.

Reference: Gal and Ghahramani (2016), "Dropout as a Bayesian approximation", and its appendix,
proposition 1, https://arxiv.org/abs/1506.02157
"""

import math
import operator
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.infer.autoguide import AutoDelta, init_to_sample
from torch import Tensor
from torch.distributions import constraints

from pyrovi.errors import GuideError
from pyrovi.guides.family import Family

RATE = 0.1


def keep_mask(like: Tensor, rate: float | Tensor) -> Tensor:
    """Ones, and zeros with probability ``rate``, of the shape and dtype of ``like``.

    >>> keep_mask(torch.ones(3), 0.0)
    tensor([1., 1., 1.])
    """
    return (torch.rand_like(like) >= rate).to(like.dtype)


def weight_decay(
    loc: Float[Tensor, "..."], rate: float | Tensor, prior_scale: float | Tensor
) -> Float[Tensor, "..."]:
    """What each weight adds to the divergence from the prior, in nats; constants left out.

    Args:
        loc: The fitted weights.
        rate: The probability that a weight's column is dropped; 0 for a point estimate.
        prior_scale: The prior's standard deviation.

    >>> weight_decay(torch.tensor([2.0]), 0.5, 1.0)
    tensor([1.])
    """
    return (1 - rate) * loc.square() / (2 * prior_scale**2)


def column_kl(
    loc: Float[Tensor, "*column k"], rate: float, *, prior_scale: float | Tensor, sd: float
) -> Float[Tensor, "*column"]:
    """The divergence of each column's mixture from its prior, in nats.

    Exact but for the overlap of the two components: at most the binary entropy of the rate too
    small, and negligible once the norm of the column is several ``sd``.

    Args:
        loc: The fitted columns.
        rate: The probability of dropping a column; above 0, below 1.
        prior_scale: The prior's standard deviation.
        sd: The width of each component.
    """
    scale = torch.as_tensor(prior_scale, dtype=loc.dtype).expand(loc.shape)
    width = (sd / scale).square()
    spread = 0.5 * (width - 1 - width.log())
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log1p(-rate))
    return (weight_decay(loc, rate, scale) + spread).sum(-1) - entropy


class AutoDropout(AutoDelta):
    """A guide that drops columns of weights, and puts a point on every other site.

    Under ``pyro.infer.SVI`` its loss is minus the ELBO up to a constant. The masks are auxiliary
    sites, ``<site>_kept``: an event of the site's rank, 1 along all of its axes but the last.

    Args:
        model: A Pyro model.
        rate: The probability of dropping a column; or, by site, of those that drop any.
        init_loc_fn: Where the weights start; by default a draw from the prior, since hidden units
            that start alike stay alike.
        **options: As ``AutoDelta`` takes them.

    Raises:
        GuideError: If a rate is not from 0 to below 1, or names no site that has columns.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        rate: float | Mapping[str, float] = RATE,
        init_loc_fn: Callable[..., Any] = init_to_sample,
        **options: Any,
    ) -> None:
        for each in rate.values() if isinstance(rate, Mapping) else (rate,):
            if not 0 <= each < 1:
                raise GuideError(f"A dropout rate is from 0 to below 1, and {each} came. Try 0.1.")
        super().__init__(model, init_loc_fn, **options)
        self.rate = rate

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        super()._setup_prototype(*args, **kwargs)
        trace: Any = self.prototype_trace
        columns = [name for name, site in trace.iter_stochastic_nodes() if has_columns(site)]
        own = self.rate if isinstance(self.rate, Mapping) else dict.fromkeys(columns, self.rate)
        self.rates: dict[str, float] = dict(own)
        if wrong := [name for name in self.rates if name not in columns]:
            raise GuideError(
                f"Site {wrong[0]!r} has no columns to drop. Those that have: "
                f"{', '.join(columns) or 'none'}."
            )

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw masks, and put each site where they say."""
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)
        plates = self._create_plates(*args, **kwargs)
        trace: Any = self.prototype_trace
        result: dict[str, Any] = {}
        for name, site in trace.iter_stochastic_nodes():
            kept = self._kept(name, site)
            with ExitStack() as stack:
                for frame in site["cond_indep_stack"]:
                    stack.enter_context(plates[frame.name])
                value = operator.attrgetter(name)(self) * kept
                point = dist.Delta(value, event_dim=site["fn"].event_dim)
                result[name] = pyro.sample(name, point)
        return result

    def _kept(self, name: str, site: Any) -> Tensor | float:
        rate = self.rates.get(name)
        if not rate:
            return 1.0
        event = site["fn"].event_shape
        keep = site["value"].new_full((*(1,) * (len(event) - 1), event[-1]), 1 - rate)
        masks = dist.Bernoulli(keep).to_event(len(event))
        return pyro.sample(f"{name}_kept", masks, infer={"is_auxiliary": True})


def has_columns(site: Any) -> bool:
    """Whether a site is a matrix of reals whose last axis is that of its inputs."""
    return is_real(site) and site["fn"].event_dim >= 1 and site["value"].dim() >= 2


def is_real(site: Any) -> bool:
    """Whether a site's values are any real numbers."""
    support = site["fn"].support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.real


dropout = Family("dropout", AutoDropout, joint=False, density=False)
