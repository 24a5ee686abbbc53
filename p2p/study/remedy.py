"""What to do where the system forbids: a sentence that advises another copy or more space then misleads."""

from __future__ import annotations

import shlex
from pathlib import Path

from p2p.errors import UserError


def fitting(error: UserError) -> UserError:
    """The same mistake, with the permission to give as its remedy where that is what is missing.

    Args:
        error: Raised from the system's own error, as `raise … from error` does.
    """
    cause: BaseException = error
    while cause.__cause__ is not None and cause.__cause__ is not cause:  # `raise fitting(error) from error` makes it so
        cause = cause.__cause__
    if not isinstance(cause, PermissionError) or not cause.filename:
        return error
    told, path = str(error).rsplit("; ", 1)[0].rstrip("."), Path(cause.filename)
    if not told.startswith("Cannot write"):
        return UserError(f"{told}; {allow('r', path)}.")
    folder = next((place for place in path.parents if place.is_dir()), path.parent)
    return UserError(f"{told}; {allow('w', folder)}, or choose another folder.")


def allow(what: str, path: Path) -> str:
    """The command that lets the owner read ("r") or write ("w") a file or folder, or all in it ("R")."""
    mode = "-R u+rX" if what == "R" else f"u+{what}"
    return f"as its owner, allow it with `chmod {mode} {shlex.quote(str(path))}`"
