"""Write a file whole or not at all."""

import contextlib
import os
import secrets
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
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        reason = error.strerror or error
        raise OutputError(f"Cannot write {path}: {reason}. Choose another place.") from error
    return path
