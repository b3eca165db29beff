"""Write files whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from pyrovi.errors import OutputError


def write_whole(path: Path, content: bytes | str) -> Path:
    """Write ``content`` to ``path``: a reader sees what was there before, or all of the new.

    Args:
        path: The file; its folder must exist.
        content: Bytes, or text to be written as UTF-8.

    Returns:
        ``path``.

    Raises:
        OutputError: If it cannot be written; what was at ``path`` is then untouched.
    """
    with _told(path):
        _write_all({path: content})
    return path


def write_folder(folder: Path, contents: Mapping[str, bytes | str]) -> Path:
    """Write files into ``folder``, all of them or none; it is made where it is missing.

    Args:
        folder: The folder, of which the parents need not exist either.
        contents: By the names of the files bytes, or text to be written as UTF-8.

    Returns:
        ``folder``.

    Raises:
        OutputError: If one cannot be written; folders that were made are then removed again.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        with _told(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _write_all({folder / name: content for name, content in contents.items()})
    except BaseException:
        for each in missing:
            with contextlib.suppress(OSError):
                each.rmdir()
        raise
    return folder


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What fails within is said of ``path``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"Cannot write {path}: {reason}. Choose another place.") from error


def _write_all(contents: Mapping[Path, bytes | str]) -> None:
    """Every file beside its place first, so that what was there goes only when all are written."""
    parts = {
        path: path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") for path in contents
    }
    try:
        for path, content in contents.items():
            with parts[path].open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
        for path, part in parts.items():
            part.replace(path)
    except BaseException:
        for part in parts.values():
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        raise
