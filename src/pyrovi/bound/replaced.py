"""A model with some of its distributions replaced: other priors, another likelihood.

The model itself is not touched. A handler around it gives a site the new distribution in place of
its own, so that whatever runs the model (an engine, a guide, a prediction, plain Pyro) has it.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from pyro.distributions import Distribution
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Independent, Transform, TransformedDistribution, biject_to

from pyrovi.bound.sites import (
    Trace,
    batch_shape,
    broadcast,
    kind_of,
    sample_nodes,
    support_text,
    value_shape,
)
from pyrovi.errors import ModelError
from pyrovi.registry import refuse_unknown
from pyrovi.structure import layers_of
from pyrovi.words import one_line

Given: TypeAlias = Any
"""A distribution; or a function from the model's own distribution of the site to another."""

AT = (-30.0, -3.0, 0.0, 3.0, 30.0)  # unconstrained points, whose images reach over a support
MOST_SHOWN = 8  # numbers of a parameter that a text shows
OTHER_WAY = {"prior": "pyrovi.with_likelihood", "likelihood": "pyrovi.with_priors"}


def with_priors(model: Callable[..., Any], priors: Mapping[str, Given]) -> Callable[..., Any]:
    """A model with other priors; as `pyrovi.fit` has it with ``priors=``.

    What comes is a Pyro model like any other, for every verb here and for Pyro itself. Closed
    forms that the model declares are dropped, since they are those of its own priors.

    Args:
        model: Any Pyro callable.
        priors: By latent site its distribution, which is stretched to the site's shape; or a
            function from the model's own distribution to another, for a prior that hangs on other
            latent sites: ``{"theta": lambda own: dist.StudentT(4.0, own.loc, own.scale)}``.

    Raises:
        ModelError: If a prior is neither. That it goes with its site is checked once there are
            data: the site must be latent, the shape that of the site or one that is stretched to
            it, and the support must lie within that of the model's own prior.

    >>> import pyro, pyro.distributions as dist
    >>> def model(y):
    ...     mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    ...     pyro.sample("y", dist.Normal(mu, 1.0), obs=y)
    >>> wide = with_priors(model, {"mu": dist.Normal(0.0, 100.0)})
    >>> trace = pyro.poutine.trace(wide).get_trace(torch.tensor(0.0))
    >>> trace.nodes["mu"]["fn"].scale
    tensor(100.)
    """
    return Replaced(priors, "prior")(model)


def with_likelihood(
    model: Callable[..., Any], likelihood: Mapping[str, Given]
) -> Callable[..., Any]:
    """A model that observes by other distributions.

    Args:
        model: Any Pyro callable.
        likelihood: By observed site a function from the model's own distribution to another:
            ``{"y": lambda own: dist.StudentT(4.0, own.loc, own.scale)}``; or a distribution.

    Raises:
        ModelError: As `with_priors`, of sites that are observed.
    """
    return Replaced(likelihood, "likelihood")(model)


class Replaced(Messenger):
    """Give sites other distributions than their own, in the site's shape and the run's dtype."""

    def __init__(self, given: Mapping[str, Given], what: str) -> None:
        super().__init__()
        self.given, self.what = dict(given), what
        for name, each in self.given.items():
            if not _is_distribution(each) and (isinstance(each, type) or not callable(each)):
                raise ModelError(
                    f"The {what} of {name!r}: expected a distribution of Pyro, such as "
                    "dist.HalfNormal(2.0), or a function from the model's own to another, and "
                    f"{each!r} came."
                )

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.given and not site_is_subsample(msg):
            msg["fn"] = self.of(msg["name"], msg["fn"])

    def of(self, name: str, own: Any) -> Any:
        """What a site has in place of its ``own``; `ValueError` if shapes do not go together."""
        given = self.given[name]
        if _is_distribution(given):
            given = _in_dtype(given, torch.get_default_dtype())
        return _in_shape(given if _is_distribution(given) else given(own), own, self.what)


def _is_distribution(given: Any) -> bool:
    return isinstance(given, Distribution) and isinstance(given, TorchDistributionMixin)


