"""Every error pyrovi raises on purpose, under one base class.

A message says what was expected, what came and what to do, in one line: it is what the command
line prints. Errors from inside a user's model are theirs, and pass through unchanged unless
pyrovi can say something better.
"""

from numbers import Integral


class PyroviError(Exception):
    """Base of every error that pyrovi raises on purpose."""


class DataError(PyroviError, ValueError):
    """The data cannot be what the model asks for: missing, empty, not finite, misnamed."""


class RowError(DataError):
    """A row of a table is not what was asked for; the message begins with its place."""


class ModelError(PyroviError, ValueError):
    """The model cannot be fitted as it stands: no latent sites, no finite density."""


class UnknownModelError(PyroviError, LookupError):
    """A name that is not in the zoo."""


class GuideError(PyroviError, ValueError):
    """The guide does not fit the model: a missing site, an unsupported family."""


class EngineError(PyroviError, ValueError):
    """An engine, or one of its settings, cannot do what was asked of it."""


class ClosedFormError(EngineError):
    """An engine works by closed-form updates, and the model declares none."""


class FitError(PyroviError, RuntimeError):
    """A fit ended without a usable approximation."""


class TreeError(PyroviError, ValueError):
    """A tree or a saved file does not hold what the next stage needs."""


class DiagnosticError(PyroviError, ValueError):
    """A diagnostic was asked about something it cannot judge."""


class OutputError(PyroviError, OSError):
    """A file or folder cannot be written."""


class PyroviWarning(UserWarning):
    """Something the user should know that does not stop the work."""


def check_whole_number(
    value: object, name: str, error: type[PyroviError], *, least: int = 1
) -> None:
    """Raise ``error`` unless ``value`` is a whole number from ``least``.

    >>> check_whole_number(2.5, "restarts", EngineError)
    Traceback (most recent call last):
    pyrovi.errors.EngineError: restarts must be a whole number from 1, and 2.5 came.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise error(f"{name} must be a whole number from {least}, and {value!r} came.")


def check_seconds(value: float | None, error: type[PyroviError]) -> None:
    """Raise ``error`` unless ``value`` is a positive number, or None for no limit.

    >>> check_seconds(-1.0, EngineError)
    Traceback (most recent call last):
    pyrovi.errors.EngineError: max_seconds must be positive, and -1.0 came.
    """
    if value is not None and not value > 0:
        raise error(f"max_seconds must be positive, and {value!r} came.")
