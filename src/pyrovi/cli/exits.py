"""The ways out of the command line: a result, one line, or a signal."""

import contextlib
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import typer

from pyrovi.cli.commands import app
from pyrovi.errors import PyroviError, PyroviWarning
from pyrovi.words import one_line

# ClickException, of Click itself or of the copy of it that newer Typer brings.
Usage: Any = typer.BadParameter.__mro__[2]
MISTAKE, FAULT, INTERRUPTED, TERMINATED = 2, 1, 130, 143


class Interrupted(BaseException):
    """Ctrl-C; a fit that it stops in a notebook is given, and here nothing is to be written."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0, 1 a fault, 2 a mistake, 130 or 143 a signal."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with _manners():
        code = _outcome([each for each in given if each != "--debug"], debug="--debug" in given)
    sys.exit(code)


def _outcome(arguments: Sequence[str], *, debug: bool) -> int:
    try:
        code = app(args=list(arguments), prog_name="pyrovi", standalone_mode=False)
    except (Interrupted, KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if debug:
            raise
        code, text = _complaint(error)
        _say(f"error: {text}")
        return code
    if code == INTERRUPTED:
        _say("interrupted; nothing was written.")
    return int(code or 0)


def _complaint(error: Exception) -> tuple[int, str]:
    if isinstance(error, PyroviError):
        return MISTAKE, str(error)
    if isinstance(error, Usage):
        usage: Any = error
        return MISTAKE, f"{usage.format_message()} Try pyrovi --help."
    if isinstance(error, OSError):
        return MISTAKE, f"{error.filename or 'a file'}: {error.strerror or error}"
    return FAULT, f"{one_line(error)} (pyrovi --debug shows where)"


def _say(text: str) -> None:
    typer.echo(f"pyrovi: {' '.join(text.split())}", err=True)


@contextlib.contextmanager
def _manners() -> Iterator[None]:
    """Our warnings on one line, others' silent; and SIGTERM cleans up like Ctrl-C."""

    def stop(*_: object) -> None:
        raise SystemExit(TERMINATED)

    def interrupt(*_: object) -> None:
        raise Interrupted

    def show(message: Warning | str, *_: object, **__: object) -> None:
        _say(f"warning: {message}")

    handlers = {signal.SIGTERM: stop, signal.SIGINT: interrupt}
    before = {sent: signal.signal(sent, handler) for sent, handler in handlers.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("default", PyroviWarning)
            warnings.showwarning = show
            yield
    finally:
        for sent, handler in before.items():
            signal.signal(sent, handler)
