"""Stochastic variational inference: any guide, by noisy gradients that stop by themselves.

The step size is held until the iterates are stationary, then lowered, a few times over; at the
last one the iterates are averaged until the Monte Carlo error of their mean is small. A guide that
has a distribution over the whole flat vector is fitted to the vectorised density, where the model
is used whole; others by Pyro's own ELBO, minibatches and all.

References: Hoffman, Blei, Wang and Paisley (2013), https://jmlr.org/papers/v14/hoffman13a.html;
Roeder, Wu and Duvenaud (2017), https://arxiv.org/abs/1703.09194;
Dhaka et al. (2020), https://arxiv.org/abs/2009.00666
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from pyro.infer import ELBO, RenyiELBO, Trace_ELBO, TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoGuide, init_to_median, init_to_value
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.utils import parameters_to_vector

from pyrovi.approximations import GuideDraws
from pyrovi.bound import carries_draws, sample_nodes
from pyrovi.density import LogDensity
from pyrovi.errors import EngineError, GuideError
from pyrovi.guides import FAMILIES, Family, detached, own_guide
from pyrovi.infer.engine import MEANS, Capabilities, Outcome
from pyrovi.infer.settings import Settings, positive, whole
from pyrovi.optimise import Iterates

VECTORISED_PARTICLES = 8  # in Pyro's own ELBO, where the model can be run for all at once
UNITLESS = 3.0  # allows a parameter more of its spread, which is but the noise of the last steps
JUDGED_EVERY = 50  # steps
WATCHED = 200  # quantities at the most, picked at random, are judged
DECAYS = (1.0, 0.3, 0.1)  # the step sizes of the phases, as shares of the first


@dataclass(frozen=True, kw_only=True, repr=False)
class SVI(Settings):
    """Stochastic variational inference with any Pyro guide and ELBO.

    Attributes:
        guide: A family of `pyrovi.guides` or its name, an ``AutoGuide``, or any Pyro guide.
        elbo: A Pyro ELBO; None for the one that suits the model.
        particles: Monte Carlo terms in each gradient; None for 16, or with Pyro's own ELBO for 8
            where the model can be run for all of them at once, and 1 where not.
        step_size: Adam's first step size; None for what suits the guide's family: 0.05, or 0.005
            for a flow's networks.
        tolerance: The Monte Carlo error of the averaged iterates at which the fit has converged:
            of means, in the approximation's standard deviations, and of log standard deviations;
            of a guide without, its parameters, in units of their own spread.
        max_steps: How many steps to take at the most.
        optimizer: From parameters and ``lr`` to a torch optimiser.
    """

    guide: Family | str | Callable[..., Any] = "mean_field"
    elbo: ELBO | None = None
    particles: int | None = None
    step_size: float | None = None
    tolerance: float = 0.05
    max_steps: int = 20_000
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam

    def __post_init__(self) -> None:
        if isinstance(self.guide, str):
            FAMILIES[self.guide]  # or it is an error that names them
        whole(self, "particles", "max_steps")
        positive(self, "step_size", "tolerance")

    @property
    def capabilities(self) -> Capabilities:
        recovers = MEANS if self.family is not None and self.family.factorises else None
        # A guide of the user's own may have sites that go by the score, and not by the path.
        own = self.family is None
        return Capabilities(
            guide=True, learns_parameters=True, gradients=not own, recovers=recovers
        )

    def _shown(self) -> dict[str, str]:
        guide = self.guide if isinstance(self.guide, str) else _guide_name(self.guide)
        shown = {"guide": repr(guide)}
        if self.elbo is not None:
            shown["elbo"] = type(self.elbo).__name__
        if self.optimizer is not torch.optim.Adam:
            shown["optimizer"] = _name(self.optimizer)
        return shown

    @property
    def first_step_size(self) -> float:
        """Adam's first step size; that of families by default for a guide that none made."""
        return self.step_size or (self.family or Family).step_size

    @property
    def family(self) -> Family | None:
        """The family of `pyrovi.guides` that makes the guide, if one does."""
        guide = FAMILIES[self.guide] if isinstance(self.guide, str) else self.guide
        return guide if isinstance(guide, Family) else None

    def init(self, density: LogDensity, start: Tensor, seed: int) -> "SVIState":
        _check_local_sites(density.model, self.family)
        if density.model.parameters:
            density = LogDensity(density.model.with_parameters())
        model = density.model
        if model.free:
            raise EngineError(
                f"Site {next(iter(model.free))!r} comes of obs_mask, and a guide would spread "
                "without bound over its observed entries. Use DADVI or Laplace, or pass a "
                "numpy.ma.MaskedArray."
            )
        guide = self._make_guide(density, start)
        whole = not (model.subsampled or model.parameters)
        if self.family and self.family.flat and whole and self.elbo is None:
            return _FlatState(self, density, guide, self.family.flat)
        return _PyroState(self, density, guide)

    def step(self, state: "SVIState") -> float:
        return state.step()

    def converged(self, state: "SVIState") -> bool:
        return state.is_accurate()

    def outcome(self, state: "SVIState") -> Outcome:
        """The guide at the average of the last iterates, if they hold still."""
        if state.iterates.stationary():
            state.adopt_average()
        density, learns = state.density, state.density.model.parameters
        notes = ("The model's own parameters were learnt with the guide.",) if learns else ()
        return Outcome(approximation=GuideDraws(density, state.guide, self.family), notes=notes)

    def _make_guide(self, density: LogDensity, start: Tensor) -> Callable[..., Any]:
        model, made = density.model, self.guide
        with model.running(whole=False):
            if self.family is not None:
                made = self.family(model.handled(), **_start_options(self.family, density, start))
            elif isinstance(made, type) and issubclass(made, AutoGuide):
                made = Family(made.__name__, made)(model.handled())
            elif isinstance(made, torch.nn.Module):
                made = own_guide(made, model)
        if not callable(made):
            raise GuideError(
                f"Expected a guide, and {made!r} came. Pass a family of pyrovi.guides, an "
                "AutoGuide, or a Pyro guide function."
            )
        return made


