"""Checksums of a study's result files: each step leaves those of what it wrote, so that damage is noticed and named.

`results/<study>/checksums/<step>.json` holds the SHA-256 of the step's files, its executed notebook among them. Files
without one, of studies made before there were any, are taken as they are until they are made again. A finished run's
files have theirs in its `run.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from p2p.digests import digests, sha256
from p2p.errors import UserError
from p2p.files import write_atomic

ADVICE = "restore it, or let its step make it again (make study)"


def run_files(model: str) -> list[str]:
    """The files of a finished run besides its `run.json`, which holds their checksums; `model` as in `TrainParams`."""
    names = ["network.safetensors", "checkpoint.safetensors", "history.csv"]
    of_prototypes = ["responses_pre_push.safetensors", "responses.safetensors", "prototypes.csv"]
    return names if model == "linear" else names + of_prototypes


def run_sums(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The checksums of a run's files; those that have not changed since the last call are not read again."""
    return dict(zip(names, digests(folder.parent, [f"{folder.name}/{name}" for name in names]), strict=True))


def sums_file(out: Path, step: str) -> Path:
    return out / "checksums" / f"{step}.json"


def seal(out: Path, step: str, names: Iterable[str]) -> None:
    """Write the checksums of what a step wrote, in place of those of an earlier time.

    Args:
        out: Folder of the study's results.
        step: Its notebook's name without the ending, such as `04_table`.
        names: Paths in `out`.
    """
    write_atomic(sums_file(out, step), json.dumps({name: sha256(out / name) for name in names}, indent=1) + "\n")


def add_notebook(out: Path, step: str) -> None:
    """Add the executed notebook of a step to its checksums."""
    names = {**checksums(out, step), f"{step}.ipynb": ""}
    seal(out, step, [name for name in names if (out / name).is_file()])


def checksums(out: Path, step: str) -> dict[str, str]:
    """A step's files and their checksums; empty where there are none, or none that can be read."""
    try:
        found = json.loads(sums_file(out, step).read_text())
        return {str(name): str(value) for name, value in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def steps(out: Path) -> list[str]:
    """The steps that left checksums."""
    return sorted(path.stem for path in (out / "checksums").glob("*.json"))


def damaged(out: Path, step: str) -> list[str]:
    """Those of a step's files that are missing, or not as they were written."""
    known = checksums(out, step)
    return [name for name, value in known.items() if not (out / name).is_file() or sha256(out / name) != value]


def check_file(out: Path, name: str, advice: str = ADVICE) -> Path:
    """The path of a result file that is about to be read.

    Args:
        out: Folder of the results.
        name: Its path in `out`.
        advice: What to do where it is damaged.

    Raises:
        UserError: Missing, or not as its step wrote it.
    """
    path = out / name
    if not path.is_file():
        raise UserError(f"{path} is not there; {advice}.")
    known = {found[name] for found in (checksums(out, step) for step in steps(out)) if name in found}
    if known and sha256(path) not in known:  # two evaluations may have written the answers of one teacher
        raise UserError(f"{path} is damaged, its contents are not those that were written; {advice}.")
    return path
