"""What a job tells whoever started the study: that it runs, how far it is, how it ended.

One small file a job, in the folder that the variable P2P_JOBS names; nobody is told anything where it is not set. Each
file has one writer and is replaced whole, so jobs on several machines may share the folder.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from p2p.errors import UserError
from p2p.files import write_atomic

VARIABLE = "P2P_JOBS"
STARTS = 3  # of a kernel, at most


@contextmanager
def job(name: str) -> Iterator[Callable[[str], None]]:
    """Report one job from its start to its end; what is yielded takes the text of its progress.

    Args:
        name: Of the job, a file's name: that of its notebook, or `book`.
    """
    folder = os.environ.get(VARIABLE)
    record: dict[str, Any] = {"job": name, "state": "running", "began": time.time(), "progress": "", "sentence": ""}

    def tell(**news: Any) -> None:
        record.update(news, seconds=round(time.time() - record["began"], 1))
        if folder:
            with suppress(UserError):  # a full disk stops the job's own work, with a sentence about that
                write_atomic(Path(folder) / f"{name}.json", json.dumps(record))

    tell()
    try:
        yield lambda text: tell(progress=text)
    except BaseException as error:
        tell(state="failed", sentence=sentence(error))
        raise
    tell(state="done")


def read_jobs(folder: Path) -> dict[str, dict[str, Any]]:
    """The last report of every job, by its name, the earliest start first."""
    found = []
    for path in folder.glob("*.json"):
        try:
            found.append(json.loads(path.read_text()))
        except (OSError, ValueError):  # replaced this very moment, on a file system without such renames
            continue
    return {record["job"]: record for record in sorted(found, key=lambda record: record["began"])}


def sentence(error: BaseException) -> str:
    """An exception on one line: a user's mistake as it is told, anything else with its kind in front."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    kind = getattr(error, "ename", "") or type(error).__name__  # papermill's exception quotes that of the notebook
    text = " ".join(str(getattr(error, "evalue", "") or error).split())
    told = text if isinstance(error, UserError) or kind == "UserError" else f"{kind}: {text}"
    return told if len(told) <= 600 else f"{told[:600]} …"


def started_again(run: Callable[[], Any]) -> None:
    """Execute a notebook, and again where its kernel died before it had run a cell.

    A kernel binds ports that were found free a moment before; another process may have them by then. Another start
    finds other ports.

    Args:
        run: What starts the kernel.

    Raises:
        RuntimeError: It died `STARTS` times.
    """
    for attempt in range(STARTS):
        try:
            run()
            return
        except RuntimeError as error:
            if "before replying to kernel_info" not in str(error) or attempt + 1 == STARTS:
                raise
