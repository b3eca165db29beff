"""What a model may declare about itself that its trace does not show.

Engines and summaries read the record; the model fills it in. Nothing in it is needed to fit a
model, and a wrong statement in it gives wrong summaries: it is a promise, held by a test.

>>> @declare(exchangeable=(Exchangeable("component", labels=("assignment",)),))
... def model(y): ...
>>> structure_of(model).exchangeable[0].plate
'component'
>>> structure_of(print)
Structure(exchangeable=(), dims={}, name='')
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

ATTRIBUTE = "__pyrovi_structure__"

Model = TypeVar("Model", bound=Callable[..., Any])


@dataclass(frozen=True)
class Exchangeable:
    """The indices of one plate may be permuted without changing the joint density.

    Attributes:
        plate: The plate; every site with this dim is permuted along it. A site that carries the
            plate on an event axis (mixture weights) names that axis in `Structure.dims`.
        labels: Discrete sites whose values are indices of the plate.
    """

    plate: str
    labels: tuple[str, ...] = ()


@runtime_checkable
class Factor(Protocol):
    """The distribution of one coordinate: its complete conditional, or its factor of *q*.

    The two are one family. Its natural parameter is linear in the sufficient statistics of the
    other coordinates: given those of sampled values it is the complete conditional, given expected
    ones the factor of *q* that maximises the ELBO with the others held.
    """

    def expected(self) -> Any:
        """The expected sufficient statistics: what the other coordinates read."""
        ...

    def entropy(self) -> float:
        """In nats; with the log joint it makes the ELBO."""
        ...

    def sample(self, generator: Any) -> tuple[Mapping[str, Any], Any]:
        """One value of each continuous site, and the sufficient statistics of the sample."""
        ...

    def draw(self, draws: int, generator: Any) -> Mapping[str, Any]:
        """Independent values ``(draw, ...)`` of each continuous site, shaped as in the model."""
        ...

    def log_prob(self, values: Mapping[str, Any]) -> Any:
        """The log density of such values, ``(draw,)``, in the space the sites live in."""
        ...

    def tensors(self) -> Mapping[str, Any]:
        """The parameters, by which `Coordinate.factor` makes it again."""
        ...


@dataclass(frozen=True)
class Coordinate:
    """One block of latent variables that is updated at once.

    Attributes:
        update: ``update(problem, statistics)`` gives the `Factor`; ``statistics`` holds the
            sufficient statistics of the coordinates, by name, expected or sampled.
        sites: The continuous sites it covers; none for a block of discrete ones, which the
            model's density sums out.
        factor: Makes the factor again from its ``tensors()``, passed by name.
    """

    update: Callable[[Any, Mapping[str, Any]], Factor]
    sites: tuple[str, ...] = ()
    factor: Callable[..., Factor] | None = None


@dataclass(frozen=True)
class CoordinateUpdates:
    """The closed forms of a conditionally conjugate model: what CAVI and Gibbs both read.

    Attributes:
        prepare: ``prepare(*args, **kwargs)``, called with the model's own arguments, gives the
            ``problem``: whatever is worked out from the data once.
        start: ``start(problem, seed)`` gives the expected statistics of some coordinates, by
            name; the others are updated first, given these.
        coordinates: The blocks, in the order of a sweep.
        log_joint: ``log_joint(problem, statistics)`` gives the log density of data and latents,
            every constant included, in nats. It is linear in each coordinate's statistics, so
            that expected ones give the expected log joint.
    """

    prepare: Callable[..., Any]
    start: Callable[[Any, int], Mapping[str, Any]]
    coordinates: Mapping[str, Coordinate]
    log_joint: Callable[[Any, Mapping[str, Any]], float]


@dataclass(frozen=True)
class Discrepancy:
    """A statistic that one kind of wrong assumption moves: of the data, and of replications.

    Gelman, Meng & Stern (1996), Statistica Sinica 6(4).

    Attributes:
        data: Its value for the data, ``(replication,)``: one that depends on what was drawn too
            has a value for each draw; any other is repeated.
        replicated: Its values for data that the fitted model makes, ``(replication,)``.
        smaller: What to say, and to do, where the data's is smaller than the model's.
        larger: And where it is larger.
    """

    data: Any
    replicated: Any
    smaller: str
    larger: str


@dataclass(frozen=True)
class Structure:
    """Everything a model declares about itself.

    Attributes:
        exchangeable: Plates whose indices have no meaning of their own.
        dims: Names of the event axes of a site, rightmost last, as ArviZ's ``dims``. Plates name
            the batch axes already.
        name: What to call the model where its function's name says too little.
        coordinate_updates: Its complete conditionals, where they have closed forms.
        discrepancies: ``discrepancies(tree, model, seed)`` gives each `Discrepancy` by name, of a
            tree that holds data and draws; the predictive check judges them.
        units: What the values of a site are measured in, for pictures to say.
        metadata: Variables that come with the data and are no arguments of the model.
    """

    exchangeable: tuple[Exchangeable, ...] = ()
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    name: str = ""
    coordinate_updates: CoordinateUpdates | None = field(default=None, repr=False)
    discrepancies: Callable[..., Mapping[str, Discrepancy]] | None = field(
        default=None, repr=False
    )
    units: Mapping[str, str] = field(default_factory=dict, repr=False)
    metadata: tuple[str, ...] = field(default=(), repr=False)


def declare(**statements: Any) -> Callable[[Model], Model]:
    """Attach `Structure(**statements)` to a model; the model itself is unchanged."""
    structure = Structure(**statements)

    def attach(model: Model) -> Model:
        setattr(model, ATTRIBUTE, structure)
        return model

    return attach


def structure_of(model: Callable[..., Any]) -> Structure:
    """What ``model`` declares, read through what is wrapped around it; an empty record if nothing.

    See `layers_of` for what it is read through. Closed forms are those of the model alone, and are
    dropped where a handler of Pyro's, which may change any distribution, is around it.
    """
    handled = False
    for each in layers_of(model):
        declared = getattr(each, ATTRIBUTE, None)
        if isinstance(declared, Structure):
            return replace(declared, coordinate_updates=None) if handled else declared
        handled = handled or is_handled(each)
    return Structure()


def is_handled(layer: Callable[..., Any]) -> bool:
    """Whether this is a model under a handler of Pyro's."""
    return isinstance(layer, functools.partial) and handled_by_pyro(layer) is not None


def layers_of(model: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """A model, and then what Pyro's handlers and `functools.partial` are wrapped around in it."""
    while True:
        yield model
        if not isinstance(model, functools.partial):
            return
        handled = handled_by_pyro(model)
        model = model.func if handled is None else handled


def handled_by_pyro(model: functools.partial[Any]) -> Callable[..., Any] | None:
    """What a handler of Pyro's runs, with what was given to it since; None for no handler's.

    ``poutine.scale(model, scale=2.0)`` is a ``partial`` of a function of Pyro's, whose first two
    arguments are the handler and the model.
    """
    from pyro.poutine.messenger import Messenger

    if len(model.args) < 2 or not isinstance(model.args[0], Messenger):
        return None
    inner, *given = model.args[1:]
    return functools.partial(inner, *given, **model.keywords) if given or model.keywords else inner