class SVIState:
    """A guide on its way, its optimiser, and its iterates."""

    def __init__(self, engine: SVI, density: LogDensity, guide: Callable[..., Any]) -> None:
        self.engine, self.density, self.guide = engine, density, guide
        self.phase = self.steps = 0
        self.iterates = Iterates()
        self.backward()
        self.parameters = self.learnable()
        if not self.parameters:
            raise GuideError("The guide has no parameters to fit. Give it pyro.param or a module.")
        self.optimizer = engine.optimizer(self.parameters, lr=engine.first_step_size)
        generator = torch.Generator().manual_seed(0)
        self.picked = torch.randperm(len(self.watch()), generator=generator)[:WATCHED]

    def backward(self) -> float:
        """Estimate minus the ELBO, and add its gradient to that of the parameters."""
        raise NotImplementedError

    def learnable(self) -> list[Tensor]:
        """Every parameter that is fitted."""
        raise NotImplementedError

    def watch(self) -> Tensor:
        """The quantities by which convergence is judged."""
        return parameters_to_vector(self.parameters).double()

    def error(self) -> float:
        """How far the average of the iterates may be off, in units of their own spread."""
        return self.iterates.error() / UNITLESS

    def step(self) -> float:
        self.optimizer.zero_grad()
        loss = self.backward()
        if all(p.grad is None or p.grad.isfinite().all() for p in self.parameters):
            self.optimizer.step()
        self.steps += 1
        with torch.no_grad():
            self.iterates.note(self.watch()[self.picked], parameters_to_vector(self.parameters))
        return loss

    def is_accurate(self) -> bool:
        """Lower the step size once stationary; at the last, say if the average is accurate."""
        if self.steps % JUDGED_EVERY or not self.iterates.stationary():
            return False
        if self.phase == len(DECAYS) - 1:
            return self.error() < self.engine.tolerance
        self.adopt_average()
        self.phase += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.engine.first_step_size * DECAYS[self.phase]
        self.iterates = Iterates()
        return False

    def adopt_average(self) -> None:
        """Move the guide to the average of the last iterates."""
        average = self.iterates.average()
        if average is not None:
            with torch.no_grad():  # each in its own dtype
                parts = average.split([each.numel() for each in self.parameters])
                for parameter, part in zip(self.parameters, parts, strict=True):
                    parameter.copy_(part.view_as(parameter))


