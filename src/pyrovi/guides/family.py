"""What a variational family is: a name, and how to make a guide of it for a model."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pyro import poutine
from pyro.infer.autoguide import AutoGuide
from torch import distributions as td
from torch.distributions import Distribution

from pyrovi.bound import kind_of
from pyrovi.errors import GuideError

Options = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """A variational family, called with a model to make a guide.

    Attributes:
        name: Its key in ``FAMILIES``.
        make: From a model without discrete sites, and options, to a Pyro ``AutoGuide``.
        flat: From a guide of the family to its distribution over the flat unconstrained vector;
            None where it has none.
        gaussian: Whether that distribution is a normal one of `torch.distributions`.
        factorises: Whether that distribution is an ``Independent`` over the entries of the vector.
        joint: Whether the guide holds one vector for all sites, so that it cannot stand local
            latent sites in a plate that subsamples.
        density: Whether draws of the family have a density; a point mass has none.
        point: Whether all draws of a guide are one point.
        takes_start: Whether ``make`` takes ``init_loc_fn``, where the sites start.
        step_size: The first step size of Adam that suits its parameters.
        options: Keyword options for ``make``.
    """

    name: str
    make: Callable[..., AutoGuide] = field(repr=False)
    flat: Callable[[Any], Distribution] | None = field(default=None, repr=False)
    gaussian: bool = False
    factorises: bool = False
    joint: bool = True
    density: bool = True
    point: bool = False
    takes_start: bool = True
    step_size: float = 0.05
    options: Options = field(default_factory=dict)

    def __call__(self, model: Callable[..., Any], **options: Any) -> AutoGuide:
        """A guide of this family for ``model``.

        Args:
            model: A Pyro model. Discrete sites that can be enumerated are hidden from the guide.
            **options: What the family takes, such as ``init_loc_fn``, ``rank`` or ``transforms``.

        Raises:
            GuideError: If an option is not one the family takes.
        """
        visible = poutine.block(model, hide_fn=hidden)
        try:
            return self.make(visible, **self.options | options)
        except TypeError as error:
            if "unexpected keyword" not in str(error):
                raise
            raise GuideError(f"The family {self.name!r}: {error}. See its docstring.") from error

    def with_options(self, **options: Any) -> "Family":
        """The same family with other options, e.g. ``low_rank.with_options(rank=5)``."""
        return replace(self, options=self.options | options)


def hidden(site: Any) -> bool:
    """Whether a site of the model is none of a guide's: it is discrete, or is a point."""
    latent = site["type"] == "sample" and not site["is_observed"]
    return latent and (site["fn"].has_enumerate_support or kind_of(site) == "deterministic")


def detached(flat: Distribution) -> Distribution:
    """The same distribution with its parameters held fixed, for the gradient through draws alone.

    Raises:
        GuideError: If the distribution is not one that can be taken apart.
    """
    if isinstance(flat, td.Independent):
        return td.Independent(detached(flat.base_dist), flat.reinterpreted_batch_ndims)
    if isinstance(flat, td.Normal):
        return td.Normal(flat.loc.detach(), flat.scale.detach())
    if isinstance(flat, td.LowRankMultivariateNormal):
        parts = (flat.loc, flat._unbroadcasted_cov_factor, flat._unbroadcasted_cov_diag)
        held = (each.detach() for each in parts)
        return td.LowRankMultivariateNormal(*held, validate_args=False)
    if isinstance(flat, td.MultivariateNormal):
        scale_tril = flat._unbroadcasted_scale_tril.detach()
        return td.MultivariateNormal(flat.loc.detach(), scale_tril=scale_tril, validate_args=False)
    raise GuideError(f"Cannot hold the parameters of {type(flat).__name__} fixed.")
