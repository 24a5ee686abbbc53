"""Where files lie, writing them so that a killed process never leaves half of one, and locking run folders."""

from __future__ import annotations

import errno
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from p2p.errors import UserError, shown

if TYPE_CHECKING:  # whoever has a frame has imported pandas; whoever has none must not wait for it
    import pandas as pd


def cannot_write(path: Path | str, error: OSError) -> UserError:
    """What to raise where the disk is full or read-only, or a name is too long for it."""
    cures = {errno.ENAMETOOLONG: "shorten the name", errno.EROFS: "mount it for writing or choose another folder"}
    cure = cures.get(error.errno or 0, "free space or choose another folder")
    return UserError(f"Cannot write {path}: {error.strerror or error}; {cure}.")


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
        raise cannot_write(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp's 0600 would hide results from other users of a shared folder
        os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
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
def run_lock(folder: Path | str, what: str = "Run folder") -> Iterator[None]:
    """Hold the lock of a run folder, so that two processes never train into the same one; or of a study's.

    Args:
        folder: Of the run, or of all runs of a study.
        what: It is called.

    Raises:
        UserError: Another process holds it.
    """
    folder = Path(folder)
    lock, holder = FileLock(folder / ".lock"), folder / ".holder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        holder.write_text(f"{os.getpid()} on {platform.node()}")
    except Timeout as error:
        who = "it does not say which"
        with suppress(OSError):
            who = holder.read_text()
        raise UserError(
            f"{what} {folder} is in use by another process ({who}), perhaps one that an earlier call left running; "
            "wait for it, or end it."
        ) from error
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def read_json(path: Path | str, advice: str) -> Any:
    """What a JSON file holds.

    Args:
        path: Of the file.
        advice: What to do where it is damaged.

    Raises:
        UserError: Missing or damaged.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {advice}.") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); {advice}.") from error


def project_path(name: Path | str) -> Path:
    """A path of the parameters: as it is if absolute, else from the repository (a notebook may run in any folder)."""
    root = Path(__file__).resolve().parent.parent
    return (root if (root / "Snakefile").is_file() else Path.cwd()) / name


def cache_folder() -> Path:
    """Folder of decoded images and of what is known of files: P2P_CACHE, else ~/.cache/proto2proto; may be deleted."""
    return Path(os.environ.get("P2P_CACHE") or "~/.cache/proto2proto").expanduser()


def find_weights(weights: str, name: str) -> Path:
    """The safetensors file `weights` of network `name`: as given, else in the folder that P2P_WEIGHTS names.

    Raises:
        UserError: In neither place.
    """
    path = Path(weights)
    if not os.path.isfile(path):  # unlike Path's own, no error where a name is too long
        path = Path(os.environ.get("P2P_WEIGHTS", ".")) / weights
    if not os.path.isfile(path):
        raise UserError(
            f"Weights {shown(weights)} for {name} not found; expected a safetensors file at that path or in the folder "
            f"that P2P_WEIGHTS names (now {os.environ.get('P2P_WEIGHTS') or 'unset'}), or 'imagenet' to download them."
        )
    return path