class _FlatState(SVIState):
    """A guide with a distribution over the flat vector, fitted to the vectorised density."""

    def __init__(
        self, engine: SVI, density: LogDensity, guide: Any, flat: Callable[[Any], Distribution]
    ) -> None:
        self.flat = flat
        with density.model.running():
            guide(*density.model.args, **density.model.kwargs)  # which makes its parameters
        super().__init__(engine, density, guide)

    def distribution(self) -> Distribution:
        with self.density.model.running():
            return self.flat(self.guide)

    def backward(self) -> float:
        count, smooth = self.engine.particles or 16, self.gaussian
        self._last = self.distribution()
        loss, self._draws = negative_elbo(self.density, self._last, count, path_derivative=smooth)
        if loss.isfinite():
            loss.backward()
        return loss.item()

    @property
    def gaussian(self) -> bool:
        return self.engine.family is not None and self.engine.family.gaussian

    def learnable(self) -> list[Tensor]:
        return trainable(self.guide)

    def watch(self) -> Tensor:
        loc, scale = self._moments()
        return torch.cat([loc, scale.log()]).double()

    def error(self) -> float:
        """Means in standard deviations, log standard deviations as they are."""
        scale = self._moments()[1]
        units = torch.cat([scale, torch.ones_like(scale)]).double()
        return self.iterates.error(units[self.picked].numpy())

    def _moments(self) -> tuple[Tensor, Tensor]:
        if self.gaussian:
            return self._last.mean.detach(), self._last.stddev.detach()
        return self._draws.mean(0), self._draws.std(0)


class _PyroState(SVIState):
    """Any guide and any ELBO, as plain Pyro runs them; minibatches through the model's plates."""

    def __init__(self, engine: SVI, density: LogDensity, guide: Callable[..., Any]) -> None:
        model = density.model
        together = engine.family is not None or isinstance(guide, AutoGuide)
        self.elbo: Any = engine.elbo or _default_elbo(density, engine.particles, together)
        if model.subsampled and isinstance(self.elbo, RenyiELBO):
            raise EngineError(
                "RenyiELBO is no bound where the model subsamples a plate. Use Trace_ELBO."
            )
        self.model = config_enumerate(model.handled()) if model.discrete else model.handled()
        _check_sites(model, guide)
        super().__init__(engine, _with_parameters(density, guide), guide)

    def backward(self) -> float:
        model = self.density.model
        with model.running(whole=False), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found vars in model but not guide")
            loss = self.elbo.loss_and_grads(self.model, self.guide, *model.args, **model.kwargs)
        # Reweighted wake-sleep has a loss of the model, which it bounds, and one of the guide.
        return float(loss[0] if isinstance(loss, tuple) else loss)

    def learnable(self) -> list[Tensor]:
        with self.density.model.running():
            own = [*trainable(self.guide), *self.density.model.learnt.values()]
        return list({id(each): each for each in own}.values())


def _with_parameters(density: LogDensity, guide: Callable[..., Any]) -> LogDensity:
    """With what a guide of the user's registers; an ``AutoGuide`` holds its own parameters."""
    if isinstance(guide, AutoGuide):
        return density
    model = density.model.registering(guide)
    return density if model.learnt.keys() == density.model.learnt.keys() else LogDensity(model)


