"""Writing files so that a killed process never leaves half of one, and locking run folders."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from p2p.errors import UserError

if TYPE_CHECKING:  # whoever has a frame has imported pandas; whoever has none must not wait for it
    import pandas as pd


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on any error it is removed.

    Raises:
        UserError: The disk is full or the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}; free space or choose another folder.") from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp's 0600 would hide results from other users of a shared folder
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"Cannot write {path}: {error.strerror or error}; free space or choose another folder."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path | str, content: str | bytes) -> None:
    """Write `content` to `path` in one step, visible only when complete."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_table(frame: pd.DataFrame, path: Path | str, digits: int | None = None) -> None:
    """A frame as CSV without its index, in one step; numbers with so many digits, or as they are."""
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False, float_format=None if digits is None else f"%.{digits}g")


@contextmanager
def run_lock(folder: Path | str) -> Iterator[None]:
    """Hold the lock of a run folder, so that two processes never train into the same one.

    Raises:
        UserError: Another process holds it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"Run folder {folder} is in use by another process; wait for it, or choose another run name."
        ) from error
    try:
        yield
    finally:
        lock.release()


def project_path(name: Path | str) -> Path:
    """A path of the parameters: as it is if absolute, else from the repository (a notebook may run in any folder)."""
    root = Path(__file__).resolve().parent.parent
    return (root if (root / "Snakefile").is_file() else Path.cwd()) / name
