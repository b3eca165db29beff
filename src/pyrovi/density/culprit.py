"""Where in a user's own code an error came from, and how a verb says so."""

import contextlib
import linecache
import sysconfig
import traceback
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from pyrovi.bound import advice
from pyrovi.errors import ModelError, PyroviError

# What runs a model, and is none; the last two check types, in tests.
LIBRARIES = ("torch", "pyro", "pyrovi", "opt_einsum", "numpy", "jaxtyping", "beartype")
CHECKS_TYPES = ("pyrovi", "jaxtyping", "beartype")
RAISED = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
)
DENSITIES = ("log_prob_sum", "compute_log_prob")  # where Pyro takes the density of one site


@contextlib.contextmanager
def in_one_sentence(model: str, stage: str) -> Iterator[None]:
    """Within this, what a model, Pyro or torch raises is a `ModelError`, and that its cause.

    Args:
        model: What the model is called.
        stage: What was done with it, such as ``"fitted"``.
    """
    try:
        yield
    except PyroviError:
        raise
    except RAISED as error:
        if _is_ours(error):
            raise
        place = place_of(error)
        kind = type(_first(error)).__name__
        raise ModelError(
            f"Model {model!r} cannot be {stage}: {f'{place}: ' if place else ''}{kind}: "
            f"{first_line(error)}. {advice(error)}"
        ) from error


def _is_ours(error: BaseException) -> bool:
    """Whether no model, and nothing that it calls, raised it; torch's own has no frame."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    own = of_a_library(frame.f_code.co_filename, *CHECKS_TYPES)
    return own and not isinstance(error, RuntimeError)


def first_line(error: BaseException) -> str:
    """What an error says first; Pyro appends shapes, and says a site where torch says what."""
    return str(_first(error)).partition("\n")[0].rstrip(".")


def place_of(error: BaseException) -> str | None:
    """The deepest line of the user's own code, or else the site, at which an error was raised.

    >>> try:
    ...     1 // 0
    ... except ZeroDivisionError as error:
    ...     place_of(error).split(":")[0].startswith("<doctest")
    True
    """
    frames = [*traceback.walk_tb(_first(error).__traceback__)]
    own = [(frame, line) for frame, line in frames if not of_a_library(frame.f_code.co_filename)]
    within = frames[frames.index(own[-1]) :] if own else frames
    site = next(_sites(frame for frame, _ in within), None)
    if site is not None or not own:
        return site
    file, line = own[-1][0].f_code.co_filename, own[-1][1]
    code = linecache.getline(file, line).strip()
    return f"{Path(file).name}:{line}" + (f" ({code})" if code else "")


def _first(error: BaseException) -> BaseException:
    """The error itself, where Pyro raised another in its place."""
    return error.__cause__ or error


def _sites(frames: Iterator[FrameType]) -> Iterator[str]:
    for frame in frames:
        site = frame.f_locals.get("site")
        if frame.f_code.co_name in DENSITIES and isinstance(site, dict):
            yield f"the density of site {site['name']!r} ({type(site['fn']).__name__})"


def of_a_library(file: str, *names: str) -> bool:
    """Whether a file belongs to a library, of ``names`` if given, or to Python."""
    return file.startswith(_folders(names or LIBRARIES)) or (not names and _of_python(file))


def _of_python(file: str) -> bool:
    return file.startswith((sysconfig.get_path("stdlib"), "<frozen")) and "-packages" not in file


@cache
def _folders(names: tuple[str, ...]) -> tuple[str, ...]:
    specs = (find_spec(name) for name in names)
    return tuple(f"{Path(spec.origin).parent}/" for spec in specs if spec and spec.origin)
