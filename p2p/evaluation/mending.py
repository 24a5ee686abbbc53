"""What is there of a study before it goes on: changed inputs are said, damaged files are taken away to be made again.

The workflow makes what is missing and knows nothing of contents. So a run with a damaged file loses that file and its
`run.json`, a step with a damaged result file that file and its executed notebook, and both are steps to do again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from p2p.digests import weights_digest
from p2p.errors import UserError
from p2p.files import run_lock
from p2p.study.checksums import checksums, damaged, run_files, run_sums
from p2p.study.params import TrainParams
from p2p.training.checkpoints import readable

FACTS = ("study", "title", "order", "intro")  # what the book needs of a study.json


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / "run.json").read_text())
        return found if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None


def damaged_files(folder: Path, params: TrainParams) -> list[str]:
    """The files of a finished run that are missing or damaged; of a run without checksums, that cannot be opened."""
    record = _record(folder)
    if record is None:
        return ["run.json"]
    names = run_files(params.model)
    gone = [name for name in names if not (folder / name).is_file()]
    there = [name for name in names if name not in gone]
    if known := record.get("files"):
        return gone + [name for name, found in run_sums(folder, there).items() if known.get(name) != found]
    return gone + [name for name in there if name.endswith(".safetensors") and not readable(folder / name)]


def mend_runs(runs: Mapping[str, TrainParams], place: Path) -> list[str]:
    """Take away what is damaged of finished runs, so that it is made again.

    Args:
        runs: Of a study, by name.
        place: Folder of its runs.

    Returns:
        A sentence for each run that had damage; a run that another process works on is left to it.
    """
    said = []
    for name, params in runs.items():
        folder = place / name
        if not (folder / "run.json").is_file():
            continue
        try:
            with run_lock(folder):
                bad = damaged_files(folder, params)
                for file in {*bad, *(["run.json"] if bad else [])}:
                    (folder / file).unlink(missing_ok=True)
        except UserError:
            continue
        if bad:
            anew = {"network.safetensors", "checkpoint.safetensors"} & set(bad)
            what = "it is trained again" if anew else "it is written again from the finished network"
            said.append(f"Run '{name}': {' and '.join(bad)} in {folder} is damaged or gone; {what}.")
    return said


def mend_results(out: Path, names: Iterable[str]) -> list[str]:
    """Take away damaged result files and the executed notebooks of their steps, so that the steps are done again.

    Args:
        out: Folder of the study's results.
        names: Of the steps, as their notebooks are called.

    Returns:
        A sentence for each step that had damage.
    """
    said = []
    for step in names:
        notebook = out / f"{step}.ipynb"
        if not notebook.is_file():
            continue  # to be made anyway, or being made
        bad = damaged(out, step)
        for name, keys in ((notebook.name, ["cells"]), *([("study.json", FACTS)] if step == "04_table" else [])):
            if name not in checksums(out, step) and (out / name).is_file() and not _has(out / name, keys):
                bad.append(name)
        for file in {*bad, *([notebook.name] if bad else [])}:
            (out / file).unlink(missing_ok=True)
        if bad:
            said.append(f"{' and '.join(bad)} in {out} is damaged or gone; the step {step} is done again.")
    return said


def _has(path: Path, keys: Iterable[str]) -> bool:
    """Whether a file is a JSON object with these keys: what can be seen without checksums."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return isinstance(found, dict) and set(keys) <= set(found)
    except (OSError, ValueError):
        return False


def changed_inputs(runs: Mapping[str, TrainParams], place: Path, images: str) -> list[str]:
    """Say which of a study's inputs have changed since its runs were trained.

    Args:
        runs: Of the study, by name.
        place: Folder of its runs.
        images: Digest of the images as they are now.

    Returns:
        No sentence, or one for the images, and one for each weights file.
    """
    before: dict[str, list[str]] = {}
    for name, params in runs.items():
        inputs = (_record(place / name) or {}).get("inputs", {})
        if inputs.get("images", images) != images:
            before.setdefault("The images", []).append(name)
        if "weights" in inputs and inputs["weights"] != weights_digest(params.weights, params.network):
            before.setdefault(f"The weights '{params.weights}'", []).append(name)
    return [
        f"{what} have changed since {len(names)} of {len(runs)} runs of study '{place.name}' were trained; these start "
        "anew, and so does what was learnt from them."
        for what, names in before.items()
    ]
