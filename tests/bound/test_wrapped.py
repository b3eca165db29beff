"""Whatever is wrapped around a model, it takes its data by its own arguments' names."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from pyro.infer.reparam import LocScaleReparam
from torch import Tensor

import pyrovi as vi
from pyrovi.bound import bind, bind_model

Y = torch.linspace(-1.0, 2.0, 12, dtype=torch.float64)


def normal(y: Tensor, sigma: Tensor | float = 1.0) -> None:
    loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(loc, sigma), obs=y)


class Group:
    """A model that is a method, and models that are objects."""

    def model(self, y: Tensor) -> None:
        normal(y)

    @config_enumerate
    def handled(self, y: Tensor) -> None:
        normal(y)


class Called:
    """An object that runs the model that it holds."""

    def __init__(self, inner: Callable[..., Any]) -> None:
        self.inner, self.name = inner, "called"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


class Holds(torch.nn.Module):
    """A module that runs the module that it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


class Inner(torch.nn.Module):
    """A module that is a model."""

    def forward(self, y: Tensor) -> None:
        normal(y)


def plainly(model: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator without `functools.wraps`."""

    def inner(*args: Any, **kwargs: Any) -> Any:
        with poutine.scale(scale=1.0):
            return model(*args, **kwargs)

    return inner


def by_name(*args: Any, **kwargs: Any) -> Any:
    """It closes over nothing, and names what it calls."""
    return normal(*args, **kwargs)


WRAPPED: dict[str, Callable[..., Any]] = {
    "reparam": poutine.reparam(normal, config={"loc": LocScaleReparam(0.0)}),
    "config_enumerate": config_enumerate(normal),
    "scale": poutine.scale(normal, scale=1.0),
    "two handlers": poutine.scale(config_enumerate(normal), scale=1.0),
    "a handler of a partial": poutine.scale(functools.partial(normal, sigma=1.0), scale=1.0),
    "a partial of a handler": functools.partial(poutine.scale(normal, scale=1.0), sigma=1.0),
    "a partial": functools.partial(normal, sigma=1.0),
    "a method": Group().model,
    "a handled method": Group().handled,
    "an object": Called(normal),
    "a module": Holds(),
    "a decorator": plainly(normal),
    "a decorator of a handler": plainly(config_enumerate(normal)),
    "a function by its name": by_name,
    "anonymous": lambda *args, **kwargs: normal(*args, **kwargs),  # noqa: PLW0108  that is the case
}
DATA: dict[str, Any] = {
    "by name": {"y": Y},
    "by place": (Y,),
    "alone": Y,
    "as an array": Y.numpy(),
}


@pytest.mark.parametrize("form", DATA)
@pytest.mark.parametrize("wrapped", WRAPPED)
def test_a_wrapped_model_takes_its_data_by_its_own_names(wrapped: str, form: str) -> None:
    model = WRAPPED[wrapped]
    arguments = bind(model, DATA[form])
    assert {"y"} <= arguments.kwargs.keys() <= {"y", "sigma"}
    bound = bind_model(model, arguments)
    assert bound.site("y").dims == ("row",)
    torch.testing.assert_close(bound.prototype.nodes["y"]["value"], Y)


def test_a_wrapped_model_says_which_argument_it_lacks() -> None:
    with pytest.raises(vi.errors.DataError, match=r"needs y, and the data has nothing"):
        bind(poutine.scale(normal, scale=2.0), {})


def test_a_wrapper_may_take_an_argument_off() -> None:
    def given(model: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*args: Any, **kwargs: Any) -> Any:
            return model(Y, *args, **kwargs)

        return inner

    bound = bind_model(given(normal), bind(given(normal), {}))
    torch.testing.assert_close(bound.prototype.nodes["y"]["value"], Y)


def helper(scale: Tensor) -> Tensor:
    return scale.exp()


def test_a_model_of_any_arguments_that_calls_a_helper_is_not_taken_for_the_helper() -> None:
    def model(*args: Any, **kwargs: Any) -> None:
        y, log_scale = args
        normal(y, helper(log_scale))

    bound = bind_model(model, bind(model, (Y, torch.tensor(0.0))))
    torch.testing.assert_close(bound.prototype.nodes["y"]["value"], Y)


def test_an_argument_that_a_wrapper_puts_before_the_data_is_not_taken_for_them() -> None:
    def wider(sigma: float, y: Tensor) -> None:
        normal(y, sigma)

    def wrapper(*args: Any, **kwargs: Any) -> None:
        wider(2.0, *args, **kwargs)

    for data in (Y, (Y,)):
        site = bind_model(wrapper, bind(wrapper, data)).prototype.nodes["y"]
        assert torch.equal(site["value"], Y)
        assert bool((site["fn"].scale == 2.0).all())


def test_a_scaled_likelihood_has_the_posterior_of_as_many_data_sets() -> None:
    """Closed form: of a prior Normal(0, 10) and each observation counted three times."""
    fit = vi.fit(poutine.scale(normal, scale=3.0), {"y": Y}, vi.Laplace(), seed=0)
    tree = vi.draw(fit, draws=4000)
    # The handler scales the prior as well.
    precision = 3 * (len(Y) + 0.01)
    mean, sd = 3 * float(Y.sum()) / precision, precision**-0.5
    loc = tree["posterior"]["loc"].to_numpy()
    assert loc.mean() == pytest.approx(mean, abs=4.5 * sd / 4000**0.5)
    assert loc.std() == pytest.approx(sd, rel=0.06)


def test_a_model_under_reparam_has_the_posterior_of_the_model() -> None:
    """Closed form; what the handler makes of the site is there too."""
    model = WRAPPED["reparam"]
    tree = vi.draw(vi.fit(model, {"y": Y}, seed=0), draws=4000)
    precision = len(Y) + 0.01
    mean, sd = float(Y.sum()) / precision, precision**-0.5
    loc = tree["posterior"]["loc"].to_numpy()
    assert loc.mean() == pytest.approx(mean, abs=4.5 * sd / 4000**0.5)
    assert np.std(loc) == pytest.approx(sd, rel=0.06)
