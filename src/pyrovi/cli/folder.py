"""A run's folder: whole or not there, and never with anybody else's file replaced."""

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from pyrovi.errors import OutputError, TreeError

RECORD = "run.json"
DATA, POSTERIOR, VERDICT, REPORT = "data.nc", "posterior.nc", "verdict.csv", "report.html"
PREDICTIONS = "predictions.nc"
OF_A_RUN = (RECORD, "fit.json", "fit.safetensors", DATA, POSTERIOR, VERDICT, REPORT)
OWN_FILES = (*OF_A_RUN, PREDICTIONS)
"""Every file that pyrovi ever writes into a run's folder."""


@contextlib.contextmanager
def new_folder(out: Path, *, force: bool) -> Iterator[Path]:
    """A folder to fill; it becomes ``out`` only if all goes well."""
    with _writing(out):
        target = out.resolve()
        _check_free(out, target, force=force)
        missing = [each for each in target.parents if not each.exists()]
    stage = _stage_of(target)
    try:
        with _writing(out):
            target.parent.mkdir(parents=True, exist_ok=True)
        with _writing(target):
            _make(stage)
        yield stage
        with _writing(target):
            _move(stage, target)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What fails within is said of ``path``."""
    try:
        yield
    except OutputError:
        raise
    except (OSError, RuntimeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or error
        message = f"Cannot write to {path}: {reason}. Choose another place."
        raise OutputError(message) from error


def _check_free(out: Path, target: Path, *, force: bool) -> None:
    if target.exists() and not target.is_dir():
        raise OutputError(f"--out {out} is a file. Name a folder.")
    held = sorted(each.name for each in target.iterdir()) if target.is_dir() else []
    if held and not force:
        raise OutputError(
            f"--out {out} is not empty (it has {held[0]}). Use --force to replace what pyrovi "
            "wrote there, or name another folder."
        )
    foreign = sorted(set(held) & set(OWN_FILES)) if RECORD not in held else []
    if foreign:
        raise OutputError(
            f"--out {out} has a {foreign[0]} that no run of pyrovi wrote. Name another folder."
        )


def _stage_of(target: Path) -> Path:
    """Inside ``target`` if it is there, beside it if not: the same file system either way."""
    home = target if target.exists() else target.parent
    return home / f".pyrovi-{secrets.token_hex(4)}"


def _make(stage: Path) -> None:
    stage.mkdir()
    (stage / "probe").write_bytes(b"")
    (stage / "probe").unlink()


def _move(stage: Path, target: Path) -> None:
    if not target.exists():
        stage.rename(target)
        return
    written = [each.name for each in stage.iterdir()]
    for name in written:
        (stage / name).replace(target / name)
    for name in set(OWN_FILES) - set(written):
        (target / name).unlink(missing_ok=True)
    stage.rmdir()


def check_writable(folder: Path) -> None:
    """Say so before the work, and not after it, if ``folder`` cannot be written to."""
    if not folder.is_dir():
        raise TreeError(f"No such folder: {folder}. Make one with pyrovi fit.")
    stage = _stage_of(folder)
    try:
        with _writing(folder):
            _make(stage)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def tree_path(where: Path) -> Path:
    """The tree of a run's folder, or the file itself."""
    if where.is_file():
        return where
    check_writable(where)
    if not (where / POSTERIOR).is_file():
        raise TreeError(f"{where} has no {POSTERIOR}. Make it with pyrovi draw {where}.")
    return where / POSTERIOR
