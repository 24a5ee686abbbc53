"""Where a number comes from: parameters, commit, device, versions, cost."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import resource
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from p2p.files import write_atomic
from p2p.study.params import Strict, parameter_hash

HERE = Path(__file__).resolve().parent
# What a number depends on besides parameters and images, of which each record has a hash of its own.
CODE = ("p2p/*.py", "notebooks/*.py", "book/*.py", "Snakefile", "pyproject.toml", "requirements.lock")
LIBRARIES = ("torch", "torchvision", "timm", "numpy", "scipy", "pandas")


def provenance(
    params: Strict, device: torch.device, seconds: float, passes: int = 0, teacher_passes: int = 0
) -> dict[str, Any]:
    """The record that stands in every run and result.

    Args:
        params: Of the notebook.
        device: The work was done on.
        seconds: Wall time of the work itself.
        passes: Image passes through the network's own trunk, forward alone or forward and backward.
        teacher_passes: Image passes through the teacher's.
    """
    cuda = device.type == "cuda"
    memory = (
        torch.cuda.max_memory_allocated(device) if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    values = params.model_dump()
    return {
        "study": values.get("study", ""),
        "run": values.get("run", ""),
        "seed": values.get("seed"),
        "parameter_hash": parameter_hash(params),
        "commit": COMMIT,
        "dirty": DIRTY,
        "device": torch.cuda.get_device_name(device) if cuda else f"CPU, {torch.get_num_threads()} threads",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "hours": round(seconds / 3600, 4),
        "image_passes": passes,
        "teacher_passes": teacher_passes,
        "peak_memory_gb": round(memory / 2**30, 2),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def write_json(path: Path | str, value: Any) -> None:
    """JSON, indented, in one step."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def changed(folder: Path) -> bool:
    """Whether a checkout has changes of code that no commit has; a study file, images and results are no code."""
    return bool(_git("status", "--porcelain", "--untracked-files=all", "--", *(f":/{p}" for p in CODE), here=folder))


def _git(*arguments: str, here: Path = HERE) -> str:
    try:
        done = subprocess.run(["git", "-C", here, *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


# Read when the program starts: a checkout that moves on during a run does not change the code that runs.
COMMIT = _git("rev-parse", "--short=12", "HEAD") or "unknown"
DIRTY = changed(HERE)
