"""A Pyro callable tied to its arguments, and how it is run."""

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from torch import Tensor

from pyrovi.bound.handlers import Cast, Fill, Missing
from pyrovi.bound.parameters import Holder, holders_of, own_copies, placed
from pyrovi.bound.pyro_patches import Enumerate, plates, vmappable_contraction
from pyrovi.bound.replaced import Replacement
from pyrovi.bound.sites import Plate, Site, Trace, kind_of, sample_nodes, vectorised_frames
from pyrovi.seeds import isolated, stream
from pyrovi.structure import Structure, layers_of, structure_of

Handler = Callable[[Callable[..., Any]], Callable[..., Any]]
PRIOR_ATTEMPTS = 50  # draws from the prior, for one at which the model can be run


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Within this, torch makes tensors of ``dtype`` unless told."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@dataclass(frozen=True)
class BoundModel:
    """A Pyro callable tied to its arguments: what every engine and every later stage runs."""

    model: Callable[..., Any]  # where it is a module, a copy of the user's, in ``dtype``
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float64  # what the model computes in
    sites: tuple[Site, ...] = ()  # in the order that the model meets them
    plates: Mapping[str, Plate] = field(default_factory=dict)  # the vectorised ones, by name
    # By plates that the model itself gives rows: those, or None where they are others in each run.
    rows: Mapping[str, Tensor | None] = field(default_factory=dict)
    missing: Mapping[str, Tensor] = field(default_factory=dict)  # by observed site: True where
    # By sites of these that observe NaN, which the model's own masks hide: what stands in for it.
    fills: Mapping[str, Tensor] = field(default_factory=dict)
    parameters: bool = False  # whether it has learnable parameters of its own
    notes: tuple[str, ...] = ()  # what the user should know about how it was read
    params: Any = None  # the state of Pyro's parameter store that it runs under
    holders: tuple[Holder, ...] = ()  # the modules that hold parameters while it runs
    replaced: tuple[Replacement, ...] = ()  # the distributions that it has in place of its own
    uneven: frozenset[str] = frozenset()  # plates declared exchangeable that these make otherwise

    @property
    def name(self) -> str:
        """What to call the model: what it declares, or the function's or the class's name."""
        if self.structure.name:
            return self.structure.name
        *_, innermost = layers_of(self.model)
        return getattr(innermost, "__name__", type(innermost).__name__)

    @cached_property
    def latent(self) -> tuple[Site, ...]:
        """The continuous latent sites, in the model's order."""
        return tuple(site for site in self.sites if site.continuous)

    @cached_property
    def discrete(self) -> tuple[Site, ...]:
        """The discrete latent sites."""
        return tuple(site for site in self.sites if site.kind == "latent" and site.discrete)

    @cached_property
    def observed(self) -> tuple[Site, ...]:
        """The observed sites that have a distribution to predict from."""
        return tuple(site for site in self.sites if site.kind == "observed")

    @property
    def subsampled(self) -> bool:
        """Whether any plate draws a random subset."""
        return any(plate.subsampled for plate in self.plates.values())

    @cached_property
    def max_plate_nesting(self) -> int:
        """How many axes from the right plates or batches use; dims further left are free."""
        samples = [n for n in self.prototype.nodes.values() if n["type"] == "sample"]
        plates = [-frame.dim for node in samples for frame in vectorised_frames(node)]
        batches = [
            max(node["value"].dim() - node["fn"].event_dim, len(node["fn"].batch_shape))
            for node in sample_nodes(self.prototype)
            if kind_of(node) in ("latent", "observed")
        ]
        return max(*plates, *batches, 0, 0)

    @cached_property
    def free(self) -> dict[str, Tensor]:
        """By site made by ``obs_mask``: the entries that are latent; the others have no effect."""
        return {
            node["name"]: node["mask"].expand(node["value"].shape)
            for node in sample_nodes(self.prototype)
            if node["name"].endswith("_unobserved")
            and not node["is_observed"]
            and isinstance(node["mask"], Tensor)
        }

    @cached_property
    def prototype(self) -> Trace:
        """One run of the model on whole plates, its latent sites drawn from the prior."""
        for attempt in range(PRIOR_ATTEMPTS - 1):
            # The model itself may fail at one draw from the prior; the next may do.
            with contextlib.suppress(torch.linalg.LinAlgError):  # pyright: ignore[reportPrivateImportUsage]
                return self.trace(seed=stream(0, "prototype", *([attempt] if attempt else [])))
        return self.trace(seed=stream(0, "prototype", PRIOR_ATTEMPTS))

    def registering(self, runnable: Callable[..., Any]) -> "BoundModel":
        """With parameters of its own for those that a run of the model, or a guide, registers."""
        with self.running():
            self.traced(runnable)
            state = pyro.get_param_store().get_state()
        new = {name: each for name, each in state["params"].items() if name not in self.learnt}
        holders = (*self.holders, *holders_of(new))
        return replace(self, params=state, holders=holders).with_parameters()

    def with_parameters(self, values: Mapping[str, Tensor] | None = None) -> "BoundModel":
        """The same model with learnable parameters of its own: copies, or those of ``values``."""
        if self.params is None:
            return self
        given = self.learnt if values is None else {**self.learnt, **values}
        return replace(self, params={**self.params, "params": own_copies(given)})

    @property
    def learnt(self) -> dict[str, Tensor]:
        """Its learnable parameters, unconstrained, by their names in Pyro's store."""
        return {} if self.params is None else self.params["params"]

    def site(self, name: str) -> Site:
        """The site called ``name``."""
        return next(site for site in self.sites if site.name == name)

    @contextlib.contextmanager
    def running(self, *, whole: bool = True) -> Iterator[None]:
        """What holds while the model runs: dtype, no validation, an own parameter store."""
        with (
            pyro.validation_enabled(False),
            pyro.get_param_store().scope(copy.copy(self.params)),  # which it updates
            placed(self.learnt, self.holders),
            pyro.settings.context(module_local_params=False),
            vmappable_contraction(),
            warnings.catch_warnings(),
            plates(self.rows, whole=whole),
            default_dtype(self.dtype),
        ):
            warnings.filterwarnings("ignore", message="There is a performance drop because")
            # Torch says so of every draw of a Wishart that is not singular.
            warnings.filterwarnings("ignore", message="Singular sample detected")
            yield

    @property
    def structure(self) -> Structure:
        """What the model declares, but for what replaced distributions make untrue."""
        declared = structure_of(self.model)
        if not self.replaced:
            return declared
        own = tuple(each for each in declared.exchangeable if each.plate not in self.uneven)
        observed = {site.name for site in self.observed}
        likelihood = any(each.site in observed for each in self.replaced)
        of_data = None if likelihood else declared.discrepancies
        return replace(declared, exchangeable=own, discrepancies=of_data)

    def handled(self, *handlers: Handler) -> Callable[..., Any]:
        """The model under ``handlers``, the first innermost, and with missing values left out."""
        model = Cast(self.dtype)(self.model)
        if self.missing:
            masks = {name: each for name, each in self.missing.items() if name not in self.fills}
            model = Fill(self.fills)(Missing(masks)(model))
        for handler in handlers:
            model = handler(model)
        return model

    def trace(self, *handlers: Handler, seed: int | None = None) -> Trace:
        """Run the model under ``handlers``, the first innermost, and return what it did.

        With a ``seed``, the global generators are seeded for the run, and put back.
        """
        seeded = contextlib.nullcontext() if seed is None else isolated(seed)
        with self.running(), seeded:
            return self.traced(self.handled(*handlers))

    def traced(self, runnable: Callable[..., Any]) -> Trace:
        """One run of a model or guide on these arguments, within `running`."""
        return poutine.trace(runnable).get_trace(*self.args, **self.kwargs)

    def enumerated(self, model: Callable[..., Any]) -> Callable[..., Any]:
        """A handler that sums discrete latent sites out, in parallel."""
        if not self.discrete:
            return model
        first = -1 - self.max_plate_nesting
        return Enumerate(first_available_dim=first)(config_enumerate(model))