def _in_dtype(fn: Any, dtype: torch.dtype) -> Any:
    """A distribution with what it is made of in ``dtype``."""

    def cast(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(dtype) if value.is_floating_point() else value
        if isinstance(value, torch.distributions.Distribution | Transform):
            return _in_dtype(value, dtype)
        return [cast(each) for each in value] if isinstance(value, list) else value

    made = copy.copy(fn)
    vars(made).update({name: cast(value) for name, value in vars(fn).items()})
    return made


def _in_shape(fn: Any, own: Any, what: str) -> Any:
    """Stretched to the shape of the site's own, and with as many axes in one event."""
    full, events = tuple(value_shape(own)), own.event_dim - fn.event_dim
    axes = len(full) - fn.event_dim
    if events < 0 or axes < 0 or tuple(fn.event_shape) != full[axes:]:
        raise ValueError
    batch = broadcast(full[:axes], tuple(batch_shape(fn)))
    if what == "prior" and batch != full[:axes]:
        raise ValueError
    fn = fn if batch == tuple(batch_shape(fn)) else fn.expand(torch.Size(batch))
    return fn.to_event(events) if events else fn


@dataclass(frozen=True)
class Replacement:
    """What a site has in place of its own distribution; as texts, with their parameters.

    Attributes:
        site: Its name.
        own: What the model has. Parameters that are worked out from other sites are shown as
            ``...``.
        now: What it has in its place.
    """

    site: str
    own: str
    now: str


def replaced_in(model: Callable[..., Any]) -> Iterator[tuple[Replaced, Callable[..., Any]]]:
    """Each such handler around a model, from the outermost in; and what it is around."""
    for layer in layers_of(model):
        if isinstance(layer, partial) and layer.args and isinstance(layer.args[0], Replaced):
            yield layer.args[0], partial(layer.args[1], *layer.args[2:], **layer.keywords)


def replacements(handler: Replaced, name: str, runs: tuple[Trace, Trace]) -> list[Replacement]:
    """What a handler replaces, held against two runs of what it is around.

    Raises:
        ModelError: If it does not go with a site of theirs; ``name`` is the model's.
    """
    sites = {n["name"]: n for n in sample_nodes(runs[0]) if kind_of(n) in ("latent", "observed")}
    made = []
    for site, given in handler.given.items():
        _check_kind(handler.what, site, sites, name)
        nodes = [run.nodes[site] for run in runs]
        owns = [node["fn"] for node in nodes]
        now = [_made(handler, site, node) for node in nodes]
        _check_support(handler.what, site, now[0], owns[0])
        shown = [given, given] if _is_distribution(given) else now
        made.append(Replacement(site, text_of(*owns), text_of(*shown)))
    return made


def _check_kind(what: str, site: str, sites: Mapping[str, Any], name: str) -> None:
    kind = {"prior": "latent", "likelihood": "observed"}[what]
    own = [each for each, node in sites.items() if kind_of(node) == kind]
    if site in sites and site not in own:
        raise ModelError(
            f"{site!r} of {name!r} is {kind_of(sites[site])}, and has no {what}. Change its "
            f"distribution by {OTHER_WAY[what]}(model, {{{site!r}: ...}})."
        )
    said = f"{name!r} has no {kind} site {site!r}"
    refuse_unknown(site, own, ModelError, said)


def _made(handler: Replaced, site: str, node: Any) -> Any:
    own, what, given = node["fn"], handler.what, handler.given[site]
    try:
        made = given if _is_distribution(given) else given(own)
    except Exception as error:
        raise ModelError(
            f"The {what} of {site!r}: the function fails on the model's own "
            f"{type(own).__name__}: {one_line(error)}."
        ) from error
    if not _is_distribution(made):
        raise ModelError(
            f"The {what} of {site!r}: the function gave a {type(made).__name__}, and a "
            "distribution of Pyro was expected."
        )
    _check_rows(what, site, made, node)
    try:
        return handler.of(site, own)
    except (ValueError, NotImplementedError) as error:
        raise _of_shapes(what, site, made, own) from error


def _of_shapes(what: str, site: str, made: Any, own: Any) -> ModelError:
    return ModelError(
        f"The {what} of {site!r} has the shape {tuple(value_shape(made))}, and the site has "
        f"{tuple(value_shape(own))}"
        + (f", of which {own.event_dim} of one event" if own.event_dim != made.event_dim else "")
        + ". Give one for all of its entries, or one for each."
    )


def _check_rows(what: str, site: str, made: Any, node: Any) -> None:
    """In a plate of which a part is taken, entry by entry is of the wrong rows."""
    own = made.event_dim + sum(size > 1 for size in batch_shape(made))
    partly = [f.name for f in node["cond_indep_stack"] if f.vectorized and f.size < f.full_size]
    if what == "prior" and partly and own > made.event_dim:
        raise ModelError(
            f"The prior of {site!r} has values of its own for rows of {partly[0]!r}, of which the "
            "model takes a part at a time. Give one for all of its entries."
        )


def _check_support(what: str, site: str, made: Any, own: Any) -> None:
    """Raise unless all that the new one can draw is what the model could draw there before."""
    if not _lies_within(made, own):
        raise ModelError(
            f"The {what} of {site!r} has the support {support_text(made.support)!r}, and the "
            f"model's own {support_text(own.support)!r}. Choose a distribution whose values all "
            "lie there."
        )


def _lies_within(made: Any, own: Any) -> bool:
    if made.support.is_discrete != own.support.is_discrete:
        return False
    reached = _reached(made)
    # What lies outside of its own support lies on its edge, by rounding.
    inside = own.support.check(reached) | ~made.support.check(reached)
    return bool(inside.all())


def _reached(fn: Any) -> Tensor:
    """Values that a distribution can draw, out to the edges of its support."""
    if fn.has_enumerate_support:
        return fn.enumerate_support(expand=True)
    if fn.support.is_discrete:
        return fn.sample((100,))
    transform, shape = biject_to(fn.support), value_shape(fn)
    flat = torch.tensor(AT).reshape(-1, *(1 for _ in transform.inverse_shape(shape)))
    return transform(flat.expand(-1, *transform.inverse_shape(shape)))


def text_of(fn: Any, again: Any = None) -> str:
    """A distribution and its parameters; those that differ in another run are shown as ``...``.

    >>> import pyro.distributions as dist
    >>> text_of(dist.HalfNormal(2.0)), text_of(dist.Normal(0.0, torch.ones(2)).to_event(1))
    ('HalfNormal(scale=2)', 'Normal(loc=0, scale=1).to_event(1)')
    >>> text_of(dist.Normal(0.1, 2.0), dist.Normal(0.3, 2.0))
    'Normal(loc=..., scale=2)'
    """
    again = fn if again is None else again
    if isinstance(fn, Independent):
        inner = text_of(fn.base_dist, again.base_dist)
        return f"{inner}.to_event({fn.reinterpreted_batch_ndims})"
    if type(fn) is TransformedDistribution or not fn.arg_constraints:
        return f"{type(fn).__name__}(...)"
    given = [name for name in fn.arg_constraints if name in vars(fn)] or [*fn.arg_constraints]
    shown = (f"{n}={_number(getattr(fn, n), getattr(again, n))}" for n in given)
    return f"{type(fn).__name__}({', '.join(shown)})"


def _number(value: Any, again: Any) -> str:
    one, other = torch.as_tensor(value).detach(), torch.as_tensor(again).detach()
    if one.shape != other.shape or not torch.equal(one, other):
        return "..."
    if one.numel() and bool((one == one.flatten()[0]).all()):
        return f"{one.flatten()[0].item():g}"
    if one.numel() > MOST_SHOWN:
        return f"<{' x '.join(map(str, one.shape))} numbers>"
    return str(_rounded(one.tolist()))


def _rounded(values: Any) -> Any:
    if isinstance(values, list):
        return [_rounded(each) for each in values]
    return float(f"{values:.6g}")