def _check_sites(model: Any, guide: Callable[..., Any]) -> None:
    """A guide must have the model's continuous latent sites, and no others."""
    with model.running(whole=False):
        nodes = sample_nodes(model.traced(guide))
    own = {node["name"] for node in nodes if not node["infer"].get("is_auxiliary")}
    needed = {site.name for site in model.latent}
    listing = ", ".join(sorted(needed))
    if needed - own:
        raise GuideError(
            f"The guide has no site {min(needed - own)!r}. It needs one for each of {listing}."
        )
    if own - needed:
        raise GuideError(
            f"The guide has a site {min(own - needed)!r}, and the continuous latent sites of "
            f"the model are {listing} (discrete ones are summed out). Drop it, or mark it "
            "auxiliary."
        )


def trainable(guide: Any) -> list[Tensor]:
    """The parameters that are fitted, where it is a module."""
    module = isinstance(guide, torch.nn.Module)
    return [each for each in guide.parameters() if each.requires_grad] if module else []


def negative_elbo(
    density: LogDensity, flat: Distribution, particles: int, *, path_derivative: bool
) -> tuple[Float[Tensor, ""], Float[Tensor, "draw dim"]]:
    """Minus the ELBO in nats by reparameterised draws of ``flat``, and these without a gradient.

    Draws at which the density is not finite are left out; where that is most of them, the loss is
    infinite. The path derivative leaves the score, whose mean is zero, out of the gradient (Roeder
    et al. 2017), which then has no noise once the fit is exact.
    """
    draws = flat.rsample(torch.Size((particles,)))
    log_guide = (detached(flat) if path_derivative else flat).log_prob(draws)
    terms = log_guide - density.log_prob(draws)
    finite = terms.isfinite()
    if int(finite.sum()) <= particles // 2:
        return terms.sum() * 0 + torch.inf, draws.detach()
    return terms[finite].mean(), draws.detach()


def _start_options(family: Family, density: LogDensity, start: Tensor) -> dict[str, Any]:
    """How each family is told where to begin, unless its options say so already."""
    told = "init_loc_fn" in family.options
    if told or not family.takes_start or density.model.subsampled:
        return {}
    nodes = (
        density.model.prototype.nodes
    )  # with the axes of one that stand for plates further left
    values = {
        name: value[0].reshape(nodes[name]["value"].shape)
        for name, value in density.constrain(start[None]).items()
    }
    return {"init_loc_fn": init_to_value(values=values, fallback=init_to_median)}


def _default_elbo(density: LogDensity, particles: int | None, together: bool) -> ELBO:
    """Pyro's ELBO for the model; all particles at once where model and guide are made for it."""
    model = density.model
    together = together and not model.subsampled and carries_draws(model)
    count = particles or (VECTORISED_PARTICLES if together else 1)
    kind = TraceEnum_ELBO if model.discrete else Trace_ELBO
    return kind(
        num_particles=count,
        max_plate_nesting=model.max_plate_nesting,
        vectorize_particles=together and count > 1,
    )


def _check_local_sites(model: Any, family: Family | None) -> None:
    local = [site.name for site in model.latent if site.subsampled]
    if local and family is not None and family.joint:
        raise GuideError(
            f"Site {local[0]!r} stands in a plate that subsamples, and the family {family.name!r} "
            "holds one vector for all sites, which would have the batch's length. Use mean_field, "
            "or an amortised guide of your own."
        )


def _guide_name(guide: Any) -> str:
    if isinstance(guide, Family):
        options = [f"{key}={_name(value)}" for key, value in guide.options.items()]
        return f"{guide.name}({', '.join(options)})" if options else guide.name
    return getattr(guide, "__name__", type(guide).__name__)


def _name(value: Any) -> str:
    return getattr(value, "__name__", repr(value))
